"""Read what the reporter (``reporter.sh``) writes to the console of a test VM.

It writes one line for each fact: ``vmprobe <nonce> <uptime s> <fact> key=value ...``.
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, NamedTuple, Sequence

from vmprobe.core.model import Ref
from vmprobe.core.text import whole_number

_LINE = re.compile(
    r"vmprobe (?P<nonce>[A-Za-z0-9-]+) (?P<uptime>[0-9]{1,9}(?:\.[0-9]{1,9})?)"
    r" (?P<fact>[a-z_]+)(?: (?P<of>[a-z_]+))?"
    r"(?P<rest>(?: [a-z_]+=\S*)*)\s*$"
)
_MISSING = {"network": "its console says no network yet", "disk": "its console says no disk yet"}


class Fact(NamedTuple):
    """One line of the reporter; ``uptime`` is in seconds since the guest's kernel started."""

    fact: str
    of: str  # of a fault: network or disk; else ''
    uptime: float
    values: Mapping[str, str]


def facts(text: str, nonce: str) -> List[Fact]:
    """Return the facts in a console's text that have this nonce, in order."""
    found = []
    for line in re.split(r"[\r\n]+", text):
        match = _LINE.search(line)
        if match and match["nonce"] == nonce:
            values: Dict[str, str] = dict(pair.split("=", 1) for pair in match["rest"].split())
            found.append(Fact(match["fact"], match["of"] or "", float(match["uptime"]), values))
    return found


def missing(reported: Sequence[Fact], wanted: str, server: Ref) -> str:
    """Return what is missing on the console of a server; '' when ``wanted`` is proved.

    ``wanted`` is 'network' or 'disk'.
    """
    for fact in reversed(reported):
        if fact.fact == wanted and _proves(fact):
            return ""
    for fact in reversed(reported):
        if fact.fact == "fault" and fact.of == wanted:
            reason = fact.values.get("reason", "")
            return f"{server}: its console says {wanted} fault {reason}".rstrip()
    return (
        f"{server}: {_MISSING[wanted]}" if reported else f"{server}: its console says nothing yet"
    )


def _proves(fact: Fact) -> bool:
    """Whether a network has an address and answers, or a disk was read back as it was written."""
    if fact.fact == "network":
        return bool(fact.values.get("address")) and fact.values.get("answers") != "no"
    return (whole_number(fact.values.get("verified")) or 0) > 0
