"""What the site file names, found in oned's pools: image, VM template, network and datastore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.text import cut
from vmprobe.drivers.opennebula import readings
from vmprobe.drivers.opennebula.oned import Oned
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_BOOTABLE = (0, 1, 2)  # types of images that can be a VM's disk
_FOR_IMAGES = 0  # type of a datastore


def template(oned: Oned, wanted: str) -> Element:
    """The VM template with this name or id; NotFound if there is none."""
    match = readings.named(oned.templates(), wanted, oned.username)
    if match is None:
        raise NotFound(f"no VM template {wanted!r}", cause="image")
    return match


def image(oned: Oned, wanted: str) -> Element:
    """The image with this name or id; NotFound if there is none that a VM can boot from."""
    match = readings.named(oned.images(), wanted, oned.username)
    if match is None:
        raise NotFound(f"no image {wanted!r}", cause="image")
    state, image_type = readings.image_state(match), number(match, "TYPE", 0)
    if state not in ("READY", "USED"):
        message = readings.error_message(match, "TEMPLATE/ERROR")
        reason = f": {message}" if message else ""
        raise NotFound(f"image {wanted!r} is {state}{reason}", cause="image")
    if image_type not in _BOOTABLE:
        raise NotFound(
            f"image {wanted!r} is of type {image_type}: no VM can have it as a disk", cause="image"
        )
    return match


def network(oned: Oned, wanted: str, template: Optional[Element]) -> Tuple[str, str]:
    """(id, name) of the network with this name or id, or of the only network if none is wanted.

    ("", name) if none is wanted and the template has a NIC. ClientError if several networks are
    there and none is wanted, NotFound if there is none.
    """
    nic = template.find("TEMPLATE/NIC") if template is not None else None
    if not wanted and nic is not None:
        return "", text(nic, "NETWORK", "") or text(nic, "NETWORK_ID", "") or "the template's"
    networks = oned.networks()
    if wanted:
        match = readings.named(networks, wanted, oned.username)
        if match is None:
            raise NotFound(f"no network {wanted!r}", cause="network")
    elif not networks:
        raise NotFound("there is no network for a VM", cause="network")
    elif len(networks) > 1:
        names = ", ".join(f"{text(each, 'NAME')} ({text(each, 'ID')})" for each in networks)
        raise ClientError(f"[test vm] network: there are {cut(names, 200)}: name one")
    else:
        match = networks[0]
    return text(match, "ID"), text(match, "NAME")


def datastore(oned: Oned, wanted: Optional[str], image: Element) -> str:
    """The id of the datastore for volumes, by its name or id; by default the image's own."""
    if not wanted:
        return text(image, "DATASTORE_ID")
    stores = oned.xml("one.datastorepool.info").findall("DATASTORE")
    match = readings.named(stores, wanted, oned.username)
    if match is None:
        raise NotFound(f"no datastore {wanted!r}", cause="storage")
    if number(match, "TYPE", 0) != _FOR_IMAGES:
        raise NotFound(f"datastore {wanted!r} is not for images", cause="storage")
    return text(match, "ID")
