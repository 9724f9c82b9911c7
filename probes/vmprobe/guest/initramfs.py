"""The test VM's whole system as one archive: busybox, the guest's scripts, and the drivers of every usual cloud.

What goes in is read, put in a fixed order and written by this file alone, so the same files give the same bytes.
"""

from __future__ import annotations

import functools
import gzip
import lzma
import os
import re
import stat
import struct
import subprocess
from typing import Callable, Dict, Iterable, List, NamedTuple, Set

from vmprobe.core.errors import ClientError
from vmprobe.host import files

# The init loads of these what the machine has, by its modaliases. A kernel that has one built in needs no file of it.
DRIVERS = {
    "any": "button evdev sd_mod sr_mod ata_piix ata_generic ahci nvme",
    "config drives": "isofs vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8",
    "KVM": "virtio_pci virtio_net virtio_blk virtio_scsi",
    "VMware": "vmxnet3 vmw_pvscsi mptspi mptsas e1000 e1000e",
    "Hyper-V, Azure": "hv_vmbus hv_netvsc hv_storvsc hv_utils",
    "Xen": "xen-netfront xen-blkfront",
    "EC2, Google": "ena gve",
}
GUEST = {
    "init": "init",
    "bin/reporter": "reporter.sh",
    "etc/dhcp": "dhcp",
}  # path in the guest: file here
APPLETS = (  # what those scripts call
    "acpid arping base64 cat cmp dd dmesg grep head ip md5sum mkdir modprobe mount ping poweroff reboot rm sed sh sleep sort "
    "timeout tr udhcpc umount uname wget"
)
_LARGEST = 2**28  # bytes of one file that goes into it
_CONSOLE, _NULL = (5, 1), (1, 3)


class Entry(NamedTuple):
    """A file, directory, symbolic link or device: ``mode`` says which."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple = (0, 0)


def contents(guest: str, busybox: str, release: str, modules: Dict[str, bytes]) -> List[Entry]:
    """Everything the archive holds; ``modules`` as select() returns them, ``guest`` the folder with the scripts."""
    entries = [
        *(Entry(name, stat.S_IFDIR | 0o755) for name in ("dev", "proc", "run", "sys", "tmp")),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE),
        Entry("dev/null", stat.S_IFCHR | 0o666, device=_NULL),
        Entry("bin/busybox", stat.S_IFREG | 0o755, _read(busybox)),
        Entry("sbin", stat.S_IFLNK | 0o777, b"bin"),
        # what the power button does; the folder is ACPI's name of it, the file its event
        Entry("etc/acpi/PWRF/00000080", stat.S_IFREG | 0o755, b"#!/bin/sh\nexec poweroff -f\n"),
    ]
    for path, file in GUEST.items():
        entries.append(Entry(path, stat.S_IFREG | 0o755, _read(os.path.join(guest, file))))
    for applet in _applets(busybox):
        entries.append(Entry(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox"))

    home = f"lib/modules/{release}"
    for name, content in modules.items():
        entries.append(Entry(f"{home}/{name}.ko", stat.S_IFREG | 0o644, content))
    entries.append(Entry(f"{home}/modules.dep", stat.S_IFREG | 0o644, _dependencies(modules)))
    entries.append(Entry(f"{home}/modules.alias", stat.S_IFREG | 0o644, _aliases(modules)))
    return entries


def archive(entries: Iterable[Entry], time: int) -> bytes:
    """``entries`` as a cpio archive owned by root, in the "newc" format (Linux, early-userspace/buffer-format)."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        while "/" in path:  # parents come before their children in the order of names
            path = path.rpartition("/")[0]
            found.setdefault(path, Entry(path, stat.S_IFDIR | 0o755))
    members = [found[path] for path in sorted(found)]
    return b"".join(
        _member(number, entry, time)
        for number, entry in enumerate([*members, Entry("TRAILER!!!", 0)], 1)
    )


def select(available: Dict[str, Callable[[], bytes]]) -> Dict[str, bytes]:
    """The modules of DRIVERS with all that they depend on, dependencies first, out of ``available`` (name to reader)."""
    by_name = {name.replace("-", "_"): name for name in available}
    selected: Dict[str, bytes] = {}
    asked: Set[str] = set()

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in asked or name not in by_name:  # built in, or this kernel has none
            return
        asked.add(name)
        content = available[by_name[name]]()
        for needed in _modinfo(content, "depends"):
            for dependency in filter(None, needed.split(",")):
                add(dependency)
        selected[name] = content

    for names in DRIVERS.values():
        for wanted in names.split():
            add(wanted)
    return selected


