"""StratusLab's driver over simulated services: verdicts as whole lines, logins, and nothing is left."""

import os
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from certificates import Authority
from running import PROBES, run_probe
from simulators.opennebula_records import User
from simulators.opennebula_server import served
from simulators.opennebula_sites import site_of_stratuslab, stratuslab_site
from simulators.opennebula_world import line, wait_gone
from simulators.stratuslab import DEPRECATED, IMAGE, Services, StratusLab
from vmprobe.checks.lifecycle import command
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import AuthRejected, Conflict
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, ServerSpec, State, VolumeSpec
from vmprobe.report import verdict
from vmprobe.site.site import load
from waiting import soon

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own
FINE = "VM_LIFECYCLE OK - stratuslab: test VM ran and is gone in T s (active T s, network T s, storage T s)"


@pytest.fixture
def site(tmp_path):
    """(StratusLab, site file). A test fails if it leaves anything there."""
    with stratuslab_site(tmp_path) as (world, path):
        yield world, str(path)
        assert world.left() == []


def run(path, *options, **test_vm):
    """(exit code, first line) of check_vm_lifecycle, with other keys of [test vm]."""
    text = Path(path).read_text()
    for key, value in test_vm.items():
        text = re.sub(rf"(?m)^{key} = .*\n", "", text) + f"{key} = {value}\n"
    Path(path).write_text(text)
    result = command.main(["--site", path, *options], clock=Clock()).verdict
    return result.state, line(verdict.render("VM_LIFECYCLE", result))


def driver_of(path):
    site = load(path)
    driver = site.driver(
        site.endpoint, site.credentials(), Deadline(60, 10, Clock()), Evidence(keep=True)
    )
    driver.connect()
    return driver, driver.resolve(site.test_vm)


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_ok_when_the_vm_ran_and_is_gone(site):
    world, path = site

    assert run(path) == (0, FINE)
    (vm,) = world.vms.values()
    source, swap = vm.template.findall("DISK")
    assert (
        source.findtext("SOURCE").rpartition("/metadata/")[2],
        source.findtext("DRIVER"),
        source.findtext("TARGET"),
    ) == (IMAGE, "qcow2", "vda")
    assert (swap.findtext("TYPE"), swap.findtext("SIZE")) == ("swap", "512")
    assert [
        vm.template.findtext(name) for name in ("NIC/NETWORK_UNAME", "NIC/NETWORK", "RANK")
    ] == ["oneadmin", "public", "- RUNNING_VMS"]


def test_a_fleet_is_polled_by_one_list(site):
    assert run(site[1], "--count", "5") == (
        0,
        "VM_LIFECYCLE OK - stratuslab: 5 test VMs ran and are gone in T s (active T s, network T s, storage T s)",
    )


@pytest.mark.parametrize(
    "test_vm, code, message",
    [
        (
            {"image": "no-such-image"},
            2,
            "image: no image 'no-such-image': neither an identifier of the Marketplace nor of a disk (cause=image)",
        ),
        (
            {"image": DEPRECATED},
            2,
            f"image: image '{DEPRECATED}' is deprecated: a hole in its kernel (cause=image)",
        ),
        (
            {"flavor": "m1.tiny"},
            3,
            "image: no instance type 'm1.tiny' among t1.micro, m1.small, m1.medium, m1.large, m1.xlarge, c1.medium, "
            "c1.xlarge (cause=client)",
        ),
        (
            {"network": "dmz"},
            3,
            "image: no network 'dmz' among public, local, private (cause=client)",
        ),
        ({"snapshot": "yes"}, 3, "[test vm] asks for snapshot, which stratuslab does not offer"),
    ],
)
def test_what_is_not_there_is_named(site, test_vm, code, message):
    word = {2: "CRITICAL - stratuslab: ", 3: "UNKNOWN - stratuslab: "}[code]
    if "snapshot" in test_vm:
        open(site[1], "a").write("snapshot = yes\n")
        assert (
            line(run_probe("check_vm_lifecycle", "--site", site[1])[1])
            == f"VM_LIFECYCLE {word}{message}"
        )
        return
    assert run(site[1], **test_vm) == (code, f"VM_LIFECYCLE {word}{message}")


def test_a_volume_that_cannot_be_made_is_reported_with_the_services_message(site):
    site[0].backend_fails = True

    assert run(site[1]) == (
        2,
        "VM_LIFECYCLE CRITICAL - stratuslab: submit: create disk: 500 cannot create volume: no space left on target "
        "(cause=gateway)",
    )


