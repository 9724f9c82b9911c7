"""Neutron's ports of servers.

Nova makes and removes them; Neutron says whether they are attached.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from vmprobe.core.errors import NotFound
from vmprobe.core.model import Kind, Ref, Resource
from vmprobe.drivers.openstack import lists, readings
from vmprobe.drivers.openstack.readings import Record
from vmprobe.transport.http import Http
from vmprobe.transport.json import short_text

MOST_SERVERS = 150  # that one request can name: a URL may have 8 KiB


def of_servers(neutron: Http, servers: Sequence[str]) -> List[Resource]:
    """The ports of the servers with these ids, by one request for MOST_SERVERS of them."""
    return [
        port
        for start in range(0, len(servers), MOST_SERVERS)
        for port in lists.read(
            neutron,
            "ports",
            "ports",
            {"device_id": list(servers[start : start + MOST_SERVERS])},
            lambda record: readings.port(record) if record.get("device_id") in servers else None,
        )
    ]


def show(neutron: Http, port: Ref) -> Resource:
    """One port, by a list: a credential with access rules may be allowed only that."""
    records = lists.read(
        neutron,
        "ports",
        "ports",
        {"id": port.id},
        lambda record: readings.port(record) if record.get("id") == port.id else None,
    )
    if not records:
        raise NotFound(f"show {port}: there is no such port")
    return records[0]


def made_by_nova(neutron: Http, servers: Sequence[str]) -> Dict[str, List[Ref]]:
    """The ports that Nova made for up to MOST_SERVERS servers, by the servers' ids."""
    made = lists.read(neutron, "ports", "ports", {"device_id": list(servers)}, _made_by_nova)
    return {server: [port for device, port in made if device == server] for server in servers}


def _made_by_nova(record: Record) -> Optional[Tuple[str, Ref]]:
    """The server's id and the port, if Nova made it: then its name is empty, or the port's id."""
    identity, name = short_text(record, "id"), readings.name(record)
    owner = str(record.get("device_owner") or "compute:")
    if not owner.startswith("compute:") or name not in ("", identity):
        return None
    return str(record.get("device_id") or ""), Ref(Kind.PORT, identity, name)
