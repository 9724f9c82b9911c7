"""Wait for a whole fleet at once. The error that ends a wait says what is still missing."""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set

from vmprobe.checks.lifecycle.observer import FleetObserver, missing_resource
from vmprobe.core.clock import Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    Conflict,
    DeadlinePassed,
    NotFound,
    StageOverrun,
    Transient,
    VmprobeError,
)
from vmprobe.core.model import Capability, Ref, Resource, State
from vmprobe.core.timeline import Stage, Timeline
from vmprobe.lease.lease import Lease
from vmprobe.site.site import Site

_MOST_FAILURES = 4  # transient failures in a row that are tolerated; Conflict is not counted
_SHARE = 0.8  # of the time left: the budget of a stage without one, or with too long a one
_TOO_SHORT = 5.0  # seconds: with less time left, a stage without a budget gets none

# What each server still lacks; '' for nothing.
Missing = Mapping[str, str]


class Waiter:
    """Wait until servers, networks and volumes are ready, within the deadline and the budgets.

    Each wait raises what ends it: ResourceFailed, StageOverrun, DeadlinePassed, Interrupted, or the
    manager's failure.
    """

    def __init__(self, site: Site, cloud: Cloud, lease: Lease, timeline: Timeline):
        self.site, self.cloud, self.lease, self.timeline = site, cloud, lease, timeline
        self.deadline, self.depth = cloud.deadline, site.test_vm["depth"]
        self.observer = FleetObserver(cloud, lease, timeline)
        self.created: Dict[str, Optional[float]] = {}  # by server, on the manager's clock
        # By server, the seconds from the submission until it was first seen with an address.
        self.addressed: Dict[str, float] = {}
        self.started: Set[str] = set()  # ids of the servers that ``_start`` has started

    def until_active(self, stage: Stage, servers: Sequence[Ref]) -> List[Ref]:
        """Wait until every server is READY; returns them with the ids from the manager."""
        shown: Dict[str, Resource] = {}

        def poll() -> Missing:
            shown.update(self.observer.show_servers(servers))
            for name, server in shown.items():
                if server.addresses:
                    elapsed = self.deadline.clock.now() - stage.began
                    self.addressed.setdefault(name, elapsed)
            self._start(shown.values())
            self.observer.raise_ended(ref for ref in servers if ref.name not in shown)
            return {ref.name: missing_resource(shown.get(ref.name), ref) for ref in servers}

        self._until(stage, poll, first=self.deadline.polling.first)
        self.created = {name: server.created for name, server in shown.items()}
        known = [shown[ref.name].ref for ref in servers]
        self._refine(stage, known, {name: server.launched for name, server in shown.items()})
        return known

    def until_ports_ready(self, stage: Stage, servers: Sequence[Ref]) -> None:
        """Wait until every server has a port that can get a floating address. The stage goes on
        after that.
        """
        observer = self.observer
        self._until(
            stage, lambda: observer.missing_networks(servers, observer.show_servers(servers))
        )
        stage.servers.clear()

    def until_connected(
        self, stage: Stage, servers: Sequence[Ref], floating: Sequence[Ref] = ()
    ) -> None:
        """Wait until every server has its network, according to the manager.

        At depth console the server's console has to say so as well. At depth reach a connection
        from here has to be accepted, by its ``floating`` address (of the same name) if it has one.
        """
        if self.depth == "api" and not self.cloud.can(Capability.PORTS):
            names = [server.name for server in servers if server.name in self.addressed]
            stage.servers.update({name: self.addressed[name] for name in names})
        shown: Dict[str, Resource] = {}

        def poll() -> Missing:
            shown.update(self.observer.show_servers(servers))
            missing = self.observer.missing_networks(servers, shown)
            if self.depth == "console":
                return self.observer.add_console(missing, servers, "network")
            if self.depth == "reach":
                outside = self.lease.show(floating) if floating else shown
                port = self.site.test_vm["reach port"]
                return self.observer.add_reach(missing, servers, outside, port)
            return missing

        self._until(stage, poll)

    def until_attached(self, stage: Stage, servers: Sequence[Ref], volumes: Sequence[Ref]) -> None:
        """Attach each volume to its server, and wait until it is attached; at depth console until
        the server has used it.
        """
        servers_by_volume = _pairs(volumes, servers)
        accepted: Set[str] = set()  # volumes whose attachment the manager accepted

        def poll() -> Missing:
            shown = self.observer.show(volumes)
            missing: Dict[str, str] = {}
            for volume in volumes:
                server = servers_by_volume[volume.name]
                resource = shown.get(volume.name)
                message = missing_resource(resource, volume)
                if resource and not message and resource.server != server.id:
                    message = f"{volume} is {resource.provider_state}, not attached to {server}"
                    if volume.name not in accepted:
                        refusal = self._request(self.lease.attach, server, resource.ref)
                        if refusal is None:
                            accepted.add(volume.name)
                        else:
                            message += f": {_answer(refusal)}"
                    elif not resource.server:
                        self.observer.raise_fault(server, message)
                missing[server.name] = message
            if self.depth == "console":
                self.observer.show_servers(servers)
                return self.observer.add_console(missing, servers, "disk")
            return missing

        self._until(stage, poll)
        if self.depth != "console":  # there the server itself says when
            self._refine(stage, servers)

    def until_detached(self, stage: Stage, servers: Sequence[Ref], volumes: Sequence[Ref]) -> None:
        """Detach each volume, and wait until it is free."""
        servers_by_volume = _pairs(volumes, servers)
        accepted: Set[str] = set()

        def poll() -> Missing:
            refusals: Dict[str, Conflict] = {}
            for volume in volumes:
                if volume.name not in accepted:
                    server = servers_by_volume[volume.name]
                    refusal = self._request(self.lease.detach, server, volume)
                    if refusal is None:
                        accepted.add(volume.name)
                    else:
                        refusals[volume.name] = refusal
            shown = self.observer.show(volumes)
            missing: Dict[str, str] = {}
            for volume in volumes:
                resource = shown.get(volume.name)
                if resource is None or not resource.server:
                    missing[volume.name] = missing_resource(resource, volume)
                    continue
                message = f"{volume} is {resource.provider_state}, still attached"
                if volume.name in refusals:
                    message += f": {_answer(refusals[volume.name])}"
                if volume.name in accepted and resource.state is State.READY:
                    self.observer.raise_fault(servers_by_volume[volume.name], message)
                missing[volume.name] = message
            return missing

        self._until(stage, poll, since=stage.began)

    def until_ready(self, stage: Stage, refs: Sequence[Ref], servers: Sequence[Ref] = ()) -> None:
        """Wait until every resource is READY. ``servers``: which server each was made from, in the
        same order.
        """
        servers_by_name = _pairs(refs, servers)

        def poll() -> Missing:
            shown = self.observer.show(refs, servers_by_name)
            return {ref.name: missing_resource(shown.get(ref.name), ref) for ref in refs}

        self._until(stage, poll, since=stage.began)

    # --- one wait ---------------------------------------------------------------------------------

    def _until(
        self,
        stage: Stage,
        poll: Callable[[], Missing],
        first: float = 0.0,
        since: Optional[float] = None,
    ) -> None:
        """Call ``poll`` until nothing is missing. ``since``: when the stage began; by default, at
        the submission.
        """
        clock = self.deadline.clock
        began = self.timeline.submitted if since is None else since
        assert began is not None  # the servers are submitted before anything waits for them
        answered = began
        missing: Missing = {}
        failures, failure = 0, None
        try:
            budget = _budget(self.site.budgets.get(stage.name), self.deadline, began)
            for _ in self.deadline.polls(began, first, budget):
                try:
                    missing = poll()
                except Transient as error:
                    failures, failure = failures + 1, error
                    if failures > _MOST_FAILURES and not isinstance(error, Conflict):
                        raise
                    if error.wait:
                        self.deadline.sleep(error.wait)
                    continue
                failures, failure, answered = 0, None, clock.now()
                for name, message in missing.items():
                    if not message:  # timed after the poll, which may have taken long
                        stage.servers.setdefault(name, answered - began)
                if not any(missing.values()):
                    return
        except (DeadlinePassed, StageOverrun) as late:
            cause = self._pending_cause(missing) or late.cause
            if failure is not None and 2 * (clock.now() - answered) >= clock.now() - began:
                cause = failure.cause  # for most of the time the manager did not answer
            raise type(late)(_still_missing(missing, late, failure), cause=cause) from None

    def _pending_cause(self, missing: Missing) -> str:
        """Why the first pending resource is still pending, according to the driver; '' where it
        does not say.
        """
        causes = (
            resource.cause
            for (_, name), resource in self.observer.shown.items()
            if missing.get(name) and resource.state is State.PENDING
        )
        return next(filter(None, causes), "")

    def _start(self, servers: Iterable[Resource]) -> None:
        """Start each server that the manager created stopped, once. One that cannot be started yet
        is tried again at the next poll.
        """
        for server in servers:
            if server.ref.id in self.started or not self.cloud.driver.needs_start(server):
                continue
            try:
                self.lease.start(server.ref)
            except (Conflict, NotFound):
                continue
            self.started.add(server.ref.id)

    def _request(
        self, request: Callable[[Ref, Ref], None], server: Ref, volume: Ref
    ) -> Optional[Conflict]:
        """Attach or detach. Returns the refusal if the manager does not accept this now; the next
        poll tries again.
        """
        try:
            with self.observer.blame_servers([server]):
                request(server, volume)
        except Conflict as refusal:
            return refusal
        return None

    def _refine(
        self, stage: Stage, servers: Sequence[Ref], ended: Mapping[str, Optional[float]] = {}
    ) -> None:
        """Use the manager's own time stamps, where it has both: they are more exact than polling.

        Where ``ended`` has no time, ask for the manager's events. That is one more request, so it
        is done for a single server only.
        """
        for server in servers:
            began, end = self.created.get(server.name), ended.get(server.name)
            if began is None:
                continue
            if end is None and len(servers) == 1:
                end = self.observer.finished_at(server, stage.name)
            if end is not None and 0 <= end - began <= stage.servers[server.name]:
                stage.servers[server.name] = end - began
                stage.notes = ["according to the manager's own time stamps"]
        stage.duration = max(stage.servers.values())


