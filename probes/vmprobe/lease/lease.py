"""The lease: the handle, and the promise that everything under it goes away.

The only way to create something. It is ours to remove from before its request leaves; closing the lease removes what
the ledger holds, newest first, asks the cloud for anything else under the handle, and is satisfied only when the
cloud itself has said that nothing is left. No answer is never read as "nothing there", and nothing is touched that has
not passed the gate.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    ClientError,
    CloudError,
    Conflict,
    DeadlinePassed,
    Interrupted,
    LeftBehind,
    NotFound,
    NotPermitted,
    RateLimited,
    Transient,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.handle import Handle
from vmprobe.core.model import Capability, Kind, Ref, Resource, State
from vmprobe.core.timeline import Timeline
from vmprobe.lease.gate import Gate, Owner
from vmprobe.lease.ledger import Debt, Ledger

_LOOKS = 3  # so often must a cloud not show a thing that was never seen, before that is believed
_ASK_AGAIN = (
    30.0  # seconds after which an accepted removal that did not happen is asked for once more
)
_BY_ONE = 3  # up to so many things are looked at one by one, more by one list
_RESTARTS = 3  # so many unforeseen failures of its own machinery does a clean-up survive

Key = Tuple[Kind, str]  # a thing by its id


class Lease:
    """``with lease:`` deletes everything created under it, on every exit."""

    def __init__(self, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline):
        self.cloud, self.handle, self.ledger, self.timeline = cloud, handle, ledger, timeline
        self.deadline: Deadline = cloud.deadline
        self._ahead = (
            self.deadline.clock.utc() - self.deadline.clock.now()
        )  # once: that clock may be set while a run lives
        self.gate = Gate(handle)
        self.settled = (
            True  # nothing is owed; once something was asked for, by the cloud's own word
        )
        self.leftovers: List[Ref] = []
        self.uncertain = False  # something may be there, and nothing of it is known
        self.last_failure: Optional[BaseException] = (
            None  # why the last request of the clean-up that failed did
        )
        self._made: Set[Kind] = (
            set()
        )  # of which there may be something: the cloud has to say that there is nothing
        self._refused: Set[Kind] = set()  # asked for and refused: looked for once all the same
        self._asked: Dict[Key, float] = {}  # whose removal was accepted, and when
        self._many = False  # more is owed than is asked for one by one
        self._kept: Dict[
            Kind, bool
        ] = {}  # whether the cloud has what its lists do not show any more, by one example of the kind
        self._hidden: Set[Key] = set()  # removed, and kept by the cloud for a while
        self._inventories: Dict[Key, int] = {}  # how often a server was asked what belongs to it
        self._ready: Set[Key] = (
            set()
        )  # what was shown READY: the manager has made what belongs to it
        self._known_whole: Set[Key] = (
            set()
        )  # servers of which is known, before their removal, all that belongs to them
        self._shown_before: Set[Key] = (
            set()
        )  # by an earlier run: what is not there any more is gone
        self._faults: Dict[Key, str] = {}  # what the cloud says of things that are still there
        self.failed_removals: Dict[
            Key, Resource
        ] = {}  # what failed while it was removed, though it went in the end
        for debt in ledger.owed():
            self._made.add(debt.ref.kind)
            if debt.server:
                self.gate.bind(debt.server, debt.ref)
                self._shown_before.add((Kind.SERVER, debt.server))

    @classmethod
    def of_earlier_run(
        cls, cloud: Cloud, handle: Handle, ledger: Ledger, timeline: Timeline
    ) -> "Lease":
        """The lease of an earlier run, by its ledger. Every kind is looked for: the ledger may not have heard of all."""
        lease = cls(cloud, handle, ledger, timeline)
        (lease._made if ledger.damaged else lease._refused).update(cloud.kinds)
        return lease

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
        """Ask for ``spec``; it is ours to remove from before the request leaves. Fleets as one request where possible.

        An id in the answer is what the manager says it is: it is acted upon once it has been shown under the handle.
        """
        if spec.kind is Kind.ADDRESS:
            spec = spec._replace(server=self.gate.require(spec.server))
        if spec.kind is not Kind.SERVER or spec.count == 1:
            return [self._owe(spec.kind, [spec.name], self.cloud.create, spec)]
        names = [f"{spec.name}-{number}" for number in range(1, spec.count + 1)]
        if self.cloud.can(Capability.BULK):
            self._owe(Kind.SERVER, names, self.cloud.create, spec)
            return [
                Ref(Kind.SERVER, "", name) for name in names
            ]  # their ids come with the first list
        return [
            self._owe(Kind.SERVER, [name], self.cloud.create, spec._replace(name=name, count=1))
            for name in names
        ]

    def snapshot(self, server: Ref, name: str) -> Ref:
        """Ask for a snapshot of a server, as owed as anything else."""
        return self._owe(
            Kind.SNAPSHOT, [name], self.cloud.snapshot, self.gate.require(server), name
        )

    def _owe(self, kind: Kind, names: Sequence[str], ask: Any, *words: Any) -> Ref:
        self.deadline.check()
        if not all(self.handle.covers(name) for name in names):
            raise ClientError(
                f"{kind.value} {names[0]!r} would not be under {self.handle}: it is not asked for"
            )
        self.settled = False
        self.ledger.intent(kind, names, self._utc())
        try:
            ref = ask(*words)
        except CloudError as error:
            if _nothing_was_made(error):
                self.ledger.refused(kind, names)
                if not isinstance(error, Unreachable):
                    self._refused.add(kind)
            else:
                self._made.add(kind)
            raise
        except BaseException:
            self._made.add(kind)
            raise
        self._made.add(kind)
        if len(names) > 1:
            return ref
        ref = Ref(kind, ref.id, names[0])
        if ref.id:
            self.ledger.created([ref], self._utc())
        return ref

    # --- act on what was created ------------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        """As the driver's; Conflict as long as one of them has not been shown under the handle."""
        self.cloud.attach(self.gate.require(server), self.gate.require(volume))

    def detach(self, server: Ref, volume: Ref) -> None:
        """As the driver's; Conflict as long as one of them has not been shown under the handle."""
        self.cloud.detach(self.gate.require(server), self.gate.require(volume))

    def open_port(self, group: Ref, port: int) -> None:
        """As the driver's; Conflict as long as the group has not been shown under the handle."""
        self.cloud.open_port(self.gate.require(group), port)

    def start(self, server: Ref) -> None:
        """As the driver's; Conflict as long as the server has not been shown under the handle."""
        self.cloud.start(self.gate.require(server))

    # --- look -------------------------------------------------------------------------------------------------

    def show(self, refs: Sequence[Ref]) -> Dict[str, Resource]:
        """What the cloud says of these things of one kind, by name: one by one if few, else all by one list.

        What it does not know, or has not shown under the handle, is not in the answer; a list alone is not believed that
        a thing shown before is gone. Transient when it does not answer, or answers another question.
        """
        found: Dict[str, Resource] = {}
        if len(refs) > _BY_ONE or not all(ref.id for ref in refs):
            found = self._listed(refs)
            refs = [
                ref
                for ref in map(self.gate.known, refs)
                if ref.name not in found and self.gate.passed(ref)
            ]
        else:
            refs = [self.gate.known(ref) for ref in refs]
        for ref in refs:
            thing = self._shown(ref) if ref.id else None
            if thing is not None:
                found[ref.name] = thing
        if any(
            not self.gate.known(ref).id or self.gate.is_doubtful(ref) for ref in refs
        ):  # an id is another's: the list knows the right one
            for name, thing in self._listed(refs).items():
                found.setdefault(name, thing)
        return found

    def admit(self, things: Sequence[Resource]) -> List[Resource]:
        """Those of these listed things that are under the handle; they are owed, and their ids known from now on."""
        ours = []
        for thing in things:
            known = self.gate.passed(thing.ref)
            if self.gate.listed(thing.ref.kind, thing):
                ours.append(thing)
                self._seen(thing, known)
        self._record([thing.ref for thing in ours])
        return ours

    def _listed(self, refs: Sequence[Ref]) -> Dict[str, Resource]:
        """What one list shows of these, by name."""
        kind, wanted = refs[0].kind, {ref.name.lower(): ref for ref in refs}
        found: Dict[str, Resource] = {}
        for thing in self.admit(self.cloud.list(kind, str(self.handle))):
            ref = wanted.get(thing.ref.name.lower())
            if ref is not None and (ref.name not in found or thing.ref.id == ref.id):
                found[ref.name] = thing
        return found

    def _shown(self, ref: Ref) -> Optional[Resource]:
        """What the cloud says of one thing that is ours by its answer; None when it is not there, or not shown as ours."""
        answer = self._answer(ref)
        return answer[1] if answer and answer[0] is Owner.OURS else None

    def _answer(self, ref: Ref) -> Optional[Tuple[Owner, Resource]]:
        """Whose a thing is, and what the cloud says of it; None when it is not there."""
        try:
            thing = self.cloud.show(ref)
        except NotFound:
            return None
        known = self.gate.passed(ref)
        owner = self.gate.answer(ref, thing)
        if owner is Owner.OURS:
            thing = thing._replace(
                ref=ref._replace(name=thing.ref.name or ref.name)
            )  # a reply without a name is none with ''
            self._seen(thing, known)
            self._record([thing.ref])
        elif owner is Owner.OTHER:
            self._disown(
                ref,
                f"belongs to server {thing.server}"
                if thing.ref.name == ref.name
                else f"is called {thing.ref.name!r}",
            )
        return owner, thing

    def _seen(self, thing: Resource, known: bool) -> None:
        """Something of ours is there; ``known``: it has been shown before."""
        key = (thing.ref.kind, thing.ref.id)
        self._faults[key] = thing.fault
        if key in self._asked and thing.state is State.FAILED and thing.fault:
            self.failed_removals.setdefault(key, thing)
        self._made.add(thing.ref.kind)
        if thing.state is State.READY:
            self._ready.add(key)
        if not known:
            self._asked.pop(key, None)  # a removal before anything was there removed nothing
        if key not in self._hidden and self.cloud.driver.is_soft_deleted(thing):
            self._hidden.add(key)
            self._asked.pop(key, None)  # only another removal ends it

    def _record(self, refs: Sequence[Ref]) -> None:
        new = [ref for ref in refs if not self.ledger.holds(ref)]
        if new:
            self.ledger.created(new, self._utc())

    def _disown(self, ref: Ref, why: str) -> None:
        """It is not ours, whatever a reply or the ledger said; what was asked for under its name may still appear."""
        self.timeline.notes.append(f"{ref} {why} and is not ours: it is not touched")
        asked = next((debt for debt in self.ledger.owed() if debt.ref[:2] == ref[:2]), None)
        self.ledger.gone([ref])
        if (
            asked
            and not asked.server
            and not self._is_settled(asked)
            and self.gate.named(ref.kind, asked.ref.name) is None
        ):
            self.ledger.intent(ref.kind, [asked.ref.name], asked.at)

    # --- remove -----------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Remove everything under the handle and see that it is gone; LeftBehind when time ends before that."""
        self.deadline.clean_up()
        self.timeline.deleting = self.deadline.clock.now()
        with self.timeline.stage("delete"), self._round():
            self.request_deletion()
        with self.timeline.stage("gone"):
            self.remove_all()

    def remove_all(self, until: Optional[float] = None) -> None:
        """Remove and look, until the cloud has shown nothing under the handle; LeftBehind when time ends before that.

        ``until`` (on the monotonic clock) ends it earlier than the deadline does. What was never shown stays in the
        ledger as long as it may yet appear.
        """
        self.settled = self.uncertain = False
        self._many = len(self.ledger.owed()) > _BY_ONE
        waiting = [
            kind for kind in reversed(self.cloud.kinds) if kind in self._made | self._refused
        ]
        quiet: Dict[Kind, int] = Counter()  # looks in a row that showed nothing of a kind
        with self.deadline.within(until):
            for restart in range(_RESTARTS):
                try:
                    self._settle(waiting, quiet)
                    break
                except DeadlinePassed:
                    raise self._left_behind() from None
                except (Interrupted, LeftBehind):
                    raise
                except (
                    BaseException
                ) as unforeseen:  # of our own machinery, such as a wait: what is owed stays owed
                    self.last_failure = unforeseen
            else:
                raise self._left_behind() from None
        self.settled = not self.ledger.owed()

    def _settle(self, waiting: List[Kind], quiet: Dict[Kind, int]) -> None:
        """Rounds of looking and asking, until no kind is waited for. Each kind by itself: one that fails holds up no other."""
        clock, polling = self.deadline.clock, self.deadline.polling
        asked = max(
            self._asked.values(), default=None
        )  # of many leases, most have waited already for the first
        for _ in self.deadline.polls(
            clock.now() if asked is None else asked,
            first=0.0 if asked is None else polling.shortest,
        ):
            with self._round():
                waiting[:] = [kind for kind in waiting if not self._is_clear(kind, quiet)]
                if self._belongings_are_gone(Kind.SERVER in waiting) and not waiting:
                    return
                if self.cloud.credential_rejected:
                    raise self._left_behind()  # nothing can be asked any more
                self.request_deletion()

    @contextmanager
    def _round(self) -> Iterator[None]:
        """Each round gives the reason why something stays anew; one that time cuts short keeps the reason of the one before."""
        before, self.last_failure = self.last_failure, None
        try:
            yield
        except DeadlinePassed as cut:
            self.last_failure = (
                self.last_failure or before or (None if self._fault() else cut.__cause__)
            )
            raise self._left_behind() from None
        except (Interrupted, LeftBehind):
            raise
        except BaseException as unforeseen:  # nothing that happens in a round may end the clean-up
            self.last_failure = unforeseen

    def request_deletion(self) -> None:
        """Ask once for each thing owed, newest first, and again for what was accepted long ago and did not happen.

        What the cloud has not shown under our handle yet has to be shown first: an id alone may be wrong. What belongs to
        a server is asked for when the server is gone.
        """
        owed = self.ledger.owed()
        servers = {debt.ref.id for debt in owed if debt.ref.kind is Kind.SERVER}
        for debt in owed:
            ref, key = debt.ref, (debt.ref.kind, debt.ref.id)
            if (
                debt.is_intent
                or self.deadline.clock.now() - self._asked.get(key, -_ASK_AGAIN) < _ASK_AGAIN
            ):
                continue
            if debt.server and debt.server in servers:
                continue
            if (debt.server or not self.gate.passed(ref)) and not self._is_there(debt):
                continue
            if ref.kind is Kind.SERVER and not self._took_inventory(ref):
                continue
            if self._try(self.cloud.delete, ref) is not _FAILED:
                self._asked[key] = self.deadline.clock.now()

    def _is_clear(self, kind: Kind, quiet: Dict[Kind, int]) -> bool:
        """Look at everything of a kind under the handle; True when nothing of it has to be waited for any more."""
        before = self.last_failure
        things = self._try(self._in_part, self.cloud.list, kind, str(self.handle))
        if things is _FAILED:
            if kind in self._made:
                self._are_owed_still([debt for debt in self._owed(kind) if not debt.is_intent])
                return False
            self.timeline.notes.append(
                f"{kind.value}s could not be listed, and none were asked for: {self.last_failure}"
            )
            self.last_failure = before
            return True
        shown = {
            thing.ref.id
            for thing in self.admit([thing for thing in things if thing.ref.kind is kind])
        }
        unlisted = [debt for debt in self._owed(kind) if debt.ref.id not in shown]
        there = self._are_owed_still(unlisted)
        if shown or there:
            self._made.add(kind)
            quiet[kind] = 0
            return False
        quiet[kind] += 1
        return not self._owed(kind) or quiet[kind] >= _LOOKS and not self._settles_soon(kind)

    def _settles_soon(self, kind: Kind) -> bool:
        """Whether what may yet appear will not by the time of a look more: then that is waited for, not left in the ledger."""
        waits = (
            self.cloud.driver.consistency_window - abs(self._utc() - debt.at)
            for debt in self._owed(kind)
        )
        return any(0 < wait <= self.deadline.polling.longest for wait in waits)

    def _owed(self, kind: Kind) -> List[Debt]:
        """What was asked for of a kind, and is owed."""
        return [debt for debt in self.ledger.owed() if debt.ref.kind is kind and not debt.server]

    def _are_owed_still(self, unlisted: Sequence[Debt]) -> bool:
        """Whether any of these, which no list shows, is there, or may be; records as gone what by the cloud's word is not."""
        there, gone, never = False, [], []
        many = self._many and len(unlisted) > _BY_ONE
        try:
            for debt in unlisted:
                key = (debt.ref.kind, debt.ref.id)
                if debt.is_intent:
                    if self._is_settled(debt):
                        never.append(debt.ref.name)
                elif (
                    many
                    and (
                        self.gate.passed(debt.ref) and key in self._asked or self._is_settled(debt)
                    )
                    and not self._is_kept(debt)
                ):
                    gone.append(debt.ref)  # of many, not each is asked for by itself once more
                elif self._is_there(debt) is not False:
                    there = True
                elif self.ledger.holds(debt.ref) and not self._may_appear(debt):
                    gone.append(debt.ref)
        except (
            DeadlinePassed
        ):  # what was seen gone until then need not be looked for by the next run
            self.ledger.gone(
                [
                    ref
                    for ref in gone
                    if ref.kind is not Kind.SERVER or (ref.kind, ref.id) in self._known_whole
                ]
            )
            raise
        if gone and not self._know_what_is_left_by(
            [ref for ref in gone if ref.kind is Kind.SERVER]
        ):
            gone, there = [], True
        self.ledger.gone(gone)
        if never and unlisted:
            self.ledger.refused(unlisted[0].ref.kind, never)
        return there

    def _is_kept(self, debt: Debt) -> bool:
        """Whether the cloud may still have this, though no list shows it. Of each kind one thing is asked for, once."""
        kind = debt.ref.kind
        if kind not in self._kept:
            there = self._is_there(debt)
            if there is None:
                return True
            self._kept[kind] = there
        return self._kept[kind]

    def _may_appear(self, debt: Debt) -> bool:
        """Whether what is not there may only be late: nobody was ever shown it, nor another one under its name."""
        shown = self.gate.passed(debt.ref) or (debt.ref.kind, debt.ref.id) in self._shown_before
        return not (
            shown or self.gate.named(debt.ref.kind, debt.ref.name) or self._is_settled(debt)
        )

    def _is_settled(self, debt: Debt) -> bool:
        """Whether it was asked for so long ago that every list would show it."""
        return abs(self._utc() - debt.at) >= self.cloud.driver.consistency_window

    def _is_there(self, debt: Debt) -> Optional[bool]:
        """Whether the cloud has this thing as ours, by its own word; None when it did not say."""
        answer = self._try(self._answer, debt.ref)
        if answer is _FAILED:
            return None
        if answer is None or answer[0] is Owner.OTHER:
            return False
        if answer[0] is Owner.UNKNOWN:
            if not self._is_settled(debt) and self.gate.named(debt.ref.kind, debt.ref.name) is None:
                return None  # its name may be late
            self._disown(debt.ref, "has no name")
            return False
        return True

    # --- what the manager made by itself ----------------------------------------------------------------------

    def record_belongings(self, servers: Sequence[Ref]) -> None:
        """Write down what belongs to these servers now: when somebody else removes one, it is what is known of them."""
        for server in servers:
            if self.gate.passed(server):
                self._took_inventory(server)

    def _took_inventory(self, server: Ref) -> bool:
        """Write down what belongs to a server before it is removed; True when there is nothing more to wait for."""
        key = (server.kind, server.id)
        if self._inventories.get(key, 0) >= _LOOKS:
            return True
        found = self._try(self._in_part, self._belongings, server)
        if found is _FAILED:
            self._inventories[key] = self._inventories.get(key, 0) + 1
            if self._inventories[key] < _LOOKS:
                return False
            self.timeline.notes.append(
                f"what the manager made for {server} is not known before its removal: {self.last_failure}"
            )
            return True
        self._inventories[key] = _LOOKS
        self._bind(server.id, found)
        return True

    def _belongings(self, server: Ref) -> List[Ref]:
        key = (server.kind, server.id)
        try:
            found = self.cloud.belongings(self.gate.require(server))
        except NotFound:
            return []
        except NotPermitted as refused:
            self.timeline.notes.append(
                f"what the manager made for {server} is not known: {refused}"
            )
            self._known_whole.add(key)  # and nobody will say the rest
            return list(refused.partial)
        if key in self._ready:
            self._known_whole.add(key)
        return found

    def _know_what_is_left_by(self, servers: Sequence[Ref]) -> bool:
        """Whether the manager says what is left of what it made for these servers, which are gone; it goes into the ledger."""
        asked = [ref for ref in servers if (ref.kind, ref.id) not in self._known_whole]
        left = self._try(self._left_by, asked) if asked else {}
        if left is _FAILED:
            return False
        for ref in asked:
            self._known_whole.add((ref.kind, ref.id))
            self._bind(ref.id, left.get(ref.id, []))
        return True

    def _left_by(self, servers: Sequence[Ref]) -> Mapping[str, List[Ref]]:
        try:
            return self.cloud.orphans(servers)
        except NotPermitted as refused:
            self.timeline.notes.append(
                f"what is left of what the manager made for {servers[0]} is not known: {refused}"
            )
            return {}

    def _bind(self, server: str, found: Sequence[Ref]) -> None:
        new = [ref for ref in found if ref.id and not self.ledger.holds(ref)]
        for ref in new:
            self.gate.bind(server, ref)
        self.ledger.belongs(new, server, self._utc())

    def _belongings_are_gone(self, servers_wait: bool) -> bool:
        """Look at each thing that the manager made by itself, once its server is gone, or is not waited for any more."""
        debts = [debt for debt in self.ledger.owed() if debt.server]
        servers = (
            {debt.ref.id for debt in self._owed(Kind.SERVER)} if debts and servers_wait else set()
        )
        waited = len(debts)
        for debt in debts:
            if debt.server not in servers and self._is_there(debt) is False:
                self.ledger.gone([debt.ref])
                waited -= 1
        return waited == 0

    # ----------------------------------------------------------------------------------------------------------

    def _try(self, verb: Any, *words: Any) -> Any:
        """One request of the clean-up: whatever goes wrong with it must not keep the rest from being removed."""
        self.deadline.check()
        try:
            return verb(*words)
        except BaseException as error:  # also what a driver's library raises to end the process
            if self.deadline.left() <= 0:
                raise (
                    error
                    if isinstance(error, DeadlinePassed)
                    else DeadlinePassed("the time to clean up is over")
                ) from error
            self.deadline.check()  # a signal, while the clean-up has not begun
            self.last_failure = error
            wait = min(
                getattr(error, "wait", 0.0), self.deadline.left() / 4
            )  # obeyed, but it shall not eat all that is left
            if wait > 0:
                self.deadline.sleep(wait)
            return _FAILED

    def _in_part(self, verb: Any, *words: Any) -> Any:
        """A question of many requests, such as a list of pages: it may take half of the time that is left, not all."""
        with self.deadline.within(self.deadline.clock.now() + self.deadline.left() / 2):
            return verb(*words)

    def _left_behind(self) -> LeftBehind:
        self.leftovers = self.ledger.remaining()
        names = (
            ", ".join(str(ref) for ref in self.leftovers[:3])
            or "what there may be under the handle"
        )
        more = f" and {len(self.leftovers) - 3} more" if len(self.leftovers) > 3 else ""
        said = (
            self._fault()
            if self.last_failure is None
            else str(self.last_failure) or type(self.last_failure).__name__
        )
        why = f": {said}" if said else ""
        text = f"{names}{more} could not be seen gone{why}"
        self.uncertain = not self.leftovers
        if self.uncertain:
            self.timeline.notes.append(text)
        return LeftBehind(text, request=getattr(self.last_failure, "request", ""))

    def _fault(self) -> str:
        """What the cloud says of something that is still there."""
        owed = (debt.ref for debt in self.ledger.owed())
        return next(filter(None, (self._faults.get((ref.kind, ref.id)) for ref in owed)), "")

    def _utc(self) -> float:
        return self.deadline.clock.now() + self._ahead


_FAILED = object()


def _nothing_was_made(error: CloudError) -> bool:
    """Whether a failed create surely made nothing: the manager refused it, or the request never left."""
    if isinstance(error, Unreachable):
        return not error.sent
    return not isinstance(error, Transient) or isinstance(error, (Conflict, RateLimited))
