"""Fixtures of the tests of vmprobectl."""

import pytest

from controlling import SITE, TABLE


@pytest.fixture
def sites(tmp_path):
    folder = tmp_path / "sites"
    folder.mkdir()
    (folder / "one.ini").write_text(SITE.format(name="one", notes="Łódź"), "utf-8")
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text(TABLE, "utf-8")
    (tmp_path / "imported").mkdir()
    return path
