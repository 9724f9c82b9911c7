"""Compare what a test VM measured itself with what the manager measured of it. Differences show
contention, or a wrong meter.

The reporter in the VM does a small known piece of work every two seconds, and says how long that
took and what its kernel counted. Accounting uses the manager's values, so the two should agree.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from vmprobe.core.model import METRICS
from vmprobe.core.text import decimal_number
from vmprobe.guest.console import Fact

FACTOR = 4.0  # within a few seconds one of the two may see two rounds of work, the other three
_FLOOR = {"cpu": 10.0}  # percent: an idle guest costs its host something, too
_FLOOR_BYTES = 16384.0  # per second
_WORK = {"work_cpu": "cpu", "work_disk": "disk", "work_net": "net"}


def felt(servers: Sequence[Sequence[Fact]]) -> Dict[str, float]:
    """Values by perfdata label, over all servers: ``steal_avg`` in % of the time since they booted,
    and the mean duration of each piece of work in seconds. What no server has said is left out.

    ``servers``: the facts of each server's console, in order.
    """
    values: Dict[str, List[float]] = {}
    for facts in servers:
        cpus = _cpus(facts)
        for fact in facts:
            if fact.fact == "work":
                for label, key in _WORK.items():
                    values.setdefault(label, []).extend(_number(fact, key))
        counters = [fact for fact in facts if fact.fact == "counters" and fact.uptime > 0]
        if counters:
            last = counters[-1]
            values.setdefault("steal_avg", []).extend(
                100.0 * steal / last.uptime / cpus for steal in _number(last, "steal")
            )
    return {label: sum(each) / len(each) for label, each in values.items() if each}


def rates(facts: Sequence[Fact], seconds: float) -> Dict[str, float]:
    """Return what one server's kernel counted in its last ``seconds`` or a little more, by metric,
    in the manager's units.
    """
    counters = [fact for fact in facts if fact.fact == "counters"]
    if not counters:
        return {}
    last = counters[-1]
    since = last.uptime - max(seconds, 1.0)
    first = next((fact for fact in reversed(counters) if fact.uptime <= since), counters[0])
    if last.uptime <= first.uptime:
        return {}
    values: Dict[str, float] = {}
    for metric in METRICS:
        for start, end in zip(_number(first, metric), _number(last, metric)):
            factor = 100.0 / _cpus(facts) if metric == "cpu" else 1.0
            values[metric] = max(0.0, factor * (end - start) / (last.uptime - first.uptime))
    return values


def compare(
    measured: Mapping[str, float], own: Sequence[Mapping[str, float]]
) -> Tuple[Optional[float], List[str]]:
    """(largest factor between the manager's averages and the servers' own, a line for each that is
    above FACTOR).

    Values below a floor are noise, and count as the floor. The factor is None where nothing could
    be compared.
    """
    largest: Optional[float] = None
    differences: List[str] = []
    for metric in METRICS:
        each = [rates[metric] for rates in own if metric in rates]
        if not each or f"{metric}_avg" not in measured:
            continue
        floor = _FLOOR.get(metric, _FLOOR_BYTES)
        manager, guest = measured[f"{metric}_avg"], sum(each) / len(each)
        factor = max(manager, guest, floor) / max(min(manager, guest), floor)
        largest = max(largest or 1.0, factor)
        if factor > FACTOR:
            unit = "%" if metric == "cpu" else "B/s"
            differences.append(
                f"metering: {metric} is {manager:.0f} {unit} according to the manager "
                f"and {guest:.0f} {unit} according to the VM itself"
            )
    return largest, differences


def _cpus(facts: Sequence[Fact]) -> float:
    counts = [count for fact in facts if fact.fact == "boot" for count in _number(fact, "cpus")]
    return max(1.0, counts[-1]) if counts else 1.0


def _number(fact: Fact, key: str) -> List[float]:
    """The number under a key, as a list of one; empty where a guest wrote anything but plain
    digits.
    """
    number = decimal_number(fact.values.get(key))
    return [] if number is None else [number]
