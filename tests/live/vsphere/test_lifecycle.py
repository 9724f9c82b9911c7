"""check_vm_lifecycle against govmomi's simulator behind the proxy: its verdicts, and that nothing is left."""

from __future__ import annotations

import json
import signal

import pytest

from running import run_probe

from . import places, vcsim
from .probing import line, start_until
from .proxy import Proxy

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
OK = "test VM ran and is gone in T s (active T s, network T s, storage T s)"


def run(path, *options):
    code, output, errors = run_probe(LIFECYCLE, "--site", path, *options)
    assert errors == ""
    return code, output


# --- good runs ----------------------------------------------------------------------------------------------------


def test_ok_when_the_vm_ran_and_is_gone_with_its_volume_snapshot_and_figures(
    site, vcenter, tmp_path
):
    path = site(volume="1 GiB", snapshot="yes")
    code, output = run(path, "--json", str(tmp_path / "run.json"))
    metrics = json.loads((tmp_path / "run.json").read_text())["metrics"]

    assert (code, line(output)) == (0, f"VM_LIFECYCLE OK - vsphere: {OK}")
    assert {
        "cpu_avg",
        "ready_avg",
        "memory_avg",
        "disk_read_avg",
        "disk_write_avg",
        "net_in_avg",
        "net_out_avg",
    } <= set(metrics)
    calls = vcenter.proxy.calls
    assert (calls.count("Login"), calls.count("Logout"), calls[-1]) == (1, 1, "Logout")
    assert "ContinueRetrievePropertiesEx" in calls


def test_a_fleet_of_five_runs_and_is_gone(site, vcenter):
    vcenter.proxy.page = 3
    code, output = run(site(volume="1 GiB"), "--count", "5")

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - vsphere: 5 test VMs ran and are gone in T s (active T s, network T s, storage T s)",
    )
    assert vcenter.proxy.calls.count("CloneVM_Task") == 5


@pytest.mark.parametrize("tools", [True, False], ids=["with-tools", "without-tools"])
def test_the_console_is_read_from_the_datastore_and_its_file_is_removed(site, vcenter, tools):
    vcenter.proxy.tools = tools
    code, output = run(site(volume="1 GiB", depth="console"))

    assert (code, line(output)) == (0, f"VM_LIFECYCLE OK - vsphere: {OK}")
    assert any(call.startswith("GET /folder/vmprobe-live-") for call in vcenter.proxy.calls)


def test_a_machine_of_its_own_is_made_on_a_child_of_a_disk(site, vcenter):
    places.make_disk(vcenter.client, "datacenter-2")
    code, output = run(site(image=places.DISK, volume="none"))

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - vsphere: test VM ran without storage and is gone in T s (active T s, network T s)",
    )
    (body,) = [body for body in vcenter.proxy.bodies if "<CreateVM_Task" in body]
    assert f"<parent><fileName>{places.DISK}</fileName>" in body


def test_a_single_host_needs_no_more_than_an_image_and_a_network(tmp_path):
    with vcsim.running("-esx") as url, Proxy(url) as proxy:
        client = places.Client(url)
        places.make_disk(client)
        code, output = run(str(places.esxi_site_file(tmp_path, proxy.url, volume="1 GiB")))

        assert (code, line(output)) == (0, f"VM_LIFECYCLE OK - vsphere: {OK}")
        assert client.sessions() == 1


# --- what the manager refuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, code, expected",
    [
        (
            {"image": "nope"},
            2,
            "CRITICAL - vsphere: image: no image named 'nope'; there are DC0_C0_RP0_VM0, DC0_C0_RP0_VM1, DC0_H0_VM0, "
            "DC0_H0_VM1 (cause=image)",
        ),
        (
            {"network": "nope"},
            2,
            "CRITICAL - vsphere: image: no network named 'nope'; there are DC0_DVPG0, DC0_NSX0, DVS0-DVUplinks-9, "
            "VM Network (cause=network)",
        ),
        (
            {"endpoint": {"datastore": "nope"}},
            2,
            "CRITICAL - vsphere: image: no datastore named 'nope'; there are LocalDS_0 (cause=storage)",
        ),
        (
            {"endpoint": {"cluster": "nope"}},
            2,
            "CRITICAL - vsphere: image: no cluster named 'nope'; there are DC0_C0, DC0_H0 (cause=scheduler)",
        ),
        (
            {"endpoint": {"cluster": ""}},
            3,
            "UNKNOWN - vsphere: image: [endpoint] cluster: name one; there are DC0_C0, DC0_H0 (cause=client)",
        ),
        (
            {"credentials": "username = user\npassword = wrong"},
            2,
            "CRITICAL - vsphere: auth: login: Login failure (InvalidLogin) (cause=auth)",
        ),
        (
            {"credentials": "username = user"},
            3,
            "UNKNOWN - vsphere: auth: the credentials need both username and password (cause=client)",
        ),
    ],
    ids=[
        "crit-no-image",
        "crit-no-network",
        "crit-no-datastore",
        "crit-no-cluster",
        "unknown-several-clusters",
        "crit-wrong-password",
        "unknown-no-password",
    ],
)
def test_what_does_not_exist_or_is_not_accepted(site, words, code, expected):
    assert (code, f"VM_LIFECYCLE {expected}") == (lambda done: (done[0], line(done[1])))(
        run(site(**words))
    )


