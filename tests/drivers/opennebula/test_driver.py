"""OpenNebula's driver over the simulated oned: its verdicts as whole lines, its tokens, both forms, and that nothing is left."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import quote

import pytest

from certificates import Authority
from images import NONCE
from private import written
from reporting import BOOT, SHELLS, Machine
from reporting import NETWORK as REACHED
from running import PROBES, run_probe
from simulators import opennebula_sites
from simulators.opennebula import STATES, Oned, served
from simulators.opennebula_sites import site_file
from vmprobe.checks.lifecycle import command
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Ref, ServerSpec, State, VolumeSpec
from vmprobe.drivers.opennebula import states
from vmprobe.drivers.opennebula.oned import refusal
from vmprobe.report import verdict
from vmprobe.site.site import load
from waiting import soon

pyone = pytest.importorskip(
    "pyone", reason="pyone, which judges the simulator's answers, is not installed"
)

pytestmark = pytest.mark.live  # whole runs, many of them as processes
LIFECYCLE = "check_vm_lifecycle"
FINE = "VM_LIFECYCLE OK - opennebula: test VM ran and is gone in T s (active T s, network T s, storage T s)"


def line(output: str) -> str:
    """The first line without perfdata; durations as T."""
    return re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0]).rstrip("\n")


class World:
    """A simulated oned with its site; probes are run in this process, or as one of their own."""

    def __init__(self, oned, url, directory):
        self.oned, self.url, self.directory = oned, url, directory

    def site(self, **words):
        return str(site_file(self.directory, self.url, **words))

    def run(self, *options, **words):
        """(exit code, first line) of check_vm_lifecycle."""
        said = command.main(["--site", self.site(**words), *options], clock=Clock()).verdict
        return said.state, line(verdict.render("VM_LIFECYCLE", said))


@pytest.fixture(params=["6.10.0"])
def world(request, tmp_path):
    """Whatever a test leaves in it fails it, as does an answer that pyone does not understand."""
    oned = Oned(request.param)
    if request.param >= "6":
        oned.judge = opennebula_sites.judge
    with served(oned) as (_, url):
        yield World(oned, url, tmp_path)
        oned.faults.clear()
        assert (oned.left(), oned.rejected) == ([], [])


in_each_form = pytest.mark.parametrize(
    "world", ["5.2.1", "5.12.0", "6.10.0", "7.2.0"], indirect=True
)


# --- verdicts -----------------------------------------------------------------------------------------------------


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
    assert [vm.state for vm in world.oned.vms.values()] == ["DONE"]  # and can still be read


def test_a_template_is_used_as_it_is_where_it_has_the_image_and_a_network(world):
    assert world.run(flavor="tiny", memory="64 MiB") == (0, FINE)

    (vm,) = world.oned.vms.values()
    assert [
        vm.template.findtext(path)
        for path in ("CPU", "VCPU", "MEMORY", "DISK/IMAGE", "NIC/NETWORK", "CONTEXT/NETWORK")
    ] == ["0.2", "2", "64", "vmprobe-test", "private", "YES"]


def test_a_fleet_is_polled_by_one_request_for_each_look(world):
    code, said = world.run("--count", "5", volume="none")

    assert (code, said) == (
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


VERDICTS = {  # fault: (exit code, what is said)
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
        "active: server 40 is PENDING: Cannot dispatch VM: No host with enough capacity to deploy the VM; not within its "
        "budget of T s (cause=scheduler)",
    ),
    "never-running": (
        2,
        "active: server 40 is BOOT; not within its budget of T s (cause=scheduler)",
    ),
    "slow-prolog": (2, "active: server 40 is PROLOG; not within its budget of T s (cause=storage)"),
    "system-full": (
        2,
        "active: server 40 is PENDING: Cannot dispatch VM: No system datastore with enough capacity for the VM; not within "
        "its budget of T s (cause=storage)",
    ),
    "dies": (2, "active: server 40 is POWEROFF: on node1 (cause=scheduler)"),
    "no-address": (
        2,
        "network: server 40 has no address; not within its budget of T s (cause=network)",
    ),
    "attach-hangs": (
        2,
        "storage: volume 8 is USED_PERS (HOTPLUG); not within its budget of T s (cause=storage)",
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
def test_what_fails_is_told_in_oneds_words_and_nothing_is_left(world, fault):
    world.oned.faults.add(fault)
    budget = f"[budget]\n{BUDGETS[fault]} = 1 s\n" if fault in BUDGETS else ""

    def goes_on():  # oned refuses to end a VM in BOOT or HOTPLUG until it goes on
        world.oned.faults.discard(fault)
        for vm in list(world.oned.vms.values()):
            vm.state = "RUNNING"

    if fault in ("never-running", "slow-prolog", "attach-hangs"):
        world.oned.plot["one.vm.action"], world.oned.killer = "killed-after", goes_on
    code, said = VERDICTS[fault]

    assert world.run(more=budget, snapshot="yes" if fault == "saveas-error" else "no") == (
        code,
        f"VM_LIFECYCLE CRITICAL - opennebula: {said}",
    )


@pytest.mark.parametrize(
    "words, preamble",
    [
        ({}, "[one.vm.allocate]"),
        ({"flavor": "tiny"}, "[one.template.instantiate] Error allocating a new virtual machine."),
    ],
)
def test_a_create_that_oned_refuses_is_asked_for_once_and_owes_nothing(
    world, state_directory, words, preamble
):
    world.oned.faults.add("no-lease")

    assert world.run(volume="none", **words) == (
        2,
        f"VM_LIFECYCLE CRITICAL - opennebula: submit: {preamble} Cannot get IP/MAC lease from virtual network 0. (cause=network)",
    )
    assert [
        call for call in world.oned.calls if call in ("one.vm.allocate", "one.template.instantiate")
    ] == [preamble.split("]")[0][1:]]
    assert [path for path in state_directory.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "limits, said",
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
def test_a_full_quota_is_a_warning(world, limits, said):
    world.oned.probe.limits.update(limits)

    assert world.run() == (1, f"VM_LIFECYCLE WARNING - opennebula: {said}")


@pytest.mark.parametrize(
    "test_vm, said",
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
def test_what_is_not_there_is_named(world, test_vm, said):
    assert world.run(**test_vm) == (2, f"VM_LIFECYCLE CRITICAL - opennebula: {said}")


def test_an_image_that_cannot_be_used_is_told_with_its_state(world):
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


def test_a_vm_that_somebody_ended_before_it_was_seen_is_told_so_at_once(world):
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

    code, said = world.run(
        credentials=f"username = probe\ncertificate = {certificate}\nkey = {certificate}\n"
    )

    assert code == 3
    assert re.match(
        r"VM_LIFECYCLE UNKNOWN - opennebula: auth: certificate \S+ expired on .* \(cause=client\)$",
        said,
    )
    assert world.oned.calls == []


def test_what_cannot_be_removed_is_left_behind_and_the_next_run_says_so(world):
    world.oned.faults.add("delete-ignored")
    budget = "[budget]\ndeadline = 12 s\nreserve = 4 s\n"

    code, said = world.run(volume="none", more=budget)
    assert (code, said.split(":")[0:2]) == (1, ["VM_LIFECYCLE WARNING - opennebula", " gone"])
    assert "server 40: deletion not confirmed" in said and "(cause=teardown)" in said
    code, said = world.run(volume="none", more=budget)
    assert "left behind by earlier runs: server 40" in said

    world.oned.faults.clear()
    assert world.run(volume="none")[0] == 0


@pytest.mark.parametrize(
    "fault, said",
    [
        ("cancel-failure", "server 40: deletion not confirmed: CANCEL: Could not destroy one-40"),
        pytest.param(
            "rm-failure",
            "volume 8: deletion not confirmed: Error removing image from datastore. Retry the operation or manually "
            "remove image source",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_could_not_be_removed_is_told_with_oneds_reason_and_the_next_run_removes_it(
    world, fault, said
):
    world.oned.faults.add(fault)
    storage = {"volume": "none"} if fault == "cancel-failure" else {}

    assert world.run(more="[budget]\ndeadline = 12 s\nreserve = 4 s\n", **storage) == (
        1,
        f"VM_LIFECYCLE WARNING - opennebula: gone: {said} (cause=teardown)",
    )
    world.oned.faults.clear()
    assert world.run()[0] == 0


@pytest.mark.parametrize(
    "words, fault",
    [
        (
            "Mon Nov 23 07:49:48 2026: DEPLOY: Could not create domainExitCode: 255",
            "DEPLOY: Could not create domain",
        ),
        (
            "Mon Nov 23 07:49:48 2026: DEPLOY: Could not create domain\nExitCode: 1",
            "DEPLOY: Could not create domain",
        ),
        ("Mon Nov 23 07:49:48 2026: DEPLOY: ExitCode: 1", "DEPLOY: ExitCode: 1"),
    ],
)
def test_an_error_is_said_without_its_date_and_the_number_behind_it(world, words, fault):
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    world.oned.vms[int(ref.id)].said["ERROR"] = words

    assert driver.show(ref).fault == fault
    soon(lambda: removed(driver, ref))


@pytest.mark.parametrize(
    "procedure, said",
    [
        (
            "one.imagepool.info",
            "image: one.imagepool.info: the connection was closed without an answer (cause=gateway)",
        ),
        (
            "one.vm.attach",
            "storage: one.image.info: the connection was closed without an answer (cause=gateway); left behind: server 40, "
            "volume 8",
        ),
    ],
)
def test_a_manager_that_goes_away_is_told_and_the_next_run_removes_what_stayed(
    world, procedure, said
):
    world.oned.plot[procedure] = "goes-away"

    assert world.run(more="[budget]\ndeadline = 12 s\nreserve = 2 s\n") == (
        2,
        f"VM_LIFECYCLE CRITICAL - opennebula: {said}",
    )
    world.oned.faults.clear()
    assert world.run() == (0, FINE)


HANGS = {  # procedure that is not answered, or fault: what is said
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
    "ranges, code, said",
    [
        (("-w", "total=0.01"), 1, "WARNING - opennebula: total T s is outside 0.01 (warning)"),
        (
            ("-c", "active=0.001"),
            2,
            "CRITICAL - opennebula: active T s is outside 0.001 (critical)",
        ),
    ],
)
def test_a_stage_outside_its_range_alerts(world, ranges, code, said):
    assert world.run(*ranges) == (
        code,
        f"VM_LIFECYCLE {said}; test VM ran and is gone in T s (active T s, network T s, storage T s)",
    )


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("vcpu", "0", "'0' is not a whole number from 1 up"),
        ("cpu", "none", "'none' is not a share of a CPU like '0.1' or '2'"),
        ("memory", "1 KiB", "'1 KiB' is less than 1 MiB"),
        ("device prefix", "x", "'x' is not one of vd, sd, hd, xvd"),
        ("reporter", "perhaps", "'perhaps' is neither 'yes' nor 'no'"),
        ("flavour", "tiny", "no such key; did you mean flavor?"),
    ],
)
def test_each_mistake_in_a_site_file_is_named_with_its_place(world, key, value, said):
    with pytest.raises(ClientError) as raised:
        load(world.site(**{key: value}))

    assert str(raised.value) == f"opennebula.ini [test vm] {key}: {said}"


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


@pytest.mark.parametrize(
    "procedure, stage",
    [
        ("one.system.version", "image"),
        ("one.image.allocate", "submit"),
        ("one.vm.allocate", "active"),
        ("one.vm.attach", "storage"),
    ],
)
def test_sigterm_is_noticed_after_the_request_that_it_came_in_and_leaves_nothing(
    world, procedure, stage
):
    world.oned.plot[procedure] = "killed-after"
    stopped = subprocess.Popen(
        [sys.executable, str(PROBES / LIFECYCLE), "--site", world.site()],
        stdout=subprocess.PIPE,
        text=True,
    )
    world.oned.killer = stopped.terminate
    output, _ = stopped.communicate(timeout=120)

    assert (stopped.returncode, line(output)) == (
        3,
        f"VM_LIFECYCLE UNKNOWN - opennebula: {stage}: interrupted by SIGTERM",
    )


def test_no_secret_is_shown_and_none_that_oned_answers(world, tmp_path):
    path = world.site()
    _, output, _ = run_probe(
        LIFECYCLE, "--site", path, "-vv", "--evidence", str(tmp_path / "evidence")
    )
    _, capacity, _ = run_probe("check_vm_capacity", "--site", path, "-vv")

    written = "".join(file.read_text() for file in (tmp_path / "evidence").iterdir())
    for text in (output, capacity, written):
        assert "one.system.version" in text
        assert "a-good-password" not in text and "5f4dcc3b5aa765d61d8327deb882cf99" not in text


# --- nothing is left ----------------------------------------------------------------------------------------------

CHANGES = (
    "one.image.allocate",
    "one.vm.allocate",
    "one.vm.attach",
    "one.vm.disksaveas",
    "one.vm.detach",
    "one.vm.action",
    "one.image.delete",
)


@pytest.mark.parametrize("when", ["killed-before", "killed-after"])
@pytest.mark.parametrize("procedure", CHANGES)
def test_sigkill_at_each_change_is_settled_by_the_next_run(world, procedure, when):
    path = world.site(snapshot="yes")
    world.oned.plot[procedure] = when
    killed = subprocess.Popen(
        [sys.executable, str(PROBES / LIFECYCLE), "--site", path], stdout=subprocess.DEVNULL
    )
    world.oned.killer = lambda: (os.kill(killed.pid, signal.SIGKILL), killed.wait(60))
    assert killed.wait(60) == -signal.SIGKILL

    assert world.run(snapshot="yes") == (0, FINE)


@pytest.mark.parametrize("fault", ["reset", "reply-lost", "503", "malformed"])
@pytest.mark.parametrize("procedure", CHANGES)
def test_a_request_that_fails_leaves_nothing(world, procedure, fault):
    world.oned.plot[procedure] = fault
    code, said = world.run(snapshot="yes")

    creates = procedure in (
        "one.image.allocate",
        "one.vm.allocate",
        "one.vm.disksaveas",
    )  # never asked for twice
    assert code == (2 if creates else 0), said


@pytest.mark.parametrize("state", [state for state in STATES if state.endswith("_FAILURE")])
def test_a_vm_that_waits_to_be_recovered_can_be_removed(world, state):
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    world.oned._due.clear()
    world.oned.vms[int(ref.id)].state = state

    driver.delete(ref)

    wait_gone(driver, ref)


@pytest.mark.parametrize("world", ["5.2.1"], indirect=True)
def test_before_54_administrators_alone_can_remove_a_vm_that_failed(world):
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    world.oned._due.clear()
    world.oned.vms[int(ref.id)].state = "PROLOG_FAILURE"
    with pytest.raises(Conflict, match="wrong state PROLOG_FAILURE"):
        driver.delete(ref)

    admin = connected(world, credentials="username = oneadmin\npassword = opennebula\n")
    admin.delete(ref)

    wait_gone(admin, ref)


def test_a_vm_that_is_done_is_gone_though_it_can_be_read_and_ended_again(world):
    world.oned.step = 60
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    driver.delete(ref)

    for ask in (driver.show, driver.metrics):  # the last reading can be read, too
        with pytest.raises(NotFound, match=f"server {ref.id} is DONE"):
            ask(ref)
    assert driver.oned.xml("one.vm.info", int(ref.id)).findtext("STATE") == "6"
    assert driver.list(Kind.SERVER, "") == []
    driver.delete(ref)


def test_a_vm_on_its_way_out_is_asked_nothing_and_one_that_boots_later(world):
    world.oned.step = 60
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    vm = world.oned.vms[int(ref.id)]
    vm.state = "EPILOG"
    driver.delete(ref)
    vm.state = "BOOT"
    with pytest.raises(Conflict, match="wrong state BOOT"):
        driver.delete(ref)
    vm.state = "PENDING"
    driver.delete(ref)


def test_what_is_anothers_is_not_seen_and_not_touched(world):
    world.oned.faults.add("not-owner")
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))

    assert driver.list(Kind.SERVER, "vmprobe-") == driver.list(Kind.SERVER, "") == []
    with pytest.raises(NotPermitted, match="Not authorized to perform MANAGE VM"):
        driver.delete(ref)
    world.oned.vms.clear()


def test_a_name_that_is_taken_is_told(world):
    world.oned.images[7].owner = world.oned.probe
    driver = connected(world)
    plan = driver.resolve(load(world.site()).test_vm)
    server = driver.create(ServerSpec("vmprobe-x", plan))
    soon(lambda: driver.show(server).state is State.READY)
    taken = driver.snapshot(server, "vmprobe-x")
    soon(lambda: driver.show(taken).state is State.READY)
    with pytest.raises(Exception, match="NAME is already taken by IMAGE 8"):
        soon(lambda: driver.show(server).provider_state == "RUNNING")
        driver.snapshot(server, "vmprobe-x")
    assert [(found.ref, found.state) for found in driver.list(Kind.SNAPSHOT, "vmprobe-")] == [
        (Ref(Kind.SNAPSHOT, "8", "vmprobe-x"), State.READY)
    ]
    driver.delete(server)
    driver.delete(taken)
    wait_gone(driver, server)
    wait_gone(driver, taken)
    world.oned.images[7].owner = world.oned.oneadmin


def wait_gone(driver, ref):
    def gone():
        try:
            driver.show(ref)
        except NotFound:
            return True
        return False

    soon(gone)


def connected(world, **words):
    """The driver by itself, with its session."""
    found = unconnected(world, **words)
    found.connect()
    return found


def unconnected(world, **words):
    site = load(world.site(**words))
    return site.driver(
        site.endpoint, site.credentials(), Deadline(60, 10, Clock()), Evidence(keep=True)
    )


# --- what oned says -----------------------------------------------------------------------------------------------


def test_the_tables_of_states_are_pyones_and_what_is_newer():
    ours = {number: name for number, name in states.LCM_STATE.items() if number < 69}
    assert {state.value: state.name for state in pyone.LCM_STATE} == ours
    assert {state.value: state.name for state in pyone.VM_STATE} == states.STATE
    assert {state.value: state.name for state in pyone.IMAGE_STATES} == states.IMAGE


def test_every_failure_is_failed_and_whatever_is_not_known_is_waited_for():
    words = {states.name(3, number) for number in states.LCM_STATE} | {
        states.name(number, 0) for number in states.STATE
    }

    assert {word for word in words if states.meaning(word) is State.FAILED} == {
        word for word in words if word.endswith("_FAILURE")
    } | {"FAILED", "FAILURE", "UNKNOWN", "POWEROFF"}
    assert (states.name(3, 99), states.meaning(states.name(3, 99))) == (
        "LCM_STATE 99",
        State.PENDING,
    )
    assert (states.name(42, 0), states.meaning(states.name(42, 0))) == ("STATE 42", State.PENDING)


@pytest.mark.parametrize(
    "code, words, kind",
    [
        (0x100, "[one.vm.info] User couldn't be authenticated, aborting call.", AuthRejected),
        (
            0x200,
            "[one.vm.allocate] User [2] : limit of 1 reached for VMS quota in VM.",
            QuotaExceeded,
        ),
        (0x200, "[one.vm.info] User [2] : Not authorized to perform USE VM [4].", NotPermitted),
        (0x400, "[one.vm.info] Error getting virtual machine [4].", NotFound),
        (
            0x800,
            "[one.vm.attach] Could not attach a new disk to VM 4, wrong state HOTPLUG.",
            Conflict,
        ),
        (0x2000, "[one.vm.info] Cannot process request, no leader found", GatewayFailed),
        (
            0x2000,
            "[one.vm.allocate] Cannot process request, oned cluster in election mode",
            GatewayFailed,
        ),
        (0x2000, "[one.vm.allocate] RPC call timed out and aborted", GatewayFailed),
        (0x2000, "[one.vm.allocate] Error inserting VM in DB.", GatewayFailed),
        (0x2000, "[one.vm.info] Something that oned does not explain", GatewayFailed),
        (0x2000, "[one.vm.allocate] Cannot get IP/MAC lease from virtual network 0.", CloudError),
        (
            0x2000,
            "[VirtualMachineAllocate] Cannot get IP/MAC lease from virtual network 0.",
            CloudError,
        ),
        (0x2000, "[one.vm.disksaveas] Cannot use DISK. Disk not found", CloudError),
        (
            0x2000,
            "[one.vm.disksaveas] VM has to be RUNNING, POWEROFF or SUSPENDED to save disks.",
            Conflict,
        ),
        (0x8000, "[one.vm.action] The resource virtual machine is locked.", NotPermitted),
        (0x10000, "[one.vm.action] Error replicating log entry 7.", GatewayFailed),
    ],
)
def test_a_refusal_is_what_its_code_and_its_words_mean(code, words, kind):
    found = refusal(code, words)

    assert (type(found), str(found)) == (kind, words)


@pytest.mark.parametrize(
    "words, cause",
    [
        ("Cannot get IP/MAC lease from virtual network 0.", "network"),
        (
            "Incompatible clusters in NIC. Network for NIC 0 is not in the same cluster as the one used by other VM elements (cluster 0)",
            "network",
        ),
        (
            "Incompatible clusters in DISK. Datastore for DISK 0 is not in the same cluster as the one used by other VM elements",
            "storage",
        ),
        (
            "User 2 does not own an image with name: x . Set IMAGE_UNAME or IMAGE_UID of owner in DISK.",
            "image",
        ),
        ("Trying to import an OpenNebula VM: 'one-*'.", ""),
    ],
)
def test_a_create_that_is_refused_has_the_cause_of_what_it_lacks(words, cause):
    assert refusal(0x2000, f"[one.vm.allocate] {words}").cause == cause


@pytest.mark.parametrize(
    "state, words, fault, cause",
    [
        (
            "PENDING",
            "Cannot dispatch VM: No host with enough capacity to deploy the VM",
            "Cannot dispatch VM: No host with enough capacity to deploy the VM",
            "",
        ),
        (
            "PENDING",
            "Cannot dispatch VM: No system datastore with enough capacity for the VM",
            "Cannot dispatch VM: No system datastore with enough capacity for the VM",
            "storage",
        ),
        (
            "PENDING",
            "Cannot dispatch VM: No network with enough capacity for the VM",
            "Cannot dispatch VM: No network with enough capacity for the VM",
            "network",
        ),
        (
            "PROLOG",
            "Cannot dispatch VM: No host with enough capacity to deploy the VM",
            "",
            "storage",
        ),
        ("BOOT", "Cannot dispatch VM: No system datastore with enough capacity for the VM", "", ""),
    ],
)
def test_the_schedulers_words_are_those_of_a_vm_that_waits_for_it(
    world, state, words, fault, cause
):
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    world.oned._due.clear()
    vm = world.oned.vms[int(ref.id)]
    vm.state, vm.said["SCHED_MESSAGE"] = state, f"Mon Nov 23 00:10:13 2026 : {words}"

    seen = driver.show(ref)

    assert (seen.provider_state, seen.fault, seen.cause) == (state, fault, cause)
    vm.state = "RUNNING"
    soon(lambda: removed(driver, ref))


YEAR = 365 * 86400


@pytest.mark.parametrize(
    "state, seq, stuck",
    [
        ("PENDING", None, True),
        ("PROLOG", 0, True),
        ("BOOT", 0, True),
        ("EPILOG", 0, False),
        ("PROLOG", 1, False),
        ("SHUTDOWN", 0, False),
        ("PENDING", 0, False),  # it was undeployed, and comes back
    ],
)
def test_a_vm_is_stuck_since_it_came_to_its_state_and_not_since_its_creation(
    world, state, seq, stuck
):
    driver = connected(world)
    ref = driver.create(ServerSpec("web-1", driver.resolve(load(world.site()).test_vm)))
    world.oned._due.clear()
    vm = world.oned.vms[int(ref.id)]
    vm.state, vm.made, vm.host, vm.seq, vm.stamps = (
        state,
        time.time() - YEAR,
        "" if seq is None else "node1",
        seq or 0,
        {"ESTIME": time.time() - 60},
    )
    code, output, _ = run_probe("check_vm_state", "--site", world.site())

    assert (code, "stuck=1" in output) == ((1, True) if stuck else (0, False))
    assert not stuck or f"server {ref.id} (web-1) is {state} for 365 d" in output
    vm.state, vm.host = "RUNNING", "node1"
    soon(lambda: removed(driver, ref))


def test_an_epilog_that_does_not_end_is_told_with_its_own_age(world):
    driver = connected(world)
    ref = driver.create(ServerSpec("web-1", driver.resolve(load(world.site()).test_vm)))
    world.oned._due.clear()
    vm = world.oned.vms[int(ref.id)]
    vm.state, vm.made, vm.host, vm.stamps = (
        "EPILOG",
        time.time() - YEAR,
        "node1",
        {"ESTIME": time.time() - 7260},
    )
    code, output, _ = run_probe("check_vm_state", "--site", world.site())

    assert code == 1 and f"server {ref.id} (web-1) is EPILOG for 2 h" in output
    vm.state = "RUNNING"
    soon(lambda: removed(driver, ref))


def test_of_many_other_vms_none_is_asked_for_by_itself(world):
    world.oned.faults.add("no-address")
    driver = connected(world)
    plan = driver.resolve(load(world.site()).test_vm)
    refs = [driver.create(ServerSpec(name, plan)) for name in ("worker-1", "worker-2", "vmprobe-x")]
    soon(lambda: [seen.provider_state for seen in driver.list(Kind.SERVER, "")] == ["RUNNING"] * 3)
    world.oned.calls.clear()

    assert [seen.ref.name for seen in driver.list(Kind.SERVER, "vmprobe-")] == ["vmprobe-x"]
    assert world.oned.calls == ["one.vmpool.info", "one.vm.info"]
    for ref in refs:
        soon(lambda ref=ref: removed(driver, ref))


@pytest.mark.parametrize(
    "world, force", [("6.4.0", False), ("6.6.0", True), ("6.10.5", True)], indirect=["world"]
)
def test_an_image_without_a_file_is_removed_by_force_where_oned_has_it(world, force):
    world.oned.faults.add("no-file")
    driver = connected(world)
    ref = driver.create(VolumeSpec("vmprobe-x", 2**30, driver.resolve(load(world.site()).test_vm)))
    soon(lambda: driver.show(ref).state is State.READY)
    driver.delete(ref)
    soon(lambda: driver.show(ref).state is State.FAILED)

    driver.delete(ref)

    if force:
        wait_gone(driver, ref)
    else:
        soon(lambda: driver.show(ref).provider_state == "ERROR")
        world.oned.faults.clear()
        soon(lambda: removed(driver, ref))


def test_an_image_in_error_for_another_reason_is_not_removed_by_force(world):
    world.oned.faults.add("datablock-error")
    driver = connected(world)
    ref = driver.create(VolumeSpec("vmprobe-x", 2**30, driver.resolve(load(world.site()).test_vm)))
    soon(lambda: driver.show(ref).state is State.FAILED)
    image = world.oned.images[int(ref.id)]

    driver.delete(ref)

    assert "FORCE_DELETE" not in image.said
    wait_gone(driver, ref)


@in_each_form
def test_a_reading_has_its_moment_and_cpu_is_of_all_vcpus(world):
    driver = connected(world)
    ref = driver.create(
        ServerSpec("vmprobe-x", driver.resolve(load(world.site(flavor="tiny")).test_vm))
    )
    soon(lambda: driver.show(ref).state is State.READY)
    soon(lambda: driver.metrics(ref))
    samples = {sample.metric: sample for sample in driver.metrics(ref)}

    assert set(samples) == set(driver.metrics_offered)
    assert (samples["cpu"].value, samples["cpu"].counter) == (
        25.0,
        False,
    )  # half of one core, of two
    assert (samples["memory"].value, samples["memory"].counter) == (65536 * 1024, False)
    assert (
        samples["disk_read"].at
        == int(world.oned.vms[int(ref.id)].runs) + samples["disk_read"].value / 1000
    )
    driver.delete(ref)
    wait_gone(driver, ref)


@pytest.mark.parametrize(
    "world, vcpus", [("5.2.1", 2), ("5.12.0", None), ("6.10.0", 2)], indirect=["world"]
)
def test_vcpus_that_a_pool_leaves_out_are_not_taken_for_one(world, vcpus):
    driver = connected(world)
    ref = driver.create(
        ServerSpec("vmprobe-x", driver.resolve(load(world.site(flavor="tiny")).test_vm))
    )

    assert ([found.vcpus for found in driver.list(Kind.SERVER, "")], driver.show(ref).vcpus) == (
        [vcpus],
        2,
    )
    soon(lambda: removed(driver, ref))


def test_a_vm_that_was_not_monitored_yet_has_no_reading_and_that_is_said(world):
    world.oned.faults.add("no-metrics")
    code, output, _ = run_probe(LIFECYCLE, "--site", world.site(volume="none"), "-v")

    assert code == 0 and "cpu_avg" not in output
    assert (
        "note: not measured, the manager does not say: cpu, disk_read, disk_write, net_in, net_out"
        in output
    )


# --- the guest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test_vm", [{}, {"flavor": "tiny"}], ids=["inline", "template"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_one_context_is_given_the_reporter_and_need_not_wait_for_it(
    world, tmp_path, shell, test_vm
):
    """As its net-97-start-script has it: decoded into a file, run from the CD-ROM's folder, removed when that has ended."""
    if not shutil.which(SHELLS[shell][0]):
        pytest.skip(f"not installed: {shell}")
    driver = connected(world)
    plan = driver.resolve(load(world.site(reporter="yes", **test_vm)).test_vm)
    server = driver.create(ServerSpec("vmprobe-x", plan, nonce=NONCE))
    machine = Machine(tmp_path / "machine", SHELLS[shell])
    machine.put("proc/cmdline", "quiet\n")
    machine.put("mnt/context.sh", world.oned.context(int(server.id)))

    running = machine.run("sh", "-c", ONE_CONTEXT, "sh", *machine.shell).process
    try:
        assert (running.communicate(timeout=60), running.returncode) == ((b"YES\n", b""), 0)
        machine.says(BOOT, REACHED)
    finally:
        machine.stop()
    soon(lambda: removed(driver, server))


