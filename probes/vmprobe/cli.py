"""Run a check as a plug-in: streams, signals, exit codes, and errors that nobody expected.

Whatever happens, the exit code is 0 to 3, and stdout begins with one clean line.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING, List, NoReturn

from vmprobe.checks import judge, signals
from vmprobe.core.errors import VmprobeError
from vmprobe.core.redact import current
from vmprobe.report.verdict import UNKNOWN, Printed, Verdict, render

if TYPE_CHECKING:
    from vmprobe.checks.session import CheckResult


def run(check: str) -> NoReturn:
    """Run ``vmprobe.checks.<check>.command``, print its result and exit with its state; for the
    executables.
    """
    name, arguments, began = f"VM_{check.upper()}", sys.argv[1:], time.time()
    try:
        result = _result(check, arguments)
        verdict = _submitted(check, result, began) if result.options.submit else result.verdict
    except Printed as output:
        leave(str(output), UNKNOWN)
    except (VmprobeError, ImportError) as error:  # before a site was loaded
        verdict = _unsubmitted(judge.not_started(error), arguments)
    except BaseException as error:
        verdict = _unsubmitted(judge.unforeseen(error, _wants_traceback(arguments)), arguments)
    leave(render(name, verdict), verdict.state)


def _result(check: str, arguments: List[str]) -> CheckResult:
    """Run the check. A signal raises Interrupted, until the check handles signals itself."""
    try:
        signals.handle_early(raises=not _submits(arguments))
        _open_streams()
        warnings.simplefilter("ignore")  # a library's warning must not become the first line
        os.umask(0o077)
        command = importlib.import_module(f"vmprobe.checks.{check}.command")
        result: CheckResult = command.main(arguments)
        return result
    finally:
        signals.ignore_early()


def _submitted(check: str, result: CheckResult, began: float) -> Verdict:
    """Submit the result to its targets. A failure is reported below line 1 and does not change the
    state. Raises nothing.
    """
    verdict, site, options = result
    try:
        from vmprobe.report.submit import delivery, spool
        from vmprobe.site import services

        ended = time.time()
        submission = spool.PassiveResult(
            site.name,
            services.service_name(check),
            verdict.state,
            render(f"VM_{check.upper()}", verdict),
            began,
            ended,
        )
        limit = services.run_time(
            check, site.deadline, options.timeout, getattr(options, "remove", False)
        )
        left = 0.0 if signals.is_interrupted() else limit - (ended - began)
        deadline = delivery.time_limit(left)
        signals.listen(deadline)
        messages = delivery.submit(options.submit, submission, deadline)
    except VmprobeError as error:
        messages = [f"not submitted: {error}"]
    except Exception as error:
        messages = [f"not submitted: {judge.unforeseen(error, False).text}"]
    return verdict.with_details([current().redact(message) for message in messages])


def _unsubmitted(verdict: Verdict, arguments: List[str]) -> Verdict:
    """Add a line that the result was not submitted, if --submit is given: no site is known."""
    return verdict.with_details([f"not submitted: {verdict.text}"] if _submits(arguments) else [])


def leave(output: str, state: int) -> NoReturn:
    """Print, and exit with a state, even when stdout is closed or full. A signal cannot change the
    state any more.
    """
    signals.ignore()
    try:
        _open_streams()  # again: a signal may have ended the first call
        sys.stdout.write(output.rstrip("\n") + "\n")
        sys.stdout.flush()
    except OSError:  # nobody reads the output; the exit code still counts
        sys.stdout = open(os.devnull, "w", encoding="ascii")
    sys.exit(state)


def _open_streams() -> None:
    """Reopen closed standard streams on /dev/null, and make the output ASCII.

    Otherwise the next file that is opened would get a standard stream's number. Every reader of the
    output can read ASCII, whatever encoding the environment asks for.
    """
    # In this order: each gets the lowest number that is free.
    sys.stdin = sys.stdin or open(os.devnull, encoding="ascii")
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="ascii")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="ascii")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="ascii", errors="replace")


def _submits(arguments: List[str]) -> bool:
    return any(word.startswith("--submit") for word in arguments)


def _wants_traceback(arguments: List[str]) -> bool:
    """Whether -vv is given, without the parser, which may be what failed."""
    flags = [word for word in arguments if word.startswith("-v") and set(word[1:]) == {"v"}]
    return sum(word.count("v") for word in flags) >= 2
