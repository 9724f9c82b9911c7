"""check_vm_leftovers: report what earlier runs left in a cloud, and with --remove remove it."""

from __future__ import annotations

import argparse
from typing import List, Optional, Sequence

from vmprobe.checks import judge, session, signals
from vmprobe.checks.options import READ_ONLY_TIME, Parser, thresholds_of
from vmprobe.checks.session import CheckResult, Session
from vmprobe.core.clock import Clock, clock_skew
from vmprobe.core.handle import owner_word
from vmprobe.core.text import counted, span
from vmprobe.host import paths
from vmprobe.lease import ledger, sweep
from vmprobe.lease.sweep import Held, Survey
from vmprobe.report.verdict import Verdict
from vmprobe.site.services import run_time
from vmprobe.site.site import Site

DESCRIPTION = """\
List what earlier runs of check_vm_lifecycle left at a site: everything whose
name is a handle of this monitoring host and whose lease is over. Alerts when
there is anything (WARNING), and by the ranges given. Needs no state of its
own: handle, owner and lease are read from the names.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w leftovers=0
-c oldest_age=86400; a range without a metric means leftovers. Default:
-w leftovers=0.
"""

_CLOCKS_AGREE = (
    30.0  # seconds by which two clocks may differ: a lease is a minute longer than its run
)


def parser() -> Parser:
    """The command line."""
    parser = Parser(
        "leftovers",
        DESCRIPTION,
        EPILOG,
        timeout=f"{READ_ONLY_TIME}; with --remove the site's deadline",
    )
    parser.add_argument(
        "--remove",
        action="store_true",
        help="remove leftovers and verify that they are gone; never those of another owner, "
        "or within their lease",
    )
    parser.add_argument(
        "--all-owners",
        action="store_true",
        help="also count other owners' leftovers; they are never removed",
    )
    parser.add_argument(
        "--owner",
        metavar="NAME",
        help="whose leftovers are judged and removed, such as those of a retired monitoring host; "
        "default: the site's owner, else this host",
    )
    return parser


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(parser(), arguments, lambda site, options: _check(site, options, clock))


def _check(site: Site, options: argparse.Namespace, clock: Optional[Clock]) -> Verdict:
    site = site.with_options(
        deadline=run_time("leftovers", site.deadline, options.timeout, options.remove),
        thresholds=thresholds_of("leftovers", site, options, default_metric="leftovers"),
        owner=owner_word(options.owner) if options.owner else None,
    )
    run = Run(site, options, clock or Clock())
    if clock is None:
        signals.listen(run.deadline)
    return run.verdict()


class Run:
    """One run of the check: survey, remove, judge."""

    def __init__(self, site: Site, options: argparse.Namespace, clock: Clock):
        self.site, self.options = site, options
        self.session = Session(site, clock, options.verbose, reserve=0.0)
        self.deadline = self.session.deadline
        self.timeline, self.cloud = self.session.timeline, self.session.cloud

    def verdict(self) -> Verdict:
        """Survey the cloud, remove what may be removed where that is asked for, and judge what is
        there then.
        """
        try:
            verdict = self._survey()
        except Exception as error:  # no answer is never read as "nothing is there"
            verdict = self.session.failure(error)
        finally:
            self.session.close()
        verdict = verdict._replace(perfdata={**verdict.perfdata, "total": self.timeline.total()})
        return verdict.with_details(self.session.request_lines()).of_site(
            self.site.name, self.session.evidence.redactor.redact
        )

    def _survey(self) -> Verdict:
        state = paths.state_directory()
        with self.timeline.stage("auth"):
            self.cloud.connect()
        with self.timeline.stage("list"):
            survey = sweep.survey(
                self.cloud,
                self.site.owner,
                self._now(),
                lambda handle: ledger.is_running(state, handle),
            )
        before, reason = list(survey.leftovers), ""
        if self.options.remove and survey.leftovers:
            survey.leftovers, reason = sweep.remove(
                self.cloud, before, self.timeline, self.site.reserve, state
            )
        remaining = set(survey.leftovers)
        removed = [leftover for leftover in before if leftover not in remaining]
        return self._judge(survey, removed, reason)

    def _now(self) -> float:
        """The time by which leases are judged: the cloud's, if this host's clock is ahead of it."""
        now = self.deadline.clock.utc()
        skew = clock_skew(*self.session.evidence.server_date) or 0.0
        if skew <= _CLOCKS_AGREE:
            return now
        self.timeline.notes.append(
            f"this host's clock is {span(skew)} ahead of the cloud's, by which leases are judged"
        )
        return now - skew

    def _judge(self, survey: Survey, removed: Sequence[Held], reason: str) -> Verdict:
        """Judge what remains; ``reason``: why something was not removed, or ''."""
        leftovers = survey.leftovers + (survey.others if self.options.all_owners else [])
        measured = sweep.totals(leftovers)
        messages = [_message(leftovers, survey)] if leftovers or not removed else []
        if removed:
            messages.append(f"{counted(len(removed), 'leftover')} removed: {_named(removed)}")
        if reason:
            messages.append(judge.with_cause(f"not removed: {reason}", "teardown"))

        has_range = "leftovers" in self.site.thresholds.warning
        problems = ["leftovers"] if reason or leftovers and not has_range else []
        verdict = judge.completed(self.site, "; ".join(messages), measured, problems, reason=reason)
        thresholds = self.site.thresholds
        if not has_range:
            thresholds = thresholds.with_range("warning", "leftovers", "0")
        return verdict._replace(
            perfdata=measured,
            thresholds=thresholds,
            details=tuple(self._details(survey, leftovers)),
        )

    def _details(self, survey: Survey, leftovers: Sequence[Held]) -> List[str]:
        """Each resource that was judged; at -v also the others."""
        lines = [held.description() for held in leftovers]
        if self.options.verbose >= 1:
            lines += [held.description() for held in survey.running]
            lines += [held.description() for held in survey.others if held not in leftovers]
            lines += [
                f"{resource.ref} is called {resource.ref.name}, which is no handle"
                for resource in survey.lookalikes
            ]
            lines += self.session.closing_lines()
        return lines


def _message(leftovers: Sequence[Held], survey: Survey) -> str:
    """``2 leftovers, the oldest 3.2 h past its lease: server 4f1c (mon1), volume 77aa (mon1)``."""
    number = len(survey.running)
    running = (
        f" ({counted(number, 'resource')} within {'its' if number == 1 else 'their'} lease)"
        if number
        else ""
    )
    if not leftovers:
        return f"nothing is left behind{running}"
    oldest = max(held.overdue for held in leftovers)
    return (
        f"{counted(len(leftovers), 'leftover')}, the oldest {span(oldest)} past its lease"
        f"{running}: {_named(leftovers)}"
    )


def _named(leftovers: Sequence[Held]) -> str:
    return ", ".join(map(str, leftovers[:3])) + (", ..." if len(leftovers) > 3 else "")
