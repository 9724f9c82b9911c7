"""A driver with patience: what is the same for every manager is here, so that drivers stay thin.

Reads and removals are asked again when a failure may pass; creates never are. A session that ends during a run is
renewed once.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Sequence, TypeVar

from vmprobe.clock import Deadline
from vmprobe.driver import Driver
from vmprobe.errors import AuthRejected, Conflict, Transient
from vmprobe.model import Capability, Kind, Limit, Plan, Ref, Resource, Sample

T = TypeVar("T")
_TRIES = 3


class Cloud:
    """The verbs of a driver, as the rest of the suite calls them."""

    def __init__(self, driver: Driver, deadline: Deadline):
        self.driver, self.deadline = driver, deadline
        self._renewed = False

    @property
    def kinds(self) -> Sequence[Kind]:
        """What can exist in this cloud under a handle."""
        return self.driver.kinds

    def can(self, capability: Capability) -> bool:
        """Whether the manager offers this."""
        return capability in self.driver.capabilities

    # --- asked again when a failure may pass ------------------------------------------------------------------

    def connect(self) -> None:
        self._patiently(self.driver.connect)

    def resolve(self, test_vm: Mapping[str, Any]) -> Plan:
        return self._patiently(self.driver.resolve, test_vm)

    def metrics(self, server: Ref) -> List[Sample]:
        return self._patiently(self.driver.metrics, server)

    def capacity(self) -> List[Limit]:
        return self._patiently(self.driver.capacity)

    def describe(self) -> Mapping[str, Any]:
        return self._patiently(self.driver.describe)

    # --- asked once: the caller polls, or it must not be asked twice ------------------------------------------

    def create(self, spec) -> Ref:
        return self._once(self.driver.create, spec)

    def snapshot(self, server: Ref, name: str) -> Ref:
        return self._once(self.driver.snapshot, server, name)

    def attach(self, server: Ref, volume: Ref) -> None:
        return self._once(self.driver.attach, server, volume)

    def detach(self, server: Ref, volume: Ref) -> None:
        return self._once(self.driver.detach, server, volume)

    def delete(self, ref: Ref) -> None:
        return self._once(self.driver.delete, ref)

    def show(self, ref: Ref) -> Resource:
        return self._once(self.driver.show, ref)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """As the driver's, and what a driver let through that does not begin with ``name`` is not believed."""
        return [thing for thing in self._once(self.driver.list, kind, name)
                if thing.ref.name.lower().startswith(name.lower())]

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        return self._once(self.driver.ports, servers)

    def console(self, server: Ref) -> str:
        return self._once(self.driver.console, server)

    # ----------------------------------------------------------------------------------------------------------

    def _once(self, verb: Callable[..., T], *words: Any) -> T:
        """Ask; when the session has ended in between, renew it, and ask once more: a refusal changed nothing."""
        try:
            return verb(*words)
        except AuthRejected:
            if self._renewed or verb == self.driver.connect:
                raise
            self._renewed = True
            self.driver.connect()
            return verb(*words)

    def _patiently(self, verb: Callable[..., T], *words: Any) -> T:
        for _ in range(_TRIES - 1):
            self.deadline.check()
            try:
                return self._once(verb, *words)
            except Transient as passing:
                self.deadline.sleep(max(passing.wait, self.deadline.polling.shortest))
        self.deadline.check()
        return self._once(verb, *words)


class Patience:
    """Counts the failures of one wait that may pass: so many in a row are forgiven, the next is raised."""

    def __init__(self, deadline: Deadline, forgiven: int = 4):
        self._deadline, self._left, self._forgiven = deadline, forgiven, forgiven
        self.last = None

    def ask(self, verb: Callable[..., T], *words: Any) -> T:
        """The answer, or None when there was none this time."""
        try:
            answer = verb(*words)
        except Transient as passing:
            self.last = passing
            if not isinstance(passing, Conflict):
                self._left -= 1
            if self._left < 0:
                raise
            if passing.wait:
                self._deadline.sleep(passing.wait)
            return None
        self._left, self.last = self._forgiven, None
        return answer
