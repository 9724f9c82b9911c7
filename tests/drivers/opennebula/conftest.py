"""The simulated oned; pyone, OpenNebula's own client, judges its answers."""

import pytest

from simulators import opennebula_sites
from simulators.opennebula import Oned
from simulators.opennebula_server import served
from simulators.opennebula_world import World


@pytest.fixture(params=["6.10.0"])
def world(request, tmp_path):
    """A test fails if it leaves anything there, or if pyone does not understand an answer."""
    pytest.importorskip("pyone", reason="pyone, OpenNebula's own client, is not installed")
    oned = Oned(request.param)
    if request.param >= "6":
        oned.judge = opennebula_sites.judge
    with served(oned) as (_, url):
        yield World(oned, url, tmp_path)
        oned.faults.clear()
        assert (oned.left(), oned.rejected) == ([], [])
