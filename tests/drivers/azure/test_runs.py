"""Whole runs over the simulated Azure: the verdicts as whole lines."""

import pytest

from running import run_probe
from simulators.azure_world import FINE, LIFECYCLE, line

pytestmark = pytest.mark.live  # whole runs


def test_ok_when_the_vm_ran_and_is_gone(world):
    code, output, errors = run_probe(
        LIFECYCLE, "--site", world.site(volume="1 GiB", depth="console", snapshot="yes")
    )

    assert (code, line(output), errors) == (0, FINE, "")


def test_a_run_has_a_resource_group_to_itself_which_goes_in_one_request(world):
    assert world.run() == (0, FINE)

    writes = [call for call in world.azure.calls if not call.startswith(("GET", "POST"))]
    assert writes == [
        "PUT group",
        "PUT disks",
        "PUT networkinterfaces",
        "PUT virtualmachines",
        "PATCH virtualmachines",
        "PATCH virtualmachines",
        "DELETE virtualmachines",
        "DELETE group",
    ]
