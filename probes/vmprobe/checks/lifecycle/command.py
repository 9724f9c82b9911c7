"""check_vm_lifecycle: assemble site, driver, lease and timeline, run the story, and judge it.

What happens to the test VM is in ``story``.
"""

from __future__ import annotations

import argparse
from typing import Dict, List, Optional, Sequence, Tuple

from vmprobe.checks import judge, session, signals
from vmprobe.checks.lifecycle import story
from vmprobe.checks.options import Parser, server_count, thresholds_of
from vmprobe.checks.session import CheckResult, Session, write_file, write_json
from vmprobe.core import handle
from vmprobe.core.clock import Clock
from vmprobe.core.errors import STATES, ClientError, LeftBehind, VmprobeError
from vmprobe.core.model import Capability, Plan, Ref
from vmprobe.core.text import seconds
from vmprobe.core.timeline import SINCE_SUBMISSION
from vmprobe.host import paths, slots
from vmprobe.lease import ledger
from vmprobe.lease.debts import count_debts, settle_debts
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger
from vmprobe.report.verdict import OK, Verdict
from vmprobe.site import site as sites
from vmprobe.site.services import run_time
from vmprobe.site.site import Site

# Stages whose budgets are judged afterwards; the others end by themselves when they exceed theirs.
_JUDGED_AFTERWARDS = ("auth", "image", "submit", "sample", "delete", "gone", "total")

DESCRIPTION = """\
Submit a test VM to a site's VM manager, wait until its network and storage
are attached, read its CPU, disk and network metrics, remove everything, and
verify that it is gone. Alerts when the cloud refuses or fails (CRITICAL), when
something is left behind or a quota is full (WARNING), and when a duration or
a metric is outside its range.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w active=60 -c active=120; a
range without a metric means total.
"""


def parser() -> Parser:
    """The command line."""
    parser = Parser("lifecycle", DESCRIPTION, EPILOG, timeout="the site's deadline")
    parser.add_argument(
        "--count",
        metavar="N",
        type=server_count,
        help="number of test VMs at once; default: the site's count",
    )
    parser.add_argument(
        "--depth",
        choices=sites.DEPTHS,
        help="how a VM is tested: by what the manager says (api), also by what its console says "
        "(console), or also by a connection to it (reach); default: the site's depth",
    )
    parser.add_argument(
        "--timeout-state",
        choices=STATES,
        metavar="STATE",
        help="OK, WARNING, CRITICAL or UNKNOWN: the state when the time is over before the cloud "
        "can be judged; default: UNKNOWN",
    )
    parser.add_argument(
        "--plan", action="store_true", help="show what would be used and created; start nothing"
    )
    parser.add_argument("--json", metavar="FILE", help="write the whole timeline to this file")
    parser.add_argument(
        "--evidence",
        metavar="DIR",
        help="write requests and replies, without secrets, to this directory",
    )
    return parser


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(parser(), arguments, lambda site, options: _check(site, options, clock))


def _check(site: Site, options: argparse.Namespace, clock: Optional[Clock]) -> Verdict:
    timeout_state = {"timeout": options.timeout_state} if options.timeout_state else {}
    site = site.with_options(
        deadline=run_time("lifecycle", site.deadline, options.timeout),
        depth=options.depth,
        count=options.count,
        thresholds=thresholds_of("lifecycle", site, options, default_metric="total"),
        verdict={**site.verdict, **timeout_state},
    )
    run = Run(site, options, clock or Clock())
    if clock is None:
        signals.listen(run.deadline)
    return run.verdict()


