"""Names and ids: how what a run makes is called in Azure, and how Azure's ids are read.

An id of ours is ``GROUP/NAME``, or ``NAME`` alone where the group is the handle that the name
begins with: the group that the run has to itself. Azure's own ids are 200 characters long, and come
back in other letters than they were given in, so groups and ids are compared in small letters.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

from vmprobe.core import handle
from vmprobe.core.errors import GatewayFailed
from vmprobe.core.model import Kind
from vmprobe.core.text import cut
from vmprobe.transport.http import path

COMPUTE, NETWORK = "Microsoft.Compute", "Microsoft.Network"
TYPES = {
    Kind.SERVER: f"{COMPUTE}/virtualMachines",
    Kind.VOLUME: f"{COMPUTE}/disks",
    Kind.SNAPSHOT: f"{COMPUTE}/snapshots",
}
INTERFACES = f"{NETWORK}/networkInterfaces"
OS_DISK = "-os"  # the end of the name of a server's own disk
TAG = "vmprobe"  # the tag that has the name of the run's resource a second time

_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/([^/]+)/providers/([^/]+/[^/]+)/([^/]+)(?:/.*)?",
    re.I | re.S,
)

_LONGEST = 1000  # characters of an id


class Place(NamedTuple):
    """Where a resource is: its group, in small letters, and its name."""

    group: str
    name: str

    @property
    def id(self) -> str:
        """The id that the suite knows it by."""
        return self.name if own_group(self.name) == self.group else f"{self.group}/{self.name}"


def own_group(name: str) -> str:
    """The group that the run of this resource has to itself; '' for what no run of ours made."""
    found = handle.parse(name)
    return str(found) if found else ""


def place(identity: str) -> Place:
    """The place that an id of ours means."""
    group, slash, name = identity.rpartition("/")
    if not slash:
        return Place(own_group(identity) or identity.lower(), identity)
    return Place(group.lower(), name)


def parse(azure_id: object) -> Optional[Place]:
    """The place in one of Azure's ids; None where it is none."""
    match = _ID.fullmatch(azure_id) if isinstance(azure_id, str) else None
    if match is None or len(match[0]) > _LONGEST or not match[0].isprintable():
        return None
    return Place(match[1].lower(), match[3])


def required(azure_id: object) -> Place:
    """As ``parse``; GatewayFailed where it is no id."""
    found = parse(azure_id)
    if found is None:
        raise GatewayFailed(f"{cut(str(azure_id), 100)!r} in the answer is no id of a resource")
    return found


def same(one: Optional[Place], other: Optional[Place]) -> bool:
    """Whether both are the same place, in capital or small letters."""
    return (
        one is not None
        and other is not None
        and (one.group.lower(), one.name.lower()) == (other.group.lower(), other.name.lower())
    )


def group_path(subscription: str, group: str) -> str:
    """The path of a resource group."""
    return path("subscriptions", subscription, "resourceGroups", group)


def resource_path(subscription: str, kind: str, where: Place) -> str:
    """The path of a resource of the type ``kind``, such as ``Microsoft.Compute/disks``."""
    provider, _, types = kind.partition("/")
    group = group_path(subscription, where.group)
    return f"{group}/{path('providers', provider, types, where.name)}"


def azure_id(subscription: str, kind: str, where: Place) -> str:
    """Azure's id of a resource."""
    return (
        f"/subscriptions/{subscription}/resourceGroups/{where.group}/providers/{kind}/{where.name}"
    )
