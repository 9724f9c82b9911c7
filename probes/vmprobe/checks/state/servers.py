"""List a cloud's servers: state, owner, age and image of each, and which ones have a problem."""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core import handle, reasons, text
from vmprobe.core.model import Resource, State

STATES = ("running", "stopped", "pending", "failed")  # each server is in one of them
PROBLEMS = ("failed", "stuck", "aged")  # worst first


class Server(NamedTuple):
    """A server as the census sees it."""

    resource: Resource
    state: str  # one of STATES
    age: Optional[float] = None  # seconds; None where neither the manager nor the name says it
    problem: str = ""  # one of PROBLEMS, or ''
    pending: Optional[float] = None  # seconds for which a stuck server has been pending

    def __str__(self) -> str:
        name = (
            f" ({self.resource.ref.name})"
            if self.resource.ref.name not in ("", self.resource.ref.id)
            else ""
        )
        seconds = (
            self.pending
            if self.problem == "stuck"
            else self.age
            if self.problem == "aged"
            else None
        )
        since = f" for {text.span(seconds)}" if seconds is not None else ""
        fault = f": {self.reason}" if self.resource.fault and self.problem == "failed" else ""
        return f"{self.resource.ref}{name} is {self.resource.provider_state}{since}{fault}"

    @property
    def reason(self) -> str:
        """The innermost reason in the text of the fault."""
        return reasons.innermost(reasons.plain(self.resource.fault))


class Patterns(NamedTuple):
    """Which servers are selected: shell patterns that ignore case; '' matches all."""

    name: str = ""
    owner: str = ""
    project: str = ""
    image: str = ""

    def match(self, resource: Resource) -> bool:
        """Whether all patterns match this server."""
        values = (resource.ref.name, resource.owner, resource.project, resource.image)
        return all(
            fnmatch.fnmatchcase(value.lower(), pattern.lower())
            for pattern, value in zip(self, values)
            if pattern
        )


def take(
    resources: Sequence[Resource],
    rests: Callable[[Resource], bool],
    now: float,
    stuck: float,
    max_age: Optional[float] = None,
) -> List[Server]:
    """The servers: those with a problem first, then the oldest.

    ``rests`` says of a server whether its owner stopped it. ``stuck``: seconds that one may be
    pending, since its last change or else its creation; ``max_age``: seconds that one may live.
    Where an age is not known, neither is exceeded.
    """
    servers = [_server(each, rests(each), now, stuck, max_age) for each in resources]
    return sorted(servers, key=_order)


def counts(servers: Sequence[Server]) -> Dict[str, float]:
    """Counts by perfdata label, and ``age_max`` in seconds where an age is known."""
    states = Counter(server.state for server in servers)
    problems = Counter(server.problem for server in servers)
    result: Dict[str, float] = {
        "servers": len(servers),
        **{state: states[state] for state in STATES},
        **{problem: problems[problem] for problem in PROBLEMS[1:]},
    }
    ages = [server.age for server in servers if server.age is not None]
    return {**result, "age_max": max(ages)} if ages else result


def table(servers: Sequence[Server], limit: int) -> List[str]:
    """One line for each of the first ``limit`` servers; then long faults; then how many servers
    each owner has.
    """
    if not servers:
        return []
    rows = [("STATE", "AGE", "OWNER", "PROJECT", "IMAGE", "ID", "NAME")]
    for server in servers[:limit]:
        resource = server.resource
        problem = f" {server.problem}" if server.problem not in ("", "failed") else ""
        rows.append(
            (
                resource.provider_state + problem,
                "-" if server.age is None else text.span(server.age),
                resource.owner or "-",
                resource.project or "-",
                resource.image or "-",
                resource.ref.id,
                resource.ref.name,
            )
        )
    more = [f"and {len(servers) - limit} more"] if len(servers) > limit else []
    faults = [
        f"{server.resource.ref}: {server.resource.fault}"
        for server in servers[:limit]
        if server.problem == "failed" and server.reason != server.resource.fault
    ]
    shares = [f"by {key}: {_shares(servers, key)}" for key in ("owner", "project", "image")]
    return text.table(rows) + more + faults + shares


def _order(server: Server) -> Tuple[int, float, str]:
    problem = PROBLEMS.index(server.problem) if server.problem else len(PROBLEMS)
    return problem, -(server.age or 0.0), server.resource.ref.name


def _server(
    resource: Resource, rests: bool, now: float, stuck: float, max_age: Optional[float]
) -> Server:
    """A server with its state, and the worst problem that it has."""
    state, age = _state(resource, rests), _age(resource, now)
    if state == "failed":
        return Server(resource, state, age, "failed")
    pending = age if resource.state_since is None else max(0.0, now - resource.state_since)
    if state == "pending" and pending is not None and pending > stuck:
        return Server(resource, state, age, "stuck", pending)
    if max_age is not None and age is not None and age > max_age:
        return Server(resource, state, age, "aged")
    return Server(resource, state, age)


def _state(resource: Resource, rests: bool) -> str:
    if resource.state is State.READY:
        return "running"
    if rests:
        return "stopped"
    return "failed" if resource.state is State.FAILED else "pending"


def _age(resource: Resource, now: float) -> Optional[float]:
    """The age in seconds, from the manager's time stamp; for a test VM also from its name."""
    created = resource.created
    if created is None:
        run = handle.parse(resource.ref.name)
        created = run.start if run else None
    return None if created is None else max(0.0, now - created)


def _shares(servers: Sequence[Server], attribute: str) -> str:
    """``alice 12, bob 3``: the ten values of an attribute that most servers have."""
    shares = Counter(getattr(server.resource, attribute) or "not said" for server in servers)
    most = sorted(shares.items(), key=lambda share: (-share[1], share[0]))[:10]
    return ", ".join(f"{value} {count}" for value, count in most)
