"""What OpenNebula's hosts, datastores and networks have room for, and what a VM takes of which of them.

As oned and its scheduler weigh it: ``Datastore::get_avail_mb``, ``VirtualMachineDisk::get_tm_target``,
``VirtualMachine::automatic_requirements``, ``Scheduler.cc``.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from typing import (
    TYPE_CHECKING,
    Any,
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
    from vmprobe.drivers.opennebula.plan import OpenNebulaDetails

_MIB = 2**20
_IMAGES, _SYSTEM = 0, 1  # types of datastores
_CDROM = 1  # type of an image: it is linked and not copied
_HOST_ENABLED = (1, 2)  # monitored just now, and monitored
_SHARED = "shared system datastores"
_TERM = re.compile(
    r"""\s*(ID|NAME|HOSTNAME|CLUSTER_ID|CLUSTER)\s*(!?=)\s*(?:"([^"&|]*)"|([^\s"&|()]+))\s*"""
)


# --- what there is ------------------------------------------------------------------------------------------------


def host(found: Any) -> List[Limit]:
    """What is promised to VMs of a host that takes some: CPUs are counted in hundredths, memory in KiB, disks in MiB."""
    if number(found, "STATE", 0) not in _HOST_ENABLED:
        return []
    name, of, share = text(found, "NAME"), _of_host(found), found.find("HOST_SHARE")
    if share is None:
        return []
    cpus = (
        number(share, "TOTAL_CPU", 0)
        if number(share, "MAX_CPU", 0) <= 0
        else number(share, "MAX_CPU", 0)
    )
    memory = number(share, "MAX_MEM", 0) or number(share, "TOTAL_MEM", 0)
    if not cpus or not memory:
        return []  # not monitored yet
    disk = number(share, "DATASTORES/MAX_DISK", 0)
    return [
        Limit("servers", number(share, "RUNNING_VMS", 0), None, name, of=of),
        Limit("cpus", max(0, number(share, "CPU_USAGE", 0)) / 100, cpus / 100, name, of=of),
        Limit("memory", max(0, number(share, "MEM_USAGE", 0)) * 1024, memory * 1024, name, of=of),
        *(
            [
                Limit(
                    "disk",
                    (disk - number(share, "DATASTORES/FREE_DISK", 0)) * _MIB,
                    disk * _MIB,
                    name,
                    of=of,
                )
            ]
            if disk
            else []
        ),
    ]


def datastore(store: Any) -> List[Limit]:
    """What oned counts as free of a datastore for images; of one for VMs' disks, where all hosts share it.

    A disabled one gets no VM.
    """
    kind, name = number(store, "TYPE", 0), f"datastore {text(store, 'NAME')}"
    total = number(store, "TOTAL_MB", 0)
    if text(store, "TEMPLATE/DATASTORE_CAPACITY_CHECK", "").upper() == "NO" and not total:
        return []  # not to be measured, and nobody looks at it
    most = _whole(store, "TEMPLATE/LIMIT_MB")
    free = number(store, "FREE_MB", 0)
    if most is not None:
        left = most - number(store, "USED_MB", 0)
        free, total = min(free, left) if total else left, most
    free = max(0, free) if _is_enabled(store) else 0
    used, total = (max(0, total - free) * _MIB, max(total, free) * _MIB)
    if kind == _IMAGES:
        return [
            Limit("storage", used, total, name, of=f"datastore {text(store, 'ID')}", binding=True)
        ]
    return (
        [Limit("disk", used, total, name, of=_SHARED)]
        if kind == _SYSTEM and _is_shared(store) and total
        else []
    )


def network(found: Any) -> List[Limit]:
    """The addresses of a network's ranges; those that are held or reserved are used, too."""
    if found.find("AR_POOL") is None:
        return []  # older than 4.8
    ranges = found.findall("AR_POOL/AR")
    return [
        Limit(
            "leases",
            number(found, "USED_LEASES", 0),
            sum(max(0, number(one, "SIZE", 0)) for one in ranges),
            f"network {text(found, 'NAME')}",
            of=f"network {text(found, 'ID')}",
            binding=True,
        )
    ]


# --- what a VM takes ----------------------------------------------------------------------------------------------


class Cloud(NamedTuple):
    """What oned has shown."""

    hosts: Sequence[Any]
    stores: Sequence[Any]
    networks: Sequence[Any]
    images: Sequence[Any]

    def find(self, things: Sequence[Any], wanted: Mapping[str, str], word: str) -> Any:
        """The thing that a DISK or NIC names by ``word_ID``, or by name; None where it cannot be seen, or has another owner."""
        identity, name, owner = (
            wanted.get(f"{word}_ID", ""),
            wanted.get(word, ""),
            wanted.get(f"{word}_UNAME", ""),
        )
        if identity:
            return next((one for one in things if text(one, "ID", "") == str(identity)), None)
        named = [
            one
            for one in things
            if name
            and text(one, "NAME", "") == name
            and text(one, "UNAME", "") in (owner or text(one, "UNAME", ""),)
        ]
        return named[0] if len(named) == 1 else None


