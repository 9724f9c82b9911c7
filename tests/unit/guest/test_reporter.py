"""reporter.sh, as a script in any shell: what it writes, line by line."""

import shutil
import subprocess
import time

import pytest

from images import GUEST, NONCE
from reporting import BOOT, NETWORK, PATIENCE, SHELLS, Machine, context
from vmprobe.guest import user_data


@pytest.fixture(
    params=["dash", "bash"]
)  # busybox prefers its own applets to these tools: the tests with QEMU run it
def machine(request, tmp_path):
    shell = SHELLS[request.param]
    if not shutil.which(shell[0]):
        pytest.skip(f"not installed: {shell[0]}")
    made = Machine(tmp_path, shell)
    yield made
    made.stop()


def test_the_reporter_says_boot_and_network_once(machine):
    machine.start().says(BOOT, NETWORK)


def test_the_reporter_works_and_counts_every_two_seconds(machine):
    machine.start().says(BOOT, NETWORK)
    machine.at(12.5)

    machine.says(
        BOOT,
        NETWORK,
        f"{NONCE} 12.50 work cpu=0.000 net=0.000",
        f"{NONCE} 12.50 counters cpu=1.56 steal=0.04 disk_read=8192 disk_write=4096 net_in=1000 net_out=2000",
    )


def test_the_reporter_proves_a_disk_and_says_when_it_is_gone(machine):
    machine.start().says(BOOT, NETWORK)
    machine.disk("vdb")
    disk = [
        f"{NONCE} 10.00 work cpu=0.000 net=0.000",
        f"{NONCE} 10.00 disk device=vdb size=4194304 verified=262144",
        f"{NONCE} 10.00 work cpu=0.000 disk=0.000 net=0.000",
    ]
    machine.says(BOOT, NETWORK, *disk)
    written = (machine.root / "dev" / "vdb").read_bytes()
    assert (written.strip(b"\0") != b"", len(written)) == (True, 4194304)

    shutil.rmtree(machine.root / "sys/block/vdb")
    machine.says(BOOT, NETWORK, *disk, f"{NONCE} 10.00 gone device=vdb")


def test_what_a_disk_did_still_counts_when_it_is_gone(machine):
    machine.disk("vdb")
    machine.start()
    disk = [
        f"{NONCE} 10.00 work cpu=0.000",
        f"{NONCE} 10.00 disk device=vdb size=4194304 verified=262144",
        f"{NONCE} 10.00 work cpu=0.000 disk=0.000",
    ]
    machine.says(BOOT, *disk, NETWORK)
    machine.at(12.5)
    counters = (
        "counters cpu=1.56 steal=0.04 disk_read=520192 disk_write=1028096 net_in=1000 net_out=2000"
    )
    later = [f"{NONCE} 12.50 work cpu=0.000 disk=0.000 net=0.000", f"{NONCE} 12.50 {counters}"]
    machine.says(BOOT, *disk, NETWORK, *later)

    shutil.rmtree(machine.root / "sys/block/vdb")
    later.append(f"{NONCE} 12.50 gone device=vdb")
    machine.says(BOOT, *disk, NETWORK, *later)
    machine.at(15)
    later += [f"{NONCE} 15.00 work cpu=0.000 net=0.000", f"{NONCE} 15.00 {counters}"]
    machine.says(BOOT, *disk, NETWORK, *later)


def test_a_disk_that_holds_anything_is_not_written_to(machine):
    machine.disk("vdb", content=b"somebody's")
    machine.start().says(
        BOOT, f"{NONCE} 10.00 fault disk reason=not-blank device=vdb size=4194304", NETWORK
    )

    assert (machine.root / "dev" / "vdb").read_bytes() == b"somebody's".ljust(4194304, b"\0")


@pytest.mark.parametrize("sign", ["holders/dm-0/size", "vdb1/size", "mounted", "swap"])
def test_a_disk_in_use_is_left_alone(machine, sign):
    machine.put(
        {"mounted": "proc/mounts", "swap": "proc/swaps"}.get(sign, f"sys/block/vdb/{sign}"),
        "/dev/vdb / ext4\n",
    )
    machine.disk("vdb")
    machine.start().says(BOOT, NETWORK)
    machine.at(12.5)
    counters = (
        "counters cpu=1.56 steal=0.04 disk_read=520192 disk_write=1028096 net_in=1000 net_out=2000"
    )
    machine.says(
        BOOT, NETWORK, f"{NONCE} 12.50 work cpu=0.000 net=0.000", f"{NONCE} 12.50 {counters}"
    )

    assert (machine.root / "dev" / "vdb").read_bytes().strip(b"\0") == b""


def test_partitions_that_show_up_late_are_no_fault(machine):
    machine.disk("vdb", content=b"a boot sector")
    machine.tool(
        "sleep",
        f'[ "$1" = 1 ] && mkdir -p "{machine.root}/sys/block/vdb/vdb1"; exec /bin/sleep 0.03',
    )
    machine.start().says(BOOT, NETWORK)


def test_a_disk_that_cannot_be_written_is_a_fault(machine):
    machine.disk("vdb")
    machine.put("sys/block/vdb/ro", "1\n")

    machine.start().says(
        BOOT, f"{NONCE} 10.00 fault disk reason=read-only device=vdb size=4194304", NETWORK
    )


def test_a_disk_that_gives_back_something_else_is_a_fault(machine):
    machine.disk("vdb")
    machine.tool("cmp", "exit 1")

    machine.start().says(
        BOOT,
        f"{NONCE} 10.00 work cpu=0.000",
        f"{NONCE} 10.00 fault disk reason=compare device=vdb",
        NETWORK,
    )


