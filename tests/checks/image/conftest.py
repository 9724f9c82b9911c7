"""Endorsers, and the lists that they sign."""

import shutil
import time

import pytest

from endorsers import Authority
from image_lists import OTHER, SUM
from virtual import VirtualClock
from vmprobe.core.model import Image, State


@pytest.fixture
def clock():
    return VirtualClock(
        utc=float(int(time.time()) + 60)
    )  # certificates that are made now must be valid


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    if not shutil.which("xmlsec1"):
        pytest.skip("xmlsec1 is not installed")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def jane(authority):
    return authority.person("Jane")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory):
    """A signer with Jane's name, from another CA."""
    return Authority(tmp_path_factory.mktemp("other"), "Other CA").person("Jane")


@pytest.fixture
def listed(site, authority, tmp_path):
    """Write a list with this content. Returns the options that name it."""

    def write(content, name="images.list"):
        path = tmp_path / name
        path.write_bytes(content)
        return ["--list", str(path), "--ca", str(authority.ca)]

    site.cloud.described = [
        Image("img-1", "vmprobe-test", State.READY, "active", {"sha512": SUM}),
        Image("img-2", "sl6", State.READY, "active", {"sha512": OTHER}, {"ad:id": "uuid-2"}),
    ]
    return write
