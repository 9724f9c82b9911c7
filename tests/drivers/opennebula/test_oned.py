"""What oned refuses, its sessions, and pools that do not fit into one answer."""

import pytest

from simulators.opennebula_world import connected, unconnected
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.core.model import Kind, ServerSpec
from vmprobe.drivers.opennebula.oned import refusal
from vmprobe.site.site import load

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


@pytest.mark.parametrize(
    "code, message, kind",
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
def test_a_refusal_is_translated_by_its_code_and_its_message(code, message, kind):
    error = refusal(code, message)

    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize(
    "message, cause",
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
def test_a_create_that_is_refused_has_the_cause_of_what_it_lacks(message, cause):
    assert refusal(0x2000, f"[one.vm.allocate] {message}").cause == cause


def test_a_session_that_has_ended_is_renewed_and_no_session_is_no_request(world):
    driver = unconnected(world)
    with pytest.raises(AuthRejected):
        driver.list(Kind.SERVER, "vmprobe-")
    assert world.oned.calls == []


def _many(world, count):
    """A user with ``count`` other VMs; ours is the last one."""
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
    """After each of the first ``often`` pages, remove the user's first VM."""
    asked, left = driver.oned.xml, [often]

    def xml(procedure, *arguments):
        answer = asked(procedure, *arguments)
        if procedure == "one.vmpool.info" and left[0]:
            left[0] -= 1
            world.oned._free(next(vm for vm in world.oned.vms.values() if vm.state != "DONE"))
        return answer

    driver.oned.xml = xml


def test_a_user_has_more_vms_than_one_answer_may_hold(world):
    driver, ref = _many(world, 401)

    assert [resource.ref for resource in driver.list(Kind.SERVER, "vmprobe-")] == [ref]
    assert len(driver.list(Kind.SERVER, "worker-")) == 401
    assert world.oned.calls == ["one.vmpool.info"] * 6
    _emptied(world)


@pytest.mark.parametrize("count", [198, 199, 200])
def test_a_pool_that_ends_with_its_page_is_whole(world, count):
    driver, ref = _many(world, count)

    assert len(driver.list(Kind.SERVER, "")) == len(driver.list(Kind.SERVER, "w")) + 1 == count + 1
    _emptied(world)


def test_nothing_of_ours_is_overlooked_when_another_vm_goes_while_pages_are_read(world):
    driver, ref = _many(world, 199)  # ours is the first on page 2, and moves to page 1
    _going(world, driver, 1)

    assert [resource.ref for resource in driver.list(Kind.SERVER, "vmprobe-")] == [ref]
    _emptied(world)


def test_an_oned_that_ignores_pages_gives_the_whole_list_at_once(world):
    driver, ref = _many(world, 250)
    paged = world.oned._one_vmpool_info
    world.oned._one_vmpool_info = lambda user, whose, start, end, state: paged(
        user, whose, -1, -1, state
    )

    assert [resource.ref for resource in driver.list(Kind.SERVER, "vmprobe-")] == [ref]
    assert len(driver.list(Kind.SERVER, "")) == 251
    assert world.oned.calls == ["one.vmpool.info"] * 2
    _emptied(world)


def test_a_pool_that_never_stands_still_is_incomplete(world):
    driver, ref = _many(world, 250)
    _going(world, driver, 50)

    with pytest.raises(Incomplete, match="one.vmpool.info: it changed during each of 3 reads"):
        driver.list(Kind.SERVER, "vmprobe-")
    _emptied(world)
