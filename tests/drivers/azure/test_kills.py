"""SIGKILL before and after each change that a run asks for: what follows removes everything."""

import os
import subprocess
import sys

import pytest

from running import PROBES
from simulators.azure_world import FINE
from vmprobe.checks.leftovers import command
from vmprobe.core.clock import Clock

pytestmark = pytest.mark.live

CHANGES = [
    "PUT group",
    "PUT disks",
    "PUT networkinterfaces",
    "PUT virtualmachines",
    "PATCH virtualmachines",
    "DELETE virtualmachines",
    "DELETE group",
]
AN_HOUR_AGO = (
    "import runpy, sys, time; real = time.time; time.time = lambda: real() - 3600; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)  # so begins a run whose lease is over by now
ALWAYS = {
    ("PUT group", "after"),
    ("PUT networkinterfaces", "after"),
    ("DELETE virtualmachines", "after"),
}
MATRIX = [
    pytest.param(
        change,
        when,
        heir,
        id=f"{when}-{change}-{heir}".replace(" ", "-"),
        marks=[] if (change, when) in ALWAYS else [pytest.mark.slow],
    )
    for change in CHANGES
    for when in ("before", "after")
    for heir in ("next-run", "after-the-lease")
]


@pytest.mark.parametrize("change, when, heir", MATRIX)
def test_nothing_is_left_after_a_sigkill(world, change, when, heir, tmp_path, monkeypatch):
    site = world.site(volume="1 GiB")
    world.azure.plot[change] = f"killed-{when}"
    python = ["-c", AN_HOUR_AGO] if heir == "after-the-lease" else []
    run = subprocess.Popen(
        [sys.executable, *python, str(PROBES / "check_vm_lifecycle"), "--site", site],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROBES)},
    )
    world.azure.killer = run.kill
    assert run.wait(60) == -9

    if heir == "next-run":
        assert world.run() == (0, FINE)
        return
    monkeypatch.setenv("VMPROBE_STATE", str(tmp_path / "another-host"))  # no ledger, only names
    result = command.main(["--site", site, "--remove", "-t", "60"], clock=Clock()).verdict
    assert result.state == 0, result
