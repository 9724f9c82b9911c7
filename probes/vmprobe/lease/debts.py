"""Settle what earlier runs left behind. A ledger that still exists and is not
locked is of a run that did not end well: its lines that are not settled are debts.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import LeftBehind
from vmprobe.core.model import Ref
from vmprobe.core.timeline import Timeline
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger, ledgers_in

_COUNTING_TIME = 1.0  # seconds: ledgers that are only counted are read for so long at most


class Debts(NamedTuple):
    """What earlier runs left behind."""

    left: List[Ref]  # what is still in the cloud
    unasked: int  # how many more resources are in ledgers; there was no time to ask the cloud
    warnings: List[str]  # what is wrong with the ledgers, one line each


def settle_debts(
    cloud: Cloud, directory: str, timeline: Timeline, time_limit: float, owner: str
) -> Debts:
    """Remove what earlier runs left at this endpoint, within ``time_limit`` seconds.

    ``directory`` holds the ledgers of the site. Each ledger gets a share of the time, so that one
    that cannot be settled does not hold up the others. A ledger of another endpoint stays: it can
    only be settled there. A ledger of another owner is settled once its lease has ended: it may be
    a copy, and its run may still live on the host that it comes from. A damaged ledger is settled
    as far as it can be read, and set aside when nothing of it is owed any more, or when not even
    its handle can be read. A ledger that cannot be opened stays; a warning says why.
    """
    left: List[Ref] = []
    warnings: List[str] = []
    clock, shortest = cloud.deadline.clock, 2 * cloud.deadline.polling.shortest
    until = clock.now() + time_limit
    try:
        paths = ledgers_in(directory, clock.utc())
    except OSError as failed:
        return Debts(left, 0, [f"the ledgers cannot be read: {failed.strerror}"])

    for number, path in enumerate(paths):
        now = clock.now()
        if now >= until or cloud.credential_rejected:
            why = (
                "the credential was rejected" if cloud.credential_rejected else "there was no time"
            )
            timeline.notes.append(f"some ledgers of earlier runs were not checked: {why}")
            return Debts(left, _count(cloud, paths[number:]), warnings)
        share = max((until - now) / (len(paths) - number), shortest)
        ledger = Ledger.of_ended_run(path)
        if ledger is None:
            continue
        handle = ledger.handle
        if handle and handle.owner != owner and handle.expires > clock.utc():
            timeline.notes.append(
                f"{handle} is not of {owner}, and within its lease: its debt is left alone"
            )
            ledger.close(settled=False)
            continue
        try:
            left += _settle(cloud, ledger, timeline, min(until, now + share), warnings)
        except OSError as failed:
            warnings.append(
                f"the damaged ledger {ledger.path} cannot be set aside: {failed.strerror}"
            )
        finally:
            ledger.close(settled=False)
    return Debts(left, 0, warnings)


def count_debts(cloud: Cloud, directory: str) -> int:
    """Count what ledgers of earlier runs at this endpoint hold, without asking the cloud."""
    try:
        return _count(cloud, ledgers_in(directory, cloud.deadline.clock.utc()))
    except OSError:
        return 0  # the run that needs the ledgers reports why they cannot be read


def _settle(
    cloud: Cloud, ledger: Ledger, timeline: Timeline, until: float, warnings: List[str]
) -> List[Ref]:
    """Settle one ledger, until ``until`` on the clock; return what is still there.

    OSError when a damaged ledger cannot be set aside.
    """
    handle, endpoint = ledger.handle, ledger.about.get("endpoint", cloud.driver.identity)
    if ledger.warning:
        warnings.append(ledger.warning)
        return []
    if endpoint != cloud.driver.identity:
        timeline.notes.append(f"debts at another endpoint, {endpoint}, stay in {ledger.path}")
        return []

    lease: Optional[Lease] = None
    if handle is not None:
        lease = Lease.of_earlier_run(cloud, handle, ledger, timeline)
        try:
            lease.remove_all(until)
            outcome = "is paid" if lease.settled else "is not there, and may yet appear"
        except LeftBehind as unpaid:
            outcome = f"could not be paid: {unpaid}"
        timeline.notes.append(f"the debt of {handle} {outcome}")

    if lease is None or ledger.damaged and lease.settled:
        warnings.append(f"a damaged ledger is set aside: {ledger.set_aside()}")
    else:
        if not lease.settled:
            ledger.postpone()
        ledger.close(lease.settled)
    return lease.leftovers if lease else []


def _count(cloud: Cloud, paths: Sequence[str]) -> int:
    """Count the resources in these ledgers, for at most a second; skip what cannot be read."""
    count, until = 0, cloud.deadline.clock.now() + _COUNTING_TIME
    for ledger in filter(None, map(Ledger.of_ended_run, paths)):
        if ledger.about.get("endpoint", cloud.driver.identity) == cloud.driver.identity:
            count += len(ledger.remaining())
        ledger.close(settled=False)
        if cloud.deadline.clock.now() >= until:
            break
    return count
