"""How much room hosts, datastores and networks have, and what one test VM takes of them.

Counted as oned and its scheduler count: ``Datastore::get_avail_mb``,
``VirtualMachineDisk::get_tm_target``, ``VirtualMachine::automatic_requirements``, ``Scheduler.cc``.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from typing import (
    TYPE_CHECKING,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    cast,
)

from vmprobe.core.model import Limit, Plan
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from vmprobe.drivers.opennebula.plan import OpenNebulaDetails

_KIB, _MIB = 2**10, 2**20
_IMAGES, _SYSTEM = 0, 1  # types of datastores
_CDROM = 1  # type of an image that is linked, not copied
_HOST_ENABLED = (1, 2)  # states: being monitored, monitored
_SHARED = "shared system datastores"
_TERM = re.compile(
    r"""\s*(ID|NAME|HOSTNAME|CLUSTER_ID|CLUSTER)\s*(!?=)\s*(?:"([^"&|]*)"|([^\s"&|()]+))\s*"""
)


class Visible(NamedTuple):
    """The elements of oned's pools, as far as the user may see them."""

    hosts: Sequence[Element]
    datastores: Sequence[Element]
    networks: Sequence[Element]
    images: Sequence[Element] = ()


# --- what there is --------------------------------------------------------------------------------


def limits(visible: Visible) -> List[Limit]:
    """The limits of all hosts that take VMs, of all datastores and of all networks."""
    all_limits: List[Limit] = []
    for host in visible.hosts:
        all_limits += _host_limits(host)
    for datastore in visible.datastores:
        all_limits += _datastore_limits(datastore)
    for network in visible.networks:
        all_limits += _network_limits(network)
    return all_limits


def _host_limits(host: Element) -> List[Limit]:
    """What a host has promised to VMs.

    oned counts CPUs in hundredths, memory in KiB, disks in MiB.
    """
    share = host.find("HOST_SHARE")
    if number(host, "STATE", 0) not in _HOST_ENABLED:
        return []
    name, of = text(host, "NAME"), _of_host(host)
    if share is None:
        return []
    cpus = number(share, "MAX_CPU", 0)
    if cpus <= 0:
        cpus = number(share, "TOTAL_CPU", 0)
    memory = number(share, "MAX_MEM", 0) or number(share, "TOTAL_MEM", 0)
    if not cpus or not memory:
        return []  # not monitored yet
    cpus_used = max(0, number(share, "CPU_USAGE", 0))
    memory_used = max(0, number(share, "MEM_USAGE", 0))
    limits = [
        Limit("servers", number(share, "RUNNING_VMS", 0), None, name, of=of),
        Limit("cpus", cpus_used / 100, cpus / 100, name, of=of),
        Limit("memory", memory_used * _KIB, memory * _KIB, name, of=of),
    ]
    disk = number(share, "DATASTORES/MAX_DISK", 0)
    if disk:
        disk_used = disk - number(share, "DATASTORES/FREE_DISK", 0)
        limits.append(Limit("disk", disk_used * _MIB, disk * _MIB, name, of=of))
    return limits


def _datastore_limits(datastore: Element) -> List[Limit]:
    """The free space of a datastore for images, or of a system datastore that all hosts share.

    A disabled datastore has no free space.
    """
    kind, name = number(datastore, "TYPE", 0), f"datastore {text(datastore, 'NAME')}"
    total = number(datastore, "TOTAL_MB", 0)
    if text(datastore, "TEMPLATE/DATASTORE_CAPACITY_CHECK", "").upper() == "NO" and not total:
        return []  # cannot be measured, and oned does not check it
    limit = _whole(datastore, "TEMPLATE/LIMIT_MB")
    free = number(datastore, "FREE_MB", 0)
    if limit is not None:
        left = limit - number(datastore, "USED_MB", 0)
        free, total = min(free, left) if total else left, limit
    free = max(0, free) if _is_enabled(datastore) else 0
    used, total = max(0, total - free) * _MIB, max(total, free) * _MIB
    if kind == _IMAGES:
        of = f"datastore {text(datastore, 'ID')}"
        return [Limit("storage", used, total, name, of=of, binding=True)]
    if kind == _SYSTEM and _is_shared(datastore) and total:
        return [Limit("disk", used, total, name, of=_SHARED)]
    return []


