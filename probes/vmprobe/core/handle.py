"""The handle: the unique name of one run, which begins the name of everything that the run creates.

``vmprobe-<owner>-<UTC start>-<lease minutes>-<random>``, letters, digits and ``-`` only, below 60 characters. Whoever
sees it in a cloud can tell from the name alone whose it is and when it expires.
"""

from __future__ import annotations

import calendar
import functools
import hashlib
import math
import re
import secrets
import socket
import time
from typing import NamedTuple, Optional, Pattern

PREFIX = "vmprobe-"
_OWNER_LIMIT = 18
_RANDOM = "abcdefghijkmnpqrstuvwxyz23456789"
_FORM = re.compile(
    r"vmprobe-(?P<owner>[a-z0-9][a-z0-9-]{0,%d})-(?P<start>\d{8}t\d{6}z)-(?P<minutes>\d{1,5})"
    r"-(?P<random>[a-z0-9]{8})(?:-[a-z0-9-]+)?" % (_OWNER_LIMIT - 1),
    re.ASCII,
)


class Handle(NamedTuple):
    """Who started a run, when, and for how long at most."""

    owner: str
    start: int  # seconds since the epoch
    minutes: int
    random: str

    def __str__(self) -> str:
        stamp = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime(self.start))
        return f"{PREFIX}{self.owner}-{stamp}-{self.minutes}-{self.random}"

    @property
    def expires(self) -> int:
        """When the lease ends, in seconds since the epoch."""
        return self.start + 60 * self.minutes

    def covers(self, name: str) -> bool:
        """Whether a thing of this name belongs to this very run."""
        return name.isascii() and _names(self).fullmatch(name.lower()) is not None


@functools.lru_cache(maxsize=16)
def _names(handle: Handle) -> Pattern[str]:
    """The names that a handle covers: what ``parse`` finds it in, at a tenth of the cost for lists of thousands."""
    return re.compile(re.escape(str(handle)) + "(?:-[a-z0-9-]+)?")


def new(owner: str, total: float, now: float) -> Handle:
    """The handle of a run that begins at ``now`` (epoch) and ends ``total`` seconds later, and a minute for clocks."""
    random = "".join(secrets.choice(_RANDOM) for _ in range(8))
    return Handle(owner, int(now), min(math.ceil(total / 60) + 1, 99999), random)


def parse(name: str) -> Optional[Handle]:
    """The handle that a name begins with, or None. Only the exact form counts; a cloud may have changed the case."""
    match = _FORM.fullmatch(name.lower()) if name.isascii() else None
    if not match:
        return None
    try:
        start = calendar.timegm(time.strptime(match["start"], "%Y%m%dt%H%M%Sz"))
    except ValueError:
        return None
    found = Handle(match["owner"], start, int(match["minutes"]), match["random"])
    return (
        found if name.lower().startswith(str(found)) else None
    )  # a second 61, or minutes 007, were never ours


def owner_word(wanted: str = "") -> str:
    """An owner as handles carry it: this host's name, unless another is wanted. Capitals and small letters are the same.

    A name that has to be changed, or cut, gets a check sum of the whole: ``mon.1`` and ``mon-1`` are two owners.

    >>> owner_word("mon1"), owner_word("mon1.example.org")
    ('mon1', 'mon1-example-cad8f')
    """
    full = (wanted or socket.gethostname()).lower()
    word = re.sub(r"[^a-z0-9]+", "-", full).strip("-")
    if word == full and len(word) <= _OWNER_LIMIT:
        return word
    return (
        (word[: _OWNER_LIMIT - 6].rstrip("-") or "host")
        + "-"
        + hashlib.sha256(full.encode("utf-8", "replace")).hexdigest()[:5]
    )
