"""Readings made into figures: the average and the peak of each metric over a run."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from vmprobe.model import METRICS, Sample


def summarise(servers: Sequence[Sequence[Sequence[Sample]]]) -> Tuple[Dict[str, float], List[str]]:
    """Figures by perfdata label (``cpu_avg``, ``cpu_peak``, ...), and the metrics for which there is none.

    ``servers`` holds the readings of each server in order of time. The average is over all servers, the peak is the
    highest rate of any one; ``cpu`` in percent of its vCPUs, the others in bytes per second.
    """
    figures: Dict[str, float] = {}
    missing: List[str] = []
    for metric in METRICS:
        spans = [span for readings in servers for span in rates(metric, readings)]
        length = sum(seconds for _, seconds in spans)
        if not spans or length <= 0:
            missing.append(metric)
            continue
        figures[f"{metric}_avg"] = sum(rate * seconds for rate, seconds in spans) / length
        figures[f"{metric}_peak"] = max(rate for rate, _ in spans)
    return figures, missing


def rates(metric: str, readings: Sequence[Sequence[Sample]]) -> List[Tuple[float, float]]:
    """(rate, seconds that it stands for) between each two readings of a metric; a counter that fell began anew."""
    found = []
    samples = [sample for reading in readings for sample in reading if sample.metric == metric]
    for before, after in zip(samples, samples[1:]):
        seconds = after.at - before.at
        if seconds <= 0:
            continue
        if not after.counter:
            found.append((after.value, seconds))
        elif after.value >= before.value:
            share = 100.0 if metric == "cpu" else 1.0
            found.append((share * (after.value - before.value) / seconds, seconds))
    if not found and samples and not samples[-1].counter:
        found.append((samples[-1].value, 1.0))  # one reading of a rate is a rate
    return found
