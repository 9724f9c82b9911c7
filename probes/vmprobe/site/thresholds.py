"""What is measured, in which unit, and the ranges outside of which it alerts.

Nagios ranges (monitoring-plugins' developer guidelines, section Threshold and Ranges), evaluated by nagiosplugin.
"""

from __future__ import annotations

import re
from typing import Dict, Mapping, NamedTuple

from vmprobe.core.model import METRICS, RESOURCES
from vmprobe.core.timeline import STAGES

_WORDS = {"s": "seconds", "%": "percent", "B": "bytes", "": "plain numbers"}

LABELS: Dict[str, str] = {  # perfdata label: unit of measurement
    **{stage: "s" for stage in STAGES},
    **{
        f"{metric}_{what}": "%" if metric == "cpu" else ""
        for metric in METRICS
        for what in ("avg", "peak")
    },
    **{
        step: "s"
        for step in (
            "tcp",
            "tls",
            "http",
            "version",
            "services",
            "list",
            "capacity",
            "tls_expires",
            "cred_expires",
            "skew",
        )
    },
    **dict.fromkeys(("servers", "running", "stopped", "pending", "failed", "stuck", "aged"), ""),
    "age_max": "s",
    **{
        f"{of}{name}_{what}": unit
        for of in ("", "host_", "pool_")
        for name, of_one in RESOURCES.items()
        for what, unit in (("used", of_one), ("free", of_one), ("full", "%"))
    },
    "fits": "",
    **dict.fromkeys(("memory_avg", "memory_peak", "memory_total"), "B"),
    "ready_avg": "%",
    "ready_peak": "%",
    "interval": "s",
    "metrics": "s",
    **{f"{metric}_total": "" for metric in METRICS if metric != "cpu"},
    **dict.fromkeys(
        (
            "images",
            "missing",
            "inactive",
            "mismatched",
            "revoked",
            "expired",
            "unendorsed",
            "unverified",
            "running_bad",
        ),
        "",
    ),
    "list_expires": "s",
    "lists": "s",
    "steal_avg": "%",
    "work_cpu": "s",
    "work_disk": "s",
    "work_net": "s",
    "metering": "",
    "leftovers": "",
    "oldest_age": "s",
    "vcpus": "",
    "memory": "B",
    "volume_bytes": "B",
}
for _stage in STAGES[:-1]:  # of a fleet's servers
    LABELS.update({f"{_stage}_{what}": "s" for what in ("min", "avg", "max")})
_NUMBER = r"-?[0-9]{1,21}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(rf"@?(?:(?:~|{_NUMBER})?:(?:{_NUMBER})?|{_NUMBER})")


def unit(label: str) -> str:
    """The unit that a label's perfdata carries; counts and rates have none."""
    return LABELS.get(label, "")


def parse_range(text: str, label: str = "total"):
    """The nagiosplugin range that ``text`` means; ValueError: what would be right."""
    import nagiosplugin

    words = _WORDS[unit(label)]
    if not _RANGE.fullmatch(text):
        raise ValueError(f"'{text}' is not a range in {words}")
    try:
        return nagiosplugin.Range(text)
    except ValueError:
        raise ValueError(
            f"'{text}' is not a range in {words}: its start is above its end"
        ) from None


class Thresholds(NamedTuple):
    """The ranges of a run, as texts by label."""

    warning: Mapping[str, str] = {}
    critical: Mapping[str, str] = {}

    def with_range(self, level: str, label: str, text: str) -> "Thresholds":
        """These, and for ``label`` at ``level`` ('warning' or 'critical') another range."""
        levels = {"warning": dict(self.warning), "critical": dict(self.critical)}
        levels[level][label] = text
        return Thresholds(**levels)

    def merge(self, others: "Thresholds") -> "Thresholds":
        """Merge; ``others`` take precedence."""
        return Thresholds({**self.warning, **others.warning}, {**self.critical, **others.critical})

    def broken(self, label: str, value: float) -> str:
        """'critical', 'warning' or '': the worst range that ``value`` is outside of."""
        for level, ranges in (("critical", self.critical), ("warning", self.warning)):
            if label in ranges and not parse_range(ranges[label], label).match(value):
                return level
        return ""
