"""The test image boots and tells the truth, under real QEMU."""

import itertools
import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from images import NONCE, needs, needs_disk_tools, needs_qemu
from reporting import context
from vmprobe.guest import console, user_data

PATIENCE = 20  # seconds
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")


# --- under QEMU ---


class Guest:
    """A QEMU by emulation, its serial console, and its monitor (QMP)."""

    _numbers = itertools.count(1)

    def __init__(self, directory: Path, *arguments: str, machine="pc", memory="128"):
        self.monitor_path = str(directory / "qmp")
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64",
                "-machine",
                machine,
                "-accel",
                "tcg,tb-size=64",
                "-cpu",
                "qemu64",
                "-m",
                memory,
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-chardev",
                f"file,id=serial,path={directory / 'console'}",
                "-serial",
                "chardev:serial",
                "-qmp",
                f"unix:{self.monitor_path},server=on,wait=off",
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
        )
        self._console = directory / "console"
        self._events = self._monitor = None

    def facts(self, nonce=NONCE):
        return console.facts(
            self._console.read_text(errors="replace") if self._console.exists() else "", nonce
        )

    def wait(self, fact, nonce=NONCE, seconds=240, key=None, **values):
        """The first such fact, with ``key`` and ``values`` in it; fails with the console when it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            for said in self.facts(nonce):
                if (
                    said.fact == fact
                    and values.items() <= said.values.items()
                    and (key is None or key in said.values)
                ):
                    return said
            time.sleep(0.1)
        pytest.fail(
            f"no {fact} {values} on the console:\n"
            + self._console.read_text(errors="replace")[-3000:]
        )

    def command(self, name, **arguments):
        if not self._monitor:
            self._monitor = socket.socket(socket.AF_UNIX)
            self._monitor.settimeout(60)
            self._monitor.connect(self.monitor_path)
            self._events = self._monitor.makefile("rw", encoding="utf-8")
            self._events.readline()
            self.command("qmp_capabilities")
        self._events.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._events.flush()
        for line in self._events:
            answer = json.loads(line)
            if "event" not in answer:
                assert "return" in answer, answer
                return answer["return"]

    def stop(self):
        if self._monitor:
            self._events.close()
            self._monitor.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def boot(tmp_path):
    guests = []

    def start(*arguments, **options):
        directory = tmp_path / f"guest{len(guests)}"
        directory.mkdir()
        guests.append(Guest(directory, *arguments, **options))
        return guests[-1]

    yield start
    for guest in guests:
        guest.stop()


NIC = ("-device", "virtio-net-pci,netdev=net0,romfile=")


@pytest.mark.live
@needs_qemu
def test_a_guest_reports_network_a_hot_plugged_disk_its_removal_and_obeys_the_power_button(
    boot, plain, tmp_path
):
    guest = boot(
        "-kernel",
        plain["kernel"].path,
        "-initrd",
        plain["initrd"].path,
        "-append",
        f"console=ttyS0 quiet panic=-1 vmprobe.nonce={NONCE}",
        "-netdev",
        "user,id=net0",
        *NIC,
    )
    assert int(guest.wait("boot").values["memory"]) > 64 << 20
    assert guest.wait("network").values == {
        "interface": "eth0",
        "address": "10.0.2.15",
        "gateway": "10.0.2.2",
        "answers": "yes",
    }
    guest.wait("counters")

    (tmp_path / "volume").write_bytes(bytes(16 << 20))
    file = {"driver": "file", "filename": str(tmp_path / "volume")}
    guest.command("blockdev-add", **{"node-name": "volume", "driver": "raw", "file": file})
    guest.command("device_add", driver="virtio-blk-pci", drive="volume", id="disk0")
    assert guest.wait("disk").values == {
        "device": "vda",
        "size": str(16 << 20),
        "verified": "262144",
    }
    assert (tmp_path / "volume").read_bytes().strip(b"\0")
    guest.wait("work", key="disk")

    guest.command("device_del", id="disk0")
    guest.wait("gone", device="vda")
    said = [fact.fact for fact in guest.facts()]
    assert said.index("work") < said.index("disk") < said.index("gone")

    guest.command("system_powerdown")
    assert guest.process.wait(timeout=60) == 0


@pytest.mark.live
@needs_qemu
@needs_disk_tools
def test_the_bios_disk_boots_and_finds_its_nonce_at_the_metadata_service(boot, disks, tmp_path):
    answer = tmp_path / "answer"
    answer.write_text(
        f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{user_data.reporter(NONCE)}",
        newline="",
    )
    serve = tmp_path / "serve"
    serve.write_text(f"#!/bin/sh\nread -r line\ncat {answer}\n")
    serve.chmod(0o755)
    metadata = f"user,id=net0,net=169.254.169.0/24,dhcpstart=169.254.169.15,guestfwd=tcp:169.254.169.254:80-cmd:{serve}"
    guest = boot(
        "-drive",
        f"file={disks['vmprobe.qcow2'].path},if=virtio,snapshot=on",
        "-netdev",
        metadata,
        *NIC,
    )

    assert guest.wait("network").values["address"] == "169.254.169.15"
    assert guest.facts("-")[0].fact == "boot"  # said before there was a network to ask over
    assert not [fact for fact in guest.facts() + guest.facts("-") if fact.fact in ("disk", "fault")]


@pytest.mark.live
@needs_qemu
@needs("genisoimage")
def test_the_kernel_and_initrd_find_their_nonce_on_opennebulas_cd_rom(boot, plain, tmp_path):
    (tmp_path / "context.sh").write_text(context(NONCE))
    cdrom = tmp_path / "context.iso"  # as tm_mad's context makes it
    subprocess.run(
        [
            "genisoimage",
            "-quiet",
            "-o",
            str(cdrom),
            "-V",
            "CONTEXT",
            "-J",
            "-R",
            str(tmp_path / "context.sh"),
        ],
        check=True,
    )
    guest = boot(
        "-kernel",
        plain["kernel"].path,
        "-initrd",
        plain["initrd"].path,
        "-append",
        "console=ttyS0 quiet panic=-1",
        "-drive",
        f"file={cdrom},media=cdrom,if=ide,readonly=on",
        "-netdev",
        "user,id=net0",
        *NIC,
    )

    assert guest.wait("network").values["address"] == "10.0.2.15"
    assert not [fact for fact in guest.facts() + guest.facts("-") if fact.fact in ("disk", "fault")]


@pytest.mark.live
@needs_qemu
@needs_disk_tools
@pytest.mark.skipif(not OVMF.exists(), reason="not installed: ovmf")
def test_the_uefi_disk_boots_and_finds_its_nonce_on_a_config_drive(boot, disks, tmp_path):
    drive = tmp_path / "config-2"
    drive.write_bytes(bytes(2 << 20))
    (tmp_path / "user_data").write_text(user_data.reporter(NONCE))
    subprocess.run(
        ["/sbin/mkfs.vfat", "-n", "config-2", str(drive)], check=True, stdout=subprocess.DEVNULL
    )
    subprocess.run(["mmd", "-i", str(drive), "::openstack", "::openstack/latest"], check=True)
    subprocess.run(
        ["mcopy", "-i", str(drive), str(tmp_path / "user_data"), "::openstack/latest/user_data"],
        check=True,
    )
    guest = boot(
        "-drive",
        f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}",
        "-drive",
        f"file={disks['vmprobe-uefi.raw'].path},format=raw,if=virtio,snapshot=on",
        "-drive",
        f"file={drive},format=raw,if=virtio,readonly=on",
        "-netdev",
        "user,id=net0,restrict=on",
        *NIC,
        machine="q35",
        memory="256",
    )

    assert guest.wait("network").values == {
        "interface": "eth0",
        "address": "10.0.2.15",
        "gateway": "none",
        "answers": "none",
    }
    assert not [fact for fact in guest.facts() if fact.fact in ("disk", "fault")]
