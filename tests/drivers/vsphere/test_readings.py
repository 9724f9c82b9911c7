"""What vSphere says of a machine, also where it says hardly anything."""

import pytest

from simulators.scripted_vsphere import ENVELOPE, HANDLE, thing
from vmprobe.core.model import Kind, Ref, State
from vmprobe.drivers.vsphere import properties, readings, soap

ID = "6132d223-1566-5921-bc3b-df91ece09a4d"


def machine(**values):
    """A machine with these properties; ``_`` stands for the dot."""
    text = thing(
        "VirtualMachine", "vm-1", {name.replace("_", "."): value for name, value in values.items()}
    )
    body = ENVELOPE % f"<R><returnval>{text}</returnval></R>"
    return properties._thing(soap.parse(body.encode()).find("returnval/objects"))


def running(**values):
    return machine(
        **{"name": HANDLE, "config_instanceUuid": ID, "runtime_powerState": "poweredOn", **values}
    )


@pytest.mark.parametrize(
    "values, state, words",
    [
        ({}, State.READY, "poweredOn"),
        ({"runtime_powerState": "poweredOff"}, State.PENDING, "poweredOff"),
        ({"runtime_powerState": "suspended"}, State.PENDING, "suspended"),
        ({"runtime_powerState": ""}, State.PENDING, "unknown"),
        ({"runtime_powerState": "somethingNew"}, State.PENDING, "somethingNew"),
        ({"runtime_connectionState": "connected"}, State.READY, "poweredOn"),
        ({"runtime_connectionState": "disconnected"}, State.PENDING, "poweredOn, disconnected"),
        ({"runtime_connectionState": "orphaned"}, State.FAILED, "poweredOn, orphaned"),
        ({"runtime_connectionState": "inaccessible"}, State.FAILED, "poweredOn, inaccessible"),
    ],
)
def test_a_state_and_the_managers_word_for_it(values, state, words):
    seen = readings.server(running(**values))

    assert (seen.state, seen.provider_state) == (state, words)


def test_a_machine_that_waits_for_an_answer_says_for_which():
    question = "<val><id>1</id><text>Did you move it, or copy it?</text></val>"
    seen = readings.server(running(runtime_question=question))

    assert (seen.state, seen.fault) == (
        State.PENDING,
        "it waits for an answer: Did you move it, or copy it?",
    )


def test_a_machine_that_is_still_made_has_the_id_of_its_name():
    seen = readings.server(machine(name=HANDLE))

    assert seen.ref == Ref(Kind.SERVER, readings.server_id(HANDLE), HANDLE)
    assert (seen.state, seen.provider_state, seen.vcpus, seen.memory) == (
        State.PENDING,
        "unknown",
        None,
        None,
    )


def test_every_host_derives_the_same_id():
    assert readings.server_id(HANDLE) == "6514e3ac-f5df-5282-a687-84c4ead9e8cd"


def test_addresses_that_a_machine_made_up_do_not_count():
    nics = (
        "<val><GuestNicInfo><ipAddress>fe80::1</ipAddress><ipAddress>169.254.3.4</ipAddress><ipAddress>10.0.0.5</ipAddress>"
        "<ipAddress>2001:db8::5</ipAddress><deviceConfigId>4000</deviceConfigId></GuestNicInfo></val>"
    )

    assert readings.server(running(guest_net=nics)).addresses == ("10.0.0.5", "2001:db8::5")
    assert readings.server(running(guest_ipAddress="fe80::1")).addresses == ()


@pytest.mark.parametrize("connected, state", [("true", State.READY), ("false", State.PENDING)])
def test_a_network_card_is_ready_once_it_is_connected(connected, state):
    cards = (
        '<val><VirtualDevice xsi:type="VirtualVmxnet3"><key>4000</key>'
        f"<connectable><connected>{connected}</connected></connectable></VirtualDevice>"
        '<VirtualDevice xsi:type="VirtualDisk"><key>2000</key></VirtualDevice></val>'
    )
    (port,) = readings.ports(
        Ref(Kind.SERVER, ID), running(config_hardware_device=cards, guest_ipAddress="10.0.0.5")
    )

    assert (port.ref.id, port.state, port.server, port.addresses) == (
        f"{ID}/4000",
        state,
        ID,
        ("10.0.0.5",),
    )
