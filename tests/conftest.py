"""What the tests share: a probe over the in-memory cloud with virtual time, and probes as processes."""

import compileall
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ending
from virtual import VirtualClock
from vmprobe.report import verdict
from vmprobe.drivers.memory import driver
from vmprobe.checks.leftovers import command as leftovers
from vmprobe.checks.lifecycle import command as lifecycle

CHECKOUT = Path(__file__).resolve().parent.parent
PROBES = CHECKOUT / "probes"
_urls = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--regen", action="store_true", help="write the generated parts of README.md anew")


def pytest_configure():
    """The probes are started many hundred times: compiled once, also where Python is told to write no bytecode."""
    compileall.compile_dir(PROBES / "vmprobe", quiet=1)


# What one process does alone where several share a run, by patterns of test ids; of the rest each takes whole files.
TOGETHER = {
    "the one OpenStack": r"/live/openstack/|/occi/test_(ooi|grid)|/ec2/test_fronted|/monitoring/test_openstack|\[(openstack|ec2-api|ooi)\]",
    "the packages": r"/packages/",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return next((name for name, ids in TOGETHER.items() if re.search(ids, nodeid)), nodeid.split("::")[0])
    return Together(config, log)


def pytest_make_parametrize_id(config, val, argname):
    """What a test is tried with becomes a few words in its id: pytest hands the id to every child process, in its environment.

    Ids that a test gives itself stay as they are, and so does what pytest calls by the parameter's name and a number.
    """
    if getattr(val, "__name__", "") == "<lambda>":
        return argname
    if isinstance(val, bytes):
        return words_of(val.decode("ascii", "replace")) or argname
    if isinstance(val, str) or isinstance(val, (int, float)) and len(str(val)) > LONGEST_WORDS:
        return words_of(str(val)) or argname
    return None


LONGEST_WORDS = 30


def words_of(text, longest=LONGEST_WORDS):
    """The first words of a text, joined by hyphens; '' if it has none, or begins with one that is too long."""
    found = re.sub(r"[^A-Za-z0-9._]+", "-", text[:1000]).strip("-.")
    return found if len(found) <= longest else found[:longest].rpartition("-")[0]


_told = []


@pytest.fixture(scope="session")
def tell():
    """``tell(line)``: a figure that ends up below the summary of the whole run, such as how much was tried."""
    return _told.append


def pytest_sessionfinish(session):
    ending.run.close()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["told"] = _told


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _told.extend(getattr(node, "workeroutput", {}).get("told", ()))


def pytest_terminal_summary(terminalreporter):
    for line in _told:
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def state_directory(tmp_path, monkeypatch):
    """Ledgers of a test stay in the test."""
    directory = tmp_path / "state"
    monkeypatch.setenv("VMPROBE_STATE", str(directory))
    return directory


@pytest.fixture
def clock():
    return VirtualClock()


class MemorySite:
    """A site over an in-memory cloud of its own, and the probes run against it in virtual time."""

    def __init__(self, directory: Path, clock: VirtualClock):
        self.clock = clock
        self.url = f"memory://test-{next(_urls)}"
        self.cloud = driver.cloud(self.url, clock)
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
        return self._run(f"VM_{name.upper()}", importlib.import_module(f"vmprobe.checks.{name}.command"), options)

    def _run(self, name: str, probe, options):
        said = probe.main(["--site", str(self.write()), *options], clock=self.clock)
        return said.state, verdict.render(name, said)


@pytest.fixture
def site(tmp_path, clock):
    return MemorySite(tmp_path, clock)


def run_probe(name: str, *options: str, env=None, **words):
    """(exit code, stdout, stderr) of a probe run as a process, as a scheduler does it."""
    done = subprocess.run([sys.executable, str(PROBES / name), *options], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, **words)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def probe():
    return run_probe


def requests_in(directory: Path):
    """What the one run asked for whose ``--evidence`` this directory is, each as ``METHOD URL``, in its order."""
    (file,) = directory.iterdir()
    return [exchange["request"] for exchange in json.loads(file.read_text())["exchanges"]]
