"""Servers: how they are made, found, started and removed."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence, cast

from vmprobe.core.errors import CloudError, Conflict, GatewayFailed, NotFound
from vmprobe.core.model import Kind, Ref, Resource, ServerSpec, State
from vmprobe.drivers.vsphere import devices, faults, readings, soap
from vmprobe.drivers.vsphere.inventory import Inventory
from vmprobe.drivers.vsphere.properties import Collector, Thing
from vmprobe.drivers.vsphere.soap import Data, Moref, Value
from vmprobe.drivers.vsphere.tasks import CREATE, POWER_OFF, POWER_ON, REMOVE, Job, Tasks

if TYPE_CHECKING:
    from vmprobe.drivers.vsphere.plan import VsphereDetails
    from vmprobe.drivers.vsphere.session import Session

_GUESTINFO = ("guestinfo.userdata", "guestinfo.userdata.encoding")  # cloud-init's VMware source


class Servers:
    """The machines of one site."""

    def __init__(self, session: Session, collector: Collector, inventory: Inventory, tasks: Tasks):
        self.session, self.collector = session, collector
        self.inventory, self.tasks = inventory, tasks
        self._morefs: Dict[str, Moref] = {}  # by id
        self.nonces: Dict[str, str] = {}  # by id, of those whose console this session reads

    # --- create ----------------------------------------------------------------------------------

    def create(self, spec: ServerSpec, console: str) -> Ref:
        """Ask for a clone of the template, or for a new machine on a child of the image's disk.

        ``console``: the file that its serial port writes to; '' for none.
        """
        details = cast("VsphereDetails", spec.plan.details)
        ref = Ref(Kind.SERVER, readings.server_id(spec.name), spec.name)
        place, asked = details["place"], f"create server {spec.name}"
        if details["source"].template is not None:
            task = self.session.returned(
                "CloneVM_Task",
                details["source"].template,
                {
                    "folder": place.folder,
                    "name": spec.name,
                    "spec": _clone_spec(spec, ref, console),
                },
                asked,
            )
        else:
            task = self.session.returned(
                "CreateVM_Task",
                place.folder,
                {"config": _config(spec, ref, console), "pool": place.pool, "host": place.host},
                asked,
            )
        self.tasks.started(CREATE, ref, task)
        if console:
            self.nonces[ref.id] = spec.nonce
        return ref

    # --- show ------------------------------------------------------------------------------------

    def show(self, ref: Ref) -> Resource:
        """The machine with what its tasks say; while there is no machine yet, its task alone."""
        asked = f"show {ref}"
        job = self.tasks.job(ref, CREATE)
        if job is not None and job.info.state != "success":
            self.tasks.refresh([job], asked)
            if not job.info.is_over:
                return readings.pending(job)
            self._note_result(job)
        moref = self.find(ref, asked)
        if moref is None:
            if job is not None and job.info.fault is not None:
                return readings.pending(job)
            raise NotFound(f"{asked}: the manager knows no such server")
        thing = self._get(ref, moref, readings.SERVER, asked)
        if readings.is_template(thing):
            raise NotFound(f"{asked}: it is a template")
        found = readings.server(thing)
        if found.ref.id != ref.id:  # asked for by the id of a managed object
            found = found._replace(ref=found.ref._replace(id=ref.id))
        return self._with_tasks(found, asked)

    def list(self, name: str) -> List[Resource]:
        """The servers whose name starts so, with those that this session is still making.

        Without a name, those of the whole datacenter; else those of the site's folder.
        """
        asked = f"list servers {name}".strip()
        found: Dict[str, Resource] = {}
        for thing in self.things(name, readings.SERVER, asked, everywhere=not name):
            if not readings.is_template(thing):
                seen = readings.server(thing)
                self._morefs[seen.ref.id] = thing.ref
                found[seen.ref.id] = self._with_tasks(seen, asked)
        making = [job for job in self.tasks.creations() if _is_server(job, name)]
        self.tasks.refresh(making, asked)
        for job in making:
            self._note_result(job)
            if job.ref.id not in found:
                found[job.ref.id] = self._made_since(job)
        return list(found.values())

    def things(
        self, name: str, properties: Sequence[str], asked: str, everywhere: bool = False
    ) -> List[Thing]:
        """The machines whose name starts so: their names first, then the properties of these.

        ``everywhere``: in the whole datacenter, not only in the site's folder.
        """
        inventory = self.inventory
        container = inventory.datacenter().ref if everywhere else inventory.folder()
        if not name:
            return self.collector.list(container, ("VirtualMachine",), properties, asked)
        refs = [
            thing.ref
            for thing in inventory.machines(container, asked)
            if thing.text("name").startswith(name)
        ]
        found: List[Thing] = []
        try:
            found = self.collector.get_all(refs, properties, asked)
        except NotFound:
            for ref in refs:  # one of them has gone: ask for each
                with contextlib.suppress(NotFound):
                    found.append(self.collector.get(ref, properties, asked))
        return [thing for thing in found if thing.text("name").startswith(name)]

    def find(self, ref: Ref, asked: str) -> Optional[Moref]:
        """The managed object of a server; None where the manager knows none."""
        known = self._morefs.get(ref.id)
        if known is not None:
            return known
        if re.fullmatch(r"(vm-)?[0-9]{1,12}", ref.id):
            return Moref("VirtualMachine", ref.id)
        answer = self.session.call(
            "FindByUuid",
            self.session.manager("searchIndex"),
            {"uuid": ref.id, "vmSearch": True, "instanceUuid": True},
            asked,
        )
        returned = answer.find("returnval")
        if returned is None or not returned.text:
            return None
        self._morefs[ref.id] = soap.moref(returned)
        return self._morefs[ref.id]

    def require(self, ref: Ref, properties: Sequence[str], asked: str) -> Thing:
        """The machine with these properties; NotFound where there is none."""
        moref = self.find(ref, asked)
        if moref is None:
            raise NotFound(f"{asked}: the manager knows no such server")
        return self._get(ref, moref, properties, asked)

    def _get(self, ref: Ref, moref: Moref, properties: Sequence[str], asked: str) -> Thing:
        try:
            return self.collector.get(moref, properties, asked)
        except NotFound:
            self._morefs.pop(ref.id, None)
            raise

    def _made_since(self, job: Job) -> Resource:
        """A machine that was finished after the list of machines was read."""
        if job.info.state == "success":
            with contextlib.suppress(NotFound):
                return self.show(job.ref)
        return readings.pending(job)

    def _note_result(self, job: Job) -> None:
        result = job.info.result
        if job.info.state == "success" and result is not None:
            with contextlib.suppress(GatewayFailed):
                self._morefs[job.ref.id] = soap.moref(result)

    def _with_tasks(self, seen: Resource, asked: str) -> Resource:
        """The machine, with those of its tasks that go on or have failed as part of its state."""
        created = self.tasks.job(seen.ref, CREATE)
        if created is not None:
            seen = seen._replace(created=created.info.queued)
            if created.info.fault is not None:
                return readings.with_job(seen, created)
        for verb in (REMOVE, POWER_ON):
            job = self.tasks.job(seen.ref, verb)
            if job is None or verb == POWER_ON and seen.state is State.READY:
                continue
            self.tasks.refresh([job], asked)
            if job.info.state != "success":
                return readings.with_job(seen, job)
        return seen

    # --- start and remove ------------------------------------------------------------------------

    def needs_start(self, seen: Resource) -> bool:
        """Whether this session made it, the clone is complete, and nobody has started it."""
        job = self.tasks.job(seen.ref, CREATE)
        return (
            job is not None
            and job.info.state == "success"
            and seen.provider_state == "poweredOff"
            and self.tasks.job(seen.ref, POWER_ON) is None
        )

    def start(self, ref: Ref) -> None:
        """Power it on."""
        self._begin(POWER_ON, "PowerOnVM_Task", ref, f"start {ref}")

    def delete(self, ref: Ref) -> None:
        """Power it off, and destroy it with its disks once it is off."""
        asked = f"delete {ref}"
        self._stop_creation(ref, asked)
        try:
            power = self.require(ref, ["runtime.powerState"], asked).text("runtime.powerState")
        except NotFound:
            self.tasks.forget(ref)
            return
        removal = self.tasks.job(ref, REMOVE)
        if removal is not None:
            self.tasks.refresh([removal], asked)
            if not removal.info.is_over:
                return
        if power == "poweredOn":
            off = self._begin(POWER_OFF, "PowerOffVM_Task", ref, asked)
            self.tasks.refresh([off], asked)
            if off.info.fault is not None and off.info.fault.type != "InvalidPowerState":
                raise faults.error(asked, off.info.fault)
            if not off.info.is_over:
                raise Conflict(f"{asked}: it is being powered off first")
        with contextlib.suppress(NotFound):
            self._begin(REMOVE, "Destroy_Task", ref, asked)

    def _stop_creation(self, ref: Ref, asked: str) -> None:
        """Cancel what is still making the server; Conflict until that has ended."""
        job = self.tasks.job(ref, CREATE)
        if job is None or job.info.state == "success":
            return
        self.tasks.refresh([job], asked)
        if job.info.is_over:
            self._note_result(job)
            return
        with contextlib.suppress(CloudError):  # some tasks cannot be cancelled
            self.session.call("CancelTask", job.task, {}, asked)
        raise Conflict(f"{asked}: it is still being made ({job.info.words})")

    def _begin(self, verb: str, method: str, ref: Ref, asked: str) -> Job:
        moref = self.find(ref, asked)
        if moref is None:
            raise NotFound(f"{asked}: the manager knows no such server")
        try:
            return self.tasks.started(verb, ref, self.session.returned(method, moref, {}, asked))
        except NotFound:
            self._morefs.pop(ref.id, None)
            raise


def _is_server(job: Job, name: str) -> bool:
    return job.ref.kind is Kind.SERVER and job.ref.name.startswith(name)


def _clone_spec(spec: ServerSpec, ref: Ref, console: str) -> Data:
    details = cast("VsphereDetails", spec.plan.details)
    place = details["place"]
    location = Data({"datastore": place.datastore.ref, "pool": place.pool, "host": place.host})
    return Data(
        {
            "location": location,
            "template": False,
            "config": _changes(spec, ref, [devices.connected_nic(details["nic"])], console),
            "powerOn": False,
        }
    )


def _config(spec: ServerSpec, ref: Ref, console: str) -> Data:
    """A whole machine, for one that is not a clone."""
    details = cast("VsphereDetails", spec.plan.details)
    datastore = details["place"].datastore.name
    changes = [
        *devices.disk_of_image(details["source"].disk, datastore),
        devices.connected_nic(details["nic"]),
    ]
    return _changes(spec, ref, changes, console, details["guest"], f"[{datastore}]")


def _changes(
    spec: ServerSpec,
    ref: Ref,
    changes: List[Data],
    console: str,
    guest: str = "",
    files: str = "",
) -> Data:
    """A VirtualMachineConfigSpec, its fields in the order of the schema."""
    from vmprobe.guest import user_data

    details = cast("VsphereDetails", spec.plan.details)
    options: Mapping[str, Optional[str]] = dict(
        zip(_GUESTINFO, (user_data.for_server(spec), "base64"))
    )
    extra: List[Value] = [
        Data({"key": key, "value": soap.text_value(value)})
        for key, value in options.items()
        if value and options[_GUESTINFO[0]]
    ]
    return Data(
        {
            "name": spec.name if files else None,
            "instanceUuid": ref.id,
            "guestId": guest or None,
            "files": Data({"vmPathName": files}) if files else None,
            "numCPUs": details["vcpus"],
            "memoryMB": details["memory"],
            "deviceChange": [*changes, *([devices.serial_port(console)] if console else [])],
            "extraConfig": extra,
        }
    )
