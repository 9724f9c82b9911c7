"""The lines of a ledger: what each of them says, and what it does to the debts.

One JSON object for each line. Its ``event`` is one of: *lease*, the first line, with site, endpoint
and process; *intent* before a request leaves; *created* with the id from the reply; *belongs* for
what the manager made for a server by itself; *refused* when nothing was made; *gone* once the
manager has shown that it does not exist any more.
"""

from __future__ import annotations

import json
import math
from typing import Dict, Iterable, List, Mapping, NamedTuple, Tuple

from vmprobe.core.model import Kind, Ref
from vmprobe.core.redact import current

Entry = Mapping[str, object]
_EVENTS = ("intent", "created", "belongs", "refused", "gone")
# What comes from the manager, by event, and is redacted before it is written.
_FOREIGN = {"belongs": ("id", "server", "name")}


class Debt(NamedTuple):
    """A resource that has to be verified as gone. Without an id, it was requested and may exist."""

    ref: Ref
    at: float  # when it was asked for or made, in seconds since the epoch
    # Id of the server that the manager made it for by itself; '' for what the run asked for.
    server: str = ""

    @property
    def is_intent(self) -> bool:
        """Whether it was asked for, and nothing is known of it yet."""
        return not self.ref.id


class Owed:
    """What the lines of one ledger leave owed."""

    def __init__(self, name: str):
        self.about: Entry = {}  # the first line
        self._name = name
        self._debts: Dict[Tuple[str, ...], Debt] = {}  # oldest first

    def apply(self, entry: object) -> bool:
        """Apply one line; False when it is not a line of this ledger."""
        if not isinstance(entry, dict):
            return False
        event, kind = entry.get("event"), str(entry.get("kind"))
        if event == "lease":
            self.about = entry
            return True
        if event not in _EVENTS or kind not in (known.value for known in Kind):
            return False
        id, name, server = entry.get("id", ""), entry.get("name", ""), entry.get("server", "")
        if not (isinstance(id, str) and isinstance(name, str) and isinstance(server, str)):
            return False
        ref, at = Ref(Kind(kind), id, name), _number(entry.get("at"))
        if event == "intent":
            self._debts[kind, "name", name] = Debt(ref, at)
            return True
        if event == "belongs":
            if entry.get("sum") != checksum(self._name, ref, server):
                return False
            self._debts[kind, "id", id] = Debt(ref, at, server)
            return True
        self._debts.pop((kind, "name", name), None)
        if event == "created":
            self._debts[kind, "id", id] = Debt(ref, at)
        elif event == "gone":
            self._debts.pop((kind, "id", id), None)
        return True

    def debts(self) -> List[Debt]:
        """What was created and not yet seen gone, and what may have been created, newest first."""
        return list(reversed(list(self._debts.values())))

    def holds(self, ref: Ref) -> bool:
        """Whether the resource of this kind and id is owed."""
        return (ref.kind.value, "id", ref.id) in self._debts


def entry(event: str, ref: Ref, **more: object) -> Entry:
    """The line of an event about a resource with an id."""
    return {"event": event, "kind": ref.kind.value, "id": ref.id, "name": ref.name, **more}


def entries_by_name(event: str, kind: Kind, names: Iterable[str], **more: object) -> List[Entry]:
    """The lines of an event about resources that have no id yet."""
    return [{"event": event, "kind": kind.value, "name": name, **more} for name in names]


def checksum(ledger_name: str, ref: Ref, server: str) -> str:
    """Return what ties a *belongs* line to its ledger.

    No manager will confirm a resource without a name, so such a line must not come from elsewhere.
    """
    parts = [ledger_name, ref.kind.value, ref.id, ref.name, server]
    import hashlib  # not at the top: it loads OpenSSL, and most runs do not need it

    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def encode(entry: Entry) -> bytes:
    """The line as it is written, with its line end.

    A manager may give anything as an id, so secrets are redacted. A resource whose id was
    changed by that is still found by its handle.
    """
    foreign = _FOREIGN.get(str(entry["event"]), ("id",))
    redacted = {
        key: current().redact_id(value) if key in foreign and isinstance(value, str) else value
        for key, value in entry.items()
    }
    return json.dumps(redacted, sort_keys=True).encode() + b"\n"


def _number(value: object) -> float:
    """A time; 0.0 where it is none."""
    try:
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0
    except OverflowError:
        return 0.0