@pytest.mark.parametrize(
    "method, fault, code, expected",
    [
        (
            "CloneVM_Task",
            ("NoDiskSpace", "Insufficient disk space on datastore 'LocalDS_0'."),
            2,
            "CRITICAL - vsphere: active: server ID is create error: Insufficient disk space on datastore 'LocalDS_0' "
            "(NoDiskSpace) (cause=storage)",
        ),
        (
            "CloneVM_Task",
            ("DuplicateName", "The name 'a' already exists."),
            2,
            "CRITICAL - vsphere: active: server ID is create error: The name 'a' already exists (DuplicateName) "
            "(cause=scheduler)",
        ),
        (
            "PowerOnVM_Task",
            ("NoCompatibleHost", "No host is compatible with the virtual machine."),
            2,
            "CRITICAL - vsphere: active: server ID is poweredOff, power on error: No host is compatible with the "
            "virtual machine (NoCompatibleHost) (cause=scheduler)",
        ),
        (
            "PowerOnVM_Task",
            ("InsufficientMemoryResourcesFault", "The host does not have sufficient memory."),
            2,
            "CRITICAL - vsphere: active: server ID is poweredOff, power on error: The host does not have sufficient "
            "memory (InsufficientMemoryResourcesFault) (cause=scheduler)",
        ),
        (
            "PowerOnVM_Task",
            ("NotEnoughLicenses", "There are not enough licenses."),
            1,
            "WARNING - vsphere: active: server ID is poweredOff, power on error: There are not enough licenses "
            "(NotEnoughLicenses) (cause=quota)",
        ),
    ],
    ids=[
        "crit-datastore-full",
        "crit-name-taken",
        "crit-no-host",
        "crit-no-memory",
        "warn-licence",
    ],
)
def test_a_task_that_fails_is_the_runs_failure(site, vcenter, method, fault, code, expected):
    vcenter.proxy.failed[method] = fault
    done = run(site())

    assert (done[0], line(done[1])) == (code, f"VM_LIFECYCLE {expected}")


def test_a_missing_privilege_is_named(site, vcenter):
    vcenter.proxy.refused["CloneVM_Task"] = (
        "NoPermission",
        "Permission to perform this operation was denied.",
        '<object type="Folder">group-v3</object><privilegeId>VirtualMachine.Inventory.CreateFromExisting</privilegeId>',
    )
    code, output = run(site())

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - vsphere: submit: create server HANDLE: Permission to perform this operation was denied "
        "(NoPermission: VirtualMachine.Inventory.CreateFromExisting) (cause=auth)",
    )


def test_a_disk_that_cannot_be_attached(site, vcenter):
    vcenter.proxy.failed["ReconfigVM_Task"] = ("DeviceNotSupported", "Device is not supported.")
    code, output = run(site(volume="1 GiB"))

    assert code == 2
    assert line(output).startswith(
        "VM_LIFECYCLE CRITICAL - vsphere: storage: attach volume [LocalDS_0] "
    )
    assert line(output).endswith("Device is not supported (DeviceNotSupported) (cause=storage)")


def test_a_guest_without_tools_has_no_address(site, vcenter):
    vcenter.proxy.tools = False
    code, output = run(site(budget="deadline = 60 s\nreserve = 40 s\nnetwork = 3 s"))

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - vsphere: network: server ID has no address; not done within T s (cause=network)",
    )


@pytest.mark.slow
def test_a_task_that_never_ends_is_the_clouds_failure(site, vcenter):
    vcenter.proxy.stuck.add("CloneVM_Task")
    code, output = run(site(budget="deadline = 30 s\nreserve = 20 s\nactive = 2 s"))

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - vsphere: active: server ID is create running 0 %; not done within T s (cause=scheduler)",
    )


# --- what comes in between ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        "CloneVM_Task",
        pytest.param("PowerOnVM_Task", marks=pytest.mark.slow),
        pytest.param("CreateVirtualDisk_Task", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_in_a_clean_up_and_a_logout(site, vcenter, method):
    process = start_until(site(volume="1 GiB"), vcenter.proxy, method)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 3
    assert "interrupted by SIGTERM" in output
    assert vcenter.proxy.calls[-1] == "Logout"


def test_a_session_that_ends_is_renewed_once(site, vcenter):
    vcenter.proxy.expire_after = "PowerOnVM_Task"
    code, output = run(site())

    assert code == 0, output
    assert vcenter.proxy.calls.count("Login") == 2
    vcenter.client.end_other_sessions()  # the proxy only says that the first one has ended


@pytest.mark.slow
def test_the_logout_is_sent_when_the_deadline_has_passed(site, vcenter):
    vcenter.proxy.refused["Destroy_Task"] = ("InvalidState", "The operation is not allowed.")
    code, output = run(site(budget="deadline = 10 s\nreserve = 4 s"))

    assert code == 1 and "deletion not confirmed" in output
    assert vcenter.proxy.calls[-1] == "Logout"
    vcenter.proxy.heal()
    for name, machine in vcenter.client.machines().items():
        if name.startswith("vmprobe-"):
            vcenter.client.call("Destroy_Task", ("VirtualMachine", machine))
