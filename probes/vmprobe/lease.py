"""The lease: the handle, and the promise that everything under it goes away.

The only way to create something. It is ours to remove from before its request leaves; closing the lease removes what
the ledger holds, newest first, asks the cloud for anything else under the handle, and is satisfied only when the
cloud itself has said that nothing is left. No answer is never read as "nothing there".
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from vmprobe.clock import Deadline
from vmprobe.cloud import Cloud
from vmprobe.errors import (CloudError, Conflict, DeadlinePassed, Interrupted, LeftBehind, NotFound, RateLimited, Transient, Unreachable,
                            VmprobeError)
from vmprobe.handle import Handle
from vmprobe.ledger import Debt, Ledger
from vmprobe.model import Capability, Kind, Ref, Resource
from vmprobe.timeline import Timeline

_LOOKS = 3  # so often must a cloud not show a thing that was never seen, before that is believed
_ASK_AGAIN = 30.0  # seconds after which an accepted removal that did not happen is asked for once more
_BY_ONE = 3  # up to so many things are looked at one by one, more by one list


class Lease:
    """``with lease:`` from here on something may be owed; closing it pays."""

    def __init__(self, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline):
        self.cloud, self.handle, self.ledger, self.timeline = cloud, handle, ledger, timeline
        self.deadline: Deadline = cloud.deadline
        self.settled = True  # nothing is owed; once something was asked for, by the cloud's own word
        self.leftovers: List[Ref] = []
        self.refusal: Optional[BaseException] = None  # why the last request of the clean-up that failed did
        self._seen: Dict[Tuple[Kind, str], Ref] = {}  # by name: what the cloud has shown at least once
        self._seen_ids: Set[Tuple[Kind, str]] = set()
        self._asked: Dict[Tuple[Kind, str], float] = {}  # whose removal was accepted, and when
        self._faults: Dict[Tuple[Kind, str], str] = {}  # what the cloud says of things that are still there

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        try:
            self.release()
        except VmprobeError:
            if error is None:
                raise

    # --- create -----------------------------------------------------------------------------------------------

    def create(self, spec: Any) -> List[Ref]:
        """Ask for ``spec``; it is ours to remove from before the request leaves. Fleets as one request where possible."""
        if spec.kind is not Kind.SERVER or spec.count == 1:
            return [self._owe(spec.kind, [spec.name], self.cloud.create, spec)]
        names = [f"{spec.name}-{number}" for number in range(1, spec.count + 1)]
        if self.cloud.can(Capability.BULK):
            self._owe(Kind.SERVER, names, self.cloud.create, spec)
            return [Ref(Kind.SERVER, "", name) for name in names]  # their ids come with the first list
        return [self._owe(Kind.SERVER, [name], self.cloud.create,
                          spec._replace(name=name, count=1)) for name in names]

    def snapshot(self, server: Ref, name: str) -> Ref:
        """Ask for a snapshot of a server, as owed as anything else."""
        return self._owe(Kind.SNAPSHOT, [name], self.cloud.snapshot, server, name)

    def _owe(self, kind: Kind, names: Sequence[str], ask: Any, *words: Any) -> Ref:
        self.deadline.check()
        self.settled = False
        for name in names:
            self.ledger.intent(kind, name, self._utc())
        try:
            ref = ask(*words)
        except CloudError as error:
            if _nothing_was_made(error):
                for name in names:
                    self.ledger.refused(kind, name)
            raise
        if ref.id:
            self.ledger.created(ref, self._utc())
        return ref

    # --- look -------------------------------------------------------------------------------------------------

    def look(self, refs: Sequence[Ref]) -> Dict[str, Resource]:
        """What the cloud says of these things of one kind, by name: one by one if few, else all by one list.

        What it does not know is not in the answer; a list alone is not believed that a thing shown before is gone.
        Transient when it does not answer.
        """
        found: Dict[str, Resource] = {}
        if len(refs) > _BY_ONE or not all(ref.id for ref in refs):
            names = {ref.name for ref in refs}
            found = {thing.ref.name: thing for thing in self.cloud.list(refs[0].kind, str(self.handle))
                     if thing.ref.name in names}
            refs = [self._seen[ref.kind, ref.name] for ref in refs
                    if ref.name not in found and (ref.kind, ref.name) in self._seen]
        for ref in refs:
            try:
                found[ref.name] = self.cloud.show(ref)
            except NotFound:
                continue
        for thing in found.values():
            self.adopt(thing.ref)
        return found

    def adopt(self, ref: Ref) -> None:
        """The cloud has shown this thing under our handle: it is owed, and its id is known from now on."""
        self._seen[ref.kind, ref.name] = ref
        if (ref.kind, ref.id) not in self._seen_ids:
            self._seen_ids.add((ref.kind, ref.id))
            self._asked.pop((ref.kind, ref.id), None)  # a removal before anything was there removed nothing
        if not self.ledger.holds(ref):
            self.ledger.created(ref, self._utc())

    # --- remove -----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Remove everything under the handle and see that it is gone; LeftBehind when time ends before that."""
        self.deadline.clean_up()
        self.timeline.deleting = self.deadline.clock.now()
        with self.timeline.stage("delete"), self._round():
            self.ask_for_removal()
        with self.timeline.stage("gone"):
            self.settle()

    def settle(self, until: Optional[float] = None) -> None:
        """Remove and look, until the cloud has shown nothing under the handle; LeftBehind when time ends before that.

        ``until`` (on the monotonic clock) ends it earlier than the deadline does. What was never shown stays in the
        ledger as long as it may yet appear.
        """
        self.settled = False
        clock, polling = self.deadline.clock, self.deadline.polling
        looks = 0
        try:
            asked = max(self._asked.values(), default=None)  # of many leases, most have waited already for the first
            for _ in self.deadline.polls(clock.now() if asked is None else asked, first=0.0 if asked is None else polling.shortest):
                with self._round():
                    looks = looks + 1 if self._nothing_is_there() else 0
                    if looks >= _LOOKS or looks and not self.ledger.owed():
                        break
                    self.ask_for_removal()
                if until is not None and clock.now() >= until:
                    raise DeadlinePassed("the time to settle is over")
        except DeadlinePassed:
            raise self._left_behind() from None
        self.settled = not self.ledger.owed()

    @contextmanager
    def _round(self) -> Iterator[None]:
        """Each round says anew why something stays; one that time cuts short takes nothing back, and is itself no reason."""
        before, self.refusal = self.refusal, None
        try:
            yield
        except DeadlinePassed as cut:
            self.refusal = self.refusal or before or (None if self._fault() else cut.__cause__)
            raise self._left_behind() from None

    def ask_for_removal(self) -> None:
        """Ask once for each thing owed, newest first, and again for what was accepted long ago and did not happen.

        What the cloud has not shown under our handle yet has to be shown first: an id alone may be wrong.
        """
        for debt in self.ledger.owed():
            ref, key = debt.ref, (debt.ref.kind, debt.ref.id)
            if debt.is_intent or self.deadline.clock.now() - self._asked.get(key, -_ASK_AGAIN) < _ASK_AGAIN:
                continue
            if key not in self._seen_ids and self._is_there(ref) is None or not self.ledger.holds(ref):
                continue
            if self._try(self.cloud.delete, ref) is not _FAILED:
                self._asked[key] = self.deadline.clock.now()

    def _nothing_is_there(self) -> bool:
        """Look at everything under the handle; True when the cloud itself has just said that there is nothing."""
        shown: Set[Tuple[Kind, str]] = set()
        silent: Set[Kind] = set()
        for kind in reversed(self.cloud.kinds):  # newest first will then mean that servers go before what they hold
            found = self._try(self.cloud.list, kind, str(self.handle))
            if found is _FAILED:
                silent.add(kind)
                continue
            for thing in found:
                if self.handle.covers(thing.ref.name):
                    self.adopt(thing.ref)
                    shown.add((kind, thing.ref.id))
                    self._faults[kind, thing.ref.id] = thing.fault

        unlisted = [debt for debt in self.ledger.owed() if (debt.ref.kind, debt.ref.id) not in shown]
        fleet = len(unlisted) > _BY_ONE
        there = [debt for debt in unlisted if self._is_owed_still(debt, silent, fleet)]
        return not shown and not silent and not there

    def _is_owed_still(self, debt: Debt, silent: Set[Kind], fleet: bool) -> bool:
        """Whether something that no list shows is there, or may be; records as gone what by the cloud's word is not."""
        ref, key = debt.ref, (debt.ref.kind, debt.ref.id)
        if ref.kind in silent and debt.is_intent:
            return True
        if fleet and ref.kind not in silent and key in self._asked and key in self._seen_ids:
            self.ledger.gone(ref)  # of many, not each is asked for by itself once more
            return False
        there = False if debt.is_intent else self._is_there(ref)
        if there is not False:
            return True
        if key in self._seen_ids or abs(self._utc() - debt.at) >= self.cloud.driver.shown_by:
            self.ledger.refused(ref.kind, ref.name) if debt.is_intent else self.ledger.gone(ref)
        return False

    def _is_there(self, ref: Ref) -> Optional[bool]:
        """Whether the cloud has this thing, by its own word; None when it did not say."""
        thing = self._try(self._shown, ref)
        if thing is _FAILED:
            return None
        if thing is None:
            return False
        if thing.ref.name and not self.handle.covers(thing.ref.name):
            self.timeline.notes.append(f"{ref} is {thing.ref.name} and not ours: the ledger was wrong")
            self.ledger.gone(ref)
            return False
        self.adopt(ref)
        return True

    def _shown(self, ref: Ref) -> Optional[Resource]:
        try:
            return self.cloud.show(ref)
        except NotFound:
            return None

    def _try(self, verb: Any, *words: Any) -> Any:
        """One request of the clean-up: whatever goes wrong with it must not keep the rest from being removed."""
        try:
            return verb(*words)
        except (DeadlinePassed, Interrupted):
            raise
        except Exception as error:
            if self.deadline.left() <= 0:
                raise DeadlinePassed("the time to clean up is over") from error
            self.refusal = error
            wait = min(getattr(error, "wait", 0.0), self.deadline.left() / 4)  # obeyed, but it shall not eat all that is left
            if wait > 0:
                self.deadline.sleep(wait)
            return _FAILED

    def _left_behind(self) -> LeftBehind:
        self.leftovers = [debt.ref for debt in self.ledger.owed() if not debt.is_intent]
        names = ", ".join(str(ref) for ref in self.leftovers[:3]) or "what there may be under the handle"
        more = f" and {len(self.leftovers) - 3} more" if len(self.leftovers) > 3 else ""
        said = self.refusal or self._fault()
        why = f": {said}" if said else ""
        return LeftBehind(f"{names}{more} could not be seen gone{why}", request=getattr(self.refusal, "request", ""))

    def _fault(self) -> str:
        """What the cloud says of something that is still there."""
        owed = (debt.ref for debt in self.ledger.owed())
        return next(filter(None, (self._faults.get((ref.kind, ref.id)) for ref in owed)), "")

    def _utc(self) -> float:
        return self.deadline.clock.utc()


