"""Fixtures: a directory with the stand-in for QEMU, and the number of open descriptors."""

import os
import resource
import signal

import pytest

from standin_qemu import Place


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    for pid in made.running():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def descriptors():
    """``descriptors(n)``: so many may be open; more than a thousand are, with whatever the caller left open."""
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    yield lambda most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1])), held
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in held:
        os.close(descriptor)
