"""What a run means, in one place: outcome to state, and state to the one line that Nagios reads.

CRITICAL: the cloud failed its user. UNKNOWN: the probe could not judge. Exactly one outcome exists, because
nagiosplugin would rank UNKNOWN above CRITICAL. Perfdata is nagiosplugin's, and so are the ranges (thresholds.py).
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from vmprobe.core import reasons, text
from vmprobe.core.errors import (
    ClientError,
    CloudError,
    DeadlinePassed,
    Interrupted,
    LeftBehind,
    StageOverrun,
    VmprobeError,
)
from vmprobe.site.thresholds import Thresholds, unit

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_LINE = 199  # line 1 before its perfdata
_ALL = 8000  # the whole: Nagios takes 8192 bytes, with host, service and time, as a passive result

_SHORTEST = 40  # characters of a reason that are shown whatever else has to be on line 1
_LAST = 60  # characters of a reason's last clause that stay: often the budget that was outrun
_LONG_ID = re.compile(
    r"\b([0-9a-fA-F]{8})(?:(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24})\b"
)
_HANDLE = re.compile(r"\bvmprobe-[a-z0-9-]{1,30}-\d{8}t\d{6}z-\d{1,6}-([a-z0-9]{8}(?:-\d{1,4})?)\b")
_FRACTIONS = re.compile(
    r"(host_|pool_)?(cpus|vcpus|load)_(used|free)$"
)  # counts of what can be had in part

# What a stage lends where neither the manager nor its words tell: no scheduler has seen what is refused at the submission.
_CAUSE_OF_STAGE = {
    "auth": "auth",
    "image": "image",
    "submit": "gateway",
    "active": "scheduler",
    "network": "network",
    "storage": "storage",
    "sample": "gateway",
    "snapshot": "image",
    "detach": "storage",
    "delete": "teardown",
    "gone": "teardown",
}
_ASKS = (
    "submit",
    "active",
    "network",
    "storage",
    "snapshot",
    "detach",
)  # stages in which things are asked for


class Printed(Exception):
    """Output instead of a result: the help, the version, or what is wrong with the command line."""


class Verdict(NamedTuple):
    """A state with its reasons: what a plug-in says. ``perfdata`` by label; ``details`` are the lines below the first.

    ``text`` is whole, and is shortened for line 1 only. ``reason`` is the part of it that may be: the manager's words.
    ``highest``: the largest value that a label can have, where there is one.
    """

    state: int
    text: str
    perfdata: Mapping[str, float] = {}
    thresholds: Thresholds = Thresholds()
    details: Tuple[str, ...] = ()
    highest: Mapping[str, float] = {}
    reason: str = ""

    def with_details(self, lines: Sequence[str]) -> "Verdict":
        """This, and more lines below the first."""
        return self._replace(details=self.details + tuple(lines))

    def of(self, site: str, strike: Callable[[str], str]) -> "Verdict":
        """This as what is said of a site, all secrets struck out; ``strike`` is a redactor's.

        The site's name is no secret, even where a password is the same word: struck out, it would tell that.
        """
        before, reason, after = _parted(self.text, self.reason)
        reason = strike(
            reasons.plain(strike(reason))
        )  # once more: a mark of HTML may have hidden a secret
        return self._replace(
            text=f"{site}: {strike(before)}{reason}{strike(after)}",
            details=tuple(map(strike, self.details)),
            reason=reason,
        )


def _parted(said: str, reason: str) -> Tuple[str, str, str]:
    """What stands before the reason, the reason, and what stands after it."""
    return said.partition(reason) if reason else (said, "", "")


# --- outcome to state ---------------------------------------------------------------------------------------------


def of_error(error: BaseException, mapping: Mapping[str, str], stage: str = "") -> Tuple[int, str]:
    """The state and the cause of what ended a run; ``mapping`` is the site's ``[verdict]``, causes to states.

    The cause is the manager's, or what its words tell; the stage lends its own only where neither says it. A full quota is
    a warning wherever it is met, and what is our own mistake is for nobody else to answer for.
    """
    cause = getattr(error, "cause", "")
    if isinstance(error, DeadlinePassed):
        return WORDS.index(mapping.get("timeout", "UNKNOWN")), cause
    if isinstance(error, Interrupted) or not isinstance(error, VmprobeError):
        return UNKNOWN, cause
    if isinstance(error, ClientError):
        return WORDS.index(mapping.get("client", "UNKNOWN")), "client"
    cause = cause or _told(error, stage) or _CAUSE_OF_STAGE.get(stage, "gateway")
    usual = (
        WARNING
        if cause == "quota" or isinstance(error, LeftBehind)
        else UNKNOWN
        if cause == "client"
        else CRITICAL
    )
    if isinstance(error, LeftBehind) and "leftovers" in mapping:
        return WORDS.index(mapping["leftovers"]), cause
    return WORDS.index(mapping.get(cause, WORDS[usual])), cause


def _told(error: BaseException, stage: str) -> str:
    """The cause that a manager's words tell, where they are about a thing that was asked for; a wait's words are our own."""
    return (
        reasons.cause(str(error)) if stage in _ASKS and not isinstance(error, StageOverrun) else ""
    )


def is_quota(error: BaseException) -> bool:
    """Whether a quota ended the run, however the manager told it: as its refusal, or as the fault of a server."""
    return (
        isinstance(error, CloudError)
        and not isinstance(error, LeftBehind)
        and of_error(error, {}, "submit")[1] == "quota"
    )


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


def over_budget(measured: Mapping[str, float], budgets: Mapping[str, float]) -> List[str]:
    """Which of these durations are longer than the site's budgets allow."""
    return [
        f"{label} {figure(label, value)} is over its budget of {figure(label, budgets[label])} (critical)"
        for label, value in measured.items()
        if label in budgets and value > budgets[label]
    ]


