"""The services of one project in one region: Nova, Cinder, Neutron, Glance, Gnocchi and Placement.

Each is found in Keystone's catalog and spoken to in the version that this driver was written for.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from vmprobe.drivers.openstack import refusals
from vmprobe.drivers.openstack.keystone import Keystone
from vmprobe.transport.http import Http
from vmprobe.transport.json import field, items

NEWEST = (2, 72)  # the newest microversion of Nova that this driver was written for
DOWN_CELLS = (2, 69)  # from here on a list says which servers are in a cell that does not answer
TYPED_BOOT_VOLUMES = (2, 67)  # from here on the volume that a server boots from can have a type
COMMON_DIAGNOSTICS = (2, 48)  # from here on diagnostics have one form for all hypervisors

_CINDER = ("block-storage", "volumev3", "block-store")  # its types in catalogs, newest first


class Services:
    """The session's services; ``nova`` and its like are for requests below a service's URL."""

    def __init__(self, keystone: Keystone, timeout: float):
        """``timeout``: seconds that one request may take."""
        self._keystone, self._timeout = keystone, timeout
        self._nova_document: Optional[Dict[str, Any]] = None

    @property
    def project(self) -> str:
        """The id of the project that the session is for."""
        return self._keystone.project

    def nova(self) -> Http:
        """Nova, with ``nova_version`` in each request's headers."""
        nova = self._service(("compute",), "/v2.1")
        version = ".".join(map(str, self.nova_version()))
        nova.headers = {
            **nova.headers,
            "OpenStack-API-Version": f"compute {version}",
            "X-OpenStack-Nova-API-Version": version,
        }
        return nova

    def cinder(self) -> Http:
        """Cinder, below the project's id; a catalog may leave that out since Cinder 3.67."""
        cinder = self._service(_CINDER, "/v3")
        if cinder.url.endswith("/v3"):
            return cinder.at(f"{cinder.url}/{self.project}")
        return cinder

    def neutron(self) -> Http:
        return self._service(("network",), "/v2.0")

    def glance(self) -> Http:
        return self._service(("image",), "/v2")

    def gnocchi(self) -> Http:
        """Gnocchi, with a third of the timeout: slow telemetry must not cost a run its time."""
        gnocchi = self._service(("metric",), "/v1")
        gnocchi.timeout = self._timeout / 3
        return gnocchi

    def placement(self) -> Http:
        return self._keystone.service("placement")

    def keystone_version(self) -> str:
        return self._keystone.version()

    def has_cinder(self) -> bool:
        """Whether the catalog has Cinder in the site's region, by whichever interface."""
        return not self._keystone.lacks(*_CINDER)

    def has_gnocchi(self) -> bool:
        return self._keystone.has("metric")

    def has_placement(self) -> bool:
        return self._keystone.has("placement")

    def is_admin(self) -> bool:
        """Whether the session has the role ``admin``."""
        roles = items(self._keystone.token, "roles", default=[])
        return "admin" in [role.get("name") for role in roles]

    def urls(self) -> List[str]:
        """Keystone's URL, and in a session those of the services that a test VM needs."""
        urls = [self._keystone.url]
        for types in (("compute",), ("network",), ("image",), _CINDER):
            if self._keystone.token and self._keystone.has(*types):
                urls.append(self._keystone.service(*types).url)
        return urls

    def nova_version(self) -> Tuple[int, int]:
        """The microversion to speak: Nova's newest, but not above NEWEST."""
        text: str = field(self.nova_document(), "version", str, default="")
        match = re.fullmatch(r"(\d{1,3})\.(\d{1,4})", text)
        return min((int(match[1]), int(match[2])), NEWEST) if match else (2, 1)

    def nova_document(self) -> Mapping[str, Any]:
        """Nova's description of its version, asked for once; empty where Nova has none.

        It is not asked for below a project's id, because older releases have none there. Without
        the slash at the end Nova redirects, and behind a proxy often to its internal address; but
        some gateways know only the path without the slash. Both are tried.
        """
        if self._nova_document is None:
            nova = self._service(("compute",), "/v2.1")
            root = re.sub(r"(/v\d[\d.]*)(?:/.*)?$", r"\1", nova.url)
            document: Dict[str, Any] = {}
            for url in (root + "/", root):
                reply = nova.get(url, accept=(404,), asked="Nova's version")
                if reply.status != 404:
                    document = reply.field("version", dict, default={})
                    break
            self._nova_document = document
        return self._nova_document

    def _service(self, types: Sequence[str], version: str) -> Http:
        """The service of the first of ``types`` in the catalog.

        ``version`` is added to its URL if that has none.
        """
        service = self._keystone.service(*types)
        if not re.search(r"/v\d[\d.]*(?:/|$)", service.url):
            service = service.at(service.url + version)
        service.classify = refusals.classify
        return service
