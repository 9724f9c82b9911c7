"""What is in a cloud under handles, and whose lease is over: the third of the three nets. It needs no ledger.

Everything is read from the names alone. What does not begin with an exact handle is not ours and never touched; what is
removed carries the handle of one owner, exactly, is past its lease, and its run does not live on this host: the lease is
over by the wall clock, which can be set while a run lives.
"""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from vmprobe.core import handle as handles
from vmprobe.core import text
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import DeadlinePassed, LeftBehind
from vmprobe.core.handle import Handle
from vmprobe.core.model import Kind, Resource
from vmprobe.core.timeline import Timeline
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger

_AT_ONCE = 100  # handles: each may have its ledger, which is an open file


class Held(NamedTuple):
    """A thing in the cloud, the handle that its name begins with, and for how long its lease has been over."""

    resource: Resource
    handle: Handle
    overdue: float  # seconds since the lease ended; negative while it lasts

    def __str__(self) -> str:
        return f"{self.resource.ref} ({self.handle.owner})"

    def description(self) -> str:
        """``server 4f1c of mon1, 3.2 h past its lease: vmprobe-mon1-...``."""
        when = (
            f"{text.span(self.overdue)} past its lease"
            if self.overdue > 0
            else f"its lease ends in {text.span(-self.overdue)}"
        )
        return f"{self.resource.ref} of {self.handle.owner}, {when}: {self.resource.ref.name}"


class Survey:
    """Everything that is called like ours, by what may be done with it. Each list has the oldest lease first."""

    def __init__(self) -> None:
        self.leftovers: List[Held] = []  # past their lease: left over
        self.running: List[Held] = []  # within their lease, or of a run that lives on this host
        self.others: List[Held] = []  # another owner's, past their lease
        self.lookalikes: List[Resource] = []  # their names only resemble a handle


def survey(
    cloud: Cloud,
    owner: str,
    now: float,
    is_running: Callable[[Handle], bool] = lambda handle: False,
) -> Survey:
    """What there is at ``now`` (epoch) for ``owner``, of every kind; an error unless the cloud answers for every kind.

    ``is_running``: whether the run of a handle is known to live, whatever the clock says.
    """
    found = Survey()
    living: Dict[Handle, bool] = {}
    for thing in cloud.survey(handles.PREFIX):
        handle = handles.parse(thing.ref.name)
        if handle is None:
            found.lookalikes.append(thing)
            continue
        held = Held(thing, handle, now - handle.expires)
        if handle.owner == owner and held.overdue > 0 and handle not in living:
            living[handle] = is_running(handle)
        if held.overdue <= 0 or living.get(handle):
            found.running += [held] if handle.owner == owner else []
        else:
            (found.leftovers if handle.owner == owner else found.others).append(held)
    for part in (found.leftovers, found.running, found.others):
        part.sort(key=lambda held: -held.overdue)
    return found


def remove(
    cloud: Cloud, leftovers: Sequence[Held], timeline: Timeline, patience: float, state: str
) -> Tuple[List[Held], str]:
    """Remove these and see that they are gone: what is still there, and why; '' when nothing is.

    Of up to ``_AT_ONCE`` handles, everything is asked to go before the first is waited for; one handle is waited for at most
    ``patience`` seconds. The ledgers that this host has of these handles, below the directory ``state``, are locked
    meanwhile, and settled.
    """
    groups = list(_by_handle(leftovers).items())
    there: Set[Held] = set()
    why = ""
    for first in range(0, len(groups), _AT_ONCE):
        if cloud.deadline.left() <= 0:
            there.update(held for _, group in groups[first:] for held in group)
            why = why or "there was no time"
            break
        some = dict(groups[first : first + _AT_ONCE])
        until = cloud.deadline.clock.now() + cloud.deadline.left() * len(some) / (
            len(groups) - first
        )
        stay, reason = _remove(cloud, some, timeline, until, patience, state)
        there.update(stay)
        why = why or reason
    return [held for held in leftovers if held in there], why


def _remove(
    cloud: Cloud,
    groups: Mapping[Handle, List[Held]],
    timeline: Timeline,
    until: float,
    patience: float,
    state: str,
) -> Tuple[List[Held], str]:
    leases: Dict[Handle, Lease] = {}
    there: List[Held] = []
    why = ""
    try:
        for handle, group in groups.items():
            book = Ledger.lock(state, handle)
            if book is None:
                there += group
                why = "its run lives, or its ledger cannot be opened"
                continue
            leases[handle] = Lease(cloud, handle, book, timeline)
            leases[handle].admit([held.resource for held in group])
        with contextlib.suppress(DeadlinePassed):  # each lease tells below what is still there
            for lease in leases.values():
                lease.request_deletion()

        for waiting, lease in zip(range(len(leases), 0, -1), leases.values()):
            now = cloud.deadline.clock.now()
            share = max((until - now) / waiting, 2 * cloud.deadline.polling.shortest)
            try:
                lease.remove_all(now + min(patience, share))
            except LeftBehind:
                why = why or str(lease.last_failure or "the removal was accepted")
    finally:
        for lease in leases.values():
            lease.ledger.close(lease.settled and not lease.ledger.damaged)
    remaining = {ref for lease in leases.values() for ref in lease.leftovers}
    return there + [
        held for group in groups.values() for held in group if held.resource.ref in remaining
    ], why


def _by_handle(leftovers: Sequence[Held]) -> Dict[Handle, List[Held]]:
    """These by their handle, each handle's in the order of creation: what is newest, such as servers, is removed first."""
    found: Dict[Handle, List[Held]] = {}
    for held in sorted(leftovers, key=lambda held: -list(Kind).index(held.resource.ref.kind)):
        found.setdefault(held.handle, []).append(held)
    return found


def totals(leftovers: Sequence[Held]) -> Dict[str, float]:
    """How many, for how many seconds the oldest lease has been over, and what they hold of what the cloud tells."""
    things = [held.resource for held in leftovers]
    return {
        "leftovers": len(things),
        "oldest_age": max((held.overdue for held in leftovers), default=0),
        "vcpus": sum(thing.vcpus or 0 for thing in things),
        "memory": sum(thing.memory or 0 for thing in things),
        "volume_bytes": sum(thing.size or 0 for thing in things if thing.ref.kind is Kind.VOLUME),
    }
