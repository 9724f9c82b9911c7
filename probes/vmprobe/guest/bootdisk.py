"""Disks that boot the test image on their own, made of its kernel and initrd, and the clouds' containers of such a disk.

A BIOS disk is a FAT partition with syslinux; a UEFI disk is an EFI system partition with one unified kernel image. All is
written to plain files by tools that need no root, or by this file. Identifiers are derived from the content and times
are given, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
import uuid
from typing import Dict, NamedTuple, Sequence
from xml.sax.saxutils import quoteattr

from vmprobe.core.errors import ClientError

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
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_MIB = 1 << 20


def check_tools(formats: Sequence[str]) -> None:
    """ClientError naming the first tool that one of ``formats`` needs and the package it is in, if it is not here."""
    for format in formats:
        for tool in _NEEDS.get(format, ()):
            if not shutil.which(tool, path=_PATH):
                raise ClientError(
                    f"format {format} needs {tool}: install the package {_TOOLS[tool]}"
                )
        if "syslinux" in _NEEDS.get(format, ()):
            _first(_MBR, format, "syslinux-common")
        if format == "uefi":
            _first(_STUB, format, "systemd-boot-efi")


def make(work: str, formats: Sequence[str], command_line: str, time: int) -> None:
    """From ``kernel`` and ``initrd`` in the folder ``work`` make the files of ``formats`` there."""
    bench = _Bench(work, command_line, time)
    if "uefi" in formats:
        _uefi(bench, "vmprobe-uefi.raw")

    if {"raw", "qcow2", "vhd", "vmdk", "ova"} & set(formats):
        _bios(bench, "vmprobe.raw")
    if "qcow2" in formats:
        bench.run(
            "qemu-img", "convert", "-O", "qcow2", "-c", "-m", "1", "vmprobe.raw", "vmprobe.qcow2"
        )
    if "vhd" in formats:
        _vhd(bench, "vmprobe.raw", "vmprobe.vhd")
    if {"vmdk", "ova"} & set(formats):
        _vmdk(bench, "vmprobe.raw", "vmprobe.vmdk")
    if "ova" in formats:
        _ova(bench, "vmprobe.vmdk", "vmprobe.ova")


class _Bench:
    """The folder where all is made, with what every step needs: the time, and identifiers that follow from content."""

    def __init__(self, work: str, command_line: str, time: int):
        self.work = work
        self.command_line = command_line
        self.time = time
        self.identity = hashlib.sha256(
            self.read("kernel") + self.read("initrd") + str(time).encode()
        ).hexdigest()
        self.environment = {
            "PATH": _PATH,
            "LC_ALL": "C",
            "TZ": "UTC",  # FAT has local times
            "SOURCE_DATE_EPOCH": str(time),  # which mtools and mkfs.vfat heed
            "MTOOLS_SKIP_CHECK": "1",
            "TMPDIR": work,
        }

    def uuid(self, purpose: str) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"vmprobe:{purpose}:{self.identity}")

    def path(self, name: str) -> str:
        return os.path.join(self.work, name)

    def read(self, name: str) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(content)

    def run(self, *command: str, stdin: str = "") -> str:
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.environment,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode:
            raise ClientError(f"{' '.join(command)}: exit code {done.returncode}: {said}")
        return said


# --- the two disks ---


def _bios(bench: _Bench, disk: str) -> None:
    """One active FAT partition at 1 MiB, syslinux in it, its boot code in the master boot record."""
    bench.write(
        "syslinux.cfg",
        b"SERIAL 0 115200\nDEFAULT vmprobe\nPROMPT 0\nTIMEOUT 1\nLABEL vmprobe\n LINUX kernel\n INITRD initrd\n"
        b" APPEND " + bench.command_line.encode() + b"\n",
    )
    files = {"::kernel": "kernel", "::initrd": "initrd", "::syslinux.cfg": "syslinux.cfg"}
    serial = int(bench.identity[:8], 16)
    _partitioned(
        bench, disk, f"label: dos\nlabel-id: {serial:#010x}\nstart=2048, type=e, bootable\n", files
    )
    bench.run("syslinux", "--install", "--offset", str(_MIB), disk)
    with (
        open(bench.path(disk), "r+b") as file,
        open(_first(_MBR, "raw", "syslinux-common"), "rb") as code,
    ):
        file.write(code.read(440))


def _uefi(bench: _Bench, disk: str) -> None:
    """An EFI system partition at 1 MiB with the unified kernel image where firmware looks on a removable medium."""
    with open(_first(_STUB, "uefi", "systemd-boot-efi"), "rb") as file:
        stub = file.read()
    sections = {
        ".osrel": b"ID=vmprobe\nNAME=vmprobe\nPRETTY_NAME=vmprobe test image\n",
        ".cmdline": bench.command_line.encode() + b"\0",
        ".linux": bench.read("kernel"),
        ".initrd": bench.read("initrd"),
    }
    bench.write("vmprobe.efi", unified_kernel_image(stub, sections))
    table = (
        f"label: gpt\nlabel-id: {bench.uuid('disk')}\n"
        f"start=2048, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid={bench.uuid('partition')}, name=vmprobe\n"
    )
    _partitioned(bench, disk, table, {"::EFI/BOOT/BOOTX64.EFI": "vmprobe.efi"})


def _partitioned(bench: _Bench, disk: str, table: str, files: Dict[str, str]) -> None:
    """A disk of whole MiB with one FAT16 partition that holds ``files``, given by their names on it."""
    used = sum(os.path.getsize(bench.path(file)) for file in files.values())
    size = max(
        16, -(-used // _MIB) + 2
    )  # of the file system: its tables and syslinux; FAT16 has a lower limit, too
    with open(bench.path(disk), "wb") as file:
        file.truncate(
            (size + 2) * _MIB
        )  # 1 MiB before it, and one behind for the second copy of a GPT
    bench.run(
        "sfdisk", "-q", disk, stdin=table.replace("start=2048", f"start=2048, size={size}MiB")
    )
    serial = bench.identity[:8]
    layout = (
        "--offset",
        "2048",
        "-F",
        "16",
        "-s",
        "4",
        "-n",
        "VMPROBE",
        "-i",
        serial,
        "--invariant",
        "-g",
        "255/63",
    )
    bench.run("mkfs.vfat", *layout, disk, str(size * 1024))
    for target, file in files.items():
        os.utime(bench.path(file), (bench.time, bench.time))
        folders = target[len("::") :].split("/")[:-1]
        for depth in range(len(folders)):
            bench.run("mmd", "-i", f"{disk}@@1M", "::" + "/".join(folders[: depth + 1]))
        bench.run("mcopy", "-m", "-i", f"{disk}@@1M", file, target)


class _Section(NamedTuple):
    """A section header of PE/COFF: name, memory size and address, file size and offset, relocations, flags."""

    name: bytes
    size: int
    address: int
    raw_size: int
    raw_offset: int
    relocations: int
    lines: int
    counts: int
    flags: int


_SECTION = struct.Struct("<8s8I")
_READABLE_DATA = 0x40000040


def unified_kernel_image(stub: bytes, sections: Dict[str, bytes]) -> bytes:
    """``stub`` (systemd's linuxx64.efi.stub) with ``sections`` appended, each placed behind all that is there before.

    Microsoft's PE format, and UAPI Group's "Unified Kernel Image". ClientError if the stub has no room for them.
    """
    image = bytearray(stub)
    (header,) = struct.unpack_from("<I", image, 0x3C)
    signature, magic = image[header : header + 4], image[header + 24 : header + 26]
    if (image[:2], signature, magic) != (b"MZ", b"PE\0\0", b"\x0b\x02"):
        raise ClientError("the EFI stub is no 64 bit PE image")
    (count,) = struct.unpack_from("<H", image, header + 6)
    (optional,) = struct.unpack_from("<H", image, header + 20)
    alignment, file_alignment = struct.unpack_from("<II", image, header + 24 + 32)
    (headers_size,) = struct.unpack_from("<I", image, header + 24 + 60)
    table = header + 24 + optional

    present = [
        _Section(*_SECTION.unpack_from(image, table + number * _SECTION.size))
        for number in range(count)
    ]
    room = min([headers_size] + [section.raw_offset for section in present if section.raw_offset])
    if table + (count + len(sections)) * _SECTION.size > room:
        raise ClientError(f"the EFI stub has no room for {len(sections)} more sections")
    address = max(one.address + one.size for one in present)
    for name, content in sections.items():
        address = -(-address // alignment) * alignment
        image += bytes(-len(image) % file_alignment)
        raw_size = -(-len(content) // file_alignment) * file_alignment
        section = _Section(
            name.encode(), len(content), address, raw_size, len(image), 0, 0, 0, _READABLE_DATA
        )
        _SECTION.pack_into(image, table + count * _SECTION.size, *section)
        image += content + bytes(raw_size - len(content))
        address += len(content)
        count += 1
    struct.pack_into("<H", image, header + 6, count)
    struct.pack_into(
        "<I", image, header + 24 + 56, -(-address // alignment) * alignment
    )  # SizeOfImage
    return bytes(image)


# --- containers ---


def _vhd(bench: _Bench, disk: str, vhd: str) -> None:
    """A fixed VHD as Azure takes it: the disk, of whole MiB, and behind it the footer."""
    size = os.path.getsize(bench.path(disk))
    shutil.copyfile(bench.path(disk), bench.path(vhd))
    with open(bench.path(vhd), "ab") as file:
        file.write(vhd_footer(size, bench.time, bench.uuid("vhd")))


def vhd_footer(size: int, time: int, identifier: uuid.UUID) -> bytes:
    """The 512 bytes behind a fixed disk of ``size`` bytes (Virtual Hard Disk Image Format Specification 1.0)."""
    cylinders, heads, sectors = _geometry(size // 512)
    since_2000 = max(0, time - 946684800)
    fields = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
    values = [
        b"conectix",
        2,
        0x10000,
        (1 << 64) - 1,
        since_2000,
        b"win ",
        0xA0000,
        b"Wi2k",
        size,
        size,
    ]
    values += [cylinders, heads, sectors, 2, 0, identifier.bytes, 0]
    values[14] = ~sum(fields.pack(*values)) & 0xFFFFFFFF  # the checksum, over a footer without one
    return fields.pack(*values)


def _geometry(total: int) -> tuple:
    """Cylinders, heads and sectors per track as the specification's appendix computes them."""
    total = min(total, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        return total // 255 // 16, 16, 255
    sectors = 17
    heads = max(4, (total // sectors + 1023) // 1024)
    if total // sectors >= heads * 1024 or heads > 16:
        sectors, heads = 31, 16
    if total // sectors >= heads * 1024:
        sectors, heads = 63, 16
    return total // sectors // heads, heads, sectors


def _vmdk(bench: _Bench, disk: str, vmdk: str) -> None:
    """Stream-optimized, the form that OVF wants; qemu-img's random content identifier becomes a derived one."""
    bench.run(
        "qemu-img",
        "convert",
        "-O",
        "vmdk",
        "-o",
        "subformat=streamOptimized",
        "-m",
        "1",
        disk,
        vmdk,
    )
    bench.write(vmdk, identified(bench.read(vmdk), bench.identity[:8]))


def identified(vmdk: bytes, identifier: str) -> bytes:
    """The disk with these 8 digits as its content identifier; qemu-img leaves out leading zeros of its own, and NULs follow."""
    begin = vmdk.find(b"# Disk DescriptorFile")
    end = vmdk.find(b"\0", begin)
    descriptor, count = re.subn(
        rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=" + identifier.encode(), vmdk[begin:end]
    )
    room = vmdk[end : begin + len(descriptor)]
    if begin < 0 or count != 1 or room.strip(b"\0"):
        raise ClientError("qemu-img wrote a vmdk without a content identifier")
    return vmdk[:begin] + descriptor + vmdk[begin + len(descriptor) :]


def _ova(bench: _Bench, vmdk: str, ova: str) -> None:
    """A tar of descriptor, manifest and disk, in this order (DMTF DSP0243 1.1, 5.3)."""
    disk = "vmprobe-disk1.vmdk"
    information = json.loads(bench.run("qemu-img", "info", "--output=json", vmdk))
    content = bench.read(vmdk)
    descriptor = _descriptor(disk, len(content), information["virtual-size"]).encode()
    members = {"vmprobe.ovf": descriptor, disk: content}
    manifest = "".join(
        f"SHA256({name})= {hashlib.sha256(member).hexdigest()}\n"
        for name, member in members.items()
    )
    with tarfile.open(bench.path(ova), "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("vmprobe.ovf", "vmprobe.mf", disk):
            member = {"vmprobe.mf": manifest.encode(), **members}[name]
            header = tarfile.TarInfo(name)
            header.size, header.mode, header.mtime = len(member), 0o644, bench.time
            bench.write("member", member)
            with open(bench.path("member"), "rb") as file:
                archive.addfile(header, file)


def _descriptor(disk: str, size: int, capacity: int) -> str:
    """OVF 1.0: one processor, 128 MiB, the disk on a paravirtual SCSI controller, one VMXNET3 interface."""
    items = "".join(
        "      <Item>"
        + "".join(f"<rasd:{key}>{value}</rasd:{key}>" for key, value in sorted(item.items()))
        + "</Item>\n"
        for item in (
            {
                "InstanceID": 1,
                "ResourceType": 3,
                "ElementName": "1 virtual CPU",
                "VirtualQuantity": 1,
                "AllocationUnits": "hertz * 10^6",
            },
            {
                "InstanceID": 2,
                "ResourceType": 4,
                "ElementName": "128 MB of memory",
                "VirtualQuantity": 128,
                "AllocationUnits": "byte * 2^20",
            },
            {
                "InstanceID": 3,
                "ResourceType": 6,
                "ElementName": "SCSI controller 0",
                "ResourceSubType": "VirtualSCSI",
                "Address": 0,
            },
            {
                "InstanceID": 4,
                "ResourceType": 17,
                "ElementName": "Hard disk 1",
                "HostResource": "ovf:/disk/vmdisk1",
                "Parent": 3,
                "AddressOnParent": 0,
            },
            {
                "InstanceID": 5,
                "ResourceType": 10,
                "ElementName": "Network adapter 1",
                "ResourceSubType": "VmxNet3",
                "Connection": "VM Network",
                "AutomaticAllocation": "true",
                "AddressOnParent": 7,
            },
        )
    )
    cim = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="{cim}/CIM_ResourceAllocationSettingData" xmlns:vssd="{cim}/CIM_VirtualSystemSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References><File ovf:href={quoteattr(disk)} ovf:id="file1" ovf:size="{size}"/></References>
  <DiskSection>
    <Info>The disk that boots</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network under test</Info>
    <Network ovf:name="VM Network"><Description>Any network with DHCP</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="vmprobe">
    <Info>The test VM of vmprobe</Info>
    <Name>vmprobe</Name>
    <OperatingSystemSection ovf:id="101" vmw:osType="otherLinux64Guest"><Info>Linux</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>What it needs</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


def _first(places: Sequence[str], format: str, package: str) -> str:
    for place in places:
        if os.path.exists(place):
            return place
    raise ClientError(
        f"format {format} needs {os.path.basename(places[0])}: install the package {package}"
    )
