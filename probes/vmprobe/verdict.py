"""What a run means, in one place: outcome to state, and state to the one line that Nagios reads.

CRITICAL: the cloud failed its user. UNKNOWN: the probe could not judge. Exactly one outcome exists, because
nagiosplugin would rank UNKNOWN above CRITICAL. Perfdata is nagiosplugin's, and so are the ranges (thresholds.py).
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from vmprobe import text
from vmprobe.errors import (ClientError, DeadlinePassed, Interrupted, LeftBehind, QuotaExceeded,
                            VmprobeError)
from vmprobe.thresholds import Thresholds, unit

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_LINE = 199  # line 1 before its perfdata
_ALL = 8000  # the whole: Nagios takes 8192 bytes, with host, service and time, as a passive result

_CAUSE_OF_STAGE = {"auth": "auth", "image": "image", "submit": "scheduler", "active": "scheduler", "network": "network",
                   "storage": "storage", "sample": "gateway", "snapshot": "image", "detach": "storage",
                   "delete": "teardown", "gone": "teardown"}


class Verdict(NamedTuple):
    """A state with its reasons: what a plug-in says. ``perfdata`` by label; ``details`` are the lines below the first.

    ``highest``: the largest value that a label can have, where there is one.
    """

    state: int
    text: str
    perfdata: Mapping[str, float] = {}
    thresholds: Thresholds = Thresholds()
    details: Tuple[str, ...] = ()
    highest: Mapping[str, float] = {}

    def with_details(self, lines: Sequence[str]) -> "Verdict":
        """This, and more lines below the first."""
        return self._replace(details=self.details + tuple(lines))

    def of(self, site: str, strike: Callable[[str], str]) -> "Verdict":
        """This as what is said of a site, all secrets struck out; ``strike`` is a redactor's.

        The site's name is no secret, even where a password is the same word: struck out, it would tell that.
        """
        return self._replace(text=f"{site}: {strike(self.text)}", details=tuple(map(strike, self.details)))


# --- outcome to state ---------------------------------------------------------------------------------------------

def of_error(error: BaseException, mapping: Mapping[str, str], stage: str = "") -> Tuple[int, str]:
    """The state and the cause of what ended a run; ``mapping`` is the site's ``[verdict]``, causes to states."""
    cause = getattr(error, "cause", "")
    if isinstance(error, DeadlinePassed):
        return WORDS.index(mapping.get("timeout", "UNKNOWN")), cause
    if isinstance(error, Interrupted) or not isinstance(error, VmprobeError):
        return UNKNOWN, cause
    if isinstance(error, ClientError):
        return WORDS.index(mapping.get("client", "UNKNOWN")), "client"
    cause = cause or _CAUSE_OF_STAGE.get(stage, "gateway")
    usual = WARNING if isinstance(error, (QuotaExceeded, LeftBehind)) else CRITICAL
    if isinstance(error, LeftBehind) and "leftovers" in mapping:
        return WORDS.index(mapping["leftovers"]), cause
    return WORDS.index(mapping.get(cause, WORDS[usual])), cause


def of_ranges(measured: Mapping[str, float], thresholds: Thresholds) -> Tuple[int, List[str]]:
    """The worst state that measured values are in by their ranges, and what broke which, worst first."""
    broken: Dict[str, List[str]] = {"critical": [], "warning": []}
    for label, value in measured.items():
        level = thresholds.broken(label, value)
        if level:
            limit = getattr(thresholds, level)[label]
            where = f"inside {limit[1:]}" if limit.startswith("@") else f"outside {limit}"
            broken[level].append(f"{label} {figure(label, value)} is {where} ({level})")
    state = CRITICAL if broken["critical"] else WARNING if broken["warning"] else OK
    return state, broken["critical"] + broken["warning"]


def figure(label: str, value: float) -> str:
    """A value with its unit, for people: ``41.2 s``, ``12.5 %``."""
    uom = unit(label)
    shown = text.seconds(value) if uom == "s" else text.number(value, 1)
    return f"{shown} {uom}" if uom else shown


# --- the line -----------------------------------------------------------------------------------------------------

def blame(stage: str, error: BaseException, cause: str, room: int = 160) -> str:
    """``active: server 4f1c is ERROR: No valid host was found (cause=scheduler, req-1a2b)``, in ``room`` if it can be."""
    marks = [f"cause={cause}"] if cause else []
    request = text.one_line(getattr(error, "request", ""), 44)
    tail = f" ({', '.join(marks + [request] if request else marks)})" if marks or request else ""
    head = f"{stage}: " if stage else ""
    return head + text.one_line(error, max(40, room - len(head) - len(tail))) + tail


def render(name: str, verdict: Verdict) -> str:
    """The plug-in's whole output: line 1 with all perfdata, then the details, each of them one line."""
    head = f"{name} {WORDS[verdict.state]} - "
    line = head + text.one_line(verdict.text, _LINE - len(head))
    data = " ".join(perfdata(verdict.perfdata, verdict.thresholds, verdict.highest))
    line = f"{line} | {data}" if data else line
    return "\n".join([line, *text.many_lines(verdict.details, _ALL - len(line))])


def perfdata(values: Mapping[str, float], thresholds: Thresholds, highest: Mapping[str, float] = {}) -> List[str]:
    """The items, in the order of their labels; a value that is no number of up to 21 digits is left out."""
    if not values:
        return []
    import nagiosplugin

    return [str(nagiosplugin.Performance(label, _value(label, value), unit(label), thresholds.warning.get(label, ""),
                                         thresholds.critical.get(label, ""), None if unit(label) == "%" else 0,
                                         _value(label, highest[label]) if label in highest else None))
            for label, value in sorted(values.items()) if abs(value) < 1e21]


def _value(label: str, value: float) -> str:
    uom = unit(label)
    return text.seconds(value) if uom == "s" else text.number(value, 1 if uom == "%" else 0)
