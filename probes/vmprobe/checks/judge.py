"""Judge a run, for all checks: turn the error that ended it, or what it measured, into a state, a
text and a cause.

CRITICAL: the cloud failed its user. UNKNOWN: the check could not judge. A run has exactly one
outcome: the error that ended it, or else the worst of its ranges, its budgets and the problems that
it found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from vmprobe.core import reasons, text
from vmprobe.core.errors import (
    STATES,
    ClientError,
    CloudError,
    DeadlinePassed,
    Interrupted,
    LeftBehind,
    StageOverrun,
    VmprobeError,
)
from vmprobe.core.redact import current
from vmprobe.core.timeline import Timeline
from vmprobe.report.verdict import CRITICAL, OK, UNKNOWN, WARNING, Verdict, figure
from vmprobe.site.thresholds import Thresholds

if TYPE_CHECKING:
    from vmprobe.site.site import Site

# A site may map each cause and each problem to another state, in [verdict].
_STATE_OF_CAUSE = {"client": UNKNOWN, "quota": WARNING}  # all others: CRITICAL
_STATE_OF_PROBLEM = {
    "quota": WARNING,
    "leftovers": WARNING,
    "teardown": WARNING,  # something was removed, but its removal failed at first
    "unmeasured": UNKNOWN,
}


class _StageRule(NamedTuple):
    """What a stage says about the cause of an error in it."""

    cause: str  # where neither the manager nor its text names one
    requests: bool = False  # it requests resources, so the text of an error may name the cause


# What is refused at the submission never reached a scheduler, so the cause is the gateway.
_STAGES = {
    "auth": _StageRule("auth"),
    "image": _StageRule("image"),
    "submit": _StageRule("gateway", requests=True),
    "active": _StageRule("scheduler", requests=True),
    "network": _StageRule("network", requests=True),
    "storage": _StageRule("storage", requests=True),
    "sample": _StageRule("gateway"),
    "snapshot": _StageRule("image", requests=True),
    "detach": _StageRule("storage", requests=True),
    "delete": _StageRule("teardown"),
    "gone": _StageRule("teardown"),
}
_OTHER_STAGE = _StageRule("gateway")


# --- a run that an error ended --------------------------------------------------------------------


def failure(
    error: BaseException, timeline: Timeline, site: Site, with_traceback: bool = False
) -> Verdict:
    """The verdict of a run that ``error`` ended, named with the stage that it ended in."""
    if not isinstance(error, VmprobeError):
        return unforeseen(error, with_traceback)
    failed = timeline.failed()
    stage = failed.name if failed else ""
    state, cause = state_of_error(error, site.verdict, stage)
    if (
        isinstance(error, DeadlinePassed)
        and failed
        and site.thresholds.broken(stage, failed.lasted) == "critical"
    ):  # the stage alone was too slow, so the cloud can be judged
        overrun = StageOverrun(str(error), error.cause)
        state, cause = state_of_error(overrun, site.verdict, stage)
    return Verdict(state, blame(stage, error, cause), reason=str(error))


def not_started(error: BaseException, mapping: Mapping[str, str] = {}) -> Verdict:
    """The verdict of a run that ``error`` ended before anything was requested.

    ``mapping`` is the site's ``[verdict]``, where the site is known.
    """
    is_ours = isinstance(error, ClientError)
    state = _state("client", mapping, UNKNOWN) if is_ours else UNKNOWN
    return Verdict(state, current().redact(str(error)))


def unforeseen(error: BaseException, with_traceback: bool) -> Verdict:
    """Return the verdict of an error that nobody expected: one clean line. ``with_traceback`` adds
    the traceback below it.
    """
    trace = ""
    if with_traceback:
        import traceback

        lines = traceback.format_exception(type(error), error, error.__traceback__)
        trace = current().redact("".join(lines))
    message = f"unforeseen: {text.one_line(f'{type(error).__name__}: {error}')}"
    return Verdict(UNKNOWN, message, details=tuple(trace.splitlines()))


def state_of_error(
    error: BaseException, mapping: Mapping[str, str], stage: str = ""
) -> Tuple[int, str]:
    """Return the state and the cause of the error that ended a run.

    ``mapping`` is the site's ``[verdict]``: states by cause. The cause is the error's own, else the
    one that its text names, else the usual one of the stage. A full quota is a warning in every
    stage.
    """
    cause: str = getattr(error, "cause", "")
    if isinstance(error, DeadlinePassed):
        return _state("timeout", mapping, UNKNOWN), cause
    if isinstance(error, Interrupted) or not isinstance(error, VmprobeError):
        return UNKNOWN, cause
    if isinstance(error, ClientError):
        return _state("client", mapping, UNKNOWN), "client"
    rule = _STAGES.get(stage, _OTHER_STAGE)
    if not cause and rule.requests and not isinstance(error, StageOverrun):
        cause = reasons.cause(str(error))  # the text of a StageOverrun is our own
    cause = cause or rule.cause
    if isinstance(error, LeftBehind):
        key = "leftovers" if "leftovers" in mapping else cause
        return _state(key, mapping, WARNING), cause
    return _state(cause, mapping, _STATE_OF_CAUSE.get(cause, CRITICAL)), cause


def _state(cause: str, mapping: Mapping[str, str], usual: int) -> int:
    return STATES.index(mapping.get(cause, STATES[usual]))


def is_quota(error: BaseException) -> bool:
    """Whether a full quota ended the run, by a refused request or by a server's fault."""
    return (
        isinstance(error, CloudError)
        and not isinstance(error, LeftBehind)
        and state_of_error(error, {}, "submit")[1] == "quota"
    )


