"""What a test VM will be made of."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from simulators.openstack import (
    IMAGE,
    NETWORK,
    PROJECT,
    TEST_VM,
    answer,
    driver,
    flavor,
)
from vmprobe.core.errors import (
    ClientError,
    NotFound,
)
from vmprobe.core.model import (
    Kind,
)


@pytest.mark.parametrize(
    "special",
    [
        {"extra_specs": {"pci_passthrough:alias": "a100:1"}},
        {"extra_specs": {"resources:VGPU": "1"}},
        {"extra_specs": {"resources:CUSTOM_BAREMETAL_GOLD": "1", "resources:VCPU": "0"}},
        {"OS-FLV-DISABLED:disabled": True},
    ],
)
def test_flavors_for_special_hardware_are_used_only_when_they_are_named(special, plan_for):
    flavors = (
        flavor("gpu.tiny", ram=128, **special),
        flavor("m1.tiny", extra_specs={"hw:cpu_policy": "shared", "resources:PCPU": "1"}),
        flavor("m1.small", ram=2048),
    )

    assert plan_for(*flavors).flavor == "m1.tiny"
    assert plan_for(*flavors, flavor="gpu.tiny").flavor == "gpu.tiny"


def test_a_project_that_is_shown_no_flavor_is_told_so(plan_for):
    for wanted in ("", "m1.huge"):
        with pytest.raises(NotFound, match="^Nova shows no flavor to this project$"):
            plan_for(flavor=wanted)


def test_a_cloud_without_cinder_has_no_volumes_and_refuses_a_test_vm_with_one(services):
    del services.where["block-storage"]
    cloud = driver(services)
    cloud.connect()

    services.answers["GET /image/v2/images"] = answer({"images": [IMAGE]})
    assert cloud.list(Kind.VOLUME, "vmprobe-") == []
    with pytest.raises(
        ClientError,
        match="^.test vm. volume: the catalog has no block-storage service; set it to 'none'$",
    ):
        cloud.resolve(TEST_VM)


# --- images ---------------------------------------------------------------------------------------


EGI = json.dumps(
    {
        "eu.egi.cloud.image_ref": "registry.example.org/images/ubuntu:22.04",
        "ad:appid": 1017,
        "deep": {},
    }
)


@pytest.mark.parametrize(
    "wanted", ["eu.egi.cloud.image_ref=registry.example.org/images/ubuntu:22.04", "ad:appid=1017"]
)
def test_an_image_is_found_by_its_egi_attributes(wanted, plan_for, services, cloud):
    name = wanted.partition("=")[0]

    def images(request):  # Glance has no property of that name
        query = parse_qs(urlsplit(request.target).query)
        others = [
            {**IMAGE, "id": f"o{number}", "name": "other", "APPLIANCE_ATTRIBUTES": text}
            for number, text in enumerate(("", "{", "[1]", "[" * 60000, 5))
        ]
        return answer(
            {"images": [] if name in query else [*others, {**IMAGE, "APPLIANCE_ATTRIBUTES": EGI}]}
        )

    assert plan_for(flavor("m1.tiny"), images=images, image_wanted=wanted).details["image"] == "i1"
    [found] = cloud.images(wanted)
    assert (found.id, found.properties["ad:appid"]) == ("i1", "1017")


def test_an_image_that_glance_gives_for_a_property_has_to_have_it(plan_for):
    with pytest.raises(NotFound, match="^no image 'os_distro=debian'$"):
        plan_for(
            flavor("m1.tiny"),
            image={**IMAGE, "os_distro": "ubuntu"},
            image_wanted="os_distro=debian",
        )
    assert (
        plan_for(
            flavor("m1.tiny"),
            image={**IMAGE, "os_distro": "debian", "protected": True},
            image_wanted="protected=true",
        ).image
        == "vmprobe-test"
    )


# --- networks -------------------------------------------------------------------------------------


def test_a_network_may_have_no_name(plan_for):
    assert (
        str(plan_for(flavor("m1.tiny"), network={**NETWORK, "name": ""}))
        == "image vmprobe-test, flavor m1.tiny, network n1"
    )


SHARED = {"id": "n2", "name": "shared", "subnets": ["s"], "project_id": "b" * 32, "shared": True}


OWN = {"id": "n3", "name": "own", "subnets": ["s"], "project_id": PROJECT}


@pytest.mark.parametrize(
    "networks, chosen",
    [
        ([SHARED, OWN], "own"),
        ([SHARED, {**OWN, "project_id": None, "tenant_id": PROJECT}], "own"),
        ([SHARED, {**OWN, "admin_state_up": False}], "shared"),
        ([{**OWN, "name": "down", "status": "DOWN"}, OWN], "own"),
    ],
    ids=["own", "by-tenant", "own-is-down", "one-of-two"],
)
def test_of_several_networks_the_projects_own_is_taken(networks, chosen, plan_for):
    assert plan_for(flavor("m1.tiny"), network=networks).network == chosen


def test_of_several_networks_of_its_own_one_has_to_be_named(plan_for):
    with pytest.raises(
        ClientError, match=r"^\[test vm\] network: there are own \(n3\), other \(n4\): name one$"
    ):
        plan_for(flavor("m1.tiny"), network=[SHARED, OWN, {**OWN, "id": "n4", "name": "other"}])
