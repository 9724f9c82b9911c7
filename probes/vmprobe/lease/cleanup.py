"""Clean up one lease: delete and ask, in rounds, until the cloud shows nothing any more."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Sequence

from vmprobe.core.errors import DeadlinePassed, Interrupted, LeftBehind
from vmprobe.core.model import Kind, Ref
from vmprobe.lease.attempts import FAILED
from vmprobe.lease.belongings import Belongings
from vmprobe.lease.entries import Debt
from vmprobe.lease.gate import key_of
from vmprobe.lease.observer import ONE_BY_ONE, LeaseObserver

_QUIET_ROUNDS = 3  # rounds in a row without a resource; if it was never shown, it is not there
_DELETE_AGAIN = 30.0  # seconds after which an accepted deletion that did not happen is repeated
_RESTARTS = 3  # how often a clean-up starts again after an unforeseen failure of its own code


class Cleanup:
    """Remove what a lease owes, and tell what is left."""

    def __init__(self, observer: LeaseObserver):
        self.observer = observer
        self.belongings = Belongings(observer)
        # Whether nothing is owed. After a request, this becomes True only when the cloud says so.
        self.settled = True
        self.leftovers: List[Ref] = []  # what is still there, or may be
        self.uncertain = False  # something may be there whose id is not known
        self._many = False  # more is owed than is asked for one by one
        # By kind: whether the cloud still has what its lists do not show, judged by one example.
        self._unlisted_exist: Dict[Kind, bool] = {}

    def remove_all(self, until: Optional[float] = None) -> None:
        """As ``Lease.remove_all``."""
        observer = self.observer
        self.settled = self.uncertain = False
        self._many = len(observer.ledger.owed()) > ONE_BY_ONE
        kinds = observer.created_kinds | observer.refused_kinds
        awaited = [kind for kind in reversed(observer.cloud.kinds) if kind in kinds]
        quiet: Dict[Kind, int] = Counter()  # rounds in a row that showed nothing of a kind
        with observer.cloud.deadline.within(until):
            for _ in range(_RESTARTS):
                try:
                    self._remove(awaited, quiet)
                    break
                except DeadlinePassed:
                    raise self._left_behind() from None
                except (Interrupted, LeftBehind):
                    raise
                except BaseException as unforeseen:  # of our own code: what is owed stays owed
                    observer.attempts.last_failure = unforeseen
            else:
                raise self._left_behind() from None
        self.settled = not observer.ledger.owed()

    def _remove(self, awaited: List[Kind], quiet: Dict[Kind, int]) -> None:
        """Ask and delete in rounds, until no kind is awaited any more.

        Each kind is judged by itself: one that fails holds up no other.
        """
        deadline, deletions = self.observer.cloud.deadline, self.observer.deletions
        # Count the polling interval from the newest deletion. When many leases are cleaned up one
        # after the other, most of them need not wait again.
        started = max(deletions.values(), default=None)
        for _ in deadline.polls(
            deadline.clock.now() if started is None else started,
            first=0.0 if started is None else deadline.polling.shortest,
        ):
            with self.round():
                awaited[:] = [kind for kind in awaited if not self._is_clear(kind, quiet)]
                if self.belongings.are_gone(Kind.SERVER in awaited) and not awaited:
                    return
                if self.observer.cloud.credential_rejected:
                    raise self._left_behind()  # nothing can be asked any more
                self.request_deletion()

    @contextmanager
    def round(self) -> Iterator[None]:
        """One round of the clean-up. Its errors do not end the clean-up: the next round goes on.

        Only these are passed on: LeftBehind when the time is over, and Interrupted. Each round
        finds anew why something stays; one that runs out of time keeps the previous reason.
        """
        attempts = self.observer.attempts
        before, attempts.last_failure = attempts.last_failure, None
        try:
            yield
        except DeadlinePassed as late:
            cause = None if self.observer.fault() else late.__cause__
            attempts.last_failure = attempts.last_failure or before or cause
            raise self._left_behind() from None
        except (Interrupted, LeftBehind):
            raise
        except BaseException as unforeseen:
            attempts.last_failure = unforeseen

    def request_deletion(self) -> None:
        """Ask once for the deletion of each resource owed, newest first.

        Ask again where a deletion was accepted long ago and did not happen. Nothing is deleted
        before the cloud has shown it under our handle: an id alone may be wrong. What belongs to a
        server is deleted once the server is gone.
        """
        observer, clock = self.observer, self.observer.cloud.deadline.clock
        owed = observer.ledger.owed()
        servers = {debt.ref.id for debt in owed if debt.ref.kind is Kind.SERVER}
        for debt in owed:
            ref, key = debt.ref, key_of(debt.ref)
            deleted_at = observer.deletions.get(key)
            if debt.is_intent or debt.server and debt.server in servers:
                continue
            if deleted_at is not None and clock.now() - deleted_at < _DELETE_AGAIN:
                continue
            if (debt.server or not observer.gate.has_passed(ref)) and not observer.is_there(debt):
                continue
            if ref.kind is Kind.SERVER and not self.belongings.record(ref):
                continue
            if self._delete(ref):
                observer.deletions[key] = clock.now()

    def _delete(self, ref: Ref) -> bool:
        return self.observer.attempts.attempt(lambda: self.observer.cloud.delete(ref)) is not FAILED

    # --- is it gone? ---

    def _is_clear(self, kind: Kind, quiet: Dict[Kind, int]) -> bool:
        """List a kind under the handle; True: nothing of this kind is awaited any more."""
        observer, attempts = self.observer, self.observer.attempts
        before = attempts.last_failure
        resources = attempts.attempt(
            lambda: observer.cloud.list(kind, str(observer.handle)), half=True
        )
        if resources is FAILED:
            if kind in observer.created_kinds:
                debts = observer.requested(kind)
                self._are_owed_still([debt for debt in debts if not debt.is_intent])
                return False
            observer.timeline.notes.append(
                f"{kind.value}s could not be listed, and none were asked for: "
                f"{attempts.last_failure}"
            )
            attempts.last_failure = before
            return True
        of_kind = [resource for resource in resources if resource.ref.kind is kind]
        listed = {resource.ref.id for resource in observer.admit(of_kind)}
        unlisted = [debt for debt in observer.requested(kind) if debt.ref.id not in listed]
        there = self._are_owed_still(unlisted)
        if listed or there:
            observer.created_kinds.add(kind)
            quiet[kind] = 0
            return False
        quiet[kind] += 1
        if not observer.requested(kind):
            return True
        return quiet[kind] >= _QUIET_ROUNDS and not self._window_ends_soon(kind)

    def _window_ends_soon(self, kind: Kind) -> bool:
        """Whether a consistency window ends before the next round.

        Then waiting for it is worthwhile; else the resource stays in the ledger for the next run.
        """
        observer = self.observer
        window, longest = (
            observer.cloud.driver.consistency_window,
            observer.cloud.deadline.polling.longest,
        )
        waits = (window - abs(observer.utc() - debt.at) for debt in observer.requested(kind))
        return any(0 < wait <= longest for wait in waits)

    def _are_owed_still(self, unlisted: Sequence[Debt]) -> bool:
        """Whether any of these resources of one kind, which no list shows, exists or may exist.

        Those that the cloud itself says are gone are written to the ledger as gone.
        """
        ledger = self.observer.ledger
        there = False
        gone: List[Ref] = []
        never_made: List[str] = []
        many = self._many and len(unlisted) > ONE_BY_ONE
        try:
            for debt in unlisted:
                if debt.is_intent:
                    if self.observer.is_past_window(debt):
                        never_made.append(debt.ref.name)
                elif many and self._is_gone_by_list(debt):
                    gone.append(debt.ref)
                elif self.observer.is_there(debt) is not False:
                    there = True
                elif ledger.holds(debt.ref) and not self._may_appear(debt):
                    gone.append(debt.ref)
        except DeadlinePassed:  # spare the next run the question about those that are gone
            ledger.gone([ref for ref in gone if self._are_orphans_known(ref)])
            raise
        servers = [ref for ref in gone if ref.kind is Kind.SERVER]
        if gone and not self.belongings.record_orphans(servers):
            gone, there = [], True
        ledger.gone(gone)
        if never_made and unlisted:
            ledger.refused(unlisted[0].ref.kind, never_made)
        return there

    def _are_orphans_known(self, ref: Ref) -> bool:
        """Whether the manager need not be asked what is left of this resource's belongings."""
        return ref.kind is not Kind.SERVER or self.belongings.is_complete(ref)

    def _is_gone_by_list(self, debt: Debt) -> bool:
        """Whether one of many resources, which no list shows, is gone, without asking for each.

        One of each kind is asked for, once: the cloud may keep what its lists do not show.
        """
        observer, kind = self.observer, debt.ref.kind
        was_deleted = observer.gate.has_passed(debt.ref) and key_of(debt.ref) in observer.deletions
        if not (was_deleted or observer.is_past_window(debt)):
            return False
        if kind not in self._unlisted_exist:
            there = observer.is_there(debt)
            if there is None:
                return False
            self._unlisted_exist[kind] = there
        return not self._unlisted_exist[kind]

    def _may_appear(self, debt: Debt) -> bool:
        """Whether this resource, which was never shown by id or name, may still appear."""
        observer = self.observer
        shown = (
            observer.gate.has_passed(debt.ref) or key_of(debt.ref) in observer.seen_by_earlier_run
        )
        named = observer.gate.by_name(debt.ref.kind, debt.ref.name)
        return not (shown or named or observer.is_past_window(debt))

    # --- what is left ---

    def _left_behind(self) -> LeftBehind:
        """The error that says what is left, and why."""
        failure = self.observer.attempts.last_failure
        self.leftovers = self.observer.ledger.remaining()
        if failure is None:
            reason = self.observer.fault()
        else:
            reason = str(failure) or type(failure).__name__
        more = f" and {len(self.leftovers) - 3} more" if len(self.leftovers) > 3 else ""
        if self.leftovers:
            text = f"{', '.join(map(str, self.leftovers[:3]))}{more}: deletion not confirmed"
        else:
            text = "unknown whether anything is left under the handle"
        text += f": {reason}" if reason else ""
        self.uncertain = not self.leftovers
        if self.uncertain:
            self.observer.timeline.notes.append(text)
        return LeftBehind(text, request=getattr(failure, "request", ""))
