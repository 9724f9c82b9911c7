"""How busy servers were since the last run: the manager's counters, as rates over the time between
two runs.

A run takes a few readings. The average covers all the time since the last reading of the run
before; the peak is the highest rate of any one server between two consecutive readings.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from vmprobe.checks.rates import rates, summarise
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    DeadlinePassed,
    NotFound,
    NotMeasured,
    NotPermitted,
    Transient,
    VmprobeError,
)
from vmprobe.core.model import EXTRA_METRICS, METRICS, Ref, Resource, Sample
from vmprobe.core.redact import current
from vmprobe.host import files, paths

Readings = Dict[str, List[List[Sample]]]  # by the server's id, in order of time
Latest = Dict[str, List[Sample]]  # by the server's id, its latest reading

_SHARE = 0.8  # of the time that is left: a further reading may take so much
_SLOW = 5.0  # seconds after which a server that failed is not asked again
# The manager is well, and does not measure this server, or not now.
_UNMEASURED = (NotMeasured, NotPermitted, Conflict)
# So many seconds, and a tenth of the time between two readings, the manager's clock may deviate
# from ours.
_LARGEST_DEVIATION = 300.0


class Memory:
    """The latest readings of one service, in a file: by site, endpoint, and which servers it
    selects.
    """

    def __init__(self, site: str, *selection: str):
        about = "\0".join(selection).encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(about).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9._-]", "_", site)
        self.path = os.path.join(paths.state_directory(), "activity", f"{name}-{digest}.json")

    def recall(self) -> Tuple[float, Latest, str]:
        """(when they were taken, the readings, what is wrong with the file or '')."""
        nothing: Tuple[float, Latest] = (0.0, {})
        (taken, readings), warning = files.load_json(self.path, _parse, nothing)
        return taken, readings, warning

    def remember(self, taken: float, readings: Readings) -> str:
        """Keep each server's latest reading; returns why that failed, '' if it did not."""
        latest = {
            current().redact_id(server): [list(sample) for sample in rows[-1]]
            for server, rows in readings.items()
            if rows
        }
        try:
            files.save_json(self.path, {"taken": taken, "servers": latest})
        except (OSError, ValueError) as error:
            return f"{self.path} cannot be written: {getattr(error, 'strerror', None) or error}"
        return ""


def _parse(document: Any) -> Tuple[float, Latest]:
    """Parse the file's content; raises on anything unexpected."""
    servers = {
        str(server): [_sample(*row) for row in rows] for server, rows in document["servers"].items()
    }
    return _number(document["taken"]), servers


def _sample(metric: Any, value: Any, at: Any, counter: Any, source: Any = "") -> Sample:
    known = metric in METRICS + EXTRA_METRICS
    if not known or counter not in (True, False) or not isinstance(source, str):
        raise ValueError("not a sample")
    return Sample(metric, _number(value), _number(at), counter, source)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or isinstance(value, (str, bool)):
        raise ValueError("not a number")
    return number


# --- readings -------------------------------------------------------------------------------------


def measure(
    cloud: Cloud, servers: Sequence[Resource], count: int, interval: float
) -> Tuple[Readings, Dict[str, VmprobeError]]:
    """(up to ``count`` readings of each server, ``interval`` seconds apart; by server, why it has
    none).

    There is always a first reading, and only as many more as the time that is left allows. A server
    that fails is not asked again, and does not keep the others from being measured; one that is
    gone meanwhile is left out. Raises only when no server could be measured and the manager failed,
    or when the time was over before the first reading.
    """
    readings: Readings = {server.ref.id: [] for server in servers}
    failed: Dict[str, VmprobeError] = {}
    late: Optional[DeadlinePassed] = None
    longest = 0.0  # seconds that one reading of all servers took
    clock = cloud.deadline.clock
    for number in range(count if servers else 0):
        if number and interval + longest > _SHARE * cloud.deadline.left():
            break
        began = clock.now()
        try:
            if number:
                cloud.deadline.sleep(interval)
            _read_all(cloud, servers, readings, failed)
        except DeadlinePassed as error:
            late = error
            for server, rows in readings.items():
                if not rows:
                    failed.setdefault(server, error)
        longest = max(longest, clock.now() - began - (interval if number else 0.0))

    if not any(readings.values()):
        failures = [error for error in failed.values() if not isinstance(error, _UNMEASURED)]
        if late is not None and failures and str(failures[0]) not in str(late):
            raise DeadlinePassed(f"{failures[0]}; {late}", failures[0].cause)
        if failures:
            raise late or failures[0]
    return readings, {server: error for server, error in failed.items() if not readings[server]}


