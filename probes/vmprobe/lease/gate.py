"""The gate: it decides whether a resource in the cloud belongs to one run.

Nothing is attached, changed or deleted that has not passed the gate. An id alone proves nothing: a
reply can belong to another request, a cache can be wrong, a ledger can be damaged. A resource
passes when the manager was asked for exactly this kind and id, or for everything under the handle,
and the answer has this id and a name that the handle covers.

Belongings (what the manager made for a server by itself) often have no name. They pass as long as
two conditions hold: the manager says that they belong to a server that has passed, or to no server;
and their name is still the one of the first answer.
"""

from __future__ import annotations

import enum
from typing import Dict, Optional, Set, Tuple

from vmprobe.core.errors import Conflict, GatewayFailed
from vmprobe.core.handle import Handle
from vmprobe.core.model import Kind, Ref, Resource

RefKey = Tuple[Kind, str]  # a resource: its kind and its id (or its name, in small letters)


class Owner(enum.Enum):
    """Whose a resource is, according to the manager's last answer."""

    OURS = "ours"
    OTHER = "somebody else's"
    UNKNOWN = "not known yet"  # it has no name, and was never shown under the handle


class Gate:
    """What has passed so far, for one handle."""

    def __init__(self, handle: Handle):
        self.handle = handle
        self._passed: Dict[RefKey, Ref] = {}  # by id
        self._by_name: Dict[RefKey, Ref] = {}  # by name: what was shown last under it
        self._refused: Set[RefKey] = set()  # ids that are somebody else's
        self._nameless: Set[RefKey] = set()  # ids that were only ever shown without a name
        # What the manager made by itself, by id: as it was first seen, and the id of its server.
        self._bound: Dict[RefKey, Tuple[Ref, str]] = {}

    # --- judge answers ---

    def check_shown(self, asked: Ref, resource: Resource) -> Owner:
        """Judge the answer to ``show(asked)``; GatewayFailed when it answers another question."""
        if key_of(resource.ref) != key_of(asked):
            raise GatewayFailed(f"asked for {asked}, the manager answered with {resource.ref}")
        owner = self._owner(asked, resource)
        if owner is Owner.OURS and key_of(asked) not in self._bound:
            self._pass(asked._replace(name=resource.ref.name or asked.name))
        elif owner is Owner.OTHER:
            self._refuse(asked)
        elif owner is Owner.UNKNOWN:
            self._nameless.add(key_of(asked))
        return owner

    def check_listed(self, kind: Kind, resource: Resource) -> bool:
        """Judge one resource in the answer to ``list(kind, handle)``; True: it is ours."""
        ref = resource.ref
        if ref.kind is not kind or not ref.id or not self.handle.covers(ref.name):
            return False
        self._pass(ref)
        return True

    def bind(self, server_id: str, ref: Ref) -> None:
        """Remember that the manager made this for a server that has passed."""
        self._bound[key_of(ref)] = (ref, server_id)

    # --- what has passed ---

    def require(self, ref: Ref) -> Ref:
        """Return the resource to act upon; Conflict ("not now") until it has passed."""
        resolved = self.resolve(ref)
        if not self.has_passed(resolved):
            raise Conflict(f"{ref} has not been shown under {self.handle} yet: it is not touched")
        return resolved

    def resolve(self, ref: Ref) -> Ref:
        """Return ``ref`` with the id that the manager has shown under its name.

        The id is empty where the given one is somebody else's and ours is not known.
        """
        if self.has_passed(ref):
            return ref
        shown = self.by_name(ref.kind, ref.name)
        if shown is not None:
            return shown._replace(name=ref.name)
        return ref._replace(id="") if key_of(ref) in self._refused else ref

    def has_passed(self, ref: Ref) -> bool:
        """Whether this id has been shown under the handle."""
        return key_of(ref) in self._passed

    def by_name(self, kind: Kind, name: str) -> Optional[Ref]:
        """Return what was shown last under this name; None where there was nothing."""
        return self._by_name.get((kind, name.lower()))

    def is_nameless(self, ref: Ref) -> bool:
        """Whether this id was only shown without a name: a list may know another id for it."""
        return key_of(self.resolve(ref)) in self._nameless

    # --- helpers ---

    def _owner(self, asked: Ref, resource: Resource) -> Owner:
        if key_of(asked) in self._bound:
            first_seen, server_id = self._bound[key_of(asked)]
            if resource.server not in ("", server_id) or resource.ref.name != first_seen.name:
                return Owner.OTHER
            return Owner.OURS
        if not resource.ref.name:
            return Owner.OURS if self.has_passed(asked) else Owner.UNKNOWN
        return Owner.OURS if self.handle.covers(resource.ref.name) else Owner.OTHER

    def _pass(self, ref: Ref) -> None:
        self._refused.discard(key_of(ref))
        self._nameless.discard(key_of(ref))
        self._passed[key_of(ref)] = self._by_name[ref.kind, ref.name.lower()] = ref

    def _refuse(self, ref: Ref) -> None:
        self._refused.add(key_of(ref))
        self._bound.pop(key_of(ref), None)
        passed = self._passed.pop(key_of(ref), None)
        if passed is not None and self.by_name(passed.kind, passed.name) == passed:
            del self._by_name[passed.kind, passed.name.lower()]


def key_of(ref: Ref) -> RefKey:
    """The key of a resource: its kind and id, without its name."""
    return ref.kind, ref.id
