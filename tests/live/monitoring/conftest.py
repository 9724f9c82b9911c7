"""Fixtures: the daemons for the tests of this folder. A test starts what it needs; the fixture ends it."""

import os
import shutil

import pytest

from .icinga import Icinga
from .nagios import Nagios
from .place import needed, own, place


@pytest.fixture
def nagios_at():
    """Make a Nagios. After the test it is stopped, and its directory is removed."""
    yield from _daemons(Nagios, "nagios4")


@pytest.fixture
def icinga_at():
    """Make an Icinga 2, in the same way."""
    yield from _daemons(Icinga, "icinga2", "unshare", "openssl", "curl")


def _daemons(kind, *programs):
    needed(*programs)
    with place() as directory:
        made = []

        def make(**options):
            made.append(kind(directory / f"daemon{len(made)}", **options))
            return made[-1]

        try:
            yield make
        finally:
            for daemon in made:
                daemon.stop()


@pytest.fixture(scope="session")
def images():
    """The suite's own image, in a directory that the daemons' user can read."""
    from vmprobe.core.errors import ClientError
    from vmprobe.guest import image

    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("qemu-system-x86_64 is not installed (Debian: qemu-system-x86)")
    with place() as directory:
        try:
            made = image.build(image.directory())
        except ClientError as missing:
            pytest.skip(f"there is no test image: {missing}")
        for file in made.values():
            shutil.copy(file.path, directory / os.path.basename(file.path))
        yield own(directory)
