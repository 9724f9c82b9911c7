"""The catalog of a Keystone token: the services, their regions and their interfaces."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.text import cut
from vmprobe.drivers.openstack.credentials import is_url
from vmprobe.transport.http import origin
from vmprobe.transport.json import field, items

Endpoint = Mapping[str, Any]  # as the catalog describes it


class Catalog:
    """The endpoints that the site's region and interface select."""

    def __init__(self, token: Mapping[str, Any], region: str, interface: str):
        """``token``: the object in Keystone's answer.

        ``region``: "" for any. ``interface``: "" for public.
        """
        self._token, self._region = token, region
        # older files write publicURL
        self._interface = re.sub(r"URL$", "", interface or "public")

    def url(self, *types: str) -> str:
        """The URL of the first of these service types that there is.

        ClientError where another region or interface has it, or several regions do; else NotFound.
        """
        for kind in types:
            endpoints = self._endpoints(kind)
            if len({_region(endpoint).lower() for endpoint in endpoints}) > 1:
                raise ClientError(
                    f"the catalog has {kind} in the regions {_regions(endpoints)}: "
                    "choose one with 'region'"
                )
            if endpoints:
                url: str = field(endpoints[0], "url", str)
                return url.rstrip("/")
        anywhere = [
            endpoint for kind in types for endpoint in self._endpoints(kind, any_region=True)
        ]
        if anywhere:
            raise ClientError(
                f"[endpoint] region: the catalog has {types[0]} in {_regions(anywhere)}, "
                f"not in {self._region}"
            )
        if not self.lacks(*types):
            raise ClientError(
                f"[endpoint] interface: the catalog has {types[0]}, "
                f"but no {self._interface} endpoint of it"
            )
        raise NotFound(f"the catalog has no service {types[0]}", cause="gateway")

    def has(self, *types: str) -> bool:
        """Whether there is a service of one of these types."""
        return any(self._endpoints(kind) for kind in types)

    def lacks(self, *types: str) -> bool:
        """Whether there is no service of these types in the region, by whichever interface."""
        return not any(self._endpoints(kind, any_interface=True) for kind in types)

    def has_origin(self, url: str) -> bool:
        """Whether any service has the same scheme, host and port as ``url``."""
        urls = [
            str(endpoint.get("url"))
            for entry in items(self._token, "catalog")
            for endpoint in items(entry, "endpoints", default=[])
        ]
        return origin(url) in [origin(other) for other in urls if is_url(other)]

    def _endpoints(
        self, kind: str, any_region: bool = False, any_interface: bool = False
    ) -> List[Dict[str, Any]]:
        """The endpoints of a service type that the site's interface and region select.

        One service may spell a region in other letters (upper, lower) than the next one does.
        """
        endpoints = [
            endpoint
            for entry in items(self._token, "catalog")
            if entry.get("type") == kind
            for endpoint in items(entry, "endpoints", default=[])
            if any_interface or endpoint.get("interface") == self._interface
        ]
        if any_region or not self._region:
            return endpoints
        exact = [endpoint for endpoint in endpoints if _region(endpoint) == self._region]
        return exact or [
            endpoint for endpoint in endpoints if _region(endpoint).lower() == self._region.lower()
        ]


def _region(endpoint: Endpoint) -> str:
    return str(
        endpoint.get("region_id") or endpoint.get("region")
    )  # older catalogs have ``region``


def _regions(endpoints: Iterable[Endpoint]) -> str:
    return cut(", ".join(sorted(set(map(_region, endpoints)))), 120)
