"""The running cloud, for every live test of this folder."""
from __future__ import annotations

import os

import pytest

from .stack import Stack, Unavailable


@pytest.fixture(scope="session")
def openstack():
    """A ``Stack`` that is up, with Nova's fake hypervisor; it ends with the run.

    With ``VMPROBE_LIVE_REUSE`` set, one that was started by hand is taken, and left running.
    """
    reuse = bool(os.environ.get("VMPROBE_LIVE_REUSE"))
    stack = Stack()
    try:
        stack.up(reuse=reuse)
    except Unavailable as reason:
        pytest.skip(f"no OpenStack here: {reason}")

    yield stack

    if not reuse:
        stack.down()


@pytest.fixture(scope="session")
def openstack_qemu(openstack):
    """The same ``Stack``, now with a zone of real guests (``cloud().guest_zone`` and its neighbours)."""
    try:
        openstack.add_qemu()
    except Unavailable as reason:
        pytest.skip(f"no real guests here: {reason}")
    return openstack
