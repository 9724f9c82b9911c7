"""What the test VM's reporter says on its console: one line per fact, with the run's nonce.

``vmprobe <nonce> <uptime s> <fact> key=value ...``; the reporter is ``guest/reporter.sh``.
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, NamedTuple, Sequence

from vmprobe.core.model import Ref
from vmprobe.core.text import whole_number

_LINE = re.compile(
    r"vmprobe (?P<nonce>[A-Za-z0-9-]+) (?P<uptime>[0-9]{1,9}(?:\.[0-9]{1,9})?) (?P<fact>[a-z_]+)(?: (?P<of>[a-z_]+))?"
    r"(?P<rest>(?: [a-z_]+=\S*)*)\s*$"
)
_MISSING = {"network": "its console says no network yet", "disk": "its console says no disk yet"}


class Fact(NamedTuple):
    """One line of the reporter: ``uptime`` in seconds since the guest's kernel started."""

    fact: str
    of: str  # what a fault is about
    uptime: float
    values: Mapping[str, str]


def facts(text: str, nonce: str) -> List[Fact]:
    """The facts of this run in a console's text, in order; what other runs or the system wrote is passed over."""
    found = []
    for line in re.split(r"[\r\n]+", text):
        match = _LINE.search(line)
        if match and match["nonce"] == nonce:
            values: Dict[str, str] = dict(pair.split("=", 1) for pair in match["rest"].split())
            found.append(Fact(match["fact"], match["of"] or "", float(match["uptime"]), values))
    return found


def missing(said: Sequence[Fact], wanted: str, server: Ref) -> str:
    """'' when the reporter has said that it has ``wanted`` ('network' or 'disk'), else what is missing."""
    for fact in reversed(said):
        if fact.fact == wanted and _proves(fact):
            return ""
    for fact in reversed(said):
        if fact.fact == "fault" and fact.of == wanted:
            return f"{server}: its console says {wanted} fault {fact.values.get('reason', '')}".rstrip()
    return f"{server}: {_MISSING[wanted]}" if said else f"{server}: its console says nothing yet"


def _proves(fact: Fact) -> bool:
    if fact.fact == "network":
        return bool(fact.values.get("address")) and fact.values.get("answers") != "no"
    return (whole_number(fact.values.get("verified")) or 0) > 0
