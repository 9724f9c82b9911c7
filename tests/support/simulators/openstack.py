"""Keystone, Nova, Neutron, Cinder and Glance behind one port.

They answer the least that the driver needs, and what a test sets in ``answers``.
"""

import json
from urllib.parse import parse_qs, urlsplit

from rawserver import Server, reply
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.openstack.driver import Openstack

PROJECT = "a" * 32
CINDER, NEUTRON, NOVA = f"/volume/v3/{PROJECT}", "/network/v2.0", "/compute/v2.1"
TEST_VM = {
    "image": "vmprobe-test",
    "flavor": "",
    "network": "",
    "volume": 2**30,
    "depth": "api",
    "external network": None,
    "availability zone": None,
    "security group": None,
    "volume type": None,
    "boot from volume": False,
    "config drive": False,
}
IMAGE = {
    "id": "i1",
    "name": "vmprobe-test",
    "status": "active",
    "min_disk": 1,
    "min_ram": 64,
    "size": 2**24,
}
NETWORK = {"id": "n1", "name": "private", "subnets": ["sub"]}
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
    """The services, each at a path of its own; the catalog has the paths without a version."""

    def __init__(self):
        self.where = {
            "compute": "compute",
            "network": "network",
            "image": "image",
            "block-storage": "volume",
        }  # the paths by type
        self.roles = ["member"]
        self.answers = {}  # by "METHOD /path"; they take precedence over those below
        self.asked = []
        self.server = Server(self.respond)

    def respond(self, request):
        """The bytes for one request."""
        parts = urlsplit(request.target)
        self.asked.append(f"{request.method} {request.target}")
        given = self.answers.get(f"{request.method} {parts.path}")
        if given is not None:
            return given(request) if callable(given) else given
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
        if parts.path == "/compute/v2.1":  # as Nova does behind a proxy that it does not know
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
        """A page as Nova gives it; the link has Nova's internal address."""
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


def driver(services, clock=None, **endpoint):
    """A driver for these services; by default on the real clock."""
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


def answer(document, status=200, **headers):
    return reply(status, json.dumps(document), Content_Type="application/json", **headers)


GONE = answer({"itemNotFound": {"message": "could not be found"}}, 404)


def a_port(identity, device="s1", **more):
    return {
        "id": identity,
        "name": "",
        "status": "ACTIVE",
        "device_id": device,
        "device_owner": "compute:nova",
        **more,
    }


def removals(services):
    """The requests that change something."""
    return [asked for asked in services.asked if not asked.startswith("GET ")]


def server(number, **more):
    return {"id": f"s{number}", "name": f"vmprobe-x-{number}", "status": "ACTIVE", **more}


def paged(servers, most=1000, linked="http://nova.internal:8774/v2.1/servers/detail"):
    """Nova's list of these servers, by limit and marker, with at most ``most`` in a page."""

    def page(request):
        query = parse_qs(urlsplit(request.target).query)
        size, marker = min(most, int(query["limit"][0])), query.get("marker", [""])[0]
        ids = [server["id"] for server in servers]
        if marker and marker not in ids:
            return answer({"badRequest": {"message": f"marker [{marker}] not found"}}, 400)
        first = ids.index(marker) + 1 if marker else 0
        found = {"servers": servers[first : first + size]}
        if first + size < len(servers):
            found["servers_links"] = [
                {"rel": "next", "href": f"{linked}?limit={size}&marker={ids[first + size - 1]}"}
            ]
        return answer(found)

    return page


def ids(resources):
    return [resource.ref.id for resource in resources]


def flavor(name, ram=512, disk=1, **more):
    return {"id": name, "name": name, "ram": ram, "vcpus": 1, "disk": disk, **more}
