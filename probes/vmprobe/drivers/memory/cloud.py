"""A cloud in memory: the simulator behind the driver, with faults that have names.

Nothing runs in the background: the state of a resource is computed from the time when it is asked
for. ``cloud(url, clock)`` is the cloud behind a URL, for the life of the process.
"""

from __future__ import annotations

import itertools
import os
from typing import Callable, Dict, List, Optional, Set, Tuple, TypeVar

from vmprobe.core.clock import Clock
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
from vmprobe.core.model import Image, Kind, Limit, Ref, Sample, State

T = TypeVar("T")

# What each server does in a second, by metric.
BUSY = {"cpu": 0.25, "disk_read": 1000, "disk_write": 2000, "net_in": 300, "net_out": 400}

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
    "gone-after-boot": "no answer any more once a server runs, until the clean-up",
    "gone-for-good": "no answer any more once a server runs",
    "delete-ignored": "a removal is accepted and never happens",
    "delete-refused": "a removal is refused",
    "delete-breaks": "the first removal of a server leaves it BROKEN, the second one succeeds",
}
REQUEST_FAULTS = {  # of a single request
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
    """A resource of the cloud: a server, volume, snapshot or port. ``word`` is its state."""

    server = ""
    addresses: Tuple[str, ...] = ()
    fault = ""
    hidden_looks = 0  # how many more lists do not show it
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
    """The state behind a URL. It outlives the drivers that speak to it."""

    def __init__(self, clock: Clock):
        self.clock, self.boot = clock, 2.0
        self.images = {"vmprobe-test"}
        self.described: List[Image] = []  # its images, if a test sets them
        self.dated = 0.0  # the date of its replies, if a test sets it
        self.limits: List[Limit] = []  # its limits, if a test sets them
        self.faults: Set[str] = set()
        self.things: Dict[str, Thing] = {}
        self.log: List[str] = []  # the requests
        self.sessions: List[str] = []  # the token of each session
        self.plot: Dict[int, str] = {}  # fault by the number of the request, from 1
        self.lag = 2  # lists that do not show a new resource, with the fault of that name
        # what the faults killed-before and killed-after call
        self.killer: Callable[[], None] = lambda: None
        self._ids = itertools.count(1)
        self._next: str = ""  # the fault of the present request

    # --- requests and their faults ----------------------------------------------------------------

    @property
    def requests(self) -> int:
        """The number of requests so far."""
        return len(self.log)

    def token(self) -> str:
        """A new session's token."""
        self.sessions.append(os.urandom(12).hex())
        return self.sessions[-1]

    def serve(self, words: str, act: Callable[[], T], limit: float) -> T:
        """Serve one request, or let it fail by the fault that is set for it.

        ``words`` describe the request; ``limit``: the seconds that the client waits.
        """
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
        finally:  # with these faults the reply does not arrive
            if fault == "killed-after":
                self.killer()
            if fault in _AFTER:
                raise _AFTER[fault]()

    # --- things -----------------------------------------------------------------------------------

    @property
    def forgets_names(self) -> bool:
        """Whether the reply to this request has no names."""
        return self._next == "nameless"

    def answered(self, thing: Thing) -> Thing:
        """The subject of the reply: the resource, or, with ``another``, somebody else's."""
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
        """The port that the cloud made for a server. It has no name, and goes with the server."""
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
        matching = [
            self._age(thing)
            for thing in self.things.values()
            if thing.kind is kind and thing.name.startswith(name)
        ]
        for thing in matching:
            thing.hidden_looks = max(thing.hidden_looks - 1, self.lag if self._next == "lag" else 0)
        return [thing for thing in matching if thing.hidden_looks == 0]

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
        facts = ["boot kernel=0 memory=134217728 cpus=1"]
        if host.addresses:
            facts.append(
                f"network interface=eth0 address={host.addresses[0]} gateway=127.1.0.1 answers=yes"
            )
        age, slow = self.clock.now() - host.made, 10 if "contended" in self.faults else 1
        facts += host.facts + [
            f"work cpu={0.1 * slow:.3f} disk={0.02 * slow:.3f} net={0.005 * slow:.3f}"
        ]
        lines = [f"{age:.2f} {fact}" for fact in facts]
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
        """Bring the state of a resource up to date."""
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
                    used = sum(1 for other in self.things.values() if other.addresses)
                    thing.addresses = (f"127.1.0.{used % 200 + 2}",)
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
    """The cloud behind a URL: the same one for the same URL within this process."""
    if url not in _CLOUDS:
        _CLOUDS[url] = MemoryCloud(clock)
    return _CLOUDS[url]