def _network_limits(network: Element) -> List[Limit]:
    """The addresses in a network's ranges; those on hold or reserved count as used."""
    if network.find("AR_POOL") is None:
        return []  # older than 4.8
    ranges = network.findall("AR_POOL/AR")
    return [
        Limit(
            "leases",
            number(network, "USED_LEASES", 0),
            sum(max(0, number(each, "SIZE", 0)) for each in ranges),
            f"network {text(network, 'NAME')}",
            of=f"network {text(network, 'ID')}",
            binding=True,
        )
    ]


# --- what a VM takes ------------------------------------------------------------------------------


def needs(
    visible: Visible, plan: Plan, volume: Optional[int], snapshot: bool
) -> Dict[Tuple[str, str], float]:
    """What one test VM takes of each limit, by the limit's ``name`` and ``of``.

    Includes its volume (``volume`` in bytes, None without one) and its snapshot.
    """
    details = cast("OpenNebulaDetails", plan.details)
    needed: Dict[Tuple[str, str], float] = defaultdict(float)
    clusters: List[Set[str]] = []  # of each resource that the VM is bound to
    cpu, memory = _share(details["CPU"]), float(plan.memory or 0)
    needed.update({("servers", ""): 1.0, ("cpus", ""): cpu, ("memory", ""): memory})
    for nic in details["NIC"]:
        network = _referenced(visible.networks, nic, "NETWORK")
        if network is not None:
            needed["leases", f"network {text(network, 'ID')}"] += 1
            clusters.append(_clusters(network))

    disk = 0.0
    for attributes in details["DISK"]:
        disk += _add_disk(visible, attributes, needed, clusters)
    if volume:
        disk += _add_volume(visible, details["datastore"], volume, needed)
    needed["disk", ""] = disk
    if snapshot:
        _add_snapshot(visible, details["image"], needed)

    systems = [store for store in visible.datastores if number(store, "TYPE", 0) == _SYSTEM]
    if systems and all(map(_is_shared, systems)):
        needed["disk", _SHARED] = disk
        clusters.append(set().union(*map(_clusters, filter(_is_enabled, systems))))
    disk_is_on_host = bool(systems) and not any(map(_is_shared, systems))
    for host in visible.hosts:
        if _may_run(host, clusters, details["SCHED_REQUIREMENTS"] or ""):
            needed.update({("cpus", _of_host(host)): cpu, ("memory", _of_host(host)): memory})
            if disk_is_on_host:
                needed["disk", _of_host(host)] = disk
    return {limit: amount for limit, amount in needed.items() if amount}


def _add_disk(
    visible: Visible,
    attributes: Mapping[str, str],
    needed: Dict[Tuple[str, str], float],
    clusters: List[Set[str]],
) -> float:
    """The bytes that a DISK takes of a system datastore.

    What it takes elsewhere is added to ``needed``.
    """
    size = _bytes(attributes.get("SIZE", ""))
    if not any(attributes.get(key) for key in ("IMAGE", "IMAGE_ID")):
        return size  # volatile
    image = _referenced(visible.images, attributes, "IMAGE")
    if image is None:
        return 0.0
    needed["servers", f"image {text(image, 'ID')}"] += 1
    datastore = _by_id(visible.datastores, text(image, "DATASTORE_ID", ""))
    if datastore is None:
        return 0.0
    clusters.append(_clusters(datastore))
    is_linked = text(image, "PERSISTENT", "0") == "1" or number(image, "TYPE", 0) == _CDROM
    target = _target(datastore, is_linked)
    size = max(size, number(image, "SIZE", 0) * _MIB)
    if target == "SELF":
        needed["storage", f"datastore {text(datastore, 'ID')}"] += size
    return size if target == "SYSTEM" else 0.0