ONE_CONTEXT = """. mnt/context.sh && echo "$NETWORK" && [ -z "$START_SCRIPT" ] && cd mnt &&
echo "$START_SCRIPT_BASE64" | base64 -d >../one-start-script && chmod +x ../one-start-script && "$@" ../one-start-script
ended=$?; rm ../one-start-script; exit $ended"""


def test_a_site_that_asks_for_the_console_is_told_that_there_is_none(world):
    code, output, _ = run_probe(
        LIFECYCLE, "--site", world.site(reporter="yes"), "--depth", "console"
    )

    assert (code, line(output)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - opennebula: [test vm] asks for console, which opennebula does not offer",
    )
    assert world.oned.calls == []


# --- sessions -----------------------------------------------------------------------------------------------------


def test_a_login_token_and_a_file_of_oneuser_are_passwords(world, tmp_path):
    written(tmp_path / "one_auth", "probe:a-good-password\n")

    connected(world, credentials="username = probe\nlogin_token = a-good-password\n")
    connected(world, credentials=f"one_auth = {tmp_path / 'one_auth'}\n")
    written(tmp_path / "one_auth", "probe\n")
    with pytest.raises(ClientError, match="one_auth is not user:password|is not user:password"):
        connected(world, credentials=f"one_auth = {tmp_path / 'one_auth'}\n")


