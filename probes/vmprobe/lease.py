"""The lease: the handle, and the promise that everything under it goes away.

The only way to create something. It is ours to remove from before its request leaves; closing the lease removes what
the ledger holds, newest first, asks the cloud for anything else under the handle, and is satisfied only when the
cloud itself has said that nothing is left. No answer is never read as "nothing there".
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Set

from vmprobe.clock import Deadline
from vmprobe.cloud import Cloud
from vmprobe.errors import CloudError, Conflict, DeadlinePassed, LeftBehind, NotFound, Transient, Unreachable, VmprobeError
from vmprobe.handle import Handle
from vmprobe.ledger import Debt, Ledger
from vmprobe.model import Capability, Kind, Ref, Resource, ServerSpec
from vmprobe.timeline import Timeline

_LOOKS = 3  # so often must a cloud not show a thing that was never seen, before that is believed
_SHOWN_BY = 120.0  # seconds after which every cloud shows what it made
_ASK_AGAIN = 30.0  # seconds after which an accepted removal that did not happen is asked for once more
_BY_ONE = 3  # up to so many things are looked at one by one, more by one list


class Lease:
    """``with lease:`` from here on something may be owed; closing it pays."""

    def __init__(self, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline):
        self.cloud, self.handle, self.ledger, self.timeline = cloud, handle, ledger, timeline
        self.deadline: Deadline = cloud.deadline
        self.leftovers: List[Ref] = []
        self.refusal: Optional[VmprobeError] = None  # why the last removal that failed did
        self._seen: Set[str] = set()  # ids that the cloud has shown at least once
        self._absent: Dict[str, int] = {}  # of ids never seen: how often they were not there
        self._asked: Dict[str, float] = {}  # ids whose removal was accepted, and when

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
            return [self._create(spec, [spec.name])]
        names = [f"{spec.name}-{number}" for number in range(1, spec.count + 1)]
        if self.cloud.can(Capability.BULK):
            self._create(spec, names)
            return [Ref(Kind.SERVER, "", name) for name in names]  # their ids come with the first list
        return [self._create(ServerSpec(name, spec.plan, 1, spec.nonce, spec.user_data), [name]) for name in names]

    def _create(self, spec: Any, names: Sequence[str]) -> Ref:
        return self._owe(spec.kind, names, self.cloud.create, spec)

    def snapshot(self, server: Ref, name: str) -> Ref:
        """Ask for a snapshot of a server, as owed as anything else."""
        return self._owe(Kind.SNAPSHOT, [name], self.cloud.snapshot, server, name)

    def _owe(self, kind: Kind, names: Sequence[str], ask: Any, *words: Any) -> Ref:
        self.deadline.check()
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

        What it does not know is not in the answer. Transient when it does not answer.
        """
        if len(refs) <= _BY_ONE and all(ref.id for ref in refs):
            found = {}
            for ref in refs:
                try:
                    found[ref.name] = self.cloud.show(ref)
                except NotFound:
                    continue
        else:
            names = {ref.name for ref in refs}
            found = {thing.ref.name: thing for thing in self.cloud.list(refs[0].kind, str(self.handle))
                     if thing.ref.name in names}
        for thing in found.values():
            self._note(thing.ref)
        return found

    def _note(self, ref: Ref) -> None:
        """The cloud has shown this thing: its id is known from now on."""
        if ref.id not in self._seen:
            self._seen.add(ref.id)
            if all(debt.ref.id != ref.id for debt in self.ledger.owed()):
                self.ledger.created(ref, self._utc())

    # --- remove -----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Remove everything under the handle and see that it is gone; LeftBehind when time ends before that."""
        self.deadline.clean_up()
        self.timeline.deleting = self.deadline.clock.now()
        try:
            with self.timeline.stage("delete"):
                self._ask_for_removal()
            with self.timeline.stage("gone"):
                self.settle()
        finally:
            self.ledger.close(settled=not self.ledger.owed())

    def settle(self, until: Optional[float] = None) -> None:
        """Remove and look, until the cloud has shown nothing under the handle; LeftBehind when time ends before that.

        ``until`` (on the monotonic clock) ends it earlier than the deadline does.
        """
        clock, polling = self.deadline.clock, self.deadline.polling
        looks = 0
        try:
            for _ in self.deadline.polls(clock.now(), first=polling.shortest if self._asked else 0.0):
                if until is not None and clock.now() >= until:
                    raise DeadlinePassed("the time to settle is over")
                if self._nothing_is_left():
                    looks += 1
                    if looks >= _LOOKS or not self._doubts():
                        return
        except DeadlinePassed:
            raise self._left_behind() from None

    def _nothing_is_left(self) -> bool:
        """One round: ask for removals, look, sweep. True when the cloud itself has just said that nothing is there."""
        try:
            self._ask_for_removal()
            self._look_for_absence()
            return not self._known() and self._sweep()
        except CloudError as error:
            self.refusal = error
            if isinstance(error, Transient) and error.wait:
                self.deadline.sleep(error.wait)
            return False

    def _ask_for_removal(self) -> None:
        """Ask once for each thing owed, newest first, and again for what was accepted long ago and did not happen."""
        for debt in self._known():
            asked = self._asked.get(debt.ref.id)
            if asked is not None and self.deadline.clock.now() - asked < _ASK_AGAIN:
                continue
            try:
                self.cloud.delete(debt.ref)
            except CloudError as error:  # the next round asks again; the text of the last refusal is kept
                self.refusal = error
            else:
                self._asked[debt.ref.id] = self.deadline.clock.now()

    def _look_for_absence(self) -> None:
        """Record as gone what the cloud says is not there."""
        known = self._known()
        if len(known) <= _BY_ONE:
            present = {debt.ref.id for debt in known if self._is_there(debt.ref)}
        else:
            present = {thing.ref.id for kind in {debt.ref.kind for debt in known}
                       for thing in self.cloud.list(kind, str(self.handle))}
        for debt in known:
            if debt.ref.id in present:
                self._seen.add(debt.ref.id)
                continue
            self._absent[debt.ref.id] = self._absent.get(debt.ref.id, 0) + 1
            if not self._may_yet_appear(debt) or self._absent[debt.ref.id] >= _LOOKS:
                self.ledger.gone(debt.ref)

    def _is_there(self, ref: Ref) -> bool:
        try:
            self.cloud.show(ref)
        except NotFound:
            return False
        return True

    def _sweep(self) -> bool:
        """Ask the cloud for anything under the handle; what it shows is owed. True when it shows nothing."""
        found = [thing.ref for kind in self.cloud.kinds for thing in self.cloud.list(kind, str(self.handle))
                 if self.handle.covers(thing.ref.name)]
        for ref in found:
            self._seen.add(ref.id)
            self.ledger.created(ref, self._utc())
        if not found:
            for debt in self.ledger.owed():
                if not self._may_yet_appear(debt):
                    self.ledger.refused(debt.ref.kind, debt.ref.name)
        return not found

    def _known(self) -> List[Debt]:
        return [debt for debt in self.ledger.owed() if not debt.is_intent]

    def _doubts(self) -> List[Debt]:
        """What was asked for, never answered, and may still appear."""
        return [debt for debt in self.ledger.owed() if debt.is_intent]

    def _may_yet_appear(self, debt: Debt) -> bool:
        return debt.ref.id not in self._seen and self._utc() - debt.at < _SHOWN_BY

    def _left_behind(self) -> LeftBehind:
        self.leftovers = [debt.ref for debt in self._known()]
        names = ", ".join(str(ref) for ref in self.leftovers[:3]) or "what there may be under the handle"
        more = f" and {len(self.leftovers) - 3} more" if len(self.leftovers) > 3 else ""
        why = f": {self.refusal}" if self.refusal else ""
        return LeftBehind(f"{names}{more} could not be seen gone{why}",
                          request=self.refusal.request if self.refusal else "")

    def _utc(self) -> float:
        return self.deadline.clock.utc()


