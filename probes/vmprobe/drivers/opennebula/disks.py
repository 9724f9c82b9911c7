"""StratusLab's persistent disk service (REST, port 8445; source: StratusLab/storage).

A disk's ``tag`` is its name.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional
from urllib.parse import urlencode

from vmprobe.core.errors import Conflict, NotFound, VmprobeError
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.transport.http import Http, Reply, path
from vmprobe.transport.json import items, short_text

PORT = 8445
_GIB = 2**30
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Disks:
    """The disks of one user. ``http`` is the service's URL with the user's proof of identity."""

    def __init__(self, http: Http):
        self._http = http
        http.classify = _classify

    def create(self, name: str, size: int) -> Ref:
        """Ask for a private disk; ``size`` in bytes is rounded up to whole GiB."""
        form = {"size": -(-size // _GIB), "tag": name, "visibility": "private"}
        reply = self._post("disks/", form, "create disk")
        return Ref(Kind.VOLUME, reply.short_text("uuid"), name)

    def show(self, ref: Ref) -> Resource:
        return self._volume(self._http.get(path("disks", ref.id), asked=f"show {ref}").field(dict))

    def list(self, name: str) -> List[Resource]:
        """The user's disks whose name begins with ``name``.

        One request, and one more for each mounted disk.
        """
        disks = self._objects("disks/", "list disks")
        return [self._volume(disk) for disk in disks if str(disk.get("tag") or "").startswith(name)]

    def check_exists(self, disk: str) -> None:
        """NotFound if there is no disk with this uuid."""
        self._http.get(path("disks", disk), asked=f"disk {disk}")

    def delete(self, ref: Ref) -> None:
        """Ask for removal; Conflict while the disk is mounted."""
        self._http.delete(f"{path('disks', ref.id)}/", asked=f"delete {ref}")

    def mount(self, disk: Ref, server: Ref, host: str) -> None:
        """Attach the disk to a VM on that host; when the service answers, it is attached."""
        where = f"{path('disks', disk.id, 'mounts')}/"
        self._post(where, {"node": host, "vm_id": server.id}, f"attach {disk} to {server}")

    def mounts(self, disk: str) -> List[str]:
        """The ids of the VMs that a disk is mounted in; empty if the disk is gone."""
        try:
            mounts = self._objects(path("disks", disk, "mounts"), f"mounts of {disk}")
        except NotFound:
            return []
        return [short_text(mount, "vmId") for mount in mounts]

    def unmount(self, disk: str, server: str) -> None:
        """Detach the disk from a VM; a mount that is gone is success."""
        where = path("disks", disk, "mounts", f"{disk}_{server}")
        try:
            self._http.delete(where, asked=f"detach {disk} from {server}")
        except NotFound:
            return

    def _post(self, where: str, form: Mapping[str, object], asked: str) -> Reply:
        body = urlencode(form).encode("ascii")
        return self._http.post(where, body=body, headers=_FORM, asked=asked)

    def _objects(self, where: str, asked: str) -> List[Dict[str, Any]]:
        """The list of objects in the service's answer."""
        reply = self._http.get(where, asked=asked)
        objects: List[Dict[str, Any]] = reply.parse(
            lambda: items({"said": reply.json()}, "said", default=[])
        )
        return objects

    def _volume(self, disk: Mapping[str, Any]) -> Resource:
        """A disk as a volume. It is READY as soon as the service shows it.

        Only its mounts tell which server it is attached to.
        """
        identity, size = short_text(disk, "uuid"), short_text(disk, "size", default="")
        mounts = self.mounts(identity) if short_text(disk, "count", default="0") != "0" else []
        return Resource(
            Ref(Kind.VOLUME, identity, short_text(disk, "tag") if disk.get("tag") else ""),
            State.READY,
            "mounted" if mounts else "available",
            server=mounts[0] if mounts else "",
            owner=short_text(disk, "owner", default=""),
            size=int(size) * _GIB if re.fullmatch(r"[0-9]{1,8}", size) else None,
        )


def _classify(reply: Reply) -> Optional[VmprobeError]:
    """The service answers 403 also for a disk that is mounted already: that is a Conflict."""
    if reply.status == 403 and "already exists" in reply.message:
        return reply.error(Conflict)
    return None
