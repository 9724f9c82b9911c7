"""A check's verdict, and how it is printed: one line that Nagios reads, with perfdata, and details
below it.

Line 1 is ``NAME STATE - site: text | perfdata``. nagiosplugin formats the perfdata.
"""

from __future__ import annotations

import re
from typing import Callable, List, Mapping, NamedTuple, Sequence, Tuple

from vmprobe.core import handle, reasons, text
from vmprobe.core.errors import STATES
from vmprobe.site.metrics import unit
from vmprobe.site.thresholds import Thresholds

OK, WARNING, CRITICAL, UNKNOWN = range(4)

_LINE = 199  # characters of line 1 before its perfdata
_ALL = 8000  # characters in all: Nagios takes 8192 bytes of a passive result, with its header
_SHORTEST = 40  # characters of a reason that are shown whatever else has to be on line 1
_LAST = 60  # characters of a reason's last clause that stay: often the budget that was exceeded
_LONG_ID = re.compile(
    r"\b([0-9a-fA-F]{8})(?:(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24})\b"
)
# Counts of what can be used in fractions:
_FRACTIONS = re.compile(r"(host_|pool_)?(cpus|vcpus|load)_(used|free)$")


class Printed(Exception):
    """Output instead of a result: the help, the version, or what is wrong with the command line."""


class Verdict(NamedTuple):
    """A state and its explanation.

    ``text`` is complete; only line 1 shows it shortened. ``reason`` is the part of it that may be
    shortened: the manager's words. ``perfdata`` has values by label, ``highest`` the largest value
    that a label can have, where there is one. ``details`` are the lines below the first.
    """

    state: int
    text: str
    perfdata: Mapping[str, float] = {}
    thresholds: Thresholds = Thresholds()
    details: Tuple[str, ...] = ()
    highest: Mapping[str, float] = {}
    reason: str = ""

    def with_details(self, lines: Sequence[str]) -> "Verdict":
        """Add lines below the first."""
        return self._replace(details=self.details + tuple(lines))

    def of_site(self, site: str, redact: Callable[[str], str]) -> "Verdict":
        """Put the site's name in front, and replace all secrets.

        The name itself is not redacted: where a password is the same word, that would tell the
        password.
        """
        before, reason, after = _split(self.text, self.reason)
        # Twice: HTML tags inside a secret hide it from the first pass.
        reason = redact(reasons.plain(redact(reason)))
        return self._replace(
            text=f"{site}: {redact(before)}{reason}{redact(after)}",
            details=tuple(map(redact, self.details)),
            reason=reason,
        )


def _split(line: str, reason: str) -> Tuple[str, str, str]:
    """What stands before the reason, the reason, and what stands after it."""
    return line.partition(reason) if reason else (line, "", "")


def render(name: str, verdict: Verdict) -> str:
    """The plug-in's whole output: line 1 with all perfdata, then one line for each detail. Secrets
    are already gone.

    Where a reason had to be shortened for line 1, the whole text is repeated on a line of its own
    below.
    """
    head = f"{name} {STATES[verdict.state]} - "
    whole = text.shortened(verdict.text, _ALL)
    shown = fitted(verdict.text, verdict.reason, _LINE - len(head))
    data = " ".join(perfdata(verdict.perfdata, verdict.thresholds, verdict.highest))
    line = f"{head}{shown} | {data}" if data else head + shown
    details = (whole, *verdict.details) if verdict.reason and shown != whole else verdict.details
    return "\n".join([line, *text.many_lines(details, _ALL - len(line))])


def fitted(line: str, reason: str, room: int) -> str:
    """Shorten a line to ``room`` characters.

    First the text around the ``reason`` is left out, then ids are shortened, then the end of the
    reason is cut.
    """
    before, middle, after = _split(line, reason)
    middle = reasons.innermost(middle)
    line = text.shortened(before + middle + after, _ALL)
    if len(line) <= room:
        return line

    before, middle, after = (
        handle.shortened(_LONG_ID.sub(r"\1...", part)) for part in (before, middle, after)
    )
    if len(before + middle + after) > room:
        middle, separator, last = middle.rpartition("; ")
        if not separator or len(last) > _LAST:
            middle, separator, last = middle + separator + last, "", ""
        left = room - len(before + separator + last + after)
        middle = text.shortened(middle, max(_SHORTEST, left)) + separator + last
    return text.shortened(before + middle + after, room)


def perfdata(
    values: Mapping[str, float], thresholds: Thresholds, highest: Mapping[str, float] = {}
) -> List[str]:
    """The perfdata items, sorted by label. Values of more than 21 digits are left out."""
    if not values:
        return []
    import nagiosplugin

    return [
        str(
            nagiosplugin.Performance(
                label,
                _value(label, value),
                unit(label),
                thresholds.warning.get(label, ""),
                thresholds.critical.get(label, ""),
                None if unit(label) == "%" else 0,
                _value(label, highest[label]) if label in highest else None,
            )
        )
        for label, value in sorted(values.items())
        if abs(value) < 1e21
    ]


def figure(label: str, value: float) -> str:
    """A value with its unit, for people: ``41.2 s``, ``12.5 %``."""
    uom = unit(label)
    shown = text.seconds(value) if uom == "s" else text.number(value, 1)
    return f"{shown} {uom}" if uom else shown


def _value(label: str, value: float) -> str:
    uom = unit(label)
    if uom == "s":
        return text.seconds(value)
    return text.number(value, 3 if _FRACTIONS.match(label) else 1 if uom == "%" else 0)
