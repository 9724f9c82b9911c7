"""check_vm_state: count servers by state, owner, age and image."""

from __future__ import annotations

import argparse
from typing import Mapping, Optional, Sequence

from vmprobe.checks import session
from vmprobe.checks.options import READ_ONLY_TIME, Parser, add_patterns, duration, patterns
from vmprobe.checks.session import CheckResult, Finding, Session
from vmprobe.checks.state import servers as census
from vmprobe.core.clock import Clock
from vmprobe.core.model import Kind
from vmprobe.core.text import counted

DESCRIPTION = """\
Count the servers that the credential can see: how many in which state, whose,
since when, from which image. Alerts when one has failed, is stuck between two
states, or is older than it may be (WARNING), and by the ranges given. Creates
nothing.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w failed=0 -c servers=500; a
range without a metric means failed. Defaults: -w failed=0 -w stuck=0 -w aged=0.
A server that its owner stopped has not failed. Patterns are shell patterns,
like 'web*', and ignore case.
"""
DEFAULTS = {"failed": ("0", ""), "stuck": ("0", ""), "aged": ("0", "")}


def parser() -> Parser:
    """The command line."""
    parser = Parser("state", DESCRIPTION, EPILOG, timeout=READ_ONLY_TIME)
    add_patterns(parser, "the worst")
    parser.add_argument(
        "--stuck",
        metavar="TIME",
        type=duration,
        default=1800.0,
        help="how long a server may be pending, since its last change or else its creation; "
        "default: 30 min",
    )
    parser.add_argument(
        "--max-age",
        metavar="TIME",
        type=duration,
        help="how old a server may become; default: any age",
    )
    return parser


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(
        parser(),
        arguments,
        lambda site, options: session.run_read_only(
            "state", site, options, clock, _find, "failed", DEFAULTS
        ),
    )


def _find(run: Session, options: argparse.Namespace) -> Finding:
    with run.timeline.stage("auth"):
        run.cloud.connect()
    with run.timeline.stage("list"):
        resources = run.cloud.survey("", [Kind.SERVER])

    selected = patterns(options)
    servers = census.take(
        [resource for resource in resources if selected.match(resource)],
        run.cloud.driver.is_at_rest,
        run.deadline.clock.utc(),
        options.stuck,
        options.max_age,
    )
    counts = census.counts(servers)
    run.timeline.metrics.update(counts)
    return Finding(_message(servers, counts), details=tuple(census.table(servers, options.limit)))


def _message(servers: Sequence[census.Server], counts: Mapping[str, float]) -> str:
    """``41 servers (37 running, 3 stopped, 1 failed): server 4f1c (db1) is ERROR: No valid host was
    found``.
    """
    states = ", ".join(f"{counts[state]:g} {state}" for state in census.STATES if counts[state])
    worst = [str(server) for server in servers if server.problem]
    named = f": {', '.join(worst[:3])}{', ...' if len(worst) > 3 else ''}" if worst else ""
    return counted(len(servers), "server") + (f" ({states})" if states else "") + named
