"""Removals that take more than a DELETE.

These are servers that Nova hides, snapshots of boot volumes, and volumes that hang between states.
"""

from __future__ import annotations

from vmprobe.core.errors import CloudError, Conflict, NotFound
from vmprobe.core.model import Ref, Resource
from vmprobe.drivers.openstack import images, readings
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import path
from vmprobe.transport.json import short_text

_ATTACHMENTS = "3.27"  # the first microversion of Cinder that lists attachments
_HANGING = ("attaching", "reserved", "detaching")


def force_delete(services: Services, server: Ref) -> None:
    """Remove a server that Nova keeps after its removal, with its ports, addresses and volumes."""
    try:
        services.nova().post(
            path("servers", server.id, "action"),
            json={"forceDelete": None},
            asked=f"delete {server}, which is {readings.SOFT_DELETED}",
        )
    except NotFound:
        return


def delete_volume_snapshots(services: Services, snapshot: Ref) -> None:
    """Remove the snapshots in Cinder that a snapshot of a server with a boot volume consists of.

    Conflict until they are gone: only the image knows their ids, so it has to stay until then.
    """
    asked = f"show {snapshot}"
    try:
        image = services.glance().get(path("images", snapshot.id), asked=asked).field(dict)
    except NotFound:
        return
    if image.get("id") != snapshot.id or readings.name(image) != snapshot.name:
        return  # the answer is about something else
    for identity in images.volume_snapshots(image):
        where, cinder = path("snapshots", identity), services.cinder()
        reply = cinder.get(where, accept=(404,), asked=f"show snapshot {identity} of {snapshot}")
        if reply.status == 404:
            continue
        name = reply.field("snapshot", "name", str, default="")
        if (
            reply.short_text("snapshot", "id") != identity
            or name != f"snapshot for {snapshot.name}"
        ):
            continue
        if reply.short_text("snapshot", "status") != "deleting":
            cinder.delete(where, accept=(404,), asked=f"delete snapshot {identity} of {snapshot}")
        raise Conflict(f"delete {snapshot}: its snapshot {identity} in Cinder is not gone yet")


def free_volume(services: Services, volume: Resource) -> bool:
    """Delete the attachments of a volume that hangs between two states, if their servers are gone.

    A volume stays in such a state when Cinder or Nova dies during an attachment. Returns whether
    the volume was freed; never raises a CloudError, because the refusal of its removal says more.
    """
    if volume.provider_state not in _HANGING:
        return False
    cinder, version = services.cinder(), {"OpenStack-API-Version": f"volume {_ATTACHMENTS}"}
    try:
        reply = cinder.get(
            "attachments",
            query={"volume_id": volume.ref.id},
            headers=version,
            accept=(404, 406),
            asked=f"attachments of {volume.ref}",
        )
        if reply.status != 200:  # before Ocata there are no attachments
            return False
        attachments = [
            attachment
            for attachment in reply.items("attachments")
            if attachment.get("volume_id") == volume.ref.id
        ]
        servers = [str(attachment.get("instance") or "") for attachment in attachments]
        if not attachments or any(_exists(services, server) for server in servers):
            return False
        for attachment in attachments:
            cinder.delete(
                path("attachments", short_text(attachment, "id")),
                headers=version,
                accept=(404,),
                asked=f"free {volume.ref}",
            )
    except CloudError:
        return False
    return True


def _exists(services: Services, server: str) -> bool:
    if not server:
        return False
    try:
        services.nova().get(path("servers", server), asked=f"show server {server}")
    except NotFound:
        return False
    return True
