"""What VMware's own client, pyVmomi, sees of what the driver made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.harnesses import of_site
from vmprobe.core.clock import Clock
from vmprobe.core.model import ServerSpec, State, VolumeSpec

from ..occi import pypi

pytestmark = pytest.mark.live
HANDLE = "vmprobe-live-20261123t000000z-6-abcdefgh"


def seen(url: str):
    """All machines of test VMs, by name, as pyVmomi reads them."""
    code = pypi.site("pyvmomi", "9.1.1.0")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("judge.py")), url.rpartition(":")[2]],
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(deadline, look):
    for _ in deadline.polls(deadline.clock.now(), 0, 60):
        if found := look():
            return found


def removed(driver, ref):
    try:
        driver.delete(ref)
        driver.show(ref)
    except Exception as error:
        return type(error).__name__ == "NotFound"
    return False


def test_vmwares_own_client_sees_the_machine_that_was_asked_for(site, vcenter):
    harness = of_site(site(flavor="64 MiB", vcpus="1"), Clock())
    driver, deadline = harness.driver, harness.deadline
    driver.connect()
    plan = driver.resolve(harness.test_vm)
    volume = driver.create(VolumeSpec(HANDLE, 2**30, plan))
    server = driver.create(ServerSpec(HANDLE, plan))

    def ready():
        shown = driver.show(server)
        if driver.needs_start(shown):
            driver.start(server)
        return shown.state is State.READY

    until(deadline, ready)
    until(deadline, lambda: driver.show(volume).state is State.READY)
    driver.attach(server, volume)
    until(deadline, lambda: driver.show(volume).server)
    snapshot = driver.snapshot(server, HANDLE)
    until(deadline, lambda: driver.show(snapshot).state is State.READY)
    found = seen(vcenter.url)
    until(deadline, lambda: removed(driver, server))
    until(deadline, lambda: removed(driver, volume))
    driver.close()

    (machine,) = found.values()
    assert list(found) == [HANDLE]
    assert machine["disks"].pop() == [f"[LocalDS_0] {HANDLE}.vmdk", "independent_persistent"]
    assert {**machine, "disks": len(machine["disks"])} == {
        "id": server.id,
        "power": "poweredOn",
        "vcpus": 1,
        "memory": 32,  # the simulator's clone keeps the template's
        "folder": "vm",
        "connected": [True],
        "disks": 1,
        "snapshots": [HANDLE],
    }
    assert seen(vcenter.url) == {}
