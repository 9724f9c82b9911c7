"""Whole runs over the simulated Hyper-V: the verdicts as whole lines."""

import json
import re

import pytest

from running import run_probe
from simulators.hyperv_sites import FINE, LIFECYCLE, line
from vmprobe.checks.leftovers import command as leftovers
from vmprobe.core.clock import Clock

pytestmark = pytest.mark.live  # whole runs


def test_ok_when_the_vm_ran_and_is_gone(world, tmp_path):
    path = world.site(snapshot="yes")
    code, output, errors = run_probe(
        LIFECYCLE, "--site", path, "--json", str(tmp_path / "run.json")
    )

    assert (code, line(output), errors) == (0, FINE, "")
    assert {"cpu_avg", "memory_avg", "disk_read_avg", "net_in_avg"} <= set(
        json.loads((tmp_path / "run.json").read_text())["metrics"]
    )
    assert world.server.shells == {}


def test_one_script_creates_and_starts_a_server(world):
    assert world.run(volume="none")[0] == 0

    assert world.hyperv.calls[:2] == ["RESOLVE", "CREATE_SERVER"]
    assert world.hyperv.calls.count("DELETE_SERVER") == 1


def test_a_vhd_boots_a_server_of_generation_1(world):
    assert world.run(image="old.vhd") == (0, FINE)


def test_an_image_may_be_a_path(world):
    assert world.run(image="C:\\Hyper-V\\Virtual Hard Disks\\vmprobe-test.vhdx") == (0, FINE)


def test_a_fleet_is_polled_by_one_script_for_each_look(world):
    code, said = world.run("--count", "5", snapshot="yes")

    assert (code, said) == (
        0,
        "VM_LIFECYCLE OK - hyperv: 5 test VMs ran and are gone in T s (active T s, network T s, storage T s)",
    )
    calls = world.hyperv.calls
    started = [number for number, call in enumerate(calls) if call == "CREATE_SERVER"]
    attached = calls.index("ATTACH")
    assert len(started) == 5
    assert set(calls[started[-1] + 1 : attached]) <= {"LIST_SERVERS", "LIST_VOLUMES"}


NO_RIGHTS = (
    "image: resolve image vmprobe-test.vhdx: You do not have the required permission to complete this task. Contact the "
    "administrator of the authorization p... (cause=auth)"
)
NO_MEMORY = (
    "submit: create server HANDLE: 'HANDLE' could not initialize. (Virtual machine ID GUID) Not enough memory in the "
    "system to start t... (cause=scheduler)"
)
DISK_FULL = (
    "submit: create volume HANDLE: Failed to create the virtual hard disk. There is not enough space on the disk. "
    "(0x80070070) (cause=storage)"
)
VERDICTS = {  # name: (faults, keys, exit code, what is said)
    "image": ((), {"image": "no.vhdx"}, 2, "image: no image named 'no.vhdx' (cause=image)"),
    "image-that-is-no-parent": (
        (),
        {"image": "shared.vhds"},
        3,
        "image: image 'shared.vhds' is a VHDSET, which cannot be a parent disk (cause=client)",
    ),
    "vhd-of-generation-2": (
        (),
        {"image": "old.vhd", "generation": "2"},
        3,
        "image: image 'old.vhd' is a VHD: it needs generation = 1 (cause=client)",
    ),
    "secure-boot-of-generation-1": (
        (),
        {"image": "old.vhd", "secure boot": "linux"},
        3,
        "image: secure boot needs generation = 2 (cause=client)",
    ),
    "network": (
        (),
        {"network": "nowhere"},
        2,
        "image: no virtual switch named 'nowhere' (cause=network)",
    ),
    "rights": (("no-rights",), {}, 2, NO_RIGHTS),
    "memory": (("no-memory",), {}, 2, NO_MEMORY),
    "disk": (("disk-full",), {}, 2, DISK_FULL),
    "storage": (
        ("storage-lost",),
        {},
        2,
        "active: server GUID is RunningCritical: Cannot connect to virtual machine storage (cause=storage)",
    ),
    "attachment": (
        ("attach-refused",),
        {},
        2,
        "storage: attach volume C:\\Hyper-V\\Virtual Hard Disks\\HANDLE.vhdx to server GUID: Failed to add device "
        "'Virtual Hard Disk'. (cause=storage)",
    ),
    "off": (
        ("stays-off",),
        {"more": "[budget]\nactive = 0.5 s\n"},
        2,
        "active: server GUID is Off; not done within T s (cause=scheduler)",
    ),
    "address": (
        ("no-address",),
        {"more": "[budget]\nnetwork = 0.7 s\n"},
        2,
        "network: server GUID has no address; not done within T s (cause=network)",
    ),
    "metering": (("no-metering",), {}, 0, FINE.partition(" - hyperv: ")[2]),
}


