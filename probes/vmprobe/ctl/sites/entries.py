"""One endpoint as a catalogue describes it, and what the readers of catalogues share."""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, NamedTuple, Tuple

from vmprobe.core import urls
from vmprobe.core.errors import ClientError

LARGEST = 2**28  # bytes of a catalogue

MANAGERS = {  # service type in GOCDB, or interface name in GLUE 2.0: the driver for it
    "org.openstack.nova": "openstack",
    "org.openstack.keystone": "openstack",
    "OpenStack": "openstack",
    "eu.egi.cloud.vm-management.openstack": "openstack",
    "eu.egi.cloud.vm-management.occi": "occi",
    "OCCI": "occi",
    "org.opennebula": "opennebula",
    "OpenNebula": "opennebula",
}
_MANAGERS = {word.lower(): manager for word, manager in MANAGERS.items()}


class Entry(NamedTuple):
    """One endpoint: the values for its site file, by section and key.

    A value is '' where the catalogue has the field, and left it empty.
    """

    name: str
    values: Mapping[Tuple[str, str], str]


class Content(NamedTuple):
    """What a reader finds in a catalogue."""

    entries: List[Entry]
    skipped: int  # services without a driver, or not in production
    notes: List[str]  # lines for the operator


def manager(word: str) -> str:
    """The driver for a catalogue's service type or interface, '' if there is none."""
    return _MANAGERS.get(word.lower(), "")


def endpoint_entry(site: str, manager: str, url: str, labels: Mapping[str, str]) -> Entry:
    """The entry of an endpoint of ``site``; it is named after the site and the URL's host."""
    # In GOCDB some URLs are followed by the image and flavor for a test.
    url = with_lower_case_host(url.partition("?")[0])
    host = urls.host(url) or "nowhere"  # a malformed URL is refused when the site file is read
    name = site_name(f"{site}-{host}")
    values: Dict[Tuple[str, str], str] = {
        ("site", "name"): name,
        ("endpoint", "manager"): manager,
        ("endpoint", "url"): url,
        ("labels", "site"): site_name(site),
    }
    values.update({("labels", key): text for key, text in labels.items()})
    return Entry(name, values)


def site_name(text: str) -> str:
    """``text`` as a valid name of a site."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63] or "unnamed"


def with_lower_case_host(url: str) -> str:
    """A URL with its scheme and host in lower case; many catalogues write these in capitals."""
    match = re.match(r"(https?://)([^/?#]*@)?([^/?#@]*)", url, re.I)
    if not match:
        return url
    return match[1].lower() + (match[2] or "") + match[3].lower() + url[match.end() :]


def read_file(place: str) -> bytes:
    """The content of a file or a pipe; ClientError if it is too large."""
    with open(place, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ClientError(f"{place}: is larger than {LARGEST // 2**20} MiB")
    return content
