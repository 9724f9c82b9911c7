"""How much room the hosts of the site's cluster and its datastore have.

A host takes a machine while it is connected and not in maintenance. What is used is what its
machines use at the moment: vSphere promises more than it has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, Mapping, Optional, Tuple, cast

from vmprobe.core.model import Limit, Plan
from vmprobe.drivers.vsphere.inventory import Inventory
from vmprobe.drivers.vsphere.properties import Thing

if TYPE_CHECKING:
    from vmprobe.drivers.vsphere.plan import VsphereDetails

_HOST = (
    "name",
    "runtime.connectionState",
    "runtime.inMaintenanceMode",
    "summary.hardware.numCpuCores",
    "summary.hardware.cpuMhz",
    "summary.hardware.memorySize",
    "summary.quickStats.overallCpuUsage",
    "summary.quickStats.overallMemoryUsage",
)
_DATASTORE = ("name", "summary.capacity", "summary.freeSpace", "summary.accessible")


def limits(inventory: Inventory) -> List[Limit]:
    """CPUs and memory of each host that takes machines, and the space in the datastore."""
    collector, compute = inventory.collector, inventory.compute()
    hosts = collector.list(compute.ref, ("HostSystem",), _HOST, f"capacity of {compute.name}")
    found = [limit for host in hosts for limit in _host_limits(host)]
    datastore = inventory.datastore()
    asked = f"capacity of {datastore.name}"
    return found + _datastore_limits(collector.get(datastore.ref, _DATASTORE, asked))


def needs(plan: Plan, needs: Mapping[Tuple[str, str], float]) -> Mapping[Tuple[str, str], float]:
    """What a test VM takes: beside its volume, a copy of the template's disks."""
    disks = cast("VsphereDetails", plan.details)["disks"]
    storage = needs.get(("storage", ""), 0.0) + disks
    return {**needs, **({("storage", ""): storage} if storage else {})}


def _host_limits(host: Thing) -> List[Limit]:
    name = host.text("name")
    if host.text("runtime.connectionState") not in ("connected", ""):
        return []
    if host.text("runtime.inMaintenanceMode") == "true":
        return []
    cores, mhz = (
        _number(host.text("summary.hardware.numCpuCores")),
        _number(host.text("summary.hardware.cpuMhz")),
    )
    memory = _number(host.text("summary.hardware.memorySize"))
    used_mhz = _number(host.text("summary.quickStats.overallCpuUsage"))
    used_memory = _number(host.text("summary.quickStats.overallMemoryUsage"))
    found = []
    if cores and mhz and used_mhz is not None:
        found.append(Limit("cpus", used_mhz / mhz, cores, name))
    if memory and used_memory is not None:
        found.append(Limit("memory", used_memory * 2**20, memory, name))
    return found


def _datastore_limits(datastore: Thing) -> List[Limit]:
    """A datastore that no host can reach has no free space."""
    total = _number(datastore.text("summary.capacity"))
    free = _number(datastore.text("summary.freeSpace"))
    if not total or free is None:
        return []
    if datastore.text("summary.accessible") == "false":
        free = 0
    source = f"datastore {datastore.text('name')}"
    return [Limit("storage", max(0, total - free), total, source, binding=True)]


def _number(text: str) -> Optional[int]:
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else None
