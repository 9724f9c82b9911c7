"""QEMU's command line for a test VM.

Every file that QEMU makes has a short name in its working directory.
"""

from __future__ import annotations

import hashlib
import re
import socket
from typing import TYPE_CHECKING, Any, List, Mapping, cast

from vmprobe.core.errors import NotFound
from vmprobe.core.model import ServerSpec
from vmprobe.drivers.qemu.images import disk_format
from vmprobe.guest import user_data

if TYPE_CHECKING:
    from vmprobe.drivers.qemu.plan import QemuDetails

GUEST_ADDRESS = "10.0.2.15"  # what QEMU's own DHCP server hands out
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def command_line(endpoint: Mapping[str, Any], spec: ServerSpec) -> List[str]:
    """The arguments to start QEMU with, its binary first."""
    accelerator, machine = endpoint["accel"], endpoint["machine"]
    image = cast("QemuDetails", spec.plan.details)
    command = [endpoint["binary"], "-name", f"guest={spec.name}"]
    command += ["-nodefaults", "-no-user-config", "-display", "none"]
    # When the guest ends, QEMU stays and says so.
    command += ["-no-reboot", "-no-shutdown"]
    command += ["-machine", machine, "-accel", accelerator]
    command += ["-cpu", "qemu64" if accelerator.startswith("tcg") else "max"]
    command += ["-m", f"{(spec.plan.memory or 0) // 1024}K", "-smp", str(spec.plan.vcpus)]
    command += ["-serial", "file:console", "-qmp", "unix:monitor,server=on,wait=off"]
    command += ["-smbios", f"type=11,value={user_data.firmware_string(spec.nonce)}"]
    if endpoint["sandbox"]:
        command += ["-sandbox", _SANDBOX]
    if has_pcie(machine):
        command += ["-device", "pcie-root-port,id=plug,chassis=1"]
    if "disk" in image:
        file, form = image["disk"].replace(",", ",,"), disk_format(image["disk"])
        command += ["-drive", f"file={file},format={form},if=virtio,snapshot=on"]
    else:
        kernel = user_data.kernel_command_line(spec.nonce)
        command += ["-kernel", image["kernel"], "-initrd", image["initrd"], "-append", kernel]
    return command + _network(spec)


def network(text: str) -> str:
    """The network of a site file: ``user``, ``none`` or ``tap:NAME``; ValueError for any other."""
    if not re.match(r"^(user|none|tap:[^\s,/]{1,15})$", text):
        raise ValueError("is neither 'user', 'none' nor 'tap:NAME'")
    return text


def has_pcie(machine: str) -> bool:
    """Whether a disk that is attached later needs a free PCIe port; ``pc`` takes it on its only
    bus.
    """
    return "q35" in machine


def mac(name: str) -> str:
    """The hardware address of a server's network card: in QEMU's range, made from its name."""
    digest = hashlib.sha256(name.encode()).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def check_tap(network: str) -> None:
    """NotFound if there is no such tap: run by root, QEMU would create one that leads nowhere."""
    name = network.partition(":")[2]
    try:
        if name:
            socket.if_nametoindex(name)
    except OSError:
        raise NotFound(f"no network interface named {name!r}", cause="network") from None


def _network(spec: ServerSpec) -> List[str]:
    kind, _, tap = spec.plan.network.partition(":")
    if kind == "none":
        return []
    if tap:
        backend = f"tap,id=net,ifname={tap},script=no,downscript=no"
    else:
        backend = f"user,id=net,dhcpstart={GUEST_ADDRESS}"
    card = f"virtio-net-pci,netdev=net,mac={mac(spec.name)},romfile="
    return ["-netdev", backend, "-device", card]
