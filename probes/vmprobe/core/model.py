"""The types that modules pass on to each other, in OpenStack's words for every manager.

This module does without ``from __future__ import annotations``: NamedTuple would compile each
annotation at each start of a check.
"""

import enum
from typing import List, Literal, Mapping, NamedTuple, Optional, Tuple, TypedDict, Union


class Kind(enum.Enum):
    """The kinds of resources, in the order of their removal: a server before what it holds."""

    SERVER = "server"
    ADDRESS = "address"  # a floating or public address
    PORT = "port"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    KEYPAIR = "keypair"
    SECURITY_GROUP = "security group"


class State(enum.Enum):
    """What the suite has to know of a state; the manager's own word stands beside it."""

    PENDING = "pending"  # not ready yet; also every word that a driver does not know
    READY = "ready"
    FAILED = "failed"  # does not come back by itself


class Capability(enum.Enum):
    """What a manager may offer. The value is the column in the README's table of drivers."""

    VOLUMES = "volumes"
    CONSOLE = "console"
    METRICS = "metrics"
    SNAPSHOTS = "snapshots"
    CAPACITY = "capacity"
    BULK = "bulk"  # several servers by one request
    IMAGES = "images"  # the state and the checksum of each image
    PORTS = "ports"  # whether each port is attached


class Ref(NamedTuple):
    """A reference to a resource: enough to show it and to delete it."""

    kind: Kind
    id: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.id}"


class Resource(NamedTuple):
    """What the manager says of a resource. What it does not say is empty or None, never zero."""

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
    state_since: Optional[float] = None  # when it last changed its state, seconds since the epoch


class Image(NamedTuple):
    """What the manager says of an image; ``checksums`` in hexadecimal, by hashlib's names."""

    id: str
    name: str
    state: State
    provider_state: str = ""
    checksums: Mapping[str, str] = {}
    properties: Mapping[str, str] = {}  # whatever else is written down with it


# The parsed section [test vm], with the keys of every site. A driver with ``test_vm_keys`` declares
# a TypedDict of its own and reads the section as that: ``cast("Ec2TestVM", test_vm)``. A key there
# may have another type than here, by the driver's own parser (QEMU: flavor is bytes).
TestVM = TypedDict(
    "TestVM",
    {
        "image": str,
        "flavor": str,  # '': the driver chooses
        "network": str,  # '': the driver chooses
        "volume": Optional[int],  # bytes; None: no volume
        "depth": str,  # api, console or reach
        "count": int,
        "snapshot": bool,
        "reach port": int,
    },
)


class Plan(NamedTuple):
    """What a test VM will be made of: the names in the site file, looked up in the cloud.

    ``image``, ``flavor`` and ``network`` are names for people. ``details`` is what this driver's
    ``create`` and ``needs`` have to know; a driver declares a TypedDict for it. Others only show
    it, with ``--plan``.
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
    """A test VM to create; with ``servers`` above 1 (BULK only) a fleet: ``member_names``."""

    name: str
    plan: Plan
    servers: int = 1  # how many
    nonce: str = ""  # the random word in each line that the guest writes to its console
    security_group: str = ""  # id; lets in the connections of the depth reach
    depth: str = "api"  # with console, the guest gets the reporter as its user data

    @property
    def kind(self) -> "Literal[Kind.SERVER]":
        return Kind.SERVER


class VolumeSpec(NamedTuple):
    """An empty volume to create; ``size`` in bytes."""

    name: str
    size: int
    plan: Plan = Plan("")  # of the server that it is for

    @property
    def kind(self) -> "Literal[Kind.VOLUME]":
        return Kind.VOLUME


class SecurityGroupSpec(NamedTuple):
    """A security group to create; ``open_port`` then lets connections to its servers in."""

    name: str

    @property
    def kind(self) -> "Literal[Kind.SECURITY_GROUP]":
        return Kind.SECURITY_GROUP


class AddressSpec(NamedTuple):
    """An address of the plan's ``external`` network to create for ``server``."""

    name: str
    server: Ref
    plan: Plan

    @property
    def kind(self) -> "Literal[Kind.ADDRESS]":
        return Kind.ADDRESS


Spec = Union[ServerSpec, VolumeSpec, SecurityGroupSpec, AddressSpec]


def member_names(name: str, servers: int) -> List[str]:
    """The names of a fleet's members: ``name`` alone, or ``name-1`` to ``name-N``."""
    return [name] if servers == 1 else [member_name(name, n) for n in range(1, servers + 1)]


def member_name(name: str, number: int) -> str:
    """The name of one member of a fleet of two or more; ``number`` begins at 1."""
    return f"{name}-{number}"


EXTRA_METRICS = ("ready", "memory")  # where a manager has them
METRICS = ("cpu", "disk_read", "disk_write", "net_in", "net_out")


class Sample(NamedTuple):
    """One reading of METRICS or EXTRA_METRICS, at ``at`` (seconds, on the manager's clock).

    A *counter* only grows: ``cpu`` is seconds of CPU time per vCPU, the others are bytes since the
    server started. Any other reading is a rate: ``cpu`` in percent of all vCPUs, the others in
    bytes per second. ``ready`` is measured as ``cpu`` is: the time that vCPUs waited for a CPU of
    their host. ``memory`` is never a counter: the bytes of its host's memory that the server takes.
    ``source``: who measured it, where the manager has more than one.
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
# What a server takes of something that a fleet of any size needs once, such as a security group.
ONE_FOR_ALL = 1e-6
BURDENS = ("load", "ready")  # measures of how busy a host is: nothing of them is free to be used


class Limit(NamedTuple):
    """How much of something there is: ``used`` and ``total``, in items or bytes.

    ``total`` is None where it is unlimited, or unknown. ``name`` is one of RESOURCES (with its
    unit) where one fits:

        cpus     shares of physical CPUs
        disk     holds the disks that servers boot from
        storage  holds volumes
        leases   addresses that a network hands out
        load     a host's load average; the total is its number of CPUs
        ready    seconds that a host's vCPUs waited for a CPU; the total is the time for which
                 they could have run
    """

    name: str
    used: float
    total: Optional[float]
    source: str = "quota"  # "quota ...", or the name of a hypervisor, pool, ...
    unknown: str = ""  # why the manager does not say the total, where there is one
    # The host, datastore, network, ... whose limit it is; '': every server counts.
    of: str = ""
    # No other of its kind can take its place, as other hosts can. Quotas are binding anyway.
    binding: bool = False
