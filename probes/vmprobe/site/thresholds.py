"""Thresholds: the ranges outside of which a metric alerts.

They are Nagios ranges (monitoring-plugins' developer guidelines, "Threshold and Ranges");
nagiosplugin evaluates them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Mapping, NamedTuple

from vmprobe.site.metrics import unit

if TYPE_CHECKING:
    import nagiosplugin

_KIND = {"s": "seconds", "%": "percent", "B": "bytes", "": "plain numbers"}  # by unit
_NUMBER = r"-?[0-9]{1,21}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(rf"@?(?:(?:~|{_NUMBER})?:(?:{_NUMBER})?|{_NUMBER})")


def parse_range(text: str, label: str = "total") -> nagiosplugin.Range:
    """Parse a Nagios range in the unit of ``label``; ValueError says what is wrong."""
    import nagiosplugin

    if not _RANGE.fullmatch(text):
        raise ValueError(f"'{text}' is not a range in {_KIND[unit(label)]}")
    try:
        return nagiosplugin.Range(text)
    except ValueError:
        raise ValueError(
            f"'{text}' is not a range in {_KIND[unit(label)]}: its start is above its end"
        ) from None


class Thresholds(NamedTuple):
    """The ranges of a run, as texts by label."""

    warning: Mapping[str, str] = {}
    critical: Mapping[str, str] = {}

    def with_range(self, level: str, label: str, text: str) -> "Thresholds":
        """Set the range of ``label`` at ``level``, which is 'warning' or 'critical'."""
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
