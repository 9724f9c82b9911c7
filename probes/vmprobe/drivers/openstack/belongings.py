"""What Nova makes for a server and may leave behind: ports, and the volume that it boots from.

Only what Nova made by itself counts. Whatever has a name was made by somebody who may want it back.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence

from vmprobe.core.errors import GatewayFailed, NotFound
from vmprobe.core.model import Kind, Ref, Resource
from vmprobe.drivers.openstack import ports, readings
from vmprobe.drivers.openstack.readings import Record
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import path
from vmprobe.transport.json import items, parse_time, short_text

_CLOCKS_APART = 300.0  # seconds by which the clocks of two services may differ


class Belongings:
    """The ports and boot volumes of servers; asks for the ports of many servers at once."""

    def __init__(self, services: Services):
        self._services = services
        self._boots: Dict[str, _Boot] = {}  # by the id of a server that was shown ACTIVE
        self._ports: Dict[str, List[Ref]] = {}  # by server: asked for already, not yet handed out

    def note(self, server: Resource, record: Record) -> None:
        """Remember the boot volumes of a server that was just shown.

        They are complete once it is ACTIVE.
        """
        self._boots.pop(server.ref.id, None)
        if server.provider_state == "ACTIVE":
            self._boots[server.ref.id] = _boot(record)

    def of(self, server: Ref) -> List[Ref]:
        """The ports and the boot volume that Nova made for this server.

        For a fleet whose members were all shown ACTIVE the ports take one request.
        """
        boot = self._boots.pop(server.id, None) or self._ask_boot(server)
        if server.id not in self._ports:
            next_ones = [other for other in self._boots if other not in self._ports]
            self._ask_ports([server.id, *next_ones][: ports.MOST_SERVERS])
        volumes = [self._if_made_for(server, volume, boot.created) for volume in boot.volumes]
        return self._ports.pop(server.id) + [volume for volume in volumes if volume is not None]

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        """The ports of servers that are gone: Neutron still knows them by the server's id."""
        wanted = [server.id for server in servers]
        for start in range(0, len(wanted), ports.MOST_SERVERS):
            self._ask_ports(wanted[start : start + ports.MOST_SERVERS])
        return {server: self._ports.pop(server) for server in wanted}

    def _ask_boot(self, server: Ref) -> _Boot:
        asked = f"what belongs to {server}"
        reply = self._services.nova().get(path("servers", server.id), asked=asked)
        record = reply.field("server", dict)
        if record.get("id") != server.id:
            raise GatewayFailed(f"{asked}: the answer is about another server")
        return _boot(record)

    def _ask_ports(self, servers: Sequence[str]) -> None:
        self._ports.update(ports.made_by_nova(self._services.neutron(), servers))

    def _if_made_for(self, server: Ref, volume: str, created: Optional[float]) -> Optional[Ref]:
        """The volume, if Cinder says that it is this server's and it has no name of its own.

        A volume that is attached to no server has to be as young as the server.
        """
        cinder = self._services.cinder()
        asked = f"show {Ref(Kind.VOLUME, volume)}"
        try:
            record = cinder.get(path("volumes", volume), asked=asked).field("volume", dict)
        except NotFound:
            return None
        shown = readings.volume(record)
        if shown.provider_state in readings.GONE or shown.ref.id != volume:
            return None
        is_young = (
            created is not None
            and shown.created is not None
            and shown.created >= created - _CLOCKS_APART
        )
        is_its_own = shown.server == server.id or not shown.server and is_young
        return shown.ref if is_its_own and shown.ref.name in ("", shown.ref.id) else None


class _Boot(NamedTuple):
    """What Nova's record says of a server's boot."""

    created: Optional[float]  # the server, in seconds since the epoch
    volumes: List[str]  # ids of the volumes that Nova removes with the server


def _boot(record: Record) -> _Boot:
    """Find the boot volume in a server's record.

    Before microversion 2.3 Nova does not say which volumes it removes. Then the boot volume is the
    attached volume of a server that has no image.
    """
    volumes = [
        short_text(volume, "id")
        for volume in items(record, "os-extended-volumes:volumes_attached", default=[])
        if volume.get("delete_on_termination", not record.get("image")) is True
    ]
    return _Boot(parse_time(record.get("created")), volumes)
