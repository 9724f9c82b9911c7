"""What is in a cloud under handles, and whose lease is over: the third of the three nets. It needs no ledger.

Everything is read from the names alone. What does not begin with an exact handle is not ours and never touched; what is
removed carries the handle of one owner, exactly, and is past its lease.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence, Tuple

from vmprobe import handle as handles
from vmprobe import text
from vmprobe.cloud import Cloud
from vmprobe.errors import LeftBehind
from vmprobe.handle import Handle
from vmprobe.lease import Lease
from vmprobe.ledger import Ledger
from vmprobe.model import Kind, Resource
from vmprobe.timeline import Timeline


class Held(NamedTuple):
    """A thing in the cloud, the handle that its name begins with, and for how long its lease has been over."""

    thing: Resource
    handle: Handle
    over: float  # seconds since the lease ended; negative while it lasts

    def __str__(self) -> str:
        return f"{self.thing.ref} ({self.handle.owner})"

    def story(self) -> str:
        """``server 4f1c of mon1, 3.2 h past its lease: vmprobe-mon1-...``."""
        when = f"{text.span(self.over)} past its lease" if self.over > 0 else f"its lease ends in {text.span(-self.over)}"
        return f"{self.thing.ref} of {self.handle.owner}, {when}: {self.thing.ref.name}"


class Survey:
    """Everything that is called like ours, by what may be done with it. Each list has the oldest lease first."""

    def __init__(self) -> None:
        self.ours: List[Held] = []  # past their lease: left over
        self.running: List[Held] = []  # within their lease: may be a run's
        self.others: List[Held] = []  # another owner's, past their lease
        self.alike: List[Resource] = []  # their names only resemble a handle


def survey(cloud: Cloud, owner: str, now: float) -> Survey:
    """What there is at ``now`` (epoch) for ``owner``, of every kind; an error unless the cloud answers for every kind."""
    found = Survey()
    for thing in cloud.survey(handles.PREFIX):
        handle = handles.parse(thing.ref.name)
        if handle is None:
            found.alike.append(thing)
            continue
        held = Held(thing, handle, now - handle.expires)
        if held.over <= 0:
            found.running += [held] if handle.owner == owner else []
        else:
            (found.ours if handle.owner == owner else found.others).append(held)
    for part in (found.ours, found.running, found.others):
        part.sort(key=lambda held: -held.over)
    return found


def remove(cloud: Cloud, leftovers: Sequence[Held], timeline: Timeline, patience: float) -> Tuple[List[Held], str]:
    """Remove these and see that they are gone: what is still there, and why; '' when nothing is.

    Everything is asked to go before the first is waited for; one handle is waited for at most ``patience`` seconds.
    """
    leases: Dict[Handle, Lease] = {}
    for held in sorted(leftovers, key=lambda held: -list(Kind).index(held.thing.ref.kind)):
        if held.handle not in leases:
            leases[held.handle] = Lease(cloud, held.handle, Ledger(), timeline)
        leases[held.handle].adopt(held.thing.ref)
    for lease in leases.values():
        lease.ask_for_removal()

    why = ""
    for waiting, lease in zip(range(len(leases), 0, -1), leases.values()):
        try:
            lease.settle(cloud.deadline.clock.now() + min(patience, cloud.deadline.left() / waiting))
        except LeftBehind:
            why = why or str(lease.refusal or "the removal was accepted")
    there = {ref for lease in leases.values() for ref in lease.leftovers}
    return [held for held in leftovers if held.thing.ref in there], why


def figures(leftovers: Sequence[Held]) -> Dict[str, float]:
    """How many, for how many seconds the oldest lease has been over, and what they hold of what the cloud tells."""
    things = [held.thing for held in leftovers]
    return {
        "leftovers": len(things),
        "oldest_age": max((held.over for held in leftovers), default=0),
        "vcpus": sum(thing.vcpus or 0 for thing in things),
        "memory": sum(thing.memory or 0 for thing in things),
        "volume_bytes": sum(thing.size or 0 for thing in things if thing.ref.kind is Kind.VOLUME),
    }
