"""``vmprobectl conform``: whether a driver and its manager keep the contract, at one site.

Exit codes: 0 they do; 1 they do not, or something was left behind; 3 it could not be tried.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any, Dict, List, Tuple

from vmprobe.core import redact
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import ClientError, VmprobeError
from vmprobe.core.text import suggest
from vmprobe.ctl.conform import report, subject
from vmprobe.ctl.conform.report import Report
from vmprobe.ctl.conform.run import BY_ID, FAILED, Outcome, Run
from vmprobe.ctl.conform.subject import Subject
from vmprobe.host import files
from vmprobe.site import lookup
from vmprobe.site.site import Site, load

EXITS = {"passed": 0, "failed": 1, "stopped": 3}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def conform(arguments: argparse.Namespace) -> int:
    """Try the requirements, print what became of each, and write the reports asked for."""
    try:
        under_test = _subject(arguments)
    except VmprobeError as error:
        print(f"vmprobectl: {redact.current().redact(str(error))}", file=sys.stderr)
        return EXITS["stopped"]
    done = _run(under_test, arguments.verbose)
    for text in report.summary(done):
        print(text, flush=True)
    return max(EXITS[done.result], _write_reports(done, arguments))


def _subject(arguments: argparse.Namespace) -> Subject:
    """The cloud of the site that the command line names. ClientError."""
    site = load(lookup.find(arguments.site))
    for name in arguments.skip:
        if name not in BY_ID:
            raise ClientError(f"--skip {name}: no such requirement; {suggest(name, BY_ID)}")
    found = subject.of_site(
        site,
        Clock(),
        arguments.deadline,
        redactor=redact.current(),
        skip={name: "left out by --skip" for name in arguments.skip},
        impossible=_impossible(site, arguments.impossible) or None,
        **({"impossible_id": arguments.unused_id} if arguments.unused_id else {}),
    )
    for secret in found.secrets:
        redact.current().add(secret)
    return found


def _impossible(site: Site, pairs: List[Tuple[str, str]]) -> Dict[str, Any]:
    """The keys of [test vm] of --impossible, parsed as in a site file."""
    values: Dict[str, Any] = {}
    for key, text in pairs:
        if key not in site.test_vm:
            raise ClientError(f"--impossible {key}: no such key; {suggest(key, site.test_vm)}")
        known = site.driver.test_vm_keys.get(key)
        try:
            values[key] = known.parse(text) if known else text
        except ValueError as error:
            raise ClientError(f"--impossible {key}: '{text}' {error}") from None
    return values


def _run(under_test: Subject, verbose: int) -> Report:
    _listen(under_test.deadline)
    run, stopped = Run(under_test), ""
    outcomes: List[Outcome] = []
    print(f"{under_test.name}: {under_test.driver.system}, {run.world.handle}", flush=True)
    try:
        for outcome in run.all():
            outcomes.append(outcome)
            print(report.line(outcome), flush=True)
            if verbose and outcome.result == FAILED:
                print("\n".join(report.exchange_lines(run.world, outcome)), flush=True)
    except VmprobeError as error:  # Interrupted, DeadlinePassed
        stopped = redact.current().redact(str(error))
    left = run.close()
    deadline = under_test.deadline
    return Report(run.world, outcomes, deadline.elapsed(), stopped or run.world.unusable, left)


def _listen(deadline: Deadline) -> None:
    """A signal ends the run between two requests; what it created is removed."""
    deadline.clock.wake_on_signals()
    for number in _SIGNALS:
        signal.signal(number, deadline.interrupt)


def _write_reports(done: Report, arguments: argparse.Namespace) -> int:
    """Write the reports asked for; returns an exit code."""
    code = 0
    redactor = redact.current()
    texts = {}
    if arguments.json:
        texts[arguments.json] = redactor.json(report.document(done))
    if arguments.junit:
        texts[arguments.junit] = redactor.redact(report.junit(done))
    for path, text in texts.items():
        try:
            files.replace_regular(path, text)
        except OSError as error:
            print(f"vmprobectl: {path}: {error.strerror}", file=sys.stderr)
            code = EXITS["stopped"]
    return code