@pytest.mark.parametrize(
    "digest, vector",
    [("sha256", True), ("sha256", False), ("sha1", False)],
    ids=["6.x", "5.10", "5.0"],
)
def test_a_service_is_known_by_server_cipher_as_each_version_derives_its_key(world, digest, vector):
    """The other side is openssl: authenticate of server_cipher_auth.rb deciphers with the password's digest."""
    key = hashlib.new(digest, b"server-password").hexdigest()[:32].encode()

    def authenticate(session):
        server, target, token = session.split(":")
        done = subprocess.run(
            [
                "openssl",
                "enc",
                "-d",
                "-aes-256-cbc",
                "-K",
                key.hex(),
                "-iv",
                (key[:16] if vector else bytes(16)).hex(),
            ],
            input=base64.b64decode(token),
            capture_output=True,
        )
        said = done.stdout.decode("latin-1").split(":")
        return (
            world.oned.users[target]
            if said[:2] == [server, target] and int(said[2]) > time.time()
            else None
        )

    world.oned.authenticate = authenticate
    connected(
        world,
        credentials="server_user = serveradmin\nserver_password = server-password\nusername = probe\n",
    )


def test_a_services_token_is_shown_nowhere_not_even_alone(world):
    sent = []
    world.oned.authenticate = lambda session: sent.append(session) or world.oned.users["probe"]

    driver = connected(
        world,
        credentials="server_user = serveradmin\nserver_password = server-password\nusername = probe\n",
    )

    token = sent[0].split(":")[2]
    assert (
        driver.evidence.redactor.redact(f"probe:{token} {token} {quote(token, safe='')}")
        == "*** *** ***"
    )


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """(certificate, key) made by openssl."""
    directory = tmp_path_factory.mktemp("pem")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(directory / "key.pem"),
            "-out",
            str(directory / "cert.pem"),
            "-days",
            "2",
            "-subj",
            "/C=DE/O=Grid/CN=probe",
        ],
        check=True,
        capture_output=True,
    )
    return directory / "cert.pem", directory / "key.pem"


