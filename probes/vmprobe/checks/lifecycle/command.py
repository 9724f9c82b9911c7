"""check_vm_lifecycle: assemble site, driver, lease and timeline, live the story, say what it means."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from vmprobe.checks import signals
from vmprobe.checks.lifecycle import story
from vmprobe.checks.options import Parser, load_site, server_count, thresholds_of
from vmprobe.checks.session import Session, attempt
from vmprobe.core import handle
from vmprobe.core.clock import Clock
from vmprobe.core.errors import ClientError, LeftBehind, VmprobeError
from vmprobe.core.model import Capability, Ref
from vmprobe.core.text import seconds
from vmprobe.host import files, paths, slots
from vmprobe.lease import ledger
from vmprobe.lease.debts import count_debts, settle_debts
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger
from vmprobe.report import verdict
from vmprobe.report.verdict import CRITICAL, OK, WARNING, WORDS, Verdict
from vmprobe.site import site as sites
from vmprobe.site.site import Site

_NOT_WAITED = (
    "auth",
    "image",
    "submit",
    "sample",
    "delete",
    "gone",
    "total",
)  # the others end when they outrun their budgets

DESCRIPTION = """\
Submit a test VM to a site's VM manager, wait until its network and storage
are attached, read its CPU, disk and network figures, remove everything, and
prove that it is gone. Alerts when the cloud refuses or fails (CRITICAL), when
something is left behind or a quota is full (WARNING), and when a duration or
a figure is outside its range.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w active=60 -c active=120;
a range without a metric means total. Metrics: auth image submit active network
storage sample snapshot detach delete gone total (seconds), cpu_avg cpu_peak
(%), disk_read_avg disk_write_avg net_in_avg net_out_avg and their _peak
(bytes per second), leftovers; at depth console also what the VM felt: steal_avg
(%), work_cpu work_disk work_net (s for a small fixed piece of work), and
metering, the factor by which its own figures and the manager's differ.
"""


def parser() -> Parser:
    """The command line."""
    found = Parser("lifecycle", DESCRIPTION, EPILOG, timeout="the site's deadline")
    found.add_argument(
        "--count",
        metavar="N",
        type=server_count,
        help="so many test VMs at once; default: the site's count",
    )
    found.add_argument(
        "--depth",
        choices=sites.DEPTHS,
        help="how a VM is judged: by the manager (api), also by what its console says (console), or by a "
        "connection to it (reach); default: the site's depth",
    )
    found.add_argument(
        "--timeout-state",
        choices=WORDS,
        metavar="STATE",
        help="the state when the whole time is over; default: UNKNOWN",
    )
    found.add_argument(
        "--plan", action="store_true", help="say what would be used and created; start nothing"
    )
    found.add_argument("--json", metavar="FILE", help="write the whole timeline to this file")
    found.add_argument(
        "--evidence",
        metavar="DIR",
        help="write requests and replies, secrets struck out, to this directory",
    )
    return found


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> Verdict:
    """Run the probe; ClientError before anything is started when it cannot be."""
    options = parser().parse_args(arguments)
    site = load_site(options)
    thresholds = thresholds_of(site, options, default="total")
    mapping = {
        **site.verdict,
        **({"timeout": options.timeout_state} if options.timeout_state else {}),
    }
    site = site.with_options(
        deadline=options.timeout,
        depth=options.depth,
        count=options.count,
        thresholds=thresholds,
        verdict=mapping,
    )
    run = Run(site, options, clock or Clock())
    if clock is None:
        signals.listen(run.deadline)
    return run.verdict()


class Run:
    """One run of the probe: what it was made of, and what came out of it."""

    def __init__(self, site: Site, options: Any, clock: Clock):
        _refuse_what_cannot_work(site)
        self.site, self.options = site, options
        self.session = Session(site, clock, options.verbose, keep=bool(options.evidence))
        self.deadline, self.timeline = self.session.deadline, self.session.timeline
        self.evidence, self.cloud = self.session.evidence, self.session.cloud
        self.handle = handle.new(site.owner, site.deadline, clock.utc())
        self.debts: List[Ref] = []  # of earlier runs, and still there
        self.owed = 0  # by earlier runs and by their ledgers, where the cloud was not asked for it
        self.troubles: List[str] = []  # with their ledgers, and with the turn of this one
        self.lease: Optional[Lease] = None

    def verdict(self) -> Verdict:
        """Live the story and judge it."""
        said = self._plan() if self.options.plan else self._judge(self._live())
        return self._with_files(said.of(self.site.name, self.evidence.redactor.redact))

    def _plan(self) -> Verdict:
        """What a run would use and create; nothing is started."""
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
        things = "1 test VM" if test_vm["count"] == 1 else f"{test_vm['count']} test VMs"
        volume = (
            f"a volume of {test_vm['volume'] / 2**30:g} GiB each"
            if test_vm["volume"]
            else "no volume"
        )
        limits = [f"would use: {word} {value}" for word, value in _plan_lines(self.site, plan)]
        return Verdict(
            OK,
            f"would start {things} ({plan}) with {volume}; nothing was started",
            self.timeline.durations(),
            self.site.thresholds,
            (*limits, *self._details()),
        )

    def _live(self) -> Optional[BaseException]:
        """The story; returns what ended it, or None."""
        directory = ledger.directory(paths.state_directory(), self.site.name)
        asked = False

        def settle() -> None:
            nonlocal asked
            self._settle(directory, min(self.site.reserve, self.deadline.left() / 8))
            asked = True
            there = len(self.debts) + self.owed
            if there > self.site.most_leftovers:
                self._settle(
                    directory, self.deadline.left()
                )  # there will hardly be a run, so its time is theirs
                there = max(
                    there if self.deadline.left() < self.site.reserve else 0,
                    len(self.debts) + self.owed,
                )
            if there > self.site.most_leftovers:
                raise LeftBehind(
                    f"{there} things of earlier runs could not be removed, and [budget] leftovers is "
                    f"{self.site.most_leftovers}: no test VM was started"
                )

        book = Ledger.begin(
            directory, self.handle, site=self.site.name, endpoint=self.cloud.driver.identity
        )
        self.lease = Lease(self.cloud, self.handle, book, self.timeline)
        try:
            endpoint = str(self.site.endpoint.get("url") or self.site.driver.__module__)
            parallel = self.site.schedule.get("parallel")
            with slots.hold(endpoint, parallel, self.deadline, self.troubles.append):
                self.timeline.began = (
                    self.deadline.clock.now()
                )  # waiting for a slot is not the cloud's time
                story.run(self.site, self.cloud, self.lease, self.timeline, settle)
        except BaseException as error:  # also what a driver's library raises to end the process
            if verdict.is_quota(error):
                self._find_leftovers()
            return error
        finally:
            if not asked:
                self.owed = count_debts(self.cloud, directory)
            book.close(self.lease.settled)
            self.session.close()
        return None

    def _settle(self, directory: str, patience: float) -> None:
        """Pay earlier runs' debts before anything is created; what cannot be paid is reported."""
        self.debts, self.owed, troubles = settle_debts(
            self.cloud, directory, self.timeline, patience, self.site.owner
        )
        self.troubles += [trouble for trouble in troubles if trouble not in self.troubles]

    def _find_leftovers(self) -> None:
        """Who fills the quota: what earlier runs left counts, also where no ledger knows of it."""
        from vmprobe.lease import sweep

        known = self.debts + self.lease.leftovers
        try:
            found = sweep.survey(self.cloud, self.site.owner, self.deadline.clock.utc())
        except VmprobeError as unknown:
            self.timeline.notes.append(f"who fills the quota is not known: {unknown}")
        else:
            self.debts += [
                held.resource.ref for held in found.leftovers if held.resource.ref not in known
            ]

    # --- what it means ------------------------------------------------------------------------------------------

    def _judge(self, error: Optional[BaseException]) -> Verdict:
        """One outcome: the error that ended the run, else leftovers of earlier runs, else the ranges."""
        site = self.site
        measured = {
            **self.timeline.durations(),
            "total": self.timeline.total(),
            **self.timeline.metrics,
        }
        left = len(self.debts) + self.owed + len(self.lease.leftovers if self.lease else ())
        if left or not (
            self.lease and self.lease.uncertain
        ):  # what nobody could look for is not none
            measured["leftovers"] = left
        remains = "; ".join(self._remains(error))
        if error is not None:
            said = self.session.failure(error)
        else:
            state, broken = verdict.of_ranges(measured, site.thresholds)
            late = verdict.over_budget(
                {label: measured[label] for label in _NOT_WAITED if label in measured}, site.budgets
            )
            state, broken = CRITICAL if late else state, late + broken
            if (self.debts or self.owed) and state == OK:
                state = WORDS.index(site.verdict.get("leftovers", WORDS[WARNING]))
            if self.lease.failed_removals and state == OK:
                state = WORDS.index(site.verdict.get("teardown", WORDS[WARNING]))
            said = Verdict(state, "; ".join(broken + [self._story()]), reason=remains)
        return said._replace(
            text=f"{said.text}; {remains}" if remains else said.text,
            perfdata=measured,
            thresholds=site.thresholds,
            details=(*self._details(), *said.details),
        )

    def _story(self) -> str:
        """``test VM ran and is gone in 41.2 s (active 12.3 s, network 15.1 s, storage 18.0 s)``."""
        count, took = self.site.test_vm["count"], self.timeline.durations()
        who = "test VM ran" if count == 1 else f"{count} test VMs ran"
        without = "" if self.site.test_vm["volume"] else " without storage"
        times = ", ".join(
            f"{stage} {seconds(took[stage])} s"
            for stage in ("active", "network", "storage")
            if stage in took
        )
        return f"{who}{without} and {'is' if count == 1 else 'are'} gone in {seconds(self.timeline.total())} s ({times})"

    def _remains(self, error: Optional[BaseException]) -> List[str]:
        """What line 1 has to add: leftovers, and a ledger that could not be kept."""
        found = []
        if self.lease and self.lease.leftovers and not isinstance(error, LeftBehind):
            more = (
                f" and {len(self.lease.leftovers) - 3} more"
                if len(self.lease.leftovers) > 3
                else ""
            )
            found.append(f"left behind: {', '.join(map(str, self.lease.leftovers[:3]))}{more}")
        if self.lease and self.lease.uncertain and not isinstance(error, LeftBehind):
            found.append("whether anything is left behind is not known")
        if self.debts:
            filled = " fill the quota" if error is not None and verdict.is_quota(error) else ""
            found.append(f"{len(self.debts)} left behind by earlier runs{filled}: {self.debts[0]}")
        if self.owed:
            found.append(f"{self.owed} owed by earlier runs")
        if error is None and self.lease.failed_removals:
            failed = next(iter(self.lease.failed_removals.values()))
            found.append(
                f"{failed.ref} was {failed.provider_state} while it was removed (cause=teardown): {failed.fault}"
            )
        if self.lease and self.lease.ledger.trouble:
            found.append(self.lease.ledger.trouble)
        return found + self.troubles

    def _details(self) -> List[str]:
        """Below line 1, at -v: the stages and the lease; at -vv: the requests."""
        found: List[str] = []
        if self.options.verbose >= 1:
            for stage in self.timeline.stages:
                took = f"{seconds(stage.duration)} s" if stage.duration is not None else "failed"
                notes = f" ({', '.join(stage.notes)})" if stage.notes else ""
                found.append(f"{stage.name:<9} {took}{notes}{_stragglers(stage)}")
            if self.lease:
                found.append(f"lease {self.lease.handle}")
                found += [
                    f"left behind: {ref} ({ref.name})" for ref in self.lease.leftovers + self.debts
                ]
            found += [f"note: {note}" for note in self.timeline.notes]
            found.append(f"requests {self.evidence.requests}")
        if self.options.verbose >= 2:
            found += self.evidence.lines()
        return found

    # --- files --------------------------------------------------------------------------------------------------

    def _with_files(self, said: Verdict) -> Verdict:
        """Write what was asked for; a file that cannot be written is said, and never changes the verdict."""
        document = self._document(said)
        told = []
        if self.options.json:
            told.append(
                attempt(
                    "the timeline",
                    files.replace_regular,
                    self.options.json,
                    self.evidence.redactor.json(document),
                )
            )
        if self.options.evidence:
            told.append(
                attempt(
                    "the evidence",
                    self.evidence.save,
                    self.options.evidence,
                    str(self.handle),
                    document,
                )
            )
        return said.with_details(told)

    def _document(self, said: Verdict) -> Dict[str, Any]:
        left = self.lease.leftovers + self.debts if self.lease else []
        return {
            "site": self.site.name,
            "handle": str(self.handle),
            "state": WORDS[said.state],
            "text": said.text,
            "requests": self.evidence.requests,
            "leftovers": list(map(str, left)),
            **self.timeline.document(),
        }


