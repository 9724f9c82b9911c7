"""The test image: what is in it, that it is the same each time, that it boots and tells the truth, under real QEMU."""

import contextlib
import fcntl
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from running import PROBES
from vmprobe.core.errors import ClientError
from vmprobe.ctl import main
from vmprobe.guest import bootdisk, console, image, initramfs, user_data

GUEST = PROBES / "vmprobe" / "guest"
DISKS = ("raw", "qcow2", "vmdk", "vhd", "ova", "uefi")
PATIENCE = 20  # seconds
NONCE = "run-7f3a"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "ash"]}
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")


def needs(*tools):
    missing = [
        tool
        for tool in tools
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    ]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


needs_kernel = needs("busybox", "apt-get", "dpkg-deb")
needs_disk_tools = needs(
    "busybox", "apt-get", "dpkg-deb", "sfdisk", "mkfs.vfat", "mcopy", "syslinux", "qemu-img"
)
needs_qemu = needs("busybox", "apt-get", "dpkg-deb", "qemu-system-x86_64")


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A directory in which a kernel was already downloaded: the user's own copy of it, if there is one."""
    directory = tmp_path_factory.mktemp("image")
    try:
        own = Path(image.directory())
    except ClientError:  # a user without a home
        return directory
    for package in own.glob("*.deb"):
        os.link(
            package, directory / package.name
        ) if directory.stat().st_dev == package.stat().st_dev else shutil.copy(package, directory)
    return directory


@pytest.fixture(scope="session")
def plain(kept):
    return image.build(str(kept))


@pytest.fixture(scope="session")
def disks(kept, plain):
    return image.build(str(kept), DISKS)


@pytest.fixture(scope="session")
def by_hand(kept, plain):
    """The same kernel and modules as the distribution's, as somebody would give them by hand."""
    (folder,) = [path for path in kept.iterdir() if (path / "vmlinuz").exists()]
    return {"kernel": str(folder / "vmlinuz"), "modules": str(folder)}


# --- what is built ---


@needs_kernel
def test_the_initrd_is_a_cpio_archive_with_the_guest_and_its_drivers(plain, tmp_path):
    unpacked = gzip.decompress(Path(plain["initrd"].path).read_bytes())
    listed = subprocess.run(
        ["busybox", "cpio", "-t"], input=unpacked, capture_output=True, check=True
    )
    names = listed.stdout.decode().split()

    assert names == sorted(names)
    assert {
        "init",
        "bin/busybox",
        "bin/sh",
        "bin/reporter",
        "etc/dhcp",
        "dev/console",
        "sbin",
    } <= set(names)
    modules = {Path(name).name for name in names if name.endswith(".ko")}
    assert {
        "virtio_net.ko",
        "virtio_blk.ko",
        "vmxnet3.ko",
        "hv_netvsc.ko",
        "ena.ko",
        "isofs.ko",
    } <= modules


@needs_kernel
def test_a_module_is_loaded_after_all_that_it_depends_on(plain):
    unpacked = gzip.decompress(Path(plain["initrd"].path).read_bytes())
    (virtio_pci,) = re.findall(rb"(?m)^virtio_pci\.ko:(.*)$", unpacked)
    order = virtio_pci.decode().split()[::-1]  # modprobe loads the last one first

    assert set(order) == {
        "virtio.ko",
        "virtio_ring.ko",
        "virtio_pci_modern_dev.ko",
        "virtio_pci_legacy_dev.ko",
    }
    assert order.index("virtio_ring.ko") < order.index("virtio.ko")


@needs_disk_tools
def test_the_same_inputs_give_the_same_bytes(plain, disks, by_hand, tmp_path):
    again = image.build(str(tmp_path), image.FORMATS, **by_hand)

    assert {name: file.sha256 for name, file in again.items()} == {
        name: file.sha256 for name, file in {**plain, **disks}.items()
    }


