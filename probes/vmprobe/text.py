"""Foreign text made fit for a plug-in's output, and numbers as perfdata wants them."""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, List, Mapping, Sequence
from urllib.parse import quote, quote_plus

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\Z)", re.S)
_NAMED = re.compile(
    r"(?i)([\"']?\b(?:x-(?:auth|subject|service)-token|authorization|(?:[a-z_]*)(?:password|passwd"
    r"|secret(?:_access)?(?:_key)?|access_token|id_token|refresh_token|api_?key|private_?key|signature|session_token))[\"']?\s*[=:>]\s*)"
    r"(\"[^\"]*\"|'[^']*'|(?:bearer|basic|token)\s+[^\s,;&\"'<>]+|[^\s,;&\"'<>]+)"
)
STRUCK = "***"
_OWN = ("site", "handle", "state", "text")  # of a document about a run


def clean(text: str) -> str:
    """``text`` in printable ASCII on one line, without ``|`` (it begins perfdata) and without tags."""
    line = _CONTROL.sub(" ", text).replace("|", "/")
    line = re.sub(r"<(?=[A-Za-z/!?])", "(", line)
    return line.encode("ascii", "replace").decode("ascii")


def one_line(text: object, limit: int = 160) -> str:
    """``text`` cleaned, without needless space, at most ``limit`` characters long."""
    line = re.sub(r" {2,}", " ", clean(str(text)[:20 * limit].replace("\\n", " "))).strip()
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


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
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def among(word: str, known: Iterable[str]) -> str:
    """What would have been right instead of ``word``: what is nearest, else all that is known."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.7)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}" if known else "there are none"


class Redactor:
    """Strikes secrets out of text: the known values, and whatever stands where secrets stand.

    >>> Redactor(["s3cr3t!"]).strike('{"password": "other"} s3cr3t!')
    '{"password": ***} ***'
    """

    def __init__(self, secrets: Iterable[str] = ()):
        self._known = set()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """From now on strike out this very value, too; values below four characters are too common to strike.

        It is struck also as JSON, XML and URLs write it.
        """
        for form in (secret, secret.strip()):
            if len(form) >= 4:
                self._known.update(_written(form))

    def strike(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, STRUCK)
        text = _PEM.sub(STRUCK, text)
        return _NAMED.sub(lambda match: match.group(1) + STRUCK, text)

    def json(self, document: Any) -> str:
        """A document as JSON without secrets: struck out text by text, so that it stays JSON.

        What it has under the words of ``_OWN`` is the suite's own, or has been struck already.
        """
        return json.dumps(self._struck(document), indent=1, default=str) + "\n"

    def _struck(self, thing: Any) -> Any:
        if isinstance(thing, str):
            return self.strike(thing)
        if isinstance(thing, Mapping):
            return {key if key in _OWN else self._struck(key): value if key in _OWN else self._struck(value)
                    for key, value in thing.items()}
        return [self._struck(value) for value in thing] if isinstance(thing, (list, tuple)) else thing


def _written(secret: str) -> Iterable[str]:
    """The forms that a text has on the wire."""
    xml = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], xml, xml.replace('"', "&quot;"),
            quote(secret, safe="", errors="replace"), quote(secret, errors="replace"), quote_plus(secret, errors="replace"))


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
