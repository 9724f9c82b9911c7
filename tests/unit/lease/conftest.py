"""Fixtures: what a killed run has left, and a directory for ledgers."""

import pytest

from disasters import Disaster


@pytest.fixture
def killed(tmp_path):
    """A cloud whose last run was killed while its VM booted: server ser-2, volume vol-1 and one ledger are left."""
    disaster = Disaster(tmp_path / "world", faults={8: "killed-before"})
    disaster.run_and_be_killed()
    assert len(disaster.ours()) == 2 and len(disaster.ledgers()) == 1
    disaster.cloud.plot.clear()
    disaster.cloud.log.clear()
    return disaster


@pytest.fixture
def file(killed):
    """The ledger of the killed run."""
    return next(killed.state.rglob("*.ledger"))


@pytest.fixture
def directory(tmp_path):
    """Where ledgers may be; it does not exist yet."""
    return str(tmp_path / "ledger")
