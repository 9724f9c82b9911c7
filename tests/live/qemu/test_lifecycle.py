"""check_vm_lifecycle on QEMU itself: real VMs, real signals, and no process and no file is left."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from live.local_qemu import NOTHING, PROBE, finish, soon
from vmprobe.guest import image, initramfs

pytestmark = pytest.mark.live
OK = (
    "VM_LIFECYCLE OK - here: test VM ran and is gone in T s (active T s, network T s, storage T s) | active=Ts;;;0 auth=Ts;;;0 "
    "cpu_avg=N% cpu_peak=N% delete=Ts;;;0 detach=Ts;;;0 disk_read_avg=N;;;0 disk_read_peak=N;;;0 disk_write_avg=N;;;0 "
    "disk_write_peak=N;;;0 gone=Ts;;;0 image=Ts;;;0 leftovers=0;;;0 memory_avg=NB;;;0 memory_peak=NB;;;0 network=Ts;;;0 "
    "ready_avg=N% ready_peak=N% sample=Ts;;;0 storage=Ts;;;0 submit=Ts;;;0 "
    "total=Ts;;;0"
)


def line(text):
    """Line 1 without its perfdata."""
    return text.split("\n")[0].split(" | ")[0]


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_two_vms_at_once_live_and_are_gone_each_on_its_own(here):
    first, second = here.start(), here.start()

    assert (finish(first), finish(second)) == ((0, OK, ""), (0, OK, ""))
    assert here.left() == NOTHING


def test_a_fleet_without_volumes_is_polled_as_one(here):
    here.set("test vm", volume="none").set("sample", readings="0")

    state, text, errors = here.run("--count", "2", "-v")

    assert (state, line(text), errors) == (
        0,
        (
            "VM_LIFECYCLE OK - here: 2 test VMs ran without storage and are gone in T s (active T s, network T s)"
        ),
        "",
    )
    assert here.left() == NOTHING


def test_an_image_that_is_missing_is_named(here):
    here.set("test vm", image="/nowhere/disk.qcow2")

    assert here.run() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: image: no image /nowhere/disk.qcow2: it is neither a disk nor a directory with kernel and "
            "initrd (cause=image) | auth=Ts;;;0 leftovers=0;;;0 total=Ts;;;0"
        ),
        "",
    )


def test_a_test_image_that_was_not_built_says_how_to_build_it(here, monkeypatch):
    monkeypatch.setenv("VMPROBE_IMAGES", "/nowhere")

    assert here.run() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: image: no image vmprobe-test in /nowhere: vmprobectl image build makes it (cause=image) | "
            "auth=Ts;;;0 leftovers=0;;;0 total=Ts;;;0"
        ),
        "",
    )


REFUSALS = {  # request: QEMU's message
    "memory": (
        "test vm",
        {"flavor": "2000 TiB"},
        "cannot set up guest memory 'pc.ram': Cannot allocate memory",
    ),
    "accelerator": ("endpoint", {"accel": "warp"}, "-accel warp: invalid accelerator warp"),
    "machine": ("endpoint", {"machine": "loom"}, "unsupported machine type"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_vm_that_qemu_cannot_start_fails_in_its_words(here, what):
    section, keys, message = REFUSALS[what]
    here.set(section, **keys)

    assert here.run() == (
        2,
        (
            f"VM_LIFECYCLE CRITICAL - here: active: server ID is dead: {message} (cause=scheduler) | auth=Ts;;;0 delete=Ts;;;0 "
            "gone=Ts;;;0 image=Ts;;;0 leftovers=0;;;0 submit=Ts;;;0 total=Ts;;;0"
        ),
        "",
    )
    assert here.left() == NOTHING


def test_a_vm_that_is_killed_while_it_boots_is_dead(here):
    probe = here.start()
    soon(lambda: "boot" in here.consoles())
    (pid,) = here.processes()
    os.kill(pid, signal.SIGTERM)

    assert finish(probe) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: network: server ID is dead: terminating on signal 15 from pid N (WHO) (cause=scheduler) | "
            "active=Ts;;;0 auth=Ts;;;0 delete=Ts;;;0 gone=Ts;;;0 image=Ts;;;0 leftovers=0;;;0 submit=Ts;;;0 total=Ts;;;0"
        ),
        "",
    )
    assert here.left() == NOTHING


def test_a_vm_that_powers_itself_off_while_it_boots_says_its_last_words(here, tmp_path):
    here.set("test vm", image=str(powers_off(tmp_path / "image")))

    assert here.run() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: network: server ID is shutdown: its console ends with: [T] reboot: Power down (cause=scheduler) | "
            "active=Ts;;;0 auth=Ts;;;0 delete=Ts;;;0 gone=Ts;;;0 image=Ts;;;0 leftovers=0;;;0 submit=Ts;;;0 total=Ts;;;0"
        ),
        "",
    )
    assert here.left() == NOTHING


def powers_off(directory: Path) -> Path:
    """Make an image of a system that powers off at once."""
    directory.mkdir()
    shutil.copy(os.path.join(image.directory(), "kernel"), directory / "kernel")
    busybox = Path(shutil.which("busybox", path="/bin:/usr/bin")).read_bytes()
    init = b"#!/bin/busybox sh\n/bin/busybox poweroff -f\n"
    entries = [
        initramfs.Entry("dev/console", 0o20600, device=(5, 1)),
        initramfs.Entry("bin/busybox", 0o100755, busybox),
        initramfs.Entry("init", 0o100755, init),
    ]
    (directory / "initrd").write_bytes(initramfs.archive(entries, 0))
    return directory


def test_a_network_that_never_comes_outruns_its_budget(here):
    here.set("test vm", network="none").set("budget", network="2 s")

    assert here.run() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: network: server ID has no address; not done within T s (cause=network) | "
            "active=Ts;;;0 auth=Ts;;;0 delete=Ts;;;0 gone=Ts;;;0 image=Ts;;;0 leftovers=0;;;0 submit=Ts;;;0 total=Ts;;;0"
        ),
        "",
    )
    assert here.left() == NOTHING


def test_a_tap_that_is_missing_is_named(here):
    here.set("test vm", network="tap:vmp-none")

    assert here.run() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: image: no network interface named 'vmp-none' (cause=network) | auth=Ts;;;0 leftovers=0;;;0 "
            "total=Ts;;;0"
        ),
        "",
    )


def test_a_binary_that_is_not_there_is_our_own_fault(here):
    here.set("endpoint", binary="qemu-system-none")

    assert here.run() == (
        3,
        (
            "VM_LIFECYCLE UNKNOWN - here: auth: qemu-system-none cannot be run: No such file or directory (cause=client) | "
            "leftovers=0;;;0 total=Ts;;;0"
        ),
        "",
    )


def test_another_depth_and_machine_do_as_well(here):
    here.set("endpoint", machine="q35").set("test vm", depth="api", vcpus="2", flavor="256 MiB")

    assert here.run() == (0, OK, "")
    assert here.left() == NOTHING


# --- signals ------------------------------------------------------------------------------------------------------


def test_sigterm_tears_down_and_says_so_in_one_line(here):
    probe = here.start()
    soon(lambda: "boot" in here.consoles())
    probe.send_signal(signal.SIGTERM)

    assert finish(probe) == (
        3,
        (
            "VM_LIFECYCLE UNKNOWN - here: network: interrupted by SIGTERM | active=Ts;;;0 auth=Ts;;;0 delete=Ts;;;0 gone=Ts;;;0 "
            "image=Ts;;;0 leftovers=0;;;0 submit=Ts;;;0 total=Ts;;;0"
        ),
        "",
    )
    assert here.left() == NOTHING


def test_sigkill_at_any_moment_is_settled_by_the_next_run(here):
    probe = here.start()
    soon(lambda: " disk device" in here.consoles())
    killed(probe)
    assert len(here.processes()) == 1  # a VM outlives the process that started it
    for hundredths in range(0, 12, 2):  # each run also settles the one before
        before = here.files()
        probe = here.start()
        soon(lambda: any("volume" in path.parts for path in here.files() if path not in before))
        soon(lambda: False, hundredths / 100)
        killed(probe)

    here.set("test vm", flavor="2000 TiB")  # the next run settles it even if it fails itself
    state, text, errors = here.run()

    assert (state, line(text), errors) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - here: active: server ID is dead: cannot set up guest memory 'pc.ram': Cannot allocate memory "
            "(cause=scheduler)"
        ),
        "",
    )
    assert here.left() == NOTHING


def killed(probe):
    probe.kill()
    probe.communicate()


# --- a tap --------------------------------------------------------------------------------------------------------


def test_a_tap_has_an_address_and_counters(here, tmp_path):
    """In an own network namespace, with a DHCP server on the tap; at depth api, because QEMU and this host know the address."""
    if (
        os.geteuid()
        or subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode
    ):
        pytest.skip("a network namespace takes root")
    here.set("test vm", network="tap:vmp0")
    (tmp_path / "udhcpd").write_text(
        f"start 10.79.0.50\nend 10.79.0.60\ninterface vmp0\nlease_file {tmp_path}/leases\npidfile {tmp_path}/pid\n"
        "opt subnet 255.255.255.0\nopt router 10.79.0.1\n"
    )
    (tmp_path / "leases").touch()
    probe = subprocess.Popen(
        [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-e",
            "-c",
            f"""
            mount -t sysfs none /sys
            ip link set lo up
            ip tuntap add vmp0 mode tap
            ip addr add 10.79.0.1/24 dev vmp0
            ip link set vmp0 up
            busybox udhcpd -f {tmp_path}/udhcpd >/dev/null 2>&1 &
            served=$!
            "$@" && state=0 || state=$?
            kill $served
            exit $state
        """,
            "sh",
            sys.executable,
            str(PROBE),
            "--site",
            str(here.write()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VMPROBE_STATE": str(here.state)},
    )

    state, text, errors = finish(probe)

    counted = "net_in_avg=N;;;0 net_in_peak=N;;;0 net_out_avg=N;;;0 net_out_peak=N;;;0 network"
    assert (state, text, errors) == (
        0,
        OK.replace("network", counted, 2).replace(counted, "network", 1),
        "",
    )
    assert here.left() == NOTHING
