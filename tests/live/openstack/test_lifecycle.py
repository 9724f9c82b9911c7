"""check_vm_lifecycle against a real OpenStack, with Nova's fake hypervisor: its verdicts, and that nothing is left."""
from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import PROBES, run_probe

from .shared import site_file

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"


def line(output: str) -> str:
    """The first line without perfdata; durations as T, ids as ID."""
    text = re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0])
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "ID", text)
    text = re.sub(r"vmprobe-live-\w+-\d+-\w+", "HANDLE", text)
    return re.sub(r"req-ID\b", "REQUEST", text)


def left(openstack) -> list:
    """What carries our handle in the member's project, by the services themselves."""
    member = openstack.api(openstack.cloud().member)
    found = member.get("compute", "/servers/detail")["servers"] + member.get("volumev3", "/volumes/detail")["volumes"]
    found += member.get("network", "/v2.0/ports?device_owner=compute:az-fake")["ports"]
    return [(thing.get("name"), thing["status"]) for thing in found]


@pytest.fixture
def site(openstack, tmp_path):
    """Writes the site file with other keys of [test vm]; whatever a test leaves fails it."""
    yield lambda **test_vm: str(site_file(tmp_path, openstack.cloud(), **test_vm))
    assert left(openstack) == []


def test_ok_when_the_vm_ran_and_is_gone(site, tmp_path):
    code, output, errors = run_probe(LIFECYCLE, "--site", site(), "--json", str(tmp_path / "run.json"))
    document = json.loads((tmp_path / "run.json").read_text())

    assert (code, line(output), errors) == (
        0, "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)", "")
    assert {"cpu_avg", "disk_read_avg", "disk_write_avg", "net_in_avg", "net_out_avg"} <= set(document["metrics"])
    (active,) = [stage for stage in document["stages"] if stage["stage"] == "active"]
    assert active["notes"] == ["by the manager's own time stamps"]


def test_a_fleet_is_one_request_and_each_look_at_it_is_one(site, tmp_path):
    code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"), "--count", "10", "--evidence", str(tmp_path / "evidence"))
    (path,) = (tmp_path / "evidence").iterdir()
    asked = [exchange["request"] for exchange in json.loads(path.read_text())["exchanges"]]

    assert (code, line(output)) == (
        0, "VM_LIFECYCLE OK - openstack: 10 test VMs ran without storage and are gone in T s (active T s, network T s)")
    assert len([request for request in asked if re.fullmatch(r"POST \S+/servers", request)]) == 1
    first = next(number for number, request in enumerate(asked) if "/servers/detail" in request)
    assert not [request for request in asked[: first + 1] if re.search(r"GET \S+/servers/[0-9a-f]{8}-", request)]


@pytest.mark.parametrize("test_vm, said", [
    ({"image": "no-such-image"}, "image: no image 'no-such-image' (cause=image)"),
    ({"network": "no-such-network"}, "image: no network 'no-such-network' (cause=network)"),
    ({"flavor": "no-such-flavor"}, "image: no flavor 'no-such-flavor' among nano, small, tiny (cause=client)"),
])
def test_what_is_not_there_is_named(site, test_vm, said):
    code, output, _ = run_probe(LIFECYCLE, "--site", site(**test_vm))

    assert (code, line(output)) == (2, f"VM_LIFECYCLE CRITICAL - openstack: {said}")


def test_no_room_is_told_in_novas_words_with_its_request(site, openstack):
    with no_compute_service(openstack):
        code, output, _ = run_probe(LIFECYCLE, "--site", site(**{"availability zone": ""}))

    assert code == 2
    assert re.match(r"VM_LIFECYCLE CRITICAL - openstack: active: server ID is ERROR: No valid host was found\..*"
                    r"\(cause=scheduler, REQUEST\)", line(output))


@contextlib.contextmanager
def no_compute_service(openstack):
    """For the length of a ``with`` block no host takes servers; the administrators have disabled it."""
    admin = openstack.api()
    (service,) = [service["id"] for service in admin.get("compute", "/os-services?binary=nova-compute")["services"]
                  if service["zone"] == openstack.cloud().zone]
    admin("PUT", "compute", f"/os-services/{service}", json={"status": "disabled"})
    try:
        yield
    finally:
        admin("PUT", "compute", f"/os-services/{service}", json={"status": "enabled"})


