"""What the driver reads from oned's documents."""

import time

import pytest

from running import run_probe
from simulators.opennebula_world import LIFECYCLE, connected, in_each_form, removed, wait_gone
from vmprobe.core.model import Kind, ServerSpec, State, VolumeSpec
from vmprobe.site.site import load
from waiting import soon

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


@pytest.mark.parametrize(
    "message, fault",
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
def test_an_error_is_shown_without_its_date_and_its_number(world, message, fault):
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    world.oned.vms[int(ref.id)].said["ERROR"] = message

    assert driver.show(ref).fault == fault
    soon(lambda: removed(driver, ref))


@pytest.mark.parametrize(
    "state, message, fault, cause",
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
def test_a_vm_that_waits_for_the_scheduler_has_the_schedulers_message(
    world, state, message, fault, cause
):
    driver = connected(world)
    ref = driver.create(ServerSpec("vmprobe-x", driver.resolve(load(world.site()).test_vm)))
    world.oned._due.clear()
    vm = world.oned.vms[int(ref.id)]
    vm.state, vm.said["SCHED_MESSAGE"] = state, f"Mon Nov 23 00:10:13 2026 : {message}"

    server = driver.show(ref)

    assert (server.provider_state, server.fault, server.cause) == (state, fault, cause)
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
        ("PENDING", 0, False),  # it was undeployed, and is deployed again
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


def test_an_epilog_that_does_not_end_is_reported_with_its_own_age(world):
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
    soon(
        lambda: (
            [resource.provider_state for resource in driver.list(Kind.SERVER, "")]
            == ["RUNNING"] * 3
        )
    )
    world.oned.calls.clear()

    assert [resource.ref.name for resource in driver.list(Kind.SERVER, "vmprobe-")] == ["vmprobe-x"]
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
    )  # half of one of two cores
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

    assert (
        [resource.vcpus for resource in driver.list(Kind.SERVER, "")],
        driver.show(ref).vcpus,
    ) == (
        [vcpus],
        2,
    )
    soon(lambda: removed(driver, ref))


def test_a_vm_that_was_not_monitored_yet_has_no_reading_and_a_note_says_so(world):
    world.oned.faults.add("no-metrics")
    code, output, _ = run_probe(LIFECYCLE, "--site", world.site(volume="none"), "-v")

    assert code == 0 and "cpu_avg" not in output
    assert (
        "note: not measured, the manager does not say: cpu, disk_read, disk_write, net_in, net_out"
        in output
    )
