"""Checks over real libvirt daemons: their output, and that nothing is left."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal

import pytest

from live.libvirt import hosts
from vmprobe.core.errors import ClientError
from vmprobe.guest import image
from waiting import soon

pytestmark = pytest.mark.live
NO_ROOM = {"flavor": "64 TiB"}  # more than any host has: the run settles its debts and ends


@pytest.fixture(scope="module")
def session():
    with hosts.session() as host:
        yield host


@pytest.fixture(scope="module")
def system():
    with hosts.system() as host:
        yield host


@pytest.fixture(params=["session", "system"])
def host(request):
    return request.getfixturevalue(request.param)


def first(output: str, host) -> str:
    """Line 1 without its perfdata; handles as HANDLE, durations as N."""
    line = re.sub(
        rf"vmprobe-{host.owner}-[0-9a-z]+-\d+-[a-z0-9]+",
        "HANDLE",
        output.splitlines()[0].partition(" | ")[0],
    )
    return re.sub(r"\b\d+(\.\d+)? s\b", "N s", line)


def figures(output: str) -> dict:
    """The perfdata."""
    perfdata = output.splitlines()[0].partition(" | ")[2]
    return {
        label: float(value) for label, value in re.findall(r"([a-z_]+)=(\d+(?:\.\d+)?)", perfdata)
    }


GOOD = (
    "VM_LIFECYCLE OK - kvm: test VM ran and is gone in N s (active N s, network N s, storage N s)"
)


# --- all good -----------------------------------------------------------------------------------------------------


def test_in_a_users_session_a_vm_lives_to_the_word_of_its_console_and_is_gone(session):
    state, output = session.lifecycle("-v")

    assert (state, first(output, session)) == (0, GOOD)
    assert "note: not measured, the manager does not say: net_in, net_out" in output.splitlines()
    assert {"cpu_avg", "disk_read_avg", "disk_write_avg"} <= set(figures(output))
    assert session.remains() == {}


def test_a_volume_that_is_larger_than_the_pool_fits_and_is_made(session):
    test_vm = {"volume": "4 TiB", "depth": "api"}

    state, output = session.check("capacity", "--need", "2", test_vm=test_vm)
    assert (state, figures(output)["host_storage_free"] < 2**42) == (0, True), output
    assert session.lifecycle(test_vm=test_vm)[0] == 0


def test_on_a_hosts_system_a_vm_gets_its_address_from_a_libvirt_network(system):
    process = system.probe("-v", test_vm={"network": "default"})
    leased = soon(lambda: address(system, "virbr0"))
    state, output = system.finish(process)

    assert (state, first(output, system)) == (0, GOOD)
    assert leased.startswith("10.77.2.")
    assert {"cpu_avg", "disk_read_avg", "disk_write_avg", "net_in_avg", "net_out_avg"} <= set(
        figures(output)
    )
    assert system.remains() == {}


def test_what_is_sent_to_a_vm_comes_in_by_its_counters(system):
    """libvirt does not know the bridge's DHCP server: the VM's address comes from ARP, or from its console."""
    process = system.probe(
        "-v",
        test_vm={"network": "bridge:served", "depth": "api", "volume": "none"},
        sample={"readings": "6", "interval": "0.5 s"},
    )
    flood = system.start(*system.interpreter, "-c", FLOOD, soon(lambda: address(system, "served")))
    state, output = system.finish(process)
    system.finish(flood)

    assert (state, first(output, system)) == (
        0,
        "VM_LIFECYCLE OK - kvm: test VM ran without storage and is gone in N s "
        "(active N s, network N s)",
    )
    assert figures(output)["net_in_avg"] > 10 * figures(output)["net_out_avg"] > 0
    assert system.remains() == {}


FLOOD = """import socket, sys, time
end, udp = time.time() + 10, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while time.time() < end:
    try:
        udp.sendto(bytes(1400), (sys.argv[1], 9))
    except OSError:
        break  # the VM is gone
    time.sleep(0.002)