def blame(stage: str, error: BaseException, cause: str) -> str:
    """``active: server 4f1c is ERROR: No valid host was found (cause=scheduler, req-1a2b)``, not
    shortened.
    """
    request = text.one_line(getattr(error, "request", ""), 44)
    return with_cause((f"{stage}: " if stage else "") + str(error), cause, request)


def with_cause(message: str, cause: str, request: str = "") -> str:
    """Add the cause to a message, and the manager's id of the request, where there are any."""
    marks = [f"cause={cause}"] if cause else []
    marks += [request] if request else []
    return f"{message} ({', '.join(marks)})" if marks else message


def cause_of_stage(stage: str) -> str:
    """The usual cause of an error in a stage: it counts where nothing else names one."""
    return _STAGES.get(stage, _OTHER_STAGE).cause


# --- a run that came to its end -------------------------------------------------------------------


def completed(
    site: Site,
    message: str,
    measured: Mapping[str, float],
    problems: Sequence[str] = (),
    budgeted: Mapping[str, float] = {},
    reason: str = "",
) -> Verdict:
    """The verdict of a run that no error ended: the worst of ranges, budgets and ``problems``.

    ``message`` is what the check says, behind what is out of range; ``reason`` is the part of it
    that may be shortened. ``problems`` are those that the check found: quota, leftovers, teardown,
    unmeasured. ``budgeted`` are the durations, in seconds by stage, that the site's budgets limit.
    """
    state, broken = state_of_ranges(measured, site.thresholds)
    late = over_budget(budgeted, site.budgets)
    if late:
        state = CRITICAL
    for problem in problems:
        state = _worse(state, _state(problem, site.verdict, _STATE_OF_PROBLEM[problem]))
    return Verdict(state, "; ".join([*late, *broken, message]), reason=reason)


def _worse(one: int, other: int) -> int:
    """The worse of two states; CRITICAL is worse than UNKNOWN."""
    return max(one, other, key=(OK, WARNING, UNKNOWN, CRITICAL).index)


def state_of_ranges(measured: Mapping[str, float], thresholds: Thresholds) -> Tuple[int, List[str]]:
    """Return the worst state of these values by their ranges, and a text for each value that is out
    of range, worst first.
    """
    broken: Dict[str, List[str]] = {"critical": [], "warning": []}
    for label, value in measured.items():
        level = thresholds.broken(label, value)
        if level:
            limit = getattr(thresholds, level)[label]
            where = f"inside {limit[1:]}" if limit.startswith("@") else f"outside {limit}"
            broken[level].append(f"{label} {figure(label, value)} is {where} ({level})")
    state = CRITICAL if broken["critical"] else WARNING if broken["warning"] else OK
    return state, broken["critical"] + broken["warning"]


def over_budget(durations: Mapping[str, float], budgets: Mapping[str, float]) -> List[str]:
    """Which of these durations, in seconds by stage, are longer than the site's budgets allow."""
    return [
        f"{stage} {figure(stage, duration)} is over its budget of {figure(stage, budgets[stage])} "
        "(critical)"
        for stage, duration in durations.items()
        if stage in budgets and duration > budgets[stage]
    ]
