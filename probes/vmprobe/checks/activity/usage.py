"""How busy servers were since somebody looked last: what the manager counts, as rates over the time between two runs.

A run takes a few readings. The average is over all the time since the last reading of the run before; the peak is the
highest rate between any two readings that follow each other, of any one server.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

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
_SHARE = 0.8  # of the time that is left, for one more reading
_SLOW = 5.0  # seconds after which a server that failed is not asked again
_UNMEASURED = (
    NotMeasured,
    NotPermitted,
    Conflict,
)  # the manager is well, and does not measure this server (now)
_JUMP = 300.0  # seconds by which the clock of the stamps may run apart from ours, and a tenth of the time between


class Memory:
    """The last readings of one service, on disk: by site, endpoint, and which servers it looks at."""

    def __init__(self, site: str, *about: str):
        word = hashlib.sha256("\0".join(about).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        name = re.sub(r"[^A-Za-z0-9._-]", "_", site)
        self.path = os.path.join(paths.state_directory(), "activity", f"{name}-{word}.json")

    def recall(self) -> Tuple[float, Dict[str, List[Sample]], str]:
        """(when it was, readings by server, what was wrong with the file)."""
        (taken, readings), trouble = files.load_json(self.path, _parsed, (0.0, {}))
        return taken, readings, trouble

    def remember(self, taken: float, readings: Readings) -> str:
        """Keep each server's last reading; returns why that could not be, '' if it could."""
        newest = {
            server: [list(sample) for sample in rows[-1]]
            for server, rows in readings.items()
            if rows
        }
        try:
            files.save_json(
                self.path,
                {
                    "taken": taken,
                    "servers": {
                        current().redact_id(server): kept for server, kept in newest.items()
                    },
                },
            )
        except (OSError, ValueError) as failed:
            return f"{self.path} cannot be written: {getattr(failed, 'strerror', None) or failed}"
        return ""


def measure(
    cloud: Cloud, servers: Sequence[Resource], count: int, interval: float
) -> Tuple[Readings, Dict[str, VmprobeError]]:
    """Up to ``count`` readings of each server, ``interval`` seconds apart, and why some servers have none.

    Only as many are taken as the time that is left allows, but always the first. A server that fails is not asked again, and
    does not keep the others from being measured; one that is gone meanwhile is passed over. Raises only when no server could
    be measured and the manager failed, or the time was over before the first reading.
    """
    found: Readings = {server.ref.id: [] for server in servers}
    failed: Dict[str, VmprobeError] = {}
    late: Optional[DeadlinePassed] = None
    took = 0.0
    for number in range(count if servers else 0):
        if number and interval + took > _SHARE * cloud.deadline.left():
            break
        began = cloud.deadline.clock.now()
        try:
            if number:
                cloud.deadline.sleep(interval)
            _read_all(cloud, servers, found, failed)
        except DeadlinePassed as passed:
            late = passed
            failed.update(
                (server, passed)
                for server, readings in found.items()
                if not readings and server not in failed
            )
        took = max(took, cloud.deadline.clock.now() - began - (interval if number else 0.0))

    if not any(found.values()):
        blamed = [error for error in failed.values() if not isinstance(error, _UNMEASURED)]
        if late is not None and blamed and str(blamed[0]) not in str(late):
            raise DeadlinePassed(f"{blamed[0]}; {late}", blamed[0].cause)
        if blamed:
            raise late or blamed[0]
    return found, {server: error for server, error in failed.items() if not found[server]}


def _read_all(
    cloud: Cloud, servers: Sequence[Resource], found: Readings, failed: Dict[str, VmprobeError]
) -> None:
    """Add one reading of each server to ``found``, or the reason why there is none to ``failed``.

    Each is asked once first, so that one whose figures do not come leaves the others their time; what failed and may pass is
    then asked for again, but what took long only where there is nothing else to tell.
    """
    clock, again, slow = cloud.deadline.clock, [], []
    for server in servers:
        if not isinstance(failed.get(server.ref.id), (NotMeasured, type(None))):
            continue
        cloud.deadline.check()
        began = clock.now()
        if _read(server.ref, cloud.metrics_once, found, failed):
            (slow if clock.now() - began > _SLOW else again).append(server)
    for server in again + ([] if any(found.values()) else slow):
        _read(server.ref, cloud.metrics, found, failed)


