"""SIGKILL at every entry of the ledger, on a real OpenStack: the next run removes everything, and so does a sweep after the lease."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from running import PROBES, run_probe
from vmprobe.checks.leftovers import command
from vmprobe.core.clock import Clock

from .shared import left, line

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
ENTRIES = [
    "lease",
    "volume-asked-for",
    "volume-made",
    "server-asked-for",
    "server-made",
    "server-gone",
]  # in a run's order
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


AN_HOUR_AGO = (
    "import runpy, sys, time; real = time.time; time.time = lambda: real() - 3600; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)  # the handle of a run whose lease is already over


@pytest.mark.parametrize("entries, world", MATRIX)
def test_nothing_is_left_after_a_sigkill_at_any_entry_of_the_ledger(
    entries, world, site, openstack, state_directory, monkeypatch, tmp_path
):
    path = site()
    killed_at(entries, path, state_directory, [] if world == "next-run" else ["-c", AN_HOUR_AGO])

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


def killed_at(entries, path, state_directory, python=()):
    """A run that is killed as soon as its ledger has so many entries; ``python`` are options of the interpreter."""
    run = subprocess.Popen(
        [sys.executable, *python, str(PROBES / LIFECYCLE), "--site", path],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROBES)},
    )
    end = time.monotonic() + 120
    while (
        max(
            (
                ledger.read_text().count("\n")
                for ledger in state_directory.glob("ledger/openstack/*.ledger")
            ),
            default=0,
        )
        < entries
    ):
        assert time.monotonic() < end and run.poll() is None, "it did not come so far"
        os.sched_yield()
    run.send_signal(signal.SIGKILL)
    assert run.wait(60) == -signal.SIGKILL
