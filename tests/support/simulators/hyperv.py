"""A small Hyper-V of our own: it does what each of the driver's scripts is meant to do.

It cannot run PowerShell. It knows the scripts by their text and acts on their parameters, so it shares every
misunderstanding of ours; whether a script does on Windows what is done here, no test can say.
"""

from __future__ import annotations

import hashlib
import ntpath
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

from simulators.hyperv_errors import (
    DISK_FULL,
    EXISTS,
    IN_USE,
    NO_MEMORY,
    NO_RIGHTS,
    NOT_ADDED,
    NOT_NOW,
    PowerShellError,
)
from vmprobe.drivers.hyperv import scripts

FOLDER = "C:\\Hyper-V\\Virtual Hard Disks"
IMAGES = {
    "vmprobe-test.vhdx": "VHDX",
    "old.vhd": "VHD",
    "shared.vhds": "VHDSet",
}
SCRIPTS = {text: name for name, text in vars(scripts).items() if name.isupper() and name[0] != "_"}
GIB = 2**30


@dataclass
class VM:
    id: str
    name: str
    memory: int
    processors: int
    disks: List[str]
    state: str = "Off"
    status: str = "Operating normally"
    started: float = 0.0
    created: float = field(default_factory=time.time)
    metered: bool = True


@dataclass
class Checkpoint:
    id: str
    name: str
    vm: str
    created: float = field(default_factory=time.time)


