"""Lists come in pages, and lack what an object has not."""

import pytest

from simulators.scripted_vsphere import VIEW, fault, objects, thing
from vmprobe.core.errors import GatewayFailed, Incomplete, NotFound
from vmprobe.drivers.vsphere.soap import Moref

FOLDER = Moref("Folder", "group-d1")


def page(token, *things):
    return objects(*things).replace(
        "<returnval>", f"<returnval><token>{token}</token>" if token else "<returnval>"
    )


def machine(number):
    return ("VirtualMachine", f"vm-{number}", {"name": f"a{number}"})


def names(vsphere):
    found = vsphere.collector.list(FOLDER, ("VirtualMachine",), ["name"], "list")
    return [one.text("name") for one in found]


def test_every_page_is_followed(connected):
    server, vsphere = connected(
        {
            "RetrievePropertiesEx": page("t1", machine(1)),
            "ContinueRetrievePropertiesEx": [page("t2", machine(2)), page("", machine(3))],
        }
    )

    assert names(vsphere) == ["a1", "a2", "a3"]
    assert [body.partition("<token>")[2][:2] for body in server.bodies if "<token>" in body] == [
        "t1",
        "t2",
    ]


def test_a_list_without_an_end_is_a_gateway_that_failed(connected, monkeypatch):
    monkeypatch.setattr("vmprobe.drivers.vsphere.properties._MAX_PAGES", 5)
    _, vsphere = connected(
        {
            "RetrievePropertiesEx": page("t", machine(1)),
            "ContinueRetrievePropertiesEx": page("t", machine(2)),
        }
    )

    with pytest.raises(GatewayFailed):
        names(vsphere)


def test_nothing_there_is_an_empty_list(connected):
    _, vsphere = connected({"RetrievePropertiesEx": ""})

    assert names(vsphere) == []


def test_a_property_that_is_not_there_is_absent(connected):
    missing = (
        '<missingSet><path>guest.net</path><fault><fault xsi:type="InvalidProperty"/>'
        "<localizedMessage/></fault></missingSet></objects>"
    )
    _, vsphere = connected(
        {"RetrievePropertiesEx": objects(machine(1)).replace("</objects>", missing)}
    )
    found = vsphere.collector.get(Moref("VirtualMachine", "vm-1"), ["name", "guest.net"], "show")

    assert (found.text("name"), found.text("guest.net"), found.items("guest.net")) == ("a1", "", [])


def test_a_list_with_hidden_names_is_incomplete(connected):
    hidden = (
        '<returnval><objects><obj type="VirtualMachine">vm-1</obj><missingSet><path>name</path><fault>'
        '<fault xsi:type="NoPermission"/><localizedMessage/></fault></missingSet></objects></returnval>'
    )
    _, vsphere = connected({"RetrievePropertiesEx": hidden})

    with pytest.raises(Incomplete):
        names(vsphere)


def test_an_object_that_goes_while_a_list_is_read_is_not_an_empty_list(connected):
    _, vsphere = connected({"RetrievePropertiesEx": fault("ManagedObjectNotFound")})

    with pytest.raises(GatewayFailed):
        names(vsphere)
    with pytest.raises(NotFound):
        vsphere.collector.get(Moref("VirtualMachine", "vm-1"), ["name"], "show")


def test_a_view_is_made_once_in_a_session(connected):
    server, vsphere = connected(
        {"RetrievePropertiesEx": objects(machine(1)), "CreateContainerView": VIEW}
    )
    names(vsphere)
    names(vsphere)

    assert server.calls.count("CreateContainerView") == 1
    assert thing(*machine(1)).startswith("<objects>")
