"""The requests that create servers, volumes, security groups and floating IPs."""

import json

import pytest

from simulators.openstack import (
    IMAGE,
    NETWORK,
    PROJECT,
    answer,
    driver,
    flavor,
)
from vmprobe.core.clock import Clock
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    GatewayFailed,
    QuotaExceeded,
)
from vmprobe.core.handle import new
from vmprobe.core.model import (
    AddressSpec,
    Kind,
    Plan,
    Ref,
    SecurityGroupSpec,
    ServerSpec,
    VolumeSpec,
)
from vmprobe.core.timeline import Timeline
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger


def sent(services, what="server"):
    """What the last request that made something asked for."""
    return json.loads(
        [request.body for request in services.server.requests if request.method == "POST"][-1]
    )[what]


def test_security_groups_are_not_asked_for_on_a_network_without_port_security(
    plan_for, cloud, services
):
    services.answers["POST /compute/v2.1/servers"] = answer({"server": {"id": "s1"}}, 202)
    for secure in (True, False):
        plan = plan_for(
            flavor("m1.tiny"),
            network={**NETWORK, "port_security_enabled": secure},
            **{"security group": "web"},
        )
        cloud.create(ServerSpec("vmprobe-x", plan, security_group="g1"))
        assert sent(services).get("security_groups") == (
            [{"name": "web"}, {"name": "g1"}] if secure else None
        )


def test_the_volume_that_a_server_boots_from_is_of_the_sites_type_where_nova_can_ask_for_it(
    plan_for, services, cloud
):
    services.answers["POST /compute/v2.1/servers"] = answer({"server": {"id": "s1"}}, 202)
    plan = plan_for(flavor("m1.tiny"), **{"boot from volume": True, "volume type": "ssd"})

    cloud.create(ServerSpec("vmprobe-x", plan))
    assert sent(services)["block_device_mapping_v2"] == [
        {
            "boot_index": 0,
            "uuid": "i1",
            "source_type": "image",
            "destination_type": "volume",
            "volume_size": 1,
            "delete_on_termination": True,
            "volume_type": "ssd",
        }
    ]

    services.answers["GET /compute/v2.1/"] = answer({"version": {"version": "2.60"}})
    older = driver(services)
    older.connect()
    older.create(ServerSpec("vmprobe-x", plan))
    assert "volume_type" not in sent(services)["block_device_mapping_v2"][0]


@pytest.mark.parametrize(
    "flavor_disk, image, gib",
    [
        (0, {"min_disk": 0, "virtual_size": 10 * 2**30, "size": 2362232012}, 10),
        (0, {"min_disk": 0, "virtual_size": None, "size": 2362232012}, 3),
        (0, {"min_disk": 12, "virtual_size": 10 * 2**30}, 12),
        (20, {"min_disk": 0, "size": 2**20}, 20),
        (0, {"min_disk": 0, "size": 0}, 1),
    ],
    ids=["virtual-size", "size", "min-disk", "flavor", "nothing-said"],
)
def test_the_volume_that_a_server_boots_from_holds_its_image(
    flavor_disk, image, gib, plan_for, services, cloud
):
    services.answers["POST /compute/v2.1/servers"] = answer({"server": {"id": "s1"}}, 202)
    plan = plan_for(
        flavor("m1.tiny", disk=flavor_disk), image={**IMAGE, **image}, **{"boot from volume": True}
    )

    cloud.create(ServerSpec("vmprobe-x", plan))

    assert sent(services)["block_device_mapping_v2"][0]["volume_size"] == gib


def test_a_volume_is_made_in_the_zone_of_its_server(plan_for, services, cloud):
    services.answers[f"POST /volume/v3/{PROJECT}/volumes"] = answer({"volume": {"id": "v1"}}, 202)
    plan = plan_for(flavor("m1.tiny"), **{"availability zone": "zone-2"})

    assert cloud.create(VolumeSpec("vmprobe-x", 2**30, plan)) == Ref(Kind.VOLUME, "v1", "vmprobe-x")
    assert sent(services, "volume") == {
        "name": "vmprobe-x",
        "size": 1,
        "metadata": {"vmprobe": "vmprobe-x"},
        "availability_zone": "zone-2",
    }


def test_where_cinder_has_no_such_zone_the_volume_is_made_in_cinders_own(plan_for, services, cloud):
    def make(request):
        refused = "availability_zone" in json.loads(request.body)["volume"]
        return (
            answer({"badRequest": {"message": "Availability zone 'zone-2' is invalid."}}, 400)
            if refused
            else answer({"volume": {"id": "v1"}}, 202)
        )

    services.answers[f"POST /volume/v3/{PROJECT}/volumes"] = make

    assert (
        cloud.create(
            VolumeSpec(
                "vmprobe-x", 2**30, plan_for(flavor("m1.tiny"), **{"availability zone": "zone-2"})
            )
        ).id
        == "v1"
    )
    assert "availability_zone" not in sent(services, "volume")


