"""A driver with patience: what is the same for every manager is here, so that drivers stay thin.

Reads are asked again when a failure may pass; creates are not, unless the manager said that it served nothing. A session that ends during a run is renewed, unless
the credential itself was rejected once: an account can be locked by asking again.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple, TypeVar

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver
from vmprobe.core.errors import AuthRejected, DeadlinePassed, RateLimited, Transient
from vmprobe.core.model import Capability, Image, Kind, Limit, Plan, Ref, Resource, Sample

T = TypeVar("T")
_TRIES = 3


class Cloud:
    """The verbs of a driver, as the rest of the suite calls them."""

    def __init__(self, driver: Driver, deadline: Deadline):
        self.driver, self.deadline = driver, deadline
        self._rejected = False

    @property
    def credential_rejected(self) -> bool:
        """Whether the credential itself was rejected: then no request can be made any more."""
        return self._rejected

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

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        return self._patiently(self.driver.images, name, algorithms)

    def capacity(self) -> List[Limit]:
        return self._patiently(self.driver.capacity)

    def needs(self, plan: Plan, test_vm: Mapping[str, Any]) -> Mapping[Tuple[str, str], float]:
        return self._patiently(self.driver.needs, plan, test_vm)

    def describe(self) -> Mapping[str, Any]:
        return self._patiently(self.driver.describe)

    def offers(self) -> Mapping[str, Any]:
        return self._patiently(self.driver.offers)

    def survey(self, name: str, kinds: Sequence[Kind] = ()) -> List[Resource]:
        """Everything of every kind (or of these) whose name starts with ``name``; '' is all that the credential can see.

        An error unless the manager answers for each kind.
        """
        return [
            thing
            for kind in kinds or self.kinds
            for thing in _named(name, self._patiently(self.driver.list, kind, name))
        ]

    # --- asked once: the caller polls, or it must not be asked twice ------------------------------------------

    def create(self, spec) -> Ref:
        return self._unless_limited(self.driver.create, spec)

    def snapshot(self, server: Ref, name: str) -> Ref:
        return self._unless_limited(self.driver.snapshot, server, name)

    def attach(self, server: Ref, volume: Ref) -> None:
        return self._once(self.driver.attach, server, volume)

    def detach(self, server: Ref, volume: Ref) -> None:
        return self._once(self.driver.detach, server, volume)

    def open_port(self, group: Ref, port: int) -> None:
        return self._unless_limited(self.driver.open_port, group, port)

    def start(self, server: Ref) -> None:
        return self._once(self.driver.start, server)

    def delete(self, ref: Ref) -> None:
        return self._once(self.driver.delete, ref)

    def show(self, ref: Ref) -> Resource:
        return self._once(self.driver.show, ref)

    def metrics_once(self, server: Ref) -> List[Sample]:
        """As ``metrics``, for whoever asks for many servers and may come back."""
        return self._once(self.driver.metrics, server)

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        return self._once(self.driver.finished_at, server, stage)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """As the driver's, and what a driver let through that does not begin with ``name`` is not believed."""
        return _named(name, self._once(self.driver.list, kind, name))

    def belongings(self, server: Ref) -> List[Ref]:
        return self._once(self.driver.belongings, server)

    def orphans(self, servers: Sequence[Ref]) -> Mapping[str, List[Ref]]:
        return self._once(self.driver.orphans, servers)

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
            if self._rejected or verb == self.driver.connect:
                raise
            self._renew()
            return verb(*words)

    def _unless_limited(self, verb: Callable[..., T], *words: Any) -> T:
        """Ask for something new. Only a request that was surely not served, for there were too many, is sent again."""
        for _ in range(_TRIES - 1):
            try:
                return self._once(verb, *words)
            except RateLimited as limited:
                wait = max(limited.wait, self.deadline.polling.shortest)
                if wait >= self.deadline.left():
                    raise
                self.deadline.sleep(wait)
        return self._once(verb, *words)

    def _renew(self) -> None:
        try:
            self.driver.connect()
        except AuthRejected:
            self._rejected = True
            raise

    def _patiently(self, verb: Callable[..., T], *words: Any) -> T:
        for _ in range(_TRIES - 1):
            self.deadline.check()
            try:
                return self._once(verb, *words)
            except Transient as passing:
                self._pause(passing)
        self.deadline.check()
        return self._once(verb, *words)

    def _pause(self, passing: Transient) -> None:
        """Wait before the same is asked again; where the deadline ends that, its error says also why it had to be asked again."""
        try:
            self.deadline.sleep(max(passing.wait, self.deadline.polling.shortest))
        except DeadlinePassed as late:
            raise DeadlinePassed(f"{passing}; {late}", passing.cause, passing.request) from passing


def _named(name: str, things: Sequence[Resource]) -> List[Resource]:
    return [thing for thing in things if thing.ref.name.lower().startswith(name.lower())]
