"""The running cloud, for every live test of this folder."""

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
    """The same ``Stack``, now with a zone of real guests (``cloud().guest_zone`` and its neighbours)."""
    try:
        openstack.add_qemu()
    except Unavailable as reason:
        pytest.skip(f"no real guests here: {reason}")
    return openstack


@pytest.fixture
def site(openstack, tmp_path):
    """Writes the site file, with the keys that ``site_file`` takes; whatever a test leaves fails it."""
    yield lambda **keys: str(site_file(tmp_path, openstack.cloud(), **keys))
    assert left(openstack) == []
