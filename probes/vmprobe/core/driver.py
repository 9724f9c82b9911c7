"""The contract between the suite and a VM manager. ``drivers/memory/driver.py`` is the example.

A verb sends as few requests as its answer needs; ``create`` sends exactly one. A driver never
waits, never retries, never logs a secret, keeps no state but its session, and raises only the
errors of ``core.errors``. Waiting, deadlines, retries of reads, recording and clean-up exist once,
outside (``core.cloud``, ``lease``).
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
    Type,
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

__all__ = ["Deadline", "Driver", "Evidence", "Key"]  # what a driver outside the tree needs


class Key(NamedTuple):
    """A key of a site file.

    ``parse`` turns its text into a value; ValueError says what the text is not (``core.values``).
    """

    parse: Callable[[str], Any] = str
    default: Any = None
    required: bool = False


class Driver:
    """One VM manager: what it can do, the keys of a site file that it reads, and its verbs."""

    capabilities: FrozenSet[Capability] = frozenset()
    kinds: Sequence[Kind] = (Kind.SERVER,)  # what it can create, and what a sweep has to list
    metrics_offered: Sequence[str] = ()  # of model.METRICS and model.EXTRA_METRICS
    # Upper bound of eventual consistency, in seconds: what was not listed by then does not exist.
    consistency_window: float = 120.0
    # Seconds between two readings that the manager takes; 0: it measures when it is asked.
    metrics_period: float = 0.0
    endpoint_keys: Mapping[str, Key] = {}  # of the section [endpoint], beside those of every site
    test_vm_keys: Mapping[str, Key] = {}  # of the section [test vm], beside those of every site
    credential_keys: Sequence[str] = ()  # of the section [credentials]; empty: it needs none
    proved_against: str = "nothing yet"  # for the README's table of drivers
    system: str = ""  # the manager's name, as its makers write it

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        """Prepare a session. Nothing is sent before ``connect``.

        ``endpoint`` and ``credentials`` are the parsed sections. ``deadline`` is the run's: what
        waits for an answer obeys it. ``evidence`` takes each request with its answer.
        """
        self.endpoint = endpoint
        self.credentials = credentials
        self.deadline = deadline
        self.evidence = evidence

    @classmethod
    def of_endpoint(cls, endpoint: Mapping[str, Any]) -> Type[Driver]:
        """The driver for an endpoint, by the parsed section. Starts and sends nothing.

        It differs from this class where the section declares what its manager offers.
        """
        return cls

    @property
    def identity(self) -> str:
        """The endpoint as seen by this project. A ledger is settled only where it was written."""
        keys = ("manager", "url", "region", "project")
        return " ".join(str(self.endpoint[key]) for key in keys if self.endpoint.get(key))

    # --- verbs of every driver ------------------------------------------------------------------

    def connect(self) -> None:
        """Authenticate. No other verb does; when the session has ended, it raises AuthRejected."""
        raise NotImplementedError

    def resolve(self, test_vm: TestVM) -> Plan:
        """Look up what the test VM of this section will be made of. Only reads.

        NotFound says what does not exist; ClientError says which key of the section is wrong.
        """
        raise NotImplementedError

    def create(self, spec: Spec) -> Ref:
        """Ask for one resource (or for a fleet, with BULK) and return without waiting for it.

        The manager shows the name in the spec from this moment on. Only ``kinds`` are asked for,
        and an address only when its server is READY. Send one request only: the id in its answer
        may be another's, so nothing is done to the new resource before the caller has checked it.
        """
        raise NotImplementedError

    def show(self, ref: Ref) -> Resource:
        """Return the present state, with the id that was asked for. NotFound once it is gone.

        What the manager keeps for a while after its removal, with all that it holds, is not gone.
        """
        raise NotImplementedError

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """Return those whose name starts with ``name``, with their state: one request for a fleet.

        The list is complete, or an error: Incomplete when the manager shows only a part. It is
        empty only when the manager says that there are none.
        """
        raise NotImplementedError

    def delete(self, ref: Ref) -> None:
        """Ask for removal. What is gone already is success; Conflict while something holds it."""
        raise NotImplementedError

    def describe(self) -> Dict[str, object]:
        """What the gateway says of itself: at least ``version``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the session. Never raises."""

    # --- what a driver adds where its manager has it --------------------------------------------

    def offers(self) -> Dict[str, object]:
        """More of ``describe``, that costs more requests: hypervisors, extensions."""
        return {}

    def endpoints(self) -> List[str]:
        """The URLs of this session, the gateway's own first; after ``connect``, the catalog's."""
        url = str(self.endpoint.get("url") or "")
        return [url] if url.startswith(("https://", "http://")) else []

    def credential_expiry(self, certificate_expiry: Callable[[str], float]) -> Optional[float]:
        """When the credential itself expires, in seconds since the epoch; None if it does not say.

        Sends nothing before ``connect``. ``certificate_expiry`` reads it from a PEM file.
        """
        certificate = self.credentials.get("certificate")
        return certificate_expiry(certificate) if certificate else None

    def belongings(self, server: Ref) -> List[Ref]:
        """What the manager made for this server by itself: ports, boot volumes, interfaces.

        ``show`` and ``delete`` take each of them, also when its kind is not among ``kinds``; its
        name may be empty. NotFound when the server is gone, Transient when the manager does not
        say.
        """
        return []

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        """What is left of the belongings of these servers, which are gone, by the server's id.

        Called where ``belongings`` could not tell, or was asked before the server was READY.
        """
        return {}

    def is_soft_deleted(self, resource: Resource) -> bool:
        """Whether this was deleted and is kept for a while; a second ``delete`` removes it."""
        return False

    def is_at_rest(self, server: Resource) -> bool:
        """Whether the owner stopped or suspended this server: it did not fail and is not stuck."""
        return False

    def needs_start(self, resource: Resource) -> bool:
        """Whether this server, which the run created, does nothing until ``start`` is called."""
        return False

    def start(self, server: Ref) -> None:
        """Start a server that ``needs_start``. Conflict while it cannot be started."""
        raise NotImplementedError

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        """When the manager finished ``active`` or ``storage`` for this server, by its own clock.

        In seconds since the epoch; None where it does not say. At most one request.
        """
        return None

    def open_port(self, group: Ref, port: int) -> None:
        """Let TCP connections to ``port`` of the servers in this security group in."""
        raise NotImplementedError

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """The ports of these servers, with ``server`` and ``addresses``; READY once attached.

        Without PORTS a server's port counts as READY when the manager shows the server's address.
        """
        ports = []
        for ref in servers:
            server = self.show(ref)
            ports.append(
                Resource(
                    Ref(Kind.PORT, ref.id, ref.name),
                    State.READY if server.addresses else State.PENDING,
                    "address" if server.addresses else "no address",
                    addresses=server.addresses,
                    server=ref.id,
                )
            )
        return ports

    # --- verbs by capability --------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        """VOLUMES: ask for the attachment. It is done once the volume is READY with ``server``."""
        raise NotImplementedError

    def detach(self, server: Ref, volume: Ref) -> None:
        """VOLUMES: ask for the detachment. What is not attached is success."""
        raise NotImplementedError

    def console(self, server: Ref) -> str:
        """CONSOLE: all that the server has written to its console; '' while there is nothing."""
        raise NotImplementedError

    def metrics(self, server: Ref) -> List[Sample]:
        """METRICS: the newest reading of each metric, or the newest ones in order of time.

        NotPermitted where policy forbids it. NotMeasured where there is none yet, with the reason.
        """
        raise NotImplementedError

    def snapshot(self, server: Ref, name: str) -> Ref:
        """SNAPSHOTS: ask for an image of the running server."""
        raise NotImplementedError

    def capacity(self) -> List[Limit]:
        """CAPACITY: each limit that a create would meet, with its usage by this project."""
        raise NotImplementedError

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """CAPACITY: what one test VM takes of each limit, by the limit's ``name`` and ``of``.

        Only reads. What the manager does not say is left out: a missing limit does not count.
        """
        volumes = [size for size in (test_vm["volume"], plan.root_volume) if size]
        amounts = {
            "servers": 1,
            "vcpus": plan.vcpus,
            "memory": plan.memory,
            "ports": 1,
            "addresses": 1 if plan.external and test_vm["depth"] == "reach" else 0,
            "volumes": len(volumes),
            "storage": sum(volumes),
        }
        return {(name, ""): float(amount) for name, amount in amounts.items() if amount}

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """IMAGES: those of this name or id, in any state; '' is all that the credential can see.

        ``algorithms``: the checksums that the caller can use. A manager with others gives those.
        """
        raise NotImplementedError
