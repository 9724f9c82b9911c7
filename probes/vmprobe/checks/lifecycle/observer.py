"""Observe test VMs: through the manager, through their consoles, and by connections to them.

Up to three resources are asked for one by one, more by one list. A server that failed, or is not
there any more, raises ResourceFailed, with the manager's message and the cause.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from vmprobe.checks import judge
from vmprobe.checks.lifecycle import reach
from vmprobe.core import reasons
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import CloudError, Conflict, Ended, NotFound, ResourceFailed
from vmprobe.core.model import Capability, Kind, Ref, Resource, State
from vmprobe.core.timeline import Timeline
from vmprobe.guest import console
from vmprobe.lease.lease import Lease

# The stage that a kind of resource belongs to; all others: active.
_STAGES = {Kind.VOLUME: "storage", Kind.SNAPSHOT: "snapshot", Kind.PORT: "network"}


class FleetObserver:
    """Ask for what a run created, and remember how the manager showed it last."""

    def __init__(self, cloud: Cloud, lease: Lease, timeline: Timeline):
        self.cloud, self.lease, self.timeline = cloud, lease, timeline
        self.shown: Dict[Tuple[Kind, str], Resource] = {}  # by kind and name

    # --- through the manager ----------------------------------------------------------------------

    def show(self, refs: Sequence[Ref], servers: Mapping[str, Ref] = {}) -> Dict[str, Resource]:
        """Return what the manager shows, by name; ResourceFailed for what it showed before and does
        not show any more.

        ``servers``: by name, the server whose fault may say why a resource failed.
        """
        resources = self.lease.show(refs)
        for ref in refs:
            before = self.shown.get((ref.kind, ref.name))
            if ref.name not in resources and before is not None:
                raise self._vanished(before, servers.get(ref.name))
        for name, server in servers.items():
            resource = resources.get(name)
            if resource and resource.state is State.FAILED and not resource.fault:
                fault = self._fault(server, resource.ref)
                resources[name] = resource._replace(fault=fault)
        self.shown.update({(each.ref.kind, name): each for name, each in resources.items()})
        return resources

    def show_servers(self, servers: Sequence[Ref]) -> Dict[str, Resource]:
        """Return what the manager shows of servers, by name; ResourceFailed for one that failed or
        is gone.
        """
        resources = self.show(servers)
        for server in resources.values():
            if server.state is State.FAILED:
                raise self._server_failed(server, len(servers))
        return resources

    def raise_ended(self, servers: Iterable[Ref]) -> None:
        """Raise ResourceFailed if the manager says of a server, which was never shown, that it has
        ended.
        """
        for server in servers:
            if not server.id:
                continue  # a member of a fleet: its id is only known once it is listed
            try:
                self.cloud.show(server)
            except Ended as ended:
                cause = ended.cause or _usual_cause(Kind.SERVER)
                raise ResourceFailed(str(ended), cause, ended.request) from None
            except CloudError:
                continue  # not shown yet: the next poll asks again

    def raise_fault(self, server: Ref, message: str) -> None:
        """Raise ResourceFailed if the server's fault says why an accepted request had no effect."""
        try:
            resource = self.cloud.show(server)
        except CloudError:
            return
        if resource.fault:
            raise ResourceFailed(f"{message}: {resource.fault}", _cause(resource, Kind.VOLUME))

    @contextmanager
    def blame_servers(self, servers: Sequence[Ref]) -> Iterator[None]:
        """Replace the error of a refused request by the failure of a server, if one failed or is
        gone.
        """
        try:
            yield
        except (Conflict, NotFound):
            try:
                self.show_servers(servers)
            except ResourceFailed:
                raise
            except CloudError as error:
                self.timeline.notes.append(f"could not check the servers: {error}")
            raise

    def missing_networks(
        self, servers: Sequence[Ref], shown: Mapping[str, Resource]
    ) -> Dict[str, str]:
        """Return what each server's network still lacks, '' for nothing."""
        if not self.cloud.can(Capability.PORTS):
            return {
                server.name: ""
                if server.name in shown and shown[server.name].addresses
                else f"{server} has no address"
                for server in servers
            }
        ports: Dict[str, List[Resource]] = {}
        for port in self.cloud.ports(servers):
            ports.setdefault(port.server, []).append(port)
        return {server.name: _missing_port(server, ports.get(server.id, [])) for server in servers}

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        """Return when a stage ended, from the manager's events; None where it does not say."""
        try:
            return self.cloud.finished_at(server, stage)
        except CloudError:
            return None  # then the time that polling measured is used

    def _vanished(self, before: Resource, server: Optional[Ref]) -> ResourceFailed:
        fault = self._fault(server, before.ref) if server is not None else ""
        message = f"{before.ref} was {before.provider_state} and is no longer there"
        cause = reasons.cause(fault) or _usual_cause(before.ref.kind)
        return ResourceFailed(f"{message}: {fault}" if fault else message, cause)

    def _fault(self, server: Ref, ref: Ref) -> str:
        """The fault of the server that ``ref`` was made of."""
        try:
            return self.cloud.show(server).fault
        except CloudError as error:
            self.timeline.notes.append(f"why {ref} failed is not known: {error}")
            return ""

    def _server_failed(self, server: Resource, count: int) -> ResourceFailed:
        """The error for a failed server. It is asked for once more by itself: a list often leaves
        out the fault.
        """
        if not (server.fault and server.request):
            try:
                server = self.cloud.show(server.ref)
            except CloudError as error:
                self.timeline.notes.append(f"the fault of {server.ref} is not known: {error}")
        of_fleet = f" (one of {count})" if count > 1 else ""
        fault = f": {server.fault}" if server.fault else ""
        message = f"{server.ref} is {server.provider_state}{of_fleet}{fault}"
        return ResourceFailed(message, _cause(server, Kind.SERVER), server.request)

    # --- through consoles, and by connections -----------------------------------------------------

    def add_console(
        self, missing: Mapping[str, str], servers: Sequence[Ref], fact: str
    ) -> Dict[str, str]:
        """Return ``missing``; for servers that lack nothing there, what their console has not said
        yet.
        """
        result = dict(missing)
        for server in servers:
            if not result[server.name]:
                facts = console.facts(self.cloud.console(server), self.lease.handle.random)
                result[server.name] = console.missing(facts, fact, server)
        return result

    def add_reach(
        self,
        missing: Mapping[str, str],
        servers: Sequence[Ref],
        shown: Mapping[str, Resource],
        port: int,
    ) -> Dict[str, str]:
        """Return ``missing``; for servers that lack nothing there, why they do not accept a
        connection from here.
        """
        ready = [server for server in servers if not missing[server.name]]
        addresses = {
            server.name: shown[server.name].addresses if server.name in shown else ()
            for server in ready
        }
        unreached = reach.unreached(addresses, port, self.cloud.deadline)
        return {
            **missing,
            **{
                server.name: unreached[server.name] and f"{server}: {unreached[server.name]}"
                for server in ready
            },
        }


