"""SIGKILL at every entry of the ledger: the next run removes everything, and so does a sweep after the lease."""

from __future__ import annotations

import time

import pytest

from killing import AN_HOUR_AGO, ENTRIES, killed_at
from running import run_probe
from vmprobe.checks.leftovers import command
from vmprobe.core.clock import Clock

from .probing import line

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
SELECTED = {"lease", "volume-asked-for", "server-made"}  # the others are slow tests
MATRIX = [
    pytest.param(
        number,
        world,
        id=f"{entry}-{world}",
        marks=[] if entry in SELECTED else [pytest.mark.slow],
    )
    for number, entry in enumerate(ENTRIES, 1)
    for world in ("next-run", "after-the-lease")
]


@pytest.fixture
def state_directory(tmp_path, monkeypatch):
    directory = tmp_path / "state"
    monkeypatch.setenv("VMPROBE_STATE", str(directory))
    return directory


@pytest.mark.parametrize("entries, world", MATRIX)
def test_nothing_is_left_after_a_sigkill_at_any_entry_of_the_ledger(
    entries, world, site, vcenter, state_directory, monkeypatch, tmp_path
):
    vcenter.proxy.page, vcenter.proxy.busy = 20, 0.1
    path = site(volume="1 GiB")
    python = [] if world == "next-run" else AN_HOUR_AGO
    killed_at(entries, path, state_directory / "ledger/vsphere", python, seconds=60)
    vcenter.client.end_other_sessions()  # as a vCenter does after half an hour

    if world == "next-run":
        code, output, _ = run_probe(LIFECYCLE, "--site", path)
        assert (code, line(output)) == (
            0,
            "VM_LIFECYCLE OK - vsphere: test VM ran and is gone in T s (active T s, network T s, storage T s)",
        )
        return

    # There is no ledger, only the names in the cloud
    monkeypatch.setenv("VMPROBE_STATE", str(tmp_path / "another-host"))
    end = time.monotonic() + 60
    while command.main(
        ["--site", path, "--remove", "-t", "60"], clock=Clock()
    ).verdict.state != 0 or any(name.startswith("vmprobe-") for name in vcenter.client.machines()):
        assert time.monotonic() < end, "something is left"
