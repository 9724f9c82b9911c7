"""check_vm_capacity: what is free, and whether so many more servers fit."""

from __future__ import annotations

import argparse
from typing import Any, Optional, Sequence

from vmprobe.checks import judge, session
from vmprobe.checks.capacity import headroom
from vmprobe.checks.options import READ_ONLY_TIME, Parser, count
from vmprobe.checks.session import CheckResult, Finding, Session
from vmprobe.core.clock import Clock
from vmprobe.core.driver import Key
from vmprobe.core.errors import ClientError
from vmprobe.core.model import BURDENS, RESOURCES, Capability, Limit
from vmprobe.site.site import Site

DESCRIPTION = """\
Say what is free for this project: servers, vCPUs, memory, volumes, storage and
addresses, by quota, and by host or pool where the credential can see them.
Alerts by the ranges given, and with --need when so many more servers do not fit
(WARNING, cause=quota), with the resource that they lack. Creates nothing.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w servers_full=80
-c memory_free=8589934592:; a range without a metric means fits.
"""


def parser() -> Parser:
    """The command line."""
    parser = Parser("capacity", DESCRIPTION, EPILOG, timeout=READ_ONLY_TIME)
    parser.add_argument("--need", metavar="N", type=count, help="whether so many more servers fit")
    parser.add_argument("--flavor", metavar="NAME", help="their flavor; default: the site's")
    return parser


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(
        parser(),
        arguments,
        lambda site, options: session.run_read_only(
            "capacity", site, options, clock, _find, "fits"
        ),
    )


def _find(run: Session, options: argparse.Namespace) -> Finding:
    site, cloud, timeline = run.site, run.cloud, run.timeline
    if not cloud.can(Capability.CAPACITY):
        raise ClientError(f"{site.endpoint['manager']} does not say what is free")
    flavor = _flavor(site, options.flavor)
    with timeline.stage("auth"):
        cloud.connect()
    with timeline.stage("capacity"):
        limits = cloud.capacity()
    timeline.notes += [
        f"the limit of {limit.name} is not known: {limit.unknown}"
        for limit in limits
        if limit.unknown
    ]
    values, run.highest = headroom.values(limits)
    timeline.metrics.update(values)

    message, problems = summary(limits), []
    if options.need or options.flavor:
        with timeline.stage("image"):
            plan = cloud.resolve({**site.test_vm, "flavor": flavor})
            needs = cloud.needs(plan, site.test_vm)
        room = headroom.room(limits, needs)
        if room.fits is not None:
            timeline.metrics["fits"] = room.fits
        if options.need and room.fits is not None and room.fits < options.need:
            problems.append("quota")
        message = f"{_answer(room, options.need, plan.flavor or 'servers')}; {message}"
    return Finding(message, tuple(problems), details=tuple(headroom.table(limits)))


def _flavor(site: Site, text: Optional[str]) -> Any:
    """The flavor that --flavor names, parsed as a site file's; default: the site's."""
    if not text:
        return site.test_vm["flavor"]
    try:
        return site.driver.test_vm_keys.get("flavor", Key()).parse(text)
    except ValueError as error:
        raise ClientError(f"--flavor: '{text}' {error}") from None


def _answer(room: headroom.Room, need: Optional[int], flavor: str) -> str:
    """``only 12 of 500 m1.small fit: vcpus by quota: 12 of 20 are free (cause=quota)``."""
    if room.fits is None:
        return f"no limit is known for {flavor}"
    if need and room.fits < need:
        return judge.with_cause(
            f"only {room.fits} of {need} {flavor} fit: {room.limiting}", "quota"
        )
    return f"{room.fits} more {flavor} fit, limited by {room.limiting}"


def summary(limits: Sequence[Limit]) -> str:
    """``free: 97 of 100 servers, 12 of 20 vcpus, 7.5 GiB of 16 GiB memory``."""
    totals = [
        (label, total)
        for label, total in headroom.totals(limits).items()
        if headroom.name_of(label) in RESOURCES and not label.endswith(BURDENS)
    ]
    parts = [_free(label, total) for label, total in totals if total.total is not None]
    if parts:
        return f"free: {', '.join(parts)}"
    return "no limit is known" if any(limit.unknown for limit in limits) else "nothing is limited"


def _free(label: str, total: headroom.Total) -> str:
    """``12 of 20 vcpus``, ``4 GiB of 8 GiB host memory``, ``67 GiB of 120 GiB storage in datastore
    default``.
    """
    name = headroom.name_of(label)
    where = f"{name} in {total.of}" if total.of else f"host {name}" if label != name else name
    free, limit = total.free or 0.0, total.total or 0.0
    return f"{headroom.amount(name, free)} of {headroom.amount(name, limit)} {where}"
