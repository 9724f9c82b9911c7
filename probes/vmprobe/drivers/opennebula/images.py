"""Images as volumes and snapshots: show one, list them, delete one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, List

from vmprobe.core.errors import NotFound, NotPermitted
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.core.text import whole_number
from vmprobe.drivers.opennebula import readings
from vmprobe.drivers.opennebula.oned import ALL, MINE, Oned, id_number
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_FILE_NOT_REMOVED = re.compile(r"Error removing image|unavailable Image source", re.I)
_WHOLE_DISK = -1  # and no snapshot of it, for one.vm.disksaveas


def show(oned: Oned, ref: Ref) -> Resource:
    """The volume or snapshot; NotFound once it is gone."""
    image = oned.xml("one.image.info", id_number(ref))
    if ref.kind is Kind.VOLUME:
        return readings.volume(image, _states_of_users(oned, image))
    snapshot = readings.snapshot(image)
    if snapshot.state is State.FAILED and not snapshot.fault:  # the saved VM has the reason
        saved_vm = text(image, "TEMPLATE/SAVED_VM_ID", "")
        snapshot = snapshot._replace(fault=_error_of_vm(oned, saved_vm))
    return snapshot


def list_named(oned: Oned, kind: Kind, name: str) -> List[Resource]:
    """The volumes or snapshots whose name in oned begins with ``name``.

    The user's own; for '' everybody's.
    """
    whose = MINE if name else ALL
    images = [
        image
        for image in oned.images(whose)
        if text(image, "NAME", "").startswith(name) and readings.is_kind(kind, image)
    ]
    if kind is not Kind.VOLUME:
        return [readings.snapshot(image) for image in images]
    vm_states = {}
    if any(map(readings.image_users, images)):
        vm_states = {text(vm, "ID"): readings.vm_state(vm) for vm in oned.vms(whose)}
    return [readings.volume(image, vm_states) for image in images]


def save_disk(oned: Oned, server: Ref, name: str) -> Ref:
    """Ask for a snapshot: the disk that the VM was made with is saved while the VM runs."""
    disks = oned.xml("one.vm.info", id_number(server)).findall("TEMPLATE/DISK")
    disk_ids = [
        number(disk, "DISK_ID")
        for disk in disks
        if text(disk, "IMAGE_ID", "") and text(disk, "TYPE", "") != "CDROM"
    ]
    if not disk_ids:
        raise NotFound(f"{server} has no disk that can be saved as an image", cause="image")
    image_name = f"{name}{readings.SNAPSHOT_SUFFIX}"
    image = oned.create(
        "one.vm.disksaveas", id_number(server), min(disk_ids), image_name, "", _WHOLE_DISK
    )
    return Ref(Kind.SNAPSHOT, image, name)


def delete(oned: Oned, ref: Ref) -> None:
    """Ask for removal; NotFound if it is gone.

    An image whose file could not be removed is in ERROR: oned 6.6 and later delete it only with
    ``force``.
    """
    image = oned.xml("one.image.info", id_number(ref))
    error = readings.error_message(image, "TEMPLATE/ERROR")
    has_no_file = readings.image_state(image) == "ERROR" and _FILE_NOT_REMOVED.search(error)
    force = [True] if has_no_file and oned.is_at_least(6, 6) else []
    oned.call("one.image.delete", id_number(ref), *force)


def _states_of_users(oned: Oned, image: Element) -> Dict[str, str]:
    """The state of the VM that uses an image, by its id; empty if there is none to be seen."""
    for user in readings.image_users(image)[:1]:
        try:
            return {user: readings.vm_state(oned.xml("one.vm.info", int(user)))}
        except (NotFound, NotPermitted):
            break
    return {}


def _error_of_vm(oned: Oned, vm: str) -> str:
    """What went wrong in the VM with this id; '' if nothing did, or it cannot be seen."""
    if whole_number(vm, 9) is None:
        return ""
    try:
        document = oned.xml("one.vm.info", int(vm))
    except (NotFound, NotPermitted):
        return ""
    return readings.error_message(document, "USER_TEMPLATE/ERROR")