@contextlib.contextmanager
def quota(openstack, **limits):
    """For the length of a ``with`` block the member's project has these limits of Nova's."""
    admin = openstack.api()
    project = openstack.api(openstack.cloud().member).token["project"]["id"]
    admin("PUT", "compute", f"/os-quota-sets/{project}", json={"quota_set": limits})
    try:
        yield
    finally:
        admin("DELETE", "compute", f"/os-quota-sets/{project}")


def test_a_full_quota_is_a_warning_and_not_the_scheduler(site, openstack):
    with quota(openstack, instances=0):
        code, output, _ = run_probe(LIFECYCLE, "--site", site())

    assert code == 1
    assert re.match(r"VM_LIFECYCLE WARNING - openstack: submit: create server: 403 Quota exceeded for instances: "
                    r"Requested 1, but already used 0.*\(cause=quota, REQUEST\)", line(output))


def test_metrics_that_policy_forbids_are_named_and_not_zero(site, openstack):
    with openstack.diagnostics_for_administrators_only():
        code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"), "-v")

    assert code == 0
    assert "cpu_avg" not in output
    assert re.search(r"^note: metrics are not measured: diagnostics of server .*403", output, re.M)


def test_a_wrong_password_is_critical_and_a_missing_one_is_ours(openstack, tmp_path):
    cloud = openstack.cloud()
    wrong = site_file(tmp_path, cloud, credentials=f"username = {cloud.member.user}\npassword = wrong-secret\n")
    code, output, _ = run_probe(LIFECYCLE, "--site", str(wrong))
    assert (code, line(output)) == (2, "VM_LIFECYCLE CRITICAL - openstack: auth: authentication: 401 The request you have "
                                       "made requires authentication. (cause=auth, REQUEST)")

    missing = site_file(tmp_path, cloud, credentials=f"username = {cloud.member.user}\n")
    code, output, _ = run_probe(LIFECYCLE, "--site", str(missing))
    assert (code, line(output)) == (3, "VM_LIFECYCLE UNKNOWN - openstack: auth: no password, application credential, "
                                       "token or certificate among the credentials (cause=client)")


def test_an_application_credential_that_access_rules_limit_is_enough(openstack, tmp_path):
    cloud, member = openstack.cloud(), openstack.api(openstack.cloud().member)
    rules = [{"service": service, "method": method, "path": path} for service, method, path in RIGHTS]
    made = member.post("identity", f"/users/{member.token['user']['id']}/application_credentials", {
        "application_credential": {"name": "vmprobe", "access_rules": rules}})["application_credential"]
    path = site_file(tmp_path, cloud, credentials=f"application_credential_id = {made['id']}\n"
                                                  f"application_credential_secret = {made['secret']}\n")

    code, output, _ = run_probe(LIFECYCLE, "--site", str(path))

    assert (code, line(output)) == (
        0, "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)")
    assert made["secret"] not in output
    assert left(openstack) == []


RIGHTS = [  # what a run asks for, as access rules of an application credential have it
    ("compute", "GET", "/v2.1/flavors/detail"), ("compute", "GET", "/v2.1"), ("compute", "GET", "/v2.1/"),
    ("compute", "GET", "/v2.1/servers/*"), ("compute", "GET", "/v2.1/servers/**"), ("compute", "POST", "/v2.1/servers"),
    ("compute", "POST", "/v2.1/servers/*/os-volume_attachments"), ("compute", "DELETE", "/v2.1/servers/**"),
    ("volumev3", "GET", "/v3/*/volumes/*"), ("volumev3", "POST", "/v3/*/volumes"), ("volumev3", "DELETE", "/v3/*/volumes/*"),
    ("image", "GET", "/v2/images"), ("network", "GET", "/v2.0/networks"), ("network", "GET", "/v2.0/ports"),
]


@pytest.mark.parametrize("mark", ['"kind": "volume", "name"', '"kind": "server", "name"', '"event": "created", "id"'])
def test_sigkill_is_settled_by_the_next_run(site, openstack, tmp_path, state_directory, mark):
    path = site()
    killed = subprocess.Popen([sys.executable, str(PROBES / LIFECYCLE), "--site", path], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not any(mark in ledger.read_text() for ledger in state_directory.glob("ledger/openstack/*.ledger")):
        assert time.monotonic() < end and killed.poll() is None, "it did not come so far"
        os.sched_yield()
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)

    code, output, _ = run_probe(LIFECYCLE, "--site", path)

    assert (code, line(output)) == (
        0, "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)")
