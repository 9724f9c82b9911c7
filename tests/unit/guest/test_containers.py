"""guest/containers.py: the disks in the clouds' formats."""

import hashlib
import json
import os
import subprocess
import tarfile
import uuid
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from images import needs_disk_tools
from vmprobe.core.errors import ClientError
from vmprobe.guest import containers, image


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
        footer = containers.vhd_footer(mebibytes << 20, 0, uuid.UUID(int=0))
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

    assert containers.identified(disk(digits.encode()), "0badcafe") == disk(b"0badcafe")


def test_a_vmdk_without_an_identifier_is_refused():
    with pytest.raises(ClientError, match="^qemu-img wrote a vmdk without a content identifier$"):
        containers.identified(
            b"KDMV" + bytes(508) + b"# Disk DescriptorFile\nversion=1\n" + bytes(99), "0badcafe"
        )
