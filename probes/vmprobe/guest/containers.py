"""The formats of the clouds for a disk that boots: qcow2, VHD, VMDK, OVA."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import tarfile
import uuid
from typing import Tuple
from xml.sax.saxutils import quoteattr

from vmprobe.core.errors import ClientError
from vmprobe.guest.bench import Bench


def qcow2(bench: Bench, disk: str, target: str) -> None:
    """Make a compressed qcow2."""
    bench.run("qemu-img", "convert", "-O", "qcow2", "-c", "-m", "1", disk, target)


def vhd(bench: Bench, disk: str, target: str) -> None:
    """Make a fixed VHD, as Azure takes it: the disk, of whole MiB, and the footer behind it."""
    size = os.path.getsize(bench.path(disk))
    shutil.copyfile(bench.path(disk), bench.path(target))
    with open(bench.path(target), "ab") as file:
        file.write(vhd_footer(size, bench.time, bench.uuid("vhd")))


def vhd_footer(size: int, time: int, identifier: uuid.UUID) -> bytes:
    """The 512 bytes behind a fixed disk of ``size`` bytes; ``time`` is in seconds since the epoch.

    Follows the Virtual Hard Disk Image Format Specification 1.0.
    """
    cylinders, heads, sectors = _geometry(size // 512)
    since_2000 = max(0, time - 946684800)
    fields = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
    creator = (b"win ", 0xA0000, b"Wi2k")
    geometry = (cylinders, heads, sectors)
    before = (
        b"conectix",
        2,
        0x10000,
        (1 << 64) - 1,
        since_2000,
        *creator,
        size,
        size,
        *geometry,
        2,
    )
    after = (identifier.bytes, 0)
    # The checksum is over the footer without one.
    checksum = ~sum(fields.pack(*before, 0, *after)) & 0xFFFFFFFF
    return fields.pack(*before, checksum, *after)


def _geometry(total: int) -> Tuple[int, int, int]:
    """Cylinders, heads and sectors per track of a disk, by the specification's appendix."""
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


def vmdk(bench: Bench, disk: str, target: str) -> None:
    """Make a stream-optimized VMDK, the form that OVF wants."""
    form = "-O vmdk -o subformat=streamOptimized -m 1".split()
    bench.run("qemu-img", "convert", *form, disk, target)
    # qemu-img makes the content identifier by chance.
    bench.write(target, identified(bench.read(target), bench.identity[:8]))


def identified(vmdk: bytes, identifier: str) -> bytes:
    """The disk with these 8 digits as its content identifier.

    qemu-img leaves out leading zeros of its own one; NULs follow the descriptor, so there is room.
    """
    begin = vmdk.find(b"# Disk DescriptorFile")
    end = vmdk.find(b"\0", begin)
    descriptor, count = re.subn(
        rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=" + identifier.encode(), vmdk[begin:end]
    )
    room = vmdk[end : begin + len(descriptor)]
    if begin < 0 or count != 1 or room.strip(b"\0"):
        raise ClientError("qemu-img wrote a vmdk without a content identifier")
    return vmdk[:begin] + descriptor + vmdk[begin + len(descriptor) :]


def ova(bench: Bench, disk: str, target: str) -> None:
    """Make a tar of descriptor, manifest and VMDK, in this order (DMTF DSP0243 1.1, 5.3)."""
    name_inside = "vmprobe-disk1.vmdk"
    information = json.loads(bench.run("qemu-img", "info", "--output=json", disk))
    content = bench.read(disk)
    descriptor = _descriptor(name_inside, len(content), information["virtual-size"]).encode()
    members = {"vmprobe.ovf": descriptor, name_inside: content}
    manifest = "".join(
        f"SHA256({name})= {hashlib.sha256(member).hexdigest()}\n"
        for name, member in members.items()
    )
    with tarfile.open(bench.path(target), "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("vmprobe.ovf", "vmprobe.mf", name_inside):
            member = {"vmprobe.mf": manifest.encode(), **members}[name]
            header = tarfile.TarInfo(name)
            header.size, header.mode, header.mtime = len(member), 0o644, bench.time
            bench.write("member", member)
            with open(bench.path("member"), "rb") as file:
                archive.addfile(header, file)


def _descriptor(disk: str, size: int, capacity: int) -> str:
    """OVF 1.0: 1 CPU, 128 MiB, the disk on a paravirtual SCSI controller, 1 VMXNET3 interface."""
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
    ovf = "http://schemas.dmtf.org/ovf/envelope/1"
    cim = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="{ovf}" xmlns:ovf="{ovf}"
  xmlns:rasd="{cim}/CIM_ResourceAllocationSettingData"
  xmlns:vssd="{cim}/CIM_VirtualSystemSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References><File ovf:href={quoteattr(disk)} ovf:id="file1" ovf:size="{size}"/></References>
  <DiskSection>
    <Info>The disk that boots</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte"
      ovf:diskId="vmdisk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network under test</Info>
    <Network ovf:name="VM Network"><Description>Any network with DHCP</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="vmprobe">
    <Info>The test VM of vmprobe</Info>
    <Name>vmprobe</Name>
    <OperatingSystemSection ovf:id="101" vmw:osType="otherLinux64Guest">
      <Info>Linux</Info>
    </OperatingSystemSection>
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
