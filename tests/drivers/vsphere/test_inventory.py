"""Names: the only one there is, one of several, one that stands twice, and one with a slash."""

import re

import pytest

from simulators.scripted_vsphere import objects
from vmprobe.core.errors import ClientError, NotFound
from vmprobe.drivers.vsphere.inventory import Found
from vmprobe.drivers.vsphere.soap import Moref

UPLINK = "<val><Tag><key>SYSTEM/DVS.UPLINKPG</key></Tag></val>"
ONE = {"Datacenter": [("datacenter-1", "Madrid")]}


def listing(things):
    """Answers lists by the type that is asked for: {type: [(id, name) or (id, name, tags)]}."""

    def respond(body):
        kinds = re.findall(r"<propSet><type>(\w+)</type>", body)
        found = [
            (kind, identity, {"name": name, **({"tag": tag[0]} if tag else {})})
            for kind in kinds
            for identity, name, *tag in things.get(kind, ())
        ]
        return objects(*found) if found else ""

    return respond


@pytest.fixture
def inventory(connected):
    def start(things, paths=None, **endpoint):
        def by_path(body):
            ref = (paths or {}).get(re.search(r"<inventoryPath>([^<]+)", body)[1])
            return f'<returnval type="{ref[0]}">{ref[1]}</returnval>' if ref else ""

        _, vsphere = connected(
            {"RetrievePropertiesEx": listing({**ONE, **things}), "FindByInventoryPath": by_path},
            **endpoint,
        )
        return vsphere.inventory

    return start


def test_the_only_one_there_is_needs_no_name(inventory):
    assert inventory({}).datacenter() == Found(Moref("Datacenter", "datacenter-1"), "Madrid")


def test_of_several_one_has_to_be_named(inventory):
    several = {"Datacenter": [("datacenter-1", "Madrid"), ("datacenter-2", "Lisbon")]}

    with pytest.raises(ClientError) as wrong:
        inventory(several).datacenter()
    assert str(wrong.value) == "[endpoint] datacenter: name one; there are Lisbon, Madrid"
    assert inventory(several, datacenter="Lisbon").datacenter().ref.value == "datacenter-2"


def test_none_at_all_is_not_found(inventory):
    with pytest.raises(NotFound):
        inventory({"Datacenter": []}).datacenter()


def test_a_name_that_stands_twice_is_refused(inventory):
    twice = {"VirtualMachine": [("vm-1", "test"), ("vm-2", "test"), ("vm-3", "other")]}

    with pytest.raises(ClientError) as wrong:
        inventory(twice).template("test")
    assert str(wrong.value) == "2 images are named 'test': give the inventory path of one"


@pytest.mark.parametrize(
    "named",
    ["/Madrid/vm/b/test", "Madrid/vm/b/test", "b/test"],
    ids=["absolute", "from-root", "below-vm"],
)
def test_its_inventory_path_tells_which(inventory, named):
    twice = {"VirtualMachine": [("vm-1", "test"), ("vm-2", "test")]}
    found = inventory(twice, {"Madrid/vm/b/test": ("VirtualMachine", "vm-2")}).template(named)

    assert found == Found(Moref("VirtualMachine", "vm-2"), "test")


def test_a_path_to_something_else_is_not_found(inventory):
    with pytest.raises(NotFound):
        inventory({}, {"Madrid/vm/b": ("Folder", "group-2")}).template("b/c")


@pytest.mark.parametrize("named", ["a/b", "a%2fb"])
def test_a_slash_in_a_name_is_escaped_by_vsphere(inventory, named):
    found = inventory({"VirtualMachine": [("vm-1", "a%2fb"), ("vm-2", "b")]}).template(named)

    assert found == Found(Moref("VirtualMachine", "vm-1"), "a/b")


def test_an_uplink_is_no_network_for_a_machine(inventory):
    networks = {"DistributedVirtualPortgroup": [("dvportgroup-1", "uplinks", UPLINK)]}

    with pytest.raises(NotFound) as wrong:
        inventory(networks).network("uplinks")
    assert (str(wrong.value), wrong.value.cause) == (
        "no network named 'uplinks'; there is none",
        "network",
    )


def test_many_choices_are_cut_short(inventory):
    machines = {"VirtualMachine": [(f"vm-{n}", f"m{n:02}") for n in range(20)]}

    with pytest.raises(NotFound) as wrong:
        inventory(machines).template("x")
    assert str(wrong.value) == (
        "no image named 'x'; there are m00, m01, m02, m03, m04, m05, m06, m07 and 12 more"
    )
