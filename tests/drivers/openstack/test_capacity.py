"""How many more test VMs fit into an OpenStack: by each quota that one meets, by hosts and by networks."""

import pytest

from rawserver import reply
from simulators.openstack import PROJECT, answer, driver
from vmprobe.checks.capacity import command as probe
from vmprobe.checks.capacity import headroom
from vmprobe.core.model import Plan

GIB = 2**30
DETAILS = {
    "image": "i",
    "flavor": "f",
    "network": "net-1",
    "disk": 1,
    "local disk": GIB,
    "volume type": None,
    "boot from volume": False,
}
TEST_VM = {"volume": GIB, "snapshot": False, "depth": "api"}
NOVA = {
    "maxTotalInstances": 100,
    "totalInstancesUsed": 0,
    "maxTotalCores": -1,
    "maxTotalRAMSize": -1,
}
CINDER = {"maxTotalVolumes": -1, "maxTotalVolumeGigabytes": -1, "maxTotalSnapshots": -1}


class Cloud:
    """Services with quotas, whose driver says how many test VMs fit."""

    def __init__(self, services):
        self.services, self.nova, self.cinder, self.types, self.neutron = (
            services,
            dict(NOVA),
            dict(CINDER),
            {},
            {},
        )
        self.more = {}  # answers beside these

    def room(self, external="", **details):
        test_vm = {**TEST_VM, **{key: details.pop(key) for key in TEST_VM if key in details}}
        self.services.answers = {
            "GET /compute/v2.1/limits": answer({"limits": {"absolute": self.nova}}),
            f"GET /volume/v3/{PROJECT}/limits": answer({"limits": {"absolute": self.cinder}}),
            f"GET /volume/v3/{PROJECT}/os-quota-sets/{PROJECT}": answer(
                {"quota_set": {"id": PROJECT, "volumes": {"limit": -1}, **self.types}}
            ),
            f"GET /volume/v3/{PROJECT}/types/default": answer({"volume_type": {"name": "slow"}}),
            f"GET /network/v2.0/quotas/{PROJECT}/details.json": answer({"quota": self.neutron}),
            **self.more,
        }
        made = driver(self.services)
        made.connect()
        limits = made.capacity()
        details = {**DETAILS, **details}
        plan = Plan(
            "image",
            "tiny",
            "private",
            details,
            external,
            vcpus=1,
            memory=64 * 2**20,
            root_volume=details["disk"] * GIB if details["boot from volume"] else None,
        )
        return headroom.room(limits, made.needs(plan, test_vm))


@pytest.fixture
def cloud(services):
    return Cloud(services)


def quota(limit, used=0):
    return {"limit": limit, "in_use": used, "used": used, "reserved": 0}


def test_a_quota_of_the_type_that_the_site_names_or_else_of_the_default_one_is_met(cloud):
    cloud.types = {
        "volumes_slow": quota(7, 4),
        "gigabytes_slow": quota(-1),
        "gigabytes_fast": quota(10, 6),
        "volumes_fast": quota(-1),
    }

    assert cloud.room() == headroom.Room(3, "volumes by quota of volume type slow: 3 of 7 are free")
    assert cloud.room(**{"volume type": "fast"}) == headroom.Room(
        4, "storage by quota of volume type fast: 4 GiB of 10 GiB is free"
    )
    assert cloud.room(volume=None) == headroom.Room(100, "servers by quota: 100 of 100 are free")


def test_a_snapshot_of_a_server_that_boots_from_a_volume_is_cinders(cloud):
    cloud.cinder.update(maxTotalSnapshots=3, totalSnapshotsUsed=1, maxTotalVolumeGigabytes=10)

    assert cloud.room() == headroom.Room(10, "storage by quota: 10 GiB of 10 GiB is free")
    assert cloud.room(snapshot=True) == headroom.Room(
        10, "storage by quota: 10 GiB of 10 GiB is free"
    )
    volume = {"boot from volume": True, "snapshot": True}
    assert cloud.room(**volume) == headroom.Room(2, "snapshots by quota: 2 of 3 are free")
    cloud.cinder.update(maxTotalSnapshots=-1)
    assert cloud.room(**volume) == headroom.Room(3, "storage by quota: 10 GiB of 10 GiB is free")
    assert cloud.room(disk=4, volume=None, **volume) == headroom.Room(
        1, "storage by quota: 10 GiB of 10 GiB is free"
    )


def test_a_snapshot_is_an_image_which_keystones_limits_may_be_for(cloud):
    cloud.more["GET /image/v2/info/usage"] = answer(
        {
            "usage": {
                "image_count_total": {"limit": 10, "usage": 8},
                "image_size_total": {"limit": 1, "usage": 0},
            }
        }
    )

    assert cloud.room(snapshot=True) == headroom.Room(2, "images by quota: 2 of 10 are free")
    assert cloud.room().fits == 100


def test_a_fleet_that_is_to_be_reached_needs_one_security_group(cloud):
    cloud.neutron = {"security_group": quota(10, 9), "port": quota(500, 0)}
    assert cloud.room(depth="reach").fits == 100
    cloud.neutron = {"security_group": quota(10, 10), "port": quota(500, 0)}
    assert cloud.room(depth="reach") == headroom.Room(
        0, "security groups by quota: 0 of 10 are free"
    )
    assert cloud.room().fits == 100
    cloud.neutron, cloud.nova["maxTotalInstances"] = {"security_group": quota(10, 9)}, -1
    assert cloud.room(depth="reach") == headroom.Room(None)


