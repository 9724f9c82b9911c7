"""What a test VM is made of: the section [test vm] looked up in the inventory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypedDict, cast

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.model import Plan, TestVM
from vmprobe.drivers.vsphere import devices, soap
from vmprobe.drivers.vsphere.inventory import Inventory, Place
from vmprobe.drivers.vsphere.soap import Data, Moref

if TYPE_CHECKING:
    from vmprobe.drivers.vsphere.properties import Collector
    from vmprobe.drivers.vsphere.session import Session

_DISK = re.compile(r"\[([^\]]+)\] ?(\S.*\.vmdk)", re.I)
_MEMORY = 256 * 2**20  # bytes, of a machine that is made from a disk


VsphereTestVM = TypedDict(
    "VsphereTestVM",
    {
        "image": str,
        "flavor": Optional[int],  # bytes of memory; None: the template's
        "network": str,
        "volume": Optional[int],
        "depth": str,
        "vcpus": Optional[int],
        "guest id": str,
    },
)


class Source(NamedTuple):
    """What the server's disk comes from: a template or machine, or else a disk in a datastore."""

    template: Optional[Moref]
    disk: str  # datastore path; '' with a template


class VsphereDetails(TypedDict):
    """The ``details`` of a plan."""

    place: Place
    source: Source
    nic: devices.Nic
    memory: Optional[int]  # MiB, where it is not the template's
    vcpus: Optional[int]
    disks: int  # bytes that a copy of the template's disks takes, at most
    guest: str  # guest id of a machine that is made from a disk


def resolve(session: Session, collector: Collector, inventory: Inventory, section: TestVM) -> Plan:
    """Look up image, network and place. Only reads."""
    test_vm = cast("VsphereTestVM", section)
    place = inventory.place()
    if is_disk(test_vm["image"]):
        return _of_disk(session, inventory, test_vm, place)
    if not session.is_vcenter:
        inventory.template(test_vm["image"])  # NotFound comes first
        raise ClientError(
            "[test vm] image: a single host cannot clone; name a disk, like "
            f"'[{place.datastore.name}] images/test.vmdk'"
        )
    return _of_template(collector, inventory, test_vm, place)


def is_disk(image: str) -> bool:
    """Whether this is the path of a disk in a datastore, not the name of a template."""
    return bool(_DISK.fullmatch(image))


def check_disk(session: Session, inventory: Inventory, path: str) -> None:
    """NotFound where there is no such disk."""
    session.call(
        "QueryVirtualDiskUuid",
        session.manager("virtualDiskManager"),
        {"name": path, "datacenter": inventory.datacenter().ref},
        f"find image {path}",
    )


def _of_template(
    collector: Collector, inventory: Inventory, test_vm: VsphereTestVM, place: Place
) -> Plan:
    image = inventory.template(test_vm["image"])
    names = ["config.hardware.device", "summary.config.numCpu", "summary.config.memorySizeMB"]
    template = collector.get(image.ref, names, f"read image {image.name}")
    own = devices.nics(template.items("config.hardware.device"))
    network = test_vm["network"]
    if network:
        first = own[0] if own else devices.NEW_NIC
        nic = first._replace(backing=_backing(collector, inventory, network))
    elif own and own[0].backing is not None:
        nic, network = own[0], own[0].network
    else:
        raise NotFound(
            f"image {image.name} has no network card that can be used: name a network",
            cause="network",
        )
    own_memory, own_vcpus = (
        _number(template.text("summary.config.memorySizeMB")),
        _number(template.text("summary.config.numCpu")),
    )
    memory = test_vm["flavor"] or (own_memory * 2**20 if own_memory else None)
    details = VsphereDetails(
        place=place,
        source=Source(image.ref, ""),
        nic=nic,
        memory=_mebibytes(test_vm["flavor"]),
        vcpus=test_vm["vcpus"],
        disks=sum(disk.size for disk in devices.disks(template.items("config.hardware.device"))),
        guest="",
    )
    return Plan(
        image.name,
        f"{memory / 2**20:g} MiB" if memory else "",
        network,
        cast(Any, details),
        vcpus=test_vm["vcpus"] or own_vcpus,
        memory=memory,
    )


def _of_disk(session: Session, inventory: Inventory, test_vm: VsphereTestVM, place: Place) -> Plan:
    """A machine of its own whose disk is a child of the image: nothing is copied."""
    path = test_vm["image"]
    if not test_vm["network"]:
        raise ClientError("[test vm] network: name one, since a disk has no network card")
    check_disk(session, inventory, path)
    memory = test_vm["flavor"] or _MEMORY
    details = VsphereDetails(
        place=place,
        source=Source(None, path),
        nic=devices.NEW_NIC._replace(
            backing=_backing(inventory.collector, inventory, test_vm["network"])
        ),
        memory=_mebibytes(memory),
        vcpus=test_vm["vcpus"] or 1,
        disks=0,
        guest=test_vm["guest id"],
    )
    return Plan(
        path,
        f"{memory / 2**20:g} MiB",
        test_vm["network"],
        cast(Any, details),
        vcpus=test_vm["vcpus"] or 1,
        memory=memory,
    )


def _backing(collector: Collector, inventory: Inventory, named: str) -> Data:
    """What connects a network card to this network."""
    network = inventory.network(named)
    if network.ref.type == "DistributedVirtualPortgroup":
        switch = soap.moref(network.values.get("config.distributedVirtualSwitch"))
        uuid = collector.get(switch, ["uuid"], f"find the switch of {named}").text("uuid")
        return devices.distributed_port(uuid, network.text("key"))
    if network.ref.type == "OpaqueNetwork":
        summary = network.values.get("summary")
        return devices.opaque_network(
            "" if summary is None else summary.findtext("opaqueNetworkId") or "",
            "" if summary is None else summary.findtext("opaqueNetworkType") or "",
        )
    return devices.standard_network(network.text("name"))


def _mebibytes(size: Optional[int]) -> Optional[int]:
    return None if size is None else max(4, size // 2**20)


def _number(text: str) -> Optional[int]:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
