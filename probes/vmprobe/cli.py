"""What every probe's command line shares: options, exit codes, signals, and the last resort.

Nothing else than 0 to 3 ever leaves, and always with one clean line on stdout.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import time
import traceback
import warnings
from typing import Any, Callable, List, NoReturn, TypeVar

from vmprobe import __version__
from vmprobe.core.errors import ClientError, Interrupted, VmprobeError
from vmprobe.core.redact import current
from vmprobe.core.text import one_line, suggest
from vmprobe.report import verdict
from vmprobe.report.verdict import UNKNOWN, Verdict

T = TypeVar("T")
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGALRM,
)  # the last one is a caller's own alarm, which outlives exec


class Answer(Exception):
    """All that a command line gets by itself: the help, the version, or what is wrong with it."""


def run(probe: str) -> NoReturn:
    """Run the probe ``vmprobe.checks.<probe>.command`` and exit with its state; for the executables."""
    name, arguments, began = f"VM_{probe.upper()}", sys.argv[1:], time.time()
    loud = (
        sum(
            word.count("v")
            for word in arguments
            if word.startswith("-v") and set(word[1:]) == {"v"}
        )
        >= 2
    )
    try:
        said = _said(probe, arguments)
    except Answer as answer:
        leave(str(answer), UNKNOWN)
    except (VmprobeError, ImportError) as error:  # before anything was started
        said = Verdict(UNKNOWN, current().redact(str(error)))
    except BaseException as error:
        said = unforeseen(error, loud)
    said = _submitted(probe, arguments, said, began)
    leave(verdict.render(name, said), said.state)


def _said(probe: str, arguments: List[str]) -> Verdict:
    """What the probe says. A signal raises Interrupted in here, once, until the probe itself listens; never afterwards.

    One that came while Python loaded this does so at once.
    """
    try:
        sys.unraisablehook = _missed_by_python
        for number in SIGNALS:
            signal.signal(number, _stop_early)
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, SIGNALS
        )  # the executable, or whoever started it, held them back
        signal.signal(
            signal.SIGCHLD, signal.SIG_DFL
        )  # handed down as ignored, it would make every program's exit code 0
        _open_streams()
        warnings.simplefilter("ignore")  # a library's warning must not become the first line
        os.umask(0o077)
        importlib.import_module(
            "nagiosplugin"
        )  # without it there is no output; found out before anything is started
        main = importlib.import_module(f"vmprobe.checks.{probe}.command").main
        _stop_if_marked()
        return main(arguments)
    finally:
        _came.append(0)


def unforeseen(error: BaseException, loud: bool) -> Verdict:
    """A verdict for what nobody thought of: one clean line, and the traceback only when asked for."""
    trace = (
        current().redact(
            "".join(traceback.format_exception(type(error), error, error.__traceback__))
        )
        if loud
        else ""
    )
    return Verdict(
        UNKNOWN,
        f"unforeseen: {one_line(f'{type(error).__name__}: {error}')}",
        details=tuple(trace.splitlines()),
    )


def _submitted(probe: str, arguments: List[str], said: Verdict, began: float) -> Verdict:
    """``said``, handed over to where ``--submit`` wants it; what could not be is told below line 1, and changes nothing."""
    if not _submits(arguments):
        return said
    try:
        from vmprobe.checks import session
        from vmprobe.report.submit import delivery
        from vmprobe.report.submit.spool import CheckResult
        from vmprobe.site import services

        options = Parser(probe).parse_known_args(arguments)[0]
        site, ended = site_of(options), time.time()
        result = CheckResult(
            site.name,
            services.service_name(probe),
            said.state,
            verdict.render(f"VM_{probe.upper()}", said),
            began,
            ended,
        )
        usual = site.deadline if services.SERVICES[probe].creates else session.LOOK
        deadline = delivery.time_limit(
            0.0 if _is_interrupted() else (options.timeout or usual) - (ended - began)
        )
        listen(deadline)
        told = delivery.submit(options.submit, result, deadline)
    except VmprobeError as error:
        told = [f"not submitted: {error}"]
    except Exception as error:
        told = [f"not submitted: {unforeseen(error, False).text}"]
    return said.with_details([current().redact(line) for line in told])


def leave(output: str, state: int) -> NoReturn:
    """Print and exit with a state, whatever has become of stdout; a signal comes too late to change it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        _open_streams()  # again, in case a signal came in between
        sys.stdout.write(output.rstrip("\n") + "\n")
        sys.stdout.flush()
    except OSError:  # nobody reads; the exit code still counts
        sys.stdout = open(os.devnull, "w", encoding="ascii")
    sys.exit(state)


