"""Limits and usage of an account, and what a test VM needs of them."""

import pytest

from rawserver import reply
from simulators.scripted_ec2 import instances, refusal
from vmprobe.checks.capacity import headroom
from vmprobe.core.model import Plan


def test_vcpus_are_those_of_running_on_demand_instances_of_the_standard_families(connected):
    running = instances(
        *(
            (state, f"<instanceType>{kind}</instanceType>{more}")
            for state, kind, more in (
                ("running", "t3.nano", ""),
                ("running", "t3.nano", ""),
                ("pending", "m5.xlarge", ""),
                ("stopped", "m5.xlarge", ""),
                ("running", "p3.2xlarge", ""),
                ("running", "m5.xlarge", "<instanceLifecycle>spot</instanceLifecycle>"),
                ("terminated", "t3.nano", ""),
            )
        )
    )
    types = "".join(
        f"<item><instanceType>{kind}</instanceType><vCpuInfo><defaultVCpus>{cores}</defaultVCpus></vCpuInfo></item>"
        for kind, cores in (("t3.nano", 2), ("m5.xlarge", 4))
    )
    limits = connected(
        {
            "DescribeInstances": running,
            "GetServiceQuota": b'{"Quota": {"Value": 16}}',
            "DescribeInstanceTypes": f"<AResponse><instanceTypeSet>{types}</instanceTypeSet></AResponse>".encode(),
        }
    ).capacity()

    assert {limit.name: (limit.used, limit.total) for limit in limits} == {
        "servers": (6, None),
        "vcpus": (8, 16),
        "volumes": (0, None),
        "storage": (0, 16 * 2**40),
        "addresses": (0, 16),
    }


SUBNETS = """<AResponse><subnetSet>
<item><subnetId>subnet-1</subnetId><cidrBlock>10.0.0.0/28</cidrBlock><availableIpAddressCount>2</availableIpAddressCount>
<availabilityZone>a</availabilityZone><defaultForAz>true</defaultForAz></item>
<item><subnetId>subnet-2</subnetId><cidrBlock>10.0.1.0/24</cidrBlock><availableIpAddressCount>200</availableIpAddressCount>
<availabilityZone>b</availabilityZone><defaultForAz>true</defaultForAz></item>
<item><subnetId>subnet-3</subnetId><ipv6Native>true</ipv6Native><availableIpAddressCount>0</availableIpAddressCount>
<availabilityZone>a</availabilityZone></item></subnetSet></AResponse>""".encode()


DETAILS = {
    "subnet": None,
    "zone": "a",
    "volume type": "gp3",
    "gp3 of image": 8 * 2**30,
}


PLAN = Plan("image", "t3.nano", "", DETAILS, vcpus=2, memory=2**29)
TEST_VM = {"volume": 2**30, "depth": "api"}


@pytest.mark.parametrize(
    "subnet, zone, fits",
    [
        (None, "a", headroom.Room(2, "leases by subnet subnet-1: 2 of 11 are free")),
        ("subnet-1", "a", headroom.Room(2, "leases by subnet subnet-1: 2 of 11 are free")),
        (None, "b", headroom.Room(200, "leases by subnet subnet-2: 200 of 251 are free")),
        ("subnet-3", "a", headroom.Room(None)),
    ],
    ids=["default-of-the-zone", "named", "default-of-another-zone", "without-ipv4"],
)
def test_a_subnet_has_no_more_room_than_addresses_that_are_free(connected, subnet, zone, fits):
    ec2 = connected({"DescribeSubnets": SUBNETS})
    plan = PLAN._replace(flavor="p5.large", details={**DETAILS, "subnet": subnet, "zone": zone})

    limits = [limit for limit in ec2.capacity() if limit.name == "leases"]
    assert headroom.room(limits, ec2.needs(plan, TEST_VM)) == fits


@pytest.mark.parametrize(
    "answer",
    [
        refusal("UnauthorizedOperation", 403),
        refusal("UnsupportedOperation"),
        refusal("InvalidAction"),
        reply(500, "<html>Proxy Error</html>"),
    ],
    ids=["not-allowed", "no-vpc", "unknown", "page"],
)
def test_subnets_that_cannot_be_listed_set_no_limit(connected, answer):
    ec2 = connected({"DescribeSubnets": answer})

    assert [limit for limit in ec2.capacity() if limit.name == "leases"] == []
    assert [name for name, of in ec2.needs(PLAN, TEST_VM) if of] == []


@pytest.mark.parametrize(
    "kind, image, storage", [("gp3", 8, 10), ("gp3", 0, 2), (None, 8, 8), ("gp2", 0, None)]
)
def test_a_test_vm_needs_the_gp3_volumes_of_its_image_and_its_own(connected, kind, image, storage):
    ec2 = connected({})
    plan = PLAN._replace(details={**DETAILS, "volume type": kind, "gp3 of image": image * 2**30})

    needs = ec2.needs(plan, {**TEST_VM, "volume": 1.5 * 2**30})
    assert needs.get(("storage", ""), 0) == (storage or 0) * 2**30