class HyperV:
    """The host HV1. ``faults``: words that tests put in; ``calls``: the scripts that ran.

    Above 250 lines: one method for each script.
    """

    def __init__(self) -> None:
        self.faults: set = set()
        self.calls: List[str] = []
        self.vms: Dict[str, VM] = {}
        self.files: Dict[str, int] = {f"{FOLDER}\\{name}": GIB for name in IMAGES}  # path: size
        self.locked: Dict[str, float] = {}  # path: until when
        self.checkpoints: Dict[str, Checkpoint] = {}
        self.broken: set = set()  # paths of files that are no virtual disks
        self.switches = ["External"]
        self.boot = 0.1  # seconds until a guest has its address
        self.merge = 0.3  # seconds that a checkpoint is merged for
        self.free_memory = 64 * GIB
        self.wrong: List[str] = []  # what no driver should ask for
        self._lock = threading.RLock()

    def left(self) -> List[str]:
        """What is there beside what was there at first."""
        own = {f"{FOLDER}\\{name}" for name in IMAGES}
        return sorted(
            [vm.name for vm in self.vms.values()]
            + [checkpoint.name for checkpoint in self.checkpoints.values()]
            + [path for path in self.files if path not in own]
        )

    def run(self, script: str, parameters: Dict[str, Any]) -> Any:
        """What a script writes, as an object; PowerShellError where it fails."""
        name = SCRIPTS.get(script)
        if name is None:
            self.wrong.append(f"unknown script {script[:60]}")
            raise PowerShellError(("ParserError", "unknown script"))
        declared = re.match(r"param\(([^)]*)\)", script)
        types = {
            name: kind
            for kind, name in re.findall(r"\[(\w+)\]\$(\w+)", declared[1] if declared else "")
        }
        if set(parameters) != set(types):
            self.wrong.append(f"{name}: {sorted(parameters)} for {sorted(types)}")
        typed = {
            key.lower(): str(value) if types[key] == "string" else int(value)
            for key, value in parameters.items()
        }
        with self._lock:
            self.calls.append(name)
            if "no-rights" in self.faults:
                raise PowerShellError(NO_RIGHTS)
            act: Callable[..., Any] = getattr(self, f"_{name.lower()}")
            return act(**typed)

    # --- the scripts ---

    def _describe(self) -> Any:
        return {
            "version": "10.0.20348",
            "system": "Microsoft Windows Server 2022 Standard",
            "host": "HV1",
        }

    def _resolve(self, folder: str, image: str) -> Any:
        folder = folder or FOLDER
        path = image if ntpath.isabs(image) else f"{folder}\\{image}"
        disk = None
        if path in self.files:
            form = IMAGES.get(ntpath.basename(path), "VHDX")
            disk = {"path": path, "format": form, "size": self.files[path]}
        return {
            "folder": folder,
            "folder_exists": folder == FOLDER,
            "disk": disk,
            "switches": list(self.switches),
        }

    def _create_server(
        self,
        name: str,
        image: str,
        disk: str,
        memory: int,
        processors: int,
        generation: int,
        switchname: str,
        template: str,
    ) -> Any:
        self._new_disk(disk, self.files[image])
        if switchname not in self.switches:
            raise PowerShellError(
                (
                    "InvalidParameter,Microsoft.HyperV.PowerShell.Commands.NewVM",
                    f'Hyper-V was unable to find a virtual switch with name "{switchname}".',
                )
            )
        vm = VM(str(uuid.uuid4()), name, memory, processors, [disk])
        self.vms[vm.id] = vm
        if memory > self.free_memory or "no-memory" in self.faults:
            raise PowerShellError(NO_MEMORY, name, vm.id.upper(), name)
        vm.state, vm.started = "Running", time.time()
        if "storage-lost" in self.faults:
            vm.state, vm.status = "RunningCritical", "Cannot connect to virtual machine storage"
        if "stays-off" in self.faults:
            vm.state = "Off"
        return {"id": vm.id.upper(), "name": name}

    def _list_servers(self, prefix: str) -> Any:
        found = [vm for vm in self.vms.values() if vm.name.lower().startswith(prefix.lower())]
        return self._shown(found)

    def _show_server(self, id: str) -> Any:
        return self._shown([vm for vm in self.vms.values() if vm.id == id.lower()])

    def _delete_server(self, folder: str, id: str) -> Any:
        vm = self.vms.get(id.lower())
        if vm is None:
            return {"existed": False}
        if "never-deleted" in self.faults:
            raise PowerShellError(NOT_NOW)
        del self.vms[vm.id]
        merging = [each for each in self.checkpoints.values() if each.vm == vm.id]
        for checkpoint in merging:
            del self.checkpoints[checkpoint.id]
        if merging:
            for path in [path for path in self.files if vm.name in path]:
                self.locked[path] = time.time() + self.merge
        for path in [path for path in self.files if _name(path) == f"{vm.name}-boot"]:
            if not self._is_locked(path):
                del self.files[path]
        return {"existed": True}

    def _create_volume(self, folder: str, name: str, size: int) -> Any:
        path = f"{folder or FOLDER}\\{name}.vhdx"
        self._new_disk(path, size)
        return {"path": path}

    def _list_volumes(self, folder: str, prefix: str, path: str) -> Any:
        boot = {f"{vm.name}-boot" for vm in self.vms.values()}
        disks = {}
        for file in self.files:
            disks.setdefault(_disk(file), file)
        return {
            "volumes": [
                {
                    "path": disk,
                    "name": _name(file),
                    "size": self.files[file],
                    "server": self._holder(disk),
                }
                for disk, file in disks.items()
                if _name(file) not in boot
                and (disk == path if path else _name(file).lower().startswith(prefix.lower()))
            ]
        }

    def _delete_volume(self, folder: str, path: str) -> Any:
        holder = self._holder(path)
        if not holder:
            for file in [file for file in self.files if _disk(file) == path]:
                if self._is_locked(file):
                    raise PowerShellError(IN_USE, file)
                del self.files[file]
        return {"holder": holder}

    def _attach(self, id: str, path: str) -> Any:
        vm, holder = self.vms.get(id.lower()), self._holder(path)
        if vm and path in self.files and not holder:
            if "attach-refused" in self.faults:
                raise PowerShellError(NOT_ADDED)
            vm.disks.append(path)
            holder = vm.id.upper()
        return {"server": vm is not None, "volume": path in self.files, "holder": holder}

    def _detach(self, id: str, path: str) -> Any:
        holder = self._holder(path)
        if holder and holder.lower() == id.lower():
            vm = self.vms[id.lower()]
            vm.disks = [disk for disk in vm.disks if _disk(disk) != path]
        return {"holder": holder}

    def _create_snapshot(self, id: str, name: str) -> Any:
        vm = self.vms.get(id.lower())
        if vm is None:
            return {"id": None}
        made = Checkpoint(str(uuid.uuid4()), name, vm.id)
        self.checkpoints[made.id] = made
        for number, disk in enumerate(vm.disks):  # it goes on in another file
            stem, suffix = ntpath.splitext(_disk(disk))
            vm.disks[number] = f"{stem}_{str(uuid.uuid4()).upper()}.a{suffix[1:]}"
            self.files[vm.disks[number]] = self.files[disk]
        return {"id": made.id.upper()}

    def _list_snapshots(self, prefix: str, id: str) -> Any:
        return {
            "snapshots": [
                {
                    "id": each.id.upper(),
                    "name": each.name,
                    "kind": "Standard",
                    "server": each.vm.upper(),
                    "created": int(each.created),
                }
                for each in self.checkpoints.values()
                if (each.id == id.lower() if id else each.name.lower().startswith(prefix.lower()))
            ]
        }

    def _delete_snapshot(self, id: str) -> Any:
        gone = self.checkpoints.pop(id.lower(), None)
        if gone is not None:
            vm = self.vms[gone.vm]
            for number, disk in enumerate(vm.disks):  # merged into the first file
                if disk != _disk(disk):
                    del self.files[disk]
                    vm.disks[number] = _disk(disk)
        return {"done": True}

    def _measure(self, id: str) -> Any:
        vm = self.vms.get(id.lower())
        measured = None
        if vm and vm.metered and "no-metering" not in self.faults:
            seconds = time.time() - vm.started
            measured = {
                "duration": seconds,
                "megahertz": 300,
                "processor_megahertz": 3000,
                "processors": vm.processors,
                "memory": vm.memory,
                "read_megabytes": int(2 + seconds),
                "written_megabytes": int(1 + seconds),
                "traffic": [
                    {"direction": direction, "megabytes": 1}
                    for direction in ("Inbound", "Outbound")
                ],
            }
            if "no-network-metering" in self.faults:
                measured["traffic"] = []
        return {"now": int(time.time() * 1000), "server": vm is not None, "measured": measured}

    def _capacity(self, folder: str) -> Any:
        running = [vm for vm in self.vms.values() if vm.state == "Running"]
        return {
            "host": "HV1",
            "servers": len(running),
            "processors": sum(vm.processors for vm in running),
            "memory": 128 * GIB,
            "memory_free": self.free_memory - sum(vm.memory for vm in running),
            "storage": 500 * GIB,
            "storage_free": 400 * GIB,
        }

    def _list_images(self, folder: str, name: str, excluded: str, algorithms: str) -> Any:
        folder = folder or FOLDER
        if name:
            path = name if ntpath.isabs(name) else f"{folder}\\{name}"
            found = [path] if path in self.files else []
        else:
            found = [
                path
                for path in self.files
                if path.endswith((".vhd", ".vhdx"))
                and not re.search(excluded, ntpath.basename(path), re.I)
            ]
        return {
            "images": [
                {
                    "path": path,
                    "format": None
                    if path in self.broken
                    else IMAGES.get(ntpath.basename(path), "VHDX"),
                    "checksums": [
                        {
                            "algorithm": each,
                            "digest": hashlib.new(each.lower(), path.encode()).hexdigest().upper(),
                        }
                        for each in algorithms.split(",")
                        if each
                    ],
                }
                for path in found
            ]
        }

    # --- helpers ---

    def _shown(self, found: List[VM]) -> Any:
        now = time.time()
        return {
            "now": int(now),
            "servers": [
                {
                    "id": vm.id.upper(),
                    "name": vm.name,
                    "state": vm.state,
                    "status": vm.status,
                    "created": int(vm.created),
                    "uptime": int(now - vm.started) if vm.started else 0,
                    "processors": vm.processors,
                    "memory": vm.memory,
                    "addresses": self._addresses(vm, now),
                }
                for vm in found
            ],
        }

    def _addresses(self, vm: VM, now: float) -> List[str]:
        if vm.state != "Running" or "no-address" in self.faults:
            return []
        local = ["fe80::215:5dff:fe00:101"]
        return ["192.0.2.10", *local] if now - vm.started >= self.boot else local

    def _new_disk(self, path: str, size: int) -> None:
        if "disk-full" in self.faults:
            raise PowerShellError(DISK_FULL)
        if path in self.files:
            raise PowerShellError(EXISTS)
        self.files[path] = size

    def _holder(self, disk: str) -> Optional[str]:
        for vm in self.vms.values():
            if disk in map(_disk, vm.disks):
                return vm.id.upper()
        return None

    def _is_locked(self, path: str) -> bool:
        return self.locked.get(path, 0.0) > time.time()


def _disk(path: str) -> str:
    """The disk that a file is of: a checkpoint's file is part of it."""
    return re.sub(r"_[0-9A-F-]{36}\.a(vhdx?)$", r".\1", path)


def _name(path: str) -> str:
    return ntpath.splitext(ntpath.basename(_disk(path)))[0]
