"""Foreign text made fit for a plug-in's output, and numbers as perfdata wants them."""

from __future__ import annotations

import re
from typing import Iterable, List, Optional, Sequence

from vmprobe.core.redact import current

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def clean(text: str) -> str:
    """``text`` in printable ASCII on one line, without ``|`` (it begins perfdata) and without tags."""
    line = _CONTROL.sub(" ", text).replace("|", "/")
    line = re.sub(r"<(?=[A-Za-z/!?])", "(", line)
    return line.encode("ascii", "replace").decode("ascii")


def one_line(text: object, limit: int = 160) -> str:
    """``text`` without secrets, cleaned, without needless space, at most ``limit`` characters long."""
    return shortened(current().cut(str(text), 20 * limit), limit)


def shortened(text: str, limit: int) -> str:
    """``text``, whose secrets have been replaced already, as ``one_line`` makes it."""
    line = re.sub(r" {2,}", " ", clean(text.replace("\\n", " "))).strip()
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def cut(text: object, limit: int) -> str:
    """The first ``limit`` characters of foreign text, its secrets replaced before: a cut one would not be known any more."""
    return current().cut(str(text), limit)


def many_lines(lines: Iterable[str], limit: int) -> List[str]:
    """Lines, each cleaned, of about ``limit`` characters in all; what is over is said."""
    kept, room = [], limit
    for line in lines:
        line = clean(line).rstrip()[:2000]
        room -= len(line) + 1
        if room < 0:
            return kept + ["(cut: too long)"]
        kept.append(line)
    return kept


def table(rows: Sequence[Sequence[str]], widest: int = 40) -> List[str]:
    """Rows as lines with aligned columns; whatever a cell has in it, it is cleaned, and beyond ``widest`` not aligned."""
    cells = [[one_line(cell, 400) for cell in row] for row in rows]
    widths = [min(widest, max(map(len, column))) for column in zip(*cells)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells
    ]


def whole_number(text: object, longest: int = 18) -> Optional[int]:
    """The whole number that a foreign text is, in at most ``longest`` plain digits; None where it is anything else.

    Python's own test takes more for digits than ``int`` does, and ``int`` takes more than a protocol means.

    >>> whole_number("0042"), whole_number("\u00b2"), whole_number("\u0664"), whole_number("1_0"), whole_number("-1"), whole_number("9" * 5000), whole_number(None)
    (42, None, None, None, None, None, None)
    """
    found = isinstance(text, str) and len(text) <= longest and re.fullmatch("[0-9]+", text)
    return int(found[0]) if found else None


def decimal_number(text: object) -> Optional[float]:
    """The number, not negative, that a foreign text is in at most 20 plain digits; None where it is anything else.

    >>> decimal_number("12.5"), decimal_number("7"), decimal_number("1e3"), decimal_number(".5"), decimal_number("\u00b2"), decimal_number("inf"), decimal_number("9" * 5000)
    (12.5, 7.0, None, None, None, None, None)
    """
    found = isinstance(text, str) and len(text) <= 20 and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
    return float(found[0]) if found else None


def suggest(word: str, known: Iterable[str]) -> str:
    """What would have been right instead of ``word``: what is nearest, else all that is known."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.7)
    return (
        f"did you mean {near[0]}?"
        if near
        else f"there are {', '.join(known)}"
        if known
        else "there are none"
    )


def number(value: float, decimals: int = 3) -> str:
    """A finite number in plain digits: no exponent, no locale, no needless zeros.

    >>> number(1e22), number(12.3456), number(0.00001), number(-0.0001)
    ('10000000000000000000000', '12.346', '0', '0')
    """
    digits = f"{value:.{decimals}f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits in ("-0", "") else digits


def seconds(value: float) -> str:
    """A duration in seconds, as exact as it is useful: 0.412, 3.41, 12.3, 128.5."""
    return number(value, 3 if value < 1 else 2 if value < 10 else 1)


def span(duration: float) -> str:
    """A long duration, for people, in the unit that fits it.

    >>> span(95), span(2520), span(11520), span(864000)
    ('95 s', '42 min', '3.2 h', '10 d')
    """
    for most, unit, length in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if duration < most:
            return f"{number(duration / length, 1 if unit == 'h' else 0)} {unit}"
    return f"{number(duration / 86400, 1)} d"


def counted(count: int, noun: str) -> str:
    """``1 leftover``, ``2 leftovers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
