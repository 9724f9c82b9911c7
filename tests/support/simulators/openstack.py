"""Keystone, Nova, Neutron, Cinder and Glance behind one port: the least that the driver needs, and whatever a test answers instead."""

import json
from urllib.parse import parse_qs, urlsplit

from rawserver import Server, reply
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.openstack.driver import Openstack

PROJECT = "a" * 32
SERVERS = [
    {
        "id": f"s{number}",
        "name": f"vmprobe-x-{number}",
        "status": "ERROR",
        "fault": {"message": "No valid host was found."},
    }
    for number in range(1, 6)
]


class Services:
    """Keystone, Nova, Neutron, Cinder and Glance behind one port, each at a path that the catalog has without a version."""

    def __init__(self):
        self.where = {
            "compute": "compute",
            "network": "network",
            "image": "image",
            "block-storage": "volume",
        }  # by type, the path
        self.roles = ["member"]
        self.answers = {}  # "METHOD /path": what is answered instead of what stands below
        self.asked = []
        self.server = Server(self.respond)

    def respond(self, request):
        """The bytes for one request."""
        parts = urlsplit(request.target)
        self.asked.append(f"{request.method} {request.target}")
        told = self.answers.get(f"{request.method} {parts.path}")
        if told is not None:
            return told(request) if callable(told) else told
        if parts.path == "/v3/auth/tokens":
            catalog = [
                {
                    "type": kind,
                    "endpoints": [
                        {
                            "interface": "public",
                            "region_id": "one",
                            "url": f"{self.server.url}/{where}",
                        }
                    ],
                }
                for kind, where in self.where.items()
            ]
            return answer(
                {
                    "token": {
                        "project": {"id": PROJECT, "name": "ops"},
                        "roles": [{"name": role} for role in self.roles],
                        "catalog": catalog,
                    }
                },
                201,
                X_Subject_Token="the-token",
            )
        if parts.path == "/compute/v2.1":  # as Nova behind a proxy that it does not know of
            return reply(302, Location="http://nova.internal:8774/v2.1/")
        if parts.path == "/compute/v2.1/":
            return answer({"version": {"id": "v2.1", "version": "2.96"}})
        if parts.path == "/compute/v2.1/servers/detail":
            return self._page(parse_qs(parts.query))
        if parts.path == "/compute/v2.1/servers":
            return answer(
                {"servers": [{"id": server["id"], "name": server["name"]} for server in SERVERS]}
            )
        return answer({"itemNotFound": {"message": "no such thing"}}, 404)

    def _page(self, query, size=2):
        """As Nova does it: so many, and a link with its own idea of its address."""
        after = query.get("marker", [""])[0]
        first = [server["id"] for server in SERVERS].index(after) + 1 if after else 0
        page = {"servers": SERVERS[first : first + size]}
        if first + size < len(SERVERS):
            page["servers_links"] = [
                {
                    "rel": "next",
                    "href": f"http://nova.internal:8774/v2.1/servers/detail?marker={SERVERS[first + size - 1]['id']}",
                }
            ]
        return answer(page)


def answer(document, status=200, **headers):
    return reply(status, json.dumps(document), Content_Type="application/json", **headers)


def driver(services, clock=None, **endpoint):
    """The driver, at these services; ``clock``: default: real time."""
    keys = {name: key.default for name, key in Openstack.endpoint_keys.items()}
    endpoint = {
        "manager": "openstack",
        "timeout": 20.0,
        "ca": None,
        **keys,
        "url": services.server.url,
        "project": "ops",
        **endpoint,
    }
    return Openstack(
        endpoint,
        {"username": "robot", "password": "s3cret"},
        Deadline(60, 0, clock or Clock()),
        Evidence(keep=True),
    )
