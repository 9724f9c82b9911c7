"""The cloud of the live tests does what the other tests rely on."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests

from .bootstrap import Refused
from .processes import alive
from .stack import Stack

pytestmark = pytest.mark.live


def test_every_service_listens_on_loopback_only(openstack):
    addresses = {address for pid in openstack.processes.pids() for address in listening(pid)}

    assert openstack.place.address in addresses
    assert {address for address in addresses if not ip_address(address).is_loopback} == set()


def test_a_member_boots_a_server_attaches_a_volume_and_removes_both(openstack):
    cloud, member = openstack.cloud(), openstack.api(openstack.cloud().member)
    network = find(member, "network", "/v2.0/networks", "networks", cloud.network)
    image = find(member, "image", "/v2/images", "images", cloud.image)
    flavor = find(member, "compute", "/flavors", "flavors", cloud.flavor)

    port = member.post("network", "/v2.0/ports", {"port": {"network_id": network, "name": "life"}})[
        "port"
    ]["id"]
    volume = member.post("volumev3", "/volumes", {"volume": {"size": 1, "name": "life"}})["volume"][
        "id"
    ]
    server = member.post(
        "compute",
        "/servers",
        {
            "server": {
                "name": "life",
                "imageRef": image,
                "flavorRef": flavor,
                "networks": [{"port": port}],
                "availability_zone": cloud.zone,
            }
        },
    )["server"]["id"]
    member.wait_until(
        lambda: status(member, "compute", "server", server) == "ACTIVE", 180, "not ACTIVE"
    )
    member.wait_until(
        lambda: status(member, "network", "port", port) == "ACTIVE", 180, "port not ACTIVE"
    )
    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "available", 180, "not available"
    )
    member.post(
        "compute",
        f"/servers/{server}/os-volume_attachments",
        {"volumeAttachment": {"volumeId": volume}},
    )
    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "in-use", 180, "not in-use"
    )
    assert "cpu_details" in member.get("compute", f"/servers/{server}/diagnostics")
    with openstack.diagnostics_for_administrators_only(), pytest.raises(Refused, match=" 403 "):
        member.get("compute", f"/servers/{server}/diagnostics")

    member("DELETE", "compute", f"/servers/{server}/os-volume_attachments/{volume}")
    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "available", 180, "not detached"
    )
    member("DELETE", "compute", f"/servers/{server}")
    member.wait_until(
        lambda: status(member, "compute", "server", server) == "gone", 180, "server not gone"
    )
    member("DELETE", "network", f"/v2.0/ports/{port}")
    member("DELETE", "volumev3", f"/volumes/{volume}")
    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "gone", 180, "volume not gone"
    )
    assert member.get("network", "/v2.0/ports?name=life")["ports"] == []


def test_one_project_does_not_see_the_other(openstack):
    member, other = openstack.api(openstack.cloud().member), openstack.api(openstack.cloud().other)
    volume = member.post("volumev3", "/volumes", {"volume": {"size": 1, "name": "mine"}})["volume"][
        "id"
    ]

    volumes = other.get("volumev3", "/volumes")["volumes"]

    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "available", 180, "not available"
    )
    member("DELETE", "volumev3", f"/volumes/{volume}")
    assert volumes == []


def test_an_application_credential_is_held_to_its_access_rules(openstack):
    cloud, member = openstack.cloud(), openstack.api(openstack.cloud().member)
    made = member.post(
        "identity",
        f"/users/{member.token['user']['id']}/application_credentials",
        {
            "application_credential": {
                "name": "list",
                "access_rules": [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}],
            }
        },
    )["application_credential"]
    answer = requests.post(
        f"{cloud.auth_url}/auth/tokens",
        json={
            "auth": {
                "identity": {
                    "methods": ["application_credential"],
                    "application_credential": {"id": made["id"], "secret": made["secret"]},
                }
            }
        },
    )
    token = {"X-Auth-Token": answer.headers["X-Subject-Token"]}

    allowed = requests.get(f"{member.endpoints['compute']}/servers", headers=token).status_code
    other_path = requests.get(f"{member.endpoints['compute']}/flavors", headers=token).status_code
    other_service = requests.get(
        f"{member.endpoints['network']}/v2.0/networks", headers=token
    ).status_code

    member(
        "DELETE",
        "identity",
        f"/users/{member.token['user']['id']}/application_credentials/{made['id']}",
    )
    assert (allowed, other_path, other_service) == (200, 401, 401)


def test_the_openstack_client_sees_what_the_member_sees(openstack):
    done = openstack.client("flavor", "list", "--format", "value", "--column", "Name")

    assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (
        0,
        ["nano", "small", "tiny"],
        "",
    )


def test_a_crashed_service_is_gone_and_comes_back(openstack):
    before = openstack.processes.pid("cinder-volume")
    with openstack.without("cinder-volume"):
        assert not alive(before)
        assert openstack.processes.pid("cinder-volume") is None

    assert openstack.processes.pid("cinder-volume") not in (None, before)


@pytest.mark.slow
def test_a_guest_gets_its_address_its_user_data_and_a_disk_that_is_plugged_in_later(openstack_qemu):
    cloud, member = openstack_qemu.cloud(), openstack_qemu.api(openstack_qemu.cloud().member)
    volume = member.post("volumev3", "/volumes", {"volume": {"size": 1, "name": "guest"}})[
        "volume"
    ]["id"]
    server = member.post(
        "compute",
        "/servers",
        {
            "server": {
                "name": "guest",
                "availability_zone": cloud.guest_zone,
                "networks": [
                    {
                        "uuid": find(
                            member, "network", "/v2.0/networks", "networks", cloud.guest_network
                        )
                    }
                ],
                "imageRef": find(member, "image", "/v2/images", "images", cloud.guest_image),
                "flavorRef": find(member, "compute", "/flavors", "flavors", cloud.flavor),
                "user_data": base64.b64encode(b"VMPROBE_NONCE=n-1").decode(),
            }
        },
    )["server"]["id"]
    member.wait_until(
        lambda: status(member, "compute", "server", server) == "ACTIVE", 300, "not ACTIVE"
    )

    def says(pattern: str) -> bool:
        console = member.post("compute", f"/servers/{server}/action", {"os-getConsoleOutput": {}})[
            "output"
        ]
        return bool(re.search(pattern, console))

    address = member.get("compute", f"/servers/{server}")["server"]["addresses"][
        cloud.guest_network
    ][0]["addr"]
    member.wait_until(
        lambda: says(rf"vmprobe n-1 \S+ network .*address={address} .*answers=yes"),
        300,
        "no network",
    )
    member.post(
        "compute",
        f"/servers/{server}/os-volume_attachments",
        {"volumeAttachment": {"volumeId": volume}},
    )
    member.wait_until(
        lambda: says(r"vmprobe n-1 \S+ disk device=vdb .*verified=262144"), 300, "no disk"
    )

    member("DELETE", "compute", f"/servers/{server}/os-volume_attachments/{volume}")
    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "available", 300, "not detached"
    )
    member("DELETE", "compute", f"/servers/{server}")
    member.wait_until(
        lambda: status(member, "compute", "server", server) == "gone", 300, "server not gone"
    )
    member("DELETE", "volumev3", f"/volumes/{volume}")
    member.wait_until(
        lambda: status(member, "volumev3", "volume", volume) == "gone", 180, "volume not gone"
    )


def test_a_second_run_gets_the_reason_that_the_stack_is_in_use(openstack):
    up = [
        sys.executable,
        str(Path(__file__).parent / "stack.py"),
        "up",
        "--state",
        str(openstack.place.state),
    ]

    done = subprocess.run(up, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (
        1,
        f"up: another process uses the stack in {openstack.place.state}\n",
    )


def test_down_ends_every_process_also_those_that_others_started(tmp_path):
    stack = Stack(tmp_path)
    stack.prepare()
    stack.processes.start("parent", ["/bin/sh", "-c", "setsid sleep 600 & sleep 600"])
    stack.processes.wait_until(
        lambda: len(stack.processes.pids()) == 3, 10, "no child and no grandchild"
    )
    pids = stack.processes.pids()

    Stack(tmp_path).down()

    assert [pid for pid in pids if alive(pid)] == []
    assert not stack.place.run.exists()


def find(api, service: str, path: str, key: str, name: str) -> str:
    [ids] = [thing["id"] for thing in api.get(service, path)[key] if thing["name"] == name]
    return ids


def status(api, service: str, kind: str, id: str) -> str:
    prefix = "/v2.0" if service == "network" else ""
    try:
        now = api.get(service, f"{prefix}/{kind}s/{id}")[kind]
    except Refused as reason:
        if " 404 " in str(reason):
            return "gone"
        raise
    assert now["status"].lower() != "error", now.get("fault")
    return now["status"]


def listening(pid: int) -> set[str]:
    """The IPv4 and IPv6 addresses at which a process of this network namespace listens."""
    if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
        return set()
    sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                addresses.add(written(fields[1].partition(":")[0]))
    return addresses


def written(hexadecimal: str) -> str:
    """Format an address of /proc, which has 32-bit words in the machine's byte order."""
    words = [bytes.fromhex(hexadecimal[at : at + 8]) for at in range(0, len(hexadecimal), 8)]
    return str(ip_address(b"".join(word[::-1] for word in words)))