def _refuse_what_cannot_work(site: Site) -> None:
    """What is known to fail before anything is asked for."""
    if site.deadline <= site.reserve:
        raise ClientError(
            f"{site.name}: {site.deadline:g} s do not hold the clean-up's reserve of {site.reserve:g} s; "
            "nothing was started"
        )
    wanted = {
        "console": (site.test_vm["depth"] == "console", Capability.CONSOLE),
        "volume": (bool(site.test_vm["volume"]), Capability.VOLUMES),
        "snapshot": (site.test_vm["snapshot"], Capability.SNAPSHOTS),
    }
    for word, (asked, capability) in wanted.items():
        if asked and capability not in site.driver.capabilities:
            raise ClientError(
                f"{site.name}: [test vm] asks for {word}, which {site.endpoint['manager']} does not offer"
            )


def _plan_lines(site: Site, plan) -> List[tuple]:
    test_vm = site.test_vm
    found = [
        ("image", plan.image),
        ("flavor", plan.flavor or "none"),
        ("network", plan.network or "none"),
    ]
    found += [
        (word, value)
        for word, value in sorted(
            {**plan.details, "vcpus": plan.vcpus, "memory": plan.memory}.items()
        )
        if isinstance(value, (str, int))
    ]
    return found + [
        ("depth", test_vm["depth"]),
        ("deadline", f"{site.deadline:g} s, of which {site.reserve:g} s to clean up"),
    ]


def _stragglers(stage) -> str:
    if len(stage.servers) < 2:
        return ""
    own = sorted(stage.servers.items(), key=lambda item: item[1])
    mean = sum(stage.servers.values()) / len(own)
    slowest = ", ".join(
        f"{name.rsplit('-', 1)[-1]} {seconds(took)} s" for name, took in own[:-4:-1]
    )
    return f"  min {seconds(own[0][1])} avg {seconds(mean)} max {seconds(own[-1][1])} s; slowest: {slowest}"
