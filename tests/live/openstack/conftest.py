"""The running cloud, for every live test of this folder."""
from __future__ import annotations

import pytest

from .shared import running
from .stack import Unavailable


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
