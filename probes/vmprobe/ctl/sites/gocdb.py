"""Read a catalogue of services in GOCDB's XML.

Source: GOCDB's programmatic interface, method get_service.
"""

from __future__ import annotations

import re
from typing import Dict, List
from xml.etree import ElementTree

from vmprobe.core.errors import ClientError, GatewayFailed
from vmprobe.core.text import one_line
from vmprobe.ctl.sites.entries import Content, Entry, endpoint_entry, manager, read_file
from vmprobe.transport import xml

_MAX_ELEMENTS = 10_000_000  # a catalogue of thousands of services has many


def read(place: str) -> Content:
    """The endpoints of services that a driver is for, in production and monitored."""
    root = _parse(place)
    if root.tag != "results":
        raise ClientError(
            f"{place}: begins with <{one_line(root.tag, 60)}>; an export of GOCDB begins with "
            "<results>"
        )
    services = root.findall(".//SERVICE_ENDPOINT")
    _check_complete(place, root, len(services))
    entries: List[Entry] = []
    skipped = 0
    for service in services:
        texts = _texts(service)
        driver, urls = manager(texts.get("SERVICE_TYPE", "")), _urls(service, texts)
        flags = (texts.get("IN_PRODUCTION", "").upper(), texts.get("NODE_MONITORED", "").upper())
        if not driver or not urls or "N" in flags:
            skipped += 1
            continue
        labels = {
            "country": texts.get("COUNTRY_CODE", "").lower(),
            "ngi": texts.get("ROC_NAME", ""),
        }
        entries += [endpoint_entry(texts.get("SITENAME", ""), driver, url, labels) for url in urls]
    return Content(entries, skipped, [])


def _urls(service: ElementTree.Element, texts: Dict[str, str]) -> List[str]:
    """A service's own URL, else those of its monitored endpoints."""
    if texts.get("URL"):
        return [texts["URL"]]
    endpoints = [_texts(element) for element in service.iterfind("ENDPOINTS/ENDPOINT")]
    return [
        endpoint["URL"]
        for endpoint in endpoints
        if endpoint.get("URL") and endpoint.get("ENDPOINT_MONITORED", "").upper() != "N"
    ]


def _check_complete(place: str, root: ElementTree.Element, services: int) -> None:
    """ClientError if <meta> says that there are more pages or services than these.

    Every page that is not empty links to a next one, even the last: it is the last one when it is
    not full.
    """
    meta = root.find("meta")
    if meta is None:
        return
    texts = _texts(meta)
    count, page_size = (
        int(texts[name]) if re.fullmatch("[0-9]{1,9}", texts.get(name, "")) else None
        for name in ("count", "max_page_size")
    )
    links = {link.get("rel", ""): link.get("href", "") for link in meta.iterfind("link")}
    is_later_page = re.search(
        r"[?&](next_cursor=0*[1-9]|prev_cursor=|page=0*([2-9]|1[0-9]))", links.get("self", "")
    )
    is_full = count is None or page_size is None or count >= page_size
    if is_later_page or "next" in links and is_full:
        raise ClientError(
            f"{place}: is one page of several; have GOCDB export all services at once, without "
            "next_cursor, or narrow the request"
        )
    if count is not None and count > services:
        raise ClientError(
            f"{place}: is cut off: it claims to have {count} services, but has {services}"
        )


def _parse(place: str) -> ElementTree.Element:
    """The root element of a file."""
    try:
        return xml.parse(read_file(place), subject=f"{place}:", max_elements=_MAX_ELEMENTS)
    except xml.DocumentType as error:
        raise ClientError(f"{error}; GOCDB's exports have none") from None
    except GatewayFailed as error:
        raise ClientError(str(error)) from None


def _texts(element: ElementTree.Element) -> Dict[str, str]:
    """The texts of an element's children, by their names."""
    return {child.tag: (child.text or "").strip() for child in element}
