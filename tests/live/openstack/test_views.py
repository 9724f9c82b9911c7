"""The probes that only look, over a real OpenStack: Keystone, Nova, Neutron, Cinder and Glance, with Nova's fake hypervisor."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .shared import site_file

pytestmark = pytest.mark.live
PROBES = Path(__file__).resolve().parents[3] / "probes"


@pytest.fixture
def look(openstack, tmp_path):
    """(exit code, output) of a probe."""
    path = site_file(tmp_path, openstack.cloud())

    def run(probe, *options):
        done = subprocess.run([sys.executable, str(PROBES / f"check_vm_{probe}"), "--site", str(path), *options], text=True,
                              capture_output=True, timeout=180, stdin=subprocess.DEVNULL,
                              env={**os.environ, "VMPROBE_STATE": str(tmp_path / "state")})
        assert done.stderr == ""
        return done.returncode, done.stdout
    return run


@pytest.fixture
def server(openstack):
    """The id of a server of the member's."""
    cloud, member = openstack.cloud(), openstack.api(openstack.cloud().member)

    def find(service, where, key, name):
        return next(one["id"] for one in member.get(service, where)[key] if one["name"] == name)
    made = member.post("compute", "/servers", {"server": {
        "name": "view", "imageRef": find("image", "/v2/images", "images", cloud.image),
        "flavorRef": find("compute", "/flavors", "flavors", cloud.flavor), "availability_zone": cloud.zone,
        "networks": [{"uuid": find("network", "/v2.0/networks", "networks", cloud.network)}]}})["server"]["id"]
    member.wait_until(lambda: member.get("compute", f"/servers/{made}")["server"]["status"] == "ACTIVE", 120, "not ACTIVE")
    yield made
    member("DELETE", "compute", f"/servers/{made}")
    member.wait_until(lambda: not any(one["id"] == made for one in member.get("compute", "/servers")["servers"]), 120, "not gone")


def figures(output):
    return {label: float(value) for label, value in re.findall(r"(\w+)=(\d+(?:\.\d+)?)", output.split("\n")[0].partition(" | ")[2])}


def test_the_gateway_and_each_service_of_its_catalog_are_there(look):
    code, output = look("gateway", "--capabilities")

    assert code == 0, output
    assert re.match(r"VM_GATEWAY OK - openstack: OpenStack Nova [\d.]+ answers in [\d.]+ s \(auth ", output)
    assert {"tcp", "http", "auth", "version", "services", "list", "image", "skew"} <= set(figures(output))
    assert re.search(r"^services +.*compute.*image.*network", output, re.M)


def test_a_service_that_has_crashed_is_told_apart_from_a_rejected_credential(look, openstack):
    with openstack.without("glance"):
        code, output = look("gateway")

    assert code == 2, output
    assert re.match(r"VM_GATEWAY CRITICAL - openstack: services: connect: \S+ port \d+: connection refused \(cause=gateway\)", output)


def test_a_server_has_its_owner_project_image_and_age(look, server):
    code, output = look("state", "-v", "--name", "view")

    assert code == 0, output
    assert re.search(rf"^ACTIVE +\d+ \S+ +[0-9a-f]{{32}} +[0-9a-f]{{32}} +[0-9a-f-]{{36}} +{server} +view$", output, re.M)


def test_quotas_say_what_is_free_and_what_limits(look):
    code, output = look("capacity", "--need", "100000")

    assert code == 1, output
    assert {"servers_free", "vcpus_free", "memory_free", "volumes_free", "fits"} <= set(figures(output))
    assert re.match(r"VM_CAPACITY WARNING - openstack: only \d+ of 100000 nano fit: \w+ by quota: .* free \(cause=quota\)", output)


def test_activity_is_what_diagnostics_say(look, server):
    look("activity", "--name", "view")
    code, output = look("activity", "--name", "view")

    assert code == 0, output
    assert re.match(r"VM_ACTIVITY OK - openstack: 1 server over \d+ s: ", output)


def test_glance_knows_the_images_checksum(look):
    code, output = look("image", f"--checksum=md5:{'0' * 32}")

    assert code == 2, output
    assert re.match(r"VM_IMAGE CRITICAL - openstack: mismatched 1 is outside 0 \(critical\); image blank: its md5 begins with "
                    r"[0-9a-f]{12}, not 000000000000 \|", output)
    assert look("image")[0] == 0
