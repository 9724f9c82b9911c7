"""The checks that only look, against the simulator behind the proxy."""

from __future__ import annotations

import re

import pytest

from running import run_probe

from . import places
from .probing import line

pytestmark = pytest.mark.live


def run(name, path, *options):
    code, output, errors = run_probe(name, "--site", path, *options)
    assert errors == ""
    return code, output


@pytest.mark.parametrize(
    "name, expected",
    [
        ("check_vm_state", "VM_STATE OK - vsphere: 3 servers (3 running)"),
        ("check_vm_image", "VM_IMAGE OK - vsphere: image DC0_C0_RP0_VM0 is there"),
        ("check_vm_leftovers", "VM_LEFTOVERS OK - vsphere: nothing is left behind"),
    ],
)
def test_what_it_says(site, name, expected):
    code, output = run(name, site())

    assert (code, line(output)) == (0, expected)


def test_the_gateway_answers_with_its_version(site):
    code, output = run("check_vm_gateway", site(), "-v")

    assert code == 0
    assert line(output).startswith("VM_GATEWAY OK - vsphere: VMware vSphere 6.5.0 answers in T s")
    assert "a test VM would have image DC0_C0_RP0_VM0, flavor 32 MiB, network DC0_DVPG0" in output


def test_capacity_is_that_of_the_clusters_hosts_and_of_the_datastore(site):
    code, output = run("check_vm_capacity", site(), "-v")

    assert code == 0
    rows = [
        row.split() for row in output.splitlines() if re.match(r"\s*(memory|cpus|storage) ", row)
    ]
    assert sorted((row[0], row[1]) for row in rows) == [
        ("cpus", "DC0_C0_H0"),
        ("cpus", "DC0_C0_H1"),
        ("cpus", "DC0_C0_H2"),
        ("memory", "DC0_C0_H0"),
        ("memory", "DC0_C0_H1"),
        ("memory", "DC0_C0_H2"),
        ("storage", "datastore"),
    ]


def test_activity_names_the_busiest(site):
    code, output = run("check_vm_activity", site())

    assert code == 0
    assert line(output).startswith("VM_ACTIVITY OK - vsphere: 3 servers over T s: cpu ")


def test_a_site_in_one_of_two_datacenters_sees_only_its_own(tmp_path):
    with places.vcsim.running("-datacenters", "2") as url:
        places.make_template(places.Client(url))
        code, output = run("check_vm_state", str(places.site_file(tmp_path, url)))
        other = tmp_path / "other"
        other.mkdir()
        endpoint = {"datacenter": "", "cluster": "DC1_C0", "datastore": "LocalDS_0"}
        unnamed = run("check_vm_state", str(places.site_file(other, url, endpoint=endpoint)))

    assert (code, line(output)) == (0, "VM_STATE OK - vsphere: 3 servers (3 running)")
    assert (unnamed[0], line(unnamed[1])) == (
        3,
        "VM_STATE UNKNOWN - vsphere: list: [endpoint] datacenter: name one; there are DC0, DC1 (cause=client)",
    )
