"""Fill the cloud for the tests: accounts, catalog, flavors, a volume type, networks, an image.

The administrator that ``keystone-manage bootstrap`` makes creates all of it through the cloud's own interfaces.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import requests

from .conffiles import ISSUER, PASSWORD
from .place import Place

CATALOG = {
    "glance": ("image", ""),
    "placement": ("placement", ""),
    "nova": ("compute", "/v2.1"),
    "neutron": ("network", ""),
    "cinder": ("volumev3", "/v3/%(project_id)s"),
}
FLAVORS = [
    ("nano", 128, 1),
    ("tiny", 256, 1),
    ("small", 512, 2),
]  # name, MB of memory, CPUs; all with 1 GB of disk


@dataclass(frozen=True)
class Account:
    user: str
    password: str
    project: str
    domain: str = "Default"


ADMIN = Account("admin", PASSWORD, "admin")
MEMBER = Account("probe", "probe-secret", "probe")  # a project member without any other right
OTHER = Account("other", "other-secret", "other")  # the same in another project


class Refused(Exception):
    """The cloud answered with an error; the text has the request, the status and the message."""


class Api:
    """The cloud as one account sees it: a token, the catalog, and requests that raise ``Refused``."""

    def __init__(self, auth_url: str, account: Account) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        answer = self.http.post(
            f"{auth_url}/auth/tokens",
            timeout=60,
            json={
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {
                            "user": {
                                "name": account.user,
                                "domain": {"name": account.domain},
                                "password": account.password,
                            }
                        },
                    },
                    "scope": {
                        "project": {"name": account.project, "domain": {"name": account.domain}}
                    },
                }
            },
        )
        if not answer.ok:
            raise Refused(f"POST {answer.url}: {answer.status_code} {answer.text[:300]}")

        self.token = answer.json()["token"]
        self.http.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.http.headers["OpenStack-API-Version"] = "compute 2.93, volume 3.70"
        self.endpoints = {
            service["type"]: endpoint["url"]
            for service in self.token["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }

    def __call__(
        self, method: str, service: str, path: str, json=None, **more
    ) -> requests.Response:
        answer = self.http.request(
            method, self.endpoints[service] + path, json=json, timeout=120, **more
        )
        if not answer.ok:
            raise Refused(f"{method} {answer.url}: {answer.status_code} {answer.text[:300]}")
        return answer

    def get(self, service: str, path: str) -> dict:
        return self("GET", service, path).json()

    def post(self, service: str, path: str, json: dict) -> dict:
        return self("POST", service, path, json=json).json()

    def wait_until(self, condition, seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{otherwise}, after {seconds:.0f} s")
            time.sleep(0.2)


def identity(place: Place, keystone: Api) -> None:
    """The services' accounts and their places in the catalog; two projects with one member each."""
    roles = {role["name"]: role["id"] for role in keystone.get("identity", "/roles")["roles"]}
    roles["service"] = keystone.post("identity", "/roles", {"role": {"name": "service"}})["role"][
        "id"
    ]

    project = new_project(keystone, "service")
    for service, (kind, path) in CATALOG.items():
        user = new_user(keystone, service, PASSWORD, project)
        for role in ("admin", "service"):
            keystone("PUT", "identity", f"/projects/{project}/users/{user}/roles/{roles[role]}")
        entry = keystone.post(
            "identity", "/services", {"service": {"name": service, "type": kind}}
        )["service"]["id"]
        for interface in ("public", "internal"):
            keystone.post(
                "identity",
                "/endpoints",
                {
                    "endpoint": {
                        "service_id": entry,
                        "interface": interface,
                        "region_id": "RegionOne",
                        "url": place.url(service) + path,
                    }
                },
            )

    for account in (MEMBER, OTHER):
        project = new_project(keystone, account.project)
        user = new_user(keystone, account.user, account.password, project)
        keystone("PUT", "identity", f"/projects/{project}/users/{user}/roles/{roles['member']}")
    federation(keystone, roles["member"])


