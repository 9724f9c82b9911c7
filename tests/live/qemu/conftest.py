"""Fixtures: a site over the QEMU of this machine."""

import os
import signal

import pytest

from live.local_qemu import QemuSite, needed


@pytest.fixture(autouse=True, scope="module")
def qemu_and_image():
    needed()


@pytest.fixture
def here(tmp_path):
    """A site for each test. What a failed test leaves running is killed."""
    made = QemuSite(tmp_path)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)