"""


def address(host, bridge: str) -> str:
    """The address of a neighbour on a bridge of the host; '' if there is none."""
    match = re.search(
        r"^([0-9.]+) lladdr", host.run("ip", "-4", "neigh", "show", "dev", bridge), re.M
    )
    return match[1] if match else ""


@pytest.mark.slow
def test_a_volume_of_the_pool_is_an_image_that_boots_by_itself(session, tmp_path):
    """We cannot set its kernel's command line: it gets the nonce from the firmware."""
    try:
        disk = image.build(image.directory(), ["qcow2"])["vmprobe.qcow2"]
    except ClientError as missing:
        pytest.skip(str(missing))
    session.lifecycle(test_vm=NO_ROOM)  # creates the pool
    session.virsh("vol-create-as", "vmprobe", "base.qcow2", str(disk.size), "--format", "qcow2")
    shutil.copy(disk.path, session.base / "images")
    session.virsh(
        "vol-upload",
        "--pool",
        "vmprobe",
        "base.qcow2",
        str(session.base / "images" / "vmprobe.qcow2"),
    )
    session.virsh("pool-refresh", "vmprobe")
    try:
        state, output = session.lifecycle(test_vm={"image": "base.qcow2"})

        assert (state, first(output, session)) == (0, GOOD)
        assert session.volumes() == ["base.qcow2"]
    finally:
        session.virsh("vol-delete", "--pool", "vmprobe", "base.qcow2")


def test_a_volume_of_the_pool_is_an_image_with_checksums_until_it_is_changed(session):
    session.lifecycle(test_vm=NO_ROOM)  # creates the pool
    content = os.urandom(17 * 2**20 + 5)  # more than one read takes
    file = session.base / "images" / "some.img"
    session.virsh("vol-create-as", "vmprobe", "some.img", str(len(content)))
    checksum = f"sha512:{hashlib.sha512(content).hexdigest()}"
    try:
        for upload, (code, line) in (
            (content, (0, "VM_IMAGE OK - kvm: image some.img is there and unchanged")),
            (
                content[:-1] + b"?",
                (2, "VM_IMAGE CRITICAL - kvm: mismatched 1 is outside 0 (critical); "),
            ),
        ):
            file.write_bytes(upload)
            session.virsh("vol-upload", "--pool", "vmprobe", "some.img", str(file))
            state, output = session.check("image", "--image", "some.img", "--checksum", checksum)

            assert (state, output[: len(line)]) == (code, line)
        state, output = session.check("image", "--image", "no.img")
        assert (state, output.partition(" | ")[0]) == (
            2,
            "VM_IMAGE CRITICAL - kvm: image: no image named 'no.img' (cause=image)",
        )
    finally:
        session.virsh("vol-delete", "--pool", "vmprobe", "some.img")
        file.unlink()


# --- what the cloud fails in --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sections, line",
    [
        (
            {"test_vm": {"image": "no-such-image"}},
            "image: Storage volume not found: no storage vol with matching name 'no-such-image' (cause=image)",
        ),
        (
            {"test_vm": {"image": "/no/such/image"}},
            "image: Storage volume not found: no storage vol with matching path '/no/such/image' (cause=image)",
        ),
        (
            {"test_vm": {"network": "no-such-network"}},
            "image: Network not found: no network with matching name 'no-such-network' (cause=network)",
        ),
        (
            {"endpoint": {"pool": "no-such-pool"}},
            "image: no storage pool named 'no-such-pool' (cause=storage)",
        ),
    ],
    ids=["image", "path", "network", "pool"],
)
def test_crit_when_what_is_named_is_not_there(host, sections, line):
    state, output = host.lifecycle(**sections)

    assert (state, first(output, host)) == (2, f"VM_LIFECYCLE CRITICAL - kvm: {line}")
    assert host.remains() == {}


def test_crit_when_a_bridge_is_not_there(system):
    state, output = system.lifecycle(test_vm={"network": "bridge:no-such"})

    assert (state, first(output, system)) == (
        2,
        "VM_LIFECYCLE CRITICAL - kvm: submit: Cannot get interface MTU on 'no-such': No such device "
        "(cause=network)",
    )
    assert system.remains() == {}


def test_crit_when_there_is_no_room(host):
    state, output = host.lifecycle(test_vm=NO_ROOM)

    assert state == 2
    assert first(output, host).startswith("VM_LIFECYCLE CRITICAL - kvm: submit: ")
    assert first(output, host).endswith("(cause=scheduler)")
    assert host.remains() == {}


