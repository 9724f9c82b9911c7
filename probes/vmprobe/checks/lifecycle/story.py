"""The life of a test VM, from submission to verified absence, as one function to be read first."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from vmprobe.checks.lifecycle import metering, reach
from vmprobe.checks.lifecycle.sampling import sources, summarise
from vmprobe.core import reasons
from vmprobe.core.clock import Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    DeadlinePassed,
    Ended,
    NotFound,
    NotMeasured,
    NotPermitted,
    ResourceFailed,
    StageOverrun,
    Transient,
    VmprobeError,
)
from vmprobe.core.model import (
    AddressSpec,
    Capability,
    Kind,
    Ref,
    Resource,
    Sample,
    SecurityGroupSpec,
    ServerSpec,
    State,
    VolumeSpec,
    member_names,
)
from vmprobe.core.timeline import Stage, Timeline
from vmprobe.guest import console
from vmprobe.lease.lease import Lease
from vmprobe.site.site import Site

_FORGIVEN = 4  # so many failures in a row that may pass are waited out, the next one is the result
_SHARE = (
    0.8  # of the time that is left, which a wait gets where the site has no budget for its stage
)
_TOO_SHORT = 5.0  # seconds: where no more are left, a wait judges nobody
_USUAL = {
    Kind.VOLUME: "storage",
    Kind.SNAPSHOT: "image",
    Kind.PORT: "network",
}  # whose matter it is when such a thing fails
_UNMEASURED = 3  # so many servers that cannot be measured, and nothing of any other, are the manager's failure


def run(
    site: Site, cloud: Cloud, lease: Lease, timeline: Timeline, settle: Callable[[], None]
) -> None:
    """Live through a test VM's life; returns when it was good and is over, raises what ended it otherwise.

    ``settle`` pays the debts of earlier runs, before anything is created. On every exit the timeline has what was
    reached, and the lease has removed what it could.
    """
    test_vm, deadline = site.test_vm, cloud.deadline
    with timeline.stage("auth"):
        cloud.connect()

    with timeline.stage("image"):
        plan = cloud.resolve(test_vm)
    settle()

    with lease:  # from here on something may be owed; closing it pays
        wait = _Wait(site, cloud, lease, timeline)

        with timeline.stage("submit") as stage:
            volumes: List[Ref] = []
            if test_vm["volume"]:
                for name in member_names(str(lease.handle), test_vm["count"]):
                    volumes += lease.create(VolumeSpec(name, test_vm["volume"], plan))
            group = Ref(Kind.SECURITY_GROUP, "")
            if test_vm["depth"] == "reach" and Kind.SECURITY_GROUP in cloud.kinds:
                [group] = lease.create(SecurityGroupSpec(str(lease.handle)))
                wait.until_ready(
                    stage, [group]
                )  # no group is opened, nor a server put into it, that is not shown as ours
                group = lease.gate.require(group)
                lease.open_port(group, test_vm["reach port"])
            timeline.submitted = deadline.clock.now()
            spec = ServerSpec(
                str(lease.handle),
                plan,
                test_vm["count"],
                lease.handle.random,
                security_group=group.id,
                depth=test_vm["depth"],
            )
            servers = lease.create(spec)

        with timeline.stage("active") as stage:
            servers = wait.until_active(stage, servers)

        with timeline.stage("network") as stage:
            floating: List[Ref] = []
            if test_vm["depth"] == "reach" and plan.external:
                wait.until_plugged(stage, servers)
                for server in servers:
                    floating += lease.create(AddressSpec(server.name, server, plan))
            wait.until_connected(stage, servers, floating)
        lease.record_belongings(servers)

        if volumes:
            with timeline.stage("storage") as stage:
                wait.until_attached(stage, servers, volumes)

        if (cloud.can(Capability.METRICS) or test_vm["depth"] == "console") and site.sample[
            "readings"
        ] > 1:
            with timeline.stage("sample"), wait.blaming(servers):
                _sample(site, cloud, lease, timeline, servers)

        if test_vm["snapshot"] and cloud.can(Capability.SNAPSHOTS):
            with timeline.stage("snapshot") as stage:
                with wait.blaming(servers):
                    snapshots = [lease.snapshot(server, server.name) for server in servers]
                wait.until_ready(stage, snapshots, servers)

        if volumes:
            with timeline.stage("detach") as stage:
                wait.until_detached(stage, servers, volumes)

        # The stages ``delete`` and ``gone`` are the lease's: they come on every exit, not only on this one.


# --- waiting ------------------------------------------------------------------------------------------------------


class _Wait:
    """Waits for a whole fleet at once, each look one request where the manager can; says what it still waits for."""

    def __init__(self, site: Site, cloud: Cloud, lease: Lease, timeline: Timeline):
        self.site, self.cloud, self.lease, self.timeline = site, cloud, lease, timeline
        self.deadline: Deadline = cloud.deadline
        self.depth = site.test_vm["depth"]
        self.created: Dict[str, Optional[float]] = {}  # by server, by the manager's clock
        self.addressed: Dict[
            str, float
        ] = {}  # by server, when it was first seen with an address, since the submission
        self.shown: Dict[Tuple[Kind, str], Resource] = {}  # as the manager showed it last
        self.started: Set[str] = set()  # ids of servers that were made at rest

    def until_active(self, stage: Stage, servers: Sequence[Ref]) -> List[Ref]:
        """Every server is READY; returns them with the ids that the manager gave them."""
        now: Dict[str, Resource] = {}

        def look() -> Mapping[str, str]:
            now.update(self._servers(servers))
            for name, seen in now.items():
                if seen.addresses:
                    self.addressed.setdefault(name, self.deadline.clock.now() - stage.began)
            self._start(now.values())
            self._end_seen(ref for ref in servers if ref.name not in now)
            return {ref.name: _pending(now.get(ref.name), ref) for ref in servers}

        self._until(stage, look, first=self.deadline.polling.first)
        self.created = {name: seen.created for name, seen in now.items()}
        shown = [now[ref.name].ref for ref in servers]
        self._refine(stage, shown, {name: seen.launched for name, seen in now.items()})
        return shown

    def until_plugged(self, stage: Stage, servers: Sequence[Ref]) -> None:
        """Every server has a port that an address can be for, by the manager; the stage goes on."""
        self._until(stage, lambda: self._ports(servers, self._servers(servers)))
        stage.servers.clear()

    def until_connected(
        self, stage: Stage, servers: Sequence[Ref], floating: Sequence[Ref] = ()
    ) -> None:
        """Every server has its network: by the manager, at depth console by its own word, at depth reach by ours.

        Where servers have ``floating`` addresses, of their names, these are what has to be reached.
        """
        now: Dict[str, Resource] = {}

        if self.depth == "api" and not self.cloud.can(Capability.PORTS):
            stage.servers.update(
                {
                    ref.name: self.addressed[ref.name]
                    for ref in servers
                    if ref.name in self.addressed
                }
            )

        def look() -> Mapping[str, str]:
            now.update(self._servers(servers))
            waiting = self._ports(servers, now)
            if self.depth == "console":
                waiting = self._and_console(waiting, servers, "network")
            elif self.depth == "reach":
                outside = self.lease.show(floating) if floating else now
                waiting = self._and_reached(waiting, servers, outside)
            return waiting

        self._until(stage, look)

    def until_attached(self, stage: Stage, servers: Sequence[Ref], volumes: Sequence[Ref]) -> None:
        """Every volume is attached to its server, and at depth console written and read by it."""
        hosts = dict(zip((volume.name for volume in volumes), servers))
        asked: Dict[str, bool] = {}
        now: Dict[str, Resource] = {}

        def look() -> Mapping[str, str]:
            found = self._look(volumes)
            waiting = {}
            for volume in volumes:
                seen, host = found.get(volume.name), hosts[volume.name]
                waiting[host.name] = _pending(seen, volume)
                if waiting[host.name]:
                    continue
                if seen.server != host.id:
                    waiting[host.name] = (
                        f"{volume} is {seen.provider_state}, not attached to {host}"
                    )
                    if not asked.get(volume.name):
                        refusal = self._refusal(self.lease.attach, host, seen.ref)
                        asked[volume.name] = refusal is None
                        if refusal is not None:
                            waiting[host.name] += f": {_answer(refusal)}"
                    elif not seen.server:
                        self._refuse(host, waiting[host.name])
            if self.depth == "console":
                now.update(self._servers(servers))
                waiting = self._and_console(waiting, servers, "disk")
            return waiting

        self._until(stage, look)
        if self.depth != "console":  # there the last word is the VM's
            self._refine(stage, servers)

    def until_detached(self, stage: Stage, servers: Sequence[Ref], volumes: Sequence[Ref]) -> None:
        """Every volume is free again."""
        hosts = dict(zip((volume.name for volume in volumes), servers))
        asked: Dict[str, bool] = {}

        def look() -> Mapping[str, str]:
            refusals = {}
            for volume in volumes:
                if not asked.get(volume.name):
                    refusals[volume.name] = self._refusal(
                        self.lease.detach, hosts[volume.name], volume
                    )
                    asked[volume.name] = refusals[volume.name] is None
            found = self._look(volumes)
            waiting = {}
            for volume in volumes:
                seen, host = found.get(volume.name), hosts[volume.name]
                if seen is None or not seen.server:
                    waiting[volume.name] = _pending(seen, volume)
                    continue
                waiting[volume.name] = f"{volume} is {seen.provider_state}, still attached"
                if refusals.get(volume.name) is not None:
                    waiting[volume.name] += f": {_answer(refusals[volume.name])}"
                if asked[volume.name] and seen.state is State.READY:
                    self._refuse(host, waiting[volume.name])
            return waiting

        self._until(stage, look, since=stage.began)

    def until_ready(self, stage: Stage, things: Sequence[Ref], servers: Sequence[Ref] = ()) -> None:
        """Every one of these things is READY; the fault of the server beside it, where it was made of one, says why it is not."""
        hosts = dict(zip((ref.name for ref in things), servers))

        def look() -> Mapping[str, str]:
            found = self._look(things, hosts)
            return {ref.name: _pending(found.get(ref.name), ref) for ref in things}

        self._until(stage, look, since=stage.began)

    def _until(
        self,
        stage: Stage,
        look: Callable[[], Mapping[str, str]],
        first: float = 0.0,
        since: float = -1.0,
    ) -> None:
        """Look until nothing is waited for. ``look`` says for each server what is missing, '' if nothing is.

        What ends the wait says what is still missing, and why the last look failed if it did.
        """
        clock = self.deadline.clock
        began = answered = self.timeline.submitted if since < 0 else since
        waiting: Mapping[str, str] = {}
        failures = 0
        failed: Optional[Transient] = None
        try:
            for _ in self.deadline.polls(began, first, self._budget(stage, began)):
                try:
                    waiting = look()
                except Transient as passing:
                    failures, failed = failures + 1, passing
                    if failures > _FORGIVEN and not isinstance(passing, Conflict):
                        raise
                    if passing.wait:
                        self.deadline.sleep(passing.wait)
                    continue
                failures, failed, answered = 0, None, clock.now()
                for name, what in waiting.items():
                    if not what:
                        stage.servers.setdefault(
                            name, answered - began
                        )  # after the look: it may have taken long
                if not any(waiting.values()):
                    return
        except (DeadlinePassed, StageOverrun) as late:
            silent = failed is not None and 2 * (clock.now() - answered) >= clock.now() - began
            cause = failed.cause if silent else self._whose(waiting) or late.cause
            raise type(late)(_still(waiting, late, failed), cause=cause) from None

    def _whose(self, waiting: Mapping[str, str]) -> str:
        """Whose matter it is, by the driver's word, that the first of those that are waited for is still on its way."""
        return next(
            (
                seen.cause
                for (_, name), seen in self.shown.items()
                if waiting.get(name) and seen.state is State.PENDING and seen.cause
            ),
            "",
        )

    def _budget(self, stage: Stage, began: float) -> Optional[float]:
        """How long after ``began`` the stage may end: the site's budget if there is time for it, else a share of what is left.

        So what never comes is the cloud's failure and has its cause; the whole deadline would judge nobody.
        """
        given, left = self.site.budgets.get(stage.name), self.deadline.left()
        gone_by = self.deadline.clock.now() - began
        if given is not None and given <= gone_by + left or left < _TOO_SHORT:
            return given
        return round(gone_by + _SHARE * left, 1)

    # --- looking ----------------------------------------------------------------------------------------------

    def _look(self, refs: Sequence[Ref], hosts: Mapping[str, Ref] = {}) -> Dict[str, Resource]:
        """What the manager says of these things now; one that it has shown before and that is not there any more ends the run.

        ``hosts``: by name, the server whose fault may say why.
        """
        found = self.lease.show(refs)
        for ref in refs:
            before = self.shown.get((ref.kind, ref.name))
            if ref.name not in found and before is not None:
                raise self._vanished(before, hosts.get(ref.name))
        for name, host in hosts.items():
            if name in found and found[name].state is State.FAILED and not found[name].fault:
                found[name] = found[name]._replace(fault=self._fault(host, found[name].ref))
        self.shown.update({(thing.ref.kind, name): thing for name, thing in found.items()})
        return found

    def _vanished(self, before: Resource, host: Optional[Ref]) -> ResourceFailed:
        fault = self._fault(host, before.ref) if host is not None else ""
        text = f"{before.ref} was {before.provider_state} and is no longer there" + (
            f": {fault}" if fault else ""
        )
        return ResourceFailed(
            text, reasons.cause(fault) or _USUAL.get(before.ref.kind, "scheduler")
        )

    def _fault(self, host: Ref, ref: Ref) -> str:
        """What the manager says at a server of what went wrong with a thing that was made of it."""
        try:
            return self.cloud.show(host).fault
        except CloudError as unknown:
            self.timeline.notes.append(f"why {ref} failed is not known: {unknown}")
            return ""

    def _servers(self, servers: Sequence[Ref]) -> Dict[str, Resource]:
        """The servers as they are now; one that failed, or is no longer there, ends the run."""
        now = self._look(servers)
        for seen in now.values():
            if seen.state is State.FAILED:
                raise self._failed(seen, len(servers))
        return now

    def _start(self, seen: Iterable[Resource]) -> None:
        """Start those that were made at rest, each once; what cannot be started yet is tried again with the next look."""
        for server in seen:
            if server.ref.id in self.started or not self.cloud.driver.needs_start(server):
                continue
            try:
                self.lease.start(server.ref)
            except (Conflict, NotFound):
                continue
            self.started.add(server.ref.id)

    def _end_seen(self, unseen: Iterable[Ref]) -> None:
        """Of servers that were never shown: one whose end the manager itself tells ends the run."""
        for ref in unseen:
            if not ref.id:
                continue  # of a fleet, which has its ids by the list
            try:
                self.cloud.show(ref)
            except Ended as ended:
                raise ResourceFailed(
                    str(ended), ended.cause or "scheduler", ended.request
                ) from None
            except CloudError:
                continue  # not shown yet: the next look asks again

    def _failed(self, seen: Resource, count: int) -> ResourceFailed:
        """The error of a server that failed; a list often has not all of it, so it is asked for by itself."""
        if not (seen.fault and seen.request):
            try:
                seen = self.cloud.show(seen.ref)
            except CloudError as unknown:
                self.timeline.notes.append(f"the fault of {seen.ref} is not known: {unknown}")
        of = f" (one of {count})" if count > 1 else ""
        text = f"{seen.ref} is {seen.provider_state}{of}" + (
            f": {seen.fault}" if seen.fault else ""
        )
        return ResourceFailed(text, _cause(seen, "scheduler"), seen.request)

    def _refuse(self, host: Ref, what: str) -> None:
        """What was accepted has not come: where the manager says at the server why, it never will."""
        try:
            server = self.cloud.show(host)
        except CloudError:
            return
        if server.fault:
            raise ResourceFailed(f"{what}: {server.fault}", _cause(server, "storage"))

    def _ports(self, servers: Sequence[Ref], now: Mapping[str, Resource]) -> Dict[str, str]:
        """What is missing of each server's network, by the manager."""
        if not self.cloud.can(Capability.PORTS):
            return {
                ref.name: ""
                if now.get(ref.name) and now[ref.name].addresses
                else f"{ref} has no address"
                for ref in servers
            }
        ports: Dict[str, List[Resource]] = {}
        for port in self.cloud.ports(servers):
            ports.setdefault(port.server, []).append(port)
        return {ref.name: _unplugged(ref, ports.get(ref.id, [])) for ref in servers}

    def _and_console(
        self, waiting: Mapping[str, str], servers: Sequence[Ref], fact: str
    ) -> Dict[str, str]:
        """``waiting``, and where nothing is missing by the manager, what the server's console has not said yet."""
        found = dict(waiting)
        for ref in servers:
            if not found[ref.name]:
                text = self.cloud.console(ref)
                found[ref.name] = console.missing(
                    console.facts(text, self.lease.handle.random), fact, ref
                )
        return found

    def _and_reached(
        self, waiting: Mapping[str, str], servers: Sequence[Ref], seen: Mapping[str, Resource]
    ) -> Dict[str, str]:
        """``waiting``, and where nothing is missing by the manager, why no connection to the server can be made from here."""
        ready = [ref for ref in servers if not waiting[ref.name]]
        addresses = {
            ref.name: seen[ref.name].addresses if ref.name in seen else () for ref in ready
        }
        unreached = reach.unreached(addresses, self.site.test_vm["reach port"], self.deadline)
        return {
            **waiting,
            **{ref.name: unreached[ref.name] and f"{ref}: {unreached[ref.name]}" for ref in ready},
        }

    def _refusal(
        self, ask: Callable[[Ref, Ref], None], server: Ref, volume: Ref
    ) -> Optional[Conflict]:
        """Ask; the manager's refusal if it does not accept this now, which is asked again with the next look."""
        try:
            with self.blaming([server]):
                ask(server, volume)
        except Conflict as refusal:
            return refusal
        return None

    @contextmanager
    def blaming(self, servers: Sequence[Ref]) -> Iterator[None]:
        """Where a request about servers is refused because one of them has failed or is gone, that is what is told."""
        try:
            yield
        except (Conflict, NotFound):
            self._look_for_failures(servers)
            raise

    def _look_for_failures(self, servers: Sequence[Ref]) -> None:
        try:
            self._servers(servers)
        except ResourceFailed:
            raise
        except CloudError as unknown:
            self.timeline.notes.append(f"whether the servers are well is not known: {unknown}")

    def _refine(
        self, stage: Stage, servers: Sequence[Ref], ended: Mapping[str, Optional[float]] = {}
    ) -> None:
        """Where the manager stamps both moments, its own figures are better than what polling saw.

        What has not ``ended`` by what polling saw may have by the manager's events: one more request, for a single server.
        """
        for ref in servers:
            began, end = self.created.get(ref.name), ended.get(ref.name)
            if began is not None and end is None and len(servers) == 1:
                end = self._finished(ref, stage.name)
            if (
                began is not None
                and end is not None
                and 0 <= end - began <= stage.servers[ref.name]
            ):
                stage.servers[ref.name] = end - began
                stage.notes = ["by the manager's own time stamps"]
        stage.duration = max(stage.servers.values())

    def _finished(self, server: Ref, stage: str) -> Optional[float]:
        try:
            return self.cloud.finished_at(server, stage)
        except CloudError:
            return None  # what polling saw will do


