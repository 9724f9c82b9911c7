"""Parse the values of a site file: durations, sizes, numbers, words, URLs.

Each parser takes the text of a key and returns its value. ValueError has the end of the sentence
"KEY: 'TEXT' ...", such as "is not a duration like '300 s', '5 min' or '1 h'".
"""

from __future__ import annotations

import re
from typing import Callable, Optional, Tuple

from vmprobe.core import urls

_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}
_BYTES = {
    "": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "MB": 10**6,
    "GB": 10**9,
}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")
# A name has room for four digits, and a ledger for a few thousand resources.
_MOST_SERVERS = 1000
_LONGEST_RUN = 86400.0  # seconds; the handle itself has room for the minutes of 69 days


def duration(text: str) -> float:
    """Seconds: ``300``, ``300 s``, ``5 min``, ``1 h``, ``2 d``."""
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in _SECONDS:
        raise ValueError("is not a duration like '300 s', '5 min' or '1 h'")
    return float(match[1]) * _SECONDS[match[2]]


def positive_duration(text: str) -> float:
    """Seconds, more than 0."""
    if duration(text) <= 0:
        raise ValueError("has to be more than 0 s")
    return duration(text)


def run_time(text: str) -> float:
    """Seconds that a whole run may take: at most a day."""
    if positive_duration(text) > _LONGEST_RUN:
        raise ValueError("is longer than a day")
    return duration(text)


def size(text: str) -> int:
    """Bytes: ``1 GiB``, ``512 MiB``, ``10 GB``."""
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in _BYTES:
        raise ValueError("is not a size like '1 GiB' or '512 MiB'")
    return int(float(match[1]) * _BYTES[match[2]])


def size_or_none(text: str) -> Optional[int]:
    """Bytes, or None for ``none``."""
    if text == "none":
        return None
    try:
        size_in_bytes = size(text)
    except ValueError:
        size_in_bytes = 0
    if not size_in_bytes:
        raise ValueError("is neither a size like '1 GiB' nor 'none'")
    return size_in_bytes


def whole(least: int = 0) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``least`` up."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise ValueError(f"is not a whole number from {least} up")
        return int(text)

    return parse


def server_count(text: str) -> int:
    """The number of test VMs at once: 1 to 1000."""
    if whole(1)(text) > _MOST_SERVERS:
        raise ValueError(f"is more than {_MOST_SERVERS}")
    return int(text)


def fraction(text: str) -> float:
    """A share between 0 and 1: ``0.08`` or ``8 %``."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(%?)", text)
    share = float(match[1]) / (100 if match[2] else 1) if match else -1
    if not 0 <= share <= 1:
        raise ValueError("is not a share like '8 %' or '0.08'")
    return share


def yes_or_no(text: str) -> bool:
    """``yes`` or ``no``."""
    if text not in ("yes", "no"):
        raise ValueError("is neither 'yes' nor 'no'")
    return text == "yes"


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser that accepts only these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError("is not one of " + ", ".join(words))
        return text

    return parse


def word_list(text: str) -> Tuple[str, ...]:
    """Words separated by commas or blanks, as a tuple."""
    return tuple(word for word in re.split(r"[,\s]+", text) if word)


def http_url(text: str) -> str:
    """An http or https URL with a host, without credentials in it."""
    try:
        urls.origin(text)
        if re.search(r"\s", text):
            raise ValueError
    except ValueError:
        raise ValueError("is not a URL like 'https://host:5000/v3'") from None
    if urls.has_user(text):
        raise ValueError("contains a user or password; these belong in the credentials file")
    return text.rstrip("/")
