"""The contract between the suite and a VM manager. ``drivers/memory.py`` is the example to copy.

A driver never waits, never retries, never logs a secret, raises only this suite's errors and keeps no state but its
session. Waiting, deadlines, retry of reads, recording and clean-up exist once, outside.
"""

from __future__ import annotations

from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from vmprobe.core.clock import Deadline
from vmprobe.core.exchanges import Evidence
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
    State,
    TestVM,
)


class Key(NamedTuple):
    """A key of a site file: how its text becomes a value (ValueError: what would be right), and its default."""

    parse: Callable[[str], Any] = str
    default: Any = None
    required: bool = False


class Driver:
    """One VM manager. Beside the verbs, a driver declares what it can do and which keys of a site file it reads."""

    capabilities: FrozenSet[Capability] = frozenset()
    kinds: Sequence[Kind] = (
        Kind.SERVER,
    )  # what it can create, and therefore has to be asked for when sweeping
    metrics_offered: Sequence[str] = ()
    consistency_window: float = (
        120.0  # seconds after which surely everything that was asked for is shown, or will never be
    )
    metrics_period: float = (
        0.0  # seconds between two readings that the manager takes; 0: it measures when it is asked
    )
    endpoint_keys: Mapping[str, Key] = {}
    test_vm_keys: Mapping[str, Key] = {}
    credential_keys: Sequence[
        str
    ] = ()  # of the section [credentials]; empty: the manager wants none
    proved_against: str = (
        "nothing yet"  # what the driver was proved against, for the README's table
    )
    system: str = ""  # the manager's name, as its makers write it

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        """``endpoint`` and ``credentials`` are the parsed sections. Nothing is sent before ``connect``."""
        self.endpoint, self.credentials, self.deadline, self.evidence = (
            endpoint,
            credentials,
            deadline,
            evidence,
        )

    @property
    def identity(self) -> str:
        """What this endpoint is, seen by this project: only there can a debt made there be paid."""
        words = ("manager", "url", "region", "project")
        return " ".join(str(self.endpoint[word]) for word in words if self.endpoint.get(word))

    # --- verbs: every driver ----------------------------------------------------------------------------------

    def connect(self) -> None:
        """Authenticate. No later call does so implicitly; when a session has ended they raise AuthRejected."""
        raise NotImplementedError

    def resolve(self, test_vm: TestVM) -> Plan:
        """Resolve the section [test vm] to what a test VM would be made of. Only reads; NotFound says what is not there."""
        raise NotImplementedError

    def create(self, spec: Spec) -> Ref:
        """Ask, do not wait. The name in the spec is visible in the manager from this moment.

        What is not among ``kinds`` is never asked for. An address is asked for once its server is READY. One request,
        and none about the id in its answer, which may be another's: what is done to the new thing are verbs of their own.
        """
        raise NotImplementedError

    def show(self, ref: Ref) -> Resource:
        """State, the manager's own word, addresses, fault text. NotFound once it is gone.

        What the manager keeps for a while after its removal, with all that it holds, is not gone yet. The answer has
        the id that was asked for; what has another one is refused outside.
        """
        raise NotImplementedError

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """Those whose name starts with ``name``, with their state: one request polls a whole fleet.

        An error when the manager does not answer; an empty list only when it says that there is none. Never a list
        that may lack something: Incomplete when the manager shows a part only.
        """
        raise NotImplementedError

    def delete(self, ref: Ref) -> None:
        """Ask for removal; what is gone already is success. Conflict while it is held by something else."""
        raise NotImplementedError

    def describe(self) -> Dict[str, object]:
        """What the gateway says of itself: at least ``version``; more words are the driver's own."""
        raise NotImplementedError

    def offers(self) -> Dict[str, object]:
        """What more it says when it is asked for more: hypervisors, extensions. Asked only where somebody reads it."""
        return {}

    def close(self) -> None:
        """Let go of the session. Never raises."""

    def belongings(self, server: Ref) -> List[Ref]:
        """What the manager made for this server by itself, and may leave behind: ports, boot volumes, interfaces.

        Each has a kind and an id that ``show`` and ``delete`` take, also where the kind is not among ``kinds``; its name
        may be empty. NotFound when the server is gone, Transient when the manager does not say.
        """
        return []

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        """What is still there of what the manager made for these servers, which are gone, by their ids.

        Asked where ``belongings`` could not tell, or the server was not READY when it did: something may have come later.
        """
        return {}

    def is_soft_deleted(self, seen: Resource) -> bool:
        """Whether this was removed and is kept for a while, with all that it holds: a second ``delete`` ends it."""
        return False

    # --- what more a driver can say, where its manager has it -------------------------------------------------

    def is_at_rest(self, server: Resource) -> bool:
        """Whether a server that is not READY was put to rest by its owner: that is no failure, and no transition."""
        return False

    def endpoints(self) -> List[str]:
        """The URLs that this session speaks to, the first one first; what is named by the manager after ``connect``."""
        url = str(self.endpoint.get("url") or "")
        return [url] if url.startswith(("https://", "http://")) else []

    def credential_expiry(self) -> Optional[float]:
        """When the credential itself ends, in seconds since the epoch; None where it does not say.

        Before ``connect`` it asks nobody.
        """
        if not self.credentials.get("certificate"):
            return None
        from vmprobe.transport import x509

        return x509.expiry(self.credentials["certificate"])

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        """When the manager was through with what ``active`` or ``storage`` asked of it for this server, by its own clock.

        In seconds since the epoch; None where it does not say. At most one request.
        """
        return None

    def open_port(self, group: Ref, port: int) -> None:
        """With security groups: let TCP connections to ``port`` of the servers that have this group in."""
        raise NotImplementedError

    def needs_start(self, seen: Resource) -> bool:
        """Whether this server, which the run has made, does nothing until it is told to ``start``."""
        return False

    def start(self, server: Ref) -> None:
        """Start a server that was made at rest. Conflict while it cannot be started."""
        raise NotImplementedError

    # --- verbs: by capability ---------------------------------------------------------------------------------

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """The ports of these servers, each with ``server`` and ``addresses``; READY: attached to a network.

        Without PORTS a server's port counts as READY once the manager shows an address for the server.
        """
        found = []
        for ref in servers:
            server = self.show(ref)
            state = State.READY if server.addresses else State.PENDING
            found.append(
                Resource(
                    Ref(Kind.PORT, ref.id, ref.name),
                    state,
                    "address" if server.addresses else "no address",
                    addresses=server.addresses,
                    server=ref.id,
                )
            )
        return found

    def attach(self, server: Ref, volume: Ref) -> None:
        """VOLUMES: ask for the attachment; it is there once the volume is READY and names the server."""
        raise NotImplementedError

    def detach(self, server: Ref, volume: Ref) -> None:
        """VOLUMES: ask for the opposite; what is not attached is success."""
        raise NotImplementedError

    def console(self, server: Ref) -> str:
        """CONSOLE: what the server wrote on its console so far; empty while there is nothing."""
        raise NotImplementedError

    def metrics(self, server: Ref) -> List[Sample]:
        """METRICS: the newest reading of each metric that the manager has, or the newest ones in order of time.

        NotPermitted where policy forbids; NotMeasured where there is none yet, and something can be said of it.
        """
        raise NotImplementedError

    def snapshot(self, server: Ref, name: str) -> Ref:
        """SNAPSHOTS: ask for an image of the running server."""
        raise NotImplementedError

    def capacity(self) -> List[Limit]:
        """CAPACITY: limits and usage that this credential can see: each that a create would meet."""
        raise NotImplementedError

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """CAPACITY: what one test VM takes of each limit of ``capacity``, by the limit's ``name`` and ``of``.

        Only reads. What the manager does not say is left out; a limit that is not in it is not met.
        """
        volumes = [size for size in (test_vm["volume"], plan.root_volume) if size]
        address = 1 if plan.external and test_vm["depth"] == "reach" else 0
        found = {
            "servers": 1,
            "vcpus": plan.vcpus,
            "memory": plan.memory,
            "ports": 1,
            "addresses": address,
            "volumes": len(volumes),
            "storage": sum(volumes),
        }
        return {(name, ""): float(amount) for name, amount in found.items() if amount}

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """IMAGES: those of this name or id, in whichever state; '' is all that the credential can see.

        ``algorithms`` are what checksums are wanted by; a manager that has others says those.
        """
        raise NotImplementedError
