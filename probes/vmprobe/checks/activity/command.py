"""check_vm_activity: how busy servers were since the last run, and which was the busiest."""

from __future__ import annotations

import argparse
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from vmprobe.checks import rates, session
from vmprobe.checks.activity import usage
from vmprobe.checks.capacity import headroom
from vmprobe.checks.options import LOOK_TIME, Parser, add_patterns, patterns
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
    found = Parser("activity", DESCRIPTION, EPILOG, timeout=LOOK_TIME)
    add_patterns(found, "the busiest")
    return found


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(
        parser(),
        arguments,
        lambda site, options: session.look("activity", site, options, clock, _look, "cpu_peak"),
    )


def _look(run: Session, options: argparse.Namespace) -> Finding:
    site, cloud, timeline = run.site, run.cloud, run.timeline
    if not cloud.can(Capability.METRICS):
        raise ClientError(f"{site.endpoint['manager']} has no metrics")
    with timeline.stage("auth"):
        cloud.connect()
    with timeline.stage("list"):
        wanted = patterns(options)
        servers = [
            server
            for server in cloud.survey("", [Kind.SERVER])
            if server.state is State.READY and wanted.match(server)
        ]
    timeline.metrics["servers"] = len(servers)

    memory = usage.Memory(
        site.name,
        cloud.driver.identity,
        options.name,
        options.owner,
        options.project,
        options.image,
    )
    taken, before, trouble = memory.recall()
    with timeline.stage("metrics"):
        readings, unmeasured = usage.measure(
            cloud, servers, max(1, site.sample.readings), site.sample.interval
        )
        first = timeline.stages[-1].began - run.deadline.clock.now() + run.deadline.clock.utc()
    unkept = memory.remember(run.deadline.clock.utc(), readings)

    known = usage.since(before, first - taken, readings)
    values, missing = usage.figures(known)
    timeline.metrics.update(values)
    if values and usage.length(known) > 0:
        timeline.metrics["interval"] = usage.length(known)
    timeline.notes += rates.sources(list(known.values()))
    timeline.notes += _shortened(readings, site.sample)
    timeline.notes += [
        f"{servers_of} not measured: {reason}"
        for servers_of, reason in _reasons(servers, unmeasured)
    ]
    if servers and missing:
        timeline.notes.append(f"not measured, the manager does not say: {', '.join(missing)}")
    if (
        unmeasured
        and all(isinstance(reason, NotPermitted) for reason in unmeasured.values())
        and not any(readings.values())
    ):
        return Finding(
            f"{counted(len(servers), 'server')}, not measured (cause=auth): {next(iter(unmeasured.values()))}",
            problems=("unmeasured",),
        )
    story = _story(servers, known, timeline.metrics, len(unmeasured))
    wrong = trouble or unkept  # where both are, it is mostly for one reason
    return Finding(
        f"{story}; {wrong}" if wrong else story,
        details=tuple(_table(servers, known, options.limit)),
    )


def _shortened(readings: usage.Readings, sample: Sampling) -> List[str]:
    """That fewer readings were taken than the site asks for, because more would have taken longer than the run may."""
    taken = max((len(rows) for rows in readings.values()), default=0)
    if not taken or taken >= sample.readings:
        return []
    return [
        f"{taken} of {sample.readings} readings: more of them, {sample.interval:g} s apart, do not fit into this run's time"
    ]


def _reasons(
    servers: Sequence[Resource], unmeasured: Mapping[str, VmprobeError]
) -> List[Tuple[str, str]]:
    """How many servers were not measured, with the reason; each reason once, in the words for the first server it had."""
    found: Dict[str, List[str]] = {}
    for server, error in unmeasured.items():
        found.setdefault(str(error).replace(server, "ID"), []).append(str(error))
    return [(f"{len(those)} of {len(servers)}", those[0]) for those in found.values()]


def _story(
    servers: Sequence[Resource], known: usage.Readings, values: Mapping[str, float], unmeasured: int
) -> str:
    """``3 servers over 5 min: cpu 25 %, disk_read 3 KiB/s, ...; busiest: web1 (cpu), db1 (disk_read, disk_write)``."""
    if not servers:
        return "no server runs that is meant"
    many = counted(len(servers), "server") + (f" ({unmeasured} not measured)" if unmeasured else "")
    shown = _figures(values)
    if not shown:
        reading = (
            "whose first reading this is"
            if any(row for rows in known.values() for row in rows)
            else "of which there is no reading yet"
        )
        return f"{many}, {reading}"
    names = {server.ref.id: server.ref.name or server.ref.id for server in servers}
    tops = [
        f"{names[server]} ({', '.join(metrics)})"
        for server, metrics in usage.busiest(known).items()
    ]
    busy = f"; busiest: {', '.join(tops)}" if tops and len(servers) > 1 else ""
    over = (
        f" over {span(values['interval'])}" if "interval" in values else ""
    )  # a rate needs no second reading
    return f"{many}{over}: {', '.join(shown)}{busy}"


def _figures(values: Mapping[str, float]) -> List[str]:
    """``cpu 25 %``, ``disk_read 3 KiB/s``, ... of what was measured."""
    shown = [f"cpu {number(values['cpu_avg'], 1)} %"] if "cpu_avg" in values else []
    shown += [
        f"{metric} {_bytes(values[f'{metric}_total'])}"
        for metric in METRICS[1:]
        if f"{metric}_total" in values
    ]
    shown += (
        [f"memory {headroom.amount('memory', values['memory_total'])}"]
        if "memory_total" in values
        else []
    )
    return shown + ([f"ready {number(values['ready_avg'], 1)} %"] if "ready_avg" in values else [])


def _table(servers: Sequence[Resource], known: usage.Readings, limit: int) -> List[str]:
    """One line for each server: its averages, the busiest CPU first."""
    if not servers:
        return []
    each: Dict[str, Dict[str, Optional[float]]] = {
        server.ref.id: {
            metric: usage.average(metric, known[server.ref.id])
            for metric in METRICS + EXTRA_METRICS
        }
        for server in servers
    }
    metrics = METRICS + tuple(
        metric
        for metric in EXTRA_METRICS
        if any(found[metric] is not None for found in each.values())
    )
    order = sorted(
        servers, key=lambda server: (-(each[server.ref.id]["cpu"] or 0.0), server.ref.name)
    )
    rows = [tuple(metric.upper() for metric in metrics) + ("ID", "NAME")]
    for server in order[:limit]:
        found = each[server.ref.id]
        rows.append(
            (*(_shown(metric, found[metric]) for metric in metrics), server.ref.id, server.ref.name)
        )
    return table(rows) + ([f"and {len(order) - limit} more"] if len(order) > limit else [])


def _shown(metric: str, value: Optional[float]) -> str:
    if value is None:
        return "-"
    if metric in ("cpu", "ready"):
        return f"{number(value, 1)} %"
    return headroom.amount("memory", value) if metric == "memory" else _bytes(value)


def _bytes(rate: float) -> str:
    return headroom.amount("memory", rate) + "/s"
