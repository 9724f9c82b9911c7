"""What EC2's answers mean: XML elements become this suite's resources.

A field that an answer lacks is empty or None. A state that is not in the tables is PENDING. The
elements are those of the Amazon EC2 API Reference, "Data types".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Container, Dict, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core import handle
from vmprobe.core.errors import GatewayFailed
from vmprobe.core.model import Image, Kind, Ref, Resource, State, member_name
from vmprobe.drivers.ec2.query import rows
from vmprobe.transport.json import parse_time
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SERVER = {
    "running": State.READY,
    "stopped": State.FAILED,
    "error": State.FAILED,  # ec2-api's own
}
PORT = {"attached": State.READY, "error": State.FAILED}
VOLUME = {"available": State.READY, "in-use": State.READY, "error": State.FAILED}
IMAGE = {
    "available": State.READY,
    "completed": State.READY,
    "failed": State.FAILED,
    "error": State.FAILED,
    "invalid": State.FAILED,
}
CHECKS = {"ok": State.READY, "not-applicable": State.READY, "impaired": State.FAILED}
ATTACHING = {"attaching", "detaching", "busy"}  # an attachment that is changing
AT_REST = {"stopped", "stopping", "paused", "suspended"}
GONE = {"terminated", "deleted", "deregistered"}  # still listed, but gone
REASONS = (  # (pattern of the code of a server's StateReason, cause)
    (r"LimitExceeded|Quota", "quota"),
    (r"Volume|Snapshot|Ebs", "storage"),
    (r"Image|AMI", "image"),
    (r"Network|Address", "network"),
)

GIB, MIB = 2**30, 2**20
_LONGEST_ID = 255
_REMOVED_BY_USER = "Client.UserInitiatedShutdown"


def identity(element: Element, path: str) -> str:
    """The id at ``path``; GatewayFailed if it is too long or not printable."""
    value = text(element, path)
    if len(value) > _LONGEST_ID or not value.isprintable():
        raise GatewayFailed(f"{path} in the answer is not a short, printable text")
    return value


def only(ref: Ref, found: List[Resource]) -> Optional[Resource]:
    """The resource with the id that was asked for; None if the answer is empty.

    GatewayFailed if the answer is about other resources only.
    """
    for resource in found:
        if resource.ref.id == ref.id:
            return resource
    if found:
        raise GatewayFailed(f"show {ref}: the answer is about {found[0].ref}")
    return None


def is_gone(resource: Resource) -> bool:
    """Whether EC2 only still lists it. A server that terminated by itself has FAILED instead."""
    return resource.provider_state in GONE and resource.state is not State.FAILED


def tags(element: Element) -> Dict[str, str]:
    """The tags of a resource; long values are cut."""
    return {
        text(tag, "key", ""): text(tag, "value", "")[:_LONGEST_ID]
        for tag in rows(element, "tagSet")
    }


# --- servers ------------------------------------------------------------------------------------


def server(instance: Element, requested: Container[str]) -> Resource:
    """An instance. It has FAILED if it is among ``requested`` and terminated by itself.

    ``requested``: ids of the servers that this session asked for and has not asked to remove.
    """
    instance_id, state_name = identity(instance, "instanceId"), text(instance, "instanceState/name")
    code = text(instance, "stateReason/code", "")
    is_ending = instance_id in requested and state_name in ("shutting-down", "terminated")
    state = SERVER.get(state_name, State.PENDING)
    if is_ending and code not in (_REMOVED_BY_USER, ""):
        state = State.FAILED
    has_failed = state is State.FAILED
    cores, threads = (
        number(instance, f"cpuOptions/{field}", 0) for field in ("coreCount", "threadsPerCore")
    )
    return Resource(
        Ref(Kind.SERVER, instance_id, _server_name(instance)),
        state,
        state_name,
        fault=text(instance, "stateReason/message", "") if has_failed or is_ending else "",
        cause=_cause(code) if has_failed else "",
        addresses=_server_addresses(instance),
        created=parse_time(text(instance, "launchTime", "")),
        state_since=_since(instance),
        vcpus=cores * threads or None,
        image=text(instance, "imageId", ""),
    )


def _cause(code: str) -> str:
    return next((cause for pattern, cause in REASONS if re.search(pattern, code)), "")


def _server_name(instance: Element) -> str:
    """A run's own server is named by its token, any other by its tag ``Name``.

    The token is in the tag ``vmprobe``, or in ``clientToken``. The members of a fleet share the
    token ``<name>/<count>``; the launch index tells them apart.
    """
    instance_tags = tags(instance)
    token = instance_tags.get("vmprobe") or text(instance, "clientToken", "")
    name, _, count = token.partition("/")
    if not name.startswith(handle.PREFIX):
        return instance_tags.get("Name", "")
    return member_name(name, number(instance, "amiLaunchIndex", 0) + 1) if count else name


def _server_addresses(instance: Element) -> Tuple[str, ...]:
    """All addresses, public ones first, each once."""
    found = [text(instance, tag, "") for tag in ("ipAddress", "privateIpAddress", "ipv6Address")]
    for interface_element in rows(instance, "networkInterfaceSet"):
        found += _addresses(interface_element)
    return tuple(dict.fromkeys(filter(None, found)))


def _since(instance: Element) -> Optional[float]:
    """When the state changed last, if the reason for it names a time."""
    reason = text(instance, "reason", "")
    match = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", reason)
    return parse_time(match[1]) if match else None


class MadeWith(NamedTuple):
    """Ids of what EC2 made with an instance."""

    volumes: List[str]
    interfaces: List[str]


def made_with(instance: Element) -> MadeWith:
    """The root volume, the first interface, and all that EC2 deletes with the instance."""
    root = text(instance, "rootDeviceName", "")
    volumes = [
        text(mapping, "ebs/volumeId", "")
        for mapping in rows(instance, "blockDeviceMapping")
        if root
        and text(mapping, "deviceName", "") == root
        or text(mapping, "ebs/deleteOnTermination", "") == "true"
    ]
    interfaces = [
        text(element, "networkInterfaceId", "")
        for element in rows(instance, "networkInterfaceSet")
        if text(element, "attachment/deviceIndex", "0") in ("", "0")
        or text(element, "attachment/deleteOnTermination", "") == "true"
    ]
    return MadeWith(list(filter(None, volumes)), list(filter(None, interfaces)))


# --- network interfaces -------------------------------------------------------------------------


def ports(instance: Element, requested: Container[str]) -> List[Resource]:
    """The interfaces of an instance; if it shows none, one port with the server's addresses."""
    owner = server(instance, requested)
    interfaces = rows(instance, "networkInterfaceSet")
    if interfaces:
        return [_attached_interface(element, owner.ref.id) for element in interfaces]
    return [
        Resource(
            Ref(Kind.PORT, owner.ref.id, ""),
            State.READY if owner.addresses else State.PENDING,
            "address" if owner.addresses else "no address",
            addresses=owner.addresses,
            server=owner.ref.id,
        )
    ]


