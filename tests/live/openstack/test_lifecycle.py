"""check_vm_lifecycle against a real OpenStack, with Nova's fake hypervisor: its verdicts, and that nothing is left."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys

import pytest

from running import CHECKOUT, PROBES, requests_in, run_probe

from .shared import application_credential, left, line, quota, site_file

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"


@pytest.fixture(scope="module")
def good(openstack, tmp_path_factory):
    """The timeline and the evidence of one good run."""
    directory = tmp_path_factory.mktemp("good")
    code, output, errors = run_probe(
        LIFECYCLE,
        "--site",
        str(site_file(directory, openstack.cloud())),
        "--json",
        str(directory / "run.json"),
        "--evidence",
        str(directory / "evidence"),
    )
    (evidence,) = (directory / "evidence").iterdir()

    assert (code, line(output), errors) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)",
        "",
    )
    assert left(openstack) == []
    return json.loads((directory / "run.json").read_text()), json.loads(evidence.read_text())


def test_ok_when_the_vm_ran_and_is_gone(good):
    document, _ = good

    assert {"cpu_avg", "disk_read_avg", "disk_write_avg", "net_in_avg", "net_out_avg"} <= set(
        document["metrics"]
    )
    assert (
        "measured by Nova's diagnostics: cpu, disk_read, disk_write, net_in, net_out"
        in document["notes"]
    )
    (active,) = [stage for stage in document["stages"] if stage["stage"] == "active"]
    assert active["notes"] == ["according to the manager's own time stamps"]


def test_novas_events_are_asked_once_when_the_volume_was_attached_and_a_member_may_see_them(good):
    document, evidence = good
    (replies,) = [
        exchange["received"]
        for exchange in evidence["exchanges"]
        if "os-instance-actions" in exchange["request"]
    ]
    (event,) = json.loads(replies.rpartition("\n")[2])["instanceAction"]["events"]
    (storage,) = [stage for stage in document["stages"] if stage["stage"] == "storage"]

    assert event["event"] == "compute_attach_volume" and "traceback" not in event
    if (
        "notes" in storage
    ):  # not where a whole second is more than what was seen, nor where the event ends after the attachment
        assert (event["result"], storage["seconds"] % 1) == ("Success", 0)


def test_a_fleet_is_created_by_one_request_and_polled_by_one(site, tmp_path):
    code, output, _ = run_probe(
        LIFECYCLE,
        "--site",
        site(volume="none"),
        "--count",
        "10",
        "--evidence",
        str(tmp_path / "evidence"),
    )
    asked = requests_in(tmp_path / "evidence")

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - openstack: 10 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )
    assert len([request for request in asked if re.fullmatch(r"POST \S+/servers", request)]) == 1
    first = next(number for number, request in enumerate(asked) if "/servers/detail" in request)
    assert not [
        request
        for request in asked[: first + 1]
        if re.search(r"GET \S+/servers/[0-9a-f]{8}-", request)
    ]


@pytest.mark.parametrize(
    "test_vm, message",
    [
        ({"image": "no-such-image"}, "image: no image 'no-such-image' (cause=image)"),
        ({"network": "no-such-network"}, "image: no network 'no-such-network' (cause=network)"),
        (
            {"flavor": "no-such-flavor"},
            "image: no flavor 'no-such-flavor' among nano, small, tiny (cause=image)",
        ),
    ],
)
def test_what_the_cloud_does_not_have_is_named(site, test_vm, message):
    code, output, _ = run_probe(LIFECYCLE, "--site", site(**test_vm))

    assert (code, line(output)) == (2, f"VM_LIFECYCLE CRITICAL - openstack: {message}")


def test_a_full_cloud_is_reported_in_novas_words_with_the_request_id(site, openstack):
    with no_compute_service(openstack):
        code, output, _ = run_probe(LIFECYCLE, "--site", site(**{"availability zone": ""}))

    assert code == 2
    assert re.match(
        r"VM_LIFECYCLE CRITICAL - openstack: active: server ID is ERROR: No valid host was found\..*"
        r"\(cause=scheduler, REQUEST\)",
        line(output),
    )


@contextlib.contextmanager
def no_compute_service(openstack):
    """In a ``with`` block: no host takes servers; the administrators have disabled it."""
    admin = openstack.api()
    (service,) = [
        service["id"]
        for service in admin.get("compute", "/os-services?binary=nova-compute")["services"]
        if service["zone"] == openstack.cloud().zone
    ]
    admin("PUT", "compute", f"/os-services/{service}", json={"status": "disabled"})
    try:
        yield
    finally:
        admin("PUT", "compute", f"/os-services/{service}", json={"status": "enabled"})


def test_a_full_quota_is_a_warning_and_not_the_scheduler(site, openstack):
    with quota(openstack, instances=0):
        code, output, _ = run_probe(LIFECYCLE, "--site", site())

    assert code == 1
    assert re.match(
        r"VM_LIFECYCLE WARNING - openstack: submit: create server: 403 Quota exceeded for instances: "
        r"Requested 1, but already used 0.*\(cause=quota, REQUEST\)",
        line(output),
    )


def test_metrics_that_policy_forbids_are_named_and_not_zero(site, openstack):
    with openstack.diagnostics_for_administrators_only():
        code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"), "-v")

    assert code == 0
    assert "cpu_avg" not in output
    assert re.search(r"^note: metrics are not measured: diagnostics of server .*403", output, re.M)


def test_a_wrong_password_is_critical_and_a_missing_one_is_unknown(openstack, tmp_path):
    cloud = openstack.cloud()
    wrong = site_file(
        tmp_path, cloud, credentials=f"username = {cloud.member.user}\npassword = wrong-secret\n"
    )
    code, output, _ = run_probe(LIFECYCLE, "--site", str(wrong))
    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - openstack: auth: authentication: 401 The request you have "
        "made requires authentication. (cause=auth, REQUEST)",
    )

    missing = site_file(tmp_path, cloud, credentials=f"username = {cloud.member.user}\n")
    code, output, _ = run_probe(LIFECYCLE, "--site", str(missing))
    assert (code, line(output)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - openstack: auth: no password, application credential, "
        "token or certificate among the credentials (cause=client)",
    )


def rights():
    """The access rules that the driver's page documents, for an application credential."""
    rows = re.findall(
        r"^\| (\w+) \| (\w+) \| (/\S+) \|",
        (CHECKOUT / "docs" / "drivers" / "openstack.md").read_text(),
        re.M,
    )
    return [{"service": service, "method": method, "path": path} for service, method, path in rows]


