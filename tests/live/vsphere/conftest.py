"""One simulator for a file of tests, behind the proxy; each test leaves it as it was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from . import places, vcsim
from .proxy import Proxy


@pytest.fixture(scope="module")
def simulator():
    with vcsim.running() as url, Proxy(url) as proxy:
        client = places.Client(url)
        places.make_template(client)
        yield SimpleNamespace(url=url, proxy=proxy, client=client, files=client.files())


@pytest.fixture
def vcenter(simulator):
    """A vCenter without faults. A test that leaves a machine, a file or a session in it fails; the next does not."""
    simulator.proxy.heal()
    machines = set(simulator.client.machines())
    yield simulator
    simulator.proxy.heal()
    left = set(simulator.client.machines()) - machines
    files = set(simulator.client.files()) - set(simulator.files)
    simulator.files = simulator.client.files()
    assert (left, files, simulator.client.sessions()) == (set(), set(), 1)


@pytest.fixture
def site(vcenter, tmp_path):
    """Writes the site file, with more keys of [endpoint] and [test vm]."""

    def write(**words):
        return str(places.site_file(tmp_path, vcenter.proxy.url, **words))

    return write