def _attached_interface(element: Element, server_id: str) -> Resource:
    status = text(element, "attachment/status", "") or text(element, "status", "")
    return Resource(
        Ref(Kind.PORT, text(element, "networkInterfaceId"), ""),
        PORT.get(status, State.PENDING),
        status,
        addresses=tuple(_addresses(element)),
        server=server_id,
    )


def interface(element: Element) -> Resource:
    """A network interface, as DescribeNetworkInterfaces shows it."""
    status = text(element, "status", "")
    return Resource(
        Ref(Kind.PORT, text(element, "networkInterfaceId"), tags(element).get("Name", "")),
        State.READY if status in ("available", "in-use") else State.PENDING,
        status,
        addresses=tuple(_addresses(element)),
        server=text(element, "attachment/instanceId", ""),
    )


def _addresses(element: Element) -> List[str]:
    """An interface's own addresses, IPv4 before IPv6, each once."""
    found = [
        text(entry, "privateIpAddress", "")
        for entry in (*rows(element, "privateIpAddressesSet"), element)
    ]
    found += [
        text(entry, "ipv6Address", "") for entry in (*rows(element, "ipv6AddressesSet"), element)
    ]
    return list(dict.fromkeys(filter(None, found)))


def status_check(element: Element, server_ports: Sequence[Resource]) -> Resource:
    """EC2's checks of the host (system) and of the instance, as one more port of the server."""
    server_id = text(element, "instanceId")
    names = ("systemStatus", "instanceStatus")
    statuses = {name: text(element, f"{name}/status", "") for name in names}
    states = [CHECKS.get(status, State.PENDING) for status in statuses.values()]
    worst = next((state for state in (State.FAILED, State.PENDING) if state in states), State.READY)
    return Resource(
        Ref(Kind.PORT, server_id, ""),
        worst,
        ", ".join(f"{name} {status or 'unknown'}" for name, status in statuses.items()),
        cause="network",
        addresses=next((port.addresses for port in server_ports if port.server == server_id), ()),
        server=server_id,
    )


