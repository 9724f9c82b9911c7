"""What the tests of the drivers share."""

import pytest

from simulators.openstack import Services, driver


@pytest.fixture
def services():
    found = Services()
    with found.server:
        yield found


@pytest.fixture
def cloud(services):
    """The driver, connected; what was asked until then is forgotten."""
    made = driver(services)
    made.connect()
    services.asked.clear()
    return made
