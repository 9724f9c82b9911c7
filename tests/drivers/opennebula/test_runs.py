"""Whole runs over the simulated oned: the verdicts as whole lines."""

import json
import re

import pytest

from certificates import Authority
from running import run_probe
from simulators.opennebula_world import FINE, LIFECYCLE, in_each_form, line
from vmprobe.core.errors import (
    ClientError,
)
from vmprobe.site.site import load

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


@in_each_form
def test_ok_when_the_vm_ran_and_is_gone(world, tmp_path):
    path = world.site(snapshot="yes")
    code, output, errors = run_probe(
        LIFECYCLE, "--site", path, "--json", str(tmp_path / "run.json")
    )

    assert (code, line(output), errors) == (0, FINE, "")
    assert {"cpu_avg", "memory_avg"} <= set(
        json.loads((tmp_path / "run.json").read_text())["metrics"]
    )
    assert [vm.state for vm in world.oned.vms.values()] == [
        "DONE"
    ]  # and the document can still be read


def test_a_template_is_used_as_it_is_where_it_has_the_image_and_a_network(world):
    assert world.run(flavor="tiny", memory="64 MiB") == (0, FINE)

    (vm,) = world.oned.vms.values()
    assert [
        vm.template.findtext(path)
        for path in ("CPU", "VCPU", "MEMORY", "DISK/IMAGE", "NIC/NETWORK", "CONTEXT/NETWORK")
    ] == ["0.2", "2", "64", "vmprobe-test", "private", "YES"]


