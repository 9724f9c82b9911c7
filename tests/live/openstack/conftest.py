"""Fixtures: the running cloud, for every live test of this folder."""

from __future__ import annotations

import pytest

from .packages import Unavailable
from .shared import left, running, site_file


@pytest.fixture(scope="session")
def openstack():
    """A ``Stack`` that is up, with Nova's fake hypervisor; it ends with the run."""
    return running()


@pytest.fixture(scope="session")
def openstack_qemu(openstack):
    """The same ``Stack``, with a zone of real guests (``cloud().guest_zone`` and the attributes beside it)."""
    try:
        openstack.add_qemu()
    except Unavailable as reason:
        pytest.skip(f"no real guests here: {reason}")
    return openstack


@pytest.fixture
def site(openstack, tmp_path):
    """Write the site file, with the arguments of ``site_file``. A test fails if it leaves anything."""
    yield lambda **keys: str(site_file(tmp_path, openstack.cloud(), **keys))
    assert left(openstack) == []
