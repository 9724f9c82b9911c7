"""A directory for a monitoring daemon and the checks that it starts, which run as a user of their own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from running import PROBES

USER = "nagios"
AS_USER = [
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--clear-groups",  # and it can read the directory of the tests' Python
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]


def needed(*programs: str) -> None:
    """Skip, with the reason, where these daemons cannot be started."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: see tests/packages.txt)")
    if os.geteuid() != 0:
        pytest.skip("a monitoring daemon is started as a user of its own, which takes root")
    if subprocess.run(
        [*AS_USER, sys.executable, "-c", "import nagiosplugin"], check=False
    ).returncode:
        pytest.skip(f"the user {USER} cannot run {sys.executable}")


@contextmanager
def place():
    """A directory that the daemons' user owns and can reach; it is removed with its content."""
    path = Path(tempfile.mkdtemp(prefix="vmprobe-live-"))
    try:
        own(path)
        path.chmod(0o755)
        yield path
    finally:
        _empty(path)
        shutil.rmtree(path, ignore_errors=True)


def _empty(path: Path) -> None:
    """Wait for the checks that a daemon left behind, because they would write here again; kill those that do not end."""
    until = time.monotonic() + 30
    while time.monotonic() < until and _of(path):
        time.sleep(0.1)
    for pid in _of(path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _of(path: Path) -> list:
    """Processes that name this directory in their command line."""
    pids = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if f"{path}/".encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                pids.append(int(entry))
    return pids


def own(path: Path) -> Path:
    """Give a file or a tree to the daemons' user."""
    shutil.chown(path, USER, USER)
    for folder, folders, files in os.walk(
        path
    ):  # it ignores files that vanish: the next check still cleans up after a killed one
        for name in folders + files:
            with suppress(FileNotFoundError):
                shutil.chown(os.path.join(folder, name), USER, USER)
    return path


def probe(name: str = "check_vm_lifecycle") -> str:
    """The command of a check, with the Python that runs the tests."""
    return f"{sys.executable} {PROBES / name}"


class Daemon:
    """A process that we start, and end by its pid."""

    def __init__(self, directory: Path):
        self.directory, self._process = directory, None

    def run(self, command, **options) -> None:
        log = open(self.directory / "daemon.log", "ab")
        with log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return (self.directory / "daemon.log").read_text(errors="replace")

    def stop(self) -> None:
        if self.alive():
            self._process.terminate()
            self._process.wait(30)
        self._process = None
