"""One run of a check at one site: what all checks share.

``run`` is what every check's ``main`` returns; ``run_read_only`` is the run of a check that creates
nothing.

    command line -> site -> deadline, timeline, evidence -> driver -> cloud -> verdict
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe.checks import judge, signals
from vmprobe.checks.options import Parser, load_site, thresholds_of
from vmprobe.core import redact
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import STATES, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import seconds
from vmprobe.core.timeline import Stage, Timeline
from vmprobe.host import files
from vmprobe.report import progress
from vmprobe.report.verdict import Verdict
from vmprobe.site import services
from vmprobe.site.credentials import secrets
from vmprobe.site.site import Site
from vmprobe.site.thresholds import Thresholds


class CheckResult(NamedTuple):
    """What a check's ``main`` returns: the verdict, with its site and options."""

    verdict: Verdict
    site: Site  # as its file has it
    options: argparse.Namespace


def run(
    parser: Parser,
    arguments: Sequence[str],
    check: Callable[[Site, argparse.Namespace], Verdict],
) -> CheckResult:
    """Parse the command line, load the site, and check it.

    Printed or ClientError where the command line or the site is wrong; every later error becomes a
    verdict.
    """
    options = parser.parse_args(arguments)
    site = load_site(options)
    try:
        importlib.import_module("nagiosplugin")  # for the output: fail before anything is started
        verdict = check(site, options)
    except (VmprobeError, ImportError) as error:  # before anything was started
        verdict = judge.not_started(error, site.verdict)
    except BaseException as error:
        verdict = judge.unforeseen(error, options.verbose >= 2)
    return CheckResult(verdict, site, options)


class Session:
    """What a run works with. Nothing is sent before ``cloud.connect()``; whoever made it calls
    ``close``.
    """

    def __init__(
        self,
        site: Site,
        clock: Clock,
        verbose: int = 0,
        keep: bool = False,
        reserve: Optional[float] = None,
    ):
        """``keep``: keep requests and replies, as -vv does. ``reserve``: seconds of the deadline;
        default: the site's.
        """
        self.site, self.verbose = site, verbose
        self.deadline = Deadline(
            site.deadline, site.reserve if reserve is None else reserve, clock, site.polling
        )
        credentials = site.credentials()
        self.evidence = Evidence(redact.begin(secrets(credentials)), keep=keep or verbose >= 2)
        self.timeline = Timeline(clock, progress.listener(self.evidence.redactor.redact))
        self.highest: Dict[str, float] = {}  # by perfdata label, the largest possible value
        self.cloud = Cloud(
            site.driver(site.endpoint, credentials, self.deadline, self.evidence), self.deadline
        )

    def close(self) -> None:
        """Close the driver's session. An error in that changes no verdict."""
        try:
            self.cloud.driver.close()
        except Exception as error:
            self.timeline.notes.append(
                f"the session could not be closed: {type(error).__name__}: {error}"
            )

    def failure(self, error: BaseException) -> Verdict:
        """The verdict of a run that ``error`` ended."""
        return judge.failure(error, self.timeline, self.site, self.verbose >= 2)

    def stage_lines(self) -> List[str]:
        """One line for each stage: how long it took, and of a fleet the slowest servers."""
        return [_stage_line(stage) for stage in self.timeline.stages]

    def closing_lines(self) -> List[str]:
        """The last lines of -v: the notes, and how many requests were made."""
        notes = [f"note: {note}" for note in self.timeline.notes]
        return [*notes, f"requests {self.evidence.requests}"]

    def request_lines(self) -> List[str]:
        """The lines of -vv: requests and replies."""
        return self.evidence.lines() if self.verbose >= 2 else []


def _stage_line(stage: Stage) -> str:
    took = f"{seconds(stage.duration)} s" if stage.duration is not None else "failed"
    notes = f" ({', '.join(stage.notes)})" if stage.notes else ""
    return f"{stage.name:<9} {took}{notes}{_slowest(stage)}"


