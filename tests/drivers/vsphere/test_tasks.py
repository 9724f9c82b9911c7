"""A task is queued and running before it ends, fails in the manager's words, or is forgotten by it."""

import pytest

from simulators.scripted_vsphere import HANDLE, TASK, fault, objects, task
from vmprobe.core.errors import CloudError, Conflict, NotFound
from vmprobe.core.model import Kind, Plan, Ref, ServerSpec, State
from vmprobe.drivers.vsphere import devices, readings
from vmprobe.drivers.vsphere.inventory import Found, Place
from vmprobe.drivers.vsphere.plan import Source, VsphereDetails
from vmprobe.drivers.vsphere.soap import Moref

MACHINE = Moref("VirtualMachine", "vm-7")
SERVER = Ref(Kind.SERVER, readings.server_id(HANDLE), HANDLE)
ERROR = (
    '<propSet><name>info.error</name><val><fault xsi:type="NoDiskSpace"><file>[nfs-1] a.vmdk</file></fault>'
    "<localizedMessage>Insufficient disk space.</localizedMessage></val></propSet>"
)
RESULT = '<propSet><name>info.result</name><val xsi:type="ManagedObjectReference" type="VirtualMachine">vm-7</val></propSet>'
PLACE = Place(
    Found(Moref("Datacenter", "datacenter-1"), "Madrid"),
    Moref("Folder", "group-v3"),
    Found(Moref("ClusterComputeResource", "domain-c1"), "c1"),
    Moref("ResourcePool", "resgroup-1"),
    Found(Moref("Datastore", "datastore-1"), "nfs-1"),
    None,
)
PLAN = Plan(
    "test",
    details=VsphereDetails(
        place=PLACE,
        source=Source(Moref("VirtualMachine", "vm-1"), ""),
        nic=devices.NEW_NIC._replace(backing=devices.standard_network("VM Network")),
        memory=None,
        vcpus=None,
        disks=0,
        guest="",
    ),
)


def machine(power):
    values = {"name": HANDLE, "config.instanceUuid": SERVER.id, "runtime.powerState": power}
    return objects(("VirtualMachine", "vm-7", values))


@pytest.fixture
def created(connected):
    """created(answers, ...): a driver that has just asked for a server, and then gets these from the collector."""

    def start(*answers, **others):
        server, vsphere = connected(
            {
                "CloneVM_Task": TASK,
                "RetrievePropertiesEx": list(answers),
                "FindByUuid": "",
                **others,
            }
        )
        assert vsphere.create(ServerSpec(HANDLE, PLAN)) == SERVER
        return server, vsphere

    return start


def test_the_call_has_the_id_that_the_server_will_have(created):
    server, _ = created("")

    assert f"<instanceUuid>{SERVER.id}</instanceUuid>" in server.bodies[-1]
    assert '<folder type="Folder">group-v3</folder>' in server.bodies[-1]
    assert "<powerOn>false</powerOn>" in server.bodies[-1]


@pytest.mark.parametrize("state", ["queued", "running", "somethingNew"])
def test_a_server_is_shown_from_the_request_on(created, state):
    _, vsphere = created(task(state))
    seen = vsphere.show(SERVER)

    assert (seen.ref, seen.state, seen.provider_state) == (SERVER, State.PENDING, f"create {state}")
    assert not vsphere.needs_start(seen)


def test_once_the_clone_is_done_it_is_started_and_ready(created):
    server, vsphere = created(
        task("running"),
        task("success", more=RESULT),
        machine("poweredOff"),
        task("running"),
        machine("poweredOn"),
        PowerOnVM_Task=TASK,
    )
    assert vsphere.show(SERVER).state is State.PENDING
    seen = vsphere.show(SERVER)
    assert (seen.provider_state, vsphere.needs_start(seen)) == ("poweredOff", True)
    vsphere.start(SERVER)

    assert not vsphere.needs_start(seen)
    assert "FindByUuid" not in server.calls
    assert vsphere.servers.tasks.job(SERVER, "power on").info.state == "queued"


def test_a_task_that_fails_is_a_server_that_failed(created):
    _, vsphere = created(task("error", more=ERROR))
    seen = vsphere.show(SERVER)

    assert (seen.state, seen.fault, seen.cause) == (
        State.FAILED,
        "Insufficient disk space (NoDiskSpace: [nfs-1] a.vmdk)",
        "storage",
    )
    vsphere.delete(SERVER)
    with pytest.raises(NotFound):
        vsphere.show(SERVER)


def test_a_task_that_the_manager_has_dropped_is_over(created):
    _, vsphere = created(fault("ManagedObjectNotFound"))

    with pytest.raises(NotFound):
        vsphere.show(SERVER)


def test_a_creation_that_goes_on_is_cancelled_and_not_yet_gone(created):
    server, vsphere = created(task("running"), CancelTask="")

    with pytest.raises(Conflict):
        vsphere.delete(SERVER)
    assert server.calls[-1] == "CancelTask"


def test_a_task_that_cannot_be_cancelled_is_waited_for(created):
    _, vsphere = created(task("running"), CancelTask=fault("NotSupported"))

    with pytest.raises(Conflict):
        vsphere.delete(SERVER)


def test_a_machine_that_is_on_is_powered_off_before_it_is_destroyed(connected):
    server, vsphere = connected(
        {
            "FindByUuid": '<returnval type="VirtualMachine">vm-7</returnval>',
            "RetrievePropertiesEx": [
                machine("poweredOn"),
                task("running"),
                machine("poweredOff"),
            ],
            "PowerOffVM_Task": TASK,
            "Destroy_Task": TASK,
        }
    )
    with pytest.raises(Conflict):
        vsphere.delete(SERVER)
    vsphere.delete(SERVER)

    assert server.calls[-1] == "Destroy_Task"
    assert server.calls.count("PowerOffVM_Task") == 1


def test_what_is_gone_is_deleted_already(connected):
    _, vsphere = connected({"FindByUuid": ""})

    vsphere.delete(SERVER)
    with pytest.raises(NotFound):
        vsphere.show(SERVER)


def test_the_result_of_a_search_is_waited_for_by_the_server(connected):
    found = "<propSet><name>info.result</name><val><file><path>a.vmdk</path></file></val></propSet>"
    server, vsphere = connected(
        {
            "RetrievePropertiesEx": [task("running"), task("success", more=found)],
            "CreateFilter": '<returnval type="PropertyFilter">filter-1</returnval>',
            "WaitForUpdatesEx": [
                "<returnval><version>1</version><filterSet><objectSet><changeSet><val>running</val></changeSet>"
                "</objectSet></filterSet></returnval>",
                "<returnval><version>2</version><filterSet><objectSet><changeSet><val>success</val></changeSet>"
                "</objectSet></filterSet></returnval>",
            ],
            "DestroyPropertyFilter": "",
        }
    )
    result = vsphere.tasks.result(Moref("Task", "task-1"), "list volumes")

    assert result.findtext("file/path") == "a.vmdk"
    assert server.calls[-3:] == [
        "WaitForUpdatesEx",
        "DestroyPropertyFilter",
        "RetrievePropertiesEx",
    ]


def test_a_search_that_fails_is_an_error_and_no_empty_list(connected):
    _, vsphere = connected({"RetrievePropertiesEx": task("error", more=ERROR)})

    with pytest.raises(CloudError) as failed:
        vsphere.tasks.result(Moref("Task", "task-1"), "list volumes")
    assert failed.value.cause == "storage"