def modules_below(directory: str) -> Dict[str, Callable[[], bytes]]:
    """Each module below ``directory`` (a /lib/modules/RELEASE), plain or compressed, by name, with what reads it."""
    found = {}
    for folder, _, names in sorted(os.walk(directory)):
        for file in names:
            match = re.fullmatch(r"(.+)\.ko(\.gz|\.xz|\.zst)?", file)
            if match:
                path = os.path.join(folder, file)
                found[match.group(1)] = functools.partial(_unpacked_file, path)
    return found


def _unpacked_file(path: str) -> bytes:
    return unpacked(path, _read(path))


def unpacked(name: str, content: bytes) -> bytes:
    """A module's content whatever the distribution compressed it with, told by the end of its ``name``."""
    try:
        if name.endswith(".xz"):
            return lzma.decompress(content)
        if name.endswith(".gz"):
            return gzip.decompress(content)
        if name.endswith(".zst"):
            return subprocess.run(
                ["zstd", "-dcq"], input=content, check=True, stdout=subprocess.PIPE
            ).stdout
    except FileNotFoundError:
        raise ClientError(
            f"{name} is compressed by zstd, which is not here: install the package zstd"
        ) from None
    except (OSError, EOFError, lzma.LZMAError, subprocess.CalledProcessError) as error:
        raise ClientError(f"{name}: cannot be unpacked: {error}") from error
    return content


def release_of(kernel: bytes) -> str:
    """What ``uname -r`` will say; ClientError if this is no x86 kernel (Linux, arch/x86/boot protocol, 2.00 or later)."""
    if kernel[0x202:0x206] == b"HdrS":
        (offset,) = struct.unpack_from("<H", kernel, 0x20E)
        words = kernel[0x200 + offset :][:256].split(b"\0")[0].split()
        if offset and words:
            return words[0].decode("ascii", "replace")
    raise ClientError(
        "the kernel is not a bzImage (a file like /boot/vmlinuz-6.1.0-56-cloud-amd64)"
    )


def check_release(release: str, modules: Dict[str, bytes]) -> None:
    """ClientError if a module was built for another kernel: it would be refused in the guest, where nobody looks."""
    for name, content in modules.items():
        for magic in _modinfo(content, "vermagic"):
            if magic.split()[0] != release:
                raise ClientError(
                    f"module {name} is for Linux {magic.split()[0]}, but the kernel is {release}"
                )


def _member(number: int, entry: Entry, time: int) -> bytes:
    name = entry.path.encode() + b"\0"
    major, minor = entry.device
    fields = (
        number,
        entry.mode,
        0,
        0,
        1,
        time,
        len(entry.content),
        0,
        0,
        major,
        minor,
        len(name),
        0,
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


def _modinfo(module: bytes, key: str) -> List[str]:
    return [
        value.decode("ascii", "replace")
        for value in re.findall(rb"\0" + key.encode() + rb"=([^\0]*)", module)
    ]


def _dependencies(modules: Dict[str, bytes]) -> bytes:
    """depmod's modules.dep: after the colon all that a module needs, what is to be loaded first standing last."""
    order = list(modules)
    needs: Dict[str, Set[str]] = {}
    lines = []
    for name, content in modules.items():
        listed = {
            need.replace("-", "_")
            for needed in _modinfo(content, "depends")
            for need in needed.split(",")
        }
        direct = listed & set(order)
        needs[name] = direct.union(*(needs[need] for need in direct))
        lines.append(
            f"{name}.ko:"
            + "".join(f" {need}.ko" for need in reversed(order) if need in needs[name])
        )
    return ("\n".join(lines) + "\n").encode()


def _aliases(modules: Dict[str, bytes]) -> bytes:
    lines = [
        f"alias {alias} {name}\n"
        for name, content in modules.items()
        for alias in _modinfo(content, "alias")
    ]
    return "".join(lines).encode()


def _applets(busybox: str) -> List[str]:
    try:
        listed = subprocess.run(
            [busybox, "--list"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClientError(f"{busybox} --list: {error}") from error
    applets = listed.stdout.decode("ascii", "replace").split()
    missing = sorted(set(APPLETS.split()) - set(applets))
    if missing:
        raise ClientError(f"{busybox} lacks what the guest needs: {' '.join(missing)}")
    if b"\0/lib64/ld-" in _read(busybox):
        raise ClientError(f"{busybox} is not linked statically: install the package busybox-static")
    return sorted(set(applets) - {"busybox"})


def _read(path: str) -> bytes:
    try:
        return files.read(path, _LARGEST)
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from error
