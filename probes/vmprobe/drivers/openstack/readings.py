"""What the records of Nova, Cinder, Neutron and Glance mean: each becomes a Resource.

A state word that these tables do not know is PENDING, and is shown as it is. A name may be empty or
odd: nobody else's resource may keep the suite from seeing its own.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from vmprobe.core import reasons
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.transport.json import field, items, parse_time, short_text

GIB, MIB = 2**30, 2**20

# deleted, but kept for a while with all that it holds (reclaim_instance_interval)
SOFT_DELETED = "SOFT_DELETED"
SERVER = {
    "ACTIVE": State.READY,
    "ERROR": State.FAILED,
    "SHUTOFF": State.FAILED,
    "DELETED": State.FAILED,
    SOFT_DELETED: State.FAILED,
}
PORT = {"ACTIVE": State.READY, "ERROR": State.FAILED}
VOLUME = {
    "available": State.READY,
    "in-use": State.READY,
    "error": State.FAILED,
    "error_deleting": State.FAILED,
    "error_extending": State.FAILED,
    "error_restoring": State.FAILED,
    "error_managing": State.FAILED,
}
IMAGE = {"active": State.READY, "killed": State.FAILED, "deactivated": State.FAILED}
STOPPED_BY_OWNER = {  # a server in one of these states has not failed
    "SHUTOFF",
    "PAUSED",
    "SUSPENDED",
    "SHELVED",
    "SHELVED_OFFLOADED",
    "RESCUE",
    SOFT_DELETED,
}
GONE = {"DELETED", "deleted", "pending_delete"}  # still shown, but gone all the same

Record = Mapping[str, Any]  # one resource as a service's JSON describes it


def name(record: Record) -> str:
    """The name that its owner gave it; it may be empty, and anything else."""
    return str(record.get("name") or "")


def server(record: Record) -> Resource:
    """Nova's record of a server (api-ref/compute, "List Servers Detailed")."""
    status = short_text(record, "status", default="without a status")
    networks = field(record, "addresses", dict, default={}).values()
    addresses = [
        short_text(address, "addr")
        for network in networks
        if isinstance(network, list)
        for address in network
        if isinstance(address, dict)
    ]
    fault: str = field(record, "fault", "message", str, default="")
    flavor = field(record, "flavor", dict, default={})
    image = record.get("image")
    return Resource(
        Ref(Kind.SERVER, short_text(record, "id"), name(record)),
        SERVER.get(status, State.PENDING),
        status,
        fault,
        reasons.cause(fault),
        addresses=tuple(addresses),
        created=parse_time(record.get("created")),
        launched=parse_time(record.get("OS-SRV-USG:launched_at")),
        vcpus=field(flavor, "vcpus", int, default=None),
        memory=_times(field(flavor, "ram", int, default=None), MIB),
        image=str(image.get("id", "")) if isinstance(image, dict) else "",
        owner=str(record.get("user_id") or ""),
        project=str(record.get("tenant_id") or ""),
        state_since=parse_time(record.get("updated")),
    )


def is_in_silent_cell(record: Record) -> bool:
    """Whether the server's cell does not answer: Nova then knows the id, but not the name."""
    return record.get("status") == "UNKNOWN" and "name" not in record


def volume(record: Record) -> Resource:
    """Cinder's record of a volume; ``server`` is the one that it is attached to.

    While a volume is being attached or detached, its state is neither READY nor FAILED.
    """
    status = short_text(record, "status")
    attachments = items(record, "attachments", default=[])
    servers = [str(attachment.get("server_id") or "") for attachment in attachments]
    return Resource(
        Ref(Kind.VOLUME, short_text(record, "id"), name(record)),
        VOLUME.get(status, State.PENDING),
        status,
        server=next(filter(None, servers), ""),
        created=parse_time(record.get("created_at")),
        size=_times(field(record, "size", int, default=None), GIB),
    )


def port(record: Record) -> Resource:
    """Neutron's record of a port: READY is attached.

    A port whose binding failed never gets there.
    """
    status = short_text(record, "status")
    failed = record.get("binding:vif_type") == "binding_failed"
    fixed_ips = items(record, "fixed_ips", default=[])
    return Resource(
        Ref(Kind.PORT, short_text(record, "id"), name(record)),
        State.FAILED if failed else PORT.get(status, State.PENDING),
        status,
        "its binding failed" if failed else "",
        "network" if failed else "",
        addresses=tuple(short_text(address, "ip_address") for address in fixed_ips),
        server=str(record.get("device_id") or ""),
    )


def snapshot(record: Record) -> Resource:
    """Glance's record of an image that was made of a server."""
    status = short_text(record, "status")
    return Resource(
        Ref(Kind.SNAPSHOT, short_text(record, "id"), name(record)),
        IMAGE.get(status, State.PENDING),
        status,
        created=parse_time(record.get("created_at")),
        size=field(record, "size", int, default=None),
    )


def floating_ip(record: Record) -> Resource:
    """Neutron's record of a floating IP, named by its description.

    Only a connection shows whether it is routed: until there is one, Neutron says DOWN.
    """
    return Resource(
        Ref(Kind.ADDRESS, short_text(record, "id"), str(record.get("description") or "")),
        State.READY,
        short_text(record, "status", default="without a status"),
        addresses=(short_text(record, "floating_ip_address"),),
    )


def security_group(record: Record) -> Resource:
    """Neutron's record of a security group, which has no state."""
    return Resource(
        Ref(Kind.SECURITY_GROUP, short_text(record, "id"), name(record)), State.READY, "there"
    )


def _times(value: Optional[int], unit: int) -> Optional[int]:
    return None if value is None else value * unit