def _recovered(certificate, proof):
    """What ``public_decrypt`` makes of a proof, by openssl."""
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verifyrecover", "-certin", "-inkey", str(certificate)],
        input=base64.b64decode(proof),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().split(":")


def test_a_user_is_known_by_x509(world, pem):
    def authenticate(session):
        user, _, token = session.partition(":")
        proof, *chain = base64.b64decode(token).decode().split(":")
        assert chain == [pem[0].read_text()]
        said = _recovered(pem[0], proof)
        return (
            world.oned.users[user]
            if said[0] == user and time.time() < int(said[1]) <= time.time() + 3600
            else None
        )

    world.oned.authenticate = authenticate
    driver = connected(
        world, credentials=f"username = probe\ncertificate = {pem[0]}\nkey = {pem[1]}\n"
    )
    assert driver.credential_expiry() > time.time() + 86400


def test_a_service_is_known_by_server_x509(world, pem):
    def authenticate(session):
        server, target, token = session.split(":")
        said = _recovered(pem[0], base64.b64decode(token))
        return (
            world.oned.users[target]
            if said[:2] == [server, target] and int(said[2]) > time.time()
            else None
        )

    world.oned.authenticate = authenticate
    connected(
        world,
        credentials=f"server_user = serveradmin\nusername = probe\ncertificate = {pem[0]}\nkey = {pem[1]}\n",
    )


