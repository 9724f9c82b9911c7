"""Run a check as a plug-in: streams, signals, exit codes, and the last resort.

Whatever happens, the exit code is 0 to 3, and stdout has one clean first line.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import time
import warnings
from typing import List, NoReturn

from vmprobe.checks import judge, signals
from vmprobe.core.errors import VmprobeError
from vmprobe.core.redact import current
from vmprobe.report import verdict
from vmprobe.report.verdict import UNKNOWN, Printed, Verdict


def run(check: str) -> NoReturn:
    """Run ``vmprobe.checks.<check>.command``, print its result and exit with its state; for the executables."""
    name, arguments, began = f"VM_{check.upper()}", sys.argv[1:], time.time()
    try:
        result = _result(check, arguments)
    except Printed as output:
        leave(str(output), UNKNOWN)
    except (VmprobeError, ImportError) as error:  # before anything was started
        result = Verdict(UNKNOWN, current().redact(str(error)))
    except BaseException as error:
        result = judge.unforeseen(error, _wants_traceback(arguments))
    result = _submitted(check, arguments, result, began)
    leave(verdict.render(name, result), result.state)


def _result(check: str, arguments: List[str]) -> Verdict:
    """What the check returns. A signal raises Interrupted until the check listens to signals itself."""
    try:
        signals.handle_early(raises=not _submits(arguments))
        _open_streams()
        warnings.simplefilter("ignore")  # a library's warning must not become the first line
        os.umask(0o077)
        importlib.import_module("nagiosplugin")  # needed for the output: fail before the start
        command = importlib.import_module(f"vmprobe.checks.{check}.command")
        signals.stop_if_interrupted()
        result: Verdict = command.main(arguments)
        return result
    finally:
        signals.ignore_early()


def _submitted(check: str, arguments: List[str], result: Verdict, began: float) -> Verdict:
    """Submit the result where ``--submit`` says; a failure is a line below line 1, and changes no state."""
    if not _submits(arguments):
        return result
    try:
        from vmprobe.checks import session
        from vmprobe.checks.options import Parser, load_site
        from vmprobe.report.submit import delivery
        from vmprobe.report.submit.spool import CheckResult
        from vmprobe.site import services

        options = Parser(check).parse_known_args(arguments)[0]
        site, ended = load_site(options), time.time()
        output = verdict.render(f"VM_{check.upper()}", result)
        submission = CheckResult(
            site.name, services.service_name(check), result.state, output, began, ended
        )
        usual = site.deadline if services.SERVICES[check].creates else session.LOOK
        deadline = delivery.time_limit(
            0.0 if signals.is_interrupted() else (options.timeout or usual) - (ended - began)
        )
        signals.listen(deadline)
        messages = delivery.submit(options.submit, submission, deadline)
    except VmprobeError as error:
        messages = [f"not submitted: {error}"]
    except Exception as error:
        messages = [f"not submitted: {judge.unforeseen(error, False).text}"]
    return result.with_details([current().redact(message) for message in messages])


def leave(output: str, state: int) -> NoReturn:
    """Print, and exit with a state, even when stdout is closed or full. A signal cannot change the state any more."""
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

    Otherwise the next file that is opened would get a standard stream's number. Whoever reads the output knows ASCII,
    whatever encoding the environment asks for.
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
