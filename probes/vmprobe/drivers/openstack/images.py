"""Glance's images: finding them by name, id or property, and what their records say."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, List, Mapping

from vmprobe.core.errors import GatewayFailed, NotFound
from vmprobe.core.model import Image, State
from vmprobe.drivers.openstack import lists, readings
from vmprobe.drivers.openstack.readings import Record
from vmprobe.transport.http import Http, path
from vmprobe.transport.json import field, short_text

ID = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")  # a UUID with its hyphens

_EGI_ATTRIBUTES = "APPLIANCE_ATTRIBUTES"  # EGI's attributes of an image, as cloudkeeper writes them
_LONGEST_JSON = 65536  # characters of a property that are parsed


def newest_active(glance: Http, wanted: str) -> Dict[str, Any]:
    """The record of the newest active image with this id, ``property=value`` or name.

    NotFound if there is none.
    """
    images = find(glance, wanted)
    if not images:
        raise NotFound(f"no image {wanted!r}", cause="image")
    active = [image for image in images if image.get("status") == "active"]
    if not active:
        status = short_text(images[0], "status", default="without a status")
        raise NotFound(f"image {wanted!r} is {status}", cause="image")
    newest = max(active, key=lambda image: str(image.get("created_at")))
    short_text(newest, "id")  # GatewayFailed if it has none
    return newest


def find(glance: Http, wanted: str) -> List[Dict[str, Any]]:
    """The records of all images with this id, ``property=value`` or name; "" finds every image."""
    if ID.match(wanted):
        try:
            return [glance.get(path("images", wanted)).field(dict)]
        except NotFound:
            return []
    key, _, value = wanted.partition("=")
    if value:
        matches = _list(glance, {key: value}, lambda image: _has_property(image, key, value))
        return matches or _list(glance, {}, lambda image: _has_property(image, key, value))
    if wanted:
        return _list(glance, {"name": wanted}, lambda image: image.get("name") == wanted)
    return _list(glance, {}, lambda image: True)


def _list(
    glance: Http, query: Mapping[str, str], matches: Callable[[Record], bool]
) -> List[Dict[str, Any]]:
    return lists.read(
        glance, "images", "images", query, lambda image: image if matches(image) else None
    )


def _has_property(image: Record, key: str, value: str) -> bool:
    """Whether an image has this value of a property, a tag or one of EGI's attributes."""
    if key == "tag":
        return value in (image.get("tags") or [])
    own = image.get(key)
    if own == value or isinstance(own, (bool, int)) and str(own).lower() == value.lower():
        return True
    return _egi_attributes(image).get(key) == value


def _egi_attributes(image: Record) -> Dict[str, str]:
    """EGI's attributes of an image, which cloudkeeper stores as JSON in one property.

    {} if that is no JSON.
    """
    attributes = _json_property(image, _EGI_ATTRIBUTES)
    if not isinstance(attributes, dict):
        return {}
    return {key: str(value) for key, value in attributes.items() if isinstance(value, (str, int))}


def volume_snapshots(image: Record) -> List[str]:
    """The ids of the snapshots in Cinder that an image consists of; Nova writes them into it."""
    devices = _json_property(image, "block_device_mapping")
    try:
        return [
            short_text(device, "snapshot_id")
            for device in (devices if isinstance(devices, list) else [])
            if isinstance(device, dict) and device.get("snapshot_id")
        ]
    except GatewayFailed:
        return []


def _json_property(image: Record, key: str) -> object:
    """A property whose text is JSON, parsed; None if it is not there or no JSON."""
    text = image.get(key)
    if not isinstance(text, str) or len(text) > _LONGEST_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def smallest_disk(image: Record) -> int:
    """The size in GiB of the smallest disk that holds an image."""
    size: int = field(image, "virtual_size", int, default=0) or field(image, "size", int, default=0)
    smallest: int = field(image, "min_disk", int, default=0)
    return max(1, smallest, -(-size // readings.GIB))


def reading(image: Record) -> Image:
    """An image's record as an Image.

    Glance has an MD5 checksum, and since 2.7 one by the algorithm that the operator chose.
    """
    checksums = {
        "md5": image.get("checksum"),
        str(image.get("os_hash_algo") or ""): image.get("os_hash_value"),
    }
    properties = {key: value for key, value in image.items() if isinstance(value, str)}
    status = short_text(image, "status")
    return Image(
        short_text(image, "id"),
        readings.name(image),
        readings.IMAGE.get(status, State.PENDING),
        status,
        {name: str(digits).lower() for name, digits in checksums.items() if name and digits},
        {**_egi_attributes(image), **properties},
    )
