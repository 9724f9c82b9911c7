"""check_vm_gateway: is the gateway there, well, and ready to take a test VM?"""

from __future__ import annotations

import argparse
from typing import Any, List, Mapping, Optional, Sequence

from vmprobe.checks import session
from vmprobe.checks.gateway import steps
from vmprobe.checks.options import LOOK_TIME, Parser
from vmprobe.checks.session import CheckResult, Finding, Session
from vmprobe.core.clock import Clock
from vmprobe.core.text import seconds, span, table

DESCRIPTION = """\
Ask a VM gateway for all that a test VM needs, and create nothing: connection,
certificates, an answer, authentication, the manager's services, lists, image,
flavor and network. Alerts when a step fails (CRITICAL), and when a duration,
the end of a certificate or credential, or a clock is outside its range.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w auth=2 -c tls_expires=86400:;
a range without a metric means total. Defaults: -w tls_expires=1209600:
-c tls_expires=259200: -w cred_expires=3600: -w skew=60 -c skew=300.
"""
DEFAULTS = {
    "tls_expires": ("1209600:", "259200:"),
    "cred_expires": ("3600:", ""),
    "skew": ("60", "300"),
}


def parser() -> Parser:
    """The command line."""
    found = Parser("gateway", DESCRIPTION, EPILOG, timeout=LOOK_TIME)
    found.add_argument(
        "--capabilities",
        action="store_true",
        help="below the first line, what this endpoint offers",
    )
    found.add_argument(
        "--json", metavar="FILE", help="write steps, certificates and capabilities to this file"
    )
    return found


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(
        parser(),
        arguments,
        lambda site, options: session.look(
            "gateway", site, options, clock, _look, "total", DEFAULTS
        ),
    )


def _look(run: Session, options: argparse.Namespace) -> Finding:
    report = steps.Report()
    try:
        steps.run(
            run.site,
            run.cloud,
            run.timeline,
            report,
            offers=options.capabilities or bool(options.json),
        )
    finally:
        run.timeline.notes[:0] = _certificates(report, run.deadline.clock.utc())
    offered = steps.capabilities(run.cloud.driver, report.described)
    return Finding(
        _story(run, report),
        table=tuple(_table(offered)) if options.capabilities else (),
        details=(f"a test VM would have {report.plan}",),
        document={
            "capabilities": offered,
            "certificates": [
                {
                    "host": host,
                    "subject": one.subject,
                    "issuer": one.issuer,
                    "expires": one.expires,
                    "names": list(one.names),
                }
                for host, one in report.certificates
            ],
        },
    )


def _story(run: Session, report: steps.Report) -> str:
    """``OpenStack 2.93 answers in 0.41 s (auth 0.2 s, list 0.1 s, image 0.05 s)``."""
    took = run.timeline.durations()
    times = ", ".join(f"{step} {seconds(took[step])} s" for step in ("auth", "list", "image"))
    text = f"{run.cloud.driver.system} {report.described.get('version', '')} answers in {seconds(run.timeline.total())} s ({times})"
    ends = run.timeline.metrics.get("tls_expires")
    if ends is not None and run.site.thresholds.broken("tls_expires", ends):
        text = f"the certificate {report.first_to_expire} ends in {span(ends)}; {text}"
    return text


def _certificates(report: steps.Report, now: float) -> List[str]:
    return [
        f"certificate of {host}: {one.subject} by {one.issuer}, "
        f"{'ends in ' + span(one.expires - now) if one.expires > now else 'ended ' + span(now - one.expires) + ' ago'}"
        + (f", for {', '.join(one.names[:5])}" if one.names else "")
        for host, one in report.certificates
    ]


def _table(offered: Mapping[str, Any]) -> List[str]:
    """One line for each thing offered, its words aligned."""
    return table([(word, _shown(value)) for word, value in offered.items()])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{word} ({_shown(what)})" for word, what in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value)) or "none"
    return str(value)
