"""A whole run on an OpenStack that shows what it has just created a moment late."""

import json
from types import SimpleNamespace

import pytest

from simulators.openstack import answer, driver
from virtual import VirtualClock
from vmprobe.checks.lifecycle import story
from vmprobe.core.cloud import Cloud
from vmprobe.core.handle import new
from vmprobe.core.timeline import Timeline
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger
from vmprobe.site.site import Sampling

NOVA, NEUTRON = "/compute/v2.1", "/network/v2.0"
TEST_VM = {
    "image": "vmprobe-test",
    "flavor": "",
    "network": "",
    "volume": 0,
    "depth": "reach",
    "reach port": 0,
    "count": 1,
    "snapshot": False,
    "external network": "public",
    "availability zone": None,
    "security group": None,
    "volume type": None,
    "boot from volume": False,
    "config drive": False,
}


@pytest.fixture
def young(services):
    """Services that create a server, a group and a floating IP; only the third list shows the port."""
    there, lists = {}, []

    def makes(key, **more):
        def made(request):
            there[key] = {"id": key, **json.loads(request.body)[key], **more}
            return answer({key: there[key]}, 201)

        return made

    def shows(key):
        return lambda request: (
            answer({key: there[key]})
            if key in there
            else answer({"itemNotFound": {"message": "gone"}}, 404)
        )

    def removes(key):
        return lambda request: answer({} if there.pop(key) else {}, 200)

    def ports(request):
        lists.append(request.target)
        return answer(
            {
                "ports": [
                    {
                        "id": "p1",
                        "name": "",
                        "status": "ACTIVE",
                        "device_id": "server",
                        "fixed_ips": [{"ip_address": "10.0.0.5"}],
                    }
                ]
                if len(lists) > 2 and "server" in there
                else []
            }
        )

    services.answers.update(
        {
            f"GET {NOVA}/flavors/detail": answer(
                {"flavors": [{"id": "f", "name": "tiny", "ram": 128, "vcpus": 1, "disk": 1}]}
            ),
            "GET /image/v2/images": answer(
                {"images": [{"id": "i", "name": "vmprobe-test", "status": "active", "size": 1}]}
            ),
            f"GET {NEUTRON}/networks": answer(
                {"networks": [{"id": "n", "name": "public", "subnets": ["s"]}]}
            ),
            f"GET {NEUTRON}/ports": ports,
            f"POST {NEUTRON}/security-group-rules": answer(
                {"security_group_rule": {"id": "r"}}, 201
            ),
        }
    )
    for where, key, more in (
        (f"{NOVA}/servers", "server", {"status": "ACTIVE"}),
        (f"{NEUTRON}/security-groups", "security_group", {}),
        (f"{NEUTRON}/floatingips", "floatingip", {"floating_ip_address": "127.0.0.1"}),
    ):
        services.answers.update(
            {
                f"POST {where}": makes(key, **more),
                f"GET {where}/{key}": shows(key),
                f"DELETE {where}/{key}": removes(key),
            }
        )
        if key != "server":
            name = where.rpartition("/")[2].replace("-", "_")
            services.answers[f"GET {where}"] = lambda request, key=key, name=name: answer(
                {name: [there[key]] if key in there else []}
            )
    services.answers[f"GET {NOVA}/servers/detail"] = lambda request: answer(
        {"servers": [there["server"]] if "server" in there else []}
    )
    return there


def test_an_address_is_asked_for_once_the_port_that_it_is_for_is_shown(young, services):
    clock = VirtualClock()
    cloud = driver(services, clock)
    timeline, handle = Timeline(clock), new("mon", 60, clock.utc())
    lease = Lease(Cloud(cloud, cloud.deadline), handle, Ledger(), timeline)
    site = SimpleNamespace(
        test_vm={**TEST_VM, "reach port": int(services.server.url.rpartition(":")[2])},
        budgets={},
        sample=Sampling(readings=1),
    )

    story.run(site, lease.cloud, lease, timeline, lambda: None)

    asked = [request.partition("?")[0] for request in services.asked]
    assert asked.count(f"POST {NEUTRON}/floatingips") == 1
    assert asked[: asked.index(f"POST {NEUTRON}/floatingips")].count(f"GET {NEUTRON}/ports") > 2
    assert (young, lease.settled, lease.leftovers) == ({}, True, [])
