"""The table of VM managers. A driver is imported only when a site names it."""

from __future__ import annotations

import importlib
from typing import Type

from vmprobe.core.driver import Driver
from vmprobe.core.errors import ClientError

DRIVERS = {  # manager: the module that has its one subclass of Driver
    "memory": "vmprobe.drivers.memory.driver",
    "qemu": "vmprobe.drivers.qemu.driver",
    "libvirt": "vmprobe.drivers.libvirt.driver",
    "openstack": "vmprobe.drivers.openstack.driver",
    "ec2": "vmprobe.drivers.ec2.driver",
    "eucalyptus": "vmprobe.drivers.ec2.eucalyptus",
    "ec2-api": "vmprobe.drivers.ec2.ec2api",
    "nimbus": "vmprobe.drivers.ec2.nimbus",
    "occi": "vmprobe.drivers.occi.driver",
    "opennebula": "vmprobe.drivers.opennebula.driver",
    "stratuslab": "vmprobe.drivers.opennebula.stratuslab",
    "vsphere": "vmprobe.drivers.vsphere.driver",
    "hyperv": "vmprobe.drivers.hyperv.driver",
    "azure": "vmprobe.drivers.azure.driver",
    "command": "vmprobe.drivers.command.driver",
}


def load(manager: str) -> Type[Driver]:
    """The driver of a manager in the table, or in the module of this import path.

    ClientError says what is wrong with the name, the module, or the number of drivers in it.
    """
    path = DRIVERS.get(manager) or manager
    if "." not in path.strip("."):
        raise ClientError(
            f"'{manager}' is neither one of {', '.join(DRIVERS)}"
            " nor the import path of a driver's module"
        )
    try:
        module = importlib.import_module(path)
    except (ImportError, TypeError, ValueError) as error:  # the last two: no valid module name
        raise ClientError(f"'{manager}' cannot be imported: {error}") from None
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Driver) and value.__module__ == path
    ]
    if len(classes) != 1:
        raise ClientError(f"'{manager}' has {len(classes) or 'no'} drivers in it, and not one")
    return classes[0]
