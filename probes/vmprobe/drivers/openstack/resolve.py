"""Look up what a test VM will be made of: the image, the flavor and the networks of its section."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, Tuple, cast

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.model import Plan, TestVM
from vmprobe.core.text import cut
from vmprobe.drivers.openstack import images, lists, readings
from vmprobe.drivers.openstack.readings import Record
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import Http
from vmprobe.transport.json import field, short_text

if TYPE_CHECKING:
    from vmprobe.drivers.openstack.plan import OpenStackDetails, OpenStackTestVM

_SPECIAL = (  # an extra spec by which a flavor wants more than an ordinary host has
    r"pci_passthrough:|accel:|resources\d*:(?!(?:VCPU|PCPU|MEMORY_MB|DISK_GB)$)"
)


def resolve(services: Services, section: TestVM) -> Plan:
    """The plan for the section [test vm].

    NotFound or ClientError says what is not there, or not clear.
    """
    test_vm = cast("OpenStackTestVM", section)
    image = images.newest_active(services.glance(), test_vm["image"])
    if test_vm["volume"] and not services.has_cinder():
        raise ClientError(
            "[test vm] volume: the catalog has no block-storage service; set it to 'none'"
        )
    flavor = _flavor(services.nova(), test_vm["flavor"], image, test_vm["boot from volume"])
    network = _network(services, test_vm["network"])
    external = ""
    if test_vm["external network"]:
        external = _network(services, test_vm["external network"])["id"]
    details: OpenStackDetails = {
        "image": image["id"],
        "flavor": flavor["id"],
        "network": network["id"],
        "port security": field(network, "port_security_enabled", bool, default=True),
        "disk": max(field(flavor, "disk", int, default=1), images.smallest_disk(image)),
        "local disk": _local_disk(flavor),
        "availability zone": test_vm.get("availability zone"),
        "security group": test_vm.get("security group"),
        "volume type": test_vm.get("volume type"),
        "boot from volume": test_vm.get("boot from volume"),
        "config drive": test_vm.get("config drive"),
    }
    root = details["disk"] * readings.GIB if details["boot from volume"] else None
    return Plan(
        readings.name(image) or image["id"],
        readings.name(flavor),
        readings.name(network) or network["id"],
        details,
        external,
        vcpus=field(flavor, "vcpus", int, default=0),
        memory=field(flavor, "ram", int, default=0) * readings.MIB,
        root_volume=root,
    )


def _flavor(nova: Http, wanted: str, image: Record, boots_from_volume: bool) -> Dict[str, Any]:
    """The flavor with this name or id; by default the smallest that holds the image.

    A flavor without a disk fits only where the server boots from a volume.
    """
    flavors = lists.read(nova, "flavors/detail", "flavors", {}, lambda flavor: flavor)
    if not flavors:
        raise NotFound("Nova shows no flavor to this project", cause="image")
    if wanted:
        for flavor in flavors:
            if wanted in (flavor.get("name"), flavor.get("id")):
                return flavor
        names = cut(", ".join(sorted(str(flavor.get("name")) for flavor in flavors)), 100)
        raise NotFound(f"no flavor {wanted!r} among {names}", cause="image")

    disk, memory = images.smallest_disk(image), field(image, "min_ram", int, default=0)
    fitting = [
        flavor
        for flavor in flavors
        if field(flavor, "ram", int, default=0) >= memory
        and (boots_from_volume or field(flavor, "disk", int, default=0) >= disk)
        and not _is_special(flavor)
    ]
    if not fitting:
        raise NotFound(
            f"no flavor holds the image: {disk} GiB of disk, {memory} MiB of memory", cause="image"
        )
    return min(fitting, key=_size)


def _size(flavor: Record) -> Tuple[int, ...]:
    return tuple(field(flavor, key, int, default=0) for key in ("ram", "vcpus", "disk"))


def _is_special(flavor: Record) -> bool:
    """Whether a flavor is disabled, or for special hardware: a GPU, a whole machine."""
    extra_specs = field(flavor, "extra_specs", dict, default={})
    return flavor.get("OS-FLV-DISABLED:disabled") is True or any(
        re.match(_SPECIAL, str(spec)) for spec in extra_specs
    )


def _local_disk(flavor: Record) -> int:
    """The bytes that a server of this flavor takes of its host's disk to boot from."""
    swap = flavor.get("swap") or 0  # in MiB; before microversion 2.75 it may be an empty text
    disks = [field(flavor, key, int, default=0) for key in ("disk", "OS-FLV-EXT-DATA:ephemeral")]
    gib: int = sum(disks) + (-(-swap // 1024) if isinstance(swap, int) else 0)
    return gib * readings.GIB


def _network(services: Services, wanted: str) -> Dict[str, Any]:
    """The network with this name or id; by default the only internal one that has a subnet.

    Of several networks, those that work are preferred, and of these the project's own. ClientError
    if more than one is left.
    """
    query = {"router:external": "false"}
    if wanted:
        query = {"id" if images.ID.match(wanted) else "name": wanted}
    networks = lists.read(
        services.neutron(),
        "networks",
        "networks",
        query,
        lambda network: network if wanted or network.get("subnets") else None,
    )
    if not networks:
        message = f"no network {wanted!r}" if wanted else "there is no network for a VM"
        raise NotFound(message, cause="network")
    if len(networks) > 1:
        working = [network for network in networks if _works(network)]
        own = [
            network
            for network in working
            if services.project in (network.get("project_id"), network.get("tenant_id"))
        ]
        networks = own or working or networks
    if len(networks) > 1:
        names = ", ".join(f"{network.get('name')} ({network.get('id')})" for network in networks)
        raise ClientError(f"[test vm] network: there are {cut(names, 200)}: name one")
    short_text(networks[0], "id")  # GatewayFailed if it has none
    return networks[0]


def _works(network: Record) -> bool:
    return network.get("admin_state_up") is not False and network.get("status") != "DOWN"
