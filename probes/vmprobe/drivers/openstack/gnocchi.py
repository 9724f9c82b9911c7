"""Gnocchi, where an OpenStack keeps its telemetry: what Ceilometer measured of a server, also for who is no administrator.

Sources: Gnocchi's "REST API Usage", dynamic aggregates; Ceilometer's gnocchi_resources.yaml and its "Measurements". The
meters are counters; Ceilometer as it comes reads them each five minutes, and Gnocchi keeps one mean for each granule of time.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, List, Mapping, Tuple

from vmprobe.core.errors import CloudError
from vmprobe.core.model import Ref, Sample
from vmprobe.transport.http import Http
from vmprobe.transport.json import field, items, parse_time

METERS = (  # type of resource, its attribute that is the server's id, meters; what an earlier one has is not asked of a later
    (
        "instance",
        "id",
        {"cpu": "cpu", "disk.read.bytes": "disk_read", "disk.write.bytes": "disk_write"},
    ),
    (
        "instance_disk",
        "instance_id",
        {"disk.device.read.bytes": "disk_read", "disk.device.write.bytes": "disk_write"},
    ),
    (
        "instance_network_interface",
        "instance_id",
        {"network.incoming.bytes": "net_in", "network.outgoing.bytes": "net_out"},
    ),
)
_WINDOW = "-1 hour"  # by Gnocchi's own clock; what is older says nothing of now
_NOTHING = r"metrics not found|metric .* does not exist|resource type.* does not exist"  # a 400, and no mistake of ours
_SPAN = re.compile(r"(?:(\d{1,6}) days?, )?(\d{1,4}):(\d\d):(\d\d)(\.\d{1,9})?", re.ASCII)

Series = Dict[float, float]  # one device's counter, by the beginning of each granule


def samples(gnocchi: Http, server: Ref, wanted: Collection[str]) -> List[Sample]:
    """The two newest readings of each metric that is wanted and that Gnocchi has; none of a server that is too young.

    ``cpu`` is that of all vCPUs together: how many there are is Nova's to say. At most three requests.
    """
    found: List[Sample] = []
    for kind, attribute, meters in METERS:
        missing = {
            meter: metric
            for meter, metric in meters.items()
            if metric in wanted and metric not in {sample.metric for sample in found}
        }
        for meter, (granule, devices) in (
            _newest(gnocchi, kind, attribute, server, missing).items() if missing else ()
        ):
            unit = 1e9 if meter == "cpu" else 1.0
            found += [
                Sample(missing[meter], value / unit, at, source=f"Gnocchi, every {granule:g} s")
                for at, value in _sums(devices)
            ]
    return found


def periods(gnocchi: Http) -> Dict[str, float]:
    """How often Gnocchi keeps a reading, in seconds, of each metric that it has for this project."""
    found: Dict[str, float] = {}
    for meter, metric in [pair for _, _, meters in METERS for pair in meters.items()]:
        if metric not in found:
            metrics = gnocchi.get(
                "metric", query={"name": meter, "limit": 1}, asked=f"Gnocchi's metric {meter}"
            ).items()
            spans = [
                _seconds(span.get("granularity"))
                for one in metrics
                for span in items(one, "archive_policy", "definition")
            ]
            found.update({metric: min(spans)} if spans and min(spans) > 0 else {})
    return found


def _newest(
    gnocchi: Http, kind: str, attribute: str, server: Ref, meters: Collection[str]
) -> Dict[str, Tuple[float, List[Series]]]:
    """By meter the finest granule that there is, in seconds, and the series of each device."""
    wanted = {
        "operations": ["metric", *([meter, "mean"] for meter in meters)],
        "resource_type": kind,
        "search": {"=": {attribute: server.id}},
    }
    reply = gnocchi.post(
        "aggregates",
        json=wanted,
        query={"start": _WINDOW},
        accept=(400,),
        asked=f"Gnocchi's measures of {server}",
    )
    if reply.status == 400:
        if re.search(_NOTHING, reply.text, re.I):
            return {}
        raise reply.error(CloudError)
    return reply.parse(lambda: _by_meter(reply.field("measures", dict)))


def _by_meter(measures: Mapping[str, Any]) -> Dict[str, Tuple[float, List[Series]]]:
    found: Dict[str, Tuple[float, List[Series]]] = {}
    rows: Dict[str, Dict[str, List[Tuple[float, float, float]]]] = {}
    for resource in measures:
        for meter in field(measures, resource, dict):
            means = field(measures, resource, meter, "mean", list, default=[])
            read = [
                (parse_time(field(row, 0, str)), field(row, 1, float), field(row, 2, float))
                for row in means
            ]
            rows.setdefault(meter, {})[resource] = [
                row for row in read if row[0] is not None and row[1] > 0
            ]
    for meter, devices in rows.items():
        granules = [granule for device in devices.values() for _, granule, _ in device]
        if granules:
            found[meter] = (
                min(granules),
                [
                    {at: value for at, granule, value in device if granule == min(granules)}
                    for device in devices.values()
                ],
            )
    return found


def _sums(devices: List[Series]) -> List[Tuple[float, float]]:
    """The two newest moments with what all devices together had counted then.

    A moment that lacks a device which the one before has is not whole yet: its sum would fall, and then jump.
    """
    moments = sorted({at for device in devices for at in device})
    if len(moments) > 1 and any(
        moments[-2] in device and moments[-1] not in device for device in devices
    ):
        moments.pop()
    return [(at, sum(device[at] for device in devices if at in device)) for at in moments[-2:]]


def _seconds(span: Any) -> float:
    """Of a time span as Gnocchi writes it, ``0:05:00`` or ``1 day, 0:00:00``; 0 when it is none."""
    match = _SPAN.fullmatch(span) if isinstance(span, str) else None
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
