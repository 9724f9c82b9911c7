"""A cloud in memory: the example that every new driver is copied from, and the one whose faults have names.

Its words: server BUILDING / RUNNING / STOPPED / BROKEN, volume MAKING / FREE / ATTACHED / BROKEN. A driver's file is its
manager's API on one page: the table of states, what it offers, its keys, the verbs in the contract's order.
"""

from __future__ import annotations

import itertools
import secrets
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

from vmprobe.core.clock import Clock
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    Unreachable,
)
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

T = TypeVar("T")

STATE = {
    "RUNNING": State.READY,
    "FREE": State.READY,
    "ATTACHED": State.READY,
    "SAVED": State.READY,
    "BROKEN": State.FAILED,
}

BUSY = {
    "cpu": 0.25,
    "disk_read": 1000,
    "disk_write": 2000,
    "net_in": 300,
    "net_out": 400,
}  # a second, of each server
FLAVORS = {"tiny": (1, 2**27), "small": (2, 2**31)}  # vCPUs and bytes of memory


# --- the driver ---------------------------------------------------------------------------------------------------


def _faults(text: str) -> Tuple[str, ...]:
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
    """Verbs as requests to a MemoryCloud; what another manager does over a wire stands in ``_request``."""

    system = "in-memory"
    proved_against = "is itself the example and the simulator of faults"
    capabilities = frozenset(set(Capability) - {Capability.PORTS})
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = METRICS
    credential_keys = (
        "username",
        "password",
    )  # accepted whatever they are, and rejected with auth-rejected
    endpoint_keys = {
        "url": Key(default="memory://cloud"),
        "faults": Key(_faults, ()),
        "boot": Key(duration, 2.0),
    }

    def __init__(self, *words: Any):
        super().__init__(*words)
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

        token = self._request("connect", act, dict(self.credentials), struck=True)
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

    def attach(self, server: Ref, volume: Ref) -> None:
        self._request(
            f"attach {volume} to {server}", lambda: self.cloud.attach(server.id, volume.id)
        )

    def detach(self, server: Ref, volume: Ref) -> None:
        self._request(f"detach {volume}", lambda: self.cloud.detach(volume.id))

    def console(self, server: Ref) -> str:
        return self._request(f"console {server}", lambda: self.cloud.console(server.id))

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state == "STOPPED"

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
        def act() -> List[Limit]:
            return self.cloud.capacity()

        return self._request("capacity", act)

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        def act() -> List[Image]:
            return [image for image in self.cloud.catalogue() if name in ("", image.name, image.id)]

        return self._request(f"images {name}".strip(), act)

    def _request(
        self, words: str, act: Callable[[], T], sent: object = "", struck: bool = False
    ) -> T:
        """One request, as evidence and with the fault that is set for it. ``struck``: the answer is a secret."""
        if not self._session and words != "connect":
            raise AuthRejected("no session")
        status: object = "failed"
        began = self.deadline.clock.now()
        answer: Any = ""
        try:
            limit = max(0.0, min(self.endpoint["timeout"], self.deadline.left()))
            answer = self.cloud.serve(words, act, limit)
            status = "ok"
            return answer
        except CloudError as failed:
            if isinstance(failed, AuthRejected):
                self._session = ""
            status = failed
            raise
        finally:
            sent = sent or f"X-Auth-Token: {self._session}"
            received = "a token" if struck else str(answer)
            if self.cloud.dated:
                from email.utils import formatdate

                self.evidence.server_date = (
                    formatdate(self.cloud.dated, usegmt=True),
                    self.deadline.clock.utc(),
                )
            self.evidence.record(
                words, sent, str(status), received, self.deadline.clock.now() - began
            )


def _resource(thing: "Thing", named: bool = True) -> Resource:
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


# --- the cloud ----------------------------------------------------------------------------------------------------

