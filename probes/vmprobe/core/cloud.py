"""Retry and re-authentication, shared by all drivers, so that drivers stay thin.

A read is repeated when its failure may pass. A create is not, unless the manager said that it did
not serve it. A session that ends during a run is renewed, unless the credential itself was rejected
once: repeated logins can lock an account.
"""

from __future__ import annotations

from typing import Callable, List, Mapping, Optional, Sequence, Tuple, TypeVar

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver
from vmprobe.core.errors import AuthRejected, DeadlinePassed, RateLimited, Transient
from vmprobe.core.model import (
    Capability,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    Spec,
    TestVM,
)

T = TypeVar("T")
_TRIES = 3


class Cloud:
    """The verbs of a driver, as the rest of the suite calls them."""

    def __init__(self, driver: Driver, deadline: Deadline):
        self.driver, self.deadline = driver, deadline
        self._rejected = False

    @property
    def credential_rejected(self) -> bool:
        """Whether the credential itself was rejected: no further request can succeed."""
        return self._rejected

    @property
    def kinds(self) -> Sequence[Kind]:
        """What can exist in this cloud under a handle."""
        return self.driver.kinds

    def can(self, capability: Capability) -> bool:
        """Whether the manager offers this."""
        return capability in self.driver.capabilities

    # --- reads, repeated when the failure may pass ------------------------------------------------

    def connect(self) -> None:
        self._retry(self.driver.connect)

    def resolve(self, test_vm: TestVM) -> Plan:
        return self._read(lambda: self.driver.resolve(test_vm))

    def metrics(self, server: Ref) -> List[Sample]:
        return self._read(lambda: self.driver.metrics(server))

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        return self._read(lambda: self.driver.images(name, algorithms))

    def capacity(self) -> List[Limit]:
        return self._read(self.driver.capacity)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        return self._read(lambda: self.driver.needs(plan, test_vm))

    def describe(self) -> Mapping[str, object]:
        return self._read(self.driver.describe)

    def offers(self) -> Mapping[str, object]:
        return self._read(self.driver.offers)

    def survey(self, name: str, kinds: Sequence[Kind] = ()) -> List[Resource]:
        """List every kind (or these) by the beginning of the name; '' lists all that is visible.

        Raises an error unless the manager answers for each kind.
        """
        return [
            resource
            for kind in kinds or self.kinds
            for resource in self._list_with_retries(kind, name)
        ]

    # --- not repeated: the caller polls, or a second request could do harm ------------------------
    # create, snapshot and open_port are sent again only when the manager says that it did not serve
    # them; any request is sent again when the session had ended.

    def create(self, spec: Spec) -> Ref:
        return self._create(lambda: self.driver.create(spec))

    def snapshot(self, server: Ref, name: str) -> Ref:
        return self._create(lambda: self.driver.snapshot(server, name))

    def attach(self, server: Ref, volume: Ref) -> None:
        return self._send(lambda: self.driver.attach(server, volume))

    def detach(self, server: Ref, volume: Ref) -> None:
        return self._send(lambda: self.driver.detach(server, volume))

    def open_port(self, group: Ref, port: int) -> None:
        return self._create(lambda: self.driver.open_port(group, port))

    def start(self, server: Ref) -> None:
        return self._send(lambda: self.driver.start(server))

    def delete(self, ref: Ref) -> None:
        return self._send(lambda: self.driver.delete(ref))

    def show(self, ref: Ref) -> Resource:
        return self._send(lambda: self.driver.show(ref))

    def metrics_once(self, server: Ref) -> List[Sample]:
        """As ``metrics``, without retries: for callers that poll many servers."""
        return self._send(lambda: self.driver.metrics(server))

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        return self._send(lambda: self.driver.finished_at(server, stage))

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """As the driver's. Drops what the driver let through that does not begin with ``name``."""
        return _named(name, self._send(lambda: self.driver.list(kind, name)))

    def belongings(self, server: Ref) -> List[Ref]:
        return self._send(lambda: self.driver.belongings(server))

    def orphans(self, servers: Sequence[Ref]) -> Mapping[str, List[Ref]]:
        return self._send(lambda: self.driver.orphans(servers))

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        return self._send(lambda: self.driver.ports(servers))

    def console(self, server: Ref) -> str:
        return self._send(lambda: self.driver.console(server))

    # --- retry and re-authentication --------------------------------------------------------------

    def _list_with_retries(self, kind: Kind, name: str) -> List[Resource]:
        return _named(name, self._read(lambda: self.driver.list(kind, name)))

    def _read(self, ask: Callable[[], T]) -> T:
        """Ask, with retries and re-authentication."""
        return self._retry(lambda: self._send(ask))

    def _retry(self, ask: Callable[[], T]) -> T:
        """Ask up to three times, as long as the failure may pass and the deadline allows it."""
        for _ in range(_TRIES - 1):
            self.deadline.check()
            try:
                return ask()
            except Transient as failure:
                self._pause(failure)
        self.deadline.check()
        return ask()

    def _create(self, ask: Callable[[], T]) -> T:
        """Ask for something new. Repeat only what was not served, because of too many requests."""
        for _ in range(_TRIES - 1):
            try:
                return self._send(ask)
            except RateLimited as limited:
                wait = max(limited.wait, self.deadline.polling.shortest)
                if wait >= self.deadline.left():
                    raise
                self.deadline.sleep(wait)
        return self._send(ask)

    def _send(self, ask: Callable[[], T]) -> T:
        """Ask. If the session has ended, renew it and ask again: the refused request changed
        nothing.
        """
        try:
            return ask()
        except AuthRejected:
            if self._rejected:
                raise
            self._renew()
            return ask()

    def _renew(self) -> None:
        try:
            self.driver.connect()
        except AuthRejected:
            self._rejected = True
            raise

    def _pause(self, failure: Transient) -> None:
        """Wait before a retry. If the deadline passes, its error also names the failure."""
        try:
            self.deadline.sleep(max(failure.wait, self.deadline.polling.shortest))
        except DeadlinePassed as late:
            raise DeadlinePassed(f"{failure}; {late}", failure.cause, failure.request) from failure


def _named(name: str, resources: Sequence[Resource]) -> List[Resource]:
    """Those whose name starts with ``name``, in capital or small letters."""
    start = name.lower()
    return [resource for resource in resources if resource.ref.name.lower().startswith(start)]
