"""A site over this machine's QEMU, the processes and files of its VMs, and output without durations."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.harnesses import of_site
from running import PROBES
from vmprobe.core.clock import Clock
from vmprobe.core.errors import ClientError
from vmprobe.guest import image

PROBE = PROBES / "check_vm_lifecycle"
BINARY = "qemu-system-x86_64"
NOTHING = ([], [])  # what QemuSite.left returns when nothing is left


def needed():
    """Skip the test, with the reason, where no VM can run; otherwise build the test image."""
    if not shutil.which(BINARY):
        pytest.skip(f"{BINARY} is not installed (Debian: qemu-system-x86)")
    pytest.importorskip("qemu.qmp", reason="Python's qemu.qmp is not installed")
    try:
        image.build(image.directory())
    except ClientError as missing:
        pytest.skip(f"there is no test image: {missing}")


class QemuSite:
    """A site file, the checks that run with it, and what they leave."""

    def __init__(self, directory: Path):
        self.state = directory / "state"
        self.path = directory / "site.ini"
        self.sections = {
            "site": {"name": "here", "owner": "mon"},
            "endpoint": {"manager": "qemu"},
            "test vm": {"image": "vmprobe-test", "volume": "64 MiB", "depth": "console"},
            "budget": {"deadline": "240 s", "reserve": "30 s"},
            "sample": {"readings": "2", "interval": "1 s"},
            "polling": {"first": "0.3 s", "shortest": "0.3 s", "longest": "1 s"},
        }

    def set(self, section, **keys):
        self.sections[section].update(keys)
        return self

    def write(self) -> Path:
        lines = []
        for section, keys in self.sections.items():
            lines += [f"[{section}]"] + [f"{key} = {value}" for key, value in keys.items()] + [""]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join(lines))
        return self.path

    def start(self, *options) -> subprocess.Popen:
        """Start check_vm_lifecycle in the background."""
        return subprocess.Popen(
            [sys.executable, str(PROBE), "--site", str(self.write()), *options],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "VMPROBE_STATE": str(self.state)},
        )

    def run(self, *options):
        """(exit code, stdout, stderr) of check_vm_lifecycle, as ``struck`` returns them."""
        return finish(self.start(*options))

    # --- what is there ----------------------------------------------------------------------------------------

    def processes(self):
        """Process ids of the QEMUs whose working directory belongs to this site."""
        pids = []
        for entry in os.listdir("/proc"):
            try:
                place = os.readlink(f"/proc/{entry}/cwd") if entry.isdigit() else ""
                command = (
                    Path(f"/proc/{entry}/cmdline").read_bytes()
                    if place.startswith(str(self.state))
                    else b""
                )
            except OSError:
                continue
            if BINARY.encode() in command:
                pids.append(int(entry))
        return pids

    def files(self):
        """The files of servers, volumes and debts, and no others."""
        paths = [
            Path(directory, name).relative_to(
                self.state
            )  # os.walk, because a run may be removing them at this moment
            for directory, folders, names in os.walk(self.state)
            for name in folders + names
        ]
        return sorted(
            path
            for path in paths
            if path.parts[-1] not in ("qemu", "server", "volume", "ledger", "here")
        )

    def left(self):
        """Processes and files that are left. Waits a moment for processes that were killed."""
        soon(lambda: not self.processes(), 5)
        return self.processes(), self.files()

    def consoles(self) -> str:
        return "".join(
            path.read_text(errors="replace") for path in self.state.glob("qemu/server/*/console")
        )


def finish(process):
    """(exit code, stdout, stderr), as ``struck`` returns them."""
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, struck(stdout), stderr


def struck(text: str) -> str:
    """Durations as T, other measured figures as N, ids as ID."""
    text = re.sub(
        r" (metering|steal_avg|work_\w+)=\S+", "", text
    )  # present only when the guest reported them: see test_views.py
    text = re.sub(r"(_avg|_peak)=[\d.]+", r"\1=N", text)
    text = re.sub(r"=[\d.]+s", "=Ts", text)
    text = re.sub(r"\b[\d.]+ s\b", "T s", text)
    text = re.sub(r"\[ *[\d.]+\]", "[T]", text)
    text = re.sub(r"vmprobe-mon-\d+t\d+z-\d+-[a-z0-9]{8}", "HANDLE", text)
    text = re.sub(r"\b(server |volume vol-)[a-z0-9]{8}\b", r"\1ID", text)
    return re.sub(
        r"signal (\d+) from pid \d+ \([^)]*\)", r"signal \1 from pid N (WHO)", text
    ).rstrip("\n")


def soon(condition, seconds=120):
    """Wait until ``condition()`` is true, or the time is over. Returns its last result."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


@contextmanager
def harness():
    """For the conformance suite."""
    needed()
    with tempfile.TemporaryDirectory() as directory:
        site = QemuSite(Path(directory)).set("endpoint", directory=f"{directory}/qemu")
        harness = of_site(str(site.write()), Clock())
        harness.impossible = {"flavor": 2000 * 2**40}
        yield harness
