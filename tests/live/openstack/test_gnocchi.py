"""Metrics where only administrators may read Nova's diagnostics: from a real Gnocchi, with measures as Ceilometer sends them."""

from __future__ import annotations

import json
import re

import pytest

from running import run_probe

from .packages import Unavailable
from .shared import a_server, application_credential, site_file
from .telemetry import telemetry
from .test_lifecycle import rights

pytestmark = pytest.mark.live
GIB = 2**30
SAMPLE = {"interval": "1 s"}
READINGS = {  # a server of one vCPU that was 10 % busy, with two disks, of which one came later
    "": {"cpu": [60e9, 90e9]},
    "vda": {
        "disk.device.read.bytes": [5 * GIB, 5 * GIB + 300_000],
        "disk.device.write.bytes": [1000, 61_000],
    },
    "vdb": {"disk.device.read.bytes": [0, 600_000], "disk.device.write.bytes": [0]},
    "tap1": {"network.incoming.bytes": [7_000, 3_007_000], "network.outgoing.bytes": []},
}


@pytest.fixture(scope="module")
def ceilometer(openstack):
    """Gnocchi, in the catalog, and the Ceilometer that fills it."""
    try:
        with telemetry(openstack) as made:
            yield made
    except Unavailable as reason:
        pytest.skip(f"no Gnocchi here: {reason}")


@pytest.fixture(scope="module")
def server(openstack):
    """A server of the member, as Nova shows it."""
    with a_server(openstack, "metered") as made:
        yield openstack.api(openstack.cloud().member).get("compute", f"/servers/{made}")["server"]


def activity(path, *options):
    """(exit code, output, figures by label)."""
    code, output, errors = run_probe(
        "check_vm_activity", "--site", str(path), "--name", "metered", "-v", *options
    )
    assert errors == ""
    return (
        code,
        output,
        {
            label: float(value)
            for label, value in re.findall(r"(\w+)=([\d.]+)", output.split("\n")[0])
        },
    )


def test_metrics_that_a_member_may_not_read_from_nova_are_read_from_gnocchi_with_minimal_rights(
    openstack, ceilometer, server, tmp_path
):
    with (
        ceilometer.having_polled(server, READINGS),
        openstack.diagnostics_for_administrators_only(),
        application_credential(openstack, access_rules=rights()) as made,
    ):
        code, output, labels = activity(
            site_file(
                tmp_path,
                openstack.cloud(),
                sample=SAMPLE,
                credentials=f"application_credential_id = {made['id']}\n"
                f"application_credential_secret = {made['secret']}\n",
            )
        )

    assert code == 0, output
    assert (labels["cpu_avg"], labels["disk_read_total"], labels["net_in_total"]) == (
        10.0,
        3000.0,
        10000.0,
    )
    assert "net_out_avg" not in labels
    assert (
        "note: measured by Gnocchi, every 300 s: cpu, disk_read, disk_write, net_in"
        in output.splitlines()
    )
    assert "note: not measured, the manager does not say: net_out" in output.splitlines()


def test_diagnostics_come_first_and_gnocchi_has_what_they_lack(
    openstack, ceilometer, server, tmp_path
):
    with ceilometer.having_polled(server, READINGS):
        _, output, labels = activity(site_file(tmp_path, openstack.cloud(), sample=SAMPLE))

    assert (
        "note: measured by Nova's diagnostics: cpu, disk_read, disk_write, net_in, net_out"
        in output.splitlines()
    )
    assert "Gnocchi" not in output
    assert labels["net_in_total"] != 10000.0


def test_a_metric_that_is_not_measured_yet_is_named_and_not_zero(
    openstack, ceilometer, server, tmp_path
):
    elsewhere = openstack.api(openstack.cloud().other).token["project"]["id"]
    with (
        ceilometer.having_polled({**server, "tenant_id": elsewhere}, READINGS),
        openstack.diagnostics_for_administrators_only(),
    ):
        code, output, labels = activity(
            site_file(tmp_path, openstack.cloud(), sample=SAMPLE)
        )  # another project's measures are not shown

    assert code == 0, output
    assert re.match(
        r"VM_ACTIVITY OK - openstack: 1 server \(1 not measured\), of which there is no reading yet \|",
        output,
    )
    assert not {"cpu_avg", "disk_read_avg"} & set(labels)
    assert re.search(
        rf"^note: 1 of 1 not measured: diagnostics of server {server['id']}: 403 .*; Gnocchi has no measures of it yet$",
        output,
        re.M,
    )


def test_a_test_vm_is_too_young_for_gnocchi_and_the_run_is_ok(openstack, ceilometer, tmp_path):
    with openstack.diagnostics_for_administrators_only():
        path = site_file(tmp_path, openstack.cloud(), volume="none")
        code, output, _ = run_probe("check_vm_lifecycle", "--site", str(path), "-v")

    assert code == 0, output
    assert re.search(
        r"^note: metrics are not measured: diagnostics of server .*403 .*; Gnocchi has no measures of it yet$",
        output,
        re.M,
    )


def test_the_gateway_says_which_metrics_gnocchi_has_and_how_often(
    openstack, ceilometer, server, tmp_path
):
    with ceilometer.having_polled(server, READINGS):
        code, output, _ = run_probe(
            "check_vm_gateway",
            "--site",
            str(site_file(tmp_path, openstack.cloud())),
            "--capabilities",
            "--json",
            str(tmp_path / "gateway.json"),
        )

    assert code == 0, output
    assert json.loads((tmp_path / "gateway.json").read_text())["capabilities"][
        "metrics by Gnocchi"
    ] == {
        metric: "every 300 s" for metric in ("cpu", "disk_read", "disk_write", "net_in", "net_out")
    }


def test_a_gnocchi_that_is_gone_is_one_note(openstack, ceilometer, tmp_path):
    openstack.processes.stop("gnocchi")
    with openstack.diagnostics_for_administrators_only():
        code, output, _ = run_probe(
            "check_vm_lifecycle",
            "--site",
            str(site_file(tmp_path, openstack.cloud(), volume="none")),
            "-v",
        )

    assert code == 0, output
    assert (
        len(
            re.findall(
                r"^note: metrics are not measured: .*403 .*; Gnocchi's measures of server .*: connection refused$",
                output,
                re.M,
            )
        )
        == 1
    )
