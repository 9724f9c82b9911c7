"""The driver of the cloud in memory: the example that new drivers are copied from.

A driver's file is its manager's API on one page: the table of states, the parsers of its keys, what
it offers, its keys, the verbs in the contract's order, private helpers last.

The states here: server BUILDING, RUNNING, STOPPED, BROKEN; volume MAKING, FREE, ATTACHED, BROKEN;
snapshot SAVED.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, TypeVar

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import AuthRejected, CloudError, NotFound, NotPermitted
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import (
    METRICS,
    Capability,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    Spec,
    State,
    TestVM,
    member_names,
)
from vmprobe.core.text import whole_number
from vmprobe.core.values import duration
from vmprobe.drivers.memory.cloud import FAULTS, REQUEST_FAULTS, Thing, cloud

T = TypeVar("T")

STATE = {
    "RUNNING": State.READY,
    "FREE": State.READY,
    "ATTACHED": State.READY,
    "SAVED": State.READY,
    "BROKEN": State.FAILED,
}

FLAVORS = {"tiny": (1, 2**27), "small": (2, 2**31)}  # vCPUs and bytes of memory


def _fault_names(text: str) -> Tuple[str, ...]:
    """Parse the key ``faults``: names, and names of single requests as ``name@number``."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    for name in names:
        word, _, index = name.partition("@")
        if word not in (REQUEST_FAULTS if index else FAULTS) or (
            index and whole_number(index) is None
        ):
            raise ValueError(
                f"is not among the faults: {', '.join(FAULTS)}; or, at the n-th request, "
                f"{', '.join(word + '@n' for word in REQUEST_FAULTS)}"
            )
    return names


