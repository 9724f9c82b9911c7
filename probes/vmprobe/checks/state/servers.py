"""The census of a cloud's servers: how many are in which state, whose, since when, from which image, and which are not
as they should be.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from vmprobe.core import handle, reasons, text
from vmprobe.core.model import Resource, State

KEPT = ("running", "stopped", "pending", "failed")  # each server is in one of them
TROUBLES = ("failed", "stuck", "aged")  # worst first


class Server(NamedTuple):
    """A server as the census sees it. ``age`` in seconds, None where neither the manager nor the name says it."""

    seen: Resource
    kept: str  # one of KEPT
    age: Optional[float] = None
    trouble: str = ""  # one of TROUBLES, '' when all is well
    moving: Optional[float] = None  # seconds for which it has been stuck

    def __str__(self) -> str:
        name = (
            f" ({self.seen.ref.name})" if self.seen.ref.name not in ("", self.seen.ref.id) else ""
        )
        seconds = (
            self.moving if self.trouble == "stuck" else self.age if self.trouble == "aged" else None
        )
        since = f" for {text.span(seconds)}" if seconds is not None else ""
        fault = f": {self.reason}" if self.seen.fault and self.trouble == "failed" else ""
        return f"{self.seen.ref}{name} is {self.seen.provider_state}{since}{fault}"

    @property
    def reason(self) -> str:
        """What is at the bottom of the manager's words for what went wrong."""
        return reasons.innermost(reasons.plain(self.seen.fault))


class Patterns(NamedTuple):
    """Whose servers are counted: shell patterns, whatever the case; '' is all."""

    name: str = ""
    owner: str = ""
    project: str = ""
    image: str = ""

    def match(self, seen: Resource) -> bool:
        words = (
            (self.name, seen.ref.name),
            (self.owner, seen.owner),
            (self.project, seen.project),
            (self.image, seen.image),
        )
        return all(
            fnmatch.fnmatchcase(word.lower(), pattern.lower()) for pattern, word in words if pattern
        )


def take(
    seen: Sequence[Resource],
    rests: Callable[[Resource], bool],
    now: float,
    stuck: float,
    max_age: Optional[float] = None,
) -> List[Server]:
    """The servers, those that are not as they should be first, then the oldest.

    ``stuck``: seconds that one may be pending, from its last change or else from its creation; ``max_age``: seconds that one may live. What has no known age is neither.
    """
    found = [_judged(server, rests(server), now, stuck, max_age) for server in seen]
    return sorted(
        found,
        key=lambda one: (
            TROUBLES.index(one.trouble) if one.trouble else len(TROUBLES),
            -(one.age or 0.0),
            one.seen.ref.name,
        ),
    )


def figures(servers: Sequence[Server]) -> Dict[str, float]:
    """Counts by perfdata label, and ``age_max`` in seconds where an age is known."""
    kept, troubles = Counter(one.kept for one in servers), Counter(one.trouble for one in servers)
    found: Dict[str, float] = {
        "servers": len(servers),
        **{word: kept[word] for word in KEPT},
        **{word: troubles[word] for word in TROUBLES[1:]},
    }
    ages = [one.age for one in servers if one.age is not None]
    return {**found, "age_max": max(ages)} if ages else found


def table(servers: Sequence[Server], limit: int) -> List[str]:
    """One line for each server, in the order given, no more than ``limit`` of them; faults that are more than a reason; who has how many."""
    if not servers:
        return []
    rows = [("STATE", "AGE", "OWNER", "PROJECT", "IMAGE", "ID", "NAME")]
    rows += [
        (
            one.seen.provider_state
            + (f" {one.trouble}" if one.trouble not in ("", "failed") else ""),
            "-" if one.age is None else text.span(one.age),
            one.seen.owner or "-",
            one.seen.project or "-",
            one.seen.image or "-",
            one.seen.ref.id,
            one.seen.ref.name,
        )
        for one in servers[:limit]
    ]
    more = [f"and {len(servers) - limit} more"] if len(servers) > limit else []
    more += [
        f"{one.seen.ref}: {one.seen.fault}"
        for one in servers[:limit]
        if one.trouble == "failed" and one.reason != one.seen.fault
    ]
    return (
        text.table(rows)
        + more
        + [f"by {word}: {_shares(servers, word)}" for word in ("owner", "project", "image")]
    )


def _shares(servers: Sequence[Server], word: str) -> str:
    shares = Counter(getattr(one.seen, word) or "not said" for one in servers)
    most = sorted(shares.items(), key=lambda share: (-share[1], share[0]))[:10]
    return ", ".join(f"{name} {count}" for name, count in most)


def _judged(
    seen: Resource, rests: bool, now: float, stuck: float, max_age: Optional[float]
) -> Server:
    kept = (
        "running"
        if seen.state is State.READY
        else "stopped"
        if rests
        else "failed"
        if seen.state is State.FAILED
        else "pending"
    )
    age = _age(seen, now)
    if kept == "failed":
        return Server(seen, kept, age, "failed")
    moving = age if seen.state_since is None else max(0.0, now - seen.state_since)
    if kept == "pending" and moving is not None and moving > stuck:
        return Server(seen, kept, age, "stuck", moving)
    if max_age is not None and age is not None and age > max_age:
        return Server(seen, kept, age, "aged")
    return Server(seen, kept, age)


def _age(seen: Resource, now: float) -> Optional[float]:
    """By the manager's time stamp; of a test VM also by its name."""
    created = seen.created
    if created is None:
        run = handle.parse(seen.ref.name)
        created = run.start if run else None
    return None if created is None else max(0.0, now - created)
