"""The nouns: what modules pass on to each other about things in a cloud. OpenStack's words, for every manager.

Annotations are no texts here: of a NamedTuple each would be compiled at each start, which all probes would pay for.
"""

import enum
from typing import Literal, Mapping, NamedTuple, Optional, Tuple, TypedDict, Union


class Kind(enum.Enum):
    """What a cloud can hold of ours. The order is the order of removal: a server lets go of what it holds."""

    SERVER = "server"
    ADDRESS = "address"  # a floating or public address
    PORT = "port"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    KEYPAIR = "keypair"
    SECURITY_GROUP = "security group"


class State(enum.Enum):
    """What the suite needs to know; the manager's own word is kept beside it."""

    PENDING = "pending"  # on its way, and every word that a driver does not know
    READY = "ready"
    FAILED = "failed"  # does not come back by itself


class Capability(enum.Enum):
    """What a manager may or may not offer; the word is what the capability table shows."""

    VOLUMES = "volumes"
    CONSOLE = "console"
    METRICS = "metrics"
    SNAPSHOTS = "snapshots"
    CAPACITY = "capacity"
    BULK = "bulk"  # several servers by one request
    IMAGES = "images"  # the manager says of each image in which state it is, and its checksum
    PORTS = "ports"  # the manager says of each port whether it is attached


class Ref(NamedTuple):
    """A thing in the cloud: enough to ask for it and to remove it."""

    kind: Kind
    id: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.id}"


class Resource(NamedTuple):
    """What the manager says of a thing, at one moment. What it does not say is empty or None, never zero."""

    ref: Ref
    state: State
    provider_state: str = ""  # the manager's own word for the state
    fault: str = ""  # the manager's own words for what went wrong
    cause: str = ""  # one of errors.CAUSES, where the manager's answer tells
    request: str = ""  # the manager's id of the request that failed
    addresses: Tuple[str, ...] = ()
    server: str = ""  # id of the server that a volume or port is attached to
    created: Optional[float] = None  # by the manager's clock, seconds since the epoch
    launched: Optional[float] = None  # when it became ready, by the manager's clock
    vcpus: Optional[int] = None
    memory: Optional[int] = None  # bytes
    size: Optional[int] = None  # bytes, of a volume or snapshot
    image: str = ""
    owner: str = ""  # the user
    project: str = ""
    state_since: Optional[float] = None  # when it last changed its state, where the manager says it


class Image(NamedTuple):
    """What the manager says of an image. ``checksums`` in hexadecimal, by algorithm as hashlib calls it."""

    id: str
    name: str
    state: State
    provider_state: str = ""
    checksums: Mapping[str, str] = {}
    properties: Mapping[str, str] = {}  # whatever else is written down with it


# The section [test vm], parsed: the keys that every driver has. A driver with ``test_vm_keys`` declares a TypedDict of its
# own for them, and reads the section as that: ``cast("Ec2TestVM", test_vm)``.
TestVM = TypedDict(
    "TestVM",
    {
        "image": str,
        "flavor": str,  # '' or, by a driver's own parser, its default: the driver chooses
        "network": str,  # '': the driver chooses
        "volume": Optional[int],  # bytes; None: no volume
        "depth": str,  # api, console or reach
        "count": int,
        "snapshot": bool,
        "reach port": int,
    },
)


class Plan(NamedTuple):
    """What a test VM will be made of: the names and ids in the site file, resolved to what is really there.

    ``image``, ``flavor`` and ``network`` are for people. ``details`` is what the driver's own ``create`` has to know,
    by words that ``--dry-run`` shows; nobody else reads it. A driver declares a TypedDict for it, and reads it as that.
    """

    image: str
    flavor: str = ""
    network: str = ""
    details: Mapping[str, object] = {}
    external: str = ""  # id of the network of floating addresses; '' if a VM is reached without one
    vcpus: Optional[int] = None  # of the flavor; None: the manager does not say
    memory: Optional[int] = None  # of the flavor, in bytes; None: the manager does not say
    root_volume: Optional[int] = None  # bytes of the volume that the server boots from, if it does

    def __str__(self) -> str:
        parts = (("image", self.image), ("flavor", self.flavor), ("network", self.network))
        return ", ".join(f"{word} {value}" for word, value in parts if value)