class Memory(Driver):
    """Each verb is one request to a MemoryCloud. Other drivers send theirs over a wire."""

    system = "in-memory"
    proved_against = "is itself the example and the simulator of faults"
    capabilities = frozenset(set(Capability) - {Capability.PORTS})
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = METRICS
    credential_keys = ("username", "password")  # any are accepted, unless auth-rejected is set
    endpoint_keys = {
        "url": Key(default="memory://cloud"),
        "faults": Key(_fault_names, ()),
        "boot": Key(duration, 2.0),
    }

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ) -> None:
        super().__init__(endpoint, credentials, deadline, evidence)
        self.cloud = cloud(self.endpoint["url"], self.deadline.clock)
        self.cloud.boot = self.endpoint["boot"]
        self.cloud.faults |= set(self.endpoint["faults"])
        self._session = ""

    def connect(self) -> None:
        def act() -> str:
            if "auth-rejected" in self.cloud.faults:
                raise AuthRejected(
                    f"user {' '.join(self.credentials.values()) or 'probe'} is not accepted"
                )
            return self.cloud.token()

        token = self._request("connect", act, dict(self.credentials), is_secret=True)
        self.evidence.redactor.add(token)
        self._session = token

    def resolve(self, test_vm: TestVM) -> Plan:
        def act() -> Plan:
            if test_vm["image"] not in self.cloud.images:
                raise NotFound(f"no image named {test_vm['image']!r}")
            flavor = test_vm["flavor"] or "tiny"
            if flavor not in FLAVORS:
                raise NotFound(f"no flavor named {flavor!r}")
            network = test_vm["network"] or "inside"
            vcpus, memory = FLAVORS[flavor]
            return Plan(test_vm["image"], flavor, network, vcpus=vcpus, memory=memory)

        return self._request(f"resolve image {test_vm['image']}", act)

    def create(self, spec: Spec) -> Ref:
        def act() -> Ref:
            if spec.kind is Kind.VOLUME:
                return self.cloud.make(Kind.VOLUME, spec.name, size=spec.size)
            assert spec.kind is Kind.SERVER
            made = [
                self.cloud.make(Kind.SERVER, name, nonce=spec.nonce, image=spec.plan.image)
                for name in member_names(spec.name, spec.servers)
            ]
            return made[0]

        return self._request(f"create {spec.kind.value} {spec.name}", act)

    def show(self, ref: Ref) -> Resource:
        def act() -> Resource:
            thing = self.cloud.find(ref.id)
            if thing.kind is not ref.kind:
                raise NotFound(f"no such {ref.kind.value}: {ref.id}")
            return _resource(self.cloud.answered(thing), named=not self.cloud.forgets_names)

        return self._request(f"show {ref}", act)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        def act() -> List[Resource]:
            return [
                _resource(thing, named=not self.cloud.forgets_names)
                for thing in self.cloud.listed(kind, name)
            ]

        return self._request(f"list {kind.value} {name}", act)

    def delete(self, ref: Ref) -> None:
        self._request(f"delete {ref}", lambda: self.cloud.remove(ref.id))

    def describe(self) -> Dict[str, object]:
        return self._request("describe", lambda: {"version": "1"})

    def offers(self) -> Dict[str, object]:
        return self._request("offers", lambda: {"hypervisors": ["none"]})

    def belongings(self, server: Ref) -> List[Ref]:
        def act() -> List[Ref]:
            return [Ref(Kind.PORT, self.cloud.port_of(self.cloud.find(server.id)).id)]

        return self._request(f"belongings {server}", act)

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        def act() -> Dict[str, List[Ref]]:
            ports = [thing for thing in self.cloud.things.values() if thing.kind is Kind.PORT]
            return {
                one.id: [Ref(Kind.PORT, port.id) for port in ports if port.server == one.id]
                for one in servers
            }

        return self._request(f"left by {', '.join(map(str, servers))}", act)

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state == "STOPPED"

    def attach(self, server: Ref, volume: Ref) -> None:
        self._request(
            f"attach {volume} to {server}", lambda: self.cloud.attach(server.id, volume.id)
        )

    def detach(self, server: Ref, volume: Ref) -> None:
        self._request(f"detach {volume}", lambda: self.cloud.detach(volume.id))

    def console(self, server: Ref) -> str:
        return self._request(f"console {server}", lambda: self.cloud.console(server.id))

    def metrics(self, server: Ref) -> List[Sample]:
        def act() -> List[Sample]:
            if "metrics-forbidden" in self.cloud.faults:
                raise NotPermitted("metrics are for administrators")
            return self.cloud.metrics(server.id)

        return self._request(f"metrics {server}", act)

    def snapshot(self, server: Ref, name: str) -> Ref:
        def act() -> Ref:
            self.cloud.find(server.id)
            return self.cloud.make(Kind.SNAPSHOT, name, size=2**20)

        return self._request(f"snapshot {server}", act)

    def capacity(self) -> List[Limit]:
        return self._request("capacity", self.cloud.capacity)

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        def act() -> List[Image]:
            return [image for image in self.cloud.catalogue() if name in ("", image.name, image.id)]

        return self._request(f"images {name}".strip(), act)

    def _request(
        self, words: str, act: Callable[[], T], sent: object = "", is_secret: bool = False
    ) -> T:
        """Make one request and record it. ``is_secret``: the reply must not be recorded."""
        if not self._session and words != "connect":
            raise AuthRejected("no session")
        status: object = "failed"
        began = self.deadline.clock.now()
        reply: object = ""
        try:
            limit = max(0.0, min(self.endpoint["timeout"], self.deadline.left()))
            reply = answer = self.cloud.serve(words, act, limit)
            status = "ok"
            return answer
        except CloudError as failed:
            if isinstance(failed, AuthRejected):
                self._session = ""
            status = failed
            raise
        finally:
            sent = sent or f"X-Auth-Token: {self._session}"
            received = "a token" if is_secret else str(reply)
            if self.cloud.dated:
                from email.utils import formatdate

                self.evidence.server_date = (
                    formatdate(self.cloud.dated, usegmt=True),
                    self.deadline.clock.utc(),
                )
            self.evidence.record(
                words, sent, str(status), received, self.deadline.clock.now() - began
            )


def _resource(thing: Thing, named: bool = True) -> Resource:
    ref = Ref(thing.kind, thing.id, thing.name if named else "")
    return Resource(
        ref,
        STATE.get(thing.word, State.PENDING),
        thing.word,
        fault=thing.fault,
        addresses=thing.addresses,
        server=thing.server,
        created=thing.created,
        size=thing.size,
        vcpus=1 if thing.kind is Kind.SERVER else None,
        memory=2**27 if thing.kind is Kind.SERVER else None,
        image=thing.image,
        owner=thing.owner,
        project=thing.project,
    )
