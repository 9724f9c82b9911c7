"""Real failures of an OpenStack in the middle of a run: the verdict, the cause, and what is left.

Each fault happens when the run has written a certain entry to its ledger. Afterwards the cloud works again, and the next
run must find and remove what the first one could not.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from running import PROBES, run_probe

from .bootstrap import Account, new_project, new_user
from .shared import a_server, application_credential, left, line, quota, site_file

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
RAN = "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)"
SHORT = {"deadline": "60 s", "reserve": "20 s"}
VOLUME, SERVER = (
    '"event": "created", "id": "[^"]*", "kind": "volume"',
    '"event": "created", "id": "[^"]*", "kind": "server"',
)


@pytest.fixture
def run_until(state_directory):
    """``run_until(path, mark)``: start check_vm_lifecycle, and wait until its ledger has ``mark``."""
    started = []

    def start(path, mark, *options):
        run = subprocess.Popen(
            [sys.executable, str(PROBES / LIFECYCLE), "--site", str(path), *options],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        started.append(run)
        end = time.monotonic() + 120
        while not any(
            re.search(mark, ledger.read_text())
            for ledger in state_directory.glob("ledger/openstack/*.ledger")
        ):
            assert time.monotonic() < end and run.poll() is None, (
                f"it did not come so far: {run.communicate()}"
            )
            os.sched_yield()
        return run

    yield start
    for run in started:
        run.kill()
        run.communicate()


def end_of(run):
    """(exit code, line 1) of a run that was started."""
    output, errors = run.communicate(timeout=300)
    assert errors == ""
    return run.returncode, line(output)


def settled_by_the_next_run(path):
    """After the cloud works again: leftovers are found and removed, and a new test VM runs."""
    code, output, _ = run_probe(LIFECYCLE, "--site", str(path))
    assert (code, line(output)) == (0, RAN)


# --- services that crash ------------------------------------------------------------------------------------------


def test_a_compute_service_that_crashes_in_the_middle(site, openstack, run_until):
    path = site(budget={**SHORT, "active": "15 s"})
    run = run_until(path, VOLUME)
    with openstack.without("nova-compute"):
        output = end_of(run)

    assert output == (
        2,
        "VM_LIFECYCLE CRITICAL - openstack: active: server ID is BUILD; not done within T s "
        "(cause=scheduler)",
    )  # not built yet, so Nova removes it by itself
    settled_by_the_next_run(site())


@pytest.mark.slow
def test_a_volume_service_that_crashes_in_the_middle(site, openstack, run_until):
    path = site(budget={**SHORT, "storage": "20 s"})
    openstack.stop("cinder-volume")
    try:
        output = end_of(run_until(path, SERVER))
    finally:
        openstack.start_again("cinder-volume")

    assert output == (
        2,
        "VM_LIFECYCLE CRITICAL - openstack: storage: volume ID is creating; not done within T s "
        "(cause=storage); left behind: volume ID",
    )
    settled_by_the_next_run(site())


@pytest.mark.slow
def test_a_keystone_that_is_gone_in_the_middle(site, openstack, run_until):
    run = run_until(site(budget=SHORT), SERVER)
    with openstack.without("keystone"):
        code, text = end_of(run)

    assert code == 2
    assert re.match(
        r"VM_LIFECYCLE CRITICAL - openstack: \w+: .*: 503 Keystone is temporarily unavailable "
        r"\(cause=gateway, REQUEST\); ",
        text,
    ), text
    assert left(openstack) != []  # otherwise no service could authenticate a removal
    settled_by_the_next_run(site())


# --- sessions that end --------------------------------------------------------------------------------------------


def test_a_token_that_is_revoked_in_the_middle_is_renewed_once(site, openstack, run_until):
    path = site()
    run = run_until(path, SERVER, "--evidence", os.path.dirname(path) + "/evidence")
    run.send_signal(signal.SIGSTOP)  # Nova must not be using the token itself, for an attachment
    member = openstack.api(openstack.cloud().member)
    member.wait_until(
        lambda: {server["status"] for server in servers_of(member)} == {"ACTIVE"}, 60, "not active"
    )
    openstack.api()(
        "PATCH",
        "identity",
        f"/users/{member.token['user']['id']}",  # revokes what was granted to the user
        json={"user": {"password": openstack.cloud().member.password}},
    )
    run.send_signal(signal.SIGCONT)

    assert end_of(run) == (0, RAN)
    (evidence,) = (file.read_text() for file in Path(path).parent.glob("evidence/*.json"))
    assert evidence.count("POST " + openstack.cloud().auth_url + "/auth/tokens") == 2


def servers_of(member):
    """The servers of the member's project."""
    return member.get("compute", "/servers/detail")["servers"]


