"""Calls are written as the schema wants them, and answers are read whatever prefixes they have."""

import pytest

from simulators.scripted_vsphere import ENVELOPE
from vmprobe.core.errors import ClientError, GatewayFailed
from vmprobe.drivers.vsphere import soap
from vmprobe.drivers.vsphere.soap import Data, Fault, Moref


def test_a_call_has_its_object_and_its_fields_in_order():
    spec = Data(
        {"on": True, "count": 3, "none": None, "name": 'a<&"', "of": Moref("Folder", "g-1")}
    )
    body = soap.envelope(
        "Do_Task", Moref("VirtualMachine", "vm-1"), {"spec": spec, "ids": ["1", "2"]}
    )

    assert body.decode().partition("<soapenv:Body>")[2] == (
        '<Do_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this><spec><on>true</on><count>3</count>'
        '<name>a&lt;&amp;&quot;</name><of type="Folder">g-1</of></spec><ids>1</ids><ids>2</ids></Do_Task>'
        "</soapenv:Body></soapenv:Envelope>"
    )


def test_a_data_object_names_its_type_where_it_is_not_the_declared_one():
    value = Data({"key": "a", "value": soap.text_value("b")}, "OptionValue")
    body = soap.envelope("Do", Moref("A", "a"), {"option": value}).decode()

    assert (
        '<option xsi:type="OptionValue"><key>a</key><value xsi:type="xsd:string">b</value></option>'
        in body
    )


def test_a_character_that_xml_cannot_carry_is_refused():
    with pytest.raises(ClientError):
        soap.envelope("Do", Moref("A", "a"), {"name": "a\x00b"})


@pytest.mark.parametrize("prefix", ["xsi", "XMLSchema-instance", "i"])
def test_a_type_is_found_whatever_its_prefix_and_beside_the_type_of_a_reference(prefix):
    body = ENVELOPE % (
        f'<R xmlns:{prefix}="http://www.w3.org/2001/XMLSchema-instance">'
        f'<val {prefix}:type="ManagedObjectReference" type="Folder">group-1</val></R>'
    )
    value = soap.parse(body.encode()).find("val")

    assert (soap.type_of(value), soap.moref(value)) == (
        "ManagedObjectReference",
        Moref("Folder", "group-1"),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a/>",
        b"not XML",
        (ENVELOPE % "").encode(),
        b"<!DOCTYPE a><a/>",
        b"<Envelope><Body/></Envelope>",
    ],
)
def test_what_is_no_soap_is_a_gateway_that_failed(body):
    with pytest.raises(GatewayFailed):
        soap.parse(body)
    assert soap.fault(body) is None


@pytest.mark.parametrize("text", ["", " ", "a" * 256, "a\nb"])
def test_a_reference_that_cannot_be_used_is_none(text):
    element = soap.parse((ENVELOPE % f'<val type="Task">{text}</val>').encode())

    with pytest.raises(GatewayFailed):
        soap.moref(element)


def test_a_fault_says_what_it_is_about():
    detail = (
        '<NoPermissionFault xmlns="urn:vim25" xsi:type="NoPermission"><object type="Folder">group-v3</object>'
        "<privilegeId>VirtualMachine.Inventory.Create</privilegeId></NoPermissionFault>"
    )
    body = ENVELOPE % (
        f"<soapenv:Fault><faultstring>Denied.</faultstring><detail>{detail}</detail></soapenv:Fault>"
    )

    assert soap.fault(body.encode()) == Fault(
        "NoPermission", "Denied.", "VirtualMachine.Inventory.Create"
    )
