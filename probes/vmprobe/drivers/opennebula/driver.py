"""OpenNebula 5.x to 7.x over oned's XML-RPC (docs.opennebula.io, "XML-RPC API").

The exact forms are in its source, src/rm. A server is a VM, a volume an image of the type
DATABLOCK, a snapshot an image that a VM's disk was saved as, a flavor a VM template (without one
the VM is described inline), a network a virtual network, a project a group.

One owner cannot have two images of the same name, and the volume and the snapshot of a run would
have the same: a snapshot has a suffix in oned. oned's own time stamps are whole seconds, and none
of them says when a VM began to run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Tuple, Type, cast

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    NotFound,
    ResourceFailed,
)
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
    ServerSpec,
    Spec,
    State,
    TestVM,
    VolumeSpec,
)
from vmprobe.core.values import http_url, size, whole, yes_or_no
from vmprobe.drivers.opennebula import creation, images, readings, resolve, servers, states
from vmprobe.drivers.opennebula.oned import Oned, id_number
from vmprobe.drivers.opennebula.readings import MIB
from vmprobe.drivers.opennebula.tokens import CREDENTIALS
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from vmprobe.drivers.opennebula.capacity import Visible
    from vmprobe.drivers.opennebula.plan import OpenNebulaDetails, OpenNebulaTestVM


def _cpu_share(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", value) or float(value) <= 0:
        raise ValueError("is not a share of a CPU like '0.1' or '2'")
    return float(value)


def _memory(value: str) -> int:
    if size(value) < MIB:
        raise ValueError("is less than 1 MiB")
    return size(value)


def _device_prefix(value: str) -> str:
    if value not in ("vd", "sd", "hd", "xvd"):
        raise ValueError("is not one of vd, sd, hd, xvd")
    return value


class Opennebula(Driver):
    """The verbs, over one oned as one user."""

    system = "OpenNebula"
    proved_against = (
        "not proved; tested with our simulator, written from oned's source, "
        "each of its answers checked by pyone and its schemas"
    )
    capabilities = frozenset(
        {
            Capability.VOLUMES,
            Capability.METRICS,
            Capability.SNAPSHOTS,
            Capability.CAPACITY,
            Capability.IMAGES,
        }
    )
    kinds: Sequence[Kind] = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered: Sequence[str] = (*METRICS, "memory")
    metrics_period = 30.0  # default of PROBES_PERIOD/MONITOR_VM in monitord.conf
    endpoint_keys = {"url": Key(http_url, required=True)}
    test_vm_keys = {
        "vcpu": Key(whole(1)),
        "cpu": Key(_cpu_share),
        "memory": Key(_memory),
        "datastore": Key(),
        "requirements": Key(),
        "device prefix": Key(_device_prefix),
        "reporter": Key(yes_or_no, False),
    }
    credential_keys: Sequence[str] = CREDENTIALS
    session: Type[Oned] = Oned
    terminate = "terminate-hard"  # action of one.vm.action

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        super().__init__(endpoint, credentials, deadline, evidence)
        self.oned = self.session(endpoint, credentials, deadline, evidence)

    def connect(self) -> None:
        self.oned.connect()

    def resolve(self, section: TestVM) -> Plan:
        """Find the image, the template and the network, and for a volume the datastore.

        By default volumes go to the image's own datastore.
        """
        oned, test_vm = self.oned, cast("OpenNebulaTestVM", section)
        template = resolve.template(oned, test_vm["flavor"]) if test_vm["flavor"] else None
        image = resolve.image(oned, test_vm["image"])
        network_id, network_name = resolve.network(oned, test_vm["network"], template)
        datastore = ""
        if test_vm["volume"]:
            datastore = resolve.datastore(oned, test_vm["datastore"], image)
        vcpus, memory = test_vm["vcpu"], test_vm["memory"]
        if template is not None:
            vcpus = vcpus or number(template, "TEMPLATE/VCPU", 1)
            memory = memory or number(template, "TEMPLATE/MEMORY", 0) * MIB
        given = creation.attributes(test_vm, template, image, network_id)
        details: OpenNebulaDetails = {
            "image": text(image, "ID"),
            "network": network_id,
            "datastore": datastore,
            "template": None if template is None else text(template, "ID"),
            "given": given,
            "CPU": creation.effective_text("CPU", given, template),
            "SCHED_REQUIREMENTS": creation.effective_text("SCHED_REQUIREMENTS", given, template),
            "DISK": creation.effective_list("DISK", given, template),
            "NIC": creation.effective_list("NIC", given, template),
        }
        return Plan(
            text(image, "NAME"),
            "" if template is None else text(template, "NAME"),
            network_name,
            details,
            vcpus=vcpus or 1,
            memory=memory or creation.DEFAULT_MEMORY,
        )

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            return self._create_volume(spec)
        assert spec.kind is Kind.SERVER
        return self._create_server(spec)

    def _create_server(self, spec: ServerSpec) -> Ref:
        plan = cast("OpenNebulaDetails", spec.plan.details)
        attributes: Dict[str, Any] = {"NAME": spec.name, "VMPROBE": spec.name, **plan["given"]}
        attributes["DEV_PREFIX"] = None
        if "CONTEXT" in attributes:
            attributes["CONTEXT"] = creation.with_nonce(attributes["CONTEXT"], spec.nonce)
        vm = creation.to_xml(attributes)
        if plan["template"] is None:
            server = self.oned.create("one.vm.allocate", vm, False)
        else:
            template = int(plan["template"])
            server = self.oned.create("one.template.instantiate", template, spec.name, False, vm)
        return Ref(Kind.SERVER, server, spec.name)

    def _create_volume(self, spec: VolumeSpec) -> Ref:
        plan = cast("OpenNebulaDetails", spec.plan.details)
        attributes = {
            "NAME": spec.name,
            "TYPE": "DATABLOCK",
            "SIZE": -(-spec.size // MIB),
            "PERSISTENT": "YES",
            "DEV_PREFIX": plan["given"].get("DEV_PREFIX"),
        }
        volume = self.oned.create(
            "one.image.allocate", creation.to_xml(attributes), int(plan["datastore"])
        )
        return Ref(Kind.VOLUME, volume, spec.name)

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.SERVER:
            return servers.show(self.oned, ref)
        return images.show(self.oned, ref)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """With a name, list only the user's own resources: others can have thousands."""
        if kind is not Kind.SERVER:
            resources = images.list_named(self.oned, kind, name)
        elif name:
            resources = servers.list_own(self.oned, name)
        else:
            resources = servers.list_all(self.oned)
        return [
            resource
            for resource in resources
            if resource.ref.name.startswith(name) and resource.provider_state != "DONE"
        ]

    def delete(self, ref: Ref) -> None:
        try:
            if ref.kind is Kind.SERVER:
                servers.terminate(self.oned, ref, self.terminate)
            else:
                images.delete(self.oned, ref)
        except NotFound:
            return

    def describe(self) -> Dict[str, object]:
        return {"version": self.oned.version}

    def offers(self) -> Dict[str, object]:
        """The hypervisors of the hosts that the user may see, and the drivers that oned has."""
        offers: Dict[str, object] = {"hypervisors": self._hypervisors() or "not permitted"}
        settings = self.oned.xml_if_permitted("one.system.config")
        if settings is not None:
            drivers = {text(driver, "NAME", "") for driver in settings.iter("VM_MAD")} - {""}
            offers.update({"drivers": sorted(drivers)} if drivers else {})
        return offers

    def close(self) -> None:
        self.oned.close()

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in states.RESTS

    def endpoints(self) -> List[str]:
        return [self.oned.http.url]

    # --- verbs: by capability ---------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        disk = creation.to_xml({"DISK": {"IMAGE_ID": id_number(volume)}})
        self.oned.call("one.vm.attach", id_number(server), disk)

    def detach(self, server: Ref, volume: Ref) -> None:
        try:
            for disk in self.oned.xml("one.vm.info", id_number(server)).findall("TEMPLATE/DISK"):
                if text(disk, "IMAGE_ID", "") == volume.id:
                    disk_id = number(disk, "DISK_ID")
                    self.oned.call("one.vm.detach", id_number(server), disk_id)
                    return
        except NotFound:
            return

    def metrics(self, server: Ref) -> List[Sample]:
        """monitord's newest reading; none before its first one of this VM."""
        from vmprobe.drivers.opennebula import metrics

        vm = servers.vm(self.oned, server)
        now = readings.server(vm)
        if now.state is State.FAILED:  # the last reading is older than the failure
            raise ResourceFailed(
                f"{server} is {now.provider_state}" + (f": {now.fault}" if now.fault else ""),
                now.cause or "scheduler",
            )
        samples = metrics.samples(vm, vm.find("MONITORING"), vm)
        if samples:
            return samples
        return metrics.newest(self.oned.xml("one.vm.monitoring", id_number(server)), vm)

    def snapshot(self, server: Ref, name: str) -> Ref:
        return images.save_disk(self.oned, server, name)

    def capacity(self) -> List[Limit]:
        """The quotas of user and group, and the hosts, datastores and networks that can be seen."""
        from vmprobe.drivers.opennebula import capacity, quotas

        user = self.oned.xml("one.user.info", -1)
        limits = quotas.limits(user, self.oned.xml_if_permitted("one.group.info", -1))
        return limits + capacity.limits(self._visible())

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """CPU is counted in shares of physical CPUs, not in VCPUs.

        A disk counts where its datastore puts it.
        """
        from vmprobe.drivers.opennebula import capacity

        visible = self._visible()._replace(images=self.oned.images())
        return capacity.needs(visible, plan, test_vm["volume"], test_vm["snapshot"])

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The checksums are those given when the image was registered."""
        return [
            readings.image(image)
            for image in self.oned.images()
            if name in ("", text(image, "NAME"), text(image, "ID"))
        ]

    def _hypervisors(self) -> List[str]:
        """The hypervisors of the hosts; empty if the user may not see any."""
        return sorted({text(host, "VM_MAD", "") for host in self.oned.hosts()} - {""})

    def _visible(self) -> Visible:
        """The hosts, datastores and networks that the user may see."""
        from vmprobe.drivers.opennebula.capacity import Visible

        return Visible(self.oned.hosts(), self.oned.datastores(), self.oned.networks())