FAULTS = {
    "auth-rejected": "the credential is not accepted",
    "quota-full": "no server more is granted",
    "no-room": "every server becomes BROKEN: nothing has room for it",
    "dies-booting": "every server becomes BROKEN when half of its boot is over",
    "never-active": "a server stays BUILDING",
    "no-network": "a server gets no address",
    "no-disk": "a volume never becomes attached",
    "volume-broken": "every volume becomes BROKEN",
    "metrics-forbidden": "metrics are refused",
    "metering-wrong": "the manager counts a hundred times the bytes that there were",
    "contended": "servers wait for a host that is busy with others",
    "gone-after-boot": "the manager does not answer any more once a server runs, until the clean-up",
    "gone-for-good": "the manager does not answer any more once a server runs",
    "delete-ignored": "a removal is accepted and never happens",
    "delete-refused": "a removal is refused",
    "delete-breaks": "the first removal of a server leaves it BROKEN, the second one succeeds",
}
REQUEST_FAULTS = {  # of one request
    "reset": "the connection is reset before the request is served",
    "reply-lost": "the request is served, and its reply is lost",
    "401": "the session is not accepted",
    "403": "not permitted",
    "409": "not in this state",
    "429": "too many requests, to be asked again in 3 s",
    "500": "failed",
    "503": "not available",
    "hang": "no answer comes",
    "malformed": "the request is served, and its reply is not understood",
    "lag": "lists show what this request made, or listed, only a few lists later",
    "delete-lost": "a removal is accepted and forgotten; another one works",
    "never-deleted": "a removal is accepted and never happens, and no later one either",
    "broken": "what this request made, or showed, is BROKEN",
    "another": "the reply is about somebody else's thing",
    "nameless": "the reply has no names",
    "cut": "a list is cut, and says so",
    "port-left": "the port of a removed server stays",
}


class Thing:
    """What the cloud holds: its word is worked out from the time, so that nothing has to run in the background."""

    server = ""
    addresses: Tuple[str, ...] = ()
    fault = ""
    hidden_looks = 0  # so many lists do not show it yet
    undying = False
    owner, project = "probe", "ops"

    def __init__(
        self,
        kind: Kind,
        id: str,
        name: str,
        word: str,
        made: float,
        size: Optional[int] = None,
        nonce: str = "",
        created: Optional[float] = None,
        image: str = "",
    ):
        self.kind, self.id, self.name, self.word, self.made, self.size = (
            kind,
            id,
            name,
            word,
            made,
            size,
        )
        self.nonce, self.created, self.image = nonce, created, image
        self.facts: List[str] = []


