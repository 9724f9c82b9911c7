"""Submit targets: where check results are sent (``[schedule] submit`` and ``--submit``).

A target is one word, ``KIND:WHERE``, optionally followed by ``,key=value``, without secrets:

    nagios:/var/lib/nagios4/rw/nagios.cmd            Nagios' command pipe
    results:/var/lib/nagios4/spool/checkresults      Nagios' check-result directory
    icinga2:https://mon:5665,credentials=F,ca=F      Icinga 2's REST API; username and password,
                                                     or certificate and key
    nsca:mon:5667,config=/etc/send_nsca.cfg          through the program send_nsca; an IPv6 address
                                                     is written as nsca:[2001:db8::1]:5667
    nrdp:https://mon/nrdp/,credentials=F,ca=F        NRDP; token
    file:/var/log/vmprobe.json                       one JSON object per line, appended

This module only parses; sending is in ``report/submit``.
"""

from __future__ import annotations

import os
import re
from typing import Dict, Mapping, NamedTuple, Tuple

from vmprobe.core.urls import has_user

_NSCA_PORT = 5667
KINDS: Dict[str, Tuple[str, ...]] = {  # the options of each kind of target
    "nagios": (),
    "results": (),
    "icinga2": ("credentials", "ca"),
    "nsca": ("config",),
    "nrdp": ("credentials", "ca"),
    "file": (),
}


class Target(NamedTuple):
    """Where check results are sent."""

    kind: str
    where: str  # a path, a URL, or NSCA's host and port
    options: Mapping[str, str]
    text: str  # the whole word, as written

    @property
    def name(self) -> str:
        """The target without its options, as messages show it."""
        return f"{self.kind}:{self.where}"


def parse(text: str) -> Target:
    """The target that ``text`` names; ValueError says what is wrong and what would be right."""
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise _invalid(f"unknown kind {kind}; use one of {', '.join(KINDS)}")
    where, *pairs = rest.split(",")
    options = dict(pair.partition("=")[::2] for pair in pairs)
    for name in options:
        if name not in KINDS[kind]:
            known = ", ".join(KINDS[kind]) or "none"
            raise _invalid(f"{kind} has no option {name}; its options: {known}")

    if kind in ("nagios", "results", "file") and not os.path.isabs(where):
        raise _invalid(f"{kind} needs an absolute path")
    if kind in ("icinga2", "nrdp"):
        if not where.startswith("https://"):
            raise _invalid(f"{kind} needs a URL that begins with https://")
        if has_user(where):
            raise _invalid(
                "the URL contains a user or password; these belong in the credentials file"
            )
        if "credentials" not in options:
            raise _invalid(f"{kind} needs credentials=FILE")
    if kind == "nsca":
        host_and_port(where)
    return Target(kind, where, options, text)


def parse_all(text: str) -> Tuple[str, ...]:
    """The targets in ``text``, separated by blanks, as written; ValueError if one is wrong."""
    for word in text.split():
        parse(word)
    return tuple(text.split())


def host_and_port(where: str) -> Tuple[str, str]:
    """NSCA's host and port; ValueError if ``where`` is neither.

    Accepted: ``host``, ``host:port``, ``[address]``, ``[address]:port`` and a bare IPv6 address.
    """
    if not where:
        raise _invalid("nsca needs a host")
    match = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9_](?:[\w.-]*\w)?\.?))(?::([0-9]{1,5}))?",
        where,
    )
    if match:
        host, port = match[1] or match[2], int(match[3] or _NSCA_PORT)
    else:
        host, port = where, _NSCA_PORT
    is_ipv6 = ":" in host
    if not (_is_ipv6_address(host.partition("%")[0]) if is_ipv6 else match) or not 0 < port < 65536:
        raise _invalid(
            "nsca needs a host and a port like mon.example.org:5667, 192.0.2.1 or "
            "[2001:db8::1]:5667"
        )
    return host, str(port)


def _is_ipv6_address(host: str) -> bool:
    import ipaddress  # imported here because few sites need it and every start would pay for it

    try:
        ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _invalid(reason: str) -> ValueError:
    return ValueError(f"is not a target: {reason}")