def test_a_session_that_has_ended_is_renewed_and_no_session_is_no_request(world):
    driver = unconnected(world)
    with pytest.raises(AuthRejected):
        driver.list(Kind.SERVER, "vmprobe-")
    assert world.oned.calls == []


# --- views --------------------------------------------------------------------------------------------------------


def test_the_views_say_what_there_is(world):
    driver = connected(world)
    ref = driver.create(
        ServerSpec("web-1", driver.resolve(load(world.site(flavor="tiny")).test_vm))
    )
    soon(lambda: driver.show(ref).state is State.READY)
    path = world.site(memory="128 MiB")

    code, output, _ = run_probe("check_vm_gateway", "--site", path, "--capabilities")
    assert (code, line(output)) == (
        0,
        f"VM_GATEWAY OK - opennebula: OpenNebula {world.oned.version} answers in T s (auth T s, list T s, image T s)",
    )
    assert re.search(r"^hypervisors +kvm\ndrivers +kvm$", output, re.M)
    code, output, _ = run_probe("check_vm_state", "--site", path, "-v")
    assert code == 0
    assert re.search(r"^RUNNING +\S+( s)? +probe +users +vmprobe-test +40 +web-1$", output, re.M)
    code, output, _ = run_probe("check_vm_capacity", "--site", path, "-v", "--need", "1")
    assert code == 0
    assert re.search(r"^servers +quota +1 +50 +49 +2 %$", output, re.M)
    assert re.search(r"^storage +datastore default +4 GiB +20 GiB +16 GiB +20 %$", output, re.M)
    assert [line(run_probe("check_vm_activity", "--site", path)[1]) for _ in range(2)][
        -1
    ].startswith("VM_ACTIVITY OK - opennebula: 1 server")
    code, output, _ = run_probe("check_vm_image", "--site", path)
    assert (code, line(output)) == (0, "VM_IMAGE OK - opennebula: image vmprobe-test is there")
    code, output, _ = run_probe("check_vm_leftovers", "--site", path)
    assert (code, line(output)) == (0, "VM_LEFTOVERS OK - opennebula: nothing is left behind")

    driver.delete(ref)
    wait_gone(driver, ref)


