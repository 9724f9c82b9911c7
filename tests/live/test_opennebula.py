"""The OpenNebula driver over an existing oned, because the tests cannot start one: ``VMPROBE_LIVE_OPENNEBULA=/path/to/site.ini``.

If it is set, the conformance suite has one more harness, ``opennebula-site``, and these whole runs take place.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from running import run_probe
from vmprobe.core.clock import Clock

SITE = os.environ.get("VMPROBE_LIVE_OPENNEBULA", "")

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.skipif(
        not SITE, reason="VMPROBE_LIVE_OPENNEBULA names no site file of an OpenNebula"
    ),
]


@contextmanager
def harness():
    """For the conformance suite."""
    from conformance.harnesses import of_site

    harness = of_site(SITE, Clock(), reports=False)
    harness.impossible_id = "999999999"
    yield harness


def run(probe, *options):
    """(exit code, first word of the verdict). The output is shown when the test fails."""
    code, output, errors = run_probe(probe, "--site", SITE, *options)
    print(output, errors)
    return code, output.split(" - ")[0]


@pytest.mark.parametrize("options", [(), ("--count", "3")], ids=["one", "three"])
def test_a_test_vm_lives_and_is_gone(options):
    assert run("check_vm_lifecycle", "-v", *options) == (0, "VM_LIFECYCLE OK")
    assert run("check_vm_leftovers") == (0, "VM_LEFTOVERS OK")


@pytest.mark.parametrize(
    "probe, options",
    [
        ("check_vm_gateway", ("--capabilities",)),
        ("check_vm_image", ()),
        ("check_vm_capacity", ("-v", "--need", "1")),
        ("check_vm_state", ("-v",)),
        ("check_vm_activity", ("-v",)),
    ],
)
def test_the_other_probes_answer(probe, options):
    code, output = run(probe, *options)

    assert code in (0, 1, 2), output  # the content of somebody's cloud may alert
