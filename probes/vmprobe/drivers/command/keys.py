"""Parse the keys of a site file that say which command it is, and what it offers."""

from __future__ import annotations

import os
import re
from typing import Dict, FrozenSet, Mapping, Tuple
from urllib.parse import urlsplit

from vmprobe.core.model import EXTRA_METRICS, METRICS, Capability
from vmprobe.core.text import suggest
from vmprobe.core.values import word_list

# The protocol has no verbs for ports: a server's port counts as attached once it has an address.
OFFERS = {each.value: each for each in Capability if each is not Capability.PORTS}
ALL_METRICS = METRICS + EXTRA_METRICS


def executable(text: str) -> str:
    """The absolute path of a program. It is started without a shell."""
    if not os.path.isabs(text):
        raise ValueError("is not an absolute path like '/usr/local/libexec/my-manager'")
    return text


def endpoint_url(text: str) -> str:
    """What the command knows its manager by: a URL of any scheme, or a word."""
    if re.search(r"\s", text) or not text.isprintable():
        raise ValueError("contains blanks")
    try:
        has_password = urlsplit(text).password is not None
    except ValueError:
        raise ValueError("is not a URL") from None
    if has_password:
        raise ValueError("carries a password; it belongs into the credentials file")
    return text


def offers(text: str) -> FrozenSet[Capability]:
    """The capabilities of the command, such as ``volumes, console``."""
    return frozenset(OFFERS[word] for word in _known(text, tuple(OFFERS)))


def metrics(text: str) -> Tuple[str, ...]:
    """The metrics of the command, such as ``cpu, disk_read``."""
    words = _known(text, ALL_METRICS)
    return tuple(metric for metric in ALL_METRICS if metric in words)


def options(text: str) -> Mapping[str, str]:
    """Words for the command alone: ``pool=default, domain type=kvm``."""
    found: Dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_ -]*", key) or key in found:
            raise ValueError("is not a list like 'pool=default, cpu=host', each key once")
        found[key] = value
    return found


def _known(text: str, words: Tuple[str, ...]) -> Tuple[str, ...]:
    for word in word_list(text):
        if word not in words:
            raise ValueError(f"contains {word}; {suggest(word, words)}")
    return word_list(text)
