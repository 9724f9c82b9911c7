"""check_vm_lifecycle against pyssf's OCCI, in front of a small cloud of ours that can fail: every verdict, and nothing is left."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest
import requests

from certificates import Authority
from running import PROBES, run_probe

from ..openstack.test_lifecycle import line
from .shared import PASSWORD, USER, pyssf, pyssf_site

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
OK = (
    "VM_LIFECYCLE OK - pyssf: test VM ran and is gone in T s (active T s, network T s, storage T s)"
)


@pytest.fixture(scope="module")
def well():
    """The URL of a server without faults."""
    with pyssf() as url:
        yield url


def left(url: str) -> list:
    """The locations of what the server has. Without interfaces: pyssf keeps that of a compute that it has refused."""
    rows = []
    for kind in ("compute", "storage", "storage/link"):
        answer = requests.get(
            f"{url}/{kind}/", auth=(USER, PASSWORD), headers={"Accept": "text/uri-list"}, timeout=30
        )
        assert answer.status_code == 200
        rows += [row for row in answer.text.splitlines() if not row.startswith("#")]
    return rows


@pytest.mark.parametrize("rendering", ["auto", "text/plain", "text/occi"])
def test_ok_when_the_vm_ran_and_is_gone(well, tmp_path, rendering):
    site = pyssf_site(tmp_path, well, f"rendering = {rendering}")

    code, output, errors = run_probe(LIFECYCLE, "--site", str(site))

    assert (code, line(output), errors) == (0, OK, "")
    assert left(well) == []


def test_ok_with_a_certificate_at_a_server_that_calls_itself_http(tmp_path):
    authority = Authority(tmp_path)
    access = ("--tls", str(authority.issue("server")), str(authority.ca))
    with pyssf(access=access) as url:
        site = pyssf_site(
            tmp_path, url, f"ca = {authority.ca}", f"certificate = {authority.issue('probe')}\n"
        )
        code, output, errors = run_probe(LIFECYCLE, "--site", str(site))
        assert (code, line(output), errors) == (0, OK, "")

        site = pyssf_site(
            tmp_path,
            url,
            f"ca = {authority.ca}",
            f"certificate = {authority.issue('old', days=-1)}\n",
        )
        code, output, _ = run_probe(LIFECYCLE, "--site", str(site))
        assert code == 3
        assert re.match(
            r"VM_LIFECYCLE UNKNOWN - pyssf: auth: certificate \S+/old.pem expired on .* UTC \(cause=client\)",
            output,
        )


def test_a_fleet_runs_and_is_gone(well, tmp_path):
    code, output, _ = run_probe(
        LIFECYCLE, "--site", str(pyssf_site(tmp_path, well)), "--count", "5"
    )

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - pyssf: 5 test VMs ran and are gone in T s (active T s, network T s, storage T s)",
    )
    assert left(well) == []


@pytest.mark.parametrize(
    "test_vm, code, message",
    [
        (
            {"image": "nowhere"},
            2,
            "CRITICAL - pyssf: image: no os_tpl 'nowhere' among twin, twin, vmprobe-test (cause=image)",
        ),
        (
            {"image": "twin"},
            3,
            "UNKNOWN - pyssf: image: [test vm] image: 'twin' are other, another: name one (cause=client)",
        ),
        (
            {"flavor": "tiny"},
            2,
            "CRITICAL - pyssf: image: no resource_tpl 'tiny' among Small, with 1 CPU (cause=image)",
        ),
        (
            {"network": "nowhere"},
            2,
            "CRITICAL - pyssf: image: no network 'nowhere' (cause=network)",
        ),
        (
            {"ssh key": "/nowhere"},
            3,
            "UNKNOWN - pyssf: image: [test vm] ssh key: the endpoint has no mixin for it (cause=client)",
        ),
        (
            {"start": "no"},
            2,
            "CRITICAL - pyssf: active: server ID is inactive; not done within T s (cause=scheduler)",
        ),
    ],
)
def test_what_is_not_there_or_not_right_is_named(well, tmp_path, test_vm, code, message):
    site = pyssf_site(tmp_path, well, budget={"active": "1 s"}, **test_vm)

    ended, output, _ = run_probe(LIFECYCLE, "--site", str(site))

    assert (ended, line(output)) == (code, f"VM_LIFECYCLE {message}")
    assert left(well) == []


@pytest.mark.parametrize("image", ["vmprobe_test", "http://example.org/occi/os#vmprobe_test"])
def test_an_image_is_its_term_or_its_full_identifier_too(well, tmp_path, image):
    site = pyssf_site(
        tmp_path, well, image=image, flavor="http://example.org/occi/flavor#small", volume="none"
    )

    assert line(run_probe(LIFECYCLE, "--site", str(site))[1]) == (
        "VM_LIFECYCLE OK - pyssf: test VM ran without storage and is gone in T s (active T s, network T s)"
    )


@pytest.mark.parametrize(
    "fault, budget, code, message",
    [
        (
            "quota",
            {},
            1,
            "WARNING - pyssf: submit: create server: 403 Quota exceeded: limit of 0 reached for compute (cause=quota)",
        ),
        (
            "breaks",
            {},
            2,
            "CRITICAL - pyssf: active: server ID is error: no host has room (cause=scheduler)",
        ),
        (
            "no-address",
            {"network": "1 s"},
            2,
            "CRITICAL - pyssf: network: server ID has no address; not done within T s (cause=network)",
        ),
        (
            "never-online",
            {"storage": "1 s"},
            2,
            "CRITICAL - pyssf: storage: volume ID is offline; not done within T s (cause=storage)",
        ),
        (
            "never-linked",
            {"storage": "6 s"},
            2,
            "CRITICAL - pyssf: storage: volume ID is online, not attached to server ID; not done within T s (cause=storage)",
        ),
        (
            "no-address",
            {"deadline": "20 s", "reserve": "6 s", "network": "60 s"},
            2,
            "CRITICAL - pyssf: network: server ID has no address; not done within T s (cause=network)",
        ),
    ],
)
def test_a_fault_is_told_in_the_servers_words_and_nothing_is_left(
    tmp_path, fault, budget, code, message
):
    with pyssf(fault) as url:
        site = pyssf_site(tmp_path, url, budget=budget)
        ended, output, _ = run_probe(LIFECYCLE, "--site", str(site))

        assert (ended, line(output)) == (code, f"VM_LIFECYCLE {message}")
        assert left(url) == []


def test_what_cannot_be_removed_is_a_warning_and_named(tmp_path):
    with pyssf("undying") as url:
        site = pyssf_site(tmp_path, url, budget={"deadline": "6 s", "reserve": "3 s"})
        code, output, _ = run_probe(LIFECYCLE, "--site", str(site))

        assert (code, line(output)) == (
            1,
            "VM_LIFECYCLE WARNING - pyssf: gone: server ID: deletion not confirmed (cause=teardown)",
        )
        assert "leftovers=1;" in output
        assert [re.sub(r"[0-9a-f-]{36}", "ID", path) for path in left(url)] == [f"{url}/compute/ID"]


def test_a_404_is_not_gone_as_long_as_the_collection_has_it(tmp_path):
    with pyssf("forgotten") as url:
        site = pyssf_site(tmp_path, url, budget={"deadline": "6 s", "reserve": "3 s"})
        code, output, _ = run_probe(LIFECYCLE, "--site", str(site))

    assert code == 2
    assert line(output).startswith(
        "VM_LIFECYCLE CRITICAL - pyssf: active: show server ID: 404 the flavor is not found; "
        "it is listed all the same (cause=gateway)"
    )


def test_a_wrong_password_is_critical_and_a_missing_one_is_ours(well, tmp_path):
    code, output, _ = run_probe(
        LIFECYCLE,
        "--site",
        str(pyssf_site(tmp_path, well, credentials=f"username = {USER}\npassword = wrong\n")),
    )
    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - pyssf: auth: query interface: 401 who are you? (cause=auth)",
    )

    site = pyssf_site(tmp_path, well, credentials=f"username = {USER}\n")
    code, output, _ = run_probe(LIFECYCLE, "--site", str(site))
    assert (code, line(output)) == (
        3,
        'VM_LIFECYCLE UNKNOWN - pyssf: auth: the endpoint wants credentials that it was not given: Basic realm="occi" (cause=client)',
    )


def test_a_draft_of_json_is_not_taken_for_the_standard(well, tmp_path):
    code, output, _ = run_probe(
        LIFECYCLE, "--site", str(pyssf_site(tmp_path, well, "rendering = json"))
    )

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - pyssf: auth: query interface: its JSON is not as GFD.226 has it; "
        "'rendering' can be text/plain (cause=gateway)",
    )


@pytest.mark.parametrize(
    "ranges, code, message",
    [
        (("-w", "total=0.1"), 1, "WARNING - pyssf: total T s is outside 0.1 (warning)"),
        (("-c", "active=0.01"), 2, "CRITICAL - pyssf: active T s is outside 0.01 (critical)"),
    ],
)
def test_a_range_alerts(well, tmp_path, ranges, code, message):
    ended, output, _ = run_probe(LIFECYCLE, "--site", str(pyssf_site(tmp_path, well)), *ranges)

    assert (ended, line(output)) == (
        code,
        f"VM_LIFECYCLE {message}; test VM ran and is gone in T s (active T s, network T s, storage T s)",
    )


def test_an_endpoint_that_goes_away_is_told_with_what_it_took_along(tmp_path, state_directory):
    with pyssf() as url:
        site = pyssf_site(
            tmp_path, url, start="no", volume="none", budget={"deadline": "10 s", "reserve": "2 s"}
        )
        running = started(site, state_directory, '"event": "created", "id"')
    output, _ = running.communicate(timeout=120)

    assert running.returncode == 2
    assert re.fullmatch(
        r"VM_LIFECYCLE CRITICAL - pyssf: active: .+ \(cause=gateway\); left behind: server ID",
        line(output),
    ), output


def test_sigterm_tears_down_and_is_unknown(well, tmp_path, state_directory):
    site = pyssf_site(tmp_path, well, start="no")
    running = started(site, state_directory, '"event": "created", "id"')
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=60)

    assert running.returncode == 3
    assert line(output).startswith("VM_LIFECYCLE UNKNOWN - pyssf: ")
    assert left(well) == []


@pytest.mark.parametrize(
    "mark", ['"kind": "volume", "name"', '"kind": "server", "name"', '"event": "created", "id"']
)
def test_sigkill_is_settled_by_the_next_run(well, tmp_path, state_directory, mark):
    site = pyssf_site(tmp_path, well)
    killed = started(site, state_directory, mark)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)

    code, output, _ = run_probe(LIFECYCLE, "--site", str(site))

    assert (code, line(output)) == (0, OK)
    assert left(well) == []


def started(site, state_directory, mark: str) -> subprocess.Popen:
    """A run whose ledger has this mark."""
    run = subprocess.Popen(
        [sys.executable, str(PROBES / LIFECYCLE), "--site", str(site)],
        stdout=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not any(
        mark in ledger.read_text() for ledger in state_directory.glob("ledger/*/*.ledger")
    ):
        assert time.monotonic() < end and run.poll() is None, "it did not come so far"
        time.sleep(0.02)
    return run