@pytest.mark.parametrize(
    "status, message, kind",
    [
        (400, "Invalid input received: size", CloudError),
        (503, "zone is busy: availability zone", GatewayFailed),
        (413, "VolumeLimitExceeded: quota, availability zone", QuotaExceeded),
    ],
    ids=["400", "503", "413"],
)
def test_any_other_refusal_of_a_volume_is_not_asked_again(
    status, message, kind, plan_for, services, cloud
):
    services.answers[f"POST /volume/v3/{PROJECT}/volumes"] = answer(
        {"badRequest": {"message": message}}, status
    )
    plan = plan_for(flavor("m1.tiny"), **{"availability zone": "zone-2"})

    with pytest.raises(kind):
        cloud.create(VolumeSpec("vmprobe-x", 2**30, plan))
    assert len([asked for asked in services.asked if asked.startswith("POST")]) == 1


# --- to be reached --------------------------------------------------------------------------------


def test_a_vm_that_has_to_be_reached_gets_a_security_group_and_a_floating_ip_under_the_handle(
    cloud, services
):
    services.answers = {
        "POST /network/v2.0/security-groups": answer({"security_group": {"id": "g1"}}, 201),
        "POST /network/v2.0/security-group-rules": answer(
            {"security_group_rule": {"id": "r"}}, 201
        ),
        "GET /network/v2.0/ports": answer(
            {"ports": [{"id": "p1", "status": "ACTIVE", "device_id": "s1"}]}
        ),
        "POST /network/v2.0/floatingips": answer({"floatingip": {"id": "f1"}}, 201),
        "GET /network/v2.0/floatingips": answer(
            {
                "floatingips": [
                    {
                        "id": "f1",
                        "description": "vmprobe-x",
                        "status": "DOWN",
                        "floating_ip_address": "192.0.2.9",
                    },
                    {
                        "id": "f2",
                        "description": "",
                        "status": "ACTIVE",
                        "floating_ip_address": "192.0.2.10",
                    },
                ]
            }
        ),
        "GET /network/v2.0/security-groups": answer(
            {
                "security_groups": [
                    {"id": "g0", "name": "default"},
                    {"id": "g1", "name": "vmprobe-x"},
                ]
            }
        ),
    }
    group = cloud.create(SecurityGroupSpec("vmprobe-x"))
    cloud.open_port(group, 22)
    address = cloud.create(
        AddressSpec("vmprobe-x", Ref(Kind.SERVER, "s1", "vmprobe-x"), Plan("i", external="e1"))
    )

    assert (group, address) == (
        Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"),
        Ref(Kind.ADDRESS, "f1", "vmprobe-x"),
    )
    sent = [
        json.loads(request.body) for request in services.server.requests if request.method == "POST"
    ][1:]
    assert sent == [
        {"security_group": {"name": "vmprobe-x", "description": "lets a test VM be reached"}},
        *(
            {
                "security_group_rule": {
                    "security_group_id": "g1",
                    "direction": "ingress",
                    "ethertype": family,
                    "protocol": "tcp",
                    "port_range_min": 22,
                    "port_range_max": 22,
                }
            }
            for family in ("IPv4", "IPv6")
        ),
        {"floatingip": {"floating_network_id": "e1", "port_id": "p1", "description": "vmprobe-x"}},
    ]
    assert [
        (resource.ref, resource.addresses)
        for kind in (Kind.ADDRESS, Kind.SECURITY_GROUP)
        for resource in cloud.list(kind, "vmprobe-")
    ] == [(address, ("192.0.2.9",)), (group, ())]


def test_only_a_group_that_was_shown_under_the_handle_is_opened(cloud, services):
    handle = new("mon", 60, 1_800_000_000)
    there = [{"id": "theirs", "name": "web"}, {"id": "ours", "name": str(handle)}]
    services.answers = {
        **{
            f"GET /network/v2.0/security-groups/{group['id']}": answer({"security_group": group})
            for group in there
        },
        "GET /network/v2.0/security-groups": answer({"security_groups": there}),
        "POST /network/v2.0/security-groups": answer(
            {"security_group": there[0]}, 201
        ),  # the answer to another request
        "POST /network/v2.0/security-group-rules": answer(
            {"security_group_rule": {"id": "r"}}, 201
        ),
    }
    lease = Lease(Cloud(cloud, cloud.deadline), handle, Ledger(), Timeline(Clock()))
    [group] = lease.create(SecurityGroupSpec(str(handle)))

    with pytest.raises(
        Conflict,
        match=f"^security group theirs has not been shown under {handle} yet: it is not touched$",
    ):
        lease.open_port(group, 22)
    assert services.asked == ["POST /network/v2.0/security-groups"]

    lease.show([group])
    lease.open_port(group, 22)
    rules = [
        json.loads(request.body)["security_group_rule"]
        for request in services.server.requests
        if request.target.endswith("-rules")
    ]
    assert [rule["security_group_id"] for rule in rules] == ["ours", "ours"]


def test_a_rule_that_is_there_already_is_no_failure(cloud, services):
    refusals = iter(
        [
            answer(
                {
                    "NeutronError": {
                        "type": "SecurityGroupRuleExists",
                        "message": "Security group rule already exists. Rule id is r1.",
                    }
                },
                409,
            ),
            answer({"security_group_rule": {"id": "r2"}}, 201),
            answer(
                {
                    "NeutronError": {
                        "type": "OverQuota",
                        "message": "Quota exceeded for resources: ['security_group_rule'].",
                    }
                },
                409,
            ),
        ]
    )
    services.answers["POST /network/v2.0/security-group-rules"] = lambda request: next(refusals)
    cloud.open_port(Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"), 22)

    with pytest.raises(QuotaExceeded):
        cloud.open_port(Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"), 22)
