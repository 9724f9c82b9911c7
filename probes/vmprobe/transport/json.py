"""Reading what a manager answered, as what it should be: a wrong shape is GatewayFailed, never a KeyError.

reply.field("server", "id", str)                          there and text, or GatewayFailed
field(server, "fault", "message", str, default="")        not there or null is the default
for server in reply.items("servers"): short_text(server, "id")  a list of objects; a short text fit for a URL or a line
"""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Optional

from vmprobe.core.errors import GatewayFailed

_REQUIRED = object()
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
_LONGEST_WORD = 255


def field(document: Any, *path: Any, default: Any = _REQUIRED) -> Any:
    """What is at ``path`` (keys and indexes, then the type); GatewayFailed names what is missing or of another type.

    With a ``default``, what is not there, or is null, is the default; another type is an error all the same. ``float``
    takes whole numbers too, and only finite ones.
    """
    *steps, kind = path
    found = document
    for number, step in enumerate(steps):
        if found is None:
            break
        if not isinstance(found, dict if isinstance(step, str) else list):
            raise _wrong(steps[:number], found, dict if isinstance(step, str) else list)
        found = (
            found.get(step)
            if isinstance(step, str)
            else found[step]
            if 0 <= step < len(found)
            else None
        )
    if found is None:
        if default is _REQUIRED:
            raise GatewayFailed(f"the answer has no {_name(steps)}")
        return default
    if kind is float and type(found) is int:
        found = _finite(found)
    if type(found) is not kind or kind is float and not math.isfinite(found):
        raise _wrong(steps, found, kind)
    return found


def items(document: Any, *path: Any, default: Any = _REQUIRED) -> List[Dict[str, Any]]:
    """The list of objects at ``path``, each of them an object."""
    found = field(document, *path, list, default=default)
    for number, item in enumerate(found):
        if not isinstance(item, dict):
            raise _wrong([*path, number], item, dict)
    return found


def short_text(document: Any, *path: Any, default: Any = _REQUIRED) -> str:
    """A short text such as an id, a name or a state; a whole number is taken as its digits.

    GatewayFailed when it is empty, longer than 255 characters, or not printable.
    """
    found = document
    if path:
        found = field(
            document, *path[:-1], dict if isinstance(path[-1], str) else list, default=None
        )
        found = found and (
            found.get(path[-1]) if isinstance(path[-1], str) else field(found, path[-1], str)
        )
    if type(found) is int and abs(found) < 10**30:
        found = str(found)
    if found is None and default is not _REQUIRED:
        return default
    if found is None:
        raise GatewayFailed(f"the answer has no {_name(path)}")
    if type(found) is not str:
        raise _wrong(path, found, str)
    if not found or len(found) > _LONGEST_WORD or not found.isprintable():
        raise GatewayFailed(f"{_name(path)} in the answer is no short, printable text")
    return found


_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?\d*(?:Z|([+-]\d\d):?(\d\d))?",
    re.ASCII,
)


def parse_time(text: Any) -> Optional[float]:
    """Seconds since the epoch of a time stamp by ISO 8601, UTC where it names no zone; None when it is none.

    A moment before 1970 is how programs write that there is none: 0001-01-01, or the epoch itself.
    """
    from datetime import datetime, timedelta, timezone

    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return None
    *parts, fraction, hours, minutes = match.groups()
    try:
        read = datetime(*map(int, parts), tzinfo=timezone.utc)
        zone = timedelta(hours=int(hours or 0), minutes=int((hours or "+")[0] + (minutes or "0")))
        found = (read - zone).timestamp() + float(fraction or 0)
        return found if found > 0 else None
    except (ValueError, OverflowError):
        return None


def _finite(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _name(steps: Any) -> str:
    return ".".join(str(step) for step in steps) or "content"


def _wrong(steps: Any, found: Any, kind: type) -> GatewayFailed:
    is_now = (
        "no finite number"
        if isinstance(found, float) and not math.isfinite(found)
        else "null"
        if found is None
        else _WORDS.get(type(found), "something else")
    )
    return GatewayFailed(f"{_name(steps)} in the answer is {is_now}, not {_WORDS[kind]}")