def _read_all(
    cloud: Cloud, servers: Sequence[Resource], readings: Readings, failed: Dict[str, VmprobeError]
) -> None:
    """Add one reading of each server to ``readings``, or the reason why there is none to
    ``failed``.

    Each server is first asked once, so that one that does not answer leaves time for the others.
    Those whose failure may pass are then asked again; those that were slow to fail only if no
    server at all has a reading.
    """
    clock = cloud.deadline.clock
    again: List[Resource] = []
    slow: List[Resource] = []
    for server in servers:
        if not isinstance(failed.get(server.ref.id), (NotMeasured, type(None))):
            continue
        cloud.deadline.check()
        began = clock.now()
        if _read(server.ref, cloud.metrics_once, readings, failed):
            (slow if clock.now() - began > _SLOW else again).append(server)
    for server in again + ([] if any(readings.values()) else slow):
        _read(server.ref, cloud.metrics, readings, failed)


def _read(
    server: Ref,
    request: Callable[[Ref], List[Sample]],
    readings: Readings,
    failed: Dict[str, VmprobeError],
) -> bool:
    """Add one reading; returns whether it failed in a way that may pass at once."""
    try:
        readings[server.id].append(request(server))
    except AuthRejected:
        raise
    except NotFound as error:
        if isinstance(error, NotMeasured):  # otherwise the server is gone
            failed[server.id] = error
        return False
    except CloudError as error:
        failed[server.id] = error
        return isinstance(error, Transient) and not isinstance(error, Conflict)
    failed.pop(server.id, None)
    return False


def since(before: Latest, elapsed: float, readings: Readings) -> Readings:
    """The readings, with the last one of the run before in front, ``elapsed`` seconds ago.

    Not where the clock behind the time stamps was set, or restarted with its host, between the two.
    """
    result: Readings = {}
    for server, rows in readings.items():
        last = before.get(server, [])
        fits = False
        if last and rows and rows[0] and elapsed > 0:
            deviation = abs(rows[0][0].at - last[0].at - elapsed)
            fits = deviation <= _LARGEST_DEVIATION + 0.1 * elapsed
        result[server] = ([last] if fits else []) + rows
    return result


# --- what they say --------------------------------------------------------------------------------


def length(readings: Readings) -> float:
    """Seconds from the first to the last reading, of the server for which that is longest."""
    spans = [0.0]
    for rows in readings.values():
        moments = [sample.at for row in rows for sample in row]
        spans += [max(moments) - min(moments)] if moments else []
    return max(spans)


def values(readings: Readings) -> Tuple[Dict[str, float], List[str]]:
    """(values by perfdata label, metrics that nobody measured): average, peak, and the total of
    bytes.
    """
    result, missing = summarise(list(readings.values()))
    for metric in (*METRICS[1:], "memory"):
        averages = [average(metric, rows) for rows in readings.values()]
        known = [rate for rate in averages if rate is not None]
        if known:
            result[f"{metric}_total"] = sum(known)
    return result, missing


def average(metric: str, rows: Sequence[Sequence[Sample]]) -> Optional[float]:
    """One server's rate of a metric over all its readings; None where it was not measured."""
    spans = rates(metric, rows)
    length = sum(seconds for _, seconds in spans)
    return sum(rate * seconds for rate, seconds in spans) / length if length > 0 else None


def busiest(readings: Readings) -> Dict[str, List[str]]:
    """Return the metrics in which each server had the highest average; a server that was never
    first is left out.
    """
    result: Dict[str, List[str]] = {}
    for metric in METRICS:
        averages = {server: average(metric, rows) or 0.0 for server, rows in readings.items()}
        top = max(sorted(averages), key=lambda server: averages[server], default=None)
        if top is not None and averages[top] > 0:
            result.setdefault(top, []).append(metric)
    return result
