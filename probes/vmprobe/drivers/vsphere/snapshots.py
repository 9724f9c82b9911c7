"""Snapshots: each is found by its name in the tree of its machine, and goes with the machine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Iterator, List, Mapping, Optional, Tuple

from vmprobe.core.errors import Conflict, NotFound
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.drivers.vsphere import readings, soap
from vmprobe.drivers.vsphere.soap import Moref, Value
from vmprobe.drivers.vsphere.tasks import CREATE, REMOVE
from vmprobe.transport.json import parse_time

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from vmprobe.drivers.vsphere.properties import Thing
    from vmprobe.drivers.vsphere.servers import Servers

_TREE = "snapshot.rootSnapshotList"
_PROPERTIES = ("name", "config.instanceUuid", _TREE)


class Snapshots:
    """A snapshot's id is its server's id and its own name: its task does not tell another before
    it is over.
    """

    def __init__(self, servers: Servers):
        self.servers, self.session, self.tasks = servers, servers.session, servers.tasks

    def create(self, server: Ref, name: str) -> Ref:
        """Ask for a snapshot of the disks; the machine goes on."""
        asked = f"snapshot {server}"
        ref = Ref(Kind.SNAPSHOT, f"{server.id}/{name}", name)
        machine = self.servers.find(server, asked)
        if machine is None:
            raise NotFound(f"{asked}: the manager knows no such server")
        arguments: Mapping[str, Value] = {
            "name": name,
            "description": "vmprobe",
            "memory": False,
            "quiesce": False,
        }
        task = self.session.returned("CreateSnapshot_Task", machine, arguments, asked)
        self.tasks.started(CREATE, ref, task)
        return ref

    def show(self, ref: Ref) -> Resource:
        asked = f"show {ref}"
        job = self.tasks.job(ref, CREATE)
        if job is not None and job.info.state != "success":
            self.tasks.refresh([job], asked)
            if job.info.state != "success":
                return readings.pending(job)
        _, item = self._find(ref, asked)
        return self._resource(ref, item, asked)

    def list(self, name: str) -> List[Resource]:
        asked = f"list snapshots {name}".strip()
        found = []
        for machine in self.servers.things(name, _PROPERTIES, asked):
            server = readings.server(machine).ref
            for item in _all(machine):
                called = (item.findtext("name") or "").strip()
                if called.startswith(name):
                    ref = Ref(Kind.SNAPSHOT, f"{server.id}/{called}", called)
                    found.append(self._resource(ref, item, asked))
        making = [job for job in self.tasks.creations() if job.ref.kind is Kind.SNAPSHOT]
        self.tasks.refresh(making, asked)
        listed = {resource.ref.id for resource in found}
        return found + [
            readings.pending(job)
            for job in making
            if job.ref.name.startswith(name)
            and job.ref.id not in listed
            and job.info.state != "success"
        ]

    def delete(self, ref: Ref) -> None:
        """Remove it, and merge its disks; Conflict while it is made."""
        asked = f"delete {ref}"
        job = self.tasks.job(ref, CREATE)
        if job is not None and job.info.state != "success":
            self.tasks.refresh([job], asked)
            if not job.info.is_over:
                raise Conflict(f"{asked}: it is still being made ({job.info.words})")
            if job.info.fault is not None:
                self.tasks.forget(ref)
        removal = self.tasks.job(ref, REMOVE)
        if removal is not None:
            self.tasks.refresh([removal], asked)
            if not removal.info.is_over:
                return
        with contextlib.suppress(NotFound):
            snapshot, _ = self._find(ref, asked)
            arguments = {"removeChildren": False, "consolidate": True}
            task = self.session.returned("RemoveSnapshot_Task", snapshot, arguments, asked)
            self.tasks.started(REMOVE, ref, task)

    def _find(self, ref: Ref, asked: str) -> Tuple[Moref, Element]:
        identity, _, name = ref.id.partition("/")
        server = Ref(Kind.SERVER, identity)
        machine = self.servers.require(server, _PROPERTIES, asked)
        for item in _all(machine):
            if (item.findtext("name") or "").strip() == name:
                return soap.moref(item.find("snapshot")), item
        raise NotFound(f"{asked}: the server has no such snapshot")

    def _resource(self, ref: Ref, item: Element, asked: str) -> Resource:
        created: Optional[float] = parse_time((item.findtext("createTime") or "").strip())
        seen = Resource(ref, State.READY, "taken", created=created)
        removal = self.tasks.job(ref, REMOVE)
        if removal is not None:
            self.tasks.refresh([removal], asked)
            if removal.info.state != "success":
                return readings.with_job(seen, removal)
        return seen


def _all(machine: Thing) -> Iterator[Element]:
    """All snapshots of a machine, those of snapshots among them."""
    waiting = list(machine.items(_TREE))
    while waiting:
        item = waiting.pop()
        yield item
        waiting += item.iterfind("childSnapshotList")
