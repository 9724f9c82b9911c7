"""Performance counters of a machine: the 20-second samples of its host.

Source: vSphere Web Services API reference, PerformanceManager and its tables of counters. A vCenter
gives the oldest sample first, and -1 where there was none to take.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core.errors import NotMeasured
from vmprobe.core.model import Ref, Sample
from vmprobe.drivers.vsphere.properties import Collector
from vmprobe.drivers.vsphere.session import Session
from vmprobe.drivers.vsphere.soap import Data, Moref, Value
from vmprobe.transport.json import parse_time

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PERIOD = 20  # seconds
_SAMPLES = 3  # to ask for: the newest may not be there for each counter yet


class Counter(NamedTuple):
    """A counter by vSphere's name, and what turns its value into ours."""

    name: str
    instance: str  # "" is the machine as a whole; "*" each of its disks, which are added
    factor: float


# By our metric: the counters to look at, the first that has samples counts.
COUNTERS = {
    "cpu": (Counter("cpu.usage.average", "", 0.01),),  # hundredths of a per cent
    "ready": (Counter("cpu.ready.summation", "", 1.0),),  # ms in the period, of all vCPUs
    "disk_read": (
        Counter("virtualDisk.read.average", "*", 1024.0),
        Counter("disk.read.average", "", 1024.0),
    ),
    "disk_write": (
        Counter("virtualDisk.write.average", "*", 1024.0),
        Counter("disk.write.average", "", 1024.0),
    ),
    "net_in": (Counter("net.received.average", "", 1024.0),),
    "net_out": (Counter("net.transmitted.average", "", 1024.0),),
    "memory": (Counter("mem.active.average", "", 1024.0),),
}


class Metrics:
    """The counters of one server of vSphere; their numbers differ from one vCenter to the next."""

    def __init__(self, session: Session, collector: Collector):
        self.session, self.collector = session, collector
        self._numbers: Dict[str, int] = {}  # by name of the counter

    def forget(self) -> None:
        self._numbers.clear()

    def newest(self, server: Ref, machine: Moref, vcpus: Optional[int]) -> List[Sample]:
        """The newest sample of each metric. NotMeasured where the host has none yet."""
        asked = f"metrics of {server}"
        numbers = self._known(asked)
        wanted = [
            counter
            for counters in COUNTERS.values()
            for counter in counters
            if counter.name in numbers
        ]
        ids: List[Value] = [
            Data({"counterId": numbers[counter.name], "instance": counter.instance})
            for counter in wanted
        ]
        spec = Data(
            {
                "entity": machine,
                "maxSample": _SAMPLES,
                "metricId": ids,
                "intervalId": PERIOD,
                "format": "normal",
            }
        )
        manager = self.session.manager("perfManager")
        answer = self.session.call("QueryPerf", manager, {"querySpec": spec}, asked)
        series = _series(answer)
        found = [
            sample
            for metric, counters in COUNTERS.items()
            for sample in _newest(metric, counters, numbers, series, vcpus)
        ]
        if not found:
            raise NotMeasured(f"{asked}: its host has no samples of the last seconds yet")
        return found

    def _known(self, asked: str) -> Dict[str, int]:
        if not self._numbers:
            manager = self.session.manager("perfManager")
            counters = self.collector.get(manager, ["perfCounter"], asked).items("perfCounter")
            for counter in counters:
                name = ".".join(
                    (counter.findtext(path) or "").strip()
                    for path in ("groupInfo/key", "nameInfo/key", "rollupType")
                )
                key = _whole(counter.findtext("key"))
                if key is not None:
                    self._numbers[name] = key
        return self._numbers


# By number of the counter: for each instance (time, value) of the samples.
Series = Dict[int, List[Sequence[Tuple[float, int]]]]


def _series(answer: Element) -> Series:
    found: Series = {}
    for entity in answer.iterfind("returnval"):
        times = [
            parse_time((info.findtext("timestamp") or "").strip())
            for info in entity.iterfind("sampleInfo")
        ]
        for series in entity.iterfind("value"):
            number = _whole(series.findtext("id/counterId"))
            values = [_whole(value.text) for value in series.iterfind("value")]
            if number is not None:
                found.setdefault(number, []).append(
                    [
                        (at, value)
                        for at, value in zip(times, values)
                        if at is not None and value is not None
                    ]
                )
    return found


def _newest(
    metric: str,
    counters: Sequence[Counter],
    numbers: Dict[str, int],
    series: Series,
    vcpus: Optional[int],
) -> List[Sample]:
    """The newest sample of a metric, as a list; empty where no counter has one.

    The instances of a counter are added at the newest time that all of them have.
    """
    for counter in counters:
        instances = [dict(one) for one in series.get(numbers.get(counter.name, -1), ()) if one]
        common = set.intersection(*(set(one) for one in instances)) if instances else set()
        if not common:
            continue
        at = max(common)
        value = counter.factor * sum(one[at] for one in instances)
        if metric == "ready":
            if not vcpus:
                return []
            value = 100 * value / (1000 * PERIOD * vcpus)
        return [Sample(metric, value, at, counter=False)]
    return []


def _whole(text: Optional[str]) -> Optional[int]:
    """A whole number that is not negative; None for -1, which says that there is none."""
    digits = (text or "").strip()
    return int(digits) if re.fullmatch(r"[0-9]{1,18}", digits) else None
