"""The command line: the parser, the options that all checks share, and the kinds of values that
options have.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Callable, NoReturn, TypeVar

from vmprobe import __version__
from vmprobe.core import values
from vmprobe.core.errors import ClientError
from vmprobe.core.text import one_line, suggest
from vmprobe.report.verdict import Printed
from vmprobe.site import lookup, metrics, services
from vmprobe.site import site as sites
from vmprobe.site.site import Site
from vmprobe.site.thresholds import Thresholds, parse_range

if TYPE_CHECKING:
    from vmprobe.checks.state.servers import Patterns
    from vmprobe.site.targets import Target

T = TypeVar("T")
# The default of -t, where a check creates and removes nothing: services.run_time.
READ_ONLY_TIME = f"the site's deadline, at most {services.LONGEST_READ_ONLY:g} s"


class Parser(argparse.ArgumentParser):
    """argparse for a plug-in, with the options that every check has; their letters are the plug-in
    guidelines'.

    Usage errors, the help and the version are raised as ``Printed``. ``timeout`` is the text for
    the default of -t.
    """

    def __init__(self, check: str, description: str = "", epilog: str = "", timeout: str = ""):
        self.check, self.own_notes = check, epilog
        super().__init__(
            prog=f"check_vm_{check}",
            description=description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_Help,
        )
        self._optionals.title = "options"  # Python 3.9 calls them "optional arguments"
        self.add_argument(
            "--site",
            metavar="SITE",
            help="site file, by its path or by its name in /etc/vmprobe/sites",
        )
        self.add_argument(
            "-H",
            "--hostname",
            metavar="HOST",
            help="the site with this name, or whose endpoint has this host; used without --site",
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
            help="also submit the result to a monitoring server: nagios:PIPE, results:DIR, "
            "icinga2:URL, nsca:HOST, nrdp:URL or file:FILE; can be given several times",
        )
        self.add_argument(
            "-v",
            "--verbose",
            action="count",
            default=0,
            help="-v: more below the first line; -vv: requests and replies, without secrets",
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

    def notes(self) -> str:
        """The text below the options: the check's own, and the metrics that it measures."""
        return f"{self.own_notes}\n{metrics.help_text(self.check)}"

    def format_help(self) -> str:
        """The help; its notes are only made here, because a check's start need not pay for them."""
        self.epilog = self.notes()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise a usage error as one line."""
        raise Printed(
            f"VM_{self.check.upper()} UNKNOWN - {one_line(message)} (see {self.prog} --help)"
        )

    def _print_message(self, message: str, file: Any = None) -> NoReturn:
        # argparse would print the help and the version itself, and would not see that the disk is
        # full.
        raise Printed(message)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that fits 80 columns, however wide the terminal is."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=26, width=79)


# --- what the shared options mean -----------------------------------------------------------------


def load_site(options: argparse.Namespace) -> Site:
    """The site that the command line names; ClientError where it names none, or one that cannot be
    used.
    """
    if options.site:
        return sites.load(lookup.find(options.site))
    if options.hostname:
        return sites.load(lookup.find_by_host(options.hostname))
    raise ClientError("no site given; use --site or -H")


def thresholds_of(
    check: str, site: Site, options: argparse.Namespace, default_metric: str
) -> Thresholds:
    """The site's thresholds, overridden by -w and -c; a range without a metric is for
    ``default_metric``.

    ClientError for a metric that this check never measures. A site file's thresholds are for all
    checks.
    """
    thresholds, measured = site.thresholds, metrics.measured_by(check)
    for level in ("warning", "critical"):
        for argument in getattr(options, level):
            label, _, text = argument.rpartition("=")
            label = label or default_metric
            option = f"--{level} {argument}"
            if label not in metrics.UNITS:
                raise ClientError(f"{option}: no such metric; {suggest(label, sorted(measured))}")
            if label not in measured:
                raise ClientError(
                    f"{option}: check_vm_{check} never measures {label}; "
                    "its --help lists its metrics"
                )
            try:
                parse_range(text, label)
            except ValueError as error:
                raise ClientError(f"{option}: {error}") from None
            thresholds = thresholds.with_range(level, label, text)
    return thresholds


# --- options that select servers ------------------------------------------------------------------


def add_patterns(parser: Parser, first: str) -> None:
    """Add the options that select servers, and --limit; ``first`` names those that the table shows
    first.
    """
    for attribute in ("name", "owner", "project", "image"):
        parser.add_argument(
            f"--{attribute}",
            metavar="PATTERN",
            default="",
            help=f"only servers whose {attribute} matches",
        )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count,
        default=20,
        help=f"number of servers in the table of -v, {first} first; default: 20",
    )


def patterns(options: argparse.Namespace) -> Patterns:
    """What the options of ``add_patterns`` select."""
    from vmprobe.checks.state.servers import Patterns

    return Patterns(options.name, options.owner, options.project, options.image)


# --- kinds of values, for argparse ----------------------------------------------------------------


def run_time(text: str) -> float:
    """Seconds for a whole run."""
    return _parse(values.run_time, text)


def duration(text: str) -> float:
    """Seconds, more than zero."""
    return _parse(values.positive_duration, text)


def count(text: str) -> int:
    """A whole number from 1 up."""
    return _parse(values.whole(1), text)


def server_count(text: str) -> int:
    """A number of test VMs."""
    return _parse(values.server_count, text)


def _target(text: str) -> Target:
    from vmprobe.site import targets

    return _parse(targets.parse, text)


def _parse(parse: Callable[[str], T], text: str) -> T:
    """Parse an option's value as a site file's value is parsed."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{one_line(text, 60)}' {error}") from None