def _open_streams() -> None:
    """Reopen closed standard streams on /dev/null, else the next file would get their numbers; the output is ASCII."""
    sys.stdin = sys.stdin or open(
        os.devnull, encoding="ascii"
    )  # each gets the lowest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="ascii")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="ascii")
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # whoever reads them knows ASCII, whatever encoding the environment asks for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="ascii", errors="replace")


_came: List[int] = []  # signals, until somebody listens; 0: from now on none of them raises
_listening: List[Any] = []  # the deadlines that signals have marked, or may mark


def _stop_early(number: int, frame: Any) -> None:
    """Raise for the first signal only: a second one would be raised where the first is being told, and caught by nobody."""
    if _came:
        return
    _came.append(number)
    if not _submits(
        sys.argv[1:]
    ):  # else a library may stay half loaded that the submission needs: it is told a moment later
        _stop_if_marked()


def _stop_if_marked() -> None:
    """Raise Interrupted for a signal that came before anybody listened."""
    if any(_came) and 0 not in _came:
        raise Interrupted(
            f"interrupted by {signal.Signals(_came[0]).name} before anything was started"
        )


def _missed_by_python(found: Any) -> None:
    """Say nothing of a signal that came where nothing can be raised, such as a destructor: whoever listens first is told."""
    if not isinstance(found.exc_value, Interrupted):
        sys.__unraisablehook__(found)


def _submits(arguments: List[str]) -> bool:
    return any(word.startswith("--submit") for word in arguments)


def _is_interrupted() -> bool:
    """Whether a signal has come: whoever sent it will soon send SIGKILL."""
    return any(_came) or any(deadline.signal is not None for deadline in _listening)


