"""SIGKILL at every entry of the ledger, on a real OpenStack: the next run removes everything, and so does a sweep after the lease."""

from __future__ import annotations

import pytest

from killing import AN_HOUR_AGO, ENTRIES, killed_at
from running import run_probe
from vmprobe.checks.leftovers import command
from vmprobe.core.clock import Clock

from .shared import left, line

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
SELECTED = {
    ("server-asked-for", "next-run"),
    ("volume-asked-for", "after-the-lease"),
    ("server-made", "after-the-lease"),
}
MATRIX = [
    pytest.param(
        number,
        world,
        id=f"{entry}-{world}",
        marks=[] if (entry, world) in SELECTED else [pytest.mark.slow],
    )
    for number, entry in enumerate(ENTRIES, 1)
    for world in ("next-run", "after-the-lease")
]


@pytest.mark.parametrize("entries, world", MATRIX)
def test_nothing_is_left_after_a_sigkill_at_any_entry_of_the_ledger(
    entries, world, site, openstack, state_directory, monkeypatch, tmp_path
):
    path = site()
    python = [] if world == "next-run" else AN_HOUR_AGO
    killed_at(entries, path, state_directory / "ledger/openstack", python)

    if world == "next-run":
        code, output, _ = run_probe(LIFECYCLE, "--site", path)
        assert (code, line(output)) == (
            0,
            "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)",
        )
        return

    monkeypatch.setenv(
        "VMPROBE_STATE", str(tmp_path / "another-host")
    )  # there is no ledger, only the names in the cloud

    def removed():  # a resource that was requested just before the kill may appear a little later
        return (
            command.main(["--site", path, "--remove", "-t", "120"], clock=Clock()).verdict.state
            == 0
            and left(openstack) == []
        )

    openstack.api().wait_until(removed, 120, "something is left")
