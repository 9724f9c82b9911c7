"""Fixtures of the tests of vmprobectl config."""

import shutil
from pathlib import Path

import pytest

from configuring import GOLDEN


@pytest.fixture
def sites(tmp_path):
    """The golden sites, to be changed."""
    return Path(shutil.copytree(GOLDEN / "sites", tmp_path / "sites"))