@needs_kernel
def test_the_source_date_is_in_the_files_times(by_hand, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    made = image.build(str(tmp_path), **by_hand)

    unpacked = gzip.decompress(Path(made["initrd"].path).read_bytes())
    times = {
        int(header, 16)
        for header in re.findall(rb"070701[0-9A-F]{40}([0-9A-F]{8})[0-9A-F]{56}", unpacked)
    }
    assert times == {1700000000}


@needs_kernel
def test_a_source_date_that_is_none_is_refused(tmp_path, monkeypatch, by_hand):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(
        ClientError, match="^SOURCE_DATE_EPOCH is 'yesterday', not a number of seconds$"
    ):
        image.build(str(tmp_path), **by_hand)


@needs_kernel
def test_a_second_build_leaves_what_is_right_and_remakes_what_is_damaged(by_hand, tmp_path):
    first = image.build(str(tmp_path), **by_hand)
    before = os.stat(first["kernel"].path).st_ino
    assert image.build(str(tmp_path), **by_hand) == first
    assert os.stat(first["kernel"].path).st_ino == before

    with open(first["initrd"].path, "r+b") as file:
        file.write(b"damage")
    image.build(str(tmp_path), **by_hand)

    assert (
        hashlib.sha256(Path(first["initrd"].path).read_bytes()).hexdigest()
        == first["initrd"].sha256
    )


@needs_disk_tools
def test_a_relative_directory_will_do(by_hand, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert image.build("here", ["raw"], **by_hand)["vmprobe.raw"].path == str(
        tmp_path / "here" / "vmprobe.raw"
    )


@needs_kernel
def test_what_is_built_can_be_read_by_every_user_whatever_the_umask_is(
    by_hand, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", "/nonexistent")  # how private a home is, is its owner's matter
    before = os.umask(0o077)
    try:
        image.build(str(tmp_path / "new" / "images"), ["kernel", "raw"], **by_hand)
    finally:
        os.umask(before)

    place = tmp_path / "new" / "images"
    assert [path.stat().st_mode & 0o777 for path in (place.parent, place)] == [0o755, 0o755]
    assert {
        path.name: path.stat().st_mode & 0o777 for path in place.glob("[!.]*")
    } == dict.fromkeys(("image.json", "initrd", "kernel", "vmprobe.raw"), 0o644)


def test_a_record_that_is_not_ours_is_built_over(by_hand, tmp_path):
    (tmp_path / "image.json").write_text('{"inputs": 3, "files": []')

    assert sorted(image.build(str(tmp_path), **by_hand)) == ["initrd", "kernel"]


@needs_disk_tools
@pytest.mark.parametrize(
    "name, format",
    [("raw", "raw"), ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc"), ("uefi", "raw")],
)
def test_every_disk_is_what_it_says_and_of_whole_mebibytes(disks, name, format):
    (file,) = image.FORMATS[name]
    said = subprocess.run(
        ["qemu-img", "info", "-f", format, "--output=json", disks[file].path],
        stdout=subprocess.PIPE,
        check=True,
    )

    assert json.loads(said.stdout)["virtual-size"] == os.path.getsize(disks["vmprobe.raw"].path)
    assert json.loads(said.stdout)["virtual-size"] % (1 << 20) == 0


@needs_disk_tools
@pytest.mark.parametrize(
    "name, format", [("vmprobe.qcow2", "qcow2"), ("vmprobe.vmdk", "vmdk"), ("vmprobe.vhd", "vpc")]
)
def test_every_container_holds_the_bios_disk(disks, name, format):
    compared = subprocess.run(
        [
            "qemu-img",
            "compare",
            "-f",
            format,
            "-F",
            "raw",
            disks[name].path,
            disks["vmprobe.raw"].path,
        ],
        stdout=subprocess.PIPE,
    )

    assert compared.stdout == b"Images are identical.\n"


@needs_disk_tools
def test_the_vhd_is_fixed_and_of_whole_mebibytes_before_its_footer(disks):
    content = Path(disks["vmprobe.vhd"].path).read_bytes()
    footer = content[-512:]

    assert (len(content) - 512) % (1 << 20) == 0
    assert (footer[:8], footer[60:64]) == (b"conectix", b"\0\0\0\2")
    assert int.from_bytes(footer[64:68], "big") == ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF


def test_a_footers_geometry_is_the_specifications():
    def geometry(mebibytes):
        footer = bootdisk.vhd_footer(mebibytes << 20, 0, bootdisk.uuid.UUID(int=0))
        return int.from_bytes(footer[56:58], "big"), footer[58], footer[59]

    assert geometry(20) == (602, 4, 17)
    assert geometry(504) == (1024, 16, 63)
    assert geometry(1024) == (2080, 16, 63)
    assert geometry(130000) == (65254, 16, 255)


@needs_disk_tools
def test_the_ova_is_a_descriptor_its_sums_and_the_disk(disks):
    with tarfile.open(disks["vmprobe.ova"].path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}

    assert list(members) == ["vmprobe.ovf", "vmprobe.mf", "vmprobe-disk1.vmdk"]
    assert members["vmprobe.mf"].decode().splitlines() == [
        f"SHA256({name})= {hashlib.sha256(members[name]).hexdigest()}"
        for name in ("vmprobe.ovf", "vmprobe-disk1.vmdk")
    ]
    assert members["vmprobe-disk1.vmdk"] == Path(disks["vmprobe.vmdk"].path).read_bytes()
    ovf = "{http://schemas.dmtf.org/ovf/envelope/1}"
    descriptor = ElementTree.fromstring(members["vmprobe.ovf"])
    assert descriptor.find(f"{ovf}References/{ovf}File").get(f"{ovf}size") == str(
        len(members["vmprobe-disk1.vmdk"])
    )
    assert descriptor.find(f"{ovf}DiskSection/{ovf}Disk").get(f"{ovf}capacity") == str(
        disks["vmprobe.raw"].size
    )


# --- what it says when it cannot ---


@needs_kernel
def test_vmprobectl_prints_the_sum_size_and_place_of_what_it_made(by_hand, tmp_path, capsys):
    given = ["--kernel", by_hand["kernel"], "--modules", by_hand["modules"]]
    assert main.main(["image", "build", "--output", str(tmp_path), *given]) == 0

    lines = []
    for name in ("kernel", "initrd"):
        content = (tmp_path / name).read_bytes()
        lines.append(
            f"{hashlib.sha256(content).hexdigest()}  {len(content):>10}  {tmp_path / name}"
        )
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    "options, line",
    [
        (
            ["--format", "iso"],
            "no image format 'iso': one of kernel, raw, qcow2, vmdk, vhd, ova, uefi",
        ),
        (
            ["--kernel", "k"],
            "a kernel file and its folder of modules are given together (--kernel FILE --modules DIR)",
        ),
        (["--kernel", "{tmp}/none", "--modules", "{tmp}"], "{tmp}/none: No such file or directory"),
        (
            ["--kernel", "{tmp}/text", "--modules", "{tmp}"],
            "the kernel is not a bzImage (a file like /boot/vmlinuz-6.1.0-56-cloud-amd64)",
        ),
        (["--output", "{tmp}/text/below"], "{tmp}/text/below: Not a directory"),
        (["--kernel", "{tmp}/pipe", "--modules", "{tmp}"], "{tmp}/pipe: is not a regular file"),
        (["--output", "{tmp}/piped"], "{tmp}/piped/.lock: No such device or address"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path, capsys, options, line):
    (tmp_path / "text").write_text("no kernel")
    (tmp_path / "piped").mkdir()
    for pipe in ("pipe", "piped/.lock"):
        os.mkfifo(tmp_path / pipe)
    given = [option.format(tmp=tmp_path) for option in ["--output", "{tmp}/output", *options]]

    assert main.main(["image", "build", *given]) == 1
    assert capsys.readouterr().err == f"vmprobectl: {line.format(tmp=tmp_path)}\n"


def test_another_build_in_the_same_directory_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "_PATIENCE", 0.1)
    with open(tmp_path / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        with pytest.raises(
            ClientError,
            match=f"^{tmp_path}: another build is at work here, and did not end within 0.1 s$",
        ):
            image.build(str(tmp_path), kernel="k", modules="m")


@needs_kernel
def test_a_busybox_that_needs_libraries_is_refused(by_hand, tmp_path):
    dynamic = tmp_path / "busybox"
    dynamic.write_text("#!/bin/sh\n# \0/lib64/ld-linux\nexec busybox --list\n")
    dynamic.chmod(0o755)

    with pytest.raises(
        ClientError, match="/busybox is not linked statically: install the package busybox-static$"
    ):
        image.build(str(tmp_path / "output"), busybox=str(dynamic), **by_hand)


@needs_kernel
def test_a_busybox_that_lacks_an_applet_is_refused_by_that_name(by_hand, tmp_path):
    small = tmp_path / "busybox"
    small.write_text("#!/bin/sh\nbusybox --list | grep -v -e acpid -e udhcpc\n")
    small.chmod(0o755)

    with pytest.raises(ClientError, match="/busybox lacks what the guest needs: acpid udhcpc$"):
        image.build(str(tmp_path / "output"), busybox=str(small), **by_hand)


@needs_kernel
def test_modules_of_another_kernel_are_refused(plain, by_hand, tmp_path):
    module = (Path(by_hand["modules"]) / "virtio_blk.ko").read_bytes()
    release = initramfs.release_of(Path(plain["kernel"].path).read_bytes())
    other = release.replace("6", "5", 1)
    (tmp_path / "virtio_blk.ko").write_bytes(
        module.replace(f"vermagic={release}".encode(), f"vermagic={other}".encode())
    )

    with pytest.raises(
        ClientError, match=f"^module virtio_blk is for Linux {re.escape(other)}, but the kernel is "
    ):
        image.build(str(tmp_path / "output"), kernel=by_hand["kernel"], modules=str(tmp_path))


@needs("dpkg-deb")
def test_a_damaged_kernel_package_is_named(tmp_path):
    (tmp_path / "linux-image-6.1_6.1-1_amd64.deb").write_bytes(b"half a package")

    with pytest.raises(
        ClientError, match="_amd64.deb is no kernel package: remove it, and it is downloaded again$"
    ):
        image.build(str(tmp_path))


@needs_kernel
def test_compressed_modules_are_unpacked(plain, by_hand, tmp_path):
    for module in Path(by_hand["modules"]).glob("*.ko"):
        (tmp_path / f"{module.name}.gz").write_bytes(gzip.compress(module.read_bytes(), 1))

    made = image.build(str(tmp_path / "output"), kernel=by_hand["kernel"], modules=str(tmp_path))
    assert made["initrd"].sha256 == plain["initrd"].sha256


@pytest.mark.parametrize(
    "format, tool, package",
    [("raw", "sfdisk", "fdisk"), ("uefi", "mcopy", "mtools"), ("ova", "qemu-img", "qemu-utils")],
)
def test_a_missing_tool_is_named_with_its_package(tmp_path, monkeypatch, format, tool, package):
    for present in {"sfdisk", "mkfs.vfat", "mcopy", "mmd", "syslinux", "qemu-img"} - {tool}:
        (tmp_path / present).write_text("#!/bin/sh\n")
        (tmp_path / present).chmod(0o755)
    monkeypatch.setattr(bootdisk, "_PATH", str(tmp_path))

    with pytest.raises(
        ClientError, match=f"^format {format} needs {tool}: install the package {package}$"
    ):
        image.build(str(tmp_path), [format])


@pytest.mark.parametrize("digits", ["8badf00d", "badf00d", "d"])
def test_a_vmdk_is_identified_whatever_leading_zeros_qemu_img_left_out(digits):
    def disk(identifier):
        return (
            b"KDMV"
            + bytes(508)
            + (
                b"# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=ffffffff\n" % identifier
            ).ljust(10240, b"\0")
            + b"rest"
        )

    assert bootdisk.identified(disk(digits.encode()), "0badcafe") == disk(b"0badcafe")


def test_a_vmdk_without_an_identifier_is_refused():
    with pytest.raises(ClientError, match="^qemu-img wrote a vmdk without a content identifier$"):
        bootdisk.identified(
            b"KDMV" + bytes(508) + b"# Disk DescriptorFile\nversion=1\n" + bytes(99), "0badcafe"
        )


def test_a_stub_that_is_none_is_refused():
    with pytest.raises(ClientError, match="^the EFI stub is no 64 bit PE image$"):
        bootdisk.unified_kernel_image(b"MZ" + bytes(200), {".linux": b"kernel"})


# --- the reporter, as a script in any shell ---


class Machine:
    """A made-up /proc, /sys and /dev with the reporter running in it; its clock stands still until it is moved."""

    def __init__(self, root: Path, shell):
        self.root, self.shell, self.process = root, shell, None
        self.console = root / "dev" / "console"
        self.tools = root / "tools"
        self.put("dev/console", "")
        self.put("proc/uptime", "10.00 5.00\n")
        self.put("proc/cmdline", f"quiet vmprobe.nonce={NONCE}\n")
        self.put("proc/meminfo", "MemTotal:       1024 kB\n")
        self.put(
            "proc/stat", "cpu  100 1 50 900 7 2 3 4 0 0\ncpu0 100 1 50 900 7 2 3 4 0 0\nintr 1\n"
        )
        for file in ("proc/mounts", "proc/swaps", "proc/net/arp", "proc/sys/vm/drop_caches"):
            self.put(file, "")
        self.put("sys/block/vda/vda1/size", "100\n")  # the image's own disk
        self.put("sys/block/vda/size", "2048\n")
        self.put("sys/block/vda/stat", "5 0 16 0 3 0 8 0 0 0 0\n")
        self.put("dev/vda", "its own")
        self.put("sys/class/net/lo/statistics/rx_bytes", "77\n")
        self.put("sys/class/net/eth0/statistics/rx_bytes", "1000\n")
        self.put("sys/class/net/eth0/statistics/tx_bytes", "2000\n")
        self.address = "2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0\n"
        self.tool("uname", "echo 6.1.0-test")
        self.tool("dmesg", "")
        self.tool("sleep", "exec /bin/sleep 0.03")
        self.tool(
            "ip",
            f'case "$*" in *route*) echo "default via 10.0.2.2 dev eth0" ;; *) cat "{root}/addresses" ;; esac',
        )
        self.tool("ping", f'for last; do :; done; grep -q "^$last$" "{root}/answering"')
        self.tool("arping", "exit 1")
        self.tool("mount", "exit 1")
        self.tool("timeout", "exit 1")
        self.put("addresses", self.address)
        self.put("answering", "10.0.2.2\n")

    def put(self, path, content):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = (
            file.with_name(file.name + ".new")
            if file.exists() and not path.startswith("dev/")
            else file
        )
        new.write_text(content)
        if new != file:
            new.replace(file)  # whole at once, as in a real /proc

    def tool(self, name, script):
        self.put(f"tools/{name}", f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def disk(self, name, sectors=8192, content=b""):
        (self.root / "dev" / name).write_bytes(content.ljust(sectors * 512, b"\0"))
        self.put(f"sys/block/{name}/ro", "0\n")
        self.put(f"sys/block/{name}/stat", "9 0 1000 0 9 0 2000 0 0 0 0\n")
        self.put(f"sys/block/{name}/size", f"{sectors}\n")

    def start(self, script=""):
        file = self.root / "reporter"
        file.write_text(script or (GUEST / "reporter.sh").read_text())
        return self.run(*self.shell, str(file))

    def run(self, *command):
        """In the machine's folder, with what it starts in a group of their own, which ``stop`` ends."""
        self.process = subprocess.Popen(
            command,
            cwd=self.root,
            env={"PATH": f"{self.tools}:{os.environ['PATH']}", "VMPROBE_ROOT": str(self.root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def at(self, uptime):
        self.put("proc/uptime", f"{uptime:.2f} 5.00\n")

    def says(self, *lines):
        """Wait until exactly these lines were said, and none else."""
        expected = [f"vmprobe {line}" for line in lines]
        deadline = time.monotonic() + PATIENCE
        while self.said() != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.said() == expected

    def said(self):
        return self.console.read_text().splitlines()

    def stop(self):
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                stream.close()


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


BOOT = f"{NONCE} 10.00 boot kernel=6.1.0-test memory=1048576 cpus=1"
NETWORK = f"{NONCE} 10.00 network interface=eth0 address=10.0.2.15 gateway=10.0.2.2 answers=yes"


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


def context(nonce):
    """The ``context.sh`` that a VM gets from OpenNebula with ``reporter = yes``, by way of its driver and its simulator."""
    from simulators.opennebula import Oned, served
    from simulators.opennebula_sites import driver_of
    from vmprobe.core.model import ServerSpec

    with served(Oned()) as (oned, url), driver_of(url, reporter="yes") as (driver, test_vm):
        return oned.context(
            int(driver.create(ServerSpec("vmprobe-x", driver.resolve(test_vm), nonce=nonce)).id)
        )


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
