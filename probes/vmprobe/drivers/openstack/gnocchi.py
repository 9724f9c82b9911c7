"""Gnocchi, where an OpenStack keeps its telemetry: what Ceilometer measured of a server.

Members of the project may read it, too. Sources: Gnocchi's "REST API Usage", dynamic aggregates;
Ceilometer's gnocchi_resources.yaml and its "Measurements". The meters are counters. By default
Ceilometer reads them every five minutes, and Gnocchi keeps one mean for each granule of time.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Tuple

from vmprobe.core.errors import CloudError
from vmprobe.core.model import Ref, Sample
from vmprobe.transport.http import Http
from vmprobe.transport.json import field, items, parse_time


class ResourceType(NamedTuple):
    """A type of Gnocchi's resources."""

    name: str
    server: str  # the attribute that has the server's id
    meters: Mapping[str, str]  # our metric by Ceilometer's meter


RESOURCE_TYPES = (  # a metric that an earlier one has is not asked of a later one
    ResourceType(
        "instance",
        "id",
        {"cpu": "cpu", "disk.read.bytes": "disk_read", "disk.write.bytes": "disk_write"},
    ),
    ResourceType(
        "instance_disk",
        "instance_id",
        {"disk.device.read.bytes": "disk_read", "disk.device.write.bytes": "disk_write"},
    ),
    ResourceType(
        "instance_network_interface",
        "instance_id",
        {"network.incoming.bytes": "net_in", "network.outgoing.bytes": "net_out"},
    ),
)
_WINDOW = "-1 hour"  # by Gnocchi's own clock; what is older says nothing about now
_NO_SUCH_METRIC = (  # a 400, though not our mistake
    r"metrics not found|metric .* does not exist|resource type.* does not exist"
)
_TIME_SPAN = re.compile(r"(?:(\d{1,6}) days?, )?(\d{1,4}):(\d\d):(\d\d)(\.\d{1,9})?", re.ASCII)

Series = Dict[float, float]  # a device's counter, by when each granule begins (since the epoch)


class Measures(NamedTuple):
    """The finest measures of a meter that Gnocchi has."""

    granule: float  # its length in seconds
    devices: List[Series]


def samples(gnocchi: Http, server: Ref, wanted: Collection[str]) -> List[Sample]:
    """The two newest samples of each wanted metric that Gnocchi has.

    A server that is too young has none. ``cpu`` is in seconds of all vCPUs together: only Nova
    knows how many there are. Takes at most three requests.
    """
    found: List[Sample] = []
    for kind in RESOURCE_TYPES:
        measured = {sample.metric for sample in found}
        meters = {
            meter: metric
            for meter, metric in kind.meters.items()
            if metric in wanted and metric not in measured
        }
        if not meters:
            continue
        for meter, measures in _measures(gnocchi, kind, server, meters).items():
            unit = 1e9 if meter == "cpu" else 1.0  # CPU time is in nanoseconds
            source = f"Gnocchi, every {measures.granule:g} s"
            found += [
                Sample(meters[meter], value / unit, at, source=source)
                for at, value in _newest_sums(measures.devices)
            ]
    return found


def periods(gnocchi: Http) -> Dict[str, float]:
    """The seconds between two readings, for each metric that Gnocchi has of this project."""
    found: Dict[str, float] = {}
    for meter, metric in [pair for kind in RESOURCE_TYPES for pair in kind.meters.items()]:
        if metric in found:
            continue
        reply = gnocchi.get(
            "metric", query={"name": meter, "limit": 1}, asked=f"Gnocchi's metric {meter}"
        )
        granules = [
            _seconds(definition.get("granularity"))
            for record in reply.items()
            for definition in items(record, "archive_policy", "definition")
        ]
        if granules and min(granules) > 0:
            found[metric] = min(granules)
    return found


def _measures(
    gnocchi: Http, kind: ResourceType, server: Ref, meters: Collection[str]
) -> Dict[str, Measures]:
    """Return the measures by meter; a meter without any is left out."""
    body = {
        "operations": ["metric", *([meter, "mean"] for meter in meters)],
        "resource_type": kind.name,
        "search": {"=": {kind.server: server.id}},
    }
    reply = gnocchi.post(
        "aggregates",
        json=body,
        query={"start": _WINDOW},
        accept=(400,),
        asked=f"Gnocchi's measures of {server}",
    )
    if reply.status == 400:
        if re.search(_NO_SUCH_METRIC, reply.text, re.I):
            return {}
        raise reply.error(CloudError)
    by_meter: Dict[str, Measures] = reply.parse(lambda: _by_meter(reply.field("measures", dict)))
    return by_meter


def _by_meter(measures: Mapping[str, Any]) -> Dict[str, Measures]:
    """Parse Gnocchi's form: {resource: {meter: {"mean": [[moment, granule, value]]}}}."""
    rows: Dict[str, List[List[Tuple[float, float, float]]]] = {}  # of each device, by meter
    for resource in measures:
        for meter in field(measures, resource, dict):
            means = field(measures, resource, meter, "mean", list, default=[])
            rows.setdefault(meter, []).append(_rows(means))
    found = {}
    for meter, devices in rows.items():
        granules = [granule for device in devices for _, granule, _ in device]
        if granules:
            finest = min(granules)
            series = [
                {at: value for at, granule, value in device if granule == finest}
                for device in devices
            ]
            found[meter] = Measures(finest, series)
    return found


def _rows(means: List[object]) -> List[Tuple[float, float, float]]:
    rows = []
    for row in means:
        at, granule = parse_time(field(row, 0, str)), field(row, 1, float)
        value = field(row, 2, float)
        if at is not None and granule > 0:
            rows.append((at, granule, value))
    return rows


def _newest_sums(devices: List[Series]) -> List[Tuple[float, float]]:
    """The two newest moments, each with the sum of all devices' counters.

    A moment that lacks a device which the moment before has is not complete yet: its sum would
    drop, and then jump.
    """
    moments = sorted({at for device in devices for at in device})
    if len(moments) > 1 and any(
        moments[-2] in device and moments[-1] not in device for device in devices
    ):
        moments.pop()
    return [(at, sum(device[at] for device in devices if at in device)) for at in moments[-2:]]


def _seconds(text: object) -> float:
    """The seconds of a time span in Gnocchi's form, ``0:05:00`` or ``1 day, 0:00:00``.

    0 if it is not one.
    """
    match = _TIME_SPAN.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return 0.0
    days, hours, minutes, seconds, fraction = match.groups()
    return (
        86400.0 * int(days or 0)
        + 3600.0 * int(hours)
        + 60.0 * int(minutes)
        + int(seconds)
        + float(fraction or 0)
    )
