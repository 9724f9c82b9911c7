"""What the scripts answer, in the suite's types."""

import pytest

from vmprobe.core.errors import NotFound, NotMeasured
from vmprobe.core.model import Kind, Limit, Ref, Resource, Sample, State
from vmprobe.drivers.hyperv import readings

SERVER = Ref(Kind.SERVER, "6d7f0e5c-2f3a-4f0c-8f9e-0a1b2c3d4e5f", "vmprobe-1")
RUNNING = {
    "id": "6D7F0E5C-2F3A-4F0C-8F9E-0A1B2C3D4E5F",
    "name": "vmprobe-1",
    "state": "Running",
    "status": "Operating normally",
    "created": 1700000000,
    "uptime": 90,
    "processors": 2,
    "memory": 2**29,
    "addresses": ["192.0.2.10", "169.254.7.7", "fe80::1", "2001:db8::10"],
}


def shown(**changes):
    (resource,) = readings.servers({"now": 1700000100, "servers": [{**RUNNING, **changes}]})
    return resource


def test_a_running_server():
    assert shown() == Resource(
        SERVER,
        State.READY,
        "Running",
        addresses=("192.0.2.10", "2001:db8::10"),
        created=1700000000.0,
        launched=1700000010.0,
        vcpus=2,
        memory=2**29,
    )


def test_a_server_without_its_storage_has_failed_in_the_hosts_words():
    seen = shown(state="RunningCritical", status="Cannot connect to virtual machine storage")

    assert (seen.state, seen.fault, seen.cause) == (
        State.FAILED,
        "Cannot connect to virtual machine storage",
        "storage",
    )


@pytest.mark.parametrize("word", ["Off", "Starting", "Saved", "Paused", "Other", "NewInSomeYear"])
def test_any_other_state_is_pending_and_shown_as_it_is(word):
    seen = shown(state=word)

    assert (seen.state, seen.provider_state, seen.launched) == (State.PENDING, word, None)


def test_a_volume_is_attached_or_free():
    item = {"path": "D:\\vmprobe\\v.vhdx", "name": "v", "size": 2**30, "server": None}

    free, attached = readings.volumes({"volumes": [item, {**item, "server": RUNNING["id"]}]})

    assert (free.server, free.provider_state, free.size) == ("", "free", 2**30)
    assert (attached.server, attached.provider_state) == (SERVER.id, "attached")


def test_what_is_not_in_the_list_is_not_found():
    with pytest.raises(NotFound) as wrong:
        readings.only(SERVER, [])

    assert str(wrong.value) == "the host has no server 6d7f0e5c-2f3a-4f0c-8f9e-0a1b2c3d4e5f"


MEASURED = {
    "duration": 60.0,
    "megahertz": 300,
    "processor_megahertz": 3000,
    "processors": 2,
    "memory": 2**29,
    "read_megabytes": 3,
    "written_megabytes": 0,
    "traffic": [
        {"direction": "Inbound", "megabytes": 1},
        {"direction": "Inbound", "megabytes": 2},
        {"direction": "Outbound", "megabytes": 4},
    ],
}


def measured(**changes):
    reply = {"now": 5000, "server": True, "measured": {**MEASURED, **changes}}
    return readings.samples(SERVER, reply)


def test_measure_vm_has_every_metric():
    assert measured() == [
        Sample("cpu", 3.0, 5.0),  # 300 of 3000 MHz for 60 s, by two vCPUs
        Sample("disk_read", 3 * 2.0**20, 5.0),
        Sample("disk_write", 0.0, 5.0),
        Sample("net_in", 3 * 2.0**20, 5.0),
        Sample("net_out", 4 * 2.0**20, 5.0),
        Sample("memory", 2.0**29, 5.0, counter=False),
    ]


@pytest.mark.parametrize("missing", ["duration", "megahertz", "processor_megahertz"])
def test_without_its_clock_cpu_time_is_absent_and_not_zero(missing):
    assert "cpu" not in {sample.metric for sample in measured(**{missing: None})}


def test_traffic_that_is_not_metered_is_absent_and_not_zero():
    assert {sample.metric for sample in measured(traffic=[])}.isdisjoint({"net_in", "net_out"})


def test_without_metering_nothing_is_measured():
    with pytest.raises(NotMeasured) as wrong:
        readings.samples(SERVER, {"now": 5000, "server": True, "measured": None})

    assert str(wrong.value) == f"resource metering is off for {SERVER}"


def test_the_host_and_the_folder_have_limits():
    reply = {
        "host": "HV1",
        "servers": 3,
        "processors": 8,
        "memory": 100,
        "memory_free": 40,
        "storage": 1000,
        "storage_free": 1200,
    }

    assert readings.limits(reply, "D:\\vmprobe") == [
        Limit("servers", 3.0, None, "HV1"),
        Limit("vcpus", 8.0, None, "HV1"),
        Limit("memory", 60.0, 100.0, "HV1"),
        Limit("storage", 0.0, 1000.0, "folder D:\\vmprobe"),
    ]
