"""What the requirements of one run share: one server and one volume, because they take long."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple, TypeVar

from vmprobe.core import handle
from vmprobe.core.errors import NotFound, Transient, VmprobeError
from vmprobe.core.model import Capability, Kind, Plan, Ref, Resource, ServerSpec
from vmprobe.ctl.conform.subject import Subject

T = TypeVar("T")
LONGEST_NAME = 63  # characters: of the last member of the largest fleet of the longest owner


class Overdue(VmprobeError):
    """What a requirement waits for did not happen in time."""


class Gift(NamedTuple):
    """What the cloud really gave, for the README's tables."""

    capabilities: Set[Capability]
    metrics: Set[str]


class World:
    """The cloud under test, and what has been created in it."""

    def __init__(self, subject: Subject):
        self.subject, self.cloud, self.deadline = subject, subject.driver, subject.deadline
        self.evidence = subject.driver.evidence
        self.handle = handle.new(subject.owner, self.deadline.total, self.deadline.clock.utc())
        # As long as a name of the suite can be, so that one that is cut is noticed.
        self.name = f"{self.handle}-".ljust(LONGEST_NAME, "x")[:LONGEST_NAME]
        self.got = Gift(set(), set())
        self.ids: Dict[Tuple[Kind, str], str] = {}  # what was given an id, by kind and id
        self.gone: Set[Tuple[Kind, str]] = set()  # what was seen to be gone
        self.belongings: List[Ref] = []
        self.plan_found: Optional[Plan] = None
        self.server_made: Optional[Ref] = None
        self.volume_made: Optional[Ref] = None
        self.ready: Optional[Resource] = None  # the server, when it was seen ready first
        self.list_cost = 0  # requests that a list of one server takes
        self.connected = False
        self.unusable = ""  # why nothing can be tried here: the site, its credential, its network

    # What earlier requirements made: a requirement names these in ``after``.

    @property
    def plan(self) -> Plan:
        assert self.plan_found is not None
        return self.plan_found

    @property
    def server(self) -> Ref:
        assert self.server_made is not None
        return self.server_made

    @property
    def volume(self) -> Ref:
        assert self.volume_made is not None
        return self.volume_made

    @property
    def volume_size(self) -> int:
        """Bytes of the volume."""
        return self.subject.test_vm["volume"] or 2**30

    def spec(self, name: str, servers: int = 1) -> ServerSpec:
        """What the servers of this run are made of."""
        depth = "api" if self.subject.test_vm["depth"] == "api" else "console"
        return ServerSpec(name, self.plan, servers, nonce=self.handle.random, depth=depth)

    # Waiting.

    def until(self, look: Callable[[], Optional[T]], what: str, seconds: float = -1.0) -> T:
        """Poll until ``look`` returns something true, through transient failures; return that.

        By default for as long as the site has patience.
        """
        patience = self.subject.patience if seconds < 0 else seconds
        began, last = self.deadline.clock.now(), ""
        for elapsed in self.deadline.polls(began, first=0):
            try:
                found = look()
            except Transient as passing:
                found, last = None, f" ({passing})"
            if found:
                return found
            if elapsed >= patience:
                raise Overdue(f"{what}: not within {patience:g} s{last}")
        raise AssertionError("polls without end")

    def is_gone(self, ref: Ref) -> bool:
        """Whether the cloud says that this does not exist."""
        try:
            self.cloud.show(ref)
        except NotFound:
            return True
        return False

    def remove(self, ref: Ref) -> None:
        """Delete something, and wait until the cloud says that it is gone."""

        def look() -> bool:
            self.cloud.delete(ref)
            return self.is_gone(ref)

        self.note_belongings(ref)
        self.until(look, f"removal of {ref}")

    def note_belongings(self, ref: Ref) -> None:
        """Note what the manager made for a server, because the clean-up has to look for it."""
        if ref.kind is not Kind.SERVER:
            return
        try:
            found = self.cloud.belongings(ref)
        except VmprobeError:
            return  # it is gone, or the manager does not say
        self.belongings += [one for one in found if one not in self.belongings]

    def left(self) -> List[Resource]:
        """What the cloud lists under the handle of this run."""
        found = [
            resource
            for kind in self.cloud.kinds
            for resource in self.cloud.list(kind, str(self.handle))
        ]
        return [one for one in found if self.handle.covers(one.ref.name)]

    def seconds(self, since: float) -> str:
        """How long it is since then, for a note."""
        return f"{self.deadline.clock.now() - since:.1f} s"
