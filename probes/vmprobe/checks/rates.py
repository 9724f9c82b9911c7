"""Rates from readings: the average and the peak of each metric, for lifecycle and activity."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from vmprobe.core.model import EXTRA_METRICS, METRICS, Sample

_LARGEST = 1e15  # a petabyte per second: a manager that says more has not measured


def summarise(servers: Sequence[Sequence[Sequence[Sample]]]) -> Tuple[Dict[str, float], List[str]]:
    """(values by perfdata label, metrics that nobody measured); labels like ``cpu_avg`` and
    ``cpu_peak``.

    ``servers`` holds the readings of each server, in order of time. The average is over all
    servers, the peak is the highest rate of any one; ``cpu`` and ``ready`` in percent of its vCPUs,
    ``memory`` in bytes, the others in bytes per second.
    """
    values: Dict[str, float] = {}
    missing: List[str] = []
    for metric in METRICS + EXTRA_METRICS:
        spans = [span for readings in servers for span in rates(metric, readings)]
        length = sum(seconds for _, seconds in spans)
        if not spans or length <= 0:
            missing += [metric] if metric in METRICS else []
            continue
        values[f"{metric}_avg"] = sum(rate * seconds for rate, seconds in spans) / length
        values[f"{metric}_peak"] = max(rate for rate, _ in spans)
    return values, missing


def sources(servers: Sequence[Sequence[Sequence[Sample]]]) -> List[str]:
    """Return one line for each service that measured, with its metrics, if a manager has several
    such services.
    """
    metrics: Dict[str, List[str]] = {}
    for metric in METRICS + EXTRA_METRICS:
        names = {
            sample.source
            for readings in servers
            if rates(metric, readings)
            for reading in readings
            for sample in reading
            if sample.metric == metric and sample.source
        }
        for name in sorted(names):
            metrics.setdefault(name, []).append(metric)
    return [f"measured by {name}: {', '.join(measured)}" for name, measured in metrics.items()]


def rates(metric: str, readings: Sequence[Sequence[Sample]]) -> List[Tuple[float, float]]:
    """(rate, seconds for which it was measured) between each two readings of a metric.

    A counter that fell has wrapped around where it was near its maximum; elsewhere it was reset,
    and that span is unknown. Negative, infinite and impossibly large values are left out.
    """
    spans = []
    samples = [
        sample
        for reading in readings
        for sample in reading
        if sample.metric == metric and 0 <= sample.value < _LARGEST**2 and 0 <= sample.at < _LARGEST
    ]
    for before, after in zip(samples, samples[1:]):
        seconds = after.at - before.at
        # Counters of two sources cannot be compared, nor can their clocks.
        if seconds <= 0 or before.source != after.source:
            continue
        if not after.counter:
            spans.append((after.value, seconds))
            continue
        increase = _increase(before.value, after.value)
        if increase is not None:
            factor = 100.0 if metric in ("cpu", "ready") else 1.0
            spans.append((factor * increase / seconds, seconds))
    if not spans and samples and not samples[-1].counter:
        spans.append((samples[-1].value, 1.0))  # a single reading of a rate is a rate
    return [(rate, seconds) for rate, seconds in spans if rate < _LARGEST]


def _increase(before: float, after: float) -> Optional[float]:
    """Return by how much a counter grew; None when it was reset."""
    if after >= before:
        return after - before
    for end in (2.0**32, 2.0**64):
        if 0.75 * end <= before < end and after < 0.25 * end:
            return end - before + after
    return None