@pytest.mark.parametrize("world", ["7.2.0"], indirect=True)
def test_a_quota_of_a_single_cluster_is_not_the_users(world):
    (servers,) = [
        limit
        for limit in connected(world).capacity()
        if (limit.name, limit.source) == ("servers", "quota")
    ]

    assert (servers.used, servers.total) == (0, 50)


def test_leftovers_are_found_by_their_names_and_removed_without_a_ledger(world, state_directory):
    driver = connected(world)
    name = "vmprobe-mon-20260101t000000z-6-aaaaaaaa"
    plan = driver.resolve(load(world.site()).test_vm)
    ref = driver.create(ServerSpec(name, plan))
    soon(lambda: driver.show(ref).state is State.READY)
    driver.snapshot(ref, name)
    soon(lambda: driver.show(ref).provider_state == "RUNNING")

    code, output, _ = run_probe("check_vm_leftovers", "--site", world.site())
    assert code == 1 and "2" in line(output)
    code, output, _ = run_probe("check_vm_leftovers", "--site", world.site(), "--remove")
    assert code == 0, output


@pytest.mark.parametrize("world", ["6.0.0", "6.10.0", "7.2.0"], indirect=True)
def test_every_answer_of_the_simulator_is_understood_by_pyone(world):
    """``judge`` is shown whatever is answered, in every state; the fixture asserts that it rejected nothing."""
    driver = connected(world)
    plan = driver.resolve(load(world.site()).test_vm)
    server, volume = (
        driver.create(ServerSpec("vmprobe-x", plan)),
        driver.create(VolumeSpec("vmprobe-x", 2**30, plan)),
    )

    def asked(until):
        for kind in driver.kinds:
            driver.list(kind, "vmprobe-")
        return until()

    soon(lambda: asked(lambda: driver.metrics(server)))
    driver.attach(server, volume)
    soon(lambda: asked(lambda: driver.show(volume).state is State.READY))
    snapshot = driver.snapshot(server, "vmprobe-x")
    soon(lambda: asked(lambda: driver.show(snapshot).state is State.READY))
    driver.oned.xml("one.vm.monitoring", int(server.id))
    driver.capacity(), driver.offers(), driver.images()
    for state in STATES:
        world.oned.vms[int(server.id)].state = state
        driver.oned.xml("one.vm.info", int(server.id))
        driver.oned.xml("one.vmpool.info", -2, -1, -1, -2)
    world.oned.vms[int(server.id)].state = "RUNNING"
    for ref in (server, volume, snapshot):
        soon(lambda ref=ref: removed(driver, ref))

    assert opennebula_sites.JUDGED >= {
        "one.vm.info",
        "one.vmpool.info",
        "one.vm.monitoring",
        "one.image.info",
        "one.imagepool.info",
        "one.vnpool.info",
        "one.datastorepool.info",
        "one.hostpool.info",
        "one.user.info",
        "one.group.info",
        "one.system.config",
    }