def figure(label: str, value: float) -> str:
    """A value with its unit, for people: ``41.2 s``, ``12.5 %``."""
    uom = unit(label)
    shown = text.seconds(value) if uom == "s" else text.number(value, 1)
    return f"{shown} {uom}" if uom else shown


# --- the line -----------------------------------------------------------------------------------------------------


def blame(stage: str, error: BaseException, cause: str) -> str:
    """``active: server 4f1c is ERROR: No valid host was found (cause=scheduler, req-1a2b)``, whole."""
    marks = [f"cause={cause}"] if cause else []
    request = text.one_line(getattr(error, "request", ""), 44)
    tail = f" ({', '.join(marks + [request] if request else marks)})" if marks or request else ""
    return (f"{stage}: " if stage else "") + str(error) + tail


def render(name: str, verdict: Verdict) -> str:
    """The plug-in's whole output: line 1 with all perfdata, the details, each of them one line; secrets are gone already.

    Where a reason had to be shortened for line 1, all of it stands whole on a line of its own below.
    """
    head = f"{name} {WORDS[verdict.state]} - "
    whole = text.shortened(verdict.text, _ALL)
    shown = fitted(verdict.text, verdict.reason, _LINE - len(head))
    data = " ".join(perfdata(verdict.perfdata, verdict.thresholds, verdict.highest))
    line = f"{head}{shown} | {data}" if data else head + shown
    details = (whole, *verdict.details) if verdict.reason and shown != whole else verdict.details
    return "\n".join([line, *text.many_lines(details, _ALL - len(line))])


def fitted(said: str, reason: str, room: int) -> str:
    """``said`` as one line for ``room`` characters: without what wraps the ``reason``, then with short ids, then with less of it."""
    before, middle, after = _parted(said, reason)
    middle = reasons.innermost(middle)
    line = text.shortened(before + middle + after, _ALL)
    if len(line) <= room:
        return line
    before, middle, after = (
        _HANDLE.sub(r"...\1", _LONG_ID.sub(r"\1...", part)) for part in (before, middle, after)
    )
    if len(before + middle + after) > room:
        middle, mark, last = middle.rpartition("; ")
        if not mark or len(last) > _LAST:
            middle, mark, last = middle + mark + last, "", ""
        middle = (
            text.shortened(middle, max(_SHORTEST, room - len(before + mark + last + after)))
            + mark
            + last
        )
    return text.shortened(before + middle + after, room)


def perfdata(
    values: Mapping[str, float], thresholds: Thresholds, highest: Mapping[str, float] = {}
) -> List[str]:
    """The items, in the order of their labels; a value that is no number of up to 21 digits is left out."""
    if not values:
        return []
    import nagiosplugin

    return [
        str(
            nagiosplugin.Performance(
                label,
                _value(label, value),
                unit(label),
                thresholds.warning.get(label, ""),
                thresholds.critical.get(label, ""),
                None if unit(label) == "%" else 0,
                _value(label, highest[label]) if label in highest else None,
            )
        )
        for label, value in sorted(values.items())
        if abs(value) < 1e21
    ]


def _value(label: str, value: float) -> str:
    uom = unit(label)
    if uom == "s":
        return text.seconds(value)
    return text.number(value, 3 if _FRACTIONS.match(label) else 1 if uom == "%" else 0)
