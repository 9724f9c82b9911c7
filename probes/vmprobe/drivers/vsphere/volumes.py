"""Volumes: virtual disks of their own in the site's datastore, ``[datastore] folder/NAME.vmdk``.

Their path is their id, so it is known before the request. Which machine has one is seen in the
devices of the machines under the same name. The file that a server's console is written to counts
as a volume once the server is gone, so that it cannot be overlooked.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence

from vmprobe.core.errors import Conflict, NotFound
from vmprobe.core.model import Kind, Ref, Resource, State, VolumeSpec
from vmprobe.drivers.vsphere import devices, faults, readings
from vmprobe.drivers.vsphere.soap import Data, Moref
from vmprobe.drivers.vsphere.tasks import ATTACH, CREATE, REMOVE

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from vmprobe.drivers.vsphere.servers import Servers

_MEMBER = re.compile(r"-[0-9]{1,5}$")  # of a fleet
_DETAILS = Data({"fileType": True, "fileSize": True, "modification": False})
_DISK, _CONSOLE = ".vmdk", "-console.txt"
_DATA = re.compile(r"-(flat|delta|ctk|rdmp?|sesparse)\.vmdk$")  # files behind a disk's descriptor


class Volumes:
    """The disks in one folder of the site's datastore."""

    def __init__(self, servers: Servers, folder: str):
        self.servers, self.folder = servers, folder.strip("/")
        self.session, self.tasks = servers.session, servers.tasks
        self.inventory = servers.inventory
        self._sizes: Dict[str, int] = {}  # bytes, by id, of those that this session made

    def create(self, spec: VolumeSpec) -> Ref:
        """Ask for a thin disk."""
        ref = Ref(Kind.VOLUME, self._path(spec.name + _DISK), spec.name)
        disk = Data(
            {
                "diskType": "thin",
                "adapterType": "lsiLogic",
                "capacityKb": -(-spec.size // 1024),
            },
            "FileBackedVirtualDiskSpec",
        )
        task = self.session.returned(
            "CreateVirtualDisk_Task",
            self.session.manager("virtualDiskManager"),
            {"name": ref.id, "datacenter": self._datacenter(), "spec": disk},
            f"create volume {spec.name}",
        )
        self._sizes[ref.id] = spec.size
        self.tasks.started(CREATE, ref, task)
        return ref

    def show(self, ref: Ref) -> Resource:
        """A disk, and the machine that has it."""
        asked = f"show {ref}"
        file = self._file(ref.id)
        pending = self._pending([ref], asked)
        if pending:
            return pending[0]
        if not file or not self._exists(file, asked):
            raise NotFound(f"{asked}: there is no such file")
        return self._resource(file, self._holders(_server_of(file), asked), asked)

    def list(self, name: str) -> List[Resource]:
        """The disks whose name starts so, with those that this session is still making."""
        asked = f"list volumes {name}".strip()
        files = self._files(f"{name}*", asked)
        holders = self._holders(name, asked) if files else {}
        found = [
            self._resource(file, holders, asked)
            for file in files
            if file.startswith(name)
            and not (file.endswith(_CONSOLE) and self._path(file) in holders)
        ]
        making = [
            job.ref
            for job in self.tasks.creations()
            if job.ref.kind is Kind.VOLUME and job.ref.name.startswith(name)
        ]
        listed = {resource.ref.id for resource in found}
        return found + [one for one in self._pending(making, asked) if one.ref.id not in listed]

    def delete(self, ref: Ref) -> None:
        """Delete the file; Conflict while a machine has it."""
        asked = f"delete {ref}"
        file = self._file(ref.id)
        if not file:
            return
        job = self.tasks.job(ref, CREATE)
        if job is not None and job.info.state != "success":
            self.tasks.refresh([job], asked)
            if not job.info.is_over:
                raise Conflict(f"{asked}: it is still being made ({job.info.words})")
            if job.info.fault is not None:
                self.tasks.forget(ref)
        holder = self._holders(_server_of(file), asked).get(ref.id)
        if holder is not None:
            raise Conflict(f"{asked}: server {holder.id} has it")
        method, manager = ("DeleteVirtualDisk_Task", "virtualDiskManager")
        if file.endswith(_CONSOLE):
            method, manager = ("DeleteDatastoreFile_Task", "fileManager")
        with contextlib.suppress(NotFound):
            task = self.session.returned(
                method,
                self.session.manager(manager),
                {"name": ref.id, "datacenter": self._datacenter()},
                asked,
            )
            self.tasks.started(REMOVE, ref, task)

    # --- consoles --------------------------------------------------------------------------------

    def console_of(self, server: Ref) -> List[Ref]:
        """The file of a server's console, where it is one that we have named."""
        asked = f"belongings of {server}"
        machine = self.servers.require(server, ["name", "config.hardware.device"], asked)
        path = devices.serial_file(machine.items("config.hardware.device"))
        if path != self.console_path(machine.text("name")):
            return []
        return [Ref(Kind.VOLUME, path, _name_of(self._file(path)))]

    def console_left_by(self, server: Ref) -> List[Ref]:
        """The same for a server that is gone, by its name."""
        if not server.name:
            return []
        file = f"{server.name}{_CONSOLE}"
        found = self._files(file, f"console left by {server}")
        return [Ref(Kind.VOLUME, self._path(each), _name_of(each)) for each in found]

    # --- attach ----------------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        """Add the disk to the running machine."""
        asked = f"attach {volume} to {server}"
        machine = self.servers.require(server, ["config.hardware.device"], asked)
        own = machine.items("config.hardware.device")
        self._reconfigure(server, volume, devices.attached_disk(own, volume.id), asked)

    def detach(self, server: Ref, volume: Ref) -> None:
        """Take the disk out of the machine, and keep its file."""
        asked = f"detach {volume} from {server}"
        self.tasks.forget(volume, ATTACH)
        try:
            machine = self.servers.require(server, ["config.hardware.device"], asked)
        except NotFound:
            return
        for disk in devices.disks(machine.items("config.hardware.device")):
            if disk.path == volume.id:
                self._reconfigure(server, volume, [devices.detached_disk(disk)], asked)

    def _reconfigure(self, server: Ref, volume: Ref, changes: Sequence[Data], asked: str) -> None:
        """Change the devices of a machine. A refusal that comes at once is raised at once."""
        machine = self.servers.find(server, asked)
        if machine is None:
            raise NotFound(f"{asked}: the manager knows no such server")
        task = self.session.returned(
            "ReconfigVM_Task", machine, {"spec": Data({"deviceChange": list(changes)})}, asked
        )
        job = self.tasks.started(ATTACH, volume, task)
        self.tasks.refresh([job], asked)
        if job.info.fault is not None:
            self.tasks.forget(volume, ATTACH)
            raise faults.error(asked, job.info.fault)

    # --- read ------------------------------------------------------------------------------------

    def _pending(self, refs: Sequence[Ref], asked: str) -> List[Resource]:
        """Those that are still being made, or could not be made."""
        jobs = [job for job in (self.tasks.job(ref, CREATE) for ref in refs) if job is not None]
        self.tasks.refresh([job for job in jobs if job.info.state != "success"], asked)
        return [
            readings.pending(job)._replace(size=self._sizes.get(job.ref.id))
            for job in jobs
            if job.info.state != "success"
        ]

    def _resource(self, file: str, holders: Mapping[str, Ref], asked: str) -> Resource:
        ref = Ref(Kind.VOLUME, self._path(file), _name_of(file))
        holder = holders.get(ref.id)
        seen = Resource(
            ref,
            State.READY,
            "attached" if holder else "free",
            server=holder.id if holder else "",
            size=self._sizes.get(ref.id),
        )
        for verb in (REMOVE, ATTACH):
            job = self.tasks.job(ref, verb)
            if job is None:
                continue
            self.tasks.refresh([job], asked)
            if job.info.state != "success":
                return readings.with_job(seen, job)
        return seen

    def _exists(self, file: str, asked: str) -> bool:
        """Whether there is this file: for a disk by one request, without a search."""
        if file.endswith(_CONSOLE):
            return file in self._files(file, asked)
        try:
            self.session.call(
                "QueryVirtualDiskUuid",
                self.session.manager("virtualDiskManager"),
                {"name": self._path(file), "datacenter": self._datacenter()},
                asked,
            )
        except NotFound:
            return False
        except Conflict:  # it is locked by the machine that has it
            return True
        return True

    def _files(self, pattern: str, asked: str) -> List[str]:
        """The disks and consoles among the files of the folder, by the names of their files."""
        datastore = self.inventory.datastore()
        task = self.session.returned(
            "SearchDatastore_Task",
            self.inventory.browser(),
            {
                "datastorePath": f"[{datastore.name}] {self.folder}".strip(),
                "searchSpec": Data({"details": _DETAILS, "matchPattern": [pattern]}),
            },
            asked,
        )
        result: Optional[Element] = self.tasks.result(task, asked)
        paths = [] if result is None else result.iterfind("file/path")
        names = [(path.text or "").strip() for path in paths]
        return [name for name in names if _name_of(name)]

    def _holders(self, name: str, asked: str) -> Dict[str, Ref]:
        """By path of a file, the server under this name that has it."""
        holders = {}
        properties = ["name", "config.instanceUuid", "config.hardware.device"]
        for machine in self.servers.things(name, properties, asked):
            server = readings.server(machine).ref
            holders[self.console_path(server.name)] = server
            for disk in devices.disks(machine.items("config.hardware.device")):
                holders[disk.path] = server
                if disk.size:
                    self._sizes.setdefault(disk.path, disk.size)
        return holders

    def console_path(self, server: str) -> str:
        """The file that the console of a server of this name is written to."""
        return self._path(f"{server}{_CONSOLE}")

    def _path(self, file: str) -> str:
        inside = f"{self.folder}/{file}" if self.folder else file
        return f"[{self.inventory.datastore().name}] {inside}"

    def _file(self, identity: str) -> str:
        """The file with this id; '' for an id that is none in this folder."""
        name = identity[:500].rpartition("/" if self.folder else "] ")[2]
        return name if _name_of(name) and self._path(name) == identity else ""

    def _datacenter(self) -> Moref:
        return self.inventory.datacenter().ref


def _name_of(file: str) -> str:
    """The name of the volume that a file is; '' for other files, and for the data of a disk."""
    if file.endswith(_CONSOLE):
        return file[: -len(".txt")]
    return file[: -len(_DISK)] if file.endswith(_DISK) and not _DATA.search(file) else ""


def _server_of(file: str) -> str:
    """What the names of the servers begin with that can have this file."""
    if file.endswith(_CONSOLE):
        return file[: -len(_CONSOLE)]
    return _MEMBER.sub("", _name_of(file))
