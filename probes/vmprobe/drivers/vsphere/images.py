"""Images: templates, and machines that can be cloned; on a single host also disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from vmprobe.core.errors import NotFound
from vmprobe.core.model import Image, State
from vmprobe.drivers.vsphere import plan, readings

if TYPE_CHECKING:
    from vmprobe.drivers.vsphere.inventory import Inventory
    from vmprobe.drivers.vsphere.properties import Thing
    from vmprobe.drivers.vsphere.session import Session

_PROPERTIES = (
    "name",
    "config.instanceUuid",
    "config.template",
    "config.guestFullName",
    "config.version",
    "runtime.connectionState",
)


def find(session: Session, inventory: Inventory, name: str) -> List[Image]:
    """Those of this name, id or path; '' finds all templates."""
    asked = f"list images {name}".strip()
    if plan.is_disk(name):
        try:
            plan.check_disk(session, inventory, name)
        except NotFound:
            return []
        return [Image(name, name, State.READY, "present")]
    things = inventory.collector.list(
        inventory.datacenter().ref, ("VirtualMachine",), _PROPERTIES, asked
    )
    return [
        _image(thing)
        for thing in things
        if name in (readings.server(thing).ref.id, thing.text("name"))
        or not name
        and readings.is_template(thing)
    ]


def _image(thing: Thing) -> Image:
    """A template whose host or datastore is away cannot be cloned."""
    connection = thing.text("runtime.connectionState") or "unknown"
    ref = readings.server(thing).ref
    properties = {
        word: thing.text(path)
        for word, path in (("guest", "config.guestFullName"), ("hardware", "config.version"))
        if thing.text(path)
    }
    return Image(
        ref.id,
        ref.name,
        State.READY if connection == "connected" else State.PENDING,
        connection,
        properties={
            **properties,
            "type": "template" if readings.is_template(thing) else "virtual machine",
        },
    )
