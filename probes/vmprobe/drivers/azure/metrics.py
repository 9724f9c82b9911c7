"""Azure Monitor's platform metrics of a server (Microsoft.Insights, metrics)."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

from vmprobe.core.errors import NotMeasured
from vmprobe.core.model import Ref, Sample
from vmprobe.transport.http import Reply
from vmprobe.transport.json import field, items, parse_time

# By our name: (Azure's name, the aggregation). Average is in percent, Total in bytes per minute.
METRICS: Mapping[str, Tuple[str, str]] = {
    "cpu": ("Percentage CPU", "average"),
    "disk_read": ("Disk Read Bytes", "total"),
    "disk_write": ("Disk Write Bytes", "total"),
    "net_in": ("Network In Total", "total"),
    "net_out": ("Network Out Total", "total"),
}
PERIOD = 60.0  # seconds between two readings
_ASKED = 15 * 60  # seconds up to now


def query(now: float) -> Dict[str, str]:
    """The parameters of the request for all metrics; ``now`` in seconds since the epoch."""
    return {
        "timespan": f"{_iso(now - _ASKED)}/{_iso(now)}",
        "interval": "PT1M",
        "metricnames": ",".join(name for name, _ in METRICS.values()),
        "aggregation": "Average,Total",
    }


def samples(reply: Reply, server: Ref) -> List[Sample]:
    """The newest reading of each metric. NotMeasured where there is none, as in a new server's
    first minutes: a point without a reading has a time and nothing else.
    """
    return reply.parse(lambda: _samples(reply.json(), server))


def _samples(document: Any, server: Ref) -> List[Sample]:
    newest: Dict[str, Tuple[float, float]] = {}
    for metric in items(document, "value"):
        name = field(metric, "name", "value", str)
        ours = next((our for our, (theirs, _) in METRICS.items() if theirs == name), None)
        if ours is None:
            continue
        readings = [
            reading
            for series in items(metric, "timeseries", default=[])
            for point in items(series, "data", default=[])
            if (reading := _reading(point, METRICS[ours][1])) is not None
        ]
        if readings:
            newest[ours] = max(readings)
    if not newest:
        raise NotMeasured(f"Azure Monitor has no reading of {server} yet")
    return [
        Sample(name, value if name == "cpu" else value / PERIOD, at, counter=False)
        for name, (at, value) in newest.items()
    ]


def _reading(point: Any, aggregation: str) -> Optional[Tuple[float, float]]:
    at = parse_time(field(point, "timeStamp", str, default=""))
    value = field(point, aggregation, float, default=None)
    return None if at is None or value is None or value < 0 else (at, value)


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