def _add_volume(
    visible: Visible, datastore_id: str, volume: int, needed: Dict[Tuple[str, str], float]
) -> float:
    """As ``_add_disk``, for a volume of so many bytes: oned rounds it up to whole MiB."""
    size = -(-volume // _MIB) * _MIB
    needed["volumes", f"datastore {datastore_id}"] += 1
    needed["storage", f"datastore {datastore_id}"] += size
    datastore = _by_id(visible.datastores, datastore_id)
    if datastore is not None and _target(datastore, is_linked=True) == "SYSTEM":
        return size
    return 0.0


def _add_snapshot(visible: Visible, image_id: str, needed: Dict[Tuple[str, str], float]) -> None:
    """A snapshot is one more image, in the datastore of the image that the VM boots from."""
    image = _by_id(visible.images, image_id)
    if image is not None:
        datastore = f"datastore {text(image, 'DATASTORE_ID', '')}"
        needed["volumes", datastore] += 1
        needed["storage", datastore] += number(image, "SIZE", 0) * _MIB


def _referenced(
    resources: Sequence[Element], attributes: Mapping[str, str], key: str
) -> Optional[Element]:
    """The resource that a DISK or NIC names by ``<key>_ID``, else by ``key`` and ``<key>_UNAME``.

    None if it cannot be seen, or if the name fits several.
    """
    identity = attributes.get(f"{key}_ID", "")
    if identity:
        return _by_id(resources, str(identity))
    name, owner = attributes.get(key, ""), attributes.get(f"{key}_UNAME", "")
    matches = [
        resource
        for resource in resources
        if name
        and text(resource, "NAME", "") == name
        and (not owner or text(resource, "UNAME", "") == owner)
    ]
    return matches[0] if len(matches) == 1 else None


def _by_id(resources: Sequence[Element], identity: str) -> Optional[Element]:
    return next((resource for resource in resources if text(resource, "ID", "") == identity), None)


def _target(datastore: Element, is_linked: bool) -> str:
    """Where a disk of an image in this datastore lies while a VM has it.

    Persistent images are linked, as volumes are.
    """
    return text(datastore, f"TEMPLATE/{'LN' if is_linked else 'CLONE'}_TARGET", "").upper()


def _may_run(host: Element, clusters: Sequence[Set[str]], requirements: str) -> bool:
    """Whether a host is in a cluster that has all that the VM uses, and meets its requirements.

    Requirements with parentheses count as met.
    """
    cluster = text(host, "CLUSTER_ID", "")
    if not all(cluster in those for those in clusters if those):
        return False
    attributes = {
        "ID": text(host, "ID", ""),
        "NAME": text(host, "NAME", ""),
        "HOSTNAME": text(host, "NAME", ""),
        "CLUSTER_ID": cluster,
        "CLUSTER": text(host, "CLUSTER", ""),
    }
    if "(" in requirements:
        return True
    return any(
        all(_meets(attributes, term) for term in alternative.split("&"))
        for alternative in requirements.split("|")
    )


def _meets(attributes: Mapping[str, str], term: str) -> bool:
    """Whether a host meets a term like ``CLUSTER_ID = 100``; an unknown term counts as met."""
    match = _TERM.fullmatch(term)
    if not match:
        return True
    pattern = match[3] if match[3] is not None else match[4]
    is_equal = fnmatch.fnmatchcase(attributes[match[1]], pattern)
    return is_equal == (match[2] == "=")


def _of_host(host: Element) -> str:
    return f"host {text(host, 'ID', '')}"


def _clusters(resource: Element) -> Set[str]:
    return {(element.text or "").strip() for element in resource.findall("CLUSTERS/ID")}


def _is_shared(datastore: Element) -> bool:
    return text(datastore, "TEMPLATE/SHARED", "YES").upper() != "NO"


def _is_enabled(datastore: Element) -> bool:
    return number(datastore, "STATE", 0) == 0


def _whole(resource: Element, path: str) -> Optional[int]:
    digits = text(resource, path, "")
    return int(digits) if re.fullmatch(r"[0-9]{1,15}", digits) else None


def _share(value: object) -> float:
    """A share of CPUs as a number; 0 if there is none, or it is not in plain digits."""
    digits = str(value or "")
    return float(digits) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", digits) else 0.0


def _bytes(mebibytes: object) -> float:
    digits = str(mebibytes or "")
    return float(digits) * _MIB if re.fullmatch(r"[0-9]{1,12}", digits) else 0.0