def missing_resource(resource: Optional[Resource], ref: Ref) -> str:
    """Why a resource is not READY, '' when it is; ResourceFailed when it never will be."""
    if resource is None:
        return f"{ref.kind.value} {ref.id or ref.name} is not shown yet"
    if resource.state is State.READY:
        return ""
    fault = f": {resource.fault}" if resource.fault else ""  # why it failed, or has to wait
    message = f"{resource.ref} is {resource.provider_state}{fault}"
    if resource.state is State.FAILED:
        cause = _cause(resource, ref.kind)
        raise ResourceFailed(message, cause)
    return message


def _missing_port(server: Ref, ports: Sequence[Resource]) -> str:
    """What a server's ports still lack, '' for nothing; ResourceFailed for a port that failed."""
    if not ports:
        return f"{server} has no port"
    for port in ports:
        message = f"{port.ref} of {server} is {port.provider_state}"
        if port.state is State.FAILED:
            fault = f": {port.fault}" if port.fault else ""
            raise ResourceFailed(f"{message}{fault}", _cause(port, Kind.PORT))
        if port.state is not State.READY:
            return message
    return "" if any(port.addresses for port in ports) else f"{server} has no address"


def _cause(resource: Resource, kind: Kind) -> str:
    """The cause of a failure: the driver's, else the one that the fault's text names, else the
    usual one of this kind.
    """
    return resource.cause or reasons.cause(resource.fault) or _usual_cause(kind)


def _usual_cause(kind: Kind) -> str:
    return judge.cause_of_stage(_STAGES.get(kind, "active"))