# --- volumes ------------------------------------------------------------------------------------


def volume(element: Element) -> Resource:
    """A volume. Whether it is attached is decided by its attachment.

    The status ``in-use`` does not tell: it begins before the attachment, and ends after it.
    """
    status = text(element, "status")
    attachments = [
        (text(attachment, "status", ""), text(attachment, "instanceId", ""))
        for attachment in rows(element, "attachmentSet")
    ]
    holders = [server_id for state, server_id in attachments if state == "attached"]
    changing = [state for state, _ in attachments if state in ATTACHING]
    is_pending = bool(changing) or status == "in-use" and not holders
    return Resource(
        Ref(Kind.VOLUME, text(element, "volumeId"), _tagged_name(element)),
        State.PENDING if is_pending else VOLUME.get(status, State.PENDING),
        changing[0] if changing else status,
        server=holders[0] if holders and not changing else "",
        created=parse_time(text(element, "createTime", "")),
        size=number(element, "size", 0) * GIB,
    )


def _tagged_name(element: Element) -> str:
    """A run's own resource is named by the tag ``vmprobe``, any other by ``Name``.

    A site's tagging rules may rewrite ``Name``, but not ``vmprobe``.
    """
    all_tags = tags(element)
    name = all_tags.get("vmprobe", "")
    return name if name.startswith(handle.PREFIX) else all_tags.get("Name", "")


# --- images and snapshots -----------------------------------------------------------------------


def image(element: Element) -> Image:
    """An AMI, as an image that a test VM can be made of."""
    status = text(element, "imageState", "")
    properties = {child.tag: (child.text or "").strip() for child in element}
    return Image(
        text(element, "imageId"),
        text(element, "name", ""),
        IMAGE.get(status, State.PENDING),
        status,
        {},
        {name: value for name, value in properties.items() if value},
    )


def ami(element: Element) -> Resource:
    """An AMI, as the snapshot of a server."""
    status = text(element, "imageState", "")
    return Resource(
        Ref(Kind.SNAPSHOT, text(element, "imageId"), text(element, "name", "")),
        IMAGE.get(status, State.PENDING),
        status,
        text(element, "stateReason/message", ""),
        created=parse_time(text(element, "creationDate", "")),
    )


def snapshot(element: Element) -> Resource:
    """EC2's snapshot of a volume."""
    status = text(element, "status", "")
    return Resource(
        Ref(Kind.SNAPSHOT, text(element, "snapshotId"), _tagged_name(element)),
        IMAGE.get(status, State.PENDING),
        status,
        text(element, "statusMessage", ""),
        created=parse_time(text(element, "startTime", "")),
        size=number(element, "volumeSize", 0) * GIB,
    )


def snapshots_of(image_element: Element) -> List[str]:
    """Ids of the snapshots that an image is made of."""
    mappings = rows(image_element, "blockDeviceMapping")
    return list(filter(None, (text(mapping, "ebs/snapshotId", "") for mapping in mappings)))


# --- instance types -----------------------------------------------------------------------------


class Flavor(NamedTuple):
    """An instance type; ``memory`` in bytes. 0 if the manager does not tell."""

    name: str
    vcpus: int
    memory: int


def flavor(element: Element) -> Flavor:
    """An instance type in EC2's elements, or in Eucalyptus'."""
    if element.find("instanceType") is None:
        return Flavor(
            text(element, "name"), number(element, "cpu", 0), number(element, "memory", 0) * MIB
        )
    return Flavor(
        text(element, "instanceType"),
        number(element, "vCpuInfo/defaultVCpus", 0),
        number(element, "memoryInfo/sizeInMiB", 0) * MIB,
    )