def settle_debts(cloud: Cloud, directory: str, timeline: Timeline, patience: float) -> List[Ref]:
    """Pay what earlier runs left owed at this endpoint, within ``patience`` seconds; returns what is still there.

    Ledgers of other endpoints stay: only there can their debts be paid. Damaged ones are set aside once they are.
    """
    left: List[Ref] = []
    until = cloud.deadline.clock.now() + patience
    try:
        for ledger in Ledger.debts(directory):
            left += _settle_one(cloud, ledger, timeline, until)
    except OSError as failed:
        timeline.notes.append(f"ledgers in {directory} cannot be read: {failed.strerror}")
    return left


def _settle_one(cloud: Cloud, ledger: Ledger, timeline: Timeline, until: float) -> List[Ref]:
    damaged, handle, elsewhere = ledger.damaged, ledger.handle, ledger.about.get("endpoint")
    if elsewhere is not None and elsewhere != cloud.driver.identity:
        timeline.notes.append(f"a debt at another endpoint, {elsewhere}, stays in {ledger.path}")
        ledger.close(settled=False)
        return []
    if damaged:
        timeline.notes.append(f"the ledger is damaged and set aside: {ledger.set_aside()}")
    if handle is None:
        ledger.close(settled=False)
        return []
    lease = Lease(cloud, handle, ledger, timeline)
    try:
        lease.settle(until)
        timeline.notes.append(f"an earlier run's debt is paid: {handle}")
    except LeftBehind:
        timeline.notes.append(f"an earlier run's debt could not be paid: {handle}")
    finally:
        ledger.close(settled=not damaged and not ledger.owed())
    return lease.leftovers


def _nothing_was_made(error: CloudError) -> bool:
    """Whether a failed create surely made nothing: the manager refused it, or the request never left."""
    if isinstance(error, Unreachable):
        return not error.sent
    return not isinstance(error, Transient) or isinstance(error, Conflict)
