"""Fixtures of the tests of vmprobectl sites import."""

import pytest

from importing import CSV


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "sites"
    path.mkdir()
    return path
