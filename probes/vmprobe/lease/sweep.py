"""What is in a cloud under handles, and whose lease has ended. This works without any ledger.

Everything is read from the names alone. What does not begin with an exact handle is not ours and
never touched. What is removed carries the handle of one owner, exactly, its lease has ended, and
its run does not live on this host: a lease ends by the wall clock, which can be set during a run.
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

_HANDLES_AT_ONCE = 100  # each handle may have its ledger, which is an open file


class Held(NamedTuple):
    """A resource in the cloud, and the handle that its name begins with."""

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
        ref = self.resource.ref
        return f"{ref} of {self.handle.owner}, {when}: {ref.name}"


class Survey:
    """Everything whose name looks like ours. Each list begins with the lease that ended first."""

    def __init__(self) -> None:
        self.leftovers: List[Held] = []  # ours, and their lease has ended
        self.running: List[Held] = []  # ours, within their lease, or their run lives on this host
        self.others: List[Held] = []  # another owner's, and their lease has ended
        self.lookalikes: List[Resource] = []  # their names only resemble a handle


def survey(
    cloud: Cloud,
    owner: str,
    now: float,
    is_running: Callable[[Handle], bool] = lambda handle: False,
) -> Survey:
    """Find what there is at ``now`` (seconds since the epoch) for ``owner``, of every kind.

    ``is_running`` says whether the run of a handle lives, whatever the clock says. Raises the
    cloud's error unless the cloud answers for every kind.
    """
    result = Survey()
    running: Dict[Handle, bool] = {}
    for resource in cloud.survey(handles.PREFIX):
        handle = handles.parse(resource.ref.name)
        if handle is None:
            result.lookalikes.append(resource)
            continue
        held = Held(resource, handle, now - handle.expires)
        if handle.owner == owner and held.overdue > 0 and handle not in running:
            running[handle] = is_running(handle)
        if held.overdue <= 0 or running.get(handle):
            result.running += [held] if handle.owner == owner else []
        else:
            (result.leftovers if handle.owner == owner else result.others).append(held)
    for part in (result.leftovers, result.running, result.others):
        part.sort(key=lambda held: -held.overdue)
    return result


def remove(
    cloud: Cloud, leftovers: Sequence[Held], timeline: Timeline, longest: float, state: str
) -> Tuple[List[Held], str]:
    """Remove these; return what is still there, and why ('' when nothing is).

    The deletion of everything is requested, for up to 100 handles, before the first one is waited
    for. One handle is waited for at most ``longest`` seconds. ``state`` is the state directory:
    the ledgers of these handles that are in it are locked meanwhile, and settled.
    """
    groups = list(_by_handle(leftovers).items())
    there: Set[Held] = set()
    why = ""
    for first in range(0, len(groups), _HANDLES_AT_ONCE):
        left = cloud.deadline.left()
        if left <= 0:
            there.update(held for _, group in groups[first:] for held in group)
            why = why or "there was no time"
            break
        batch = dict(groups[first : first + _HANDLES_AT_ONCE])
        until = cloud.deadline.clock.now() + left * len(batch) / (len(groups) - first)
        remaining, reason = _remove(cloud, batch, timeline, until, longest, state)
        there.update(remaining)
        why = why or reason
    return [held for held in leftovers if held in there], why


def _by_handle(leftovers: Sequence[Held]) -> Dict[Handle, List[Held]]:
    """Group by handle. In each group servers come last, so that they are removed first."""
    groups: Dict[Handle, List[Held]] = {}
    for held in sorted(leftovers, key=lambda held: -list(Kind).index(held.resource.ref.kind)):
        groups.setdefault(held.handle, []).append(held)
    return groups


def _remove(
    cloud: Cloud,
    groups: Mapping[Handle, List[Held]],
    timeline: Timeline,
    until: float,
    longest: float,
    state: str,
) -> Tuple[List[Held], str]:
    """As ``remove``, for one batch of handles, until ``until`` on the clock."""
    leases: Dict[Handle, Lease] = {}
    there: List[Held] = []
    why = ""
    try:
        for handle, group in groups.items():
            ledger = Ledger.lock(state, handle)
            if ledger is None:
                there += group
                why = "its run lives, or its ledger cannot be opened"
                continue
            leases[handle] = Lease(cloud, handle, ledger, timeline)
            leases[handle].admit([held.resource for held in group])
        with contextlib.suppress(DeadlinePassed):  # each lease tells below what is still there
            for lease in leases.values():
                lease.request_deletion()

        for waiting, lease in zip(range(len(leases), 0, -1), leases.values()):
            now = cloud.deadline.clock.now()
            share = max((until - now) / waiting, 2 * cloud.deadline.polling.shortest)
            try:
                lease.remove_all(now + min(longest, share))
            except LeftBehind:
                why = why or str(lease.last_failure or "the removal was accepted")
    finally:
        for lease in leases.values():
            lease.ledger.close(lease.settled and not lease.ledger.damaged)
    remaining = {ref for lease in leases.values() for ref in lease.leftovers}
    there += [held for group in groups.values() for held in group if held.resource.ref in remaining]
    return there, why


def totals(leftovers: Sequence[Held]) -> Dict[str, float]:
    """Return the metrics of check_vm_leftovers: counts, seconds and bytes, by label."""
    resources = [held.resource for held in leftovers]
    return {
        "leftovers": len(resources),
        "oldest_age": max((held.overdue for held in leftovers), default=0),
        "vcpus": sum(resource.vcpus or 0 for resource in resources),
        "memory": sum(resource.memory or 0 for resource in resources),
        "volume_bytes": sum(
            resource.size or 0 for resource in resources if resource.ref.kind is Kind.VOLUME
        ),
    }