@pytest.mark.slow
def test_a_credential_that_ends_in_the_middle_is_reported_with_the_leftovers(openstack, tmp_path):
    ends = datetime.now(timezone.utc) + timedelta(seconds=10)
    with application_credential(openstack, expires_at=ends.strftime("%Y-%m-%dT%H:%M:%S")) as made:
        path = site_file(
            tmp_path,
            openstack.cloud(),
            endpoint={"project": ""},
            budget=SHORT,
            credentials=f"application_credential_id = {made['id']}\napplication_credential_secret = {made['secret']}\n",
        )
        code, output, _ = run_probe(
            LIFECYCLE, "--site", str(path), "--json", str(tmp_path / "run.json")
        )

    assert code == 2
    assert re.match(
        r"VM_LIFECYCLE CRITICAL - openstack: \w+: authentication: 401 The request you have made requires "
        r"authentication\. \(cause=auth, REQUEST\); left behind: (volume|server) ",
        line(output),
    ), line(output)
    settled_by_the_next_run(site_file(tmp_path, openstack.cloud(), endpoint={"project": ""}))
    assert left(openstack) == []


@pytest.mark.slow
def test_a_project_that_is_deleted_in_the_middle(openstack, tmp_path, run_until):
    admin = openstack.api()
    with doomed_project(admin) as (account, project):
        run = run_until(
            site_file(tmp_path, openstack.cloud(), account=account, budget=SHORT), SERVER
        )
        admin("DELETE", "identity", f"/projects/{project}")
        code, text = end_of(run)

    assert code == 2
    assert re.match(
        r"VM_LIFECYCLE CRITICAL - openstack: \w+: authentication: 401 The request you have made requires "
        r"authentication\. \(cause=auth, REQUEST\); left behind: (volume|server) ",
        text,
    ), text


@contextlib.contextmanager
def doomed_project(admin):
    """A new project with one member; the administrators remove what is left in it."""
    project = new_project(admin, "doomed")
    user = new_user(admin, "doomed", "doomed-secret", project)
    (role,) = [
        role["id"] for role in admin.get("identity", "/roles")["roles"] if role["name"] == "member"
    ]
    admin("PUT", "identity", f"/projects/{project}/users/{user}/roles/{role}")
    try:
        yield Account("doomed", "doomed-secret", "doomed"), project
    finally:

        def servers():
            return admin.get("compute", f"/servers?all_tenants=1&project_id={project}")["servers"]

        def volumes():
            return admin.get("volumev3", f"/volumes/detail?all_tenants=1&project_id={project}")[
                "volumes"
            ]

        for server in servers():
            admin("DELETE", "compute", f"/servers/{server['id']}")
        admin.wait_until(lambda: not servers(), 120, "servers of the deleted project")
        admin.wait_until(
            lambda: all(volume["status"] == "available" for volume in volumes()),
            120,
            "its volumes are not free",
        )
        for volume in volumes():
            admin("DELETE", "volumev3", f"/volumes/{volume['id']}")
        admin.wait_until(lambda: not volumes(), 120, "volumes of the deleted project")
        admin("DELETE", "identity", f"/users/{user}")


# --- quotas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "web-1",
            r"403 Quota exceeded for instances: Requested 1, but already used 1 of 1 instances \(cause=quota, REQUEST\)",
        ),
        (
            "vmprobe-live-20260101t000000z-6-aaaaaaaa",
            r"403 Quota exceeded.* \(cause=quota, REQUEST\); 1 left behind by earlier runs fill the quota: .*",
        ),
    ],
    ids=["by-others", "by-our-own-leftovers"],
)
def test_a_full_quota_says_who_fills_it(site, openstack, name, message):
    with a_server(openstack, name), quota(openstack, instances=1):
        code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"))

    assert code == 1
    assert re.fullmatch(
        f"VM_LIFECYCLE WARNING - openstack: submit: create server: {message}", line(output)
    ), line(output)