@pytest.mark.parametrize(
    "answer",
    [
        answer({"forbidden": {"message": "Policy doesn't allow"}}, 403),
        answer({}, 404),
        answer({"quota_set": []}),
        reply(500, "<html>oops</html>"),
    ],
    ids=["forbidden", "not-there", "odd", "broken"],
)
def test_missing_quotas_of_volume_types_are_no_failure(cloud, answer):
    cloud.more[f"GET /volume/v3/{PROJECT}/os-quota-sets/{PROJECT}"] = answer
    cloud.more[f"GET /volume/v3/{PROJECT}/types/default"] = answer

    assert cloud.room().fits == 100


# --- what administrators see --------------------------------------------------------------------------------------


def host(vcpus, memory, disk=None):
    what = {"VCPU": vcpus, "MEMORY_MB": memory, **({} if disk is None else {"DISK_GB": disk})}
    return {"resources": {name: {"used": 0, "capacity": total} for name, total in what.items()}}


@pytest.fixture
def administrators(cloud):
    cloud.services.roles, cloud.services.where["placement"] = ["admin"], "placement"
    cloud.more["GET /placement/resource_providers"] = answer(
        {"resource_providers": [{"uuid": "u1", "name": "node1"}]}
    )
    return cloud


def placed(**hosts):
    return answer({"provider_summaries": hosts})


def test_hosts_whose_disks_are_full_have_no_room_but_for_servers_that_boot_from_a_volume(
    administrators,
):
    administrators.more["GET /placement/allocation_candidates"] = placed(
        u1=host(50, 10**5, 3), u2=host(50, 10**5, 1)
    )

    assert administrators.room(**{"local disk": 2 * GIB}) == headroom.Room(
        1, "disk by 2 hosts: 4 GiB of 4 GiB is free"
    )
    assert administrators.room(**{"boot from volume": True}) == headroom.Room(
        100, "servers by quota: 100 of 100 are free"
    )
    assert administrators.room(**{"local disk": 0}).fits == 100


def test_a_placement_that_does_not_know_the_newer_version_is_asked_by_the_older(administrators):
    asked = []

    def candidates(request):
        asked.append(
            (request.headers["openstack-api-version"], "COMPUTE_STATUS_DISABLED" in request.target)
        )
        newer = asked[-1][0] == "placement 1.27"
        return (
            answer({"errors": [{"detail": "No such trait(s)"}]}, 400 if asked[-1][1] else 406)
            if newer
            else placed(u1=host(2, 10**5))
        )

    administrators.more["GET /placement/allocation_candidates"] = candidates

    assert administrators.room() == headroom.Room(2, "vcpus by node1: 2 of 2 are free")
    assert asked == [("placement 1.27", True), ("placement 1.27", False), ("placement 1.10", False)]


@pytest.mark.parametrize(
    "inventory, fits",
    [({"VCPU": {}, "MEMORY_MB": {}}, 0), ({"CUSTOM_BAREMETAL": {}}, 100)],
    ids=["hosts", "bare-metal"],
)
def test_where_placement_has_no_host_with_room_none_fits(administrators, inventory, fits):
    administrators.more["GET /placement/allocation_candidates"] = placed()
    administrators.more["GET /placement/resource_providers/u1/inventories"] = answer(
        {"inventories": inventory}
    )

    assert administrators.room().fits == fits


def network(name, *subnets):
    return {
        "network_id": name,
        "network_name": name,
        "subnet_ip_availability": [
            {"ip_version": version, "total_ips": total, "used_ips": used}
            for version, total, used in subnets
        ],
    }


def test_a_network_has_no_more_room_than_its_ipv4_addresses_that_are_free(administrators):
    administrators.more["GET /network/v2.0/network-ip-availabilities"] = answer(
        {
            "network_ip_availabilities": [
                network("net-1", (4, 253, 250), (6, 2**64, 0)),
                network("net-2", (6, 2**64, 0)),
                network("net-3", (4, 5, 4)),
            ]
        }
    )

    assert administrators.room() == headroom.Room(3, "leases by network net-1: 3 of 253 are free")
    assert administrators.room(network="net-2").fits == 100
    assert administrators.room("net-3", depth="reach") == headroom.Room(
        1, "leases by network net-3: 1 of 5 are free"
    )


def test_only_an_administrator_asks_for_networks(cloud, services):
    cloud.room()

    assert not [
        asked for asked in services.asked if "availabilities" in asked or "placement" in asked
    ]


def test_only_an_administrator_asks_placement(services):
    member = driver(services)
    member.connect()
    services.answers = {
        "GET /compute/v2.1/limits": answer(
            {"limits": {"absolute": {"maxTotalCores": 20, "totalCoresUsed": 3}}}
        ),
        "GET /volume/v3/" + PROJECT + "/limits": answer({"limits": {"absolute": {}}}),
    }

    limits = {limit.name: (limit.used, limit.total, limit.source) for limit in member.capacity()}

    assert limits["vcpus"] == (3, 20, "quota")
    assert not [asked for asked in services.asked if "allocation" in asked]


# --- the result of check_vm_capacity ------------------------------------------------------------


def test_only_limits_with_a_figure_are_in_the_first_line_and_all_are_below_it(cloud):
    cloud.neutron = {"security_group": quota(10, 9), "port": quota(500, 0)}
    cloud.cinder.update(maxTotalSnapshots=3, totalSnapshotsUsed=1)
    cloud.room()
    made = driver(cloud.services)
    made.connect()
    limits = made.capacity()

    assert probe.summary(limits) == "free: 100 of 100 servers, 500 of 500 ports"
    assert sorted(label for label in headroom.values(limits)[0] if label.endswith("_free")) == [
        "ports_free",
        "servers_free",
    ]
    assert "snapshots        quota  1     3          2     33 %" in headroom.table(limits)
    assert "security groups  quota  9     10         1     90 %" in headroom.table(limits)
