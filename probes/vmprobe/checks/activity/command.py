"""check_vm_activity: how busy servers were since the last run, and which was the busiest."""

from __future__ import annotations

import argparse
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from vmprobe.checks import judge, rates, session
from vmprobe.checks.activity import usage
from vmprobe.checks.capacity import headroom
from vmprobe.checks.options import READ_ONLY_TIME, Parser, add_patterns, patterns
from vmprobe.checks.session import CheckResult, Finding, Session
from vmprobe.core.clock import Clock
from vmprobe.core.errors import ClientError, NotPermitted, VmprobeError
from vmprobe.core.model import EXTRA_METRICS, METRICS, Capability, Kind, Resource, State
from vmprobe.core.text import counted, number, span, table
from vmprobe.site.site import Sampling

DESCRIPTION = """\
Say how busy servers were since the last run, by what the VM manager counts:
CPU, disk reads and writes, network in and out, and where it has them memory
and waiting for a CPU; the busiest are named. Alerts by the ranges given.
Creates nothing.
"""
EPILOG = """\
Ranges are Nagios ranges, in the metric's unit: -w cpu_avg=80
-c net_out_peak=100000000; a range without a metric means cpu_peak. The last
readings are kept in the suite's state directory.
"""


def parser() -> Parser:
    """The command line."""
    parser = Parser("activity", DESCRIPTION, EPILOG, timeout=READ_ONLY_TIME)
    add_patterns(parser, "the busiest")
    return parser


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(
        parser(),
        arguments,
        lambda site, options: session.run_read_only(
            "activity", site, options, clock, _find, "cpu_peak"
        ),
    )


def _find(run: Session, options: argparse.Namespace) -> Finding:
    site, cloud, timeline, clock = run.site, run.cloud, run.timeline, run.deadline.clock
    if not cloud.can(Capability.METRICS):
        raise ClientError(f"{site.endpoint['manager']} has no metrics")
    with timeline.stage("auth"):
        cloud.connect()
    with timeline.stage("list"):
        selected = patterns(options)
        servers = [
            server
            for server in cloud.survey("", [Kind.SERVER])
            if server.state is State.READY and selected.match(server)
        ]
    timeline.metrics["servers"] = len(servers)

    memory = usage.Memory(site.name, cloud.driver.identity, *selected)
    taken, before, unreadable = memory.recall()
    with timeline.stage("metrics") as stage:
        count = max(1, site.sample.readings)
        readings, unmeasured = usage.measure(cloud, servers, count, site.sample.interval)
    first = stage.began - clock.now() + clock.utc()
    unwritable = memory.remember(clock.utc(), readings)

    known = usage.since(before, first - taken, readings)
    values, missing = usage.values(known)
    timeline.metrics.update(values)
    if values and usage.length(known) > 0:
        timeline.metrics["interval"] = usage.length(known)
    timeline.notes += rates.sources(list(known.values()))
    timeline.notes += _fewer_readings(readings, site.sample)
    timeline.notes += _unmeasured(servers, unmeasured)
    if servers and missing:
        timeline.notes.append(f"not measured, the manager does not say: {', '.join(missing)}")

    is_forbidden = all(isinstance(error, NotPermitted) for error in unmeasured.values())
    if unmeasured and is_forbidden and not any(readings.values()):
        error, number = next(iter(unmeasured.values())), counted(len(servers), "server")
        return Finding(
            f"{judge.with_cause(f'{number}, not measured', 'auth')}: {error}",
            problems=("unmeasured",),
        )
    message = _message(servers, known, timeline.metrics, len(unmeasured))
    warning = unreadable or unwritable  # if it is both, it is mostly for one reason
    return Finding(
        f"{message}; {warning}" if warning else message,
        details=tuple(_table(servers, known, options.limit)),
    )


