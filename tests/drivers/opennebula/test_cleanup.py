"""However a run ends, nothing of it is left in oned."""

import os
import signal
import subprocess
import sys

import pytest

from running import PROBES
from simulators.opennebula_records import STATES
from simulators.opennebula_world import FINE, LIFECYCLE, connected, line, wait_gone
from vmprobe.core.errors import (
    Conflict,
    NotFound,
    NotPermitted,
)
from vmprobe.core.model import Kind, Ref, ServerSpec, State
from vmprobe.site.site import load
from waiting import soon

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


def test_what_cannot_be_removed_is_left_behind_and_the_next_run_says_so(world):
    world.oned.faults.add("delete-ignored")
    budget = "[budget]\ndeadline = 12 s\nreserve = 4 s\n"

    code, output = world.run(volume="none", more=budget)
    assert (code, output.split(":")[0:2]) == (1, ["VM_LIFECYCLE WARNING - opennebula", " gone"])
    assert "server 40: deletion not confirmed" in output and "(cause=teardown)" in output
    code, output = world.run(volume="none", more=budget)
    assert "left behind by earlier runs: server 40" in output

    world.oned.faults.clear()
    assert world.run(volume="none")[0] == 0


@pytest.mark.parametrize(
    "fault, message",
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
def test_what_could_not_be_removed_is_reported_with_oneds_reason_and_the_next_run_removes_it(
    world, fault, message
):
    world.oned.faults.add(fault)
    storage = {"volume": "none"} if fault == "cancel-failure" else {}

    assert world.run(more="[budget]\ndeadline = 12 s\nreserve = 4 s\n", **storage) == (
        1,
        f"VM_LIFECYCLE WARNING - opennebula: gone: {message} (cause=teardown)",
    )
    world.oned.faults.clear()
    assert world.run()[0] == 0


@pytest.mark.parametrize(
    "procedure, message",
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
def test_a_manager_that_vanishes_is_reported_and_the_next_run_removes_what_is_left(
    world, procedure, message
):
    world.oned.plot[procedure] = "goes-away"

    assert world.run(more="[budget]\ndeadline = 12 s\nreserve = 2 s\n") == (
        2,
        f"VM_LIFECYCLE CRITICAL - opennebula: {message}",
    )
    world.oned.faults.clear()
    assert world.run() == (0, FINE)


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
    code, output = world.run(snapshot="yes")

    creates = procedure in (
        "one.image.allocate",
        "one.vm.allocate",
        "one.vm.disksaveas",
    )  # never sent twice
    assert code == (2 if creates else 0), output


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


def test_resources_of_other_users_are_neither_listed_nor_touched(world):
    world.oned.faults.add("not-owner")
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))

    assert driver.list(Kind.SERVER, "vmprobe-") == driver.list(Kind.SERVER, "") == []
    with pytest.raises(NotPermitted, match="Not authorized to perform MANAGE VM"):
        driver.delete(ref)
    world.oned.vms.clear()


def test_a_name_that_is_taken_is_reported(world):
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
    assert [
        (resource.ref, resource.state) for resource in driver.list(Kind.SNAPSHOT, "vmprobe-")
    ] == [(Ref(Kind.SNAPSHOT, "8", "vmprobe-x"), State.READY)]
    driver.delete(server)
    driver.delete(taken)
    wait_gone(driver, server)
    wait_gone(driver, taken)
    world.oned.images[7].owner = world.oned.oneadmin