class MemoryCloud:
    """The state behind a URL. It outlives the drivers that speak to it, within one process."""

    def __init__(self, clock: Clock):
        self.clock, self.boot = clock, 2.0
        self.images = {"vmprobe-test"}
        self.described: List[Image] = []  # what it says of its images, once somebody has set it
        self.dated = 0.0  # the time that its answers bear, once somebody has set it
        self.limits: List[Limit] = []  # what it says that there is, once somebody has set it
        self.faults: set = set()
        self.things: Dict[str, Thing] = {}
        self.log: List[str] = []  # what was requested
        self.sessions: List[str] = []  # the secret of each session
        self.plot: Dict[int, str] = {}  # fault by the number of its request, from 1
        self.lag = 2
        self.killer: Callable[[], None] = lambda: (
            None
        )  # what ``killed-before`` and ``killed-after`` call
        self._ids = itertools.count(1)
        self._next: str = ""

    # --- requests and their faults ----------------------------------------------------------------------------

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return len(self.log)

    def token(self) -> str:
        """A new session's secret."""
        self.sessions.append(secrets.token_hex(12))
        return self.sessions[-1]

    def serve(self, words: str, act: Callable[[], T], limit: float) -> T:
        """Serve one request, or fail it in the way that is set for it."""
        self.log.append(words)
        self._next = ""
        fault = self.plot.get(self.requests, "") or next(
            (name.split("@")[0] for name in self.faults if name.endswith(f"@{self.requests}")), ""
        )
        if words.startswith("delete"):
            self.faults.discard("gone-after-boot")
        if self.faults & {"gone-for-good", "gone-after-boot"} and any(
            self._age(thing).word == "RUNNING" for thing in self.things.values()
        ):
            raise Unreachable("connection refused", sent=False)
        self._next = fault
        if fault == "killed-before":
            self.killer()
        if fault in _BEFORE:
            raise _BEFORE[fault]()
        if fault == "hang":
            self.clock.sleep(limit)
            raise Unreachable(f"no answer within {limit:g} s")
        try:
            return act()
        finally:  # whatever the answer was, it does not arrive
            if fault == "killed-after":
                self.killer()
            if fault in _AFTER:
                raise _AFTER[fault]()

    # --- things -----------------------------------------------------------------------------------------------

    @property
    def forgets_names(self) -> bool:
        """Whether this request's reply has no names."""
        return self._next == "nameless"

    def answered(self, thing: Thing) -> Thing:
        """What the reply is about: the thing itself, or one of the same kind that has another name."""
        others = [
            other
            for other in self.things.values()
            if other.kind is thing.kind and other.name[:30] != thing.name[:30]
        ]
        return others[0] if self._next == "another" and others else thing

    def make(
        self, kind: Kind, name: str, size: Optional[int] = None, nonce: str = "", image: str = ""
    ) -> Ref:
        if kind is Kind.SERVER and "quota-full" in self.faults:
            raise QuotaExceeded("quota exceeded for servers: 10 of 10 used")
        thing = Thing(
            kind,
            f"{kind.value[:3]}-{next(self._ids)}",
            name,
            "MAKING",
            self.clock.now(),
            size,
            nonce,
            created=self.clock.utc(),
            image=image,
        )
        self._age(thing)
        if self._next == "lag":
            thing.hidden_looks = self.lag + 1
        self.things[thing.id] = thing
        return Ref(kind, self.answered(thing).id, name)

    def port_of(self, server: Thing) -> Thing:
        """What the cloud made for a server by itself; it has no name, and is gone with the server."""
        port = Thing(Kind.PORT, f"por-{server.id}", "", "ATTACHED", server.made)
        port.server = server.id
        return port

    def find(self, identity: str) -> Thing:
        if identity.startswith("por-") and identity[4:] in self.things:
            return self.port_of(self.things[identity[4:]])
        if identity not in self.things:
            raise NotFound(f"no such thing: {identity}")
        return self._age(self.things[identity])

    def listed(self, kind: Kind, name: str) -> List[Thing]:
        if self._next == "cut":
            raise Incomplete("the list is cut")
        if self._next == "another":
            return [
                thing
                for thing in self.things.values()
                if thing.kind is kind and not thing.name.startswith(name)
            ]
        asked = [
            self._age(thing)
            for thing in self.things.values()
            if thing.kind is kind and thing.name.startswith(name)
        ]
        for thing in asked:
            thing.hidden_looks = max(thing.hidden_looks - 1, self.lag if self._next == "lag" else 0)
        return [thing for thing in asked if thing.hidden_looks == 0]

    def remove(self, identity: str) -> None:
        thing = self.things.get(identity)
        if thing is None:
            return
        if thing.server and thing.kind is Kind.VOLUME:
            raise Conflict(f"volume {identity} is ATTACHED to {thing.server}")
        if "delete-refused" in self.faults:
            raise NotPermitted(f"removal of {identity} is not allowed")
        if "delete-breaks" in self.faults and thing.kind is Kind.SERVER and thing.word != "BROKEN":
            thing.word, thing.fault = "BROKEN", "its disks could not be removed"
            return
        if self._next == "never-deleted":
            thing.undying = True
        if thing.undying or self._next == "delete-lost" or "delete-ignored" in self.faults:
            return
        del self.things[identity]
        if thing.kind is Kind.SERVER and self._next == "port-left":
            port = self.port_of(thing)
            self.things[port.id] = port
        for other in self.things.values():
            if other.server == identity and other.kind is Kind.VOLUME:
                other.server, other.word = "", "FREE"

    def attach(self, server: str, volume: str) -> None:
        host, disk = self.find(server), self.find(volume)
        if host.word != "RUNNING" or disk.word != "FREE":
            raise Conflict(f"{volume} is {disk.word}, {server} is {host.word}")
        if "no-disk" not in self.faults:
            disk.server, disk.word = server, "ATTACHED"
            host.facts.append(f"disk device=vdb size={disk.size} verified=262144")

    def detach(self, volume: str) -> None:
        disk = self.find(volume)
        if disk.server:
            disk.server, disk.word = "", "FREE"

    def console(self, server: str) -> str:
        host = self.find(server)
        if host.word != "RUNNING":
            return ""
        said = ["boot kernel=0 memory=134217728 cpus=1"]
        if host.addresses:
            said.append(
                f"network interface=eth0 address={host.addresses[0]} gateway=127.1.0.1 answers=yes"
            )
        age, slow = self.clock.now() - host.made, 10 if "contended" in self.faults else 1
        said += host.facts + [
            f"work cpu={0.1 * slow:.3f} disk={0.02 * slow:.3f} net={0.005 * slow:.3f}"
        ]
        lines = [f"{age:.2f} {fact}" for fact in said]
        for uptime in (age / 2, age):
            counted = " ".join(f"{metric}={rate * uptime:.2f}" for metric, rate in BUSY.items())
            lines.append(f"{uptime:.2f} counters {counted} steal={0.02 * (slow - 1) * uptime:.2f}")
        return "".join(f"vmprobe {host.nonce} {line}\n" for line in lines)

    def catalogue(self) -> List[Image]:
        return self.described or [
            Image(name, name, State.READY, "SAVED") for name in sorted(self.images)
        ]

    def capacity(self) -> List[Limit]:
        servers = len(self.listed(Kind.SERVER, ""))
        return self.limits or [
            Limit("servers", servers, 100),
            Limit("vcpus", servers, 100),
            Limit("memory", servers * 2**27, 2**34),
        ]

    def metrics(self, server: str) -> List[Sample]:
        age, now = self.clock.now() - self.find(server).made, self.clock.utc()
        share = 100 if "metering-wrong" in self.faults else 1
        return [
            Sample(metric, rate * age * (1 if metric == "cpu" else share), now)
            for metric, rate in BUSY.items()
        ]

    def _age(self, thing: Thing) -> Thing:
        """The thing as it has become by now."""
        if self._next == "broken" and thing.owner == Thing.owner:
            thing.word, thing.fault = "BROKEN", "it broke"
        age = self.clock.now() - thing.made
        if thing.kind is not Kind.SERVER:
            if thing.word == "MAKING":
                thing.word = "SAVED" if thing.kind is Kind.SNAPSHOT else "FREE"
                if thing.kind is Kind.VOLUME and "volume-broken" in self.faults:
                    thing.word, thing.fault = "BROKEN", "no space left in pool"
        elif thing.word in ("MAKING", "BUILDING"):
            thing.word = "BUILDING"
            if "no-room" in self.faults:
                thing.word, thing.fault = "BROKEN", "No valid host was found"
            elif "dies-booting" in self.faults and age >= self.boot / 2:
                thing.word, thing.fault = "BROKEN", "the machine stopped while booting"
            elif age >= self.boot and "never-active" not in self.faults:
                thing.word = "RUNNING"
                if "no-network" not in self.faults:
                    thing.addresses = (
                        f"127.1.0.{sum(1 for other in self.things.values() if other.addresses) % 200 + 2}",
                    )
        return thing


_BEFORE: Dict[str, Callable[[], CloudError]] = {
    "reset": lambda: Unreachable("connection reset by peer"),
    "401": lambda: AuthRejected("401 session is not accepted"),
    "403": lambda: NotPermitted("403 not allowed"),
    "409": lambda: Conflict("409 not in this state"),
    "429": lambda: RateLimited("429 too many requests", wait=3.0),
    "500": lambda: GatewayFailed("500 internal server error"),
    "503": lambda: GatewayFailed("503 service unavailable"),
}
_AFTER: Dict[str, Callable[[], CloudError]] = {
    "reply-lost": lambda: Unreachable("connection closed before the reply"),
    "malformed": lambda: GatewayFailed("the reply is not understood"),
}
_CLOUDS: Dict[str, MemoryCloud] = {}


def cloud(url: str, clock: Clock) -> MemoryCloud:
    """The cloud behind a URL; the same one for the same URL, within this process."""
    if url not in _CLOUDS:
        _CLOUDS[url] = MemoryCloud(clock)
    return _CLOUDS[url]
