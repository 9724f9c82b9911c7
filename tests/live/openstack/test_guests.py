"""check_vm_lifecycle at the depth console, with real guests: libvirt and QEMU under emulation, DHCP, a hot-plugged volume."""

from __future__ import annotations

import json
import re

import pytest

from running import run_probe

from .shared import line, site_file

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
]  # libvirt, agents and guests take two more minutes, most of them for the installation
LIFECYCLE = "check_vm_lifecycle"


@pytest.fixture
def guests(openstack_qemu, tmp_path):
    """Write a site whose test VM is a real guest. A test fails if it leaves anything."""
    cloud, member = openstack_qemu.cloud(), openstack_qemu.api(openstack_qemu.cloud().member)

    def write(**keys):
        usual = {
            "image": cloud.guest_image,
            "network": cloud.guest_network,
            "availability zone": cloud.guest_zone,
            "depth": "console",
        }
        return str(site_file(tmp_path, cloud, **{**usual, **keys}))

    yield write
    assert (
        member.get("compute", "/servers")["servers"]
        == member.get("volumev3", "/volumes")["volumes"]
        == []
    )
    assert member.get("image", "/v2/images?visibility=private")["images"] == []


def test_a_guest_boots_writes_its_nonce_uses_its_volume_and_is_measured(guests, tmp_path):
    code, output, errors = run_probe(
        LIFECYCLE, "--site", guests(), "--json", str(tmp_path / "run.json"), "-v"
    )
    metrics = json.loads((tmp_path / "run.json").read_text())["metrics"]

    assert (code, line(output), errors) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)",
        "",
    ), output
    assert {
        "cpu_avg",
        "cpu_peak",
        "disk_read_avg",
        "disk_write_avg",
        "net_in_avg",
        "net_out_avg",
    } <= set(metrics)  # by Nova
    assert {"steal_avg", "work_cpu", "work_disk", "work_net"} <= set(metrics)  # by the guest
    assert metrics["cpu_avg"] > 0


def test_a_network_without_dhcp_is_critical_though_nova_and_neutron_report_success(
    guests, openstack_qemu
):
    path = guests(network=openstack_qemu.cloud().network, volume="none", budget={"network": "60 s"})

    code, output, _ = run_probe(LIFECYCLE, "--site", path)

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - openstack: network: server ID: its console says nothing yet; "
        "not done within T s (cause=network)",
    )  # its nonce would come over the network


def test_a_snapshot_of_a_guest_is_made_and_gone(guests):
    code, output, _ = run_probe(
        LIFECYCLE, "--site", guests(snapshot="yes", volume="none", depth="api"), "-v"
    )

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran without storage and is gone in T s (active T s, network T s)",
    ), output
    assert re.search(r"^snapshot +\d+(\.\d+)? s", output, re.M)