class Run:
    """One run of the check: what it works with, and what came of it."""

    def __init__(self, site: Site, options: argparse.Namespace, clock: Clock):
        """ClientError where the run would surely fail."""
        _refuse_impossible(site)
        self.site, self.options = site, options
        self.session = Session(site, clock, options.verbose, keep=bool(options.evidence))
        self.deadline, self.timeline = self.session.deadline, self.session.timeline
        self.evidence, self.cloud = self.session.evidence, self.session.cloud
        self.handle = handle.new(site.owner, site.deadline, clock.utc())
        self.lease: Optional[Lease] = None  # None until something may be created
        self.debts: List[Ref] = []  # what earlier runs left in the cloud
        # How many more resources their ledgers have, about which the cloud was not asked.
        self.owed = 0
        self.warnings: List[str] = []  # with ledgers, and with the slot

    def verdict(self) -> Verdict:
        """Run the story, or only its plan, and judge it."""
        verdict = self._plan() if self.options.plan else self._judge(self._live())
        return self._with_files(verdict.of_site(self.site.name, self.evidence.redactor.redact))

    # --- what happens -----------------------------------------------------------------------------

    def _plan(self) -> Verdict:
        """Say what a run would use and create; start nothing."""
        test_vm = self.site.test_vm
        try:
            with self.timeline.stage("auth"):
                self.cloud.connect()
            with self.timeline.stage("image"):
                plan = self.cloud.resolve(test_vm)
        except Exception as error:
            return self._judge(error)
        finally:
            self.session.close()

        servers = "1 test VM" if test_vm["count"] == 1 else f"{test_vm['count']} test VMs"
        gibibytes = f"{test_vm['volume'] / 2**30:g}" if test_vm["volume"] else ""
        each = " each" if test_vm["count"] > 1 else ""
        volume = f"a volume of {gibibytes} GiB{each}" if gibibytes else "no volume"
        parts = [f"would use: {key} {value}" for key, value in _plan_parts(self.site, plan)]
        return Verdict(
            OK,
            f"would start {servers} ({plan}) with {volume}; nothing was started",
            self.timeline.durations(),
            self.site.thresholds,
            (*parts, *self._details()),
        )

    def _live(self) -> Optional[BaseException]:
        """Run the story; returns the error that ended it, or None."""
        directory = ledger.directory(paths.state_directory(), self.site.name)
        settled = False

        def settle() -> None:
            nonlocal settled
            self._settle(directory, min(self.site.reserve, self.deadline.left() / 8))
            settled = True
            self._limit_debts(directory)

        run_ledger = Ledger.begin(
            directory, self.handle, site=self.site.name, endpoint=self.cloud.driver.identity
        )
        self.lease = lease = Lease(self.cloud, self.handle, run_ledger, self.timeline)
        try:
            endpoint = str(self.site.endpoint.get("url") or self.site.driver.__module__)
            parallel = self.site.schedule.parallel
            with slots.hold(endpoint, parallel, self.deadline, self.warnings.append):
                # Waiting for a slot is not the cloud's time.
                self.timeline.began = self.deadline.clock.now()
                story.run(self.site, self.cloud, lease, self.timeline, settle)
        except BaseException as error:  # even what a driver's library raises to end the process
            if judge.is_quota(error):
                self._find_leftovers(lease)
            return error
        finally:
            if not settled:
                self.owed = count_debts(self.cloud, directory)
            run_ledger.close(lease.settled)
            self.session.close()
        return None

    def _settle(self, directory: str, time_limit: float) -> None:
        """Remove what earlier runs left, for at most ``time_limit`` seconds."""
        self.debts, self.owed, warnings = settle_debts(
            self.cloud, directory, self.timeline, time_limit, self.site.owner
        )
        self.warnings += [warning for warning in warnings if warning not in self.warnings]

    def _limit_debts(self, directory: str) -> None:
        """LeftBehind where more is left than the site allows, even after spending all the time on
        its removal.
        """
        left = len(self.debts) + self.owed
        if left <= self.site.most_leftovers:
            return
        self._settle(directory, self.deadline.left())  # no test VM is started, most likely
        too_late = self.deadline.left() < self.site.reserve
        left = max(left if too_late else 0, len(self.debts) + self.owed)
        if left > self.site.most_leftovers:
            raise LeftBehind(
                f"{left} resources of earlier runs could not be removed, and [budget] leftovers is "
                f"{self.site.most_leftovers}: no test VM was started"
            )

    def _find_leftovers(self, lease: Lease) -> None:
        """Where the quota is full, also count what earlier runs left that is in no ledger."""
        from vmprobe.lease import sweep

        known = self.debts + lease.leftovers
        try:
            survey = sweep.survey(self.cloud, self.site.owner, self.deadline.clock.utc())
        except VmprobeError as error:
            self.timeline.notes.append(f"could not find out who fills the quota: {error}")
        else:
            refs = [held.resource.ref for held in survey.leftovers]
            self.debts += [ref for ref in refs if ref not in known]

    # --- what it means ----------------------------------------------------------------------------

    def _judge(self, error: Optional[BaseException]) -> Verdict:
        """The verdict: the error that ended the run, else leftovers, failed removals, budgets and
        ranges.
        """
        durations = {**self.timeline.durations(), "total": self.timeline.total()}
        measured = {**durations, **self.timeline.metrics}
        left = len(self.debts) + self.owed + len(self.lease.leftovers if self.lease else ())
        # If the cloud could not be asked for leftovers, their number is unknown, not zero.
        if left or not (self.lease and self.lease.uncertain):
            measured["leftovers"] = left
        remains = "; ".join(self._remains(error))
        if error is not None:
            verdict = self.session.failure(error)
            message = f"{verdict.text}; {remains}" if remains else verdict.text
            verdict = verdict._replace(text=message)
        else:
            verdict = judge.completed(
                self.site,
                f"{self._message()}; {remains}" if remains else self._message(),
                measured,
                self._problems(),
                {stage: durations[stage] for stage in _JUDGED_AFTERWARDS if stage in durations},
                reason=remains,
            )
        return verdict._replace(
            perfdata=measured,
            thresholds=self.site.thresholds,
            details=(*self._details(), *verdict.details),
        )

    def _problems(self) -> List[str]:
        problems = ["leftovers"] if self.debts or self.owed else []
        return problems + (["teardown"] if self.lease and self.lease.failed_removals else [])

    def _message(self) -> str:
        """``test VM ran and is gone in 41.2 s (active 12.3 s, network 15.1 s, storage 18.0 s)``."""
        count, durations = self.site.test_vm["count"], self.timeline.durations()
        servers = "test VM ran" if count == 1 else f"{count} test VMs ran"
        without = "" if self.site.test_vm["volume"] else " without storage"
        stages = ", ".join(
            f"{stage} {seconds(durations[stage])} s"
            for stage in SINCE_SUBMISSION
            if stage in durations
        )
        total = seconds(self.timeline.total())
        return (
            f"{servers}{without} and {'is' if count == 1 else 'are'} gone in {total} s ({stages})"
        )

    def _remains(self, error: Optional[BaseException]) -> List[str]:
        """What line 1 adds: what is left behind, and what is wrong with ledgers."""
        parts = []
        lease = self.lease
        if lease and not isinstance(error, LeftBehind):
            if lease.leftovers:
                more = len(lease.leftovers) - 3
                names = ", ".join(map(str, lease.leftovers[:3]))
                parts.append(f"left behind: {names}{f' and {more} more' if more > 0 else ''}")
            if lease.uncertain:
                parts.append("unknown whether anything is left behind")
        if self.debts:
            filled = " fill the quota" if error is not None and judge.is_quota(error) else ""
            parts.append(f"{len(self.debts)} left behind by earlier runs{filled}: {self.debts[0]}")
        if self.owed:
            parts.append(f"{self.owed} owed by earlier runs")
        if error is None and lease and lease.failed_removals:
            failed = next(iter(lease.failed_removals.values()))
            state = f"{failed.ref} was {failed.provider_state} while it was removed"
            parts.append(f"{judge.with_cause(state, 'teardown')}: {failed.fault}")
        if lease and lease.ledger.warning:
            parts.append(lease.ledger.warning)
        return parts + self.warnings

    def _details(self) -> List[str]:
        """Lines below line 1: at -v the stages and the lease, at -vv also the requests."""
        if self.options.verbose < 1:
            return []
        lines = self.session.stage_lines()
        if self.lease:
            lines.append(f"lease {self.lease.handle}")
            left = self.lease.leftovers + self.debts
            lines += [f"left behind: {ref} ({ref.name})" for ref in left]
        return lines + self.session.closing_lines() + self.session.request_lines()

    # --- files ------------------------------------------------------------------------------------

    def _with_files(self, verdict: Verdict) -> Verdict:
        """Write the files that the options ask for. A failure is reported, and does not change the
        state.
        """
        document = self._document(verdict)
        options, messages = self.options, []
        if options.json:
            message = write_file("the timeline", write_json, options.json, self.session, document)
            messages.append(message)
        if options.evidence:
            name, save = str(self.handle), self.evidence.save
            messages.append(write_file("the evidence", save, options.evidence, name, document))
        return verdict.with_details(messages)

    def _document(self, verdict: Verdict) -> Dict[str, object]:
        left = self.lease.leftovers + self.debts if self.lease else []
        return {
            "site": self.site.name,
            "handle": str(self.handle),
            "state": STATES[verdict.state],
            "text": verdict.text,
            "requests": self.evidence.requests,
            "leftovers": list(map(str, left)),
            **self.timeline.document(),
        }


