"""What is free, by quota and by host, and how many more servers fit into it.

A quota is one number for the project. Hosts and pools are added up, but a server has to fit into one of them whole: what
is left over on each is of no use to it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe import text
from vmprobe.model import BURDENS, RESOURCES, Limit, Plan

QUOTA = "quota"
_UNITS = ((2 ** 40, "TiB"), (2 ** 30, "GiB"), (2 ** 20, "MiB"), (2 ** 10, "KiB"), (1, "B"))


class Total(NamedTuple):
    """All limits of one name, by quota or by hosts: ``total`` None when any of them is unlimited."""

    used: float
    total: Optional[float]

    @property
    def free(self) -> Optional[float]:
        return None if self.total is None else max(0.0, self.total - self.used)


class Room(NamedTuple):
    """How many more servers fit, None for no known limit, and what is limiting."""

    fits: Optional[int]
    limiting: str = ""


def totals(limits: Sequence[Limit]) -> Dict[str, Total]:
    """By perfdata label without its end: ``memory`` by quota, ``host_memory`` for all hosts and pools together."""
    found: Dict[str, List[Limit]] = defaultdict(list)
    for limit in limits:
        found[limit.name if limit.source == QUOTA else f"host_{limit.name}"].append(limit)
    return {label: Total(sum(limit.used for limit in those), _sum([limit.total for limit in those]))
            for label, those in found.items()}


def figures(limits: Sequence[Limit]) -> Tuple[Dict[str, float], Dict[str, float]]:
    """(values, largest values) by perfdata label: ``_used`` always, ``_free`` and ``_full`` (%) where there is a total."""
    values: Dict[str, float] = {}
    highest: Dict[str, float] = {}
    for label, total in totals(limits).items():
        if label.replace("host_", "", 1) not in RESOURCES:
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


def needs(plan: Plan, volume: Optional[int]) -> Dict[str, float]:
    """What one server of this plan takes, by the name of the limit; what the manager does not say counts as nothing."""
    details = plan.details
    found = {"servers": 1.0, "vcpus": details.get("vcpus") or 0, "memory": details.get("memory") or 0, "ports": 1.0}
    if volume:
        found.update(volumes=1.0, storage=float(volume))
    return {name: float(size) for name, size in found.items() if size}


def room(limits: Sequence[Limit], need: Mapping[str, float]) -> Room:
    """How many more servers of this need fit, by the tightest of the quota and of the hosts and pools that say the same."""
    sources: Dict[str, List[Limit]] = defaultdict(list)
    for limit in limits:
        if limit.total is not None and need.get(limit.name):
            sources[limit.source].append(limit)

    alike: Dict[Tuple[bool, frozenset], List[List[Limit]]] = defaultdict(list)  # hosts of one kind can stand in for each other
    for source, those in sources.items():
        alike[source == QUOTA, frozenset(limit.name for limit in those)].append(those)

    best = Room(None)
    for those in alike.values():
        fits = sum(min(_fit(limit, need) for limit in one) for one in those)
        if best.fits is None or fits < best.fits:
            best = Room(fits, _limiting([limit for one in those for limit in one], need))
    return best


def table(limits: Sequence[Limit]) -> List[str]:
    """One line for each limit, the fullest first."""
    rows = [("LIMIT", "OF", "USED", "TOTAL", "FREE", "FULL")]
    for limit in sorted(limits, key=lambda limit: -(limit.used / limit.total if limit.total else 0.0)):
        total = Total(limit.used, limit.total)
        rows.append((limit.name, limit.source, amount(limit.name, limit.used),
                     amount(limit.name, limit.total) if limit.total is not None else "unknown" if limit.unknown else "unlimited",
                     "-" if total.free is None or limit.name in BURDENS else amount(limit.name, total.free),
                     f"{100 * limit.used / limit.total:.0f} %" if limit.total else "-"))
    return text.table(rows)


def amount(name: str, value: float) -> str:
    """A value of a limit for people: ``12``, ``3.5 GiB``."""
    if RESOURCES.get(name) != "B":
        return text.number(value, 1)
    size, unit = next(pair for pair in _UNITS if abs(value) >= pair[0] or pair[0] == 1)
    return f"{text.number(value / size, 1)} {unit}"


def _fit(limit: Limit, need: Mapping[str, float]) -> int:
    return math.floor(max(0.0, limit.total - limit.used) / need[limit.name])


def _limiting(limits: Sequence[Limit], need: Mapping[str, float]) -> str:
    """``vcpus by quota: 12 of 20 are free``: the name whose limits, each for itself, leave room for the fewest."""
    names = {limit.name for limit in limits}
    name = min(sorted(names), key=lambda one: sum(_fit(limit, need) for limit in limits if limit.name == one))
    those = [limit for limit in limits if limit.name == name]
    free, total = sum(max(0.0, limit.total - limit.used) for limit in those), sum(limit.total for limit in those)
    source = those[0].source if len(those) == 1 else f"{len(those)} hosts"
    return f"{name} by {source}: {amount(name, free)} of {amount(name, total)} {'is' if RESOURCES.get(name) == 'B' else 'are'} free"


def _sum(values: Sequence[Optional[float]]) -> Optional[float]:
    return None if any(value is None for value in values) else sum(values)
