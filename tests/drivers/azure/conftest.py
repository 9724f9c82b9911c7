"""The simulated Azure; a test fails if it leaves anything in it."""

import pytest

from simulators.azure import Azure
from simulators.azure_server import served
from simulators.azure_world import World


@pytest.fixture
def world(tmp_path):
    azure = Azure(delay=0.05)
    with served(azure) as (services, url):
        yield World(services, url, tmp_path)
        assert azure.left() == []
