"""The XML that asks libvirt for a server or a disk. Source: libvirt's domain XML format, 9.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, cast
from xml.sax.saxutils import escape, quoteattr

from vmprobe.core.model import ServerSpec
from vmprobe.guest import user_data

if TYPE_CHECKING:
    from vmprobe.drivers.libvirt.plan import LibvirtDetails


def server(spec: ServerSpec, files: Mapping[str, str]) -> str:
    """A server without graphics and USB: the suite's image needs neither.

    ``files`` are paths of volumes: ``console``, and either ``kernel`` and ``initrd`` or ``disk``.
    """
    details = cast("LibvirtDetails", spec.plan.details)
    if "kernel" in files:
        command_line = escape(user_data.kernel_command_line(spec.nonce))
        boot = (
            f"<kernel>{escape(files['kernel'])}</kernel><initrd>{escape(files['initrd'])}</initrd>"
            f"<cmdline>{command_line}</cmdline>"
        )
        firmware = boot_disk = agent = ""
    else:
        nonce = user_data.firmware_string(spec.nonce) if spec.nonce else "vmprobe"
        boot = "<boot dev='hd'/><smbios mode='sysinfo'/>"
        firmware = (
            "<sysinfo type='smbios'><oemStrings>"
            f"<entry>{escape(nonce)}</entry></oemStrings></sysinfo>"
        )
        boot_disk = disk(files["disk"], False, "vda", "qcow2")
        agent = (
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        )
    return f"""<domain type={quoteattr(details["domain type"])}>
  <name>{escape(spec.name)}</name>
  <description>a test VM of vmprobe; its name says whose it is, and until when</description>
  <memory unit='b'>{spec.plan.memory}</memory>
  <vcpu>{spec.plan.vcpus}</vcpu>
  {firmware}<os><type arch='x86_64'>hvm</type>{boot}</os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>
    {boot_disk}{_interface(spec.plan.network)}{agent}
    <serial type='file'><source path={quoteattr(files["console"])}/></serial>
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
</domain>"""


def disk(path: str, is_block: bool, target: str, form: str = "raw") -> str:
    """A disk of a server; ``is_block``: ``path`` is a block device, else a file."""
    kind, attribute = ("block", "dev") if is_block else ("file", "file")
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{form}'/>"
        f"<source {attribute}={quoteattr(path)}/><target dev='{target}' bus='virtio'/></disk>"
    )


def _interface(network: str) -> str:
    kind, source = "network", f"<source network={quoteattr(network)}/>"
    if network == "user":
        kind, source = "user", ""
    elif network.startswith("bridge:"):
        bridge = network[len("bridge:") :]
        kind, source = "bridge", f"<source bridge={quoteattr(bridge)}/>"
    return f"<interface type='{kind}'>{source}<model type='virtio'/><rom enabled='no'/></interface>"