class ServerSpec(NamedTuple):
    """A test VM to ask for. With ``servers`` above 1 (BULK only) these are so many, by the names of ``member_names``."""

    name: str
    plan: Plan
    servers: int = 1  # how many
    nonce: str = ""  # the random word in each line that the guest writes to its console
    security_group: str = ""  # id of one that lets in whoever wants to reach the server
    depth: str = "api"  # with console, the guest needs the reporter

    @property
    def kind(self) -> "Literal[Kind.SERVER]":
        return Kind.SERVER


class VolumeSpec(NamedTuple):
    """An empty volume to ask for; ``size`` in bytes."""

    name: str
    size: int
    plan: Plan = Plan("")  # of the server that it is for

    @property
    def kind(self) -> "Literal[Kind.VOLUME]":
        return Kind.VOLUME


class SecurityGroupSpec(NamedTuple):
    """A group that lets connections in, once ``open_port`` was called, to the servers whose spec names it."""

    name: str

    @property
    def kind(self) -> "Literal[Kind.SECURITY_GROUP]":
        return Kind.SECURITY_GROUP


class AddressSpec(NamedTuple):
    """An address of the plan's ``external`` network, by which ``server`` can be reached from outside."""

    name: str
    server: Ref
    plan: Plan

    @property
    def kind(self) -> "Literal[Kind.ADDRESS]":
        return Kind.ADDRESS


Spec = Union[ServerSpec, VolumeSpec, SecurityGroupSpec, AddressSpec]


EXTRA_METRICS = ("ready", "memory")  # where a manager has them
METRICS = ("cpu", "disk_read", "disk_write", "net_in", "net_out")


class Sample(NamedTuple):
    """One reading of one of METRICS, or of EXTRA_METRICS, by the manager, at ``at`` (seconds on the clock of whoever stamped it).

    A *counter* only grows: ``cpu`` in seconds of CPU time per vCPU, the others in bytes since the server started.
    Otherwise the reading is a rate already: ``cpu`` in percent of all vCPUs, the others in bytes per second.
    ``ready``, as ``cpu``, is the time for which a vCPU wanted to run and its host let it wait; ``memory``, never a counter,
    the bytes of its host's memory that the server takes. ``source``: who measured it, where the manager has more than one.
    """

    metric: str
    value: float
    at: float
    counter: bool = True
    source: str = ""


RESOURCES = {
    "servers": "",
    "vcpus": "",
    "cpus": "",
    "memory": "B",
    "disk": "B",
    "volumes": "",
    "storage": "B",
    "addresses": "",
    "ports": "",
    "leases": "",
    "load": "",
    "ready": "s",
}
ONE_FOR_ALL = (
    1e-6  # what a server takes of something of which a fleet needs one, however large it is
)
BURDENS = ("load", "ready")  # what is felt: there is none of it to be had


class Limit(NamedTuple):
    """How much of something there is: ``used`` and ``total`` in items or bytes; ``total`` None is unlimited, or unknown.

    ``name`` is one of RESOURCES (with its unit) where one fits: ``cpus`` are shares of physical CPUs, ``disk`` is for the disks
    that servers boot from, ``storage`` for volumes, ``leases`` are addresses that a network hands out; ``load`` is a host's load average beside its CPUs,
    ``ready`` how long vCPUs waited for a CPU of all the time for which they could have run.
    """

    name: str
    used: float
    total: Optional[float]
    source: str = "quota"  # "quota ...", or the name of a hypervisor, pool, ...
    unknown: str = ""  # why the manager does not say the total, where there is one
    of: str = ""  # the host, datastore, network, ... that a server has to use to meet this limit; '': every server meets it
    binding: bool = False  # no other of its kind can stand in for it, as other hosts can; quotas are binding anyway
