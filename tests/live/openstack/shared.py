"""One running cloud for a whole run of the tests: it starts at its first use, and ends with the run."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import ending

from .bootstrap import Account
from .stack import Cloud, Stack, Unavailable

_begun: list[Stack | Exception] = []  # at most one: the running stack, or why there is none


def running() -> Stack:
    """The running ``Stack``, with Nova's fake hypervisor; skips, with the reason, where it cannot run.

    A start that failed is not repeated: each test that needs the stack fails with the same reason. With
    ``VMPROBE_LIVE_REUSE`` set, a stack that was started by hand is used, and left running.
    """
    if not _begun:
        _begun.append(_begin())
    if isinstance(_begun[0], Unavailable):
        pytest.skip(f"no OpenStack here: {_begun[0]}")
    if isinstance(_begun[0], Exception):
        raise _begun[0]
    return _begun[0]


def _begin() -> Stack | Exception:
    reuse, stack = bool(os.environ.get("VMPROBE_LIVE_REUSE")), Stack()
    try:
        stack.up(reuse=reuse)
    except Exception as failed:
        return failed
    if not reuse:
        ending.run.callback(stack.down)
    return stack


def site_file(
    directory: Path,
    cloud: Cloud,
    account: Account | None = None,
    credentials: str = "",
    endpoint: dict | None = None,
    budget: dict | None = None,
    sample: dict | None = None,
    **test_vm: str,
) -> Path:
    """A site of the running cloud, as a member of its project sees it.

    ``credentials``: lines of the file, in place of the account's. ``endpoint``, ``budget``, ``sample`` and the rest add keys
    to the usual ones, or replace them; an empty text leaves the key out.
    """
    account = account or cloud.member
    secret = directory / "credentials.ini"
    secret.write_text(
        "[credentials]\n"
        + (credentials or f"username = {account.user}\npassword = {account.password}\n")
    )
    secret.chmod(0o600)
    sections = {
        "site": {"name": "openstack", "owner": "live"},
        "endpoint": {
            "manager": "openstack",
            "url": cloud.auth_url,
            "project": account.project,
            "credentials": "credentials.ini",
            "timeout": "60 s",
            **(endpoint or {}),
        },
        "budget": {"deadline": "600 s", "reserve": "200 s", **(budget or {})},
        "sample": sample or {},
        "test vm": {
            "image": cloud.image,
            "flavor": cloud.flavor,
            "network": cloud.network,
            "availability zone": cloud.zone,
            "volume type": cloud.volume_type,
            **test_vm,
        },
    }
    path = directory / "openstack.ini"
    path.write_text(
        "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)
            for name, keys in sections.items()
        )
    )
    return path


def line(output: str) -> str:
    """The first line without perfdata; durations as T, ids as ID, also ids that the line cuts off."""
    text = re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0])
    text = re.sub(r"\b[0-9a-f]{8}(?:-[0-9a-f-]{27}\b|\.\.\.)", "ID", text)
    text = re.sub(r"vmprobe-live-\w+-\d+-\w+|\.\.\.[a-z0-9]{8}\b", "HANDLE", text)
    text = re.sub(r" [0-9a-f-]+\.\.\.$", " ID", text)
    return re.sub(r"req-ID", "REQUEST", text)


def left(openstack) -> list:
    """The resources with our handle in the member's project, as the services list them."""
    member = openstack.api(openstack.cloud().member)
    resources = (
        member.get("compute", "/servers/detail")["servers"]
        + member.get("volumev3", "/volumes/detail")["volumes"]
    )
    resources += member.get("network", "/v2.0/ports?device_owner=compute:az-fake")["ports"]
    return [(thing.get("name"), thing["status"]) for thing in resources]


@contextmanager
def quota(openstack, **limits):
    """In a ``with`` block: the member's project has these limits of Nova's."""
    admin = openstack.api()
    project = openstack.api(openstack.cloud().member).token["project"]["id"]
    admin("PUT", "compute", f"/os-quota-sets/{project}", json={"quota_set": limits})
    try:
        yield
    finally:
        admin("DELETE", "compute", f"/os-quota-sets/{project}")


@contextmanager
def application_credential(openstack, **options):
    """In a ``with`` block: an application credential of the member; yields Keystone's document of it."""
    member = openstack.api(openstack.cloud().member)
    where = f"/users/{member.token['user']['id']}/application_credentials"
    made = member.post(
        "identity", where, {"application_credential": {"name": "vmprobe-forms", **options}}
    )["application_credential"]
    try:
        yield made
    finally:
        member("DELETE", "identity", f"{where}/{made['id']}")


@contextmanager
def a_server(openstack, name):
    """In a ``with`` block: a server of this name in the member's project."""
    cloud, member = openstack.cloud(), openstack.api(openstack.cloud().member)

    def find(service, where, key, named):
        return next(
            thing["id"] for thing in member.get(service, where)[key] if thing["name"] == named
        )

    made = member.post(
        "compute",
        "/servers",
        {
            "server": {
                "name": name,
                "imageRef": find("image", "/v2/images", "images", cloud.image),
                "flavorRef": find("compute", "/flavors", "flavors", cloud.flavor),
                "availability_zone": cloud.zone,
                "networks": [
                    {"uuid": find("network", "/v2.0/networks", "networks", cloud.network)}
                ],
            }
        },
    )["server"]["id"]
    try:
        member.wait_until(
            lambda: member.get("compute", f"/servers/{made}")["server"]["status"] == "ACTIVE",
            120,
            "not ACTIVE",
        )
        yield made
    finally:
        member("DELETE", "compute", f"/servers/{made}")
        member.wait_until(
            lambda: (
                not any(
                    thing["id"] == made for thing in member.get("compute", "/servers")["servers"]
                )
            ),
            120,
            "not gone",
        )


@contextmanager
def harness():
    """For the conformance suite: Nova's fake hypervisor; its console is empty, and its snapshots never end."""
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock
    from vmprobe.core.model import Capability

    stack = running()
    with TemporaryDirectory() as directory:
        path = site_file(Path(directory), stack.cloud())
        harness = of_site(
            str(path),
            Clock(),
            reports=False,
            lacks={Capability.SNAPSHOTS: "Nova's fake hypervisor takes none"},
            impossible={"availability zone": "no-such-zone"},
        )
        yield harness
