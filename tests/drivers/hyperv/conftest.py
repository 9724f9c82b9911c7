"""The simulated Hyper-V behind psrpcore's PowerShell remoting."""

import pytest

from simulators import hyperv_sites


@pytest.fixture
def world(tmp_path):
    """A test fails if it leaves anything in it, or asks for what no script may ask for."""
    hyperv_sites.needs_libraries()
    from simulators.hyperv_server import served

    with served() as (server, url):
        world = hyperv_sites.World(server, url, tmp_path)
        yield world
        assert (world.hyperv.left(), world.hyperv.wrong) == ([], [])


@pytest.fixture
def connected(world):
    """The driver alone, with a session."""
    driver, _ = world.driver()
    driver.connect()
    yield driver
    driver.close()
    assert world.server.shells == {}
