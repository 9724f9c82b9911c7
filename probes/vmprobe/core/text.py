"""Make foreign text fit for a plug-in's output, and numbers fit for perfdata."""

from __future__ import annotations

import re
from typing import Iterable, List, Optional, Sequence

from vmprobe.core.redact import current

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def clean(text: str) -> str:
    """``text`` in printable ASCII on one line, without tags and without perfdata's ``|``."""
    line = _CONTROL.sub(" ", text).replace("|", "/")
    line = re.sub(r"<(?=[A-Za-z/!?])", "(", line)
    return line.encode("ascii", "replace").decode("ascii")


def one_line(text: object, limit: int = 160) -> str:
    """``text`` redacted, cleaned, without repeated blanks, at most ``limit`` characters long."""
    return shortened(current().cut(str(text), 20 * limit), limit)


def shortened(text: str, limit: int) -> str:
    """As ``one_line``, for text that is redacted already."""
    line = re.sub(r" {2,}", " ", clean(text.replace("\\n", " "))).strip()
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def cut(text: object, limit: int) -> str:
    """Redact foreign text, then cut it to ``limit`` characters: half a secret is not found."""
    return current().cut(str(text), limit)


def many_lines(lines: Iterable[str], limit: int) -> List[str]:
    """Clean lines, up to ``limit`` characters in all. The last one says if some are cut."""
    kept: List[str] = []
    room = limit
    for line in lines:
        line = clean(line).rstrip()[:2000]
        room -= len(line) + 1
        if room < 0:
            return kept + ["(cut: too long)"]
        kept.append(line)
    return kept


def table(rows: Sequence[Sequence[str]], widest: int = 40) -> List[str]:
    """Rows as lines with aligned columns. Cells are cleaned; wider than ``widest`` stick out."""
    cells = [[one_line(cell, 400) for cell in row] for row in rows]
    widths = [min(widest, max(map(len, column))) for column in zip(*cells)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells
    ]


def whole_number(text: object, longest: int = 18) -> Optional[int]:
    """Parse a whole number of at most ``longest`` plain digits; None for anything else.

    ``str.isdigit`` accepts more than ``int`` does, and ``int`` accepts more than protocols mean.

    >>> whole_number("0042")
    42
    >>> [whole_number(text) for text in ("\u00b2", "\u0664", "1_0", "-1", "9" * 5000, None)]
    [None, None, None, None, None, None]
    """
    digits = isinstance(text, str) and len(text) <= longest and re.fullmatch("[0-9]+", text)
    return int(digits[0]) if digits else None


def decimal_number(text: object) -> Optional[float]:
    """Parse a number of at most 20 plain digits and one dot; None for anything else.

    >>> decimal_number("12.5"), decimal_number("7")
    (12.5, 7.0)
    >>> [decimal_number(text) for text in ("1e3", ".5", "\u00b2", "inf", "9" * 5000)]
    [None, None, None, None, None]
    """
    digits = isinstance(text, str) and len(text) <= 20 and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
    return float(digits[0]) if digits else None


def suggest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that is closest to ``word``, or else list them all."""
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
    """A finite number in plain digits, without exponent, locale or trailing zeros.

    >>> number(1e22), number(12.3456), number(0.00001), number(-0.0001)
    ('10000000000000000000000', '12.346', '0', '0')
    """
    digits = f"{value:.{decimals}f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits in ("-0", "") else digits


def seconds(value: float) -> str:
    """A duration in seconds with as many digits as are useful: 0.412, 3.41, 12.3, 128.5."""
    return number(value, 3 if value < 1 else 2 if value < 10 else 1)


def span(duration: float) -> str:
    """A long duration, for people, in a fitting unit.

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
