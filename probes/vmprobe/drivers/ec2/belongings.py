"""The volumes and network interfaces that EC2 makes with an instance, and may leave behind."""

from __future__ import annotations

from typing import Dict, Iterable, List, Optional

from vmprobe.core.errors import Conflict, GatewayFailed, NotFound, NotPermitted
from vmprobe.core.model import Ref, Resource
from vmprobe.drivers.ec2 import answers
from vmprobe.drivers.ec2.answers import MadeWith
from vmprobe.drivers.ec2.consistency import Requested
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.xml import text

_MOST = 100  # servers in one request


class Belongings:
    """What belongs to servers. The members of a fleet are asked about in one request.

    What was attached to a server later does not belong to it, unless EC2 is to delete both
    together.
    """

    def __init__(self, session: Session, requested: Requested):
        self._session, self._requested = session, requested
        self._fleet: Dict[str, None] = {}  # ids of the servers that this session asked for
        self._known: Dict[str, List[Ref]] = {}  # by server: answers that ``of`` did not return yet
        self._refusal: Optional[NotPermitted] = None  # why some belongings cannot be listed

    def add(self, servers: Iterable[str]) -> None:
        """This session asked for these servers (ids), as a fleet."""
        self._fleet.update(dict.fromkeys(servers))

    def forget(self, server: str) -> None:
        """Its removal was requested."""
        self._fleet.pop(server, None)

    def of(self, server: Ref) -> List[Ref]:
        """The belongings of one server, with their names. NotFound when it is gone.

        NotPermitted, with those that are known as ``partial``, where policy hides the others.
        """
        if server.id not in self._known:
            self._known.update(self._ask(server))
        if server.id not in self._known:
            raise NotFound(f"{server} is not there")
        belongings = self._known.pop(server.id)
        if self._refusal is not None:
            self._refusal.partial = belongings
            raise self._refusal
        return belongings

    def _ask(self, server: Ref) -> Dict[str, List[Ref]]:
        """The belongings of this server and of its fleet, by id of the servers that are there."""
        others = [one for one in self._fleet if one != server.id and one not in self._known]
        try:
            made = self._made_with([server.id, *others][:_MOST], server)
        except NotFound:
            if others:  # one of them may be the unknown one: ask about this server alone
                self._fleet.clear()
                return self._ask(server)
            self._requested.missed(server)
            raise
        resources = self._resources(server, made.values())
        return {
            server_id: [
                resource.ref
                for resource in resources
                if resource.ref.id in (*ids.volumes, *ids.interfaces)
                and resource.server in ("", server_id)
            ]
            for server_id, ids in made.items()
        }

    def _made_with(self, servers: List[str], server: Ref) -> Dict[str, MadeWith]:
        """What EC2 made with each of these servers, by id of those that are there."""
        found = self._session.instances(
            {"InstanceId": servers},
            f"belongings of {server}",
            lambda instance: (
                [(answers.identity(instance, "instanceId"), answers.made_with(instance))]
                if text(instance, "instanceState/name", "") not in answers.GONE
                else []
            ),
        )
        made = {server_id: ids for server_id, ids in found if server_id in servers}
        if found and not made:
            raise GatewayFailed(f"belongings of {server}: the answer is about {found[0][0]}")
        return made

    def _resources(self, server: Ref, made: Iterable[MadeWith]) -> List[Resource]:
        """All these volumes and interfaces, with their names."""
        made = list(made)
        volumes = [one for ids in made for one in ids.volumes]
        interfaces = [one for ids in made for one in ids.interfaces]
        return [
            *self._shown(server, "volumes", volumes),
            *self._shown(server, "interfaces", interfaces),
        ]

    def _shown(self, server: Ref, what: str, ids: List[str]) -> List[Resource]:
        """The volumes or interfaces of these ids; none where policy hides them.

        Conflict when one is unknown: that does not say that the server is gone.
        """
        if not ids:
            return []
        asked = f"{what} of {server}"
        try:
            if what == "volumes":
                shown = self._session.all(
                    "DescribeVolumes", {"VolumeId": ids}, asked, answers.volume
                )
            else:
                shown = self._session.all(
                    "DescribeNetworkInterfaces",
                    {"NetworkInterfaceId": ids},
                    asked,
                    answers.interface,
                )
        except NotFound as unknown:
            raise Conflict(str(unknown)) from None
        except NotPermitted as refusal:  # what is hidden could not be removed later, either
            self._refusal = refusal
            return []
        shown_ids = {resource.ref.id for resource in shown}
        others, missing = shown_ids - set(ids), set(ids) - shown_ids
        if others and missing:
            raise GatewayFailed(f"{asked}: the answer is about {min(others)}")
        return shown
