"""Microsoft Azure, by the Resource Manager's REST API.

The API's definition is github.com/Azure/azure-rest-api-specs. A virtual machine with its network
interface and its disk is our server, a managed disk our volume, a size our flavor, a subnet our
network, and a subscription our project.

What a run makes has its handle as its name, and its name in the tag ``vmprobe``. It is in a
resource group of its own, which has the handle as its name too, or in the group that the site
names. A PUT names what it makes, so a create needs no other answer than that it was accepted, and
one that is repeated makes nothing twice.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import ClientError, NotFound
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
from vmprobe.core.values import http_url, one_of
from vmprobe.drivers.azure import capacity, creation, metrics, names, plan, readings
from vmprobe.drivers.azure.arm import PROFILES, Operations, Record, Session
from vmprobe.drivers.azure.endpoints import CLOUDS
from vmprobe.drivers.azure.groups import DELETING, Groups
from vmprobe.drivers.azure.names import TYPES, Place
from vmprobe.drivers.azure.servers import Servers, parts
from vmprobe.drivers.azure.tokens import CREDENTIALS


class Azure(Driver):
    """The verbs, as requests to one subscription."""

    system = "Microsoft Azure"
    proved_against = (
        "no real Azure: a simulator of our own, judged by Microsoft's clients and by the published "
        "definitions of the API; recorded answers of the real service"
    )
    capabilities = frozenset(
        {
            Capability.VOLUMES,
            Capability.CONSOLE,
            Capability.METRICS,
            Capability.SNAPSHOTS,
            Capability.CAPACITY,
            Capability.IMAGES,
        }
    )
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = tuple(metrics.METRICS)
    metrics_period = metrics.PERIOD
    endpoint_keys: Mapping[str, Key] = {
        "subscription": Key(required=True),
        "region": Key(required=True),
        "resource group": Key(),
        "cloud": Key(one_of(*CLOUDS), "public"),
        "url": Key(http_url),
        "login url": Key(http_url),
        "audience": Key(http_url),
        "profile": Key(one_of(*PROFILES), "public"),
        "identity url": Key(http_url),
    }
    test_vm_keys: Mapping[str, Key] = {
        "zone": Key(),
        "disk type": Key(default="Standard_LRS"),
        "admin": Key(default="vmprobe"),
    }
    credential_keys = CREDENTIALS

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        super().__init__(endpoint, credentials, deadline, evidence)
        self.session = Session(endpoint, credentials, deadline, evidence)
        self._operations = Operations(self.session)
        self._groups = Groups(self.session)
        self._servers = Servers(self.session, self._groups, self._operations)

    @property
    def identity(self) -> str:
        group = self._groups.shared
        words = ("azure", self.session.url, self.session.subscription, group)
        return " ".join(word for word in words if word)

    def connect(self) -> None:
        """Get a token, by whichever credential there is."""
        self.session.open()

    def resolve(self, test_vm: TestVM) -> Plan:
        """Look up image, size (the smallest that fits and is not restricted), and subnet."""
        return plan.resolve(self.session, test_vm)

    def create(self, spec: Spec) -> Ref:
        """Ask for a disk, or for a server's interface and then its machine.

        These are two requests, and one more for the first thing of a run that has a group to
        itself. The names of all are known beforehand, so no answer can mislead the next request.
        """
        if spec.kind is Kind.SERVER:
            return self._servers.create(spec)
        assert spec.kind is Kind.VOLUME
        return self._make(Kind.VOLUME, spec.name, creation.disk(self.session, spec))

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.SERVER:
            return self._servers.show(ref)
        where = names.place(ref.id)
        outcome = self._operations.poll(_key(ref))
        try:
            record = self.session.resource(_type(ref), where, f"show {ref}")
        except NotFound:
            state = self._groups.state_if_last(where, [f"{_type(ref)}/{where.name}"])
            if state is None:
                raise
            word = f"gone except for its resource group, which is {state}"
            return Resource(ref, State.PENDING, word)
        shown = readings.disk(record, ref.kind, outcome)
        return shown._replace(ref=shown.ref._replace(id=ref.id))

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """In the run's own group where the name is a handle, else in the subscription; of a shared
        group, only what is in it.
        """
        own = names.own_group(name)
        group = self._groups.shared or own or None
        if kind is Kind.SERVER:
            found = self._servers.list(group)
        else:
            found = self._disks(kind, group)
        found = [one for one in found if one.ref.name.lower().startswith(name.lower())]
        if self._groups.shared:
            return found
        if own:
            return found or self._empty(kind, own)
        if kind is Kind.SERVER and name:
            held = {names.place(one.ref.id).group for one in found}
            for other in self._groups.of_runs(name):
                found += [] if other in held else self._empty(kind, other)
        return found

    def delete(self, ref: Ref) -> None:
        """Ask for removal: of the run's own group, where nothing else is in it."""
        where = names.place(ref.id)
        own = parts(where) if ref.kind is Kind.SERVER else [f"{_type(ref)}/{where.name}"]
        state = self._groups.state_if_last(where, own)
        if state is not None:
            if state != DELETING:
                self._groups.delete(where.group)
            return
        if ref.kind is Kind.SERVER:
            return self._servers.delete(ref)
        try:
            reply = self.session.request(
                "DELETE", self.session.path(_type(ref), where), "disks", f"delete {ref}"
            )
        except NotFound:
            return
        self._groups.deleting(_type(ref), where)
        self._operations.note(_key(ref), reply)

    def describe(self) -> Dict[str, object]:
        """The version is the api-version of the requests; the state is the subscription's."""
        reply = self.session.get(self.session.below(), "subscriptions", "show subscription")
        return {
            "version": f"API {self.session.versions['compute']}",
            "region": self.endpoint["region"],
            "subscription": reply.short_text("displayName", default=""),
            "state": reply.short_text("state", default=""),
        }

    def close(self) -> None:
        self.session.close()

    def endpoints(self) -> List[str]:
        return [self.session.url]

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in readings.AT_REST

    # --- by capability --------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        self._servers.attach(server, volume)

    def detach(self, server: Ref, volume: Ref) -> None:
        self._servers.detach(server, volume)

    def console(self, server: Ref) -> str:
        """Boot diagnostics: the log of the serial port, some minutes behind."""
        return self._servers.console(server)

    def metrics(self, server: Ref) -> List[Sample]:
        """Azure Monitor's newest readings; a new server has none for some minutes."""
        where = self.session.path(TYPES[Kind.SERVER], names.place(server.id))
        reply = self.session.get(
            f"{where}/providers/Microsoft.Insights/metrics",
            "metrics",
            f"metrics of {server}",
            **metrics.query(self.deadline.clock.utc()),
        )
        return metrics.samples(reply, server)

    def snapshot(self, server: Ref, name: str) -> Ref:
        """Ask for a snapshot of the disk that the server boots from."""
        return self._make(Kind.SNAPSHOT, name, creation.snapshot(self.session, server, name))

    def capacity(self) -> List[Limit]:
        return capacity.limits(self.session)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        return capacity.needs(plan, test_vm, super().needs(plan, test_vm))

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """Managed images by name or ``GROUP/NAME``, and the marketplace's by URN."""
        return plan.images(self.session, name)

    # --- helpers --------------------------------------------------------------------------------

    def _make(self, kind: Kind, name: str, body: Record) -> Ref:
        where = Place(self._groups.ensure(name), name)
        ref = Ref(kind, where.id, name)
        self._groups.asking(_type(ref), where)
        reply = self.session.request(
            "PUT",
            self.session.path(_type(ref), where),
            "disks",
            f"create {kind.value}",
            json=body,
        )
        self._groups.made(_type(ref), where)
        self._operations.note(_key(ref), reply)
        return ref

    def _disks(self, kind: Kind, group: Optional[str]) -> List[Resource]:
        """The disks that are volumes, or the snapshots: a server's own disk belongs to it."""
        asked = f"list {kind.value}s"
        if group is None:
            records = self.session.everywhere(TYPES[kind], asked)
        else:
            records = self.session.in_group(TYPES[kind], group, asked)
        return [
            readings.disk(record, kind) for record in records if not readings.is_of_server(record)
        ]

    def _empty(self, kind: Kind, group: str) -> List[Resource]:
        """A run's own group with nothing in it, as the resource that it was made for first."""
        where = Place(group, group)
        state = self._groups.state_if_last(where, [])
        if state is None:
            return []
        word = f"a resource group that is empty, and is {state}"
        return [Resource(Ref(kind, where.id, where.name), State.PENDING, word)]


def _type(ref: Ref) -> str:
    if ref.kind not in TYPES:
        raise ClientError(f"{ref} is nothing that this driver makes")
    return TYPES[ref.kind]


def _key(ref: Ref) -> str:
    return f"{ref.kind.value} {ref.id}"
