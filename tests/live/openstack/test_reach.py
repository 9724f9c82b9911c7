"""check_vm_lifecycle at the depth reach: the security group and the floating IP are Neutron's own, and gone in the end.

No router is behind them: the external network is on loopback, and this test answers at the floating IP in place of the
VM. This proves what the check does and what Neutron promises; it does not prove that packets are routed.
"""

from __future__ import annotations

import contextlib
import socket

import pytest

from running import requests_in, run_probe

from .shared import line

pytestmark = pytest.mark.live
OUTSIDE = "127.99.7.9"


@pytest.fixture
def external(openstack):
    """The name of an external network with one address, which a router connects to the VMs' network."""
    admin = openstack.api()
    with contextlib.ExitStack() as cleanup:

        def post(path, **body):
            made = admin.post("network", f"/v2.0/{path}", body)
            return made[next(iter(body))]["id"]

        def delete_later(path):
            cleanup.callback(lambda: admin("DELETE", "network", f"/v2.0/{path}"))

        outside = post("networks", network={"name": "outside", "router:external": True})
        delete_later(f"networks/{outside}")
        post(
            "subnets",
            subnet={
                "network_id": outside,
                "ip_version": 4,
                "cidr": "127.99.7.0/24",
                "enable_dhcp": False,
                "allocation_pools": [{"start": OUTSIDE, "end": "127.99.7.10"}],
            },
        )
        router = post(
            "routers",
            router={
                "name": "outside",
                "external_gateway_info": {
                    "network_id": outside,
                    "external_fixed_ips": [{"ip_address": "127.99.7.10"}],
                },
            },
        )
        delete_later(f"routers/{router}")
        [inside] = [
            subnet["id"]
            for subnet in admin.get("network", "/v2.0/subnets")["subnets"]
            if subnet["name"] == openstack.cloud().network
        ]
        admin(
            "PUT",
            "network",
            f"/v2.0/routers/{router}/add_router_interface",
            json={"subnet_id": inside},
        )
        cleanup.callback(
            lambda: admin(
                "PUT",
                "network",
                f"/v2.0/routers/{router}/remove_router_interface",
                json={"subnet_id": inside},
            )
        )
        yield "outside"


@pytest.fixture
def of_neutron(openstack):
    """The floating IPs and security groups that are new in the member's project."""
    member = openstack.api(openstack.cloud().member)

    def there():
        return [
            thing["id"]
            for key in ("floatingips", "security-groups")
            for thing in member.get("network", f"/v2.0/{key}")[key.replace("-", "_")]
            if thing.get("name") != "default"
        ]

    before = there()
    return lambda: [thing for thing in there() if thing not in before]


def test_a_vm_is_reached_by_its_floating_ip_which_is_gone_in_the_end(
    site, external, of_neutron, tmp_path
):
    with socket.create_server((OUTSIDE, 0)) as listening:
        port = listening.getsockname()[1]
        path = site(
            depth="reach", volume="none", **{"external network": external, "reach port": str(port)}
        )
        code, output, _ = run_probe(
            "check_vm_lifecycle", "--site", path, "--evidence", str(tmp_path / "evidence")
        )
    asked = [
        request.partition("//")[2].partition("/")[2]
        for request in requests_in(tmp_path / "evidence")
        if request.startswith("POST")
    ]

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran without storage and is gone in T s (active T s, network T s)",
    ), output
    assert asked == [
        "v3/auth/tokens",
        "v2.0/security-groups",
        "v2.0/security-group-rules",
        "v2.0/security-group-rules",
        "v2.1/servers",
        "v2.0/floatingips",
    ]
    assert of_neutron() == []


@pytest.mark.slow
def test_a_vm_that_does_not_answer_is_critical_and_nothing_is_left(site, external, of_neutron):
    path = site(
        depth="reach",
        volume="none",
        budget={"network": "20 s"},
        **{"external network": external, "reach port": "9"},
    )

    code, output, _ = run_probe("check_vm_lifecycle", "--site", path)

    assert (code, line(output)) == (
        2,
        f"VM_LIFECYCLE CRITICAL - openstack: network: server ID: {OUTSIDE} port 9: Connection refused; "
        "not done within T s (cause=network)",
    )
    assert of_neutron() == []
