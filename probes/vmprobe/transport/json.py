"""Read values out of parsed JSON as what they should be: a wrong shape is GatewayFailed, never a
KeyError.

    reply.field("server", "id", str)                    # there, and text; or GatewayFailed
    field(server, "fault", "message", str, default="")  # the default where it is missing or null
    for server in reply.items("servers"):               # a list of objects
        short_text(server, "id")                        # a text fit for a URL or a line

A path is keys (text) and indexes (whole numbers). A value of parsed JSON has no type of its own, so
documents and what is read from them are ``Any``.
"""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Optional, Sequence

from vmprobe.core.errors import GatewayFailed

_REQUIRED = object()  # the default that means: there is none
_TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
_LONGEST_TEXT = 255  # characters


def field(document: Any, *path: Any, default: Any = _REQUIRED) -> Any:
    """The value at ``path``, whose last item is its type: str, int, float, bool, list or dict.

    GatewayFailed names what is missing, or of another type. With a ``default``, what is missing or
    null is the default; another type is an error all the same. ``float`` accepts whole numbers, and
    only what is finite.
    """
    *steps, kind = path
    value = document
    for number, step in enumerate(steps):
        if value is None:
            break
        container = dict if isinstance(step, str) else list
        if not isinstance(value, container):
            raise _wrong_type(steps[:number], value, container)
        value = _member(value, step)
    if value is None:
        if default is _REQUIRED:
            raise GatewayFailed(f"the answer has no {_name(steps)}")
        return default
    if kind is float and type(value) is int:
        value = _as_float(value)
    if type(value) is not kind or kind is float and not math.isfinite(value):
        raise _wrong_type(steps, value, kind)
    return value


def items(document: Any, *path: Any, default: Any = _REQUIRED) -> List[Dict[str, Any]]:
    """The list of objects at ``path``.

    GatewayFailed where it is not a list, or not all of it are objects.
    """
    found: List[Dict[str, Any]] = field(document, *path, list, default=default)
    for number, item in enumerate(found):
        if not isinstance(item, dict):
            raise _wrong_type([*path, number], item, dict)
    return found


def short_text(document: Any, *path: Any, default: Any = _REQUIRED) -> str:
    """A short text such as an id, a name or a state; a whole number becomes its digits.

    GatewayFailed when it is empty, longer than 255 characters, or not printable.
    """
    value = document
    if path:
        container = dict if isinstance(path[-1], str) else list
        value = field(document, *path[:-1], container, default=None)
        if value is not None:
            value = value.get(path[-1]) if container is dict else field(value, path[-1], str)
    if type(value) is int and abs(value) < 10**30:
        value = str(value)
    if value is None:
        if default is _REQUIRED:
            raise GatewayFailed(f"the answer has no {_name(path)}")
        text: str = default
        return text
    if not isinstance(value, str):
        raise _wrong_type(path, value, str)
    if not value or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise GatewayFailed(f"{_name(path)} in the answer is no short, printable text")
    return value


_ISO_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?\d*(?:Z|([+-]\d\d):?(\d\d))?",
    re.ASCII,
)


def parse_time(text: Any) -> Optional[float]:
    """Seconds since the epoch of an ISO 8601 time, in UTC where it names no zone; None where it is
    none.

    Also None for a time up to 1970-01-01: with 0001-01-01 or the epoch itself, programs say that
    there is no time.
    """
    from datetime import datetime, timedelta, timezone

    match = _ISO_TIME.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return None
    fraction, hours, minutes = match.group(7, 8, 9)
    try:
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        local = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
        zone = timedelta(hours=int(hours or 0), minutes=int((hours or "+")[0] + (minutes or "0")))
        seconds = (local - zone).timestamp() + float(fraction or 0)
        return seconds if seconds > 0 else None
    except (ValueError, OverflowError):
        return None


def _member(container: Any, step: Any) -> Any:
    if isinstance(step, str):
        return container.get(step)
    return container[step] if 0 <= step < len(container) else None


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _name(steps: Sequence[Any]) -> str:
    return ".".join(str(step) for step in steps) or "content"


def _wrong_type(steps: Sequence[Any], value: Any, kind: type) -> GatewayFailed:
    if isinstance(value, float) and not math.isfinite(value):
        actual = "no finite number"
    elif value is None:
        actual = "null"
    else:
        actual = _TYPE_NAMES.get(type(value), "something else")
    return GatewayFailed(f"{_name(steps)} in the answer is {actual}, not {_TYPE_NAMES[kind]}")
