"""Disks that boot the test image, made of its kernel and initrd.

A BIOS disk is a FAT partition with syslinux; a UEFI disk is an EFI system partition with one
unified kernel image. ``containers`` puts such a disk into the formats of the clouds. Everything is
written to plain files by tools that need no root, or by this package. Identifiers are derived from
the content, and times are given, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import os
import shutil
from typing import Dict, Sequence

from vmprobe.core.errors import ClientError
from vmprobe.guest import containers, unified_kernel
from vmprobe.guest.bench import PATH, Bench

_TOOLS = {  # tool: the Debian package that has it
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "syslinux": "syslinux",
    "qemu-img": "qemu-utils",
}
_BIOS_TOOLS = ("sfdisk", "mkfs.vfat", "mcopy", "syslinux")
_NEEDS = {
    "raw": _BIOS_TOOLS,
    "vhd": _BIOS_TOOLS,
    "qcow2": (*_BIOS_TOOLS, "qemu-img"),
    "vmdk": (*_BIOS_TOOLS, "qemu-img"),
    "ova": (*_BIOS_TOOLS, "qemu-img"),
    "uefi": ("sfdisk", "mkfs.vfat", "mcopy", "mmd"),
}
_MBR = ("/usr/lib/syslinux/mbr/mbr.bin", "/usr/share/syslinux/mbr.bin")  # Debian, EL
_STUB = ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub",)
_MIB = 1 << 20


def check_tools(formats: Sequence[str]) -> None:
    """ClientError if a tool for one of ``formats`` is not installed; it names the package."""
    for format in formats:
        for tool in _NEEDS.get(format, ()):
            if not shutil.which(tool, path=PATH):
                raise ClientError(
                    f"format {format} needs {tool}: install the package {_TOOLS[tool]}"
                )
        if "syslinux" in _NEEDS.get(format, ()):
            _first(_MBR, format, "syslinux-common")
        if format == "uefi":
            _first(_STUB, format, "systemd-boot-efi")


def make(work: str, formats: Sequence[str], command_line: str, time: int) -> None:
    """Make the files of ``formats`` in the folder ``work``, from ``kernel`` and ``initrd`` there.

    ``time``, in seconds since the epoch, is the time of all files.
    """
    bench = Bench(work, command_line, time)
    if "uefi" in formats:
        _uefi(bench, "vmprobe-uefi.raw")

    if {"raw", "qcow2", "vhd", "vmdk", "ova"} & set(formats):
        _bios(bench, "vmprobe.raw")
    if "qcow2" in formats:
        containers.qcow2(bench, "vmprobe.raw", "vmprobe.qcow2")
    if "vhd" in formats:
        containers.vhd(bench, "vmprobe.raw", "vmprobe.vhd")
    if {"vmdk", "ova"} & set(formats):
        containers.vmdk(bench, "vmprobe.raw", "vmprobe.vmdk")
    if "ova" in formats:
        containers.ova(bench, "vmprobe.vmdk", "vmprobe.ova")


# --- the two disks ---


def _bios(bench: Bench, disk: str) -> None:
    """One active FAT partition at 1 MiB with syslinux; boot code in the master boot record."""
    bench.write(
        "syslinux.cfg",
        b"SERIAL 0 115200\nDEFAULT vmprobe\nPROMPT 0\nTIMEOUT 1\n"
        b"LABEL vmprobe\n LINUX kernel\n INITRD initrd\n"
        b" APPEND " + bench.command_line.encode() + b"\n",
    )
    files = {"::kernel": "kernel", "::initrd": "initrd", "::syslinux.cfg": "syslinux.cfg"}
    serial = int(bench.identity[:8], 16)
    _partition(
        bench, disk, f"label: dos\nlabel-id: {serial:#010x}\nstart=2048, type=e, bootable\n", files
    )
    bench.run("syslinux", "--install", "--offset", str(_MIB), disk)
    with (
        open(bench.path(disk), "r+b") as file,
        open(_first(_MBR, "raw", "syslinux-common"), "rb") as code,
    ):
        file.write(code.read(440))


def _uefi(bench: Bench, disk: str) -> None:
    """An EFI system partition at 1 MiB with the unified kernel image.

    It has the name that firmware looks for on a removable medium.
    """
    with open(_first(_STUB, "uefi", "systemd-boot-efi"), "rb") as file:
        stub = file.read()
    sections = {
        ".osrel": b"ID=vmprobe\nNAME=vmprobe\nPRETTY_NAME=vmprobe test image\n",
        ".cmdline": bench.command_line.encode() + b"\0",
        ".linux": bench.read("kernel"),
        ".initrd": bench.read("initrd"),
    }
    bench.write("vmprobe.efi", unified_kernel.image(stub, sections))
    table = (
        f"label: gpt\nlabel-id: {bench.uuid('disk')}\n"
        "start=2048, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, "
        f"uuid={bench.uuid('partition')}, name=vmprobe\n"
    )
    _partition(bench, disk, table, {"::EFI/BOOT/BOOTX64.EFI": "vmprobe.efi"})


def _partition(bench: Bench, disk: str, table: str, files: Dict[str, str]) -> None:
    """A disk of whole MiB with one FAT16 partition; ``files`` by their names on it."""
    used = sum(os.path.getsize(bench.path(file)) for file in files.values())
    # Of the file system, in MiB: 2 are for its tables and syslinux, and FAT16 has a lower limit.
    size = max(16, -(-used // _MIB) + 2)
    with open(bench.path(disk), "wb") as image:
        # 1 MiB is before the partition, and one behind it for the second copy of a GPT.
        image.truncate((size + 2) * _MIB)
    bench.run(
        "sfdisk", "-q", disk, stdin=table.replace("start=2048", f"start=2048, size={size}MiB")
    )
    serial = bench.identity[:8]
    layout = f"--offset 2048 -F 16 -s 4 -n VMPROBE -i {serial} --invariant -g 255/63".split()
    bench.run("mkfs.vfat", *layout, disk, str(size * 1024))
    for target, file in files.items():
        os.utime(bench.path(file), (bench.time, bench.time))
        folders = target[len("::") :].split("/")[:-1]
        for depth in range(len(folders)):
            bench.run("mmd", "-i", f"{disk}@@1M", "::" + "/".join(folders[: depth + 1]))
        bench.run("mcopy", "-m", "-i", f"{disk}@@1M", file, target)


def _first(places: Sequence[str], format: str, package: str) -> str:
    """The first of these files that is there; ClientError names the package that has it."""
    for place in places:
        if os.path.exists(place):
            return place
    raise ClientError(
        f"format {format} needs {os.path.basename(places[0])}: install the package {package}"
    )
