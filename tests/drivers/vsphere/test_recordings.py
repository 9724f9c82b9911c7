"""What a real vCenter 8 answered, in recordings beside the checkout: it is read as it is."""

import json
from uuid import UUID
from xml.etree.ElementTree import Element

import pytest

from running import CHECKOUT
from vmprobe.core.errors import AuthRejected
from vmprobe.core.model import State
from vmprobe.drivers.vsphere import devices, faults, readings, soap
from vmprobe.drivers.vsphere.properties import Thing
from vmprobe.drivers.vsphere.soap import Moref

RECORDINGS = CHECKOUT.parent / "shared" / "data" / "vsphere" / "recordings"
pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recordings are not beside the checkout"
)


def exchanges(name):
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def properties(name, kind="VirtualMachine"):
    """The values that Fetch gave of the first object of a kind, by property."""
    found, ref = {}, None
    for exchange in exchanges(name):
        asked = (
            soap.parse((exchange["request"]["body"] or "<a/>").encode())
            if exchange["request"]["body"]
            else None
        )
        if asked is None or asked.tag != "Fetch" or exchange["response"]["status"] != 200:
            continue
        this = asked.find("_this")
        if this.get("type") != kind or ref not in (None, this.text):
            continue
        ref = this.text
        value = soap.parse(exchange["response"]["body"].encode()).find("returnval")
        if value is not None:
            found[asked.findtext("prop")] = value
    return Thing(Moref(kind, ref or ""), found)


def test_a_wrong_password_is_rejected_in_vcenters_words():
    bodies = [
        exchange["response"]["body"].encode()
        for exchange in exchanges("basic-connection-bad-password")
    ]
    error = faults.error("login", soap.fault(bodies[-1]))

    assert (type(error), str(error)) == (
        AuthRejected,
        "login: Cannot complete login due to an incorrect user name or password (InvalidLogin)",
    )


def nested(thing):
    """The same with the paths that the driver asks for, from the whole objects that were recorded."""
    values = dict(thing.values)
    listed = Element("val")
    listed.extend(thing.values["config"].iterfind("hardware/device"))
    values["config.hardware.device"] = listed
    for path in readings.SERVER:
        first, _, rest = path.partition(".")
        if rest and first in thing.values:
            value = thing.values[first].find(rest.replace(".", "/"))
            if value is not None:
                values[path] = value
    return Thing(thing.ref, values)


@pytest.mark.parametrize("name", ["vm-explode-default", "vm-explode-objs", "vm-explode-type"])
def test_a_real_machine_is_read(name):
    machine = nested(properties(name))
    seen = readings.server(machine)

    assert seen.ref.name and str(UUID(seen.ref.id)) == seen.ref.id
    assert seen.state in (State.READY, State.PENDING) and seen.provider_state.startswith("powered")
    assert seen.vcpus and seen.memory


def test_the_disks_of_a_real_machine_are_read():
    machine = nested(properties("vm-explode-default"))
    found = devices.disks(machine.items("config.hardware.device"))

    assert found and all(disk.path.startswith("[") and disk.size > 0 for disk in found)


def test_a_machine_of_vsphere_itself_has_no_card_and_no_address():
    machine = nested(properties("vm-explode-default"))

    assert readings.ports(readings.server(machine).ref, machine) == []
    assert readings.addresses(machine) == ()
