"""The lease: the handle of one run, and the promise that everything under it is deleted.

A lease is the only way to create something. What is asked for is written to the ledger before its
request leaves. Closing the lease deletes what the ledger holds, newest first, asks the cloud for
anything else under the handle, and ends when the cloud itself has said that nothing is left. No
answer is never read as "nothing there", and nothing is touched that has not passed the gate.

The parts: ``observer`` asks the cloud, ``gate`` decides what is ours, ``ledger`` remembers it,
``cleanup`` removes it, and ``belongings`` are what the manager made for our servers by itself.
"""

from __future__ import annotations

from types import TracebackType
from typing import Callable, Dict, List, Optional, Sequence, Type

from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    ClientError,
    CloudError,
    Conflict,
    RateLimited,
    Transient,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.handle import Handle
from vmprobe.core.model import (
    AddressSpec,
    Capability,
    Kind,
    Ref,
    Resource,
    ServerSpec,
    Spec,
    member_names,
)
from vmprobe.core.timeline import Timeline
from vmprobe.lease.cleanup import Cleanup
from vmprobe.lease.gate import Gate, RefKey
from vmprobe.lease.ledger import Ledger
from vmprobe.lease.observer import LeaseObserver


class Lease:
    """``with lease:`` deletes everything created under it, on every exit."""

    def __init__(self, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline):
        self.cloud, self.handle, self.ledger, self.timeline = cloud, handle, ledger, timeline
        self._observer = LeaseObserver(cloud, handle, ledger, timeline)
        self._cleanup = Cleanup(self._observer)

    @classmethod
    def of_earlier_run(
        cls, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline
    ) -> "Lease":
        """The lease of an earlier run, by its ledger.

        The clean-up lists every kind, because the ledger may lack something.
        """
        lease = cls(cloud, handle, ledger, timeline)
        observer = lease._observer
        kinds = observer.created_kinds if ledger.damaged else observer.refused_kinds
        kinds.update(cloud.kinds)
        return lease

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self.release()
        except VmprobeError:
            if error is None:
                raise

    # --- the result ---

    @property
    def settled(self) -> bool:
        """Whether nothing is owed. After a request, only an answer of the cloud makes it True."""
        return self._cleanup.settled

    @property
    def leftovers(self) -> List[Ref]:
        """What could not be removed, newest first; filled by a clean-up that raised LeftBehind."""
        return self._cleanup.leftovers

    @property
    def uncertain(self) -> bool:
        """After LeftBehind: something may be there whose id is not known."""
        return self._cleanup.uncertain

    @property
    def last_failure(self) -> Optional[BaseException]:
        """Why the last failed request of the clean-up failed; None where none did."""
        return self._observer.attempts.last_failure

    @property
    def failed_removals(self) -> Dict[RefKey, Resource]:
        """What the cloud showed as failed during its deletion, even if it is gone now."""
        return self._observer.failed_removals

    @property
    def gate(self) -> Gate:
        """What has been shown under the handle so far."""
        return self._observer.gate

    # --- create ---

    def create(self, spec: Spec) -> List[Ref]:
        """Ask for what ``spec`` says, and return a Ref for each member.

        It is written to the ledger before the request leaves. Servers are asked for by one request
        where the manager can do that; then their ids are empty until ``show`` has listed them. An
        id is not acted upon before the cloud has shown it under the handle.
        """
        if isinstance(spec, AddressSpec):
            spec = spec._replace(server=self.gate.require(spec.server))
        if not isinstance(spec, ServerSpec) or spec.servers == 1:
            return [self._request(spec.kind, [spec.name], lambda: self.cloud.create(spec))]
        names = member_names(spec.name, spec.servers)
        if self.cloud.can(Capability.BULK):
            self._request(Kind.SERVER, names, lambda: self.cloud.create(spec))
            return [Ref(Kind.SERVER, "", name) for name in names]
        return [self._create_member(spec._replace(name=name, servers=1)) for name in names]

    def _create_member(self, spec: ServerSpec) -> Ref:
        return self._request(Kind.SERVER, [spec.name], lambda: self.cloud.create(spec))

    def snapshot(self, server: Ref, name: str) -> Ref:
        """Ask for a snapshot of a server; it is written to the ledger like anything else."""
        server = self.gate.require(server)
        return self._request(Kind.SNAPSHOT, [name], lambda: self.cloud.snapshot(server, name))

    def _request(self, kind: Kind, names: Sequence[str], request: Callable[[], Ref]) -> Ref:
        """Write the intent to the ledger, send the request, write the id from the reply."""
        self.cloud.deadline.check()
        if not all(self.handle.covers(name) for name in names):
            raise ClientError(
                f"{kind.value} {names[0]!r} would not be under {self.handle}: it is not asked for"
            )
        observer = self._observer
        self._cleanup.settled = False
        self.ledger.intent(kind, names, observer.utc())
        try:
            ref = request()
        except CloudError as error:
            if _made_nothing(error):
                self.ledger.refused(kind, names)
                if not isinstance(error, Unreachable):
                    observer.refused_kinds.add(kind)
            else:
                observer.created_kinds.add(kind)
            raise
        except BaseException:
            observer.created_kinds.add(kind)
            raise
        observer.created_kinds.add(kind)
        if len(names) > 1:
            return ref
        ref = Ref(kind, ref.id, names[0])
        if ref.id:
            self.ledger.created([ref], observer.utc())
        return ref

    # --- act on what was created ---

    def attach(self, server: Ref, volume: Ref) -> None:
        """As the driver's; Conflict until both have been shown under the handle."""
        self.cloud.attach(self.gate.require(server), self.gate.require(volume))

    def detach(self, server: Ref, volume: Ref) -> None:
        """As the driver's; Conflict until both have been shown under the handle."""
        self.cloud.detach(self.gate.require(server), self.gate.require(volume))

    def open_port(self, group: Ref, port: int) -> None:
        """As the driver's; Conflict until the group has been shown under the handle."""
        self.cloud.open_port(self.gate.require(group), port)

    def start(self, server: Ref) -> None:
        """As the driver's; Conflict until the server has been shown under the handle."""
        self.cloud.start(self.gate.require(server))

    # --- ask ---

    def show(self, refs: Sequence[Ref]) -> Dict[str, Resource]:
        """Return what the cloud says of these resources of one kind, by name.

        Up to three resources are asked for one by one, more by one list. The answer leaves out what
        the cloud does not know, or has not shown under the handle. A resource that was shown before
        and is missing in a list is asked for by itself: a list alone does not prove that it is
        gone. Transient when the cloud does not answer, or its answer is about something else.
        """
        return self._observer.show(refs)

    def admit(self, resources: Sequence[Resource]) -> List[Resource]:
        """Return those of these listed resources that are under the handle. Now they are owed."""
        return self._observer.admit(resources)

    def record_belongings(self, servers: Sequence[Ref]) -> None:
        """Write down what belongs to these servers now, in case that somebody else deletes one."""
        for server in servers:
            if self.gate.has_passed(server):
                self._cleanup.belongings.record(server)

    # --- remove ---

    def release(self) -> None:
        """Delete all under the handle, verify that it is gone; LeftBehind when time ends first."""
        deadline, timeline = self.cloud.deadline, self.timeline
        deadline.clean_up()
        timeline.deleting = deadline.clock.now()
        with timeline.stage("delete"), self._cleanup.round():
            self.request_deletion()
        with timeline.stage("gone"):
            self.remove_all()

    def request_deletion(self) -> None:
        """Ask once for the deletion of each resource owed, newest first; do not wait for it."""
        self._cleanup.request_deletion()

    def remove_all(self, until: Optional[float] = None) -> None:
        """Delete and ask, until the cloud has shown nothing under the handle.

        ``until``, in seconds on the monotonic clock, ends it earlier than the deadline does;
        LeftBehind when time ends first. What was never shown stays in the ledger as long as it may
        still appear.
        """
        self._cleanup.remove_all(until)


def _made_nothing(error: CloudError) -> bool:
    """Whether a failed create surely made nothing: it was refused, or the request never left."""
    if isinstance(error, Unreachable):
        return not error.sent
    return not isinstance(error, Transient) or isinstance(error, (Conflict, RateLimited))