_FAILED = object()


# --- debts of earlier runs ----------------------------------------------------------------------------------------

def settle_debts(cloud: Cloud, directory: str, timeline: Timeline, patience: float) -> Tuple[List[Ref], List[str]]:
    """Pay what earlier runs left owed at this endpoint, within ``patience`` seconds, before anything is created.

    Returns what is still there, and what is wrong with the ledgers themselves. Ledgers of other endpoints stay: only
    there can their debts be paid. A damaged one is paid as far as it and the cloud can tell, and then set aside.
    """
    left: List[Ref] = []
    troubles: List[str] = []
    until = cloud.deadline.clock.now() + patience
    try:
        for ledger in Ledger.debts(directory, cloud.deadline.clock.utc()):
            try:
                left += _settle_one(cloud, ledger, timeline, until, troubles)
            except OSError as failed:
                troubles.append(f"the damaged ledger {ledger.path} cannot be set aside: {failed.strerror}")
            finally:
                ledger.close(settled=False)
    except OSError as failed:
        troubles.append(f"the ledgers cannot be read: {failed.strerror}")
    return left, troubles


def _settle_one(cloud: Cloud, ledger: Ledger, timeline: Timeline, until: float, troubles: List[str]) -> List[Ref]:
    handle, elsewhere = ledger.handle, ledger.about.get("endpoint", cloud.driver.identity)
    if ledger.trouble:
        troubles.append(ledger.trouble)
        return []
    if elsewhere != cloud.driver.identity:
        timeline.notes.append(f"a debt at another endpoint, {elsewhere}, stays in {ledger.path}")
        return []

    lease = None
    if handle is not None:
        lease = Lease(cloud, handle, ledger, timeline)
        try:
            lease.settle(until)
            paid = "is paid" if lease.settled else "is not there, and may yet appear"
        except LeftBehind as unpaid:
            paid = f"could not be paid: {unpaid}"
        timeline.notes.append(f"the debt of {handle} {paid}")

    if lease is None or ledger.damaged and lease.settled:
        troubles.append(f"a damaged ledger is set aside: {ledger.set_aside()}")
    else:
        ledger.close(lease.settled)
    return lease.leftovers if lease else []


def _nothing_was_made(error: CloudError) -> bool:
    """Whether a failed create surely made nothing: the manager refused it, or the request never left."""
    if isinstance(error, Unreachable):
        return not error.sent
    return not isinstance(error, Transient) or isinstance(error, (Conflict, RateLimited))