def test_each_poll_of_a_fleet_is_one_request(world):
    code, output = world.run("--count", "5", volume="none")

    assert (code, output) == (
        0,
        "VM_LIFECYCLE OK - opennebula: 5 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )
    calls = world.oned.calls
    started = [number for number, call in enumerate(calls) if call == "one.vm.allocate"]
    sampled = next(
        number
        for number, call in enumerate(calls)
        if number > started[-1] and call != "one.vmpool.info"
    )
    assert len(started) == 5 and sampled > started[-1] + 2


def test_a_fleet_has_a_volume_for_each_of_it(world):
    assert world.run("--count", "5")[0] == 0


def test_an_address_that_only_the_guest_knows_is_an_address_of_a_fleet_too(world):
    world.oned.faults.add("guest-address")
    world.oned.judge = lambda procedure, answer: (
        None
    )  # drivers may report more than the schema names

    assert world.run("--count", "4", volume="none")[0] == 0


VERDICTS = {  # fault: (exit code, line)
    "boot-failure": (
        2,
        "active: server 40 is BOOT_FAILURE: on node1: DEPLOY: Could not create domain from /var/lib/one//datastores/0/40/"
        "deployment.0 (cause=scheduler)",
    ),
    "prolog-failure": (
        2,
        "active: server 40 is PROLOG_FAILURE: on node1: Error executing image transfer script: Error copying "
        "node1:/var/lib/one/datastores/1/7 (cause=storage)",
    ),
    "no-room": (
        2,
        "active: server 40 is PENDING: Cannot dispatch VM: No host with enough capacity to deploy the VM; not done "
        "within T s (cause=scheduler)",
    ),
    "never-running": (
        2,
        "active: server 40 is BOOT; not done within T s (cause=scheduler)",
    ),
    "slow-prolog": (2, "active: server 40 is PROLOG; not done within T s (cause=storage)"),
    "system-full": (
        2,
        "active: server 40 is PENDING: Cannot dispatch VM: No system datastore with enough capacity for the VM; not done "
        "within T s (cause=storage)",
    ),
    "dies": (2, "active: server 40 is POWEROFF: on node1 (cause=scheduler)"),
    "no-address": (
        2,
        "network: server 40 has no address; not done within T s (cause=network)",
    ),
    "attach-hangs": (
        2,
        "storage: volume 8 is USED_PERS (HOTPLUG); not done within T s (cause=storage)",
    ),
    "datablock-error": (
        2,
        "storage: volume 8 is ERROR: Error creating datablock: mkfs failed: No space left on device "
        "(cause=storage)",
    ),
    "attach-failure": (
        2,
        "storage: volume 8 is READY, not attached to server 40: ATTACHDISK: Could not attach vdb: target busy "
        "(cause=storage)",
    ),
    "detach-failure": (
        2,
        "detach: volume 8 is USED_PERS, still attached: DETACHDISK: Could not detach vdb (cause=storage)",
    ),
    "full": (2, "submit: [one.image.allocate] Not enough space in datastore (cause=storage)"),
    "no-lease": (
        2,
        "submit: [one.vm.allocate] Cannot get IP/MAC lease from virtual network 0. (cause=network)",
    ),
    "clusters": (
        2,
        "submit: [one.vm.allocate] Missing clusters. Network for NIC 0 is not in any cluster (cause=network)",
    ),
    "saveas-error": (
        2,
        "snapshot: snapshot 9 is ERROR: Error executing image transfer script: Error dumping "
        "/var/lib/one/datastores/0/40/disk.0 (cause=image)",
    ),
    "election": (
        2,
        "auth: [one.system.version] Cannot process request, oned cluster in election mode (cause=gateway)",
    ),
}


BUDGETS = {
    "no-room": "active",
    "never-running": "active",
    "slow-prolog": "active",
    "system-full": "active",
    "no-address": "network",
    "attach-hangs": "storage",
}


@pytest.mark.parametrize("fault", VERDICTS)
def test_a_failure_is_reported_with_oneds_message_and_nothing_is_left(world, fault):
    world.oned.faults.add(fault)
    budget = f"[budget]\n{BUDGETS[fault]} = 1 s\n" if fault in BUDGETS else ""

    def goes_on():  # oned refuses to end a VM in BOOT or HOTPLUG until it goes on
        world.oned.faults.discard(fault)
        for vm in list(world.oned.vms.values()):
            vm.state = "RUNNING"

    if fault in ("never-running", "slow-prolog", "attach-hangs"):
        world.oned.plot["one.vm.action"], world.oned.killer = "killed-after", goes_on
    code, output = VERDICTS[fault]

    assert world.run(more=budget, snapshot="yes" if fault == "saveas-error" else "no") == (
        code,
        f"VM_LIFECYCLE CRITICAL - opennebula: {output}",
    )


@pytest.mark.parametrize(
    "message, preamble",
    [
        ({}, "[one.vm.allocate]"),
        ({"flavor": "tiny"}, "[one.template.instantiate] Error allocating a new virtual machine."),
    ],
)
def test_a_create_that_oned_refuses_is_asked_for_once_and_owes_nothing(
    world, state_directory, message, preamble
):
    world.oned.faults.add("no-lease")

    assert world.run(volume="none", **message) == (
        2,
        f"VM_LIFECYCLE CRITICAL - opennebula: submit: {preamble} Cannot get IP/MAC lease from virtual network 0. (cause=network)",
    )
    assert [
        call for call in world.oned.calls if call in ("one.vm.allocate", "one.template.instantiate")
    ] == [preamble.split("]")[0][1:]]
    assert [path for path in state_directory.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "limits, message",
    [
        (
            {"VMS": 0},
            "submit: [one.vm.allocate] User [2] : user [2] limit of 0 reached for VMS quota in VM. (cause=quota)",
        ),
        (
            {"SIZE": 100},
            "submit: [one.image.allocate] User [2] : user [2] limit of 100 reached for SIZE quota in DATASTORE with ID: 1. "
            "(cause=quota)",
        ),
    ],
)
def test_a_full_quota_is_a_warning(world, limits, message):
    world.oned.probe.limits.update(limits)

    assert world.run() == (1, f"VM_LIFECYCLE WARNING - opennebula: {message}")


@pytest.mark.parametrize(
    "test_vm, message",
    [
        ({"image": "no-such-image"}, "image: no image 'no-such-image' (cause=image)"),
        ({"image": "77"}, "image: no image '77' (cause=image)"),
        ({"network": "no-such-network"}, "image: no network 'no-such-network' (cause=network)"),
        ({"flavor": "no-such-template"}, "image: no VM template 'no-such-template' (cause=image)"),
        (
            {"datastore": "no-such-datastore"},
            "image: no datastore 'no-such-datastore' (cause=storage)",
        ),
        ({"datastore": "system"}, "image: datastore 'system' is not for images (cause=storage)"),
    ],
)
def test_what_is_not_there_is_named(world, test_vm, message):
    assert world.run(**test_vm) == (2, f"VM_LIFECYCLE CRITICAL - opennebula: {message}")


def test_an_image_that_cannot_be_used_is_reported_with_its_state(world):
    world.oned.images[7].state = 5
    world.oned.images[7].said["ERROR"] = (
        "Mon Nov 23 00:10:13 2026 : Error copying image in the datastore: no route to host"
    )

    assert world.run() == (
        2,
        "VM_LIFECYCLE CRITICAL - opennebula: image: image 'vmprobe-test' is ERROR: Error copying image in the "
        "datastore: no route to host (cause=image)",
    )


def test_several_networks_want_a_choice(world):
    world.oned.networks[1] = "public"

    assert world.run() == (
        3,
        "VM_LIFECYCLE UNKNOWN - opennebula: image: [test vm] network: there are private (0), public (1): name one "
        "(cause=client)",
    )


def test_a_wrong_password_is_critical_and_a_missing_one_is_ours(world):
    assert world.run(credentials="username = probe\npassword = wrong-password\n") == (
        2,
        "VM_LIFECYCLE CRITICAL - opennebula: auth: [one.system.version] User couldn't be authenticated, aborting call. (cause=auth)",
    )
    assert world.run(credentials="username = probe\n") == (
        3,
        "VM_LIFECYCLE UNKNOWN - opennebula: auth: no password, login_token, certificate or one_auth among the credentials "
        "(cause=client)",
    )


def test_a_vm_that_somebody_ended_before_the_first_poll_is_reported_at_once(world):
    def ends():
        (vm,) = world.oned.vms.values()
        world.oned._free(vm)

    world.oned.plot["one.vm.allocate"], world.oned.killer = "killed-after", ends

    assert world.run(volume="none") == (
        2,
        "VM_LIFECYCLE CRITICAL - opennebula: active: server 40 is DONE (cause=scheduler)",
    )


def test_a_certificate_that_has_expired_is_ours(world, tmp_path):
    certificate = Authority(tmp_path).issue("probe", days=-1, since=-3)

    code, output = world.run(
        credentials=f"username = probe\ncertificate = {certificate}\nkey = {certificate}\n"
    )

    assert code == 3
    assert re.match(
        r"VM_LIFECYCLE UNKNOWN - opennebula: auth: certificate \S+ expired on .* \(cause=client\)$",
        output,
    )
    assert world.oned.calls == []


HANGS = {  # procedure without an answer, or fault: line
    "one.system.version": "auth: one.system.version: no whole answer within T s; the deadline of T s passed (cause=gateway)",
    "one.imagepool.info": "image: one.imagepool.info: no whole answer within T s; the deadline of T s passed (cause=gateway)",
    "no-room": "active: server 40 is PENDING: Cannot dispatch VM: No host with enough capacity to deploy the VM; the deadline of T s passed",
    "no-address": "network: server 40 has no address; the deadline of T s passed",
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            what, marks=[] if what in ("one.system.version", "no-address") else pytest.mark.slow
        )
        for what in HANGS
    ],
)
def test_a_deadline_that_passes_is_unknown_and_names_the_stage(world, what):
    world.oned.faults.update(
        {what} - {procedure for procedure in HANGS if procedure.startswith("one.")}
    )
    world.oned.plot[what] = "silent"

    assert world.run(more="[budget]\ndeadline = 8 s\nreserve = 4 s\n") == (
        3,
        f"VM_LIFECYCLE UNKNOWN - opennebula: {HANGS[what]}",
    )
    world.oned.speaks.set()


