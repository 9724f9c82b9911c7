"""The gate: whether a thing in the cloud belongs to one run. Nothing is attached, changed or removed that has not passed it.

An id by itself proves nothing: a reply can be another request's, a cache can be wrong, a ledger can be damaged. A thing
passes when the manager, asked for this very kind and id (or for everything under the handle), shows this id under a name
that the handle covers. What the manager made for a server by itself often has no name: it passes while the manager says
that it belongs to a server that has passed, or to none, and has the name that it had when it was first seen.
"""

from __future__ import annotations

import enum
from typing import Dict, Optional, Set, Tuple

from vmprobe.core.errors import Conflict, GatewayFailed
from vmprobe.core.handle import Handle
from vmprobe.core.model import Kind, Ref, Resource

Key = Tuple[Kind, str]


class Owner(enum.Enum):
    """Whose a thing is, by what the manager has just said of it."""

    OURS = "ours"
    OTHER = "somebody else's"
    UNKNOWN = "not known yet"  # it has no name, and was never shown under the handle


class Gate:
    """What has passed so far, for one handle."""

    def __init__(self, handle: Handle):
        self.handle = handle
        self._passed: Dict[Key, Ref] = {}  # by id
        self._by_name: Dict[Key, Ref] = {}
        self._refused: Set[Key] = set()  # ids that are somebody else's
        self._nameless: Set[Key] = (
            set()
        )  # ids that were shown without a name, and never under the handle
        self._bound: Dict[
            Key, Tuple[Ref, str]
        ] = {}  # what the manager made by itself, and for which server

    # --- questions and their answers --------------------------------------------------------------------------

    def answer(self, asked: Ref, thing: Resource) -> Owner:
        """Judge the answer to ``show(asked)``. GatewayFailed when it is the answer to another question."""
        if (thing.ref.kind, thing.ref.id) != (asked.kind, asked.id):
            raise GatewayFailed(f"asked for {asked}, the manager answered with {thing.ref}")
        owner = self._judge(asked, thing)
        if owner is Owner.OURS and _key(asked) not in self._bound:
            self._pass(asked._replace(name=thing.ref.name or asked.name))
        elif owner is Owner.OTHER:
            self._refuse(asked)
        elif owner is Owner.UNKNOWN:
            self._nameless.add(_key(asked))
        return owner

    def listed(self, kind: Kind, thing: Resource) -> bool:
        """Judge one thing in the answer to ``list(kind, handle)``."""
        if thing.ref.kind is not kind or not thing.ref.id or not self.handle.covers(thing.ref.name):
            return False
        self._pass(thing.ref)
        return True

    def bind(self, server_id: str, ref: Ref) -> None:
        """The manager said that it made this for a server that has passed."""
        self._bound[_key(ref)] = (ref, server_id)

    # --- what has passed --------------------------------------------------------------------------------------

    def passed(self, ref: Ref) -> bool:
        """Whether this id has been shown under the handle."""
        return _key(ref) in self._passed

    def named(self, kind: Kind, name: str) -> Optional[Ref]:
        """What was shown last under this name."""
        return self._by_name.get((kind, name.lower()))

    def is_doubtful(self, ref: Ref) -> bool:
        """Whether this id was shown without a name only: a list may know another one under its name."""
        return _key(self.known(ref)) in self._nameless

    def known(self, ref: Ref) -> Ref:
        """``ref`` with the id that the manager has shown under its name; without an id where that is not known."""
        if self.passed(ref):
            return ref
        shown = self.named(ref.kind, ref.name)
        if shown is not None:
            return shown._replace(name=ref.name)
        return ref._replace(id="") if _key(ref) in self._refused else ref

    def require(self, ref: Ref) -> Ref:
        """The thing to act upon; Conflict ("not now") as long as it has not passed."""
        found = self.known(ref)
        if not self.passed(found):
            raise Conflict(f"{ref} has not been shown under {self.handle} yet: it is not touched")
        return found

    # ----------------------------------------------------------------------------------------------------------

    def _judge(self, asked: Ref, thing: Resource) -> Owner:
        if _key(asked) in self._bound:
            made, server_id = self._bound[_key(asked)]
            if thing.server not in ("", server_id) or thing.ref.name != made.name:
                return Owner.OTHER
            return Owner.OURS
        if not thing.ref.name:
            return Owner.OURS if self.passed(asked) else Owner.UNKNOWN
        return Owner.OURS if self.handle.covers(thing.ref.name) else Owner.OTHER

    def _pass(self, ref: Ref) -> None:
        self._refused.discard(_key(ref))
        self._nameless.discard(_key(ref))
        self._passed[_key(ref)] = self._by_name[ref.kind, ref.name.lower()] = ref

    def _refuse(self, ref: Ref) -> None:
        self._refused.add(_key(ref))
        self._bound.pop(_key(ref), None)
        passed = self._passed.pop(_key(ref), None)
        if passed is not None and self._by_name.get((passed.kind, passed.name.lower())) == passed:
            del self._by_name[passed.kind, passed.name.lower()]


def _key(ref: Ref) -> Key:
    return ref.kind, ref.id
