"""check_vm_leftovers: say what earlier runs left in a cloud, and with --remove take it away."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from vmprobe.checks import signals
from vmprobe.checks.options import Parser, load_site, thresholds_of
from vmprobe.checks.session import LOOK, Session
from vmprobe.core.clock import Clock, clock_skew
from vmprobe.core.handle import owner_word
from vmprobe.core.text import counted, span
from vmprobe.host import paths
from vmprobe.lease import ledger, sweep
from vmprobe.lease.sweep import Held, Survey
from vmprobe.report import verdict
from vmprobe.report.verdict import OK, WARNING, WORDS, Verdict
from vmprobe.site.site import Site

DESCRIPTION = """\
List what earlier runs of check_vm_lifecycle left at a site: everything whose
name is a handle of this monitoring host and whose lease is over. Alerts when
there is anything (WARNING), and by the ranges given. Needs no state of its
own: handle, owner and lease are read from the names.
"""
EPILOG = """\
Ranges are Nagios ranges: -w leftovers=0 -c oldest_age=86400; a range without a
metric means leftovers. Metrics: leftovers (number of things), oldest_age (s
since the oldest lease ended), and what they hold: vcpus, memory (B),
volume_bytes (B). Default: -w leftovers=0.
"""


_CLOCKS_AGREE = 30.0  # seconds by which two clocks may differ: a lease has a minute for it


def parser() -> Parser:
    """The command line."""
    found = Parser(
        "leftovers", DESCRIPTION, EPILOG, timeout=f"{LOOK:g} s, with --remove the site's deadline"
    )
    found.add_argument(
        "--remove",
        action="store_true",
        help="remove what is left over and see that it is gone; what has another owner, or whose lease is "
        "not over, is never touched",
    )
    found.add_argument(
        "--all-owners",
        action="store_true",
        help="count other owners' leftovers, too; they are never removed",
    )
    found.add_argument(
        "--owner",
        metavar="NAME",
        help="whose leftovers are judged and removed, such as a monitoring host's that is no more; default: "
        "the site's owner, else this host",
    )
    return found


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> Verdict:
    """Run the probe; ClientError before anything is asked when it cannot be."""
    options = parser().parse_args(arguments)
    site = load_site(options)
    time = options.timeout or (site.deadline if options.remove else LOOK)
    site = site.with_options(
        deadline=time,
        thresholds=thresholds_of(site, options, default="leftovers"),
        owner=owner_word(options.owner) if options.owner else None,
    )
    run = Run(site, options, clock or Clock())
    if clock is None:
        signals.listen(run.deadline)
    return run.verdict()


class Run:
    """One run of the probe: whom it asks, and what came out of it."""

    def __init__(self, site: Site, options: Any, clock: Clock):
        self.site, self.options = site, options
        self.session = Session(site, clock, options.verbose, reserve=0.0)
        self.deadline, self.timeline, self.cloud = (
            self.session.deadline,
            self.session.timeline,
            self.session.cloud,
        )

    def verdict(self) -> Verdict:
        """Look, remove what may be removed if that is wanted, and judge what is there then."""
        try:
            said = self._look()
        except Exception as error:  # no answer is never read as "nothing there"
            said = self.session.failure(error)
        finally:
            self.session.close()
        evidence = self.session.evidence
        said = said.with_details(evidence.lines() if self.options.verbose >= 2 else ())
        said = said._replace(perfdata={**said.perfdata, "total": self.timeline.total()})
        return said.of(self.site.name, evidence.redactor.redact)

    def _look(self) -> Verdict:
        state = paths.state_directory()
        with self.timeline.stage("auth"):
            self.cloud.connect()
        with self.timeline.stage("list"):
            found = sweep.survey(
                self.cloud,
                self.site.owner,
                self._now(),
                lambda handle: ledger.is_running(state, handle),
            )
        before, why = list(found.leftovers), ""
        if self.options.remove and found.leftovers:
            found.leftovers, why = sweep.remove(
                self.cloud, before, self.timeline, self.site.reserve, state
            )
        there = set(found.leftovers)
        removed = [held for held in before if held not in there]
        return self._judge(found, removed, why)

    def _now(self) -> float:
        """The time by which leases are over: the cloud's, where this host's clock is ahead of it."""
        now = self.deadline.clock.utc()
        difference = clock_skew(*self.session.evidence.server_date) or 0.0
        if difference <= _CLOCKS_AGREE:
            return now
        self.timeline.notes.append(
            f"this host's clock is {span(difference)} ahead of the cloud's, by which leases are judged"
        )
        return now - difference

    def _judge(self, found: Survey, removed: List[Held], why: str) -> Verdict:
        counted_ones = found.leftovers + (found.others if self.options.all_owners else [])
        measured = sweep.totals(counted_ones)
        thresholds = self.site.thresholds
        state, broken = verdict.of_ranges(measured, thresholds)
        unjudged = "leftovers" not in thresholds.warning
        if unjudged:
            thresholds = thresholds.with_range("warning", "leftovers", "0")
        if state == OK and (counted_ones and unjudged or why):
            state = WORDS.index(self.site.verdict.get("leftovers", WORDS[WARNING]))
        said = [_story(counted_ones, found)] if counted_ones or not removed else []
        if removed:
            said.append(f"{counted(len(removed), 'leftover')} removed: {_named(removed)}")
        if why:
            said.append(f"not removed: {why} (cause=teardown)")
        return Verdict(
            state,
            "; ".join(broken + said),
            measured,
            thresholds,
            tuple(self._details(found, counted_ones)),
            reason=why,
        )

    def _details(self, found: Survey, judged: Sequence[Held]) -> List[str]:
        """Each thing that was judged; at -v also what was not."""
        lines = [held.description() for held in judged]
        if self.options.verbose >= 1:
            lines += [held.description() for held in found.running]
            lines += [held.description() for held in found.others if held not in judged]
            lines += [
                f"{thing.ref} is called {thing.ref.name}, which is no handle"
                for thing in found.lookalikes
            ]
            lines += [f"note: {note}" for note in self.timeline.notes]
            lines.append(f"requests {self.session.evidence.requests}")
        return lines


def _story(judged: Sequence[Held], found: Survey) -> str:
    """``2 leftovers, the oldest 3.2 h past its lease: server 4f1c (mon1), volume 77aa (mon1)``."""
    number = len(found.running)
    running = (
        f" ({counted(number, 'thing')} within {'its' if number == 1 else 'their'} lease)"
        if number
        else ""
    )
    if not judged:
        return f"nothing is left behind{running}"
    oldest = max(held.overdue for held in judged)
    return f"{counted(len(judged), 'leftover')}, the oldest {span(oldest)} past its lease{running}: {_named(judged)}"


def _named(things: Sequence[Held]) -> str:
    return ", ".join(map(str, things[:3])) + (", ..." if len(things) > 3 else "")
