"""What a test VM is made of: images, sizes and subnets, looked up in the simulated Azure."""

import copy

import pytest

from simulators.azure import IMAGE, NET, NETWORK_GROUP, REGION, SUBSCRIPTION
from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.model import Image, State
from vmprobe.drivers.azure import plan
from vmprobe.drivers.azure.plan import Size

IN_GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{NETWORK_GROUP}/providers"
SUBNET = f"{IN_GROUP}/Microsoft.Network/virtualNetworks/net1/subnets/subnet1"


def resolved(world, **words):
    driver, test_vm = world.driver(**words)
    driver.connect()
    return driver.resolve(test_vm)


def test_the_smallest_size_is_taken_that_is_not_restricted(world):
    found = resolved(world)

    assert (found.image, found.flavor, found.network, found.vcpus, found.memory) == (
        "vmprobe-test",
        "Standard_B1ls",
        "net1/subnet1",
        1,
        2**29,
    )
    assert (found.details["family"], found.details["subnet"]) == ("standardBSFamily", SUBNET)


@pytest.mark.parametrize(
    "image",
    [
        "VMPROBE-test",
        f"{NETWORK_GROUP}/vmprobe-test",
        f"{IN_GROUP}/Microsoft.Compute/images/vmprobe-test",
    ],
)
def test_a_managed_image_is_found_by_name_by_group_and_by_id(world, image):
    assert resolved(world, image=image).details["image"] == {
        "id": f"{IN_GROUP}/Microsoft.Compute/images/vmprobe-test"
    }


@pytest.mark.parametrize("version", ["latest", "22.04.202211010"])
def test_an_image_of_the_marketplace_is_found_by_its_urn(world, version):
    found = resolved(world, image=f"Canonical:ubuntu:server:{version}")

    assert found.image == "Canonical:ubuntu:server:22.04.202211010"
    assert found.details["image"]["version"] == "22.04.202211010"


def test_an_image_that_is_there_twice_has_to_be_named_with_its_group(world):
    world.azure.put_group("other", {"location": REGION})
    made = world.azure._new(IMAGE, "other", "vmprobe-test", {"location": REGION})
    made["properties"] = {"provisioningState": "Succeeded"}

    with pytest.raises(ClientError) as wrong:
        resolved(world)
    assert str(wrong.value) == (
        "image 'vmprobe-test' is in several groups: networks/vmprobe-test, other/vmprobe-test"
    )
    world.azure.groups.pop("other")


def test_an_image_that_is_not_ready_is_said_to_be(world):
    world.azure.get(IMAGE, NETWORK_GROUP, "vmprobe-test")["properties"]["provisioningState"] = (
        "Failed"
    )

    with pytest.raises(NotFound) as wrong:
        resolved(world)
    assert (str(wrong.value), wrong.value.cause) == ("image 'vmprobe-test' is Failed", "image")


@pytest.mark.parametrize("network", ["net1", "SUBNET1", "net1/subnet1", SUBNET])
def test_a_subnet_is_found_by_its_names_and_by_its_id(world, network):
    assert resolved(world, network=network).details["subnet"] == SUBNET


def test_one_of_several_subnets_has_to_be_named(world):
    subnets = world.azure.get(NET, NETWORK_GROUP, "net1")["properties"]["subnets"]
    subnets.append(copy.deepcopy(subnets[0]))
    subnets[1].update(name="subnet2", id=SUBNET[:-1] + "2")

    with pytest.raises(ClientError) as wrong:
        resolved(world)
    assert str(wrong.value) == "[test vm] network: has to name one of net1/subnet1, net1/subnet2"
    assert resolved(world, network="subnet2").details["subnet"] == SUBNET[:-1] + "2"


def test_the_subnet_of_a_gateway_is_no_choice(world):
    subnets = world.azure.get(NET, NETWORK_GROUP, "net1")["properties"]["subnets"]
    subnets.append({**subnets[0], "name": "GatewaySubnet", "id": SUBNET[:-1] + "3"})

    assert resolved(world).network == "net1/subnet1"


def test_a_missing_subnet_is_named(world):
    with pytest.raises(NotFound) as wrong:
        resolved(world, network=SUBNET + "9")
    assert str(wrong.value) == f"no network {SUBNET + '9'!r}"


def test_a_size_has_to_fit_the_generation_and_the_architecture_of_the_image():
    image = plan._Image("image", {}, "V2")
    sizes = [
        Size("old", 1, 2**30, generations=("V1",)),
        Size("arm", 1, 2**30, generations=("V2",), architecture="Arm64"),
        Size("tiny", 1, 2**28, generations=("V2",)),
        Size("restricted", 1, 2**30, generations=("V2",), refusal="QuotaId"),
        Size("larger", 4, 2**30, generations=("V2",)),
        Size("right", 2, 2**32, generations=("V1", "V2")),
    ]

    assert plan._size(sizes, "", image, REGION).name == "right"
    with pytest.raises(NotFound) as wrong:
        plan._size(sizes[:4], "", image, REGION)
    assert str(wrong.value) == "no size in eastus fits image image and is not restricted"


def test_a_restriction_of_another_zone_does_not_count():
    restriction = {
        "type": "Zone",
        "restrictionInfo": {"locations": [REGION], "zones": ["2"]},
        "reasonCode": "NotAvailableForSubscription",
    }

    assert plan._applies(restriction, REGION, "2")
    assert not plan._applies(restriction, REGION, "1")
    assert not plan._applies(restriction, REGION, "")


def test_what_a_test_vm_takes_counts_for_its_family_and_its_kind_of_disk(world):
    driver, test_vm = world.driver(volume="1 GiB")
    driver.connect()

    assert driver.needs(driver.resolve(test_vm), test_vm) == {
        ("servers", ""): 1.0,
        ("vcpus", ""): 1.0,
        ("ports", ""): 1.0,
        ("vcpus", "standardBSFamily"): 1.0,
        ("volumes", "StandardDiskCount"): 2.0,
    }


def test_images_are_listed_with_their_states(world):
    driver, _ = world.driver()
    driver.connect()
    broken = world.azure._new(IMAGE, NETWORK_GROUP, "broken", {"location": REGION})
    broken["properties"] = {"provisioningState": "Failed"}
    urn = "Canonical:ubuntu:server:22.04.202211010"

    assert driver.images() == [
        Image("networks/vmprobe-test", "vmprobe-test", State.READY, "Succeeded"),
        Image("networks/broken", "broken", State.FAILED, "Failed"),
    ]
    assert driver.images("networks/Broken") == driver.images()[1:]
    assert driver.images("Canonical:ubuntu:server:latest") == [
        Image(urn, urn, State.READY, "Succeeded")
    ]
    assert driver.images("a:b:c:d") == []