def _fewer_readings(readings: usage.Readings, sample: Sampling) -> List[str]:
    """A note where there was no time for as many readings as the site asks for."""
    taken = max((len(rows) for rows in readings.values()), default=0)
    if not taken or taken >= sample.readings:
        return []
    return [
        f"{taken} of {sample.readings} readings: more of them, {sample.interval:g} s apart, "
        "do not fit into this run's time"
    ]


def _unmeasured(servers: Sequence[Resource], unmeasured: Mapping[str, VmprobeError]) -> List[str]:
    """A note for each reason why servers were not measured, in the words for the first of them."""
    reasons: Dict[str, List[str]] = {}
    for server, error in unmeasured.items():
        reasons.setdefault(str(error).replace(server, "ID"), []).append(str(error))
    return [
        f"{len(errors)} of {len(servers)} not measured: {errors[0]}" for errors in reasons.values()
    ]


def _message(
    servers: Sequence[Resource], known: usage.Readings, values: Mapping[str, float], unmeasured: int
) -> str:
    """``3 servers over 5 min: cpu 25 %, disk_read 3 KiB/s, ...; busiest: web1 (cpu), db1
    (disk_read, disk_write)``.
    """
    if not servers:
        return "no running server matches"
    number = counted(len(servers), "server")
    number += f" ({unmeasured} not measured)" if unmeasured else ""
    shown = _shown_values(values)
    if not shown:
        has_reading = any(row for rows in known.values() for row in rows)
        first = "whose first reading this is"
        return f"{number}, {first if has_reading else 'of which there is no reading yet'}"
    names = {server.ref.id: server.ref.name or server.ref.id for server in servers}
    tops = [
        f"{names[server]} ({', '.join(metrics)})"
        for server, metrics in usage.busiest(known).items()
    ]
    busiest = f"; busiest: {', '.join(tops)}" if tops and len(servers) > 1 else ""
    # There is no interval where the manager itself has rates.
    over = f" over {span(values['interval'])}" if "interval" in values else ""
    return f"{number}{over}: {', '.join(shown)}{busiest}"


def _shown_values(values: Mapping[str, float]) -> List[str]:
    """``cpu 25 %``, ``disk_read 3 KiB/s``, ...: what was measured."""
    shown = {"cpu": "cpu_avg", **{metric: f"{metric}_total" for metric in METRICS[1:]}}
    shown.update(memory="memory_total", ready="ready_avg")
    return [
        f"{metric} {_amount(metric, values[label])}"
        for metric, label in shown.items()
        if label in values
    ]


def _table(servers: Sequence[Resource], known: usage.Readings, limit: int) -> List[str]:
    """One line for each server: its averages, the busiest CPU first."""
    if not servers:
        return []
    averages: Dict[str, Dict[str, Optional[float]]] = {
        server.ref.id: {
            metric: usage.average(metric, known[server.ref.id])
            for metric in METRICS + EXTRA_METRICS
        }
        for server in servers
    }
    extra = [
        metric
        for metric in EXTRA_METRICS
        if any(of_server[metric] is not None for of_server in averages.values())
    ]
    metrics = (*METRICS, *extra)

    def order(server: Resource) -> Tuple[float, str]:
        return -(averages[server.ref.id]["cpu"] or 0.0), server.ref.name

    rows = [(*(metric.upper() for metric in metrics), "ID", "NAME")]
    for server in sorted(servers, key=order)[:limit]:
        cells = [_cell(metric, averages[server.ref.id][metric]) for metric in metrics]
        rows.append((*cells, server.ref.id, server.ref.name))
    return table(rows) + ([f"and {len(servers) - limit} more"] if len(servers) > limit else [])


def _cell(metric: str, value: Optional[float]) -> str:
    return "-" if value is None else _amount(metric, value)


def _amount(metric: str, value: float) -> str:
    """``25 %``, ``3 KiB/s``, ``2 GiB``."""
    if metric in ("cpu", "ready"):
        return f"{number(value, 1)} %"
    return headroom.amount("memory", value) + ("" if metric == "memory" else "/s")