def _slowest(stage: Stage) -> str:
    """``  min 3.1 avg 4.2 max 7.9 s; slowest: 3 7.9 s, 1 4 s, 2 3.1 s``; '' for a single server."""
    if len(stage.servers) < 2:
        return ""
    servers = sorted(stage.servers.items(), key=lambda item: item[1])
    durations = [duration for _, duration in servers]
    mean = sum(durations) / len(durations)
    slowest = ", ".join(
        f"{name.rsplit('-', 1)[-1]} {seconds(duration)} s" for name, duration in servers[:-4:-1]
    )
    return (
        f"  min {seconds(durations[0])} avg {seconds(mean)} max {seconds(durations[-1])} s; "
        f"slowest: {slowest}"
    )


# --- checks that create nothing -------------------------------------------------------------------


class Finding(NamedTuple):
    """What a check found in a cloud; what it measured is in the timeline's ``metrics``."""

    text: str  # of line 1, behind what is out of range
    problems: Tuple[str, ...] = ()  # see judge.completed
    details: Tuple[str, ...] = ()  # lines of -v
    table: Tuple[str, ...] = ()  # lines that are shown without -v, too
    document: Mapping[str, object] = {}  # for --json


def run_read_only(
    name: str,
    site: Site,
    options: argparse.Namespace,
    clock: Optional[Clock],
    find: Callable[[Session, argparse.Namespace], Finding],
    default_metric: str,
    defaults: Mapping[str, Tuple[str, str]] = {},
) -> Verdict:
    """Run the check ``name``: ``find`` reads the cloud; judge what it found and measured.

    ``default_metric`` is the metric of a range that names none. ``defaults`` are ranges, (warning,
    critical) by metric, for metrics that have no range in the site file. ClientError before
    anything is requested when that is impossible.
    """
    usual = Thresholds(
        *(
            {label: ranges[level] for label, ranges in defaults.items() if ranges[level]}
            for level in (0, 1)
        )
    )
    site = site.with_options(
        deadline=services.run_time(name, site.deadline, options.timeout),
        thresholds=usual.merge(site.thresholds),
    )
    site = site.with_options(thresholds=thresholds_of(name, site, options, default_metric))
    session = Session(site, clock or Clock(), options.verbose, reserve=0.0)
    if clock is None:
        signals.listen(session.deadline)
    return _find_and_judge(session, options, find)


def _find_and_judge(
    session: Session,
    options: argparse.Namespace,
    find: Callable[[Session, argparse.Namespace], Finding],
) -> Verdict:
    site, timeline, finding = session.site, session.timeline, Finding("")
    try:
        finding = find(session, options)
    except Exception as error:
        verdict = session.failure(error)
    else:
        measured = {**timeline.metrics, **timeline.durations(), "total": timeline.total()}
        verdict = judge.completed(site, finding.text, measured, finding.problems)
    finally:
        session.close()
    verdict = verdict._replace(
        perfdata={**timeline.durations(), "total": timeline.total(), **timeline.metrics},
        thresholds=site.thresholds,
        details=(*finding.table, *verdict.details, *_details(session, finding)),
        highest=session.highest,
    ).of_site(site.name, session.evidence.redactor.redact)
    if getattr(options, "json", None):
        document = {
            "site": site.name,
            "state": STATES[verdict.state],
            "text": verdict.text,
            "requests": session.evidence.requests,
            **finding.document,
            **timeline.document(),
        }
        message = write_file("the JSON", write_json, options.json, session, document)
        verdict = verdict.with_details([message])
    return verdict


def _details(session: Session, finding: Finding) -> List[str]:
    if session.verbose < 1:
        return []
    lines = [*finding.details, *session.stage_lines(), *session.closing_lines()]
    return lines + session.request_lines()


# --- files that the command line asks for ---------------------------------------------------------


def write_file(what: str, write: Callable[..., str], path: str, *arguments: Any) -> str:
    """Write ``what`` at, or below, ``path``; returns a line that says where it is, or why it could
    not be written.
    """
    try:
        return f"{what} is in {write(path, *arguments)}"
    except OSError as error:
        return f"{what} could not be written: {error.strerror}: {path}"


def write_json(path: str, session: Session, document: Mapping[str, object]) -> str:
    """Replace a file by this document, without secrets; returns the path. OSError where that is
    impossible.
    """
    return files.replace_regular(path, session.evidence.redactor.json(document))
