"""Drivers before a vCenter whose answers a test writes itself."""

import pytest

from simulators.scripted_vsphere import Scripted, driver


@pytest.fixture
def scripted():
    """scripted(answers, ...) is (server, driver); the driver is not connected yet."""
    servers = []

    def start(answers=(), **words):
        servers.append(Scripted(dict(answers)))
        return servers[-1], driver(servers[-1].url, **words)

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def connected(scripted):
    """connected(answers, ...) is the same with the driver connected."""

    def start(answers=(), **words):
        server, vsphere = scripted(answers, **words)
        vsphere.connect()
        return server, vsphere

    return start