def _pending(seen, ref: Ref) -> str:
    """What is still missing of a thing, '' when it is READY; ResourceFailed when it never will be."""
    if seen is None:
        return f"{ref.kind.value} {ref.id or ref.name} is not shown yet"
    if seen.state is State.READY:
        return ""
    said = f"{seen.ref} is {seen.provider_state}" + (
        f": {seen.fault}" if seen.fault else ""
    )  # why it failed, or has to wait
    if seen.state is State.FAILED:
        raise ResourceFailed(said, _cause(seen, _USUAL.get(ref.kind, "scheduler")))
    return said


def _cause(seen: Resource, usual: str) -> str:
    """Whose matter it is that a thing failed: by the driver's word, by the fault's words, else what is ``usual``."""
    return seen.cause or reasons.cause(seen.fault) or usual


def _unplugged(server: Ref, ports: Sequence[Resource]) -> str:
    if not ports:
        return f"{server} has no port"
    for port in ports:
        if port.state is State.FAILED:
            raise ResourceFailed(
                f"{port.ref} of {server} is {port.provider_state}"
                + (f": {port.fault}" if port.fault else ""),
                _cause(port, "network"),
            )
        if port.state is not State.READY:
            return f"{port.ref} of {server} is {port.provider_state}"
    return "" if any(port.addresses for port in ports) else f"{server} has no address"


