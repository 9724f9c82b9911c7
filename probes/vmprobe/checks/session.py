"""One run of a probe at one site: what every probe is assembled from, and what a probe that only looks has in common.

site -> deadline -> timeline -> evidence -> driver -> cloud
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from vmprobe.checks import judge, signals
from vmprobe.checks.options import load_site, thresholds_of
from vmprobe.core import redact
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import DeadlinePassed, StageOverrun, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import seconds
from vmprobe.core.timeline import Timeline
from vmprobe.host import files
from vmprobe.report import progress, verdict
from vmprobe.report.verdict import OK, WORDS, Verdict
from vmprobe.site.credentials import secrets
from vmprobe.site.site import Site
from vmprobe.site.thresholds import Thresholds

LOOK = 50.0  # seconds that a probe that only looks may take: Nagios kills at 60


class Session:
    """What a run works with. Nothing is sent before ``cloud.connect()``; who made it calls ``close``."""

    def __init__(
        self,
        site: Site,
        clock: Clock,
        verbose: int = 0,
        keep: bool = False,
        reserve: Optional[float] = None,
    ):
        """``keep``: requests and replies are kept, as they are at -vv. ``reserve``: of the deadline; default: the site's."""
        self.site, self.verbose = site, verbose
        self.deadline = Deadline(
            site.deadline, site.reserve if reserve is None else reserve, clock, site.polling
        )
        credentials = site.credentials()
        self.evidence = Evidence(redact.begin(secrets(credentials)), keep=keep or verbose >= 2)
        self.timeline = Timeline(clock, progress.listener(self.evidence.redactor.redact))
        self.highest: Dict[
            str, float
        ] = {}  # by perfdata label, the largest value that there can be
        self.cloud = Cloud(
            site.driver(site.endpoint, credentials, self.deadline, self.evidence), self.deadline
        )

    def close(self) -> None:
        """Let go of the session. What goes wrong with that changes no verdict."""
        try:
            self.cloud.driver.close()
        except Exception as failed:
            self.timeline.notes.append(
                f"the session could not be closed: {type(failed).__name__}: {failed}"
            )

    def failure(self, error: BaseException) -> Verdict:
        """What ended a run, blamed on the stage that it ended in."""
        if not isinstance(error, VmprobeError):
            return judge.unforeseen(error, self.verbose >= 2)
        failed = self.timeline.failed()
        stage = failed.name if failed else ""
        state, cause = verdict.of_error(error, self.site.verdict, stage)
        if (
            isinstance(error, DeadlinePassed)
            and failed
            and self.site.thresholds.broken(stage, failed.lasted) == "critical"
        ):
            state, cause = verdict.of_error(
                StageOverrun(str(error), error.cause), self.site.verdict, stage
            )
        return Verdict(state, verdict.blame(stage, error, cause), reason=str(error))


# --- probes that only look ----------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """What a look at a cloud came to: line 1 beside what the ranges say, and what -v shows below it."""

    text: str
    state: int = OK
    details: Tuple[str, ...] = ()
    table: Tuple[str, ...] = ()  # shown without -v, too
    document: Mapping[str, Any] = {}  # for --json


def look(
    options: argparse.Namespace,
    clock: Optional[Clock],
    act: Callable[[Session], Finding],
    bare: str,
    defaults: Mapping[str, Tuple[str, str]],
) -> Verdict:
    """Assemble, let ``act`` look, and judge what it found; what it measured is in the timeline's ``metrics``.

    ``defaults`` are ranges, (warning, critical) by metric, where neither the site nor the command line has one.
    ClientError before anything is asked when nothing can be.
    """
    site = load_site(options)
    usual = Thresholds(
        *(
            {label: ranges[level] for label, ranges in defaults.items() if ranges[level]}
            for level in (0, 1)
        )
    )
    site = site.with_options(
        deadline=options.timeout or LOOK, thresholds=usual.under(site.thresholds)
    )
    site = site.with_options(thresholds=thresholds_of(site, options, bare))
    session = Session(site, clock or Clock(), options.verbose, reserve=0.0)
    if clock is None:
        signals.listen(session.deadline)
    return _judged(session, options, act)


def _judged(
    session: Session, options: argparse.Namespace, act: Callable[[Session], Finding]
) -> Verdict:
    site, timeline, found = session.site, session.timeline, Finding("")
    try:
        found = act(session)
    except Exception as error:
        said = session.failure(error)
    else:
        state, broken = verdict.of_ranges(timeline.metrics, site.thresholds)
        late, slow = verdict.of_ranges(
            {**timeline.durations(), "total": timeline.total()}, site.thresholds
        )
        said = Verdict(max(state, late, found.state), "; ".join(broken + slow + [found.text]))
    finally:
        session.close()
    measured = {**timeline.durations(), "total": timeline.total(), **timeline.metrics}
    details = (*found.table, *said.details, *_details(session, found))
    said = said._replace(
        perfdata=measured, thresholds=site.thresholds, details=details, highest=session.highest
    )
    said = said.of(site.name, session.evidence.redactor.redact)
    return with_document(
        session,
        said,
        getattr(options, "json", None),
        lambda: {
            "site": site.name,
            "state": WORDS[said.state],
            "text": said.text,
            "requests": session.evidence.requests,
            **found.document,
            **timeline.document(),
        },
    )


def _details(session: Session, found: Finding) -> List[str]:
    """Below line 1, at -v: what was found and how long it took; at -vv: the requests."""
    lines: List[str] = []
    if session.verbose >= 1:
        lines += found.details
        for stage in session.timeline.stages:
            took = f"{seconds(stage.duration)} s" if stage.duration is not None else "failed"
            lines.append(f"{stage.name:<9} {took}")
        lines += [f"note: {note}" for note in session.timeline.notes]
        lines.append(f"requests {session.evidence.requests}")
    if session.verbose >= 2:
        lines += session.evidence.lines()
    return lines


# --- files that were asked for ------------------------------------------------------------------------------------


def with_document(
    session: Session, said: Verdict, path: Optional[str], document: Callable[[], Dict[str, Any]]
) -> Verdict:
    """Write a run's ``document`` as JSON if that is asked for; that it could not be is said, and changes no state."""
    if not path:
        return said
    text = session.evidence.redactor.json(document())
    return said.with_details([attempt("the JSON", files.replace_regular, path, text)])


def attempt(what: str, write: Callable[..., str], path: str, *words: Any) -> str:
    """Where a file was written, below or at ``path``, or why it was not, as a line."""
    try:
        return f"{what} is in {write(path, *words)}"
    except OSError as failed:
        return f"{what} could not be written: {failed.strerror}: {path}"