def _pairs(refs: Sequence[Ref], servers: Sequence[Ref]) -> Dict[str, Ref]:
    """The server of each resource, by the resource's name. Both are in the same order."""
    return {ref.name: server for ref, server in zip(refs, servers)}


def _budget(sites: Optional[float], deadline: Deadline, began: float) -> Optional[float]:
    """Seconds after ``began`` at which a stage has to end: the site's budget if there is time for
    it, else a share of what is left. So a VM that never comes is the cloud's failure; the whole
    deadline would judge nobody.
    """
    left, elapsed = deadline.left(), deadline.clock.now() - began
    if sites is not None and sites <= elapsed + left or left < _TOO_SHORT:
        return sites
    return round(elapsed + _SHARE * left, 1)


def _answer(refusal: Conflict) -> str:
    """The manager's answer without the request, which the message names already."""
    return re.sub(r"^(?:attach|detach) [^:]*: ", "", str(refusal))


def _still_missing(missing: Missing, late: VmprobeError, failure: Optional[Transient]) -> str:
    """``2 of 5: server a is BUILD, server b is BUILD; 503 Service Unavailable; not done
    within 30 s``.
    """
    messages = [message for message in missing.values() if message]
    count = f"{len(messages)} of {len(missing)}: " if messages and len(missing) > 1 else ""
    named = count + ", ".join(messages[:3]) + (", ..." if len(messages) > 3 else "")
    return "; ".join(part for part in (named, str(failure or ""), str(late)) if part)