def _answer(refusal: Conflict) -> str:
    """What the manager answered, without what it was asked, which has been said."""
    return re.sub(r"^(?:attach|detach) [^:]*: ", "", str(refusal))


def _still(waiting: Mapping[str, str], late: VmprobeError, failed: Optional[Transient]) -> str:
    """A sentence for a wait that ended before what was waited for came, stragglers named, and how the last look failed."""
    missing = [what for what in waiting.values() if what]
    of = f"{len(missing)} of {len(waiting)}: " if len(waiting) > 1 else ""
    named = of + ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "") if missing else ""
    return "; ".join(part for part in (named, str(failed or ""), str(late)) if part)


# --- sampling -----------------------------------------------------------------------------------------------------


def _sample(
    site: Site, cloud: Cloud, lease: Lease, timeline: Timeline, servers: Sequence[Ref]
) -> None:
    """What the manager measures of the servers, what they felt themselves, and how far the two are apart."""
    measured = _measured(site, cloud, timeline, servers) if cloud.can(Capability.METRICS) else {}
    said = _heard(site, cloud, lease, timeline, servers)

    timeline.metrics.update(measured)
    timeline.metrics.update(metering.felt(said))
    window = (site.sample["readings"] - 1) * site.sample["interval"]
    factor, told = metering.compare(measured, [metering.rates(facts, window) for facts in said])
    if factor is not None:
        timeline.metrics["metering"] = factor
    timeline.notes += told


