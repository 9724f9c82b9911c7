"""Readings made into figures: the average and the peak of each metric over a run."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from vmprobe.core.model import EXTRA_METRICS, METRICS, Sample

_MOST = 1e15  # a petabyte a second: a manager that says more has not measured


def summarise(servers: Sequence[Sequence[Sequence[Sample]]]) -> Tuple[Dict[str, float], List[str]]:
    """Figures by perfdata label (``cpu_avg``, ``cpu_peak``, ...), and the metrics for which there is none.

    ``servers`` holds the readings of each server in order of time. The average is over all servers, the peak is the
    highest rate of any one; ``cpu`` in percent of its vCPUs, the others in bytes per second.
    """
    figures: Dict[str, float] = {}
    missing: List[str] = []
    for metric in METRICS + EXTRA_METRICS:
        spans = [span for readings in servers for span in rates(metric, readings)]
        length = sum(seconds for _, seconds in spans)
        if not spans or length <= 0:
            missing += [metric] if metric in METRICS else []
            continue
        figures[f"{metric}_avg"] = sum(rate * seconds for rate, seconds in spans) / length
        figures[f"{metric}_peak"] = max(rate for rate, _ in spans)
    return figures, missing


def sources(servers: Sequence[Sequence[Sequence[Sample]]]) -> List[str]:
    """One line for each of those who measured, where a manager has more than one: what it measured."""
    found: Dict[str, List[str]] = {}
    for metric in METRICS + EXTRA_METRICS:
        for source in sorted(
            {
                sample.source
                for readings in servers
                if rates(metric, readings)
                for reading in readings
                for sample in reading
                if sample.metric == metric and sample.source
            }
        ):
            found.setdefault(source, []).append(metric)
    return [f"measured by {source}: {', '.join(metrics)}" for source, metrics in found.items()]


def rates(metric: str, readings: Sequence[Sequence[Sample]]) -> List[Tuple[float, float]]:
    """(rate, seconds that it stands for) between each two readings of a metric.

    A counter that fell went over its end where it was near one, and began anew anywhere else: then that span is not known.
    What is negative, no finite number, or beyond all measure was not measured.
    """
    found = []
    samples = [
        sample
        for reading in readings
        for sample in reading
        if sample.metric == metric and 0 <= sample.value < _MOST**2 and 0 <= sample.at < _MOST
    ]
    for before, after in zip(samples, samples[1:]):
        seconds = after.at - before.at
        if (
            seconds <= 0 or before.source != after.source
        ):  # two that measure do not agree on a counter, nor on the time
            continue
        if not after.counter:
            found.append((after.value, seconds))
        else:
            grown = _grown(before.value, after.value)
            share = 100.0 if metric in ("cpu", "ready") else 1.0
            found += [] if grown is None else [(share * grown / seconds, seconds)]
    if not found and samples and not samples[-1].counter:
        found.append((samples[-1].value, 1.0))  # one reading of a rate is a rate
    return [(rate, seconds) for rate, seconds in found if rate < _MOST]


def _grown(before: float, after: float) -> Optional[float]:
    """How far a counter came; None when it began anew."""
    if after >= before:
        return after - before
    for end in (2.0**32, 2.0**64):
        if 0.75 * end <= before < end and after < 0.25 * end:
            return end - before + after
    return None
