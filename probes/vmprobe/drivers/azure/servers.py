"""Servers: each is a virtual machine, its interface and its disk, made and removed together."""

from __future__ import annotations

from typing import List, Optional

from vmprobe.core.errors import Conflict, GatewayFailed, NotFound
from vmprobe.core.model import Kind, Ref, Resource, ServerSpec
from vmprobe.drivers.azure import creation, names, readings
from vmprobe.drivers.azure.arm import Operations, Record, Session, properties
from vmprobe.drivers.azure.groups import Groups
from vmprobe.drivers.azure.names import INTERFACES, OS_DISK, TYPES, Place
from vmprobe.transport.json import field, items, short_text

MACHINES, DISKS = TYPES[Kind.SERVER], TYPES[Kind.VOLUME]


def parts(where: Place) -> List[str]:
    """What belongs to a server, as ``TYPE/NAME``."""
    return [
        f"{MACHINES}/{where.name}",
        f"{INTERFACES}/{where.name}",
        f"{DISKS}/{where.name}{OS_DISK}",
    ]


class Servers:
    """The verbs of servers."""

    def __init__(self, session: Session, groups: Groups, operations: Operations):
        self._session, self._groups, self._operations = session, groups, operations

    def create(self, spec: ServerSpec) -> Ref:
        """Ask for the interface and for the machine. Their names are the server's."""
        where = Place(self._groups.ensure(spec.name), spec.name)
        for kind, name in (
            (MACHINES, spec.name),
            (INTERFACES, spec.name),
            (DISKS, spec.name + OS_DISK),
        ):
            self._groups.asking(kind, where._replace(name=name))
        self._session.request(
            "PUT",
            self._session.path(INTERFACES, where),
            "network",
            "create interface",
            json=creation.interface(self._session, spec),
        )
        self._groups.made(INTERFACES, where)
        reply = self._session.request(
            "PUT",
            self._session.path(MACHINES, where),
            "compute",
            "create server",
            json=creation.server(self._session, spec, where),
        )
        self._groups.made(MACHINES, where)
        self._operations.note(where.id, reply)
        return Ref(Kind.SERVER, where.id, spec.name)

    # --- show -----------------------------------------------------------------------------------

    def show(self, ref: Ref) -> Resource:
        """NotFound once machine, interface and disk are gone, and the group where it goes too."""
        where = names.place(ref.id)
        outcome = self._operations.poll(where.id)
        try:
            record = self._session.resource(
                MACHINES, where, f"show {ref}", **{"$expand": "instanceView"}
            )
        except NotFound as gone:
            rest = self._rest(where)
            if rest:
                return readings.unfinished(where, rest, outcome)._replace(ref=ref)
            raise gone
        found = readings.server(record, self._addresses(record), outcome)
        return found._replace(ref=found.ref._replace(id=ref.id))

    def _addresses(self, record: Record) -> readings.Addresses:
        """The addresses of a machine's interfaces, one request for each."""
        found = []
        for item in items(properties(record), "networkProfile", "networkInterfaces", default=[]):
            where = names.required(item.get("id"))
            try:
                found.append(self._session.resource(INTERFACES, where, "show interface"))
            except NotFound:
                continue
        return readings.addresses(found)

    def _rest(self, where: Place) -> str:
        """What is still there of a server whose machine is not; '' for nothing."""
        for kind, name, word in (
            (INTERFACES, where.name, "interface"),
            (DISKS, where.name + OS_DISK, "disk"),
        ):
            try:
                record = self._session.resource(
                    kind, where._replace(name=name), f"{word} of server {where.id}"
                )
            except NotFound:
                continue
            state = short_text(properties(record), "provisioningState", default="unknown")
            return f"gone except for its {word}, which is {state}"
        state = self._groups.state_if_last(where, parts(where)) or ""
        return f"gone except for its resource group, which is {state}" if state else ""

    # --- list -----------------------------------------------------------------------------------

    def list(self, group: Optional[str]) -> List[Resource]:
        """The servers of a group, or of the whole subscription; two requests for any number."""
        machines = self._records(MACHINES, group, "list servers")
        interfaces = self._records(INTERFACES, group, "list interfaces")
        addresses = readings.addresses(interfaces)
        found = [readings.server(record, addresses) for record in machines]
        known = {readings.key(names.place(one.ref.id)) for one in found}
        for interface in interfaces:
            where = names.required(interface.get("id"))
            is_ours = names.TAG in field(interface, "tags", dict, default={})
            if is_ours and readings.key(where) not in known and names.own_group(where.name):
                found.append(readings.unfinished(where, "an interface without a machine"))
        return found

    def _records(self, kind: str, group: Optional[str], asked: str) -> List[Record]:
        if group is None:
            return self._session.everywhere(kind, asked)
        return self._session.in_group(kind, group, asked)

    # --- remove ---------------------------------------------------------------------------------

    def delete(self, ref: Ref) -> None:
        """Ask for the removal of the machine, and once it is gone of its interface and disk.

        Azure keeps both when it deletes a machine. Conflict while the machine holds them.
        """
        where = names.place(ref.id)
        path = self._session.path(MACHINES, where)
        try:
            if self._groups.is_deleting(MACHINES, where):
                self._session.get(path, "compute", f"show {ref}")
            else:
                reply = self._session.request("DELETE", path, "compute", f"delete {ref}")
                self._groups.deleting(MACHINES, where)
                self._groups.deleting(INTERFACES, where)  # if not one by one, then with the group
                self._groups.deleting(DISKS, where._replace(name=where.name + OS_DISK))
                self._operations.note(where.id, reply)
                if reply.status == 204:
                    raise NotFound(f"{ref} is not there")
            raise Conflict(f"{ref} is being deleted; then its interface and disk can be")
        except NotFound:
            self._operations.forget(where.id)
        for kind, name, part in (
            (INTERFACES, where.name, "network"),
            (DISKS, where.name + OS_DISK, "disks"),
        ):
            of_server = where._replace(name=name)
            try:
                self._session.request(
                    "DELETE", self._session.path(kind, of_server), part, f"delete {ref}"
                )
            except NotFound:
                continue

    # --- disks ----------------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        """Change the list of a machine's data disks. The answer is 200, and the change goes on."""
        asked = f"attach {volume} to {server}"
        disks = self._data_disks(server, asked)
        where = names.place(volume.id)
        if any(names.same(names.parse(_disk_id(disk)), where) for disk in disks):
            return
        used = {field(disk, "lun", int) for disk in disks}
        lun = next(number for number in range(len(used) + 1) if number not in used)
        identity = names.azure_id(self._session.subscription, DISKS, where)
        added = {"lun": lun, "createOption": "Attach", "managedDisk": {"id": identity}}
        self._change(server, [*map(_kept, disks), added], asked)

    def detach(self, server: Ref, volume: Ref) -> None:
        asked = f"detach {volume} from {server}"
        where = names.place(volume.id)
        try:
            disks = self._data_disks(server, asked)
        except NotFound:
            return
        others = [disk for disk in disks if not names.same(names.parse(_disk_id(disk)), where)]
        if len(others) < len(disks):
            self._change(server, [_kept(disk) for disk in others], asked)

    def _data_disks(self, server: Ref, asked: str) -> List[Record]:
        record = self._session.resource(MACHINES, names.place(server.id), asked)
        return items(properties(record), "storageProfile", "dataDisks", default=[])

    def _change(self, server: Ref, disks: List[Record], asked: str) -> None:
        where = names.place(server.id)
        reply = self._session.request(
            "PATCH",
            self._session.path(MACHINES, where),
            "compute",
            asked,
            json={"properties": {"storageProfile": {"dataDisks": disks}}},
        )
        self._operations.note(where.id, reply)

    # --- console --------------------------------------------------------------------------------

    def console(self, server: Ref) -> str:
        """The log of the serial port, which Azure keeps in a blob; its address is a secret."""
        where = names.place(server.id)
        try:
            reply = self._session.request(
                "POST",
                f"{self._session.path(MACHINES, where)}/retrieveBootDiagnosticsData",
                "compute",
                f"console of {server}",
                redact_reply=True,
            )
        except Conflict:
            return ""  # the machine is not so far
        address = reply.field("serialConsoleLogBlobUri", str, default="")
        if not address:
            return ""
        base, _, signature = address.partition("?")
        if self._session.url.startswith("https:") and not base.startswith("https:"):
            raise GatewayFailed(f"console of {server}: the address of the log is not https")
        for pair in signature.split("&"):
            if pair.startswith("sig="):
                self._session.evidence.redactor.add(pair[4:])
        blob = self._session.http(base)
        try:
            log = blob.get("", signature, asked=f"console of {server}", headers={"Accept": "*/*"})
        except NotFound:
            return ""  # nothing was written yet
        finally:
            blob.close()
        return log.text


def _disk_id(disk: Record) -> object:
    return field(disk, "managedDisk", "id", str, default="")


def _kept(disk: Record) -> Record:
    """A data disk as it is named in a change that keeps it."""
    return {
        "lun": field(disk, "lun", int),
        "createOption": "Attach",
        "managedDisk": {"id": _disk_id(disk)},
        **({"caching": disk["caching"]} if disk.get("caching") else {}),
    }