def test_a_gateway_that_begins_to_answer_is_news(machine):
    machine.put("answering", "")
    silent = NETWORK.replace("yes", "no")
    machine.start().says(BOOT, silent)
    machine.put("answering", "10.0.2.2\n")
    machine.at(12.5)
    counters = (
        "counters cpu=1.56 steal=0.04 disk_read=8192 disk_write=4096 net_in=1000 net_out=2000"
    )

    machine.says(
        BOOT,
        silent,
        NETWORK.replace(" 10.00 ", " 12.50 "),
        f"{NONCE} 12.50 work cpu=0.000 net=0.000",
        f"{NONCE} 12.50 {counters}",
    )


def test_a_gateway_that_drops_pings_answers_by_arp(machine):
    machine.put("answering", "")
    machine.put(
        "proc/net/arp",
        "IP address HW type\n10.0.2.2         0x1         0x2         52:55:0a:00:02:02     *  eth0\n",
    )

    machine.start().says(BOOT, NETWORK)


def test_no_address_is_a_fault_after_fifteen_seconds(machine):
    machine.put("addresses", "")
    machine.put("sys/class/net/eth0/carrier", "1\n")
    machine.start().says(BOOT)
    machine.at(26)
    counters = (
        "counters cpu=1.56 steal=0.04 disk_read=8192 disk_write=4096 net_in=1000 net_out=2000"
    )

    expected = {
        f"vmprobe {BOOT}",
        f"vmprobe {NONCE} 26.00 fault network reason=no-address interface=eth0 carrier=yes",
        f"vmprobe {NONCE} 26.00 work cpu=0.000",
        f"vmprobe {NONCE} 26.00 {counters}",
    }
    deadline = time.monotonic() + PATIENCE
    while set(machine.said()) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (set(machine.said()), len(machine.said())) == (expected, 4)


def test_members_are_asked_after(machine):
    machine.put("answering", "10.0.2.2\n10.0.0.7\n")
    machine.start(user_data.reporter(NONCE, ["10.0.0.7", "10.0.0.8"])).says(BOOT, NETWORK)
    machine.at(12.5)
    counters = (
        "counters cpu=1.56 steal=0.04 disk_read=8192 disk_write=4096 net_in=1000 net_out=2000"
    )

    machine.says(
        BOOT,
        NETWORK,
        f"{NONCE} 12.50 members address=10.0.0.7 answers=yes",
        f"{NONCE} 12.50 members address=10.0.0.8 answers=no",
        f"{NONCE} 12.50 work cpu=0.000 net=0.000",
        f"{NONCE} 12.50 {counters}",
    )


def test_user_data_carries_its_nonce(machine):
    machine.put("proc/cmdline", "quiet\n")

    machine.start(user_data.reporter(NONCE)).says(BOOT, NETWORK)


def test_smbios_carries_the_nonce(machine):
    machine.put("proc/cmdline", "quiet\n")
    machine.put("sys/firmware/dmi/tables/DMI", f"\1\x1bQEMU\0vmprobe.nonce={NONCE}\0\0\x7f")

    machine.start().says(BOOT, NETWORK)


def test_a_config_drive_carries_the_nonce_and_is_no_test_disk(machine):
    machine.put("proc/cmdline", "quiet\n")
    machine.disk("vdb", content=b"a file system")
    machine.tool(
        "mount",
        'for last; do :; done; mkdir -p "$last/openstack/latest"\n'
        f'echo "#!/bin/sh\nVMPROBE_NONCE={NONCE}" >"$last/openstack/latest/user_data"',
    )
    machine.tool("umount", 'rm -r "$1/openstack"')
    machine.put("addresses", "")
    machine.start().says(BOOT.replace(NONCE, "-"), BOOT)

    machine.put("addresses", machine.address)
    machine.says(BOOT.replace(NONCE, "-"), BOOT, NETWORK)


def test_opennebulas_context_carries_the_nonce(machine):
    machine.put("proc/cmdline", "quiet\n")
    machine.disk("sr0", content=b"a CD-ROM")
    machine.put("context.sh", context(NONCE))
    machine.tool("mount", f'for last; do :; done; cp "{machine.root}/context.sh" "$last"')
    machine.tool("umount", 'rm "$1/context.sh"')

    machine.start().says(BOOT.replace(NONCE, "-"), BOOT, NETWORK)


def test_the_metadata_service_carries_the_nonce_and_all_is_said_again(machine):
    machine.put("proc/cmdline", "quiet\n")
    service = "http://169.254.169.254/latest/user-data"
    machine.tool(
        "timeout", f'[ "$6" = {service} ] && echo "#!/bin/sh" && echo "VMPROBE_NONCE={NONCE}"'
    )
    machine.start().says(BOOT.replace(NONCE, "-"), NETWORK.replace(NONCE, "-"))
    machine.at(12.5)
    counters = (
        "counters cpu=1.56 steal=0.04 disk_read=8192 disk_write=4096 net_in=1000 net_out=2000"
    )

    machine.says(
        BOOT.replace(NONCE, "-"),
        NETWORK.replace(NONCE, "-"),
        BOOT.replace("10.00", "12.50"),
        NETWORK.replace(" 10.00 ", " 12.50 "),
        f"{NONCE} 12.50 work cpu=0.000 net=0.000",
        f"{NONCE} 12.50 {counters}",
    )


@pytest.mark.parametrize("script", ["reporter.sh", "init", "dhcp"])
@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_of_the_guest_is_posix_shell(shell, script):
    if not shutil.which(SHELLS[shell][0]):
        pytest.skip(f"not installed: {shell}")
    checked = subprocess.run([*SHELLS[shell], "-n", str(GUEST / script)], stderr=subprocess.PIPE)

    assert (checked.returncode, checked.stderr) == (0, b"")
