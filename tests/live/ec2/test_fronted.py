"""check_vm_lifecycle over EC2's API against a real OpenStack: ec2-api before Keystone, Nova, Neutron and Cinder."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

from running import PROBES, run_probe

from ..openstack.shared import left, quota
from ..openstack.test_lifecycle import no_compute_service
from . import fronted
from .probing import start_until
from .relay import Relay

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
OK = "VM_LIFECYCLE OK - ec2-api: test VM ran and is gone in T s (active T s, network T s, storage T s)"


@pytest.fixture(scope="module")
def front():
    return fronted.front()


@pytest.fixture
def site(front, tmp_path):
    """Write the site file. A test fails if it leaves anything in the services; the next test does not."""
    before = left(front.stack)
    yield lambda **options: str(fronted.site_file(tmp_path, front, **options))
    assert [thing for thing in left(front.stack) if thing not in before] == []


def line(output):
    """The first line without perfdata; durations as T, ids as ID."""
    text = re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0])
    text = re.sub(r"\breq-(?:[0-9a-f-]{36}\b|[0-9a-f]{8}\.\.\.)", "REQUEST", text)
    return re.sub(r"\b(i|vol|eni)-[0-9a-f]{8}\b", r"\1-ID", text)


def run(path, *options):
    code, output, errors = run_probe(LIFECYCLE, "--site", path, *options)
    assert errors == ""
    return code, line(output)


def test_ok_when_the_vm_ran_and_is_gone(site):
    assert run(site()) == (0, OK)


def test_ok_with_signature_version_2_verified_by_keystone(site):
    assert run(site(endpoint={"signature": "2"}, volume="none")) == (
        0,
        "VM_LIFECYCLE OK - ec2-api: test VM ran without storage and is gone in T s (active T s, network T s)",
    )


def test_a_fleet_of_five_is_one_submission(site):
    assert run(site(volume="none"), "--count", "5") == (
        0,
        "VM_LIFECYCLE OK - ec2-api: 5 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )


def test_no_room_is_a_server_in_error(site, front):
    with no_compute_service(front.stack):
        code, output = run(site(volume="none", **{"availability zone": ""}))

    assert (code, output) == (
        2,
        "VM_LIFECYCLE CRITICAL - ec2-api: active: server i-ID is error (cause=scheduler)",
    )


def test_a_full_quota_is_a_warning_in_novas_words(site, front):
    with quota(front.stack, instances=0):
        code, output = run(site(volume="none"))

    assert code == 1
    assert re.match(
        r"VM_LIFECYCLE WARNING - ec2-api: submit: create server: 403 Forbidden: Quota exceeded for instances: Requested 1, "
        r"but already used 0.*\(cause=quota, (REQUEST|req-[0-9a-f]{8}\.\.\.)\)",
        output,
    )


@pytest.mark.parametrize(
    "test_vm, message",
    [
        ({"image": "no-such-image"}, "image: no image 'no-such-image' (cause=image)"),
        (
            {"network": "subnet-00000000"},
            "image: network subnet-00000000: 400 InvalidSubnetID.NotFound: The subnet ID 'subnet-00000000' does"
            " not exist (cause=network, REQUEST)",
        ),
    ],
)
def test_what_is_not_there_is_named(site, test_vm, message):
    assert run(site(**test_vm)) == (2, f"VM_LIFECYCLE CRITICAL - ec2-api: {message}")


def test_a_wrong_secret_is_rejected_by_keystone(site, front):
    assert run(site(credentials=f"access_key = {front.access}\nsecret_key = wrong\n")) == (
        2,
        "VM_LIFECYCLE CRITICAL - ec2-api: auth: authentication: 401 AuthFailure: UNAUTHORIZED (cause=auth, REQUEST)",
    )


def test_sigkill_is_settled_by_the_next_run(site, state_directory):
    path = site()
    killed = subprocess.Popen(
        [sys.executable, str(PROBES / LIFECYCLE), "--site", path], stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + 120
    while not any(
        _made(ledger.read_text()) for ledger in state_directory.glob("ledger/ec2-api/*.ledger")
    ):
        assert time.monotonic() < end and killed.poll() is None, "it did not come so far"
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)

    assert run(path) == (0, OK)


@pytest.mark.parametrize("action", ["RunInstances", "TerminateInstances"])
def test_sigkill_at_a_call_is_settled_by_the_next_run(site, front, action):
    with Relay(front, "/", 4, "RegionOne", "ec2-api") as gateway:
        killed = start_until(site(endpoint={"url": gateway.url}), gateway, action)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)

        code, output = run(site(endpoint={"url": gateway.url}, volume="none"))

    assert code == 0, output


def _made(ledger):
    """Whether the ledger has the ids of a server and a volume."""
    rows = [row for row in ledger.splitlines() if '"event": "created"' in row]
    return all(any(f'"kind": "{kind}"' in row for row in rows) for kind in ("server", "volume"))