def federation(keystone: Api, role: str) -> None:
    """Make the people that the identity provider egi.eu authenticates by OpenID Connect members of the project probe."""
    (project,) = [
        project["id"]
        for project in keystone.get("identity", "/projects")["projects"]
        if project["name"] == MEMBER.project
    ]
    group = keystone.post("identity", "/groups", {"group": {"name": "vo"}})["group"]["id"]
    keystone("PUT", "identity", f"/projects/{project}/groups/{group}/roles/{role}")
    provider = "/OS-FEDERATION/identity_providers/egi.eu"
    keystone(
        "PUT",
        "identity",
        provider,
        json={"identity_provider": {"enabled": True, "remote_ids": [ISSUER]}},
    )
    keystone(
        "PUT",
        "identity",
        "/OS-FEDERATION/mappings/vo",
        json={
            "mapping": {
                "rules": [
                    {
                        "local": [{"user": {"name": "{0}"}, "group": {"id": group}}],
                        "remote": [{"type": "HTTP_OIDC_SUB"}],
                    }
                ]
            }
        },
    )
    keystone(
        "PUT", "identity", f"{provider}/protocols/openid", json={"protocol": {"mapping_id": "vo"}}
    )


def new_project(keystone: Api, name: str) -> str:
    return keystone.post(
        "identity", "/projects", {"project": {"name": name, "domain_id": "default"}}
    )["project"]["id"]


def new_user(keystone: Api, name: str, password: str, project: str) -> str:
    return keystone.post(
        "identity",
        "/users",
        {
            "user": {
                "name": name,
                "password": password,
                "domain_id": "default",
                "default_project_id": project,
            }
        },
    )["user"]["id"]


def contents(admin: Api) -> None:
    """Flavors, a volume type, a network without DHCP and an empty image: what a server of the fake hypervisor needs."""
    for name, memory, cpus in FLAVORS:
        admin.post(
            "compute",
            "/flavors",
            {"flavor": {"name": name, "ram": memory, "vcpus": cpus, "disk": 1}},
        )
    admin.post(
        "volumev3",
        "/types",
        {"volume_type": {"name": "nfs", "extra_specs": {"volume_backend_name": "nfs"}}},
    )
    network(admin, "private", "10.99.0.0/20", dhcp=False)
    image(admin, "blank", bytes(1 << 20))


def network(admin: Api, name: str, cidr: str, dhcp: bool) -> str:
    made = admin.post("network", "/v2.0/networks", {"network": {"name": name, "shared": True}})[
        "network"
    ]["id"]
    admin.post(
        "network",
        "/v2.0/subnets",
        {
            "subnet": {
                "network_id": made,
                "name": name,
                "ip_version": 4,
                "cidr": cidr,
                "enable_dhcp": dhcp,
            }
        },
    )
    return made


def image(
    admin: Api,
    name: str,
    content: bytes,
    kind: str = "raw",
    container: str = "bare",
    **properties: str,
) -> str:
    made = admin.post(
        "image",
        "/v2/images",
        {
            "name": name,
            "disk_format": kind,
            "container_format": container,
            "visibility": "public",
            **properties,
        },
    )["id"]
    admin(
        "PUT",
        "image",
        f"/v2/images/{made}/file",
        data=content,
        headers={"Content-Type": "application/octet-stream"},
    )
    return made


def zone(admin: Api, host: str, name: str) -> None:
    """Put the compute service of ``host`` into an availability zone."""
    known = [
        aggregate["id"]
        for aggregate in admin.get("compute", "/os-aggregates")["aggregates"]
        if aggregate["name"] == name
    ]
    made = (
        known[0]
        if known
        else admin.post(
            "compute", "/os-aggregates", {"aggregate": {"name": name, "availability_zone": name}}
        )["aggregate"]["id"]
    )
    admin("POST", "compute", f"/os-aggregates/{made}/action", json={"add_host": {"host": host}})
