"""Run checks: as processes, as a scheduler does, or in virtual time over the cloud in memory."""

import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

from virtual import VirtualClock
from vmprobe.checks.leftovers import command as leftovers
from vmprobe.checks.lifecycle import command as lifecycle
from vmprobe.drivers.memory.cloud import cloud
from vmprobe.report import verdict

CHECKOUT = Path(__file__).resolve().parents[2]
PROBES = CHECKOUT / "probes"
LIFECYCLE = str(PROBES / "check_vm_lifecycle")
_urls = itertools.count(1)


class MemorySite:
    """A site with a cloud in memory of its own, and the checks run over it in virtual time."""

    def __init__(self, directory: Path, clock: VirtualClock):
        self.clock = clock
        self.url = f"memory://test-{next(_urls)}"
        self.cloud = cloud(self.url, clock)
        self.path = directory / "site.ini"
        self.sections = {
            "site": {"name": "site", "owner": "mon"},
            "endpoint": {"manager": "memory", "url": self.url, "boot": "10 s"},
            "test vm": {"image": "vmprobe-test", "depth": "console"},
            "budget": {"deadline": "300 s", "reserve": "60 s"},
        }

    def set(self, section: str, **keys: str) -> "MemorySite":
        self.sections.setdefault(section, {}).update(keys)
        return self

    def write(self) -> Path:
        lines = []
        for section, keys in self.sections.items():
            lines += [f"[{section}]"] + [f"{key} = {value}" for key, value in keys.items()] + [""]
        self.path.write_text("\n".join(lines))
        return self.path

    def lifecycle(self, *options: str):
        """(exit code, whole output) of check_vm_lifecycle."""
        return self._run("VM_LIFECYCLE", lifecycle, options)

    def leftovers(self, *options: str):
        """(exit code, whole output) of check_vm_leftovers."""
        return self._run("VM_LEFTOVERS", leftovers, options)

    def probe(self, name: str, *options: str):
        """(exit code, whole output) of check_vm_<name>."""
        return self._run(
            f"VM_{name.upper()}", importlib.import_module(f"vmprobe.checks.{name}.command"), options
        )

    def _run(self, name: str, probe, options):
        said = probe.main(["--site", str(self.write()), *options], clock=self.clock).verdict
        return said.state, verdict.render(name, said)


def run_probe(name: str, *options: str, env=None, **words):
    """(exit code, stdout, stderr) of a check run as a process, as a scheduler does."""
    done = subprocess.run(
        [sys.executable, str(PROBES / name), *options],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        **words,
    )
    return done.returncode, done.stdout, done.stderr


def requests_in(directory: Path):
    """The requests of the run whose ``--evidence`` this directory is, each as ``METHOD URL``."""
    (file,) = directory.iterdir()
    return [exchange["request"] for exchange in json.loads(file.read_text())["exchanges"]]