@pytest.mark.parametrize(
    "ranges, code, message",
    [
        (("-w", "total=0.01"), 1, "WARNING - opennebula: total T s is outside 0.01 (warning)"),
        (
            ("-c", "active=0.001"),
            2,
            "CRITICAL - opennebula: active T s is outside 0.001 (critical)",
        ),
    ],
)
def test_a_stage_outside_its_range_alerts(world, ranges, code, message):
    assert world.run(*ranges) == (
        code,
        f"VM_LIFECYCLE {message}; test VM ran and is gone in T s (active T s, network T s, storage T s)",
    )


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("vcpu", "0", "'0' is not a whole number from 1 up"),
        ("cpu", "none", "'none' is not a share of a CPU like '0.1' or '2'"),
        ("memory", "1 KiB", "'1 KiB' is less than 1 MiB"),
        ("device prefix", "x", "'x' is not one of vd, sd, hd, xvd"),
        ("reporter", "perhaps", "'perhaps' is neither 'yes' nor 'no'"),
        ("flavour", "tiny", "no such key; did you mean flavor?"),
    ],
)
def test_each_mistake_in_a_site_file_is_named_with_its_place(world, key, value, message):
    with pytest.raises(ClientError) as raised:
        load(world.site(**{key: value}))

    assert str(raised.value) == f"opennebula.ini [test vm] {key}: {message}"


def test_credentials_that_others_can_read_or_that_are_not_there_are_ours(world):
    path = world.site()
    secret = world.directory / "credentials.ini"
    secret.chmod(0o644)
    assert line(run_probe(LIFECYCLE, "--site", path)[1]) == (
        f"VM_LIFECYCLE UNKNOWN - {secret} has mode 0644: others than its owner have access; chmod 0600 it"
    )
    secret.unlink()
    assert line(run_probe(LIFECYCLE, "--site", path)[1]) == (
        f"VM_LIFECYCLE UNKNOWN - opennebula.ini [endpoint] credentials: {secret}: No such file or directory"
    )
    assert world.oned.calls == []
