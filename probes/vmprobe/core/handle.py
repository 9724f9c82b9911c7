"""The handle: the unique name of a run. The names of all that the run creates begin with it.

``vmprobe-<owner>-<UTC start>-<lease minutes>-<random>``: letters, digits and ``-``, below 60
characters. Anyone can tell from such a name alone whose it is and when it expires.
"""

from __future__ import annotations

import calendar
import functools
import math
import os
import re
import time
from typing import NamedTuple, Optional, Pattern

PREFIX = "vmprobe-"
_OWNER_LIMIT = 18
_RANDOM = "abcdefghijkmnpqrstuvwxyz23456789"  # 32, so that each is as likely as the others
_PARTS = (
    r"vmprobe-(?P<owner>[a-z0-9][a-z0-9-]{0,%d})-(?P<start>\d{8}t\d{6}z)-(?P<minutes>\d{1,5})"
    r"-(?P<random>[a-z0-9]{8})" % (_OWNER_LIMIT - 1)
)
_FORM = re.compile(_PARTS + "(?:-[a-z0-9-]+)?", re.ASCII)


class Handle(NamedTuple):
    """Who started a run, when, and how long it may last."""

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
        """Whether a resource of this name belongs to this run."""
        return name.isascii() and _names(self).fullmatch(name.lower()) is not None


@functools.lru_cache(maxsize=16)
def _names(handle: Handle) -> Pattern[str]:
    """Matches the names that a handle covers, as ``parse`` does, at a tenth of its cost."""
    return re.compile(re.escape(str(handle)) + "(?:-[a-z0-9-]+)?")


def new(owner: str, total: float, now: float) -> Handle:
    """A handle for a run that begins at ``now`` (epoch) and may last ``total`` seconds.

    A minute is added for clocks that differ.
    """
    random = "".join(_RANDOM[byte % len(_RANDOM)] for byte in os.urandom(8))
    return Handle(owner, int(now), min(math.ceil(total / 60) + 1, 99999), random)


def parse(name: str) -> Optional[Handle]:
    """The handle at the beginning of a name, or None.

    Only the exact form counts, but in capital or small letters: some clouds change these.
    """
    match = _FORM.fullmatch(name.lower()) if name.isascii() else None
    if not match:
        return None
    try:
        start = calendar.timegm(time.strptime(match["start"], "%Y%m%dt%H%M%Sz"))
    except ValueError:
        return None
    handle = Handle(match["owner"], start, int(match["minutes"]), match["random"])
    # a second 61, or minutes 007, were never ours
    return handle if name.lower().startswith(str(handle)) else None


def shortened(text: str) -> str:
    """Shorten each handle in a text to its random part.

    >>> shortened("server vmprobe-mon1-20270115t080000z-2-x7k2m9qp-3 is BUILD")
    'server ...x7k2m9qp-3 is BUILD'
    """
    return re.sub(rf"\b{_PARTS}(?P<member>-\d{{1,4}})?\b", r"...\g<random>\g<member>", text)


def owner_word(owner: str = "") -> str:
    """An owner in the form that handles carry; by default this host's name. In small letters.

    A name that has to be changed or cut gets a check sum: ``mon.1`` and ``mon-1`` are two owners.

    >>> owner_word("mon1"), owner_word("mon1.example.org")
    ('mon1', 'mon1-example-cad8f')
    """
    full = (owner or os.uname().nodename).lower()
    word = re.sub(r"[^a-z0-9]+", "-", full).strip("-")
    if word == full and len(word) <= _OWNER_LIMIT:
        return word
    import hashlib  # not at the top: it loads OpenSSL, and most runs do not need it

    check_sum = hashlib.sha256(full.encode("utf-8", "replace")).hexdigest()[:5]
    return f"{word[: _OWNER_LIMIT - 6].rstrip('-') or 'host'}-{check_sum}"
