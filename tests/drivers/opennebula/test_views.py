"""The other checks over the simulated oned."""

import re

import pytest

from running import run_probe
from simulators import opennebula_sites
from simulators.opennebula_records import STATES
from simulators.opennebula_world import connected, line, removed, wait_gone
from vmprobe.core.model import ServerSpec, State, VolumeSpec
from vmprobe.site.site import load
from waiting import soon

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


def test_the_other_checks_show_what_there_is(world):
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
    """``judge`` gets every answer, in every state; the fixture asserts that it rejected none."""
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
