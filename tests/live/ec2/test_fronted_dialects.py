"""Eucalyptus' and Nimbus' dialects over a real OpenStack: their own path and signature, verified, before ec2-api."""
from __future__ import annotations

import pytest

from conftest import run_probe

from ..openstack.shared import left
from . import fronted, places
from .relay import Relay
from .test_dialects import DIALECTS
from .test_lifecycle import line

pytestmark = pytest.mark.live


@pytest.fixture(params=DIALECTS)
def cloud(request, tmp_path):
    """run(*options, secret, **test_vm) gives (exit code, first line); what is left in the services themselves fails it."""
    front, (words, endpoint) = fronted.front(), DIALECTS[request.param]
    manager = request.param.partition("-")[0]
    there = front.stack.cloud()
    before, keys = left(front.stack), {"image": there.image}
    if manager == "eucalyptus":
        keys.update({"network": front.subnet, "availability zone": there.zone, "volume zone": "nova"})
    with Relay(front, *words) as gateway:
        def run(*options, secret=front.secret, **test_vm):
            path = places.site_file(
                tmp_path, gateway.url + (gateway.path if "signature" in endpoint else ""), manager,
                f"access_key = {front.access}\nsecret_key = {secret}\n", {"timeout": "180 s", **endpoint},
                budget="deadline = 600 s\nreserve = 200 s", **{**keys, **test_vm})
            code, output, errors = run_probe("check_vm_lifecycle", "--site", str(path), *options)
            assert errors == ""
            return code, line(output)
        run.manager, run.gateway = manager, gateway
        yield run
    assert [thing for thing in left(front.stack) if thing not in before] == []


def test_ok_when_the_vm_ran_and_is_gone(cloud):
    storage = ("ran", ", storage T s") if cloud.manager == "eucalyptus" else ("ran without storage", "")

    assert cloud() == (
        0, f"VM_LIFECYCLE OK - {cloud.manager}: test VM {storage[0]} and is gone in T s (active T s, network T s{storage[1]})")
    (run_instances,) = [form for action, form in cloud.gateway.calls if action == "RunInstances"]
    assert run_instances.get("InstanceType") == ("nano" if cloud.manager == "eucalyptus" else None)


def test_a_wrong_secret_is_rejected(cloud):
    code, said = cloud(secret="wrong")

    assert code == 2
    assert said.startswith(f"VM_LIFECYCLE CRITICAL - {cloud.manager}: auth: authentication: 401 SignatureDoesNotMatch: The request signature")