def test_crit_when_a_vm_dies_while_it_boots(system):
    process = system.probe()
    soon(lambda: system.emulators())
    server = soon(lambda: "running" in system.virsh("list") and system.servers())[0]
    system.virsh("destroy", server)
    state, output = system.finish(process)

    assert (state, re.sub("(active|network): ", "STAGE: ", first(output, system))) == (
        2,
        "VM_LIFECYCLE CRITICAL - kvm: STAGE: server HANDLE is shut off: destroyed (cause=scheduler)",
    )
    assert system.remains() == {}


def test_crit_when_qemu_crashes(session):
    process = session.probe()
    soon(lambda: session.servers() and "running" in session.virsh("list"))
    os.kill(session.emulators()[0], signal.SIGKILL)
    state, output = session.finish(process)

    assert (state, re.sub("(active|network): ", "STAGE: ", first(output, session))) == (
        2,
        "VM_LIFECYCLE CRITICAL - kvm: STAGE: server HANDLE is shut off: crashed (cause=scheduler)",
    )
    assert session.remains() == {}


def test_crit_when_the_network_never_comes(system):
    state, output = system.lifecycle(
        test_vm={"network": "bridge:silent"}, budget={"network": "15 s"}
    )

    assert (state, first(output, system)) == (
        2,
        "VM_LIFECYCLE CRITICAL - kvm: network: server HANDLE has no address; not done within N s "
        "(cause=network)",
    )
    assert system.remains() == {}


# --- what is interrupted ------------------------------------------------------------------------------------------


def test_a_daemon_that_is_gone_is_critical_and_what_is_left_is_named_and_removed_by_the_next_run(
    system,
):
    process = system.probe(budget={"deadline": "45 s", "reserve": "10 s"})
    soon(lambda: "running" in system.virsh("list"))
    os.kill(system.daemon(), signal.SIGKILL)
    state, output = system.finish(process)

    line = re.sub("(active|network): ", "STAGE: ", first(output, system)).replace(
        "/var/run", "/run"
    )
    assert (state, re.sub(r"\.\.\.[a-z0-9]{8}\b", "...RANDOM", line)) == (
        2,
        "VM_LIFECYCLE CRITICAL - kvm: STAGE: Failed to connect socket to '/run/libvirt/libvirt-sock': "
        "Connection refused (cause=gateway); left behind: server ...RANDOM, volume vmprobe/...RANDOM",
    )
    assert system.emulators()

    system.start_libvirtd()
    system.lifecycle(test_vm=NO_ROOM)

    assert system.remains() == {}


@pytest.mark.slow
def test_a_users_daemon_that_is_killed_is_started_again_and_the_run_goes_on(session):
    process = session.probe(test_vm={"volume": "none", "depth": "api"})
    soon(lambda: session.servers() and "running" in session.virsh("list"))
    os.kill(session.daemon(), signal.SIGKILL)
    state, output = session.finish(process)

    assert (state, first(output, session)) == (
        0,
        "VM_LIFECYCLE OK - kvm: test VM ran without storage and is gone in N s "
        "(active N s, network N s)",
    )
    assert session.remains() == {}


MOMENTS = {
    "it has its volume": lambda host: host.volumes(),
    "its VM is defined": lambda host: host.servers(),
    "its VM runs": lambda host: "running" in host.virsh("list"),
    "its volume is attached": lambda host: any(
        "/images/" in host.virsh("domblklist", name) for name in host.servers()
    ),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_is_left_of_a_run_that_is_killed_once_the_next_has_begun(session, moment):
    process = session.probe()
    soon(lambda: MOMENTS[moment](session))
    process.kill()
    assert session.finish(process)[0] == -signal.SIGKILL
    assert session.remains() != {}

    session.lifecycle(test_vm=NO_ROOM)

    assert session.remains() == {}


def test_a_run_that_is_told_to_end_takes_everything_with_it(session):
    process = session.probe()
    soon(lambda: "running" in session.virsh("list"))
    process.send_signal(signal.SIGTERM)
    state, output = session.finish(process)

    assert (state, re.sub("(submit|active|network): ", "STAGE: ", first(output, session))) == (
        3,
        "VM_LIFECYCLE UNKNOWN - kvm: STAGE: interrupted by SIGTERM",
    )
    assert session.remains() == {}
