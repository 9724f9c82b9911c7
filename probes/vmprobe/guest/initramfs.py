"""The system of the test VM as one archive: busybox, our scripts, and the drivers of all clouds.

Only this file reads, sorts and writes what goes in, so the same files give the same bytes.
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
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Set, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.host import files

# Kernel modules. The init loads those whose modalias the machine shows. A module that is built into
# the kernel has no file.
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
    "acpid arping base64 cat cmp dd dmesg grep head ip md5sum mkdir modprobe mount ping poweroff "
    "reboot rm sed sh sleep sort timeout tr udhcpc umount uname wget"
)
_LARGEST = 2**28  # bytes of one file that goes in
_CONSOLE, _NULL = (5, 1), (1, 3)


class Entry(NamedTuple):
    """A file, directory, symbolic link or device: ``mode`` says which."""

    path: str
    mode: int
    content: bytes = b""
    device: Tuple[int, int] = (0, 0)  # major and minor number


def contents(guest: str, busybox: str, release: str, modules: Dict[str, bytes]) -> List[Entry]:
    """Return what goes into the archive.

    ``modules`` are as ``select`` returns them, ``guest`` is the folder with our scripts.
    """
    entries = [
        *(Entry(name, stat.S_IFDIR | 0o755) for name in ("dev", "proc", "run", "sys", "tmp")),
        Entry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE),
        Entry("dev/null", stat.S_IFCHR | 0o666, device=_NULL),
        Entry("bin/busybox", stat.S_IFREG | 0o755, _read(busybox)),
        Entry("sbin", stat.S_IFLNK | 0o777, b"bin"),
        # What the power button does: the folder has ACPI's name of it, the file that of its event.
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
    """Return a cpio archive of ``entries``; everything in it belongs to root.

    ``time``, in seconds since the epoch, is the time of all files. The format is "newc" (Linux,
    Documentation/driver-api/early-userspace/buffer-format).
    """
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        while "/" in path:  # parents come before their children in the order of names
            path = path.rpartition("/")[0]
            by_path.setdefault(path, Entry(path, stat.S_IFDIR | 0o755))
    members = [by_path[path] for path in sorted(by_path)]
    return b"".join(
        _member(number, entry, time)
        for number, entry in enumerate([*members, Entry("TRAILER!!!", 0)], 1)
    )


def select(available: Mapping[str, Callable[[], bytes]]) -> Dict[str, bytes]:
    """Return the content of the modules of DRIVERS, and of what they depend on, by name.

    Dependencies come first. ``available`` has a function for each module that reads it.
    """
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
        for driver in names.split():
            add(driver)
    return selected


def modules_below(directory: str) -> Dict[str, Callable[[], bytes]]:
    """Return a function for each module below /lib/modules/RELEASE that reads it, by name."""
    modules: Dict[str, Callable[[], bytes]] = {}
    for folder, _, names in sorted(os.walk(directory)):
        for file in names:
            match = re.fullmatch(r"(.+)\.ko(\.gz|\.xz|\.zst)?", file)
            if match:
                path = os.path.join(folder, file)
                modules[match.group(1)] = functools.partial(_unpacked_file, path)
    return modules


def _unpacked_file(path: str) -> bytes:
    return unpacked(path, _read(path))


def unpacked(name: str, content: bytes) -> bytes:
    """Decompress a module. The end of its ``name`` tells the format: .xz, .gz, .zst or none."""
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
    """Return what ``uname -r`` will say; ClientError if this is no kernel for x86.

    Follows the Linux/x86 boot protocol, 2.00 or later.
    """
    if kernel[0x202:0x206] == b"HdrS":
        (offset,) = struct.unpack_from("<H", kernel, 0x20E)
        words = kernel[0x200 + offset :][:256].split(b"\0")[0].split()
        if offset and words:
            return words[0].decode("ascii", "replace")
    raise ClientError(
        "the kernel is not a bzImage (a file like /boot/vmlinuz-6.1.0-56-cloud-amd64)"
    )


def check_release(release: str, modules: Dict[str, bytes]) -> None:
    """ClientError if a module was built for another kernel. The guest would only refuse it."""
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
    """The content of modules.dep, as depmod writes it.

    Behind the colon is all that a module needs. What has to be loaded first comes last.
    """
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
    """The content of modules.alias, as depmod writes it."""
    lines = [
        f"alias {alias} {name}\n"
        for name, content in modules.items()
        for alias in _modinfo(content, "alias")
    ]
    return "".join(lines).encode()


def _applets(busybox: str) -> List[str]:
    """The commands of a busybox; ClientError if it lacks one that our scripts call."""
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
