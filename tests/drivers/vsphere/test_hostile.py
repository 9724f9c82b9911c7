"""Whatever a server answers, a verb returns what its contract says or raises an error of the suite."""

import random
import re

import pytest

from rawserver import reply
from simulators.scripted_vsphere import (
    CONTENT,
    ENVELOPE,
    HANDLE,
    LOGIN,
    TASK,
    VIEW,
    Scripted,
    answer,
    driver,
    objects,
    task,
)
from vmprobe.core.errors import VmprobeError
from vmprobe.core.model import Kind, Ref, Resource
from vmprobe.drivers.vsphere import readings

SERVER = Ref(Kind.SERVER, readings.server_id(HANDLE), HANDLE)
VOLUME = Ref(Kind.VOLUME, f"[nfs-1] {HANDLE}.vmdk", HANDLE)
SNAPSHOT = Ref(Kind.SNAPSHOT, f"{SERVER.id}/{HANDLE}", HANDLE)
DEVICES = (
    '<val xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="ParaVirtualSCSIController"><key>1000</key></VirtualDevice>'
    '<VirtualDevice xsi:type="VirtualDisk"><key>2000</key><backing><fileName>[nfs-1] a/a.vmdk</fileName></backing>'
    "<controllerKey>1000</controllerKey><unitNumber>0</unitNumber><capacityInKB>1024</capacityInKB></VirtualDevice>"
    '<VirtualDevice xsi:type="VirtualVmxnet3"><key>4000</key><connectable><connected>true</connected></connectable>'
    "</VirtualDevice></val>"
)
SNAPSHOTS = (
    f'<val><VirtualMachineSnapshotTree><snapshot type="VirtualMachineSnapshot">snapshot-1</snapshot><name>{HANDLE}</name>'
    "<createTime>2026-11-28T10:00:00Z</createTime></VirtualMachineSnapshotTree></val>"
)
MACHINE = {
    "name": HANDLE,
    "config.instanceUuid": SERVER.id,
    "runtime.powerState": "poweredOn",
    "runtime.connectionState": "connected",
    "summary.config.numCpu": "1",
    "summary.config.memorySizeMB": "64",
    "guest.net": "<val><GuestNicInfo><ipAddress>10.0.0.5</ipAddress><deviceConfigId>4000</deviceConfigId></GuestNicInfo></val>",
    "config.hardware.device": DEVICES,
    "snapshot.rootSnapshotList": SNAPSHOTS,
}
FILES = (
    f"<propSet><name>info.result</name><val><file><path>{HANDLE}.vmdk</path></file></val></propSet>"
)
HOST = {
    "name": "esx1",
    "summary.hardware.numCpuCores": "2",
    "summary.hardware.cpuMhz": "2000",
    "summary.hardware.memorySize": "4294967296",
    "summary.quickStats.overallCpuUsage": "100",
    "summary.quickStats.overallMemoryUsage": "1000",
    "summary.capacity": "1000",
    "summary.freeSpace": "500",
    "vmFolder": '<val type="Folder">group-v3</val>',
    "browser": '<val type="HostDatastoreBrowser">browser-1</val>',
    "perfCounter": "<val><PerfCounterInfo><key>2</key><nameInfo><key>usage</key></nameInfo><groupInfo><key>cpu</key>"
    "</groupInfo><rollupType>average</rollupType></PerfCounterInfo></val>",
}
SAMPLES = (
    "<returnval><sampleInfo><timestamp>2026-11-28T10:00:00Z</timestamp></sampleInfo>"
    "<value><id><counterId>2</counterId></id><value>100</value></value></returnval>"
)


def collected(body):
    """A right answer of the property collector."""
    if 'type="Task"' in body:
        return task("success", more=FILES)
    kind = re.search(r"<propSet><type>(\w+)</type>", body)[1]
    names = {"Datacenter": "Madrid", "Datastore": "nfs-1"}
    values = MACHINE if kind == "VirtualMachine" else {**HOST, "name": names.get(kind, "a")}
    return objects((kind, "vm-7" if kind == "VirtualMachine" else "x-1", values))


