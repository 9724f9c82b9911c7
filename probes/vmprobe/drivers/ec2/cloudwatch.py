"""Metrics of instances from CloudWatch (CloudWatch API Reference, GetMetricData)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from vmprobe.core.model import Ref, Sample
from vmprobe.drivers.ec2.query import Parameters, Value, rows, timestamp
from vmprobe.transport.json import parse_time
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# By our name: (CloudWatch's names, whose values are added; the statistic). Average is in percent,
# Sum in bytes per period.
METRICS = {
    "cpu": (("CPUUtilization",), "Average"),
    "disk_read": (("EBSReadBytes", "DiskReadBytes"), "Sum"),
    "disk_write": (("EBSWriteBytes", "DiskWriteBytes"), "Sum"),
    "net_in": (("NetworkIn",), "Sum"),
    "net_out": (("NetworkOut",), "Sum"),
}
_PERIODS = 4  # to ask for, up to now
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")


def parameters(server: Ref, period: int, now: float) -> Parameters:
    """GetMetricData's parameters for all metrics of a server.

    ``period`` in seconds; ``now`` in seconds since the epoch.
    """
    dimensions = {"member": [{"Name": "InstanceId", "Value": server.id}]}
    queries: List[Value] = [
        {
            "Id": name.lower(),
            "MetricStat": {
                "Period": period,
                "Stat": statistic,
                "Metric": {
                    "Namespace": "AWS/EC2",
                    "MetricName": name,
                    "Dimensions": dimensions,
                },
            },
        }
        for names, statistic in METRICS.values()
        for name in names
    ]
    return {
        "MetricDataQueries": {"member": queries},
        "StartTime": timestamp(now - _PERIODS * period),
        "EndTime": timestamp(now),
        "ScanBy": "TimestampDescending",
    }


def samples(document: Element, period: int) -> List[Sample]:
    """The newest value of each metric; bytes over a period become bytes per second."""
    newest: Dict[str, Tuple[float, float]] = {}  # by CloudWatch's name: (time, value)
    for result in rows(document, "GetMetricDataResult/MetricDataResults"):
        reading = _newest(result)
        if reading:
            newest[text(result, "Id")] = reading
    found = []
    for metric, (names, statistic) in METRICS.items():
        readings = [newest[name.lower()] for name in names if name.lower() in newest]
        if readings:
            total = sum(value for _, value in readings)
            value = total / period if statistic == "Sum" else total
            found.append(Sample(metric, value, max(at for at, _ in readings), counter=False))
    return found


def _newest(result: Element) -> Optional[Tuple[float, float]]:
    """(time, value) of the newest valid reading of one metric; None if there is none."""
    times = [parse_time(text(member, ".")) for member in rows(result, "Timestamps")]
    values = [text(member, ".") for member in rows(result, "Values")]
    readings = [
        (at, float(value))
        for at, value in zip(times, values)
        if at is not None and _NUMBER.fullmatch(value)
    ]
    return max(readings, default=None)
