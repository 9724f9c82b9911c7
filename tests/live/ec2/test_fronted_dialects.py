"""Eucalyptus' and Nimbus' dialects over a real OpenStack: their own path and signature, verified, before ec2-api."""

from __future__ import annotations

import re

import pytest

from running import run_probe

from ..openstack.shared import left, quota
from . import fronted, places
from .probing import line
from .relay import Relay
from .test_dialects import DIALECTS

pytestmark = pytest.mark.live


@pytest.fixture(params=["eucalyptus-4", "nimbus-2"])
def cloud(request, tmp_path):
    """run(*options, secret, probe) returns (exit code, first line). A test fails if it leaves anything in the services."""
    front, (arguments, _) = fronted.front(), DIALECTS[request.param]
    manager = request.param.partition("-")[0]
    there = front.stack.cloud()
    before, keys = left(front.stack), {"image": there.image}
    if manager == "eucalyptus":
        keys.update(
            {"network": front.subnet, "availability zone": there.zone, "volume zone": "nova"}
        )
    with Relay(front, *arguments) as gateway:

        def run(*options, secret=front.secret, probe="check_vm_lifecycle"):
            path = places.site_file(
                tmp_path,
                gateway.url,
                manager,
                f"access_key = {front.access}\nsecret_key = {secret}\n",
                {"timeout": "180 s"},
                budget="deadline = 600 s\nreserve = 200 s",
                **keys,
            )
            code, output, errors = run_probe(probe, "--site", str(path), *options)
            assert errors == ""
            return code, line(output)

        run.manager, run.gateway, run.stack = manager, gateway, front.stack
        yield run
    assert [thing for thing in left(front.stack) if thing not in before] == []


def test_ok_when_the_vm_ran_and_is_gone(cloud):
    storage = (
        ("ran", ", storage T s") if cloud.manager == "eucalyptus" else ("ran without storage", "")
    )

    assert cloud() == (
        0,
        f"VM_LIFECYCLE OK - {cloud.manager}: test VM {storage[0]} and is gone in T s (active T s, network T s{storage[1]})",
    )
    (run_instances,) = [form for action, form in cloud.gateway.calls if action == "RunInstances"]
    assert run_instances.get("InstanceType") == ("nano" if cloud.manager == "eucalyptus" else None)


def test_a_wrong_secret_is_rejected(cloud):
    code, output = cloud(secret="wrong")

    assert code == 2
    assert output.startswith(
        f"VM_LIFECYCLE CRITICAL - {cloud.manager}: auth: authentication: 401 SignatureDoesNotMatch: The request signature"
    )


@pytest.mark.parametrize("cloud", ["eucalyptus-4"], indirect=True)
def test_max_instances_is_the_limit_of_servers(cloud):
    with quota(cloud.stack, instances=7):
        code, output = cloud(probe="check_vm_capacity")
    assert code == 0
    assert re.fullmatch(
        r"VM_CAPACITY OK - eucalyptus: free: 7 of 7 servers(, \d+ of \d+ leases in subnet subnet-\w+)?",
        output,
    )
