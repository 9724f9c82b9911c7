"""The checks that create nothing, over a real OpenStack with Nova's fake hypervisor."""

from __future__ import annotations

import re

import pytest

from running import run_probe

from .shared import a_server, quota, site_file

pytestmark = pytest.mark.live


@pytest.fixture
def check(openstack, tmp_path):
    """(exit code, output) of a probe."""
    path = site_file(tmp_path, openstack.cloud())

    def run(probe, *options):
        code, output, errors = run_probe(f"check_vm_{probe}", "--site", str(path), *options)
        assert errors == ""
        return code, output

    return run


@pytest.fixture
def server(openstack):
    """The id of a server of the member's."""
    with a_server(openstack, "view") as made:
        yield made


def figures(output):
    return {
        label: float(value)
        for label, value in re.findall(
            r"(\w+)=(\d+(?:\.\d+)?)", output.split("\n")[0].partition(" | ")[2]
        )
    }


def test_the_gateway_and_each_service_of_its_catalog_are_there(check):
    code, output = check("gateway", "--capabilities")

    assert code == 0, output
    assert re.match(
        r"VM_GATEWAY OK - openstack: OpenStack Nova [\d.]+ answers in [\d.]+ s \(auth ", output
    )
    assert {"tcp", "http", "auth", "version", "services", "list", "image", "skew"} <= set(
        figures(output)
    )
    assert re.search(r"^services +.*compute.*image.*network", output, re.M)


def test_a_crashed_service_is_not_taken_for_a_rejected_credential(check, openstack):
    with openstack.without("glance"):
        code, output = check("gateway")

    assert code == 2, output
    assert re.match(
        r"VM_GATEWAY CRITICAL - openstack: services: connect: \S+ port \d+: connection refused \(cause=gateway\)",
        output,
    )


def test_a_server_has_its_owner_project_image_and_age(check, server):
    code, output = check("state", "-v", "--name", "view")

    assert code == 0, output
    assert re.search(
        rf"^ACTIVE +\d+ \S+ +[0-9a-f]{{32}} +[0-9a-f]{{32}} +[0-9a-f-]{{36}} +{server} +view$",
        output,
        re.M,
    )


def test_quotas_say_what_is_free_and_what_limits(check):
    code, output = check("capacity", "--need", "100000")

    assert code == 1, output
    assert {"servers_free", "vcpus_free", "memory_free", "volumes_free", "fits"} <= set(
        figures(output)
    )
    assert re.match(
        r"VM_CAPACITY WARNING - openstack: only \d+ of 100000 nano fit: \w+ by quota: .* free \(cause=quota\)",
        output,
    )


def test_as_many_test_vms_fit_as_the_quota_has_left(check, openstack, server):
    with quota(openstack, instances=3):
        for need, state in ((2, 0), (3, 1)):
            code, output = check("capacity", "--need", str(need))
            assert (code, figures(output)["fits"]) == (state, 2), output
        assert "only 2 of 3 nano fit: servers by quota: 2 of 3 are free (cause=quota)" in output


def test_a_member_sees_the_quotas_of_volume_types(check, openstack):
    cinder = openstack.api()
    member = openstack.api(openstack.cloud().member).token["project"]["id"]
    kind = cinder.get("volumev3", "/types/default")["volume_type"]["name"]
    cinder(
        "PUT", "volumev3", f"/os-quota-sets/{member}", json={"quota_set": {f"gigabytes_{kind}": 0}}
    )
    try:
        code, output = check("capacity", "--need", "1")
    finally:
        cinder("DELETE", "volumev3", f"/os-quota-sets/{member}")

    assert code == 1, output
    assert (
        f"only 0 of 1 nano fit: storage by quota of volume type {kind}: 0 B of 0 B is free (cause=quota)"
        in output
    )


def test_an_administrator_also_sees_what_placement_has_left_on_each_host(openstack, tmp_path):
    cloud = openstack.cloud()
    code, output, _ = run_probe(
        "check_vm_capacity",
        "--site",
        str(site_file(tmp_path, cloud, account=cloud.admin)),
        "-v",
        "--need",
        "1",
    )

    assert code == 0, output
    assert {"host_vcpus_free", "host_vcpus_full", "host_memory_free", "fits"} <= set(
        figures(output)
    )
    assert (
        figures(output)["host_vcpus_free"] > 1000
    )  # Nova's fake hypervisor has 1000, overcommitted
    assert re.search(r"^vcpus +fake\S* +\d+ +\d+ +\d+ +\d+ %$", output, re.M)
    assert re.search(r"^disk +fake\S* +\S+ \w*B +\S+ TiB +\S+ TiB +0 %$", output, re.M)
    assert re.search(r"^leases +network \S+ +\d+ +\d+ +\d+ +\d+ %$", output, re.M)


def test_a_host_that_is_disabled_has_room_for_nothing(openstack, tmp_path):
    cloud, admin = openstack.cloud(), openstack.api()
    services = [
        row["id"] for row in admin.get("compute", "/os-services?binary=nova-compute")["services"]
    ]
    path = str(site_file(tmp_path, cloud, account=cloud.admin))
    try:
        for service in services:
            admin(
                "PUT",
                "compute",
                f"/os-services/{service}",
                json={"status": "disabled"},
                headers={"OpenStack-API-Version": "compute 2.53"},
            )
        code, output, _ = run_probe("check_vm_capacity", "--site", path, "--need", "1")
    finally:
        for service in services:
            admin(
                "PUT",
                "compute",
                f"/os-services/{service}",
                json={"status": "enabled"},
                headers={"OpenStack-API-Version": "compute 2.53"},
            )

    assert code == 1, output
    assert "only 0 of 1 nano fit: memory by all hosts: 0 B of 0 B is free (cause=quota)" in output


def test_activity_is_measured_by_novas_diagnostics(check, server):
    check("activity", "--name", "view")
    code, output = check("activity", "--name", "view")

    assert code == 0, output
    assert re.match(r"VM_ACTIVITY OK - openstack: 1 server over \d+ s: ", output)


def test_the_images_checksum_is_glances(check):
    code, output = check("image", f"--checksum=md5:{'0' * 32}")

    assert code == 2, output
    assert re.match(
        r"VM_IMAGE CRITICAL - openstack: mismatched 1 is outside 0 \(critical\); image blank: its md5 begins with "
        r"[0-9a-f]{12}, not 000000000000 \|",
        output,
    )
    assert check("image")[0] == 0


def test_an_operator_sees_the_servers_of_all_projects_and_a_member_may_not(
    openstack, server, tmp_path
):
    cloud = openstack.cloud()
    for account, expected in (
        (cloud.admin, (0, r"VM_STATE OK - openstack: .*")),
        (
            cloud.other,
            (2, r"VM_STATE CRITICAL - openstack: list: list servers: 403 .*\(cause=auth, req-.*"),
        ),
    ):
        path = site_file(tmp_path, cloud, account=account, endpoint={"all projects": "yes"})
        code, output, _ = run_probe("check_vm_state", "--site", str(path), "-v")

        assert code == expected[0] and re.match(expected[1], output), output
        assert (server in output) == (account is cloud.admin)

    code, output, _ = run_probe(
        "check_vm_state", "--site", str(site_file(tmp_path, cloud, account=cloud.admin)), "-v"
    )
    assert (code, server in output) == (0, False)
