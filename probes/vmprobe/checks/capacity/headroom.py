"""What is free, by quota and by host, and how many more servers fit into it.

A quota is one number for the project, and every quota has to leave room. Of hosts one is enough,
but it needs room for the whole server: remainders on several hosts are of no use. A network or
datastore that the test VM uses is not a choice, so it binds like a quota.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core import text
from vmprobe.core.model import BURDENS, ONE_FOR_ALL, RESOURCES, Limit

QUOTA = "quota"
# Shares of a CPU are not exact numbers: 1.2 has room for twelve times 0.1.
_EXACT = 1e-6
_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


# --- how much there is ----------------------------------------------------------------------------


class Total(NamedTuple):
    """How much of a resource there is: ``used``, and ``total``, which is None where there is no
    limit.

    ``of``: the datastore or network that this is about, where it is one of several.
    """

    used: float
    total: Optional[float]
    of: str = ""

    @property
    def free(self) -> Optional[float]:
        """What is left; None where there is no limit."""
        return None if self.total is None else max(0.0, self.total - self.used)


def totals(limits: Sequence[Limit]) -> Dict[str, Total]:
    """Return the totals by perfdata label without its end: ``memory`` (of the quota),
    ``host_memory`` (of all hosts), ``pool_storage``.

    Of several quotas for the same resource, the one that leaves least counts. Of pools that cannot
    replace each other, such as datastores, the one with most room counts: nothing is added up that
    one server could not use.
    """
    groups: Dict[str, List[Limit]] = defaultdict(list)
    for limit in limits:
        groups[_label(limit)].append(limit)
    return {
        label: _sum(group) if label.startswith("host_") else _roomiest(group)
        for label, group in groups.items()
    }


def values(limits: Sequence[Limit]) -> Tuple[Dict[str, float], Dict[str, float]]:
    """(values, largest possible values) by perfdata label.

    ``_used`` is always there; ``_free`` and ``_full`` (%) where there is a limit.
    """
    values: Dict[str, float] = {}
    highest: Dict[str, float] = {}
    for label, total in totals(limits).items():
        if name_of(label) not in RESOURCES:
            continue
        values[f"{label}_used"] = total.used
        if total.total is None or total.free is None:
            continue
        highest[f"{label}_used"] = total.total
        if not label.endswith(BURDENS):
            values[f"{label}_free"] = total.free
            highest[f"{label}_free"] = total.total
        if total.total > 0:
            values[f"{label}_full"] = 100.0 * total.used / total.total
    return values, highest


def is_quota(limit: Limit) -> bool:
    """Whether this limit is set for a project or an account."""
    return limit.source == QUOTA or limit.source.startswith(f"{QUOTA} ")


def name_of(label: str) -> str:
    """``memory`` of ``host_memory``."""
    return label.partition("_")[2] if label.startswith(("host_", "pool_")) else label


def _label(limit: Limit) -> str:
    if is_quota(limit):
        return limit.name
    is_host = not limit.binding and (not limit.of or limit.of.startswith("host "))
    return f"{'host' if is_host else 'pool'}_{limit.name}"


def _sum(limits: Sequence[Limit]) -> Total:
    known = [limit.total for limit in limits if limit.total is not None]
    total = sum(known) if len(known) == len(limits) else None
    return Total(sum(limit.used for limit in limits), total)


def _roomiest(limits: Sequence[Limit]) -> Total:
    tightest: Dict[str, Limit] = {}  # by pool
    for limit in limits:
        tightest[limit.of] = min(tightest.get(limit.of, limit), limit, key=_left)
    best = tightest.get("") or max(tightest.values(), key=_left)  # what binds all comes first
    return Total(best.used, best.total, "" if is_quota(best) else best.source)


def _left(limit: Limit) -> float:
    return math.inf if limit.total is None else limit.total - limit.used


# --- how many servers fit -------------------------------------------------------------------------


class Room(NamedTuple):
    """How many more servers fit, None where no limit is known, and which limit is the tightest."""

    fits: Optional[int]
    limiting: str = ""


class _Need(NamedTuple):
    """A limit, and how much of it one server takes."""

    limit: Limit
    total: float
    need: float

    @property
    def free(self) -> float:
        return max(0.0, self.total - self.limit.used)

    @property
    def fits(self) -> int:
        return math.floor(self.free / self.need + _EXACT)


def room(limits: Sequence[Limit], needs: Mapping[Tuple[str, str], float]) -> Room:
    """How many more servers with these needs fit, by the tightest of all limits that apply to such
    a server.

    ``needs`` are what Driver.needs returns: amounts by (name, of) of a limit.
    """
    places: Dict[str, List[_Need]] = defaultdict(list)  # hosts and the like: one is enough
    choices: List[List[List[_Need]]] = []  # each is a list of places, of which one is enough
    for need in _applying(limits, needs):
        if is_quota(need.limit) or need.limit.binding:
            choices.append([[need]])
        else:
            places[need.limit.source].append(need)
    # Places with the same kinds of limits can replace each other.
    alike: Dict[FrozenSet[str], List[List[_Need]]] = defaultdict(list)
    for place in places.values():
        alike[frozenset(need.limit.name for need in place)].append(place)
    choices += alike.values()

    best = Room(None)
    for choice in choices:
        fits = sum(min(need.fits for need in place) for place in choice)
        if best.fits is None or fits < best.fits:
            best = Room(fits, _limiting([need for place in choice for need in place]))
    return best


def _applying(limits: Sequence[Limit], needs: Mapping[Tuple[str, str], float]) -> List[_Need]:
    """The limits that apply to a server with these needs. What a whole fleet shares applies only
    where none is left.
    """
    applying = []
    for limit in limits:
        need = needs.get((limit.name, limit.of))
        if limit.total is None or not need:
            continue
        if need != ONE_FOR_ALL or limit.total - limit.used < 1:
            applying.append(_Need(limit, limit.total, need))
    return applying


def _limiting(needs: Sequence[_Need]) -> str:
    """``vcpus by quota: 12 of 20 are free``: the resource whose limits alone leave room for the
    fewest servers.
    """
    fits: Dict[str, int] = defaultdict(int)
    for need in needs:
        fits[need.limit.name] += need.fits
    name = min(sorted(fits), key=lambda name: fits[name])
    tightest = [need for need in needs if need.limit.name == name]
    free = sum(need.free for need in tightest)
    total = sum(need.total for need in tightest)
    sources = [need.limit.source for need in tightest]
    all_datastores = all(source.startswith("datastore ") for source in sources)
    kind = "datastores" if all_datastores else "hosts"
    source = sources[0] if len(sources) == 1 else f"{len(sources)} {kind}"
    verb = "is" if RESOURCES.get(name) == "B" else "are"
    return f"{name} by {source}: {amount(name, free)} of {amount(name, total)} {verb} free"


# --- for people -----------------------------------------------------------------------------------


def table(limits: Sequence[Limit]) -> List[str]:
    """One line for each limit, the fullest first."""
    rows = [("LIMIT", "OF", "USED", "TOTAL", "FREE", "FULL")]
    rows += [_row(limit) for limit in sorted(limits, key=lambda limit: -_fullness(limit))]
    return text.table(rows)


def amount(name: str, value: float) -> str:
    """An amount of a resource: ``12``, ``3.5 GiB``."""
    if RESOURCES.get(name) != "B":
        return text.number(value, 2)
    size, unit = next(pair for pair in _UNITS if abs(value) >= pair[0] or pair[0] == 1)
    return f"{text.number(value / size, 1)} {unit}"


def _row(limit: Limit) -> Tuple[str, str, str, str, str, str]:
    free = Total(limit.used, limit.total).free
    total = "unknown" if limit.unknown else "unlimited"
    return (
        limit.name,
        limit.source,
        amount(limit.name, limit.used),
        total if limit.total is None else amount(limit.name, limit.total),
        "-" if free is None or limit.name in BURDENS else amount(limit.name, free),
        f"{100 * _fullness(limit):.0f} %" if limit.total else "-",
    )


def _fullness(limit: Limit) -> float:
    return limit.used / limit.total if limit.total else 0.0
