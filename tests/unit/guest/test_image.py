"""The test image: what is in it, that it is the same each time, and what is said when it cannot be built."""

import fcntl
import gzip
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from images import needs, needs_disk_tools, needs_kernel
from vmprobe.core.errors import ClientError
from vmprobe.ctl import main
from vmprobe.guest import bootdisk, image, initramfs

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
    monkeypatch.setattr(bootdisk, "PATH", str(tmp_path))

    with pytest.raises(
        ClientError, match=f"^format {format} needs {tool}: install the package {package}$"
    ):
        image.build(str(tmp_path), [format])
