"""Fixtures: the test image, built once for all tests."""

import os
import shutil
from pathlib import Path

import pytest

from images import DISKS
from vmprobe.core.errors import ClientError
from vmprobe.guest import image


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A directory in which a kernel was already downloaded: the user's own copy of it, if there is one."""
    directory = tmp_path_factory.mktemp("image")
    try:
        own = Path(image.directory())
    except ClientError:  # a user without a home
        return directory
    for package in own.glob("*.deb"):
        os.link(
            package, directory / package.name
        ) if directory.stat().st_dev == package.stat().st_dev else shutil.copy(package, directory)
    return directory


@pytest.fixture(scope="session")
def plain(kept):
    return image.build(str(kept))


@pytest.fixture(scope="session")
def disks(kept, plain):
    return image.build(str(kept), DISKS)


@pytest.fixture(scope="session")
def by_hand(kept, plain):
    """The same kernel and modules as the distribution's, as somebody would give them by hand."""
    (folder,) = [path for path in kept.iterdir() if (path / "vmlinuz").exists()]
    return {"kernel": str(folder / "vmlinuz"), "modules": str(folder)}
