"""What the test VM itself felt, beside what the manager measured of it: is there contention, and is the meter right?

The reporter in the VM does a small known amount of work every two seconds, and says how long that took and what its
kernel counted. The manager's figures are what accounting bills by; the two should agree.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from vmprobe.core.model import METRICS
from vmprobe.core.text import decimal_number
from vmprobe.guest.console import Fact

FACTOR = 4.0  # a window of a few seconds holds two rounds of work for one and three for the other
_FLOOR = {"cpu": 10.0}  # in percent: an idle guest costs its host something, too
_FLOOR_BYTES = 16384.0  # a second
_WORK = {"work_cpu": "cpu", "work_disk": "disk", "work_net": "net"}


def felt(servers: Sequence[Sequence[Fact]]) -> Dict[str, float]:
    """Figures by perfdata label over all servers, by their facts: ``steal_avg`` in % of the time since they booted, and
    the mean duration of each piece of work in seconds. What no server has said is not there."""
    found: Dict[str, List[float]] = {}
    for said in servers:
        cpus = _cpus(said)
        for fact in said:
            if fact.fact == "work":
                for label, word in _WORK.items():
                    found.setdefault(label, []).extend(_number(fact, word))
        counted = [fact for fact in said if fact.fact == "counters" and fact.uptime > 0]
        if counted:
            found.setdefault("steal_avg", []).extend(
                100.0 * steal / counted[-1].uptime / cpus for steal in _number(counted[-1], "steal")
            )
    return {label: sum(values) / len(values) for label, values in found.items() if values}


def rates(said: Sequence[Fact], seconds: float) -> Dict[str, float]:
    """What one server's kernel counted in its last ``seconds`` or a little more, in the units of the manager's averages."""
    counted = [fact for fact in said if fact.fact == "counters"]
    if not counted:
        return {}
    last = counted[-1]
    first = next(
        (fact for fact in reversed(counted) if fact.uptime <= last.uptime - max(seconds, 1.0)),
        counted[0],
    )
    if last.uptime <= first.uptime:
        return {}
    found: Dict[str, float] = {}
    for metric in METRICS:
        for start, end in zip(_number(first, metric), _number(last, metric)):
            share = 100.0 / _cpus(said) if metric == "cpu" else 1.0
            found[metric] = max(0.0, share * (end - start) / (last.uptime - first.uptime))
    return found


def compare(
    measured: Mapping[str, float], own: Sequence[Mapping[str, float]]
) -> Tuple[Optional[float], List[str]]:
    """(the largest factor between the manager's averages and the servers' own, what differs by more than FACTOR).

    Below a floor two figures are noise, and count as the floor. None where nothing could be compared.
    """
    largest: Optional[float] = None
    told: List[str] = []
    for metric in METRICS:
        each = [rates[metric] for rates in own if metric in rates]
        if not each or f"{metric}_avg" not in measured:
            continue
        floor = _FLOOR.get(metric, _FLOOR_BYTES)
        manager, guest = measured[f"{metric}_avg"], sum(each) / len(each)
        high, low = max(manager, guest, floor), max(min(manager, guest), floor)
        largest = max(largest or 1.0, high / low)
        if high / low > FACTOR:
            unit = "%" if metric == "cpu" else "B/s"
            told.append(
                f"metering: {metric} is {manager:.0f} {unit} by the manager and {guest:.0f} {unit} by the VM itself"
            )
    return largest, told


def _cpus(said: Sequence[Fact]) -> float:
    counts = [count for fact in said if fact.fact == "boot" for count in _number(fact, "cpus")]
    return max(1.0, counts[-1]) if counts else 1.0


def _number(fact: Fact, word: str) -> List[float]:
    """The number under a word, as a list of one; of what a guest may write, only what is a number in plain digits."""
    found = decimal_number(fact.values.get(word))
    return [] if found is None else [found]
