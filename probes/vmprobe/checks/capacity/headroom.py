"""What is free, by quota and by host, and how many more servers fit into it.

A quota is one number for the project, and each one has to leave room. Of hosts a server needs one that has room for it whole:
what is left over on each is of no use to it. A network or a datastore that the test VM uses is no choice: it binds like a quota.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core import text
from vmprobe.core.model import BURDENS, ONE_FOR_ALL, RESOURCES, Limit

QUOTA = "quota"
_EXACT = 1e-6  # shares of a CPU are no exact numbers: 1.2 has room for twelve times 0.1
_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


class Total(NamedTuple):
    """What there is of one name: ``total`` None when it is unlimited. ``of``: the pool that this is of, where it is one of several."""

    used: float
    total: Optional[float]
    of: str = ""

    @property
    def free(self) -> Optional[float]:
        return None if self.total is None else max(0.0, self.total - self.used)


class Room(NamedTuple):
    """How many more servers fit, None for no known limit, and what is limiting."""

    fits: Optional[int]
    limiting: str = ""


def is_quota(limit: Limit) -> bool:
    """Whether this is set for a project or an account, whatever there may be."""
    return limit.source == QUOTA or limit.source.startswith(f"{QUOTA} ")


def totals(limits: Sequence[Limit]) -> Dict[str, Total]:
    """By perfdata label without its end: ``memory`` by quota, ``host_memory`` for all hosts together, ``pool_storage``.

    Of several quotas for the same thing the one that leaves least counts; of things that cannot stand in for each other, such
    as datastores, the one that has most room: nothing is added up that one server could not use.
    """
    found: Dict[str, List[Limit]] = defaultdict(list)
    for limit in limits:
        found[_label(limit)].append(limit)
    return {
        label: _together(those) if label.startswith("host_") else _roomiest(those)
        for label, those in found.items()
    }


def _label(limit: Limit) -> str:
    if is_quota(limit):
        return limit.name
    is_host = not limit.binding and (not limit.of or limit.of.startswith("host "))
    return f"{'host' if is_host else 'pool'}_{limit.name}"


def _together(limits: Sequence[Limit]) -> Total:
    return Total(sum(limit.used for limit in limits), _sum([limit.total for limit in limits]))


def _roomiest(limits: Sequence[Limit]) -> Total:
    tightest: Dict[str, Limit] = {}
    for limit in limits:
        tightest[limit.of] = min(tightest.get(limit.of, limit), limit, key=_left)
    best = tightest.get("") or max(tightest.values(), key=_left)  # what binds everybody comes first
    return Total(best.used, best.total, "" if is_quota(best) else best.source)


def _left(limit: Limit) -> float:
    return float("inf") if limit.total is None else limit.total - limit.used


def figures(limits: Sequence[Limit]) -> Tuple[Dict[str, float], Dict[str, float]]:
    """(values, largest values) by perfdata label: ``_used`` always, ``_free`` and ``_full`` (%) where there is a total."""
    values: Dict[str, float] = {}
    highest: Dict[str, float] = {}
    for label, total in totals(limits).items():
        if name_of(label) not in RESOURCES:
            continue
        values[f"{label}_used"] = total.used
        if total.total is None:
            continue
        highest[f"{label}_used"] = total.total
        if not label.endswith(BURDENS):
            values[f"{label}_free"] = total.free
            highest[f"{label}_free"] = total.total
        if total.total > 0:
            values[f"{label}_full"] = 100.0 * total.used / total.total
    return values, highest


def name_of(label: str) -> str:
    """``memory`` of ``host_memory``."""
    return label.partition("_")[2] if label.startswith(("host_", "pool_")) else label


def room(limits: Sequence[Limit], needs: Mapping[Tuple[str, str], float]) -> Room:
    """How many more servers with these needs (Driver.needs) fit, by the tightest of all limits that such a server meets."""
    met = [
        (limit, needs[limit.name, limit.of])
        for limit in limits
        if limit.total is not None and needs.get((limit.name, limit.of))
    ]
    met = [
        (limit, need) for limit, need in met if need != ONE_FOR_ALL or limit.total - limit.used < 1
    ]

    places: Dict[str, List[_Need]] = defaultdict(list)  # hosts and the like: one of them is enough
    choices: List[List[List[_Need]]] = []
    for limit, need in met:
        if is_quota(limit) or limit.binding:
            choices.append([[_Need(limit, need)]])
        else:
            places[limit.source].append(_Need(limit, need))
    alike: Dict[frozenset, List[List[_Need]]] = defaultdict(
        list
    )  # those of one kind can stand in for each other
    for those in places.values():
        alike[frozenset(one.limit.name for one in those)].append(those)
    choices += alike.values()

    best = Room(None)
    for choice in choices:
        fits = sum(min(one.fits for one in place) for place in choice)
        if best.fits is None or fits < best.fits:
            best = Room(fits, _limiting([one for place in choice for one in place]))
    return best


def table(limits: Sequence[Limit]) -> List[str]:
    """One line for each limit, the fullest first."""
    rows = [("LIMIT", "OF", "USED", "TOTAL", "FREE", "FULL")]
    for limit in sorted(
        limits, key=lambda limit: -(limit.used / limit.total if limit.total else 0.0)
    ):
        total = Total(limit.used, limit.total)
        rows.append(
            (
                limit.name,
                limit.source,
                amount(limit.name, limit.used),
                amount(limit.name, limit.total)
                if limit.total is not None
                else "unknown"
                if limit.unknown
                else "unlimited",
                "-"
                if total.free is None or limit.name in BURDENS
                else amount(limit.name, total.free),
                f"{100 * limit.used / limit.total:.0f} %" if limit.total else "-",
            )
        )
    return text.table(rows)


def amount(name: str, value: float) -> str:
    """A value of a limit for people: ``12``, ``3.5 GiB``."""
    if RESOURCES.get(name) != "B":
        return text.number(value, 2)
    size, unit = next(pair for pair in _UNITS if abs(value) >= pair[0] or pair[0] == 1)
    return f"{text.number(value / size, 1)} {unit}"


class _Need(NamedTuple):
    """A limit, and how much of it one server takes."""

    limit: Limit
    need: float

    @property
    def fits(self) -> int:
        return math.floor(max(0.0, self.limit.total - self.limit.used) / self.need + _EXACT)


def _limiting(needs: Sequence[_Need]) -> str:
    """``vcpus by quota: 12 of 20 are free``: the name whose limits, each for itself, leave room for the fewest."""
    names = {one.limit.name for one in needs}
    name = min(
        sorted(names), key=lambda name: sum(one.fits for one in needs if one.limit.name == name)
    )
    those = [one.limit for one in needs if one.limit.name == name]
    free, total = (
        sum(max(0.0, limit.total - limit.used) for limit in those),
        sum(limit.total for limit in those),
    )
    kind = (
        "datastores" if all(limit.source.startswith("datastore ") for limit in those) else "hosts"
    )
    source = those[0].source if len(those) == 1 else f"{len(those)} {kind}"
    return f"{name} by {source}: {amount(name, free)} of {amount(name, total)} {'is' if RESOURCES.get(name) == 'B' else 'are'} free"


def _sum(values: Sequence[Optional[float]]) -> Optional[float]:
    return None if any(value is None for value in values) else sum(values)
