"""What the Resource Manager says of servers, disks and snapshots, as the suite's resources."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.drivers.azure import faults, names
from vmprobe.drivers.azure.arm import Outcome, Record, properties
from vmprobe.drivers.azure.faults import Refusal
from vmprobe.drivers.azure.names import Place
from vmprobe.transport.json import field, items, parse_time, short_text

# provisioningState, in small letters; a word that is not here is PENDING.
STATE = {
    "succeeded": State.READY,
    "updating": State.READY,  # of a server: it runs, and something of it is being changed
    "failed": State.FAILED,
    "canceled": State.FAILED,
}
# PowerState of a server that somebody stopped.
AT_REST = (
    "PowerState/stopping",
    "PowerState/stopped",
    "PowerState/deallocating",
    "PowerState/deallocated",
)
GIB = 2**30

Addresses = Dict[str, Tuple[str, ...]]  # by the key of an interface


def server(
    record: Record,
    addresses: Addresses,
    outcome: Optional[Outcome] = None,
) -> Resource:
    """A virtual machine. ``addresses`` by the key of its interfaces."""
    where = names.required(record.get("id"))
    word = short_text(properties(record), "provisioningState", default="unknown")
    state = STATE.get(word.lower(), State.PENDING)
    statuses = items(properties(record), "instanceView", "statuses", default=[])
    power, launched, fault, cause = "", None, "", ""
    for status in statuses:
        code = short_text(status, "code", default="")
        if code.startswith("PowerState/"):
            power = code
        elif code == "ProvisioningState/succeeded":
            launched = parse_time(status.get("time"))
        elif code.lower().startswith("provisioningstate/failed"):
            refusal = Refusal(
                code.rpartition("/")[2], field(status, "message", str, default="") or ""
            )
            fault, cause = str(refusal), faults.kind_of(refusal)[1]
    if state is State.READY and power and power != "PowerState/running":
        state = State.FAILED if power in AT_REST else State.PENDING
        word = power
    if outcome is not None:
        fault, cause = outcome.fault, outcome.cause
    ips: List[str] = []
    for interface in items(properties(record), "networkProfile", "networkInterfaces", default=[]):
        ips += addresses.get(key(names.parse(interface.get("id"))), ())
    image = field(properties(record), "storageProfile", "imageReference", dict, default={})
    return Resource(
        Ref(Kind.SERVER, where.id, where.name),
        state,
        word,
        fault=fault,
        cause=cause,
        request=outcome.request if outcome else "",
        addresses=tuple(ips),
        created=parse_time(properties(record).get("timeCreated")),
        launched=launched,
        image=image_name(image),
    )


def unfinished(where: Place, word: str, outcome: Optional[Outcome] = None) -> Resource:
    """A server of which there is only a part: its interface, its disk, or its empty group."""
    return Resource(
        Ref(Kind.SERVER, where.id, where.name),
        State.PENDING,
        word,
        fault=outcome.fault if outcome else "",
        cause=outcome.cause if outcome else "",
    )


def disk(record: Record, kind: Kind = Kind.VOLUME, outcome: Optional[Outcome] = None) -> Resource:
    """A disk or a snapshot; a disk is READY with ``server`` once it is attached."""
    where = names.required(record.get("id"))
    known = properties(record)
    word = short_text(known, "provisioningState", default="unknown")
    state = STATE.get(word.lower(), State.PENDING)
    if word.lower() == "updating":
        state = State.PENDING
    if state is State.READY and kind is Kind.VOLUME:
        word = short_text(known, "diskState", default=word)
    holder = names.parse(record.get("managedBy"))
    gigabytes = field(known, "diskSizeGB", int, default=0)
    size = field(known, "diskSizeBytes", int, default=0) or gigabytes * GIB
    return Resource(
        Ref(kind, where.id, where.name),
        state,
        word,
        fault=outcome.fault if outcome else "",
        cause=outcome.cause if outcome else "",
        server=holder.id if holder and kind is Kind.VOLUME else "",
        created=parse_time(known.get("timeCreated")),
        size=size or None,
    )


def is_of_server(record: Record) -> bool:
    """Whether a disk is the one that its server boots from: it belongs to the server."""
    return bool(properties(record).get("osType")) and bool(record.get("managedBy"))


def addresses(interfaces: Sequence[Record]) -> Addresses:
    """The private addresses of interfaces, by their key."""
    found: Addresses = {}
    for interface in interfaces:
        ips = [
            short_text(properties(configuration), "privateIPAddress", default="")
            for configuration in items(properties(interface), "ipConfigurations", default=[])
        ]
        found[key(names.parse(interface.get("id")))] = tuple(ip for ip in ips if ip)
    return found


def key(where: Optional[Place]) -> str:
    """A place in small letters."""
    return f"{where.group}/{where.name}".lower() if where else ""


def image_name(reference: Record) -> str:
    """``publisher:offer:sku:version``, or the name of an image of one's own."""
    parts = [field(reference, part, str, default="") for part in ("publisher", "offer", "sku")]
    if all(parts):
        exact = field(reference, "exactVersion", str, default="")
        return ":".join([*parts, exact or field(reference, "version", str, default="latest")])
    where = names.parse(reference.get("id"))
    return where.name if where else ""