def _measured(
    site: Site, cloud: Cloud, timeline: Timeline, servers: Sequence[Ref]
) -> Dict[str, float]:
    """Average and peak of what the manager measures of the servers; what it cannot say is named, never zero."""
    readings: Dict[str, List[List[Sample]]] = {ref.id: [] for ref in servers}
    failed: Dict[
        str, CloudError
    ] = {}  # one server that cannot be measured is not everybody's failure
    try:
        for number in range(site.sample["readings"]):
            if number:
                cloud.deadline.sleep(site.sample["interval"])
            for ref in servers:
                if ref.id not in failed:
                    _read(cloud, ref, readings[ref.id], failed)
                if len(failed) > _UNMEASURED and not any(readings.values()):
                    raise failed[ref.id]
        if len(failed) == len(servers):
            raise next(iter(failed.values()))
    except (NotPermitted, NotMeasured) as unmeasured:
        timeline.notes.append(f"metrics are not measured: {unmeasured}")
        return {}
    timeline.notes += [
        f"server {server} is not measured: {error}"
        for server, error in list(failed.items())[:_UNMEASURED]
    ]
    figures, missing = summarise(list(readings.values()))
    timeline.notes += sources(list(readings.values()))
    if missing:
        timeline.notes.append(f"not measured, the manager does not say: {', '.join(missing)}")
    return figures


def _read(
    cloud: Cloud, server: Ref, readings: List[List[Sample]], failed: Dict[str, CloudError]
) -> None:
    """One more reading of a server, or why there will be none; what policy forbids is forbidden for all of them."""
    try:
        readings.append(cloud.metrics(server))
    except NotPermitted:
        raise
    except CloudError as error:
        failed[server.id] = error


def _heard(
    site: Site, cloud: Cloud, lease: Lease, timeline: Timeline, servers: Sequence[Ref]
) -> List[List[console.Fact]]:
    """What each server's console has said so far; nothing where it is not asked, or does not answer just now."""
    if site.test_vm["depth"] != "console":
        return []
    try:
        return [console.facts(cloud.console(ref), lease.handle.random) for ref in servers]
    except CloudError as unheard:
        timeline.notes.append(f"what the servers felt is not known: {unheard}")
        return []
