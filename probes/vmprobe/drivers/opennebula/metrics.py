"""The metrics that oned keeps of a VM, as samples.

6.x stamps each reading with its own TIMESTAMP; 5.x has LAST_POLL of the VM instead.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, Optional

from vmprobe.core.model import Sample
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_COUNTERS = (
    ("disk_read", "DISKRDBYTES"),
    ("disk_write", "DISKWRBYTES"),
    ("net_in", "NETRX"),
    ("net_out", "NETTX"),
)
_KIB = 1024
_OLD_FIGURE = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_FIGURE = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,2})?")


def samples(vm: Element, reading: Optional[Element], stamped: Element) -> List[Sample]:
    """The samples of one reading; none when there is no reading.

    ``reading`` has the metrics, and its TIMESTAMP in 6.x; ``stamped`` has LAST_POLL in 5.x; ``vm``
    has the number of VCPUs.
    """
    if reading is None or not len(reading):
        return []
    at = float(number(reading, "TIMESTAMP", 0) or number(stamped, "LAST_POLL", 0))
    counters = ((metric, _figure(reading, key)) for metric, key in _COUNTERS)
    from_counters = [Sample(metric, value, at) for metric, value in counters if value is not None]
    return from_counters + _rates(vm, _figure(reading, "CPU"), _figure(reading, "MEMORY"), at)


def newest(readings: Element, vm: Element) -> List[Sample]:
    """The newest samples in the answer to ``one.vm.monitoring``.

    6.x lists MONITORING elements, 5.x the VM as it was.
    """
    if not len(readings):
        return []
    last = readings[-1]
    inner = last.find("MONITORING")
    return samples(vm, last if inner is None else inner, last)


def samples_in_vm(vm: Element) -> List[Sample]:
    """The samples that oned before 4.14 keeps in the VM itself; none before LAST_POLL is set.

    It has no metrics of disks.
    """
    at = float(number(vm, "LAST_POLL", 0))
    if not at:
        return []
    counters = (("net_in", "NET_RX", "NETRX"), ("net_out", "NET_TX", "NETTX"))
    values = ((metric, _old_figure(vm, old, new)) for metric, old, new in counters)
    from_counters = [Sample(metric, value, at) for metric, value in values if value is not None]
    cpu, memory = _old_figure(vm, "CPU", "CPU"), _old_figure(vm, "MEMORY", "MEMORY")
    return from_counters + _rates(vm, cpu, memory, at)


def _rates(vm: Element, cpu: Optional[float], memory: Optional[float], at: float) -> List[Sample]:
    """CPU and memory as oned counts them: percent of one core, and KiB."""
    samples = []
    if cpu is not None:
        vcpus = max(1, number(vm, "TEMPLATE/VCPU", 1))
        samples.append(Sample("cpu", cpu / vcpus, at, counter=False))
    if memory is not None:
        samples.append(Sample("memory", memory * _KIB, at, counter=False))
    return samples


def _figure(reading: Element, key: str) -> Optional[float]:
    """A figure that is not negative; None if there is none."""
    figure = text(reading, key, "")
    return float(figure) if _FIGURE.fullmatch(figure) else None


def _old_figure(vm: Element, old: str, new: str) -> Optional[float]:
    """A figure by its old name in the VM, else by its new one in MONITORING; or None."""
    figure = text(vm, old, "") or text(vm, f"MONITORING/{new}", "")
    return float(figure) if _OLD_FIGURE.fullmatch(figure) else None
