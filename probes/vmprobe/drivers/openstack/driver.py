"""OpenStack: Keystone, Nova, Neutron, Cinder and Glance over their REST interfaces.

Source: the API reference of each, docs.openstack.org/api-ref.

OpenStack's nouns are the suite's own: server, flavor, image, port, volume. Nova attaches
volumes and makes the ports of servers; Cinder knows the state of a volume, Neutron that of a port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import Conflict, GatewayFailed, NotFound, NotPermitted
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
    TestVM,
)
from vmprobe.core.text import cut
from vmprobe.core.values import http_url, yes_or_no
from vmprobe.drivers.openstack import creation, images, ports, readings, resources
from vmprobe.drivers.openstack.belongings import Belongings
from vmprobe.drivers.openstack.keystone import Keystone
from vmprobe.drivers.openstack.servers import Servers
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import path
from vmprobe.transport.json import items, parse_time

if TYPE_CHECKING:
    from vmprobe.drivers.openstack.metrics import Metrics


class Openstack(Driver):
    """The verbs, over the services of one project in one region."""

    system = "OpenStack"
    proved_against = "OpenStack Zed from Debian's packages, real, started by the tests"
    capabilities = frozenset(Capability)
    kinds = (Kind.SERVER, Kind.ADDRESS, Kind.VOLUME, Kind.SNAPSHOT, Kind.SECURITY_GROUP)
    metrics_offered = METRICS
    endpoint_keys = {
        "url": Key(http_url),
        "region": Key(),
        "project": Key(),
        "project domain": Key(),
        "interface": Key(),
        "cloud": Key(),
        "all projects": Key(yes_or_no, False),
    }
    test_vm_keys = {
        "external network": Key(),
        "availability zone": Key(),
        "security group": Key(),
        "volume type": Key(),
        "boot from volume": Key(yes_or_no, False),
        "config drive": Key(yes_or_no, False),
    }
    credential_keys = Keystone.CREDENTIAL_KEYS

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        super().__init__(endpoint, credentials, deadline, evidence)
        self.keystone = Keystone(endpoint, credentials, deadline, evidence)
        self.services = Services(self.keystone, endpoint["timeout"])
        self._belongings = Belongings(self.services)
        self._servers = Servers(self.services, self._belongings, deadline.clock)
        self._metrics: Optional[Metrics] = None  # loaded when it is first needed
        self._requests: Dict[Tuple[str, str], str] = {}  # ids, by server and stage
        self._created: Set[Kind] = set()  # what this session has sent a create for

    @property
    def identity(self) -> str:
        """As in the contract, with what clouds.yaml or the environment add to the site file."""
        settings = self.keystone.settings
        parts = [self.endpoint["manager"], *(settings[key] for key in ("url", "region", "project"))]
        return " ".join(part for part in parts if part)

    # --- verbs: every driver ----------------------------------------------------------------------

    def connect(self) -> None:
        self.keystone.authenticate()

    def resolve(self, test_vm: TestVM) -> Plan:
        """The newest image of the name (or id, or property=value), the flavor, and the network."""
        from vmprobe.drivers.openstack.resolve import resolve

        return resolve(self.services, test_vm)

    def create(self, spec: Spec) -> Ref:
        self._created.add(spec.kind)
        if spec.kind is Kind.VOLUME:
            return creation.volume(self.services.cinder(), spec)
        if spec.kind is Kind.ADDRESS:
            return creation.floating_ip(self.services.neutron(), spec)
        if spec.kind is Kind.SECURITY_GROUP:
            return creation.security_group(self.services.neutron(), spec)
        server, request = creation.server(self.services, spec)
        self._requests[server.id, "active"] = request
        return server

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.SERVER:
            return self._servers.show(ref)
        if ref.kind is Kind.PORT:
            return ports.show(self.services.neutron(), ref)
        return resources.show(self.services, ref)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """The project's; without a name, and with ``all projects``, those of every project.

        A Neutron without routers says that there is no path for floating IPs; and what policy hides
        and this session has not asked for, it cannot have created. Both count as an empty list.
        """
        all_projects = bool(self.endpoint["all projects"]) and not name
        if kind is Kind.SERVER:
            return self._servers.list(name, all_projects)
        if kind not in resources.COLLECTIONS:
            return []
        if kind is Kind.VOLUME and not self.services.has_cinder():
            return []
        try:
            return resources.find(self.services, kind, name, all_projects)
        except (NotFound, NotPermitted):
            if kind not in (Kind.ADDRESS, Kind.SECURITY_GROUP) or kind in self._created:
                raise
            return []

    def delete(self, ref: Ref) -> None:
        """As in the contract; a soft-deleted server is removed by force."""
        from vmprobe.drivers.openstack import removal

        if ref.kind is Kind.SERVER and self._servers.is_soft_deleted(ref):
            removal.force_delete(self.services, ref)
            return
        if ref.kind is Kind.SNAPSHOT and self.services.has_cinder():
            removal.delete_volume_snapshots(self.services, ref)
        try:
            try:
                resources.delete(self.services, ref)
            except Conflict:
                is_volume = ref.kind is Kind.VOLUME
                if not is_volume or not removal.free_volume(self.services, self.show(ref)):
                    raise
                resources.delete(self.services, ref)
        except NotFound:
            return

    def describe(self) -> Dict[str, Any]:
        """Nova's version, and the services of the catalog."""
        version = str(self.services.nova_document().get("version") or "2.0")
        catalog = items(self.keystone.token, "catalog")
        return {
            "version": f"Nova {cut(version, 20)}",
            "services": sorted({str(entry.get("type")) for entry in catalog}),
            "project": self.services.project,
        }

    def offers(self) -> Dict[str, Any]:
        from vmprobe.drivers.openstack import offers

        return offers.offers(self.services)

    def belongings(self, server: Ref) -> List[Ref]:
        """The ports that Nova made for it, and the volume that Nova made for it to boot from."""
        return self._belongings.of(server)

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        """The ports that Nova made for them."""
        return self._belongings.orphans(servers)

    def is_soft_deleted(self, resource: Resource) -> bool:
        return resource.ref.kind is Kind.SERVER and resource.provider_state == readings.SOFT_DELETED

    # --- what more this driver can say ------------------------------------------------------------

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in readings.STOPPED_BY_OWNER

    def endpoints(self) -> List[str]:
        """Keystone's, and in a session those of the services that a test VM needs."""
        return self.services.urls()

    def credential_expiry(self, certificate_expiry: Callable[[str], float]) -> Optional[float]:
        return self.keystone.credential_expiry()

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        """When the last event of the request's action ended.

        A member sees events from microversion 2.51 on.
        """
        request = self._requests.get((server.id, stage))
        if not request:
            return None
        where = path("servers", server.id, "os-instance-actions", request)
        reply = self.services.nova().get(where, asked=f"action of {server}")
        events = reply.items("instanceAction", "events", default=[])
        succeeded = [event for event in events if event.get("result") == "Success"]
        moments = [parse_time(event.get("finish_time")) for event in succeeded]
        ends = [end for end in moments if end is not None]
        return max(ends) if ends and len(ends) == len(events) else None

    def open_port(self, group: Ref, port: int) -> None:
        creation.open_port(self.services.neutron(), group, port)

    # --- verbs: by capability ---------------------------------------------------------------------

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        return ports.of_servers(self.services.neutron(), [server.id for server in servers])

    def attach(self, server: Ref, volume: Ref) -> None:
        reply = self.services.nova().post(
            path("servers", server.id, "os-volume_attachments"),
            asked=f"attach {volume} to {server}",
            json={"volumeAttachment": {"volumeId": volume.id}},
        )
        self._requests[server.id, "storage"] = reply.request_id

    def detach(self, server: Ref, volume: Ref) -> None:
        where = path("servers", server.id, "os-volume_attachments", volume.id)
        try:
            self.services.nova().delete(where, asked=f"detach {volume} from {server}")
        except NotFound:
            return

    def console(self, server: Ref) -> str:
        reply = self.services.nova().post(
            path("servers", server.id, "action"),
            json={"os-getConsoleOutput": {}},
            asked=f"console of {server}",
        )
        output: str = reply.field("output", str, default="")
        return output

    def metrics(self, server: Ref) -> List[Sample]:
        """Nova's diagnostics, which are of this very moment.

        What they lack is Gnocchi's, if there is one.
        """
        from vmprobe.drivers.openstack.metrics import Metrics

        if self._metrics is None:
            self._metrics = Metrics(self.services, self._servers, self.deadline.clock)
        return self._metrics.of(server)

    def snapshot(self, server: Ref, name: str) -> Ref:
        reply = self.services.nova().post(
            path("servers", server.id, "action"),
            json={"createImage": {"name": name}},
            asked=f"snapshot of {server}",
        )
        identity = reply.short_text("image_id", default="") if reply.body.strip() else ""
        identity = identity or reply.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not identity:
            raise reply.error(GatewayFailed, "no id of the snapshot in the answer")
        return Ref(Kind.SNAPSHOT, identity, name)

    def capacity(self) -> List[Limit]:
        """The project's quotas; for an administrator also the hosts and networks."""
        from vmprobe.drivers.openstack import capacity

        return capacity.limits(self.services)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """A server that boots from a volume takes one more.

        Volumes also count for the quotas of their type.
        """
        from vmprobe.drivers.openstack import capacity

        return capacity.needs(self.services, super().needs(plan, test_vm), plan, test_vm)

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """``algorithms`` are ignored: Glance has the checksums that it has."""
        records = images.find(self.services.glance(), name)
        return [images.reading(record) for record in records]
