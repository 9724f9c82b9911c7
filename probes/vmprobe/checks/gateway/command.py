"""check_vm_gateway: whether the gateway answers, is well, and is ready to take a test VM."""

from __future__ import annotations

import argparse
from typing import List, Mapping, Optional, Sequence

from vmprobe.checks import session
from vmprobe.checks.gateway import steps
from vmprobe.checks.options import READ_ONLY_TIME, Parser
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
    parser = Parser("gateway", DESCRIPTION, EPILOG, timeout=READ_ONLY_TIME)
    parser.add_argument(
        "--capabilities",
        action="store_true",
        help="list what this endpoint offers, below the first line",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write steps, certificates and capabilities to this file"
    )
    return parser


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(
        parser(),
        arguments,
        lambda site, options: session.run_read_only(
            "gateway", site, options, clock, _find, "total", DEFAULTS
        ),
    )


def _find(run: Session, options: argparse.Namespace) -> Finding:
    report = steps.Report()
    asks_offers = options.capabilities or bool(options.json)
    try:
        steps.run(run.site, run.cloud, run.timeline, report, offers=asks_offers)
    finally:
        run.timeline.notes[:0] = _certificates(report, run.deadline.clock.utc())

    offered = steps.capabilities(run.cloud.driver, report.described)
    certificates = [
        {
            "host": host,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "expires": certificate.expires,
            "names": list(certificate.names),
        }
        for host, certificate in report.certificates
    ]
    return Finding(
        _message(run, report),
        table=tuple(_table(offered)) if options.capabilities else (),
        details=(f"a test VM would have {report.plan}",),
        document={"capabilities": offered, "certificates": certificates},
    )


def _message(run: Session, report: steps.Report) -> str:
    """``OpenStack 2.93 answers in 0.41 s (auth 0.2 s, list 0.1 s, image 0.05 s)``."""
    durations = run.timeline.durations()
    times = ", ".join(f"{step} {seconds(durations[step])} s" for step in ("auth", "list", "image"))
    system = f"{run.cloud.driver.system} {report.described.get('version', '')}"
    message = f"{system} answers in {seconds(run.timeline.total())} s ({times})"
    left = run.timeline.metrics.get("tls_expires")
    if left is not None and run.site.thresholds.broken("tls_expires", left):
        return f"the certificate {report.first_to_expire} ends in {span(left)}; {message}"
    return message


def _certificates(report: steps.Report, now: float) -> List[str]:
    """One line for each certificate."""
    lines = []
    for host, certificate in report.certificates:
        left = certificate.expires - now
        ends = f"ends in {span(left)}" if left > 0 else f"ended {span(-left)} ago"
        names = f", for {', '.join(certificate.names[:5])}" if certificate.names else ""
        lines.append(
            f"certificate of {host}: {certificate.subject} by {certificate.issuer}, {ends}{names}"
        )
    return lines


def _table(offered: Mapping[str, object]) -> List[str]:
    """One line for each capability."""
    return table([(name, _shown(value)) for name, value in offered.items()])


def _shown(value: object) -> str:
    """A value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} ({_shown(each)})" for key, each in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value)) or "none"
    return str(value)