ANSWERS = {
    "RetrieveServiceContent": CONTENT,
    "CreateContainerView": VIEW,
    "RetrievePropertiesEx": collected,
    "FindByUuid": '<returnval type="VirtualMachine">vm-7</returnval>',
    "FindByInventoryPath": "",
    "QueryVirtualDiskUuid": "<returnval>60 00</returnval>",
    "SearchDatastore_Task": TASK,
    "PowerOffVM_Task": TASK,
    "PowerOnVM_Task": TASK,
    "Destroy_Task": TASK,
    "ReconfigVM_Task": TASK,
    "DeleteVirtualDisk_Task": TASK,
    "RemoveSnapshot_Task": TASK,
    "CreateSnapshot_Task": TASK,
    "QueryPerf": SAMPLES,
    "CreateFilter": '<returnval type="PropertyFilter">f</returnval>',
    "WaitForUpdatesEx": "<returnval><version>1</version></returnval>",
    "DestroyPropertyFilter": "",
    "CancelTask": "",
}
VERBS = {
    "list-servers": lambda cloud: cloud.list(Kind.SERVER, HANDLE),
    "list-volumes": lambda cloud: cloud.list(Kind.VOLUME, HANDLE),
    "list-snapshots": lambda cloud: cloud.list(Kind.SNAPSHOT, HANDLE),
    "show-server": lambda cloud: cloud.show(SERVER),
    "show-volume": lambda cloud: cloud.show(VOLUME),
    "show-snapshot": lambda cloud: cloud.show(SNAPSHOT),
    "delete-server": lambda cloud: cloud.delete(SERVER),
    "delete-volume": lambda cloud: cloud.delete(VOLUME),
    "delete-snapshot": lambda cloud: cloud.delete(SNAPSHOT),
    "start": lambda cloud: cloud.start(SERVER),
    "attach": lambda cloud: cloud.attach(SERVER, VOLUME),
    "detach": lambda cloud: cloud.detach(SERVER, VOLUME),
    "ports": lambda cloud: cloud.ports([SERVER]),
    "console": lambda cloud: cloud.console(SERVER),
    "metrics": lambda cloud: cloud.metrics(SERVER),
    "capacity": lambda cloud: cloud.capacity(),
    "images": lambda cloud: cloud.images(""),
    "belongings": lambda cloud: cloud.belongings(SERVER),
    "orphans": lambda cloud: cloud.orphans([SERVER]),
    "snapshot": lambda cloud: cloud.snapshot(SERVER, HANDLE),
}
GARBAGE = (
    b"",
    b"\xff\xfe",
    b"<html><body>Sign in</body></html>",
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    (ENVELOPE % ("<a>" * 200 + "</a>" * 200)).encode(),
    (ENVELOPE % "<Fault/>").encode(),
    (
        ENVELOPE
        % "<RetrievePropertiesExResponse><returnval><objects/></returnval></RetrievePropertiesExResponse>"
    ).encode(),
)


class Hostile(Scripted):
    """Right answers, each spoilt by ``spoil``."""

    spoil = staticmethod(lambda method, response: response)

    def _respond(self, request):
        response = super()._respond(request)
        if request.method != "POST" or self.calls[-1] in ("Login", "RetrieveServiceContent"):
            return response
        return self.spoil(self.calls[-1], response)


@pytest.fixture(scope="module")
def hostile():
    with Hostile({**ANSWERS, "GET": reply(200, "text")}) as server:
        yield server


def judged(server, verb):
    """Call a verb; the result, or the error of the suite. Anything else fails the test."""
    cloud = driver(server.url)
    cloud.connect()
    try:
        return VERBS[verb](cloud)
    except VmprobeError as error:
        assert str(error)
        return error
    finally:
        server.spoil = staticmethod(lambda method, response: response)
        cloud.close()


@pytest.mark.parametrize("verb", VERBS)
def test_right_answers_are_taken(hostile, verb):
    assert not isinstance(judged(hostile, verb), VmprobeError)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_an_error_and_never_an_empty_list(hostile, verb, body):
    hostile.spoil = lambda method, response: reply(200, body)
    result = judged(hostile, verb)

    assert isinstance(result, VmprobeError) or result is None or verb == "orphans"


@pytest.mark.parametrize("verb", VERBS)
def test_broken_answers_raise_nothing_but_errors_of_the_suite(hostile, verb):
    chance = random.Random(verb)

    def spoil(method, response):
        head, _, body = response.partition(b"\r\n\r\n")
        text = body.decode("utf-8", "replace")
        parts = re.findall(r"<[^>]+>|[^<]+", text)
        for _ in range(chance.randint(0, 2)):
            place = chance.randrange(len(parts)) if parts else 0
            change = chance.choice(("drop", "double", "word", "empty"))
            if not parts:
                continue
            if change == "drop":
                del parts[place]
            elif change == "double":
                parts.insert(place, parts[place])
            elif not parts[place].startswith("<"):
                parts[place] = {
                    "word": chance.choice(("-1", "9" * 400, "é\u202e", "../..", "a b")),
                    "empty": "",
                }[change]
        return reply(200, "".join(parts), Set_Cookie="a=b")

    for _ in range(20):
        hostile.spoil = spoil
        result = judged(hostile, verb)
        resources = (
            [one for one in result if isinstance(one, Resource)] if isinstance(result, list) else []
        )
        assert all(one.ref.name.startswith(HANDLE) for one in resources if verb.startswith("list"))


def test_the_login_itself():
    for body in GARBAGE:
        with Scripted({"Login": reply(200, body)}) as server, pytest.raises(VmprobeError):
            driver(server.url).connect()
    assert answer("Login", LOGIN)
