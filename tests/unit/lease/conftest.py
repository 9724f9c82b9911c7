"""Fixtures: what a killed run has left."""

import pytest

from disasters import Disaster


@pytest.fixture
def killed(tmp_path):
    """A world whose last run was killed while its VM was booting: server ser-2 and volume vol-1 are there."""
    world = Disaster(tmp_path / "world", faults={8: "killed-before"})
    world.run_and_be_killed()
    world.cloud.log.clear()
    return world