def test_an_application_credential_that_access_rules_limit_is_enough(openstack, tmp_path):
    with application_credential(openstack, access_rules=rights()) as made:
        path = site_file(
            tmp_path,
            openstack.cloud(),
            credentials=f"application_credential_id = {made['id']}\n"
            f"application_credential_secret = {made['secret']}\n",
        )
        code, output, _ = run_probe(LIFECYCLE, "--site", str(path))

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)",
    )
    assert made["secret"] not in output
    assert left(openstack) == []


@pytest.mark.slow
def test_fifty_servers_are_created_by_one_request_and_polled_by_one_and_openstacks_own_client_finds_nothing_left(
    site, openstack, tmp_path
):
    openstack.add_computes()
    path = site(volume="none", budget={"deadline": "1200 s", "reserve": "400 s"})

    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / LIFECYCLE),
            "--site",
            path,
            "--count",
            "50",
            "--evidence",
            str(tmp_path / "evidence"),
        ],
        text=True,
        capture_output=True,
        timeout=1260,
        stdin=subprocess.DEVNULL,
    )
    (file,) = (tmp_path / "evidence").iterdir()
    asked = requests_in(tmp_path / "evidence")
    handle = json.loads(file.read_text())["handle"]

    assert (done.returncode, line(done.stdout)) == (
        0,
        "VM_LIFECYCLE OK - openstack: 50 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )
    waited = asked[
        next(
            number
            for number, request in enumerate(asked)
            if re.fullmatch(r"POST \S+/servers", request)
        ) :
    ]
    waited = waited[
        : next(number for number, request in enumerate(waited) if "/diagnostics" in request)
    ]
    assert {re.sub(r"\S+//[^/]+|\?.*", "", request) for request in waited} == {
        "POST /v2.1/servers",
        "GET /v2.1/servers/detail",
        "GET /v2.1/servers",
        "GET /v2.0/ports",
    }
    cells = [
        request for request in waited if request.endswith("/servers") and request.startswith("GET")
    ]  # do all of them answer?
    assert len(cells) <= 2 + len(waited) / 6, (
        waited
    )  # every 30 s, while the check polls every 5 s at most
    assert nothing_is_listed(openstack, handle)


def nothing_is_listed(openstack, handle):
    """Whether python-openstackclient, as the member, lists nothing with the handle."""
    for command in (
        ["server", "list"],
        ["volume", "list"],
        ["port", "list"],
        ["image", "list", "--private"],
    ):
        done = openstack.client(*command, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert handle not in done.stdout
    return True


@pytest.mark.slow
def test_the_boot_volume_is_removed_with_its_vm(site, openstack, tmp_path):
    code, output, _ = run_probe(
        LIFECYCLE,
        "--site",
        site(**{"boot from volume": "yes"}),
        "--evidence",
        str(tmp_path / "evidence"),
    )
    (file,) = (tmp_path / "evidence").iterdir()

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)",
    )
    assert '\\"destination_type\\": \\"volume\\"' in file.read_text()
    assert nothing_is_listed(openstack, json.loads(file.read_text())["handle"])
