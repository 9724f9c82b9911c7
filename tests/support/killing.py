"""Runs of check_vm_lifecycle that are killed, and runs whose lease is over already."""

import os
import signal
import subprocess
import sys
import time

from running import PROBES

# Options of the interpreter: so begins a run whose lease is over by now.
AN_HOUR_AGO = [
    "-c",
    "import runpy, sys, time; real = time.time; time.time = lambda: real() - 3600; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
]
ENTRIES = [  # of the ledger of a run with a volume, in a run's order
    "lease",
    "volume-asked-for",
    "volume-made",
    "server-asked-for",
    "server-made",
    "server-gone",
]


def started(site, python=()):
    """The process of a run; ``python`` are options of the interpreter."""
    return subprocess.Popen(
        [sys.executable, *python, str(PROBES / "check_vm_lifecycle"), "--site", site],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROBES)},
    )


def killed_at(entries, site, ledgers, python=(), seconds=120):
    """Kill a run as soon as its ledger, in the directory ``ledgers``, has so many entries."""
    run = started(site, python)
    end = time.monotonic() + seconds
    while _most_entries(ledgers) < entries:
        assert time.monotonic() < end and run.poll() is None, "it did not come so far"
        os.sched_yield()
    run.send_signal(signal.SIGKILL)
    assert run.wait(60) == -signal.SIGKILL


def _most_entries(ledgers):
    counts = (ledger.read_text().count("\n") for ledger in ledgers.glob("*.ledger"))
    return max(counts, default=0)
