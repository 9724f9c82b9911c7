"""StratusLab's Marketplace: metadata of images by identifier.

There is one entry for each endorsement. The Marketplace cannot list all images.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, NamedTuple

from vmprobe.core.errors import NotFound
from vmprobe.core.model import Image, State
from vmprobe.transport.http import Http, path
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_IDENTIFIER = re.compile(r"^[A-Za-z0-9_-]{27}$")
_DEVICE_PREFIXES = {"ide": "hd", "scsi": "sd", "virtio": "vd"}


class Source(NamedTuple):
    """What a VM's first disk is made from."""

    url: str  # DISK/source
    title: str
    image_format: str = "raw"
    device_prefix: str = "vd"


def is_identifier(image: str) -> bool:
    """Whether this is an identifier, perhaps followed by ``/ENDORSER`` and more."""
    return bool(_IDENTIFIER.match(image.partition("/")[0]))


def source(http: Http, image: str) -> Source:
    """The source of an image in the Marketplace at ``http.url``.

    The first entry counts that is not deprecated; NotFound if there is none.
    """
    entries = _entries(http, image)
    valid = [entry for entry in entries if entry.find("deprecated") is None]
    if not valid:
        reason = text(entries[0], "deprecated", "")
        raise NotFound(
            f"image {image!r} is deprecated" + (f": {reason}" if reason else ""), cause="image"
        )
    entry = valid[0]
    image_format = text(entry, "format", "")
    return Source(
        f"{http.url}/metadata/{image}",
        text(entry, "title", "") or image,
        image_format if image_format in ("raw", "qcow2") else "raw",
        _DEVICE_PREFIXES.get(text(entry, "disks-bus", ""), "hd"),
    )


def images(http: Http, image: str) -> List[Image]:
    """Every endorsement of an identifier, as an image; empty if there is none."""
    try:
        return [_image(entry) for entry in _entries(http, image)]
    except NotFound:
        return []


def _image(entry: Element) -> Image:
    is_deprecated = entry.find("deprecated") is not None
    checksums = {
        text(each, "algorithm", "").replace("-", "").lower(): text(each, "value", "").lower()
        for each in entry.findall("checksum")
    }
    return Image(
        text(entry, "identifier"),
        text(entry, "title", "") or text(entry, "identifier"),
        State.FAILED if is_deprecated else State.READY,
        "deprecated" if is_deprecated else "endorsed",
        {
            algorithm: digits
            for algorithm, digits in checksums.items()
            if re.fullmatch(r"[0-9a-f]{32,128}", digits)
        },
        {child.tag: (child.text or "").strip() for child in entry if not len(child)},
    )


def _entries(http: Http, image: str) -> List[Element]:
    """The metadata of an identifier, one element for each endorsement; NotFound if it has none."""
    reply = http.get(
        "/".join(path(part) for part in ["metadata", *image.split("/")]),
        headers={"Accept": "application/xml"},
        accept=(404,),
        asked=f"Marketplace: {image}",
    )
    entries = [] if reply.status == 404 else list(reply.xml().iter("Description"))
    if not entries:
        raise NotFound(f"no image {image!r} in the Marketplace {http.url}", cause="image")
    return entries