# --- options ------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """argparse with a plug-in's manners, and with the options that every probe has, in the guidelines' letters.

    Usage errors, the help and the version are raised as an Answer. ``timeout`` is the default of -t, in words.
    """

    def __init__(self, probe: str, description: str = "", epilog: str = "", timeout: str = ""):
        self.probe = f"VM_{probe.upper()}"
        super().__init__(
            prog=f"check_vm_{probe}",
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_Help,
        )
        self._optionals.title = "options"  # Python 3.9 calls them otherwise
        self.add_argument(
            "--site",
            metavar="SITE",
            help="site file, by its path or by its name in /etc/vmprobe/sites",
        )
        self.add_argument(
            "-H",
            "--hostname",
            metavar="HOST",
            help="the site whose name or whose endpoint's host this is, where no --site is given",
        )
        self.add_argument(
            "-t",
            "--timeout",
            metavar="SECONDS",
            type=run_time,
            help=f"time for the whole run, clean-up included; default: {timeout}",
        )
        self.add_argument(
            "--submit",
            metavar="KIND:WHERE",
            action="append",
            type=_target,
            help="hand the result to a monitoring server, too: nagios:PIPE, results:DIR, icinga2:URL, "
            "nsca:HOST, nrdp:URL or file:FILE; can be given several times",
        )
        self.add_argument(
            "-v",
            "--verbose",
            action="count",
            default=0,
            help="-v: more below the first line; -vv: requests and replies, secrets struck out",
        )
        self.add_argument(
            "-V",
            "--version",
            action="version",
            version=f"{self.prog} {__version__}",
            help="print the version and exit",
        )
        self.add_argument("-h", "--help", action="help", help="print this help and exit")
        for letter, level in (("-w", "warning"), ("-c", "critical")):
            self.add_argument(
                letter,
                f"--{level}",
                metavar="METRIC=RANGE",
                action="append",
                default=[],
                help=f"{level} range of a metric; can be given several times",
            )

    def error(self, message: str) -> NoReturn:
        raise Answer(f"{self.probe} UNKNOWN - {one_line(message)} (see {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> NoReturn:
        raise Answer(
            message
        )  # help and version, which argparse would print by itself, and lose a full disk's error


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that fits 80 columns wherever it is made."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=26, width=79)


def add_patterns(parser: Parser, first: str) -> None:
    """Which servers are meant, for probes that look at all of them, and how many are shown; ``first``: which of them."""
    for word, what in (
        ("name", "name"),
        ("owner", "owner"),
        ("project", "project"),
        ("image", "image"),
    ):
        parser.add_argument(
            f"--{word}",
            metavar="PATTERN",
            default="",
            help=f"only servers whose {what} is like this",
        )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count,
        default=20,
        help=f"so many servers in the table of -v, {first} first; default: 20",
    )


def patterns(options: argparse.Namespace):
    """What ``add_patterns`` was told."""
    from vmprobe.checks.state.servers import Patterns

    return Patterns(options.name, options.owner, options.project, options.image)


def thresholds_of(site, options: argparse.Namespace, bare: str):
    """The site's thresholds with those of the command line over them; a bare range means the metric ``bare``."""
    from vmprobe.site.thresholds import LABELS, parse_range

    found = site.thresholds
    for level in ("warning", "critical"):
        for word in getattr(options, level):
            label, _, text = word.rpartition("=")
            label = label or bare
            if label not in LABELS:
                raise ClientError(f"--{level} {word}: no such metric; {suggest(label, LABELS)}")
            try:
                parse_range(text, label)
            except ValueError as wrong:
                raise ClientError(f"--{level} {word}: {wrong}") from None
            found = found.with_range(level, label, text)
    return found


def site_of(options: argparse.Namespace):
    """The site that the command line means."""
    from vmprobe.site import site

    if options.site:
        return site.load(site.find(options.site))
    if options.hostname:
        return site.load(site.find_by_host(options.hostname))
    raise ClientError("which site? Name it by --site")


def run_time(word: str) -> float:
    """The time for a whole run, for argparse."""
    from vmprobe.core import values

    return _parsed(values.run_time, word)


def duration(word: str) -> float:
    """A time above zero, for argparse."""
    from vmprobe.core import values

    return _parsed(values.positive_duration, word)


def count(word: str) -> int:
    """A whole number from 1 up, for argparse."""
    from vmprobe.core import values

    return _parsed(values.whole(1), word)


def servers(word: str) -> int:
    """How many test VMs, for argparse."""
    from vmprobe.core import values

    return _parsed(values.server_count, word)


def _target(word: str):
    from vmprobe.site import targets

    return _parsed(targets.parse, word)


def _parsed(parse: Callable[[str], T], word: str) -> T:
    """What a site file's kind of value makes of a word."""
    try:
        return parse(word)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"'{one_line(word, 60)}' {wrong}") from None


def listen(deadline) -> None:
    """From now on a signal marks the deadline instead of ending the process; Interrupted where one came that nobody has heard."""
    deadline.clock.wake_on_signals()
    _listening.append(deadline)
    for number in SIGNALS:
        signal.signal(number, deadline.interrupt)
    _stop_if_marked()


def lines(*groups: List[str]) -> tuple:
    """Groups of lines as a verdict's details."""
    return tuple(line for group in groups for line in group)
