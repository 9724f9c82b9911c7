"""Nova's servers: show and list them, and notice servers in a cell that does not answer."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Set

from vmprobe.core.clock import Clock
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Ended,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    TooLarge,
)
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.drivers.openstack import lists, readings
from vmprobe.drivers.openstack.belongings import Belongings
from vmprobe.drivers.openstack.readings import Record
from vmprobe.drivers.openstack.services import DOWN_CELLS, Services
from vmprobe.transport.http import Reply, path
from vmprobe.transport.json import short_text

_DELETED_FOR = 10.0  # seconds after which a server that is still shown as DELETED counts as gone
_CELLS_FOR = 30.0  # seconds for which an answer that all cells are up is believed


class Servers:
    """The servers of a session. Remembers what their removal will need."""

    def __init__(self, services: Services, belongings: Belongings, clock: Clock):
        self._services, self._belongings, self._clock = services, belongings, clock
        self._soft_deleted: Set[str] = set()  # ids of servers that were shown as SOFT_DELETED
        self._deleted_since: Dict[str, float] = {}  # by id, on the clock
        self._down_cells: Optional[_DownCells] = None  # the last answer
        self._has_short_list = True  # False: the list without details was refused

    def show(self, server: Ref) -> Resource:
        """The server, with the id of the request that failed if it has a fault. Ended if gone."""
        nova = self._services.nova()
        record = nova.get(path("servers", server.id), asked=f"show {server}").field("server", dict)
        if readings.is_in_silent_cell(record):
            raise GatewayFailed(f"show {server}: it is in a cell of Nova that does not answer")
        shown = self._remembered(record)
        if shown.fault:
            shown = shown._replace(request=self._failed_request(server))
        if self._is_gone(shown):
            raise Ended(f"{server} is {shown.provider_state}")
        return shown

    def list(self, name: str, all_projects: bool) -> List[Resource]:
        """The project's servers whose name starts with ``name``, or those of all projects.

        Incomplete while a cell does not answer: the names of its servers are not known.
        """
        silent: Set[str] = set()
        query = {"all_tenants": "1"} if all_projects else {}

        def read(record: Record) -> Optional[Resource]:
            if readings.is_in_silent_cell(record):
                silent.add(short_text(record, "id"))
                return None
            if not readings.name(record).startswith(name):
                return None
            if name:
                server = self._remembered(record)
                return None if self._is_gone(server) else server
            server = readings.server(record)
            return None if server.provider_state in readings.GONE else server

        servers = lists.read(
            self._services.nova(),
            "servers/detail",
            "servers",
            {"name": f"^{name}"} if name else query,
            read,
        )
        silent.update(self._in_silent_cells(query))
        if silent:
            unseen = [
                Resource(Ref(Kind.SERVER, identity), State.PENDING, "UNKNOWN")
                for identity in sorted(silent)
            ]
            raise Incomplete(
                f"list servers: a cell of Nova does not answer, "
                f"{len(silent)} of its servers cannot be seen",
                servers + unseen,
            )
        return servers

    def is_soft_deleted(self, server: Ref) -> bool:
        """Whether the server was last seen SOFT_DELETED: it is gone only after ``forceDelete``."""
        return server.id in self._soft_deleted

    def _remembered(self, record: Record) -> Resource:
        server = readings.server(record)
        self._belongings.note(server, record)
        if server.provider_state == readings.SOFT_DELETED:
            self._soft_deleted.add(server.ref.id)
        return server

    def _is_gone(self, server: Resource) -> bool:
        """Whether the server has been DELETED for long enough.

        Nova shows DELETED a moment before it lets go of a server. Where it keeps showing that,
        nothing more will come.
        """
        if server.provider_state not in readings.GONE:
            return False
        now = self._clock.now()
        return now - self._deleted_since.setdefault(server.ref.id, now) >= _DELETED_FOR

    def _failed_request(self, server: Ref) -> str:
        """The id of the request in which the server failed; "" if its actions cannot be read."""
        where = path("servers", server.id, "os-instance-actions")
        try:
            actions = self._services.nova().get(where).items("instanceActions")
        except CloudError:
            return ""
        creates = [action for action in actions if action.get("action") == "create"]
        return str(creates[0].get("request_id")) if creates else ""

    def _in_silent_cells(self, query: Mapping[str, str]) -> List[str]:
        """The ids of servers whose cell does not answer.

        Nova leaves these servers out of each list that has a filter or a page. Only the whole list
        has them, as far as it fits into one answer. It is asked for now and then, without details
        where that is allowed.
        """
        if self._services.nova_version() < DOWN_CELLS:
            return []
        last, now = self._down_cells, self._clock.now()
        if last and not last.servers and last.query == query and now - last.at < _CELLS_FOR:
            return []
        try:
            records = self._whole_list(query).items("servers")
        except TooLarge:
            records = []  # Nova does not tell in a list of so many servers anyway
        silent = [
            short_text(record, "id") for record in records if readings.is_in_silent_cell(record)
        ]
        self._down_cells = _DownCells(now, query, silent)
        return silent

    def _whole_list(self, query: Mapping[str, str]) -> Reply:
        """Nova's list without details.

        With details where access rules or a gateway refuse that path.
        """
        nova = self._services.nova()
        if self._has_short_list:
            try:
                return nova.get("servers", query=query, asked="list servers")
            except (NotFound, NotPermitted, AuthRejected):
                self._has_short_list = False
        return nova.get("servers/detail", query=query, asked="list servers")


class _DownCells(NamedTuple):
    """An answer to "which servers are in a cell that does not answer?"."""

    at: float  # on the clock
    query: Mapping[str, str]
    servers: List[str]  # ids
