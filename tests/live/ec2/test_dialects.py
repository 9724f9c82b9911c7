"""Eucalyptus' and Nimbus' dialects: whole runs over moto, behind a gateway that understands only these, and verifies signatures."""

from __future__ import annotations

import signal

import pytest

from running import run_probe

from . import moto, places
from .gateway import ACCESS, Gateway
from .probing import line, resource_ids, start_until

pytestmark = pytest.mark.live
DIALECTS = {  # manager and signature: (arguments of the gateway, keys of the site)
    "eucalyptus-4": (("/services/compute", 4, "eucalyptus", "eucalyptus"), {}),
    "eucalyptus-2": (("/services/Eucalyptus", 2, "", "eucalyptus"), {"signature": "2"}),
    "nimbus-2": (("/", 2, "", "nimbus"), {}),
}


@pytest.fixture(scope="module", params=DIALECTS)
def cloud(request):
    """(manager, gateway, keys of [endpoint]). A test fails if it leaves anything in moto."""
    arguments, endpoint = DIALECTS[request.param]
    moto.reset()
    with Gateway(moto.url(), *arguments) as gateway:
        before = resource_ids(gateway)
        yield request.param.partition("-")[0], gateway, endpoint
        assert resource_ids(gateway) - before == set()


def site(cloud, directory, credentials=""):
    """Write a site file for the cloud. Returns its path."""
    manager, gateway, endpoint = cloud
    url = gateway.url + ("/services/Eucalyptus" if "signature" in endpoint else "")
    return str(places.site_file(directory, url, manager, credentials, endpoint))


def run(cloud, directory, *options, credentials=""):
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", site(cloud, directory, credentials), *options
    )
    assert errors == ""
    return code, line(output)


def test_ok_when_the_vm_ran_and_is_gone(cloud, tmp_path):
    storage = ("ran", ", storage T s") if cloud[0] == "eucalyptus" else ("ran without storage", "")

    assert run(cloud, tmp_path) == (
        0,
        f"VM_LIFECYCLE OK - {cloud[0]}: test VM {storage[0]} and is gone in T s (active T s, network T s{storage[1]})",
    )


def test_a_fleet_is_told_apart_by_the_tokens_of_its_submission(cloud, tmp_path):
    cloud[1].calls.clear()
    code, output = run(cloud, tmp_path, "--count", "2")
    tokens = [
        form["ClientToken"].rpartition("-")[2]
        for action, form in cloud[1].calls
        if action == "RunInstances"
    ]

    assert code == 0, output
    assert len(tokens) == (1 if cloud[0] == "eucalyptus" else 2)


@pytest.mark.parametrize(
    "cloud, action",
    [
        ("eucalyptus-4", "CreateTags"),
        ("eucalyptus-4", "RunInstances"),
        ("eucalyptus-4", "TerminateInstances"),
        ("nimbus-2", "RunInstances"),
        ("nimbus-2", "TerminateInstances"),
    ],
    indirect=["cloud"],
)
def test_sigkill_is_settled_by_the_next_run(cloud, tmp_path, action):
    before = resource_ids(cloud[1])
    cloud[1].calls.clear()
    killed = start_until(site(cloud, tmp_path), cloud[1], action)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)

    code, output = run(cloud, tmp_path)

    assert code == 0, output
    assert resource_ids(cloud[1]) - before == set()


def test_a_wrong_key_is_rejected(cloud, tmp_path):
    code, output = run(cloud, tmp_path, credentials=f"access_key = {ACCESS}\nsecret_key = wrong\n")

    assert code == 2
    assert output.startswith(
        f"VM_LIFECYCLE CRITICAL - {cloud[0]}: auth: authentication: 401 SignatureDoesNotMatch: The request signature"
    )
