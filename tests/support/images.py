"""What the tests of the test image share: which tools they need, and where its files are."""

import os
import shutil

import pytest

from running import PROBES

GUEST = PROBES / "vmprobe" / "guest"
DISKS = ("raw", "qcow2", "vmdk", "vhd", "ova", "uefi")
NONCE = "run-7f3a"


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