def removed(driver, ref):
    """Whether it is gone; asks for that."""
    try:
        driver.delete(ref)
        driver.show(ref)
    except NotFound:
        return True
    except Conflict:
        pass
    return False


# --- large pools --------------------------------------------------------------------------------------------------


def _many(world, count):
    """A user of ``count`` VMs beside the one that is ours, which is the last."""
    driver = connected(world)
    plan = driver.resolve(load(world.site()).test_vm)
    world.oned.group_limits.clear()
    world.oned.leases[0] = 10**6
    for number in range(count):
        driver.create(ServerSpec(f"worker-{number}", plan))
    ref = driver.create(ServerSpec("vmprobe-x", plan))
    world.oned._due.clear()
    world.oned.judge = lambda procedure, answer: None  # it takes long
    world.oned.calls.clear()
    return driver, ref


def _emptied(world):
    for vm in list(world.oned.vms.values()):
        world.oned._free(vm)


def _going(world, driver, often):
    """After each of the first ``often`` pages the first of the user's VMs goes."""
    asked, left = driver.oned.xml, [often]

    def xml(procedure, *words):
        answer = asked(procedure, *words)
        if procedure == "one.vmpool.info" and left[0]:
            left[0] -= 1
            world.oned._free(next(vm for vm in world.oned.vms.values() if vm.state != "DONE"))
        return answer

    driver.oned.xml = xml