def _read(
    server: Ref,
    ask: Callable[[Ref], List[Sample]],
    found: Readings,
    failed: Dict[str, VmprobeError],
) -> bool:
    """Add one reading; returns whether it failed in a way that may pass at once."""
    try:
        found[server.id].append(ask(server))
    except AuthRejected:
        raise
    except NotFound as reason:
        if isinstance(reason, NotMeasured):  # otherwise it is gone
            failed[server.id] = reason
        return False
    except CloudError as reason:
        failed[server.id] = reason
        return isinstance(reason, Transient) and not isinstance(reason, Conflict)
    failed.pop(server.id, None)
    return False


def since(before: Mapping[str, List[Sample]], elapsed: float, readings: Readings) -> Readings:
    """Each server's readings with the last one of the run before, ``elapsed`` seconds ago, in front of them.

    Not where the clock that stamps them was set, or began anew with its host, between the two.
    """
    found: Readings = {}
    for server, rows in readings.items():
        last = before.get(server, [])
        fits = (
            bool(last and rows and rows[0])
            and 0 < elapsed
            and abs(rows[0][0].at - last[0].at - elapsed) <= _JUMP + 0.1 * elapsed
        )
        found[server] = ([last] if fits else []) + rows
    return found


def length(readings: Readings) -> float:
    """The seconds from the first reading of a server to its last one, of the server for which that is the longest."""
    spans = [0.0]
    for rows in readings.values():
        moments = [sample.at for row in rows for sample in row]
        spans += [max(moments) - min(moments)] if moments else []
    return max(spans)


def figures(readings: Readings) -> Tuple[Dict[str, float], List[str]]:
    """Values by perfdata label and the metrics that nobody measured: average, peak, and of bytes the total per second."""
    found, missing = summarise(list(readings.values()))
    for metric in (*METRICS[1:], "memory"):
        each = [
            rate
            for rate in (average(metric, rows) for rows in readings.values())
            if rate is not None
        ]
        if each:
            found[f"{metric}_total"] = sum(each)
    return found, missing


def average(metric: str, rows: Sequence[Sequence[Sample]]) -> Any:
    """One server's rate of a metric over all its readings; None where it was not measured."""
    spans = rates(metric, rows)
    length = sum(seconds for _, seconds in spans)
    return sum(rate * seconds for rate, seconds in spans) / length if length > 0 else None


def busiest(readings: Readings) -> Dict[str, List[str]]:
    """Which server had the highest average, by server: the metrics in which it was the first. Idle ones are none."""
    found: Dict[str, List[str]] = {}
    for metric in METRICS:
        each = {server: average(metric, rows) or 0.0 for server, rows in readings.items()}
        top = max(sorted(each), key=lambda server: each[server], default=None)
        if top is not None and each[top] > 0:
            found.setdefault(top, []).append(metric)
    return found


def _parsed(document: Any) -> Tuple[float, Dict[str, List[Sample]]]:
    """The file's content; anything that is not exactly that raises."""
    servers = {
        str(server): [_sample(*row) for row in rows] for server, rows in document["servers"].items()
    }
    return _number(document["taken"]), servers


def _sample(metric: Any, value: Any, at: Any, counter: Any, source: Any = "") -> Sample:
    if (
        metric not in METRICS + EXTRA_METRICS
        or counter not in (True, False)
        or not isinstance(source, str)
    ):
        raise ValueError("no sample")
    return Sample(metric, _number(value), _number(at), counter, source)


def _number(thing: Any) -> float:
    found = float(thing)
    if not math.isfinite(found) or isinstance(thing, (str, bool)):
        raise ValueError("no number")
    return found
