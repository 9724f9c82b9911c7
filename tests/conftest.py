"""Fixtures and hooks for all tests."""

import compileall
import re

import pytest

import ending
from ids import pytest_make_parametrize_id  # noqa: F401  a hook of pytest's
from running import PROBES, MemorySite, run_probe
from virtual import VirtualClock


def pytest_addoption(parser):
    parser.addoption(
        "--regen", action="store_true", help="write the generated parts of README.md anew"
    )


def pytest_configure():
    """Compile the package once: checks are started many hundred times, perhaps without bytecode."""
    compileall.compile_dir(PROBES / "vmprobe", quiet=1)


# Tests that one process runs alone where several share a run, by patterns of their ids. The other
# tests are shared by whole files.
TOGETHER = {
    "the one OpenStack": r"/live/openstack/|/occi/test_(ooi|grid)|/ec2/test_fronted|/monitoring/test_openstack|\[(openstack|ec2-api|ooi)[-\]]",
    "the packages": r"/packages/",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return next(
                (name for name, ids in TOGETHER.items() if re.search(ids, nodeid)),
                nodeid.split("::")[0],
            )

    return Together(config, log)


_told = []


@pytest.fixture(scope="session")
def tell():
    """``tell(line)``: print a line below the summary of the whole run."""
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
    """Keep the ledgers of each test in its own directory."""
    directory = tmp_path / "state"
    monkeypatch.setenv("VMPROBE_STATE", str(directory))
    return directory


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def site(tmp_path, clock):
    return MemorySite(tmp_path, clock)


@pytest.fixture
def probe():
    return run_probe