VERDICTS = {  # fault: (stage with a budget of one second, line)
    "boot-failure": (
        "",
        "active: server 40 is FAILED: on node1: Error deploying virtual machine: Could not create domain from "
        "/var/lib/one//datastores/0/40/deployment.0 (cause=scheduler)",
    ),
    "prolog-failure": (
        "",
        "active: server 40 is FAILED: on node1: Error executing image transfer script: Error copying "
        "node1:/var/lib/one/datastores/1/7 (cause=storage)",
    ),
    "dies": ("", "active: server 40 is UNKNOWN: on node1 (cause=scheduler)"),
    "no-room": (
        "active",
        "active: server 40 is PENDING; not done within T s (cause=scheduler)",
    ),
    "never-running": (
        "active",
        "active: server 40 is BOOT; not done within T s (cause=scheduler)",
    ),
    "no-address": (
        "network",
        "network: server 40 has no address; not done within T s (cause=network)",
    ),
}


@pytest.mark.parametrize("fault", VERDICTS)
def test_a_failure_is_reported_with_oned_3s_message(site, fault):
    world, path = site
    world.faults.add(fault)
    stage, message = VERDICTS[fault]

    assert run(with_budget(path, f"{stage} = 1 s" if stage else "")) == (
        2,
        f"VM_LIFECYCLE CRITICAL - stratuslab: {message}",
    )


def with_budget(path, *lines):
    """Set these lines in [budget]. Returns the path of the site."""
    text = open(path).read()
    with open(path, "w") as file:
        file.write(text.replace("[test vm]", "\n".join(["[budget]", *lines, "[test vm]"])))
    return path


def test_a_disk_that_cannot_be_mounted_is_reported_with_the_services_message(site):
    site[0].mounts_fail = True

    code, output = run(site[1])

    assert (code, re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - stratuslab: storage: attach volume ID to server 40: 500 iSCSI target is not reachable (cause=gateway)",
    )


def test_a_full_quota_is_a_warning(site):
    site[0].probe.limits["VMS"] = 0

    assert run(site[1]) == (
        1,
        "VM_LIFECYCLE WARNING - stratuslab: submit: [VirtualMachineAllocate] User [2] : user [2] limit of 0 "
        "reached for VMS quota in VM. (cause=quota)",
    )


@pytest.mark.slow
def test_a_manager_that_vanishes_is_reported_and_the_next_run_removes_what_is_left(site):
    world, path = site
    world.plot["one.vm.allocate"] = "goes-away"

    code, output = run(with_budget(path, "deadline = 8 s", "reserve = 2 s"))
    assert (code, output.split("; ")[0]) == (
        2,
        "VM_LIFECYCLE CRITICAL - stratuslab: submit: one.vm.allocate: the connection was closed "
        "without an answer (cause=gateway)",
    )
    world.faults.clear()
    assert run(path) == (0, FINE)


def test_a_deadline_that_passes_is_unknown_and_names_the_stage(site):
    world, path = site
    world.faults.add("no-room")

    assert run(with_budget(path, "deadline = 8 s", "reserve = 4 s")) == (
        3,
        "VM_LIFECYCLE UNKNOWN - stratuslab: active: server 40 is PENDING; the deadline of T s passed",
    )


@pytest.mark.parametrize(
    "ranges, code, message",
    [
        (("-w", "total=0.01"), 1, "WARNING - stratuslab: total T s is outside 0.01 (warning)"),
        (
            ("-c", "active=0.001"),
            2,
            "CRITICAL - stratuslab: active T s is outside 0.001 (critical)",
        ),
    ],
)
def test_a_stage_outside_its_range_alerts(site, ranges, code, message):
    assert run(site[1], *ranges) == (
        code,
        f"VM_LIFECYCLE {message}; test VM ran and is gone in T s (active T s, network T s, storage T s)",
    )


@pytest.mark.parametrize(
    "request_, stage", [("POST disks", "submit"), ("one.vm.allocate", "active")]
)
def test_sigterm_is_noticed_after_the_request_that_it_came_in_and_leaves_nothing(
    site, request_, stage
):
    world, path = site
    world.plot[request_] = "killed-after"
    stopped = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", path],
        stdout=subprocess.PIPE,
        text=True,
    )
    world.killer = stopped.terminate
    output, _ = stopped.communicate(timeout=120)

    assert (stopped.returncode, line(output)) == (
        3,
        f"VM_LIFECYCLE UNKNOWN - stratuslab: {stage}: interrupted by SIGTERM",
    )


