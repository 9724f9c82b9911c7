"""Resource groups: one for each run, or one that all runs share.

A run's own group has the run's handle as its name. Its deletion removes everything under it, so the
last thing of a run is deleted together with the group, and is gone when the group is.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Set

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.drivers.azure import names
from vmprobe.drivers.azure.arm import Record, Session
from vmprobe.drivers.azure.names import Place
from vmprobe.transport.json import field, short_text

DELETING = "Deleting"


class Groups:
    """The groups of the runs that this session makes and removes things for."""

    def __init__(self, session: Session):
        self._session = session
        self.shared: str = (session.endpoint.get("resource group") or "").lower()
        self._there: Set[str] = set()  # groups that this session made
        # What this session made or deleted: the list of a group may lag behind.
        self._made: Dict[str, Set[str]] = {}
        self._deleting: Set[str] = set()

    # --- make -----------------------------------------------------------------------------------

    def ensure(self, name: str) -> str:
        """The group for a resource of this name; a run's own is made where it is not there."""
        if self.shared:
            return self.shared
        group = names.own_group(name)
        if not group:
            raise ClientError(f"{name!r} belongs to no run: it has no group to be in")
        if group not in self._there:
            body = {"location": self._session.endpoint["region"], "tags": {names.TAG: group}}
            self._session.request(
                "PUT", self._path(group), "resources", "create resource group", json=body
            )
            self._there.add(group)
        return group

    def asking(self, kind: str, where: Place) -> None:
        """A request for this leaves now: an earlier deletion of the same name does not count."""
        self._deleting.discard(_key(kind, where.name))

    def made(self, kind: str, where: Place) -> None:
        """The request was accepted."""
        self._made.setdefault(where.group, set()).add(_key(kind, where.name))

    def deleting(self, kind: str, where: Place) -> None:
        """The request for its deletion was sent."""
        self._made.get(where.group, set()).discard(_key(kind, where.name))
        self._deleting.add(_key(kind, where.name))

    def is_deleting(self, kind: str, where: Place) -> bool:
        """Whether this session has requested its deletion."""
        return _key(kind, where.name) in self._deleting

    # --- remove ---------------------------------------------------------------------------------

    def state_if_last(self, where: Place, parts: Sequence[str]) -> Optional[str]:
        """The state of the run's own group, if it holds nothing but these parts of one thing.

        ``parts`` are ``TYPE/NAME``. None where other things are in it, where it is not there, and
        where no run has it to itself.
        """
        group = where.group
        if names.own_group(where.name) != group:
            return None
        state = self.state(group)
        if state is None or state == DELETING:
            return state
        own = {part.lower() for part in parts}
        there = {_type_and_name(record) for record in self.resources(group)}
        there |= self._made.get(group, set())
        return None if there - own - self._deleting else state

    def state(self, group: str) -> Optional[str]:
        """The state of a run's own group; None where it is not there, or does not say that it is.

        It says so by its tag: a group that only has such a name is nobody's to delete.
        """
        try:
            reply = self._session.get(self._path(group), "resources", f"resource group {group}")
        except NotFound:
            return None
        tag = reply.field("tags", dict, default={}).get(names.TAG)
        if not isinstance(tag, str) or tag.lower() != group:
            return None
        return reply.short_text("properties", "provisioningState", default="Succeeded")

    def delete(self, group: str) -> None:
        """Ask for the removal of a run's own group, with everything in it."""
        self._session.request(
            "DELETE", self._path(group), "resources", f"delete resource group {group}"
        )
        self._there.discard(group)
        self._made.pop(group, None)

    def resources(self, group: str) -> List[Record]:
        """Everything in a group."""
        try:
            return self._session.pages(
                f"{self._path(group)}/resources", "resources", f"list resource group {group}"
            )
        except NotFound:
            return []

    def of_runs(self, name: str) -> List[str]:
        """The groups of runs whose name begins with ``name``."""
        records = self._session.pages(
            self._session.below("resourcegroups"), "resources", "list resource groups"
        )
        found = [short_text(record, "name").lower() for record in records]
        return [
            one for one in found if one.startswith(name.lower()) and names.own_group(one) == one
        ]

    def _path(self, group: str) -> str:
        return names.group_path(self._session.subscription, group)


def _key(kind: str, name: str) -> str:
    return f"{kind}/{name}".lower()


def _type_and_name(record: Record) -> str:
    return _key(field(record, "type", str, default=""), field(record, "name", str, default=""))