def needs(
    cloud: Cloud, resolved: Plan, volume: Optional[int], snapshot: bool
) -> Dict[Tuple[str, str], float]:
    """What one test VM takes, by (name, of) of its limits, with its volume, and with its snapshot where it has one."""
    plan = cast("OpenNebulaDetails", resolved.details)
    cpu, memory = _share(plan["CPU"]), float(resolved.memory or 0)
    found: Dict[Tuple[str, str], float] = defaultdict(
        float, {("servers", ""): 1.0, ("cpus", ""): cpu, ("memory", ""): memory}
    )
    clusters: List[Set[str]] = []
    for nic in plan["NIC"]:
        net = cloud.find(cloud.networks, nic, "NETWORK")
        if net is not None:
            found["leases", f"network {text(net, 'ID')}"] += 1
            clusters.append(_clusters(net))

    disk = 0.0
    for wanted in plan["DISK"]:
        disk += _disk(cloud, wanted, found, clusters)
    if volume:
        size, store = (
            -(-volume // _MIB) * _MIB,
            cloud.find(cloud.stores, {"DATASTORE_ID": plan["datastore"]}, "DATASTORE"),
        )
        found["volumes", f"datastore {plan['datastore']}"] += 1
        found["storage", f"datastore {plan['datastore']}"] += size
        disk += size if store is not None and _target(store, linked=True) == "SYSTEM" else 0.0
    found["disk", ""] = disk
    if snapshot:
        _saved(cloud, plan["image"], found)

    systems = [store for store in cloud.stores if number(store, "TYPE", 0) == _SYSTEM]
    shared = bool(systems) and all(map(_is_shared, systems))
    if shared:
        found["disk", _SHARED] = disk
        clusters.append(set().union(*map(_clusters, filter(_is_enabled, systems))))
    for one in cloud.hosts:
        if _may_run(one, clusters, plan["SCHED_REQUIREMENTS"] or ""):
            found.update({("cpus", _of_host(one)): cpu, ("memory", _of_host(one)): memory})
            if systems and not any(map(_is_shared, systems)):
                found["disk", _of_host(one)] = disk
    return {key: amount for key, amount in found.items() if amount}


def _disk(
    cloud: Cloud,
    wanted: Mapping[str, str],
    found: Dict[Tuple[str, str], float],
    clusters: List[Set[str]],
) -> float:
    """The bytes that a disk takes on a system datastore; what it takes elsewhere goes into ``found``."""
    asked = _size(wanted.get("SIZE", ""))
    if not any(wanted.get(word) for word in ("IMAGE", "IMAGE_ID")):
        return asked  # volatile
    image = cloud.find(cloud.images, wanted, "IMAGE")
    if image is None:
        return 0.0
    found["servers", f"image {text(image, 'ID')}"] += 1
    store = next(
        (one for one in cloud.stores if text(one, "ID", "") == text(image, "DATASTORE_ID", "")),
        None,
    )
    if store is None:
        return 0.0
    clusters.append(_clusters(store))
    linked = text(image, "PERSISTENT", "0") == "1" or number(image, "TYPE", 0) == _CDROM
    target = _target(store, linked)
    size = max(asked, number(image, "SIZE", 0) * _MIB)
    if target == "SELF":
        found["storage", f"datastore {text(store, 'ID')}"] += size
    return size if target == "SYSTEM" else 0.0


def _target(store: Any, linked: bool) -> str:
    """Where a disk of an image in this datastore lies while a VM has it; linked is what is persistent, as volumes are."""
    return text(store, f"TEMPLATE/{'LN' if linked else 'CLONE'}_TARGET", "").upper()


def _saved(cloud: Cloud, identity: str, found: Dict[Tuple[str, str], float]) -> None:
    """A snapshot is an image of its own, beside the one that the VM boots from."""
    image = cloud.find(cloud.images, {"IMAGE_ID": identity}, "IMAGE")
    if image is not None:
        store = f"datastore {text(image, 'DATASTORE_ID', '')}"
        found["volumes", store] += 1
        found["storage", store] += number(image, "SIZE", 0) * _MIB


def _may_run(found: Any, clusters: Sequence[Set[str]], requirements: str) -> bool:
    """Whether a host is in a cluster that has all that a VM uses, and meets what it requires, as far as that is understood."""
    cluster = text(found, "CLUSTER_ID", "")
    if not all(cluster in those for those in clusters if those):
        return False
    about = {
        "ID": text(found, "ID", ""),
        "NAME": text(found, "NAME", ""),
        "HOSTNAME": text(found, "NAME", ""),
        "CLUSTER_ID": cluster,
        "CLUSTER": text(found, "CLUSTER", ""),
    }
    if "(" in requirements:
        return True
    return any(
        all(_meets(about, term) for term in way.split("&")) for way in requirements.split("|")
    )


def _meets(about: Mapping[str, str], term: str) -> bool:
    """Whether a host meets ``CLUSTER_ID = 100`` or the like; what names anything else counts as met."""
    match = _TERM.fullmatch(term)
    if not match:
        return True
    equal = fnmatch.fnmatchcase(about[match[1]], match[3] if match[3] is not None else match[4])
    return equal == (match[2] == "=")


def _of_host(found: Any) -> str:
    return f"host {text(found, 'ID', '')}"


def _clusters(thing: Any) -> Set[str]:
    return {(one.text or "").strip() for one in thing.findall("CLUSTERS/ID")}


def _is_shared(store: Any) -> bool:
    return text(store, "TEMPLATE/SHARED", "YES").upper() != "NO"


def _is_enabled(store: Any) -> bool:
    return number(store, "STATE", 0) == 0


def _whole(thing: Any, path: str) -> Optional[int]:
    found = text(thing, path, "")
    return int(found) if re.fullmatch(r"[0-9]{1,15}", found) else None


def _share(said: Any) -> float:
    return float(said) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", str(said or "")) else 0.0


def _size(said: Any) -> float:
    return float(said) * _MIB if re.fullmatch(r"[0-9]{1,12}", str(said or "")) else 0.0
