"""What the manager made for our servers by itself, such as ports and boot volumes.

A manager may leave these behind when their server is deleted, and they often have no name. So they
are written to the ledger before the server is deleted, and deleted once it is gone.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence, Set

from vmprobe.core.errors import NotFound, NotPermitted
from vmprobe.core.model import Kind, Ref
from vmprobe.lease.attempts import FAILED
from vmprobe.lease.gate import RefKey, key_of
from vmprobe.lease.observer import LeaseObserver

_TRIES = 3  # so often is a server asked for its belongings before it is deleted without an answer


class Belongings:
    """The belongings of one lease's servers."""

    def __init__(self, observer: LeaseObserver):
        self._observer = observer
        self._tries: Dict[RefKey, int] = {}  # how often a server was asked; _TRIES: it has answered
        # Servers whose belongings are all known; nobody has to ask once more when they are gone.
        self._complete: Set[RefKey] = set()

    def record(self, server: Ref) -> bool:
        """Write the belongings of a server to the ledger; False: ask again before it is deleted."""
        observer, key = self._observer, key_of(server)
        if self._tries.get(key, 0) >= _TRIES:
            return True
        refs = observer.attempts.attempt(lambda: self._ask(server), half=True)
        if refs is FAILED:
            self._tries[key] = self._tries.get(key, 0) + 1
            if self._tries[key] < _TRIES:
                return False
            observer.timeline.notes.append(
                f"what the manager made for {server} is not known before its removal: "
                f"{observer.attempts.last_failure}"
            )
            return True
        self._tries[key] = _TRIES
        self._bind(server.id, refs)
        return True

    def record_orphans(self, servers: Sequence[Ref]) -> bool:
        """Write to the ledger what the manager left of these servers, which are gone themselves.

        False when the manager did not answer: then the servers do not count as gone yet.
        """
        unknown = [server for server in servers if not self.is_complete(server)]
        if not unknown:
            return True
        orphans = self._observer.attempts.attempt(lambda: self._ask_for_orphans(unknown))
        if orphans is FAILED:
            return False
        for server in unknown:
            self._complete.add(key_of(server))
            self._bind(server.id, orphans.get(server.id, []))
        return True

    def is_complete(self, server: Ref) -> bool:
        """Whether all that belongs to this server is known."""
        return key_of(server) in self._complete

    def are_gone(self, servers_are_awaited: bool) -> bool:
        """Ask for each resource whose server is gone, or is not awaited; True when none is left."""
        ledger = self._observer.ledger
        debts = [debt for debt in ledger.owed() if debt.server]
        awaited = set()
        if debts and servers_are_awaited:
            awaited = {debt.ref.id for debt in self._observer.requested(Kind.SERVER)}
        left = len(debts)
        for debt in debts:
            if debt.server not in awaited and self._observer.is_there(debt) is False:
                ledger.gone([debt.ref])
                left -= 1
        return left == 0

    def _ask(self, server: Ref) -> List[Ref]:
        observer = self._observer
        try:
            refs = observer.cloud.belongings(observer.gate.require(server))
        except NotFound:
            return []
        except NotPermitted as refused:
            observer.timeline.notes.append(
                f"what the manager made for {server} is not known: {refused}"
            )
            self._complete.add(key_of(server))  # a second question would be refused, too
            return list(refused.partial)
        if key_of(server) in observer.was_ready:
            self._complete.add(key_of(server))
        return refs

    def _ask_for_orphans(self, servers: Sequence[Ref]) -> Mapping[str, List[Ref]]:
        try:
            return self._observer.cloud.orphans(servers)
        except NotPermitted as refused:
            self._observer.timeline.notes.append(
                f"what is left of what the manager made for {servers[0]} is not known: {refused}"
            )
            return {}

    def _bind(self, server_id: str, refs: Sequence[Ref]) -> None:
        observer = self._observer
        new = [ref for ref in refs if ref.id and not observer.ledger.holds(ref)]
        for ref in new:
            observer.gate.bind(server_id, ref)
        observer.ledger.belongs(new, server_id, observer.utc())
