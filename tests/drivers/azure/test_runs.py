"""Whole runs over the simulated Azure: the verdicts as whole lines."""

import pytest

from running import run_probe
from simulators.azure import REGION
from simulators.azure_server import CLIENT, TENANT
from simulators.azure_world import FINE, LIFECYCLE, line

pytestmark = pytest.mark.live  # whole runs


def test_ok_when_the_vm_ran_and_is_gone(world):
    code, output, errors = run_probe(
        LIFECYCLE, "--site", world.site(volume="1 GiB", depth="console", snapshot="yes")
    )

    assert (code, line(output), errors) == (0, FINE, "")


def _writes(world):
    return [call for call in world.azure.calls if not call.startswith(("GET", "POST"))]


def test_a_run_has_a_resource_group_to_itself_which_goes_in_one_request(world):
    assert world.run() == (0, FINE)
    assert _writes(world) == [
        "PUT group",
        "PUT disks",
        "PUT networkinterfaces",
        "PUT virtualmachines",
        "PATCH virtualmachines",
        "PATCH virtualmachines",
        "DELETE virtualmachines",
        "DELETE group",
    ]


def test_in_a_shared_group_each_thing_is_removed_by_itself(world):
    world.azure.put_group("shared", {"location": REGION})

    assert world.run(endpoint="resource group = Shared\n") == (0, FINE)

    assert world.azure.left() == ["group shared"]
    world.azure.groups.pop("shared")
    assert {call for call in _writes(world) if call.startswith("DELETE")} == {
        "DELETE disks",
        "DELETE networkinterfaces",
        "DELETE virtualmachines",
    }


