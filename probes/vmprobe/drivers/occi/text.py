"""Parse OCCI's text rendering, in a body (text/plain) or in headers (text/occi): GFD.229, GFD.185.

Servers quote, order and group as they like: several categories in one header, blanks, a semicolon
at the end, quotes within quotes, numbers in quotes. All of that is accepted.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, Tuple

from vmprobe.core.errors import GatewayFailed
from vmprobe.core.text import cut
from vmprobe.drivers.occi.entities import HEADERS, TEXT
from vmprobe.transport.http import Reply

_MAX_COST = 20 * 2**20  # bytes of memory for a parsed text
_NAMES = ("category", "link", "x-occi-attribute", "x-occi-location")
_HEAD = re.compile(r"\s*(?:<([^<>]*)>|([^;,=\"]*))\s*")
_VALUE = re.compile(r'\s*=\s*(?:"((?:\\.|[^"\\]|"(?!\s*(?:[;,]|\Z)))*)"|([^;,"]*))\s*', re.S)
_NEXT = re.compile(r"\s*(;|,|\Z)\s*")


class Element:
    """One element of a line: ``head; name=value; name="value"``. An attribute has no head."""

    def __init__(self, head: str = ""):
        self.head = head
        self.values: Dict[str, Any] = {}

    def get(self, name: str) -> str:
        """A value that is text, at most 1000 characters; '' where there is none."""
        value = self.values.get(name)
        return value[:1000] if isinstance(value, str) else ""


def elements(reply: Reply, media: str, strict: bool = True) -> Iterator[Tuple[str, Element]]:
    """(name, element) of all lines of a reply; ``media`` is its type.

    GatewayFailed for a line that is not OCCI's; with ``strict`` off, such lines are passed over.
    """
    if media == HEADERS:
        lines = [(name, reply.headers.get(name, ""), name) for name in _NAMES]
    elif media == TEXT:
        _check_cost(reply.body)
        lines = [
            (name.strip().lower(), value, line)
            for line in reply.text.splitlines()
            for name, _, value in [line.partition(":")]
            if name.strip()
        ]
    elif strict:
        content_type = cut(reply.headers.get("Content-Type", ""), 60)
        raise GatewayFailed(f"the answer is no OCCI, but {content_type}")
    else:
        return
    for name, value, line in lines:
        if name in _NAMES:
            for element in _line(name, value):
                if element.head or element.values:
                    yield name, element
        elif strict:
            # Redact the whole line before it is split: a secret may have a colon in it
            begin = cut(line, 1000).partition(":")[0].strip().lower()
            raise GatewayFailed(f"the answer is no OCCI: {begin[:60]!r} begins a line")


def _check_cost(body: bytes) -> None:
    """GatewayFailed for a text whose elements would take too much memory."""
    separators = sum(map(body.count, (b";", b",", b"\n", b"=")))
    if 3 * len(body) + 150 * separators > _MAX_COST:
        raise GatewayFailed(f"the text of the answer, {len(body)} bytes, is too much to be held")


def _line(name: str, line: str) -> Iterator[Element]:
    """The elements of a line, separated by commas: a head, and values separated by semicolons."""
    if name == "x-occi-location":
        yield from (Element(part.strip().strip("<>")) for part in line.split(",") if part.strip())
        return
    at, element = 0, Element()
    while at < len(line):
        head = _HEAD.match(line, at)
        assert head is not None  # it also matches nothing
        at = head.end()
        key = (head[1] if head[1] is not None else head[2]).strip()
        value = _VALUE.match(line, at)
        if value:
            at = value.end()
            if key:
                element.values[key] = _unquoted(*value.groups())
        elif key and not element.head:
            element.head = key
        separator = _NEXT.match(line, at)
        if not separator:
            raise GatewayFailed(
                f"the answer is no OCCI: {line[max(0, at - 20) : at + 20]!r} in {name}"
            )
        at = separator.end()
        if separator[1] == ",":
            yield element
            element = Element()
    yield element


def _unquoted(quoted: str, bare: str) -> Any:
    """The value of a text in quotes, or of a bare word: a number where it is one."""
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted, flags=re.S)
    word = bare.strip()
    return int(word) if re.fullmatch(r"[+-]?[0-9]{1,18}", word) else word