def _refuse_impossible(site: Site) -> None:
    """ClientError for a run that would surely fail."""
    too_short = sites.too_short(site.deadline, site.reserve)
    if too_short:
        raise ClientError(f"{site.name}: --timeout {too_short}; nothing was started")
    required = (
        ("console", site.test_vm["depth"] == "console", Capability.CONSOLE),
        ("volume", bool(site.test_vm["volume"]), Capability.VOLUMES),
        ("snapshot", site.test_vm["snapshot"], Capability.SNAPSHOTS),
    )
    for key, is_required, capability in required:
        if is_required and capability not in site.driver.capabilities:
            raise ClientError(
                f"{site.name}: [test vm] asks for {key}, which {site.endpoint['manager']} "
                "does not offer"
            )


def _plan_parts(site: Site, plan: Plan) -> List[Tuple[str, object]]:
    """What a test VM would be made of, as keys and values."""
    from vmprobe.checks.capacity.headroom import amount  # only here: most runs are no plan

    memory = amount("memory", plan.memory) if plan.memory else None
    details = sorted({**plan.details, "vcpus": plan.vcpus, "memory": memory}.items())
    return [
        ("image", plan.image),
        ("flavor", plan.flavor or "none"),
        ("network", plan.network or "none"),
        *((key, value) for key, value in details if isinstance(value, (str, int))),
        ("depth", site.test_vm["depth"]),
        ("deadline", f"{site.deadline:g} s, of which {site.reserve:g} s to clean up"),
    ]