def test_a_user_has_more_vms_than_one_answer_may_hold(world):
    driver, ref = _many(world, 401)

    assert [seen.ref for seen in driver.list(Kind.SERVER, "vmprobe-")] == [ref]
    assert len(driver.list(Kind.SERVER, "worker-")) == 401
    assert world.oned.calls == ["one.vmpool.info"] * 6
    _emptied(world)


@pytest.mark.parametrize("count", [198, 199, 200])
def test_a_pool_that_ends_with_its_page_is_whole(world, count):
    driver, ref = _many(world, count)

    assert len(driver.list(Kind.SERVER, "")) == len(driver.list(Kind.SERVER, "w")) + 1 == count + 1
    _emptied(world)


def test_nothing_of_ours_is_overlooked_when_another_vm_goes_while_pages_are_read(world):
    driver, ref = _many(
        world, 199
    )  # ours is the first of the second page, and moves to the first one
    _going(world, driver, 1)

    assert [seen.ref for seen in driver.list(Kind.SERVER, "vmprobe-")] == [ref]
    _emptied(world)


def test_an_oned_that_takes_no_notice_of_pages_has_said_all_at_once(world):
    driver, ref = _many(world, 250)
    paged = world.oned._one_vmpool_info
    world.oned._one_vmpool_info = lambda user, whose, start, end, state: paged(
        user, whose, -1, -1, state
    )

    assert [seen.ref for seen in driver.list(Kind.SERVER, "vmprobe-")] == [ref]
    assert len(driver.list(Kind.SERVER, "")) == 251
    assert world.oned.calls == ["one.vmpool.info"] * 2
    _emptied(world)


def test_a_pool_that_never_stands_still_is_incomplete(world):
    driver, ref = _many(world, 250)
    _going(world, driver, 50)

    with pytest.raises(
        Incomplete, match="one.vmpool.info: things go while it is read, each of 3 times"
    ):
        driver.list(Kind.SERVER, "vmprobe-")
    _emptied(world)