def test_a_fleet_is_polled_by_two_requests_for_each_look(world):
    assert world.run("--count", "5", volume="none") == (
        0,
        "VM_LIFECYCLE OK - azure: 5 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )
    made = [
        number for number, call in enumerate(world.azure.calls) if call == "PUT virtualmachines"
    ]
    assert len(made) == 5
    assert world.azure.calls[made[-1] + 1 :][:2] == ["GET virtualmachines", "GET networkinterfaces"]


def test_a_fleet_has_a_volume_for_each_of_it(world):
    assert world.run("--count", "5")[0] == 0


def test_lists_of_many_pages_are_read_to_the_end(world):
    world.azure.page = 1

    assert world.run("--count", "3")[0] == 0


@pytest.mark.parametrize("fault", ["patch-conflict", "token-ends", "slow-operations", "lag"])
def test_what_passes_is_lived_through(world, fault):
    world.azure.faults.add(fault)

    assert world.run() == (0, FINE)


VERDICTS = {  # fault: (exit code, the end of what is said)
    "cores": (
        1,
        "WARNING - azure: submit: create server: 409 OperationNotAllowed: Operation results in exceeding quota limits of "
        "Core. Maximum allowed: 100, Current in use:...",
        "quota",
    ),
    "disk-refused": (
        1,
        "WARNING - azure: submit: create volume: 409 OperationNotAllowed: Operation results in exceeding quota limits of "
        "StandardDiskCount. Maximum allowed: 100, Cur...",
        "quota",
    ),
    "sku": (
        2,
        "CRITICAL - azure: submit: create server: 409 SkuNotAvailable: The requested VM size for resource 'Following SKUs "
        "have failed for Capacity Restrictions:...",
        "scheduler",
    ),
    "allocation": (
        2,
        "CRITICAL - azure: active: server ID is Failed: AllocationFailed: Allocation failed. We do not have sufficient "
        "capacity for the requested VM siz...",
        "scheduler",
    ),
    "zonal": (
        2,
        "CRITICAL - azure: active: server ID is Failed: ZonalAllocationFailed: Allocation failed. We do not have "
        "sufficient capacity for the requested V...",
        "scheduler",
    ),
    "provisioning": (
        2,
        "CRITICAL - azure: active: server ID is Failed: OSProvisioningTimedOut: OS Provisioning for VM did not finish in "
        "the allotted time.",
        "scheduler",
    ),
    "policy": (
        3,
        "UNKNOWN - azure: submit: create server: 403 RequestDisallowedByPolicy: Resource 'vm' was disallowed by policy. "
        "Policy identifiers: 'Allowed sizes'.",
        "client",
    ),
    "rights": (
        2,
        "CRITICAL - azure: submit: create server: 403 AuthorizationFailed: The client does not have authorization.",
        "auth",
    ),
    "linked": (
        2,
        "CRITICAL - azure: submit: create interface: 403 LinkedAuthorizationFailed: The client 'probe' with object id "
        "'00000000...' does not have authorization to per...",
        "auth",
    ),
    "no-groups": (
        2,
        "CRITICAL - azure: submit: create resource group: 403 AuthorizationFailed: The client 'probe' with object id "
        "'00000000...' does not have authorization to perf...",
        "auth",
    ),
    "image-gone": (
        2,
        "CRITICAL - azure: submit: create server: 404 PlatformImageNotFound: The platform image "
        "'Canonical:ubuntu:server:1' is not available.",
        "image",
    ),
    "subnet-full": (
        2,
        "CRITICAL - azure: submit: create interface: 400 SubnetIsFull: Subnet subnet1 with address prefix 10.0.0.0/24 does "
        "not have enough capacity.",
        "network",
    ),
    "disk-fails": (
        2,
        "CRITICAL - azure: storage: volume ID is Failed: InternalDiskManagementError: An internal disk management error "
        "occurred.",
        "storage",
    ),
    "attach-fails": (
        2,
        "CRITICAL - azure: storage: volume ID is Unattached, not attached to server ID: AttachDiskFailed: The disk could "
        "not be attached to the host.",
        "storage",
    ),
    "dies": (2, "CRITICAL - azure: active: server ID is PowerState/deallocated", "scheduler"),
    "never-running": (
        2,
        "CRITICAL - azure: active: server ID is Creating; not done within T s",
        "scheduler",
    ),
    "no-address": (
        2,
        "CRITICAL - azure: network: server ID has no address; not done within T s",
        "network",
    ),
    "attach-hangs": (
        2,
        "CRITICAL - azure: storage: volume ID is Unattached, not attached to server ID; not done within T s",
        "storage",
    ),
}
BUDGETS = {"never-running": "active", "no-address": "network", "attach-hangs": "storage"}


@pytest.mark.parametrize("fault", VERDICTS)
def test_what_fails_is_told_in_azures_words_and_nothing_is_left(world, fault):
    world.azure.faults.add(fault)
    code, said, cause = VERDICTS[fault]

    found, first = world.run(more=f"[budget]\n{BUDGETS[fault]} = 1 s\n" if fault in BUDGETS else "")

    assert (found, without_ids(first)) == (code, f"VM_LIFECYCLE {said} (cause={cause})")


def without_ids(first):
    import re

    first = re.sub(r"(HANDLE|(?<= )\.\.\.[a-z0-9]{8}\b)", "ID", first)
    return re.sub(r"\(cause=(\w+)(, [0-9a-f-]+(\.\.\.)?)?\)$", r"(cause=\1)", first)


@pytest.mark.parametrize(
    "words, said",
    [
        ({"image": "nothing"}, "image: no image named 'nothing' in eastus (cause=image)"),
        ({"image": "a:b:c:d"}, "image: no image 'a:b:c:d' in eastus (cause=image)"),
        ({"flavor": "Standard_X"}, "image: no size named 'Standard_X' in eastus (cause=image)"),
        (
            {"flavor": "Standard_A0"},
            "image: size Standard_A0 cannot be used in eastus: NotAvailableForSubscription (cause=scheduler)",
        ),
        ({"network": "no"}, "image: no network named 'no' in eastus (cause=network)"),
    ],
)
def test_what_does_not_exist_is_told_before_anything_is_made(world, words, said):
    assert world.run(**words) == (2, f"VM_LIFECYCLE CRITICAL - azure: {said}")
    assert _writes(world) == []


@pytest.mark.parametrize(
    "keys, said",
    [
        (
            f"tenant_id = {TENANT}\nclient_id = {CLIENT}\nclient_secret = wrong-secret\n",
            "401 invalid_client: AADSTS7000215: Invalid client secret provided. (cause=auth)",
        ),
        (
            f"tenant_id = nowhere\nclient_id = {CLIENT}\nclient_secret = wrong-secret\n",
            "400 invalid_request: AADSTS90002: Tenant 'nowhere' not found. (cause=auth)",
        ),
        (
            f"tenant_id = {TENANT}\nclient_id = nobody\nclient_secret = wrong-secret\n",
            "400 unauthorized_client: AADSTS700016: Application with identifier 'nobody' was not found in the directory. "
            "(cause=auth)",
        ),
    ],
)
def test_a_credential_that_is_not_accepted_is_critical(world, keys, said):
    assert world.run(credentials=keys) == (
        2,
        f"VM_LIFECYCLE CRITICAL - azure: auth: login: {said}",
    )
    assert world.azure.calls.count("POST login") == 1


def test_a_client_secret_that_has_expired_is_our_own_matter(world):
    world.azure.faults.add("secret-expired")

    assert world.run() == (
        3,
        "VM_LIFECYCLE UNKNOWN - azure: auth: login: 401 invalid_client: AADSTS7000222: The provided client secret keys are "
        "expired. (cause=client)",
    )


CHANGES = [
    "PUT group",
    "PUT disks",
    "PUT networkinterfaces",
    "PUT virtualmachines",
    "PATCH virtualmachines",
    "DELETE virtualmachines",
    "DELETE group",
    "GET virtualmachines",
]
ALWAYS = {
    ("PUT group", "reply-lost"),
    ("PUT virtualmachines", "reply-lost"),
    ("PUT virtualmachines", "429"),
    ("DELETE group", "503"),
    ("GET virtualmachines", "malformed"),
}


@pytest.mark.parametrize(
    "call, fault",
    [
        pytest.param(call, fault, marks=[] if (call, fault) in ALWAYS else [pytest.mark.slow])
        for call in CHANGES
        for fault in ("503", "reset", "reply-lost", "malformed", "429")
    ],
)
def test_whatever_happens_to_an_answer_nothing_is_left(world, call, fault):
    world.azure.plot[call] = fault

    code, said = world.run()

    assert said == FINE if code == 0 else "(cause=gateway" in said, said
    assert world.azure.plot == {}


@pytest.mark.parametrize(
    "fault, said",
    [
        ("", "Azure Monitor has no reading of server HANDLE yet"),
        (
            "no-metrics",
            "metrics of server HANDLE: 403 AuthorizationFailed: The client 'probe' with object id",
        ),
    ],
)
def test_metrics_that_are_not_there_are_said_and_not_zero(world, fault, said):
    world.azure.metrics_after = 999.0
    world.azure.faults.add(fault)

    code, output, _ = run_probe(LIFECYCLE, "--site", world.site(volume="none"), "-v")

    assert code == 0
    (note,) = [text for text in output.splitlines() if text.startswith("note:")]
    assert line(note).startswith(f"note: metrics are not measured: {said}")
    assert "cpu" not in output
