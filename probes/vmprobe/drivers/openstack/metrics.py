"""What a server uses: by Nova's diagnostics, and what these lack by Gnocchi, where there is one.

Nova's diagnostics are of this very moment, but policy mostly reserves them for administrators.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Sequence

from vmprobe.core.clock import Clock
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    GatewayFailed,
    NotMeasured,
    NotPermitted,
    Unreachable,
)
from vmprobe.core.model import METRICS, Ref, Sample
from vmprobe.drivers.openstack.readings import Record
from vmprobe.drivers.openstack.servers import Servers
from vmprobe.drivers.openstack.services import COMMON_DIAGNOSTICS, Services
from vmprobe.transport.http import path
from vmprobe.transport.json import field, items

_GNOCCHI_FAILURES = 3  # after failures for so many servers Gnocchi is not asked again
_NS = 1e9  # nanoseconds in a second: the unit of CPU times


class Metrics:
    """The samples of servers.

    Remembers for which of them Gnocchi failed: these are not asked for again.
    """

    def __init__(self, services: Services, servers: Servers, clock: Clock):
        self._services, self._servers, self._clock = services, servers, clock
        self._failures: Dict[str, str] = {}  # Gnocchi's, by server
        self._gnocchi_failure = ""  # why Gnocchi is not asked at all any more

    def of(self, server: Ref) -> List[Sample]:
        """The newest samples of METRICS.

        NotPermitted where policy forbids them; NotMeasured where there are none yet.
        """
        has_gnocchi = self._services.has_gnocchi()
        refusal, samples = "", []
        try:
            samples = self._by_nova(server)
        except (NotPermitted, NotMeasured) as refused:
            if not has_gnocchi:
                raise
            refusal = str(refused)
        measured = {sample.metric for sample in samples}
        missing = [metric for metric in METRICS if metric not in measured]
        if missing and has_gnocchi:
            samples += self._by_gnocchi(server, missing)
        if refusal and not samples and self._failure(server):
            raise NotPermitted(f"{refusal}; {self._failure(server)}")
        if refusal and not samples:
            raise NotMeasured(f"{refusal}; Gnocchi has no measures of it yet")
        return samples

    def _by_nova(self, server: Ref) -> List[Sample]:
        """Nova's diagnostics; [] where the hypervisor has none.

        NotMeasured for a server that is not running (409), and for one that its hypervisor does
        not know well enough (500).
        """
        reply = self._services.nova().get(
            path("servers", server.id, "diagnostics"),
            accept=(409, 500, 501),
            asked=f"diagnostics of {server}",
        )
        if reply.status == 501:
            return []
        if reply.status == 500 and b"computeFault" not in reply.body:
            raise reply.error(GatewayFailed)
        if reply.status in (409, 500):
            raise reply.error(NotMeasured)
        record = reply.field(dict)
        is_common = self._services.nova_version() >= COMMON_DIAGNOSTICS
        counters = _common_counters(record) if is_common else _libvirt_counters(record)
        now = self._clock.now()
        return [
            Sample(metric, value, now, source="Nova's diagnostics")
            for metric, value in counters.items()
            if value is not None
        ]

    def _by_gnocchi(self, server: Ref, wanted: Sequence[str]) -> List[Sample]:
        """Gnocchi's samples; [] if it fails: that is no failure of the cloud that it watches.

        A failure for one server says nothing about the others; after failures for
        _GNOCCHI_FAILURES servers Gnocchi itself is broken.
        """
        from vmprobe.drivers.openstack import gnocchi

        if self._failure(server):
            return []
        try:
            samples = gnocchi.samples(self._services.gnocchi(), server, wanted)
        except (Unreachable, NotPermitted, AuthRejected) as failed:
            self._gnocchi_failure = str(failed)
            return []
        except CloudError as failed:
            self._failures[server.id] = str(failed)
            if len(self._failures) >= _GNOCCHI_FAILURES:
                self._gnocchi_failure = str(failed)
            return []
        return self._per_vcpu(server, samples)

    def _per_vcpu(self, server: Ref, samples: List[Sample]) -> List[Sample]:
        """CPU times, which Gnocchi has for all vCPUs together, for one vCPU.

        Left out if Nova does not count them.
        """
        is_cpu = any(sample.metric == "cpu" for sample in samples)
        vcpus = self._servers.show(server).vcpus if is_cpu else None
        if not vcpus:
            return [sample for sample in samples if sample.metric != "cpu"]
        return [
            sample._replace(value=sample.value / vcpus) if sample.metric == "cpu" else sample
            for sample in samples
        ]

    def _failure(self, server: Ref) -> str:
        return self._gnocchi_failure or self._failures.get(server.id, "")


def _common_counters(record: Record) -> Dict[str, Optional[float]]:
    """Nova's diagnostics since 2.48, in the form that all hypervisors share.

    None is what one does not say.
    """
    cpu = [
        field(entry, "time", float, default=None)
        for entry in items(record, "cpu_details", default=[])
    ]
    counters = {"cpu": _sum(cpu, _NS * max(1, len(cpu)))}
    for metric, details, key in (
        ("disk_read", "disk_details", "read_bytes"),
        ("disk_write", "disk_details", "write_bytes"),
        ("net_in", "nic_details", "rx_octets"),
        ("net_out", "nic_details", "tx_octets"),
    ):
        devices = items(record, details, default=[])
        counters[metric] = _sum([field(device, key, float, default=None) for device in devices])
    return counters


def _libvirt_counters(record: Record) -> Dict[str, Optional[float]]:
    """Nova's diagnostics before 2.48, in libvirt's form: cpu0_time, vda_read, tap1_rx, ..."""

    def values(pattern: str) -> List[Optional[float]]:
        keys = [key for key in record if re.fullmatch(pattern, key)]
        return [field(record, key, float, default=None) for key in keys]

    cpu = values(r"cpu\d+_time")
    return {
        "cpu": _sum(cpu, _NS * max(1, len(cpu))),
        "disk_read": _sum(values(r"(?!tap).+_read")),
        "disk_write": _sum(values(r"(?!tap).+_write")),
        "net_in": _sum(values(r".+_rx")),
        "net_out": _sum(values(r".+_tx")),
    }


def _sum(values: Sequence[Optional[float]], divisor: float = 1.0) -> Optional[float]:
    """The sum of the values that are there and not negative, divided; None if there is none."""
    known = [value for value in values if value is not None and value >= 0]
    return sum(known) / divisor if known else None
