"""VMware vSphere: vCenter, and a single ESXi host, over the Web Services API (``vim25``, SOAP).

Source: vSphere Web Services API reference, developer.broadcom.com.

A virtual machine is our server, a template our image, and a port group our network. There are no
flavors: a machine has its template's size, or that of the site file. A volume is a virtual disk of
its own in the datastore. The session lasts for the run and is logged out at its end.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import (
    Capability,
    Kind,
    Plan,
    Ref,
    Resource,
    Spec,
    TestVM,
)
from vmprobe.core.values import http_url, size, whole
from vmprobe.drivers.vsphere import readings
from vmprobe.drivers.vsphere.inventory import Inventory
from vmprobe.drivers.vsphere.properties import Collector
from vmprobe.drivers.vsphere.servers import Servers
from vmprobe.drivers.vsphere.session import Session
from vmprobe.drivers.vsphere.tasks import POWER_ON, Tasks


class Vsphere(Driver):
    """The verbs, as calls of the Web Services API."""

    system = "VMware vSphere"
    proved_against = (
        "govmomi's simulator of vCenter and ESXi (not ours), also behind a proxy that pages lists "
        "and holds back tasks; recordings of a vCenter 8; no vCenter was seen"
    )
    capabilities = frozenset({Capability.PORTS})
    kinds = (Kind.SERVER,)
    endpoint_keys = {
        "url": Key(http_url, required=True),
        "datacenter": Key(),
        "folder": Key(),
        "cluster": Key(),
        "host": Key(),
        "resource pool": Key(),
        "datastore": Key(),
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

    @property
    def identity(self) -> str:
        """As in the contract, with where the machines are."""
        where = [str(self.endpoint[key]) for key in ("datacenter", "folder") if self.endpoint[key]]
        return " ".join([super().identity, *where])

    def connect(self) -> None:
        self.collector.forget_views()
        self.inventory.forget()
        self.session.open()

    def resolve(self, test_vm: TestVM) -> Plan:
        """Look up the template (or the disk), the network, and the place for machines."""
        from vmprobe.drivers.vsphere.plan import resolve

        return resolve(self.session, self.collector, self.inventory, test_vm)

    def create(self, spec: Spec) -> Ref:
        assert spec.kind is Kind.SERVER
        return self.servers.create(spec)

    def show(self, ref: Ref) -> Resource:
        return self.servers.show(ref)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """Without a name, the machines of the whole datacenter; else those of the site's folder."""
        return self.servers.list(name, everywhere=not name)

    def delete(self, ref: Ref) -> None:
        self.servers.delete(ref)

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
        """Their network cards, with the addresses that VMware Tools report."""
        names = ["config.hardware.device", "guest.net", "guest.ipAddress"]
        found: List[Resource] = []
        for server in servers:
            thing = self.servers.require(server, names, f"ports of {server}")
            found += readings.ports(server, thing)
        return found
