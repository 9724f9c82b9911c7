"""Ask the cloud about one lease. Each answer is checked by the gate and written to the ledger."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Set, Tuple

from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import NotFound
from vmprobe.core.handle import Handle
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.core.timeline import Timeline
from vmprobe.lease.attempts import FAILED, Attempts
from vmprobe.lease.entries import Debt
from vmprobe.lease.gate import Gate, Owner, RefKey, key_of
from vmprobe.lease.ledger import Ledger

ONE_BY_ONE = 3  # up to three resources are asked for one by one, more by one list


class LeaseObserver:
    """Ask the cloud about the resources of one lease, and remember what it said."""

    def __init__(self, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline):
        self.cloud, self.handle, self.ledger, self.timeline = cloud, handle, ledger, timeline
        self.gate = Gate(handle)
        self.attempts = Attempts(cloud.deadline)
        clock = cloud.deadline.clock
        self._utc_offset = clock.utc() - clock.now()  # read once: UTC may be set during a run

        # Kinds of which something may exist, until the cloud says that nothing does.
        self.created_kinds: Set[Kind] = set()
        # Kinds of which a create was refused: the cloud is asked once, to be sure.
        self.refused_kinds: Set[Kind] = set()
        self.deletions: Dict[RefKey, float] = {}  # accepted deletions: when, on the monotonic clock
        # Servers that were READY once: the manager has made everything that belongs to them.
        self.was_ready: Set[RefKey] = set()
        # Resources that an earlier run has seen: when the cloud does not show them, they are gone.
        self.seen_by_earlier_run: Set[RefKey] = set()
        # Resources that failed during their deletion, even if they are gone now.
        self.failed_removals: Dict[RefKey, Resource] = {}
        self._soft_deleted: Set[RefKey] = set()  # deleted, and kept by the cloud for a while
        self._faults: Dict[RefKey, str] = {}  # the cloud's newest fault text of each resource

        for debt in ledger.owed():
            self.created_kinds.add(debt.ref.kind)
            if debt.server:
                self.gate.bind(debt.server, debt.ref)
                self.seen_by_earlier_run.add((Kind.SERVER, debt.server))

    # --- ask ---

    def show(self, refs: Sequence[Ref]) -> Dict[str, Resource]:
        """As ``Lease.show``."""
        shown: Dict[str, Resource] = {}
        if len(refs) > ONE_BY_ONE or not all(ref.id for ref in refs):
            shown = self._list(refs)
            refs = [
                ref
                for ref in map(self.gate.resolve, refs)
                if ref.name not in shown and self.gate.has_passed(ref)
            ]
        else:
            refs = [self.gate.resolve(ref) for ref in refs]
        for ref in refs:
            resource = self._show(ref) if ref.id else None
            if resource is not None:
                shown[ref.name] = resource
        # Where an id turned out to be another's, the list knows the right one.
        if any(not self.gate.resolve(ref).id or self.gate.is_nameless(ref) for ref in refs):
            for name, resource in self._list(refs).items():
                shown.setdefault(name, resource)
        return shown

    def admit(self, resources: Sequence[Resource]) -> List[Resource]:
        """Return those of these listed resources that are under the handle, and write them down."""
        ours = []
        for resource in resources:
            known = self.gate.has_passed(resource.ref)
            if self.gate.check_listed(resource.ref.kind, resource):
                ours.append(resource)
                self._observe(resource, known)
        self._record([resource.ref for resource in ours])
        return ours

    def is_there(self, debt: Debt) -> Optional[bool]:
        """Ask whether the cloud has this resource as ours; None when it did not say."""
        answer = self.attempts.attempt(lambda: self._ask(debt.ref))
        if answer is FAILED:
            return None
        if answer is None or answer[0] is Owner.OTHER:
            return False
        if answer[0] is Owner.UNKNOWN:
            named = self.gate.by_name(debt.ref.kind, debt.ref.name)
            if named is None and not self.is_past_window(debt):
                return None  # its name may appear late
            self._disown(debt.ref, "has no name")
            return False
        return True

    # --- what is known without asking ---

    def is_past_window(self, debt: Debt) -> bool:
        """Whether it was asked for so long ago that every list would show it by now."""
        return abs(self.utc() - debt.at) >= self.cloud.driver.consistency_window

    def requested(self, kind: Kind) -> List[Debt]:
        """What the run itself asked for of a kind, and is still owed."""
        return [debt for debt in self.ledger.owed() if debt.ref.kind is kind and not debt.server]

    def fault(self) -> str:
        """The cloud's fault text of something that is still owed; '' where there is none."""
        faults = (self._faults.get(key_of(debt.ref)) for debt in self.ledger.owed())
        return next(filter(None, faults), "")

    def utc(self) -> float:
        """Seconds since the epoch, on a clock that nobody sets during the run."""
        return self.cloud.deadline.clock.now() + self._utc_offset

    # --- take in an answer ---

    def _list(self, refs: Sequence[Ref]) -> Dict[str, Resource]:
        """Return what one list shows of these refs of one kind, by name."""
        kind, by_name = refs[0].kind, {ref.name.lower(): ref for ref in refs}
        listed: Dict[str, Resource] = {}
        for resource in self.admit(self.cloud.list(kind, str(self.handle))):
            ref = by_name.get(resource.ref.name.lower())
            if ref is not None and (ref.name not in listed or resource.ref.id == ref.id):
                listed[ref.name] = resource
        return listed

    def _show(self, ref: Ref) -> Optional[Resource]:
        """Return what the cloud says of one resource; None when it is not there or not ours."""
        answer = self._ask(ref)
        return answer[1] if answer and answer[0] is Owner.OURS else None

    def _ask(self, ref: Ref) -> Optional[Tuple[Owner, Resource]]:
        """Ask for one resource; return its owner and what the cloud says. None: it is not there."""
        try:
            resource = self.cloud.show(ref)
        except NotFound:
            return None
        known = self.gate.has_passed(ref)
        owner = self.gate.check_shown(ref, resource)
        if owner is Owner.OURS:
            # A reply without a name must not remove the name that is known.
            resource = resource._replace(ref=ref._replace(name=resource.ref.name or ref.name))
            self._observe(resource, known)
            self._record([resource.ref])
        elif owner is Owner.OTHER:
            self._disown(
                ref,
                f"belongs to server {resource.server}"
                if resource.ref.name == ref.name
                else f"is called {resource.ref.name!r}",
            )
        return owner, resource

    def _observe(self, resource: Resource, known: bool) -> None:
        """Something of ours is there. ``known``: it was shown before."""
        key = key_of(resource.ref)
        self._faults[key] = resource.fault
        if key in self.deletions and resource.state is State.FAILED and resource.fault:
            self.failed_removals.setdefault(key, resource)
        self.created_kinds.add(resource.ref.kind)
        if resource.state is State.READY:
            self.was_ready.add(key)
        if not known:
            self.deletions.pop(key, None)  # a deletion before anything was there deleted nothing
        if key not in self._soft_deleted and self.cloud.driver.is_soft_deleted(resource):
            self._soft_deleted.add(key)
            self.deletions.pop(key, None)  # only another deletion ends it

    def _record(self, refs: Sequence[Ref]) -> None:
        new = [ref for ref in refs if not self.ledger.holds(ref)]
        if new:
            self.ledger.created(new, self.utc())

    def _disown(self, ref: Ref, why: str) -> None:
        """Write down that a resource is not ours, whatever a reply or the ledger said.

        What was asked for under its name may still appear, so it stays owed as an intent.
        """
        self.timeline.notes.append(f"{ref} {why} and is not ours: it is not touched")
        debt = next((debt for debt in self.ledger.owed() if key_of(debt.ref) == key_of(ref)), None)
        self.ledger.gone([ref])
        if (
            debt
            and not debt.server
            and not self.is_past_window(debt)
            and self.gate.by_name(ref.kind, debt.ref.name) is None
        ):
            self.ledger.intent(ref.kind, [debt.ref.name], debt.at)
