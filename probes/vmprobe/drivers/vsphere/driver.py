"""VMware vSphere: vCenter, and a single ESXi host, over the Web Services API (``vim25``, SOAP).

Source: vSphere Web Services API reference, developer.broadcom.com.

A virtual machine is our server, a template our image, and a port group our network. There are no
flavors: a machine has its template's size, or that of the site file. A volume is a virtual disk of
its own in the datastore. The session lasts for the run and is logged out at its end.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import NotMeasured
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import (
    EXTRA_METRICS,
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
)
from vmprobe.core.values import http_url, size, whole
from vmprobe.drivers.vsphere import console, images, metrics, readings
from vmprobe.drivers.vsphere.inventory import Inventory
from vmprobe.drivers.vsphere.properties import Collector
from vmprobe.drivers.vsphere.servers import Servers
from vmprobe.drivers.vsphere.session import Session
from vmprobe.drivers.vsphere.snapshots import Snapshots
from vmprobe.drivers.vsphere.tasks import POWER_ON, Tasks
from vmprobe.drivers.vsphere.volumes import Volumes


class Vsphere(Driver):
    """The verbs, as calls of the Web Services API."""

    system = "VMware vSphere"
    proved_against = (
        "govmomi's simulator of vCenter and ESXi (not ours), also behind a proxy that pages lists "
        "and holds back tasks; recordings of a vCenter 8; no vCenter was seen"
    )
    capabilities = frozenset(set(Capability) - {Capability.BULK})
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = METRICS + EXTRA_METRICS
    metrics_period = float(metrics.PERIOD)
    endpoint_keys = {
        "url": Key(http_url, required=True),
        "datacenter": Key(),
        "folder": Key(),
        "cluster": Key(),
        "host": Key(),
        "resource pool": Key(),
        "datastore": Key(),
        "volume folder": Key(default=""),
    }
    test_vm_keys = {
        "flavor": Key(size),
        "vcpus": Key(whole(1)),
        "guest id": Key(default="otherLinux64Guest"),
    }
    credential_keys = ("username", "password")

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        super().__init__(endpoint, credentials, deadline, evidence)
        self.session = Session(endpoint, credentials, deadline, evidence)
        self.collector = Collector(self.session)
        self.inventory = Inventory(self.session, self.collector, endpoint)
        self.tasks = Tasks(self.session, self.collector)
        self.servers = Servers(self.session, self.collector, self.inventory, self.tasks)
        self.volumes = Volumes(self.servers, endpoint["volume folder"])
        self.snapshots = Snapshots(self.servers)
        self._metrics = metrics.Metrics(self.session, self.collector)

    @property
    def identity(self) -> str:
        """As in the contract, with where the machines are."""
        where = [str(self.endpoint[key]) for key in ("datacenter", "folder") if self.endpoint[key]]
        return " ".join([super().identity, *where])

    def connect(self) -> None:
        self.collector.forget_views()
        self.inventory.forget()
        self._metrics.forget()
        self.session.open()

    def resolve(self, test_vm: TestVM) -> Plan:
        """Look up the template (or the disk), the network, and the place for machines."""
        from vmprobe.drivers.vsphere.plan import resolve

        return resolve(self.session, self.collector, self.inventory, test_vm)

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            return self.volumes.create(spec)
        assert spec.kind is Kind.SERVER
        path = self.volumes.console_path(spec.name) if spec.depth == "console" else ""
        return self.servers.create(spec, path)

    def show(self, ref: Ref) -> Resource:
        return self._of(ref.kind).show(ref)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """Without a name, the machines of the whole datacenter; else those of the site's folder."""
        return self._of(kind).list(name)

    def delete(self, ref: Ref) -> None:
        self._of(ref.kind).delete(ref)

    def _of(self, kind: Kind) -> Union[Servers, Volumes, Snapshots]:
        if kind is Kind.VOLUME:
            return self.volumes
        return self.snapshots if kind is Kind.SNAPSHOT else self.servers

    def describe(self) -> Dict[str, object]:
        about = self.session.about
        return {
            "version": about.get("version", ""),
            "build": about.get("build", ""),
            "product": about.get("name", ""),
            "api": about.get("apiVersion", ""),
        }

    def close(self) -> None:
        self.session.close()

    def belongings(self, server: Ref) -> List[Ref]:
        """The file that its console is written to, which its removal leaves."""
        return self.volumes.console_of(server)

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        return {server.id: self.volumes.console_left_by(server) for server in servers}

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in readings.AT_REST

    def needs_start(self, seen: Resource) -> bool:
        return self.servers.needs_start(seen)

    def start(self, server: Ref) -> None:
        self.servers.start(server)

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        """When the task that powered it on was complete, by vCenter's clock."""
        job = self.tasks.job(server, POWER_ON)
        if stage != "active" or job is None:
            return None
        self.tasks.refresh([job], f"when {server} became active")
        return job.info.completed

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """Their network cards, with the addresses that VMware Tools report; where these report none
        and the run reads the console, those that are written there.
        """
        names = ["config.hardware.device", "guest.net", "guest.ipAddress"]
        found: List[Resource] = []
        for server in servers:
            thing = self.servers.require(server, names, f"ports of {server}")
            cards = readings.ports(server, thing)
            nonce = self.servers.nonces.get(server.id)
            if nonce and cards and not any(card.addresses for card in cards):
                told = console.addresses(self.console(server), nonce)
                cards[0] = cards[0]._replace(addresses=told)
            found += cards
        return found

    # --- by capability --------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        self.volumes.attach(server, volume)

    def detach(self, server: Ref, volume: Ref) -> None:
        self.volumes.detach(server, volume)

    def console(self, server: Ref) -> str:
        """What the machine wrote to its serial port, which is a file in the datastore."""
        return console.read(self.session, self.servers, self.inventory, server)

    def metrics(self, server: Ref) -> List[Sample]:
        """The newest 20-second samples. A machine that is off has none."""
        asked = f"metrics of {server}"
        machine = self.servers.require(server, readings.SERVER, asked)
        seen = readings.server(machine)
        if seen.state is not State.READY:
            raise NotMeasured(f"{asked}: the machine is {seen.provider_state}")
        return self._metrics.newest(server, machine.ref, seen.vcpus)

    def snapshot(self, server: Ref, name: str) -> Ref:
        return self.snapshots.create(server, name)

    def capacity(self) -> List[Limit]:
        from vmprobe.drivers.vsphere import capacity

        return capacity.limits(self.inventory)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        from vmprobe.drivers.vsphere import capacity

        return capacity.needs(plan, super().needs(plan, test_vm))

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The templates, and other machines by their name; vSphere knows no checksums."""
        return images.find(self.session, self.inventory, name)