def plain(said: str) -> str:
    """A first line without the site, ids and the handle."""
    said = re.sub(
        r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<= )[0-9a-f]{8}\.\.\.", "GUID", said
    )
    return re.sub(r"\.\.\.[a-z0-9]{8}\b|vmprobe-mon-\w+-\d+-\w+", "HANDLE", said).partition(
        " - hyperv: "
    )[2]


@pytest.mark.parametrize("name", VERDICTS)
def test_a_failure_is_said_in_the_hosts_words_and_nothing_is_left(world, name):
    faults, keys, code, words = VERDICTS[name]
    world.faults.update(faults)

    state, said = world.run(**keys)

    assert (state, plain(said)) == (code, words)
    world.faults.clear()


def test_several_switches_are_named_when_the_site_names_none(world):
    world.hyperv.switches += ["Backup", "Private"]

    assert plain(world.run()[1]) == (
        "image: [test vm] network: name one of the host's 3 switches: Backup, External, Private (cause=client)"
    )
    assert world.run(network="external") == (0, FINE)


def test_what_cannot_be_removed_is_reported_and_removed_by_the_next_run(world):
    world.faults.add("never-deleted")
    code, said = world.run(more="[budget]\ndeadline = 6 s\nreserve = 3 s\n")

    # The reason is the last one: of a removal, or of a look that the end of the reserve cut short.
    start = "gone: server GUID: deletion not confirmed: "
    assert (code, plain(said)[: len(start)]) == (1, start)
    world.faults.clear()
    assert world.run() == (0, FINE)


def test_a_sweep_removes_what_is_past_its_lease_without_a_ledger(world, monkeypatch, tmp_path):
    name = "vmprobe-mon-20200101t000000z-10-abcd1234"
    world.hyperv._create_volume("", name, 2**30)
    image = "C:\\Hyper-V\\Virtual Hard Disks\\vmprobe-test.vhdx"
    boot = f"C:\\Hyper-V\\Virtual Hard Disks\\{name}-boot.vhdx"
    made = world.hyperv._create_server(name, image, boot, 2**29, 1, 2, "External", "")
    world.hyperv._create_snapshot(made["id"], name)
    stranger = "C:\\Hyper-V\\Virtual Hard Disks\\production.vhdx"
    world.hyperv.files[stranger] = 2**30

    result = leftovers.main(["--site", world.site(), "--remove", "-t", "30"], clock=Clock()).verdict

    assert (result.state, world.hyperv.left()) == (0, [stranger])
    del world.hyperv.files[stranger]


SCRIPTS = (
    "RESOLVE",
    "CREATE_VOLUME",
    "CREATE_SERVER",
    "SHOW_SERVER",
    "LIST_VOLUMES",
    "ATTACH",
    "MEASURE",
    "CREATE_SNAPSHOT",
    "DETACH",
    "DELETE_SERVER",
    "DELETE_VOLUME",
)  # of an undisturbed run
CREATING = ("CREATE_VOLUME", "CREATE_SERVER", "CREATE_SNAPSHOT")


FAULTS = ("session-lost", "503", "reset", "reply-lost", "malformed", "huge")
SELECTED = ("CREATE_SERVER", "LIST_VOLUMES", "DELETE_SERVER")
MATRIX = [
    pytest.param(
        script,
        fault,
        id=f"{script}-{fault}",
        marks=[]
        if script in SELECTED or fault in ("session-lost", "reply-lost")
        else [pytest.mark.slow],
    )
    for script in SCRIPTS
    for fault in FAULTS
]


@pytest.mark.parametrize("script, fault", MATRIX)
def test_nothing_is_left_whatever_goes_wrong_on_the_wire(world, script, fault):
    world.server.plot[script] = fault
    code, said = world.run(snapshot="yes")

    assert world.hyperv.left() == []
    assert world.server.plot == {}
    if (
        fault == "session-lost"
    ):  # the host ran nothing: a new session is opened, and it is asked again
        assert (code, said) == (0, FINE)
    elif script in CREATING:
        assert (code, "(cause=" in said) == (2, True)
    else:
        assert (code, said) == (0, FINE)


@pytest.mark.parametrize("script", ["CREATE_SERVER", "ATTACH", "DELETE_SERVER"])
def test_nothing_is_left_when_the_host_does_its_work_but_never_answers(world, script):
    world.server.plot[script] = "silent"
    code, said = world.run(endpoint="authentication = basic\ntimeout = 1 s\n")

    assert world.hyperv.left() == []
    if script == "CREATE_SERVER":
        assert (code, plain(said)) == (
            2,
            "submit: create server HANDLE: no answer within T s from 127.0.0.1 (cause=gateway)",
        )
    else:
        assert (code, said) == (0, FINE)


def test_the_deadline_ends_a_run_and_nothing_is_left(world):
    world.faults.add("no-address")
    code, said = world.run(
        more="[budget]\ndeadline = 6 s\nreserve = 4 s\nnetwork = 60 s\n", volume="none"
    )

    assert (code, plain(said)) == (
        3,
        "network: server GUID has no address; the deadline of T s passed",
    )
    assert world.hyperv.left() == []