def test_a_wrong_password_is_critical(site):
    path = site[1]
    secret = os.path.join(os.path.dirname(path), "credentials.ini")
    open(secret, "w").write("[credentials]\nusername = probe\npassword = wrong-password\n")

    assert run(path) == (
        2,
        "VM_LIFECYCLE CRITICAL - stratuslab: auth: one.system.version: 401 Error 401 Unauthorized (cause=auth)",
    )
    open(secret, "w").write("[credentials]\nusername = probe\n")
    assert run(path) == (
        3,
        "VM_LIFECYCLE UNKNOWN - stratuslab: auth: neither username and password nor certificate among the "
        "credentials (cause=client)",
    )


def test_a_certificate_is_shown_to_the_proxy_and_to_the_disks(tmp_path):
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("grid")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server)
    tls.load_verify_locations(authority.ca)
    tls.verify_mode = ssl.CERT_OPTIONAL
    world = StratusLab()
    world.users["grid"] = User(3, "grid", "")
    with served(world, Services, tls) as (_, url):
        path = site_of_stratuslab(
            tmp_path, url, image=IMAGE, credentials=f"certificate = {client}\nkey = {client}\n"
        )
        path.write_text(
            path.read_text().replace("timeout = 10 s", f"timeout = 10 s\nca = {authority.ca}")
        )

        assert run(str(path)) == (0, FINE)
        assert {vm.owner.name for vm in world.vms.values()} == {"grid"}
        assert world.left() == []


def test_without_a_session_no_service_is_asked(site):
    loaded = load(site[1])
    driver = loaded.driver(
        loaded.endpoint, loaded.credentials(), Deadline(60, 10, Clock()), Evidence()
    )
    for kind in driver.kinds:
        with pytest.raises(AuthRejected):
            driver.list(kind, "vmprobe-")
    assert site[0].calls == []


# --- nothing is left ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["killed-before", "killed-after"])
@pytest.mark.parametrize(
    "request_", ["POST disks", "one.vm.allocate", "one.vm.action", "DELETE disks"]
)
def test_sigkill_at_each_change_is_settled_by_the_next_run(site, request_, when):
    world, path = site
    world.plot[request_] = when
    killed = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", path],
        stdout=subprocess.DEVNULL,
    )
    world.killer = lambda: (os.kill(killed.pid, signal.SIGKILL), killed.wait(60))
    assert killed.wait(60) == -signal.SIGKILL

    assert run(path) == (0, FINE)


@pytest.mark.parametrize(
    "request_", ["POST disks", "one.vm.allocate", "one.vm.action", "DELETE disks"]
)
def test_a_reply_that_is_lost_leaves_nothing(site, request_):
    site[0].plot[request_] = "reply-lost"

    assert run(site[1])[0] == (2 if request_ in ("POST disks", "one.vm.allocate") else 0)


def test_a_mount_that_outlives_its_vm_is_ended_with_the_disk(site):
    world, path = site
    world.forgets_mounts = False
    driver, plan = driver_of(path)
    server = driver.create(ServerSpec("vmprobe-x", plan))
    disk = driver.create(VolumeSpec("vmprobe-x", 2**30, plan))
    soon(lambda: driver.show(server).state is State.READY)
    driver.attach(server, disk)
    driver.delete(server)
    wait_gone(driver, server)

    with pytest.raises(Conflict, match="is in use"):
        driver.delete(disk)
    driver.delete(disk)

    wait_gone(driver, disk)


def test_the_other_checks_show_what_there_is(site):
    world, path = site
    driver, plan = driver_of(path)
    server = driver.create(ServerSpec("web-1", plan))
    soon(lambda: driver.show(server).state is State.READY)

    code, output, _ = run_probe("check_vm_gateway", "--site", path, "--capabilities")
    assert (code, line(output).split(" answers")[0]) == (
        0,
        "VM_GATEWAY OK - stratuslab: StratusLab before 3.6",
    )
    assert re.search(r"^hypervisors +kvm$", output, re.M)
    code, output, _ = run_probe("check_vm_state", "--site", path, "-v")
    assert code == 0 and re.search(r"^RUNNING .* 40 +web-1$", output, re.M)
    code, output, _ = run_probe(
        "check_vm_image",
        "--site",
        path,
        "--checksum",
        "sha1:4dd44124f8813c7cee52f8ede05cb74892622fd7",
    )
    assert (code, line(output)) == (
        0,
        f"VM_IMAGE OK - stratuslab: image {IMAGE} is there and unchanged",
    )
    assert (
        line(run_probe("check_vm_leftovers", "--site", path)[1])
        == "VM_LEFTOVERS OK - stratuslab: nothing is left behind"
    )
    assert {sample.metric for sample in driver.metrics(server)} <= set(driver.metrics_offered)

    driver.delete(server)
    wait_gone(driver, server)
    assert driver.list(Kind.VOLUME, "") == []
