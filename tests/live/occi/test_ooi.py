"""check_vm_lifecycle and the read-only checks against ooi in front of a real Nova: verdicts, and nothing is left."""

from __future__ import annotations

import base64
import contextlib
import re
import signal
import subprocess

import pytest

from conformance.harnesses import of_site
from running import requests_in, run_probe
from vmprobe.core import handle
from vmprobe.core.clock import Clock
from vmprobe.core.errors import AuthRejected, GatewayFailed, NotFound
from vmprobe.core.model import Kind, ServerSpec

from ..openstack.test_lifecycle import left, line, quota
from .shared import ooi, ooi_site
from .test_pyssf import started

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
OK = "VM_LIFECYCLE OK - ooi: test VM ran and is gone in T s (active T s, network T s, storage T s)"


@pytest.fixture(scope="module")
def openstack():
    """The stack behind ooi."""
    return ooi()[0]


@pytest.fixture
def site(openstack, tmp_path):
    """Write the site file with other keys of [test vm]. The test fails if OpenStack still has anything of it afterwards."""
    yield lambda endpoint="", **options: str(ooi_site(tmp_path, endpoint, **options))
    assert left(openstack) == []


def test_ok_in_json_with_the_token_of_the_keystone_that_ooi_names(site, openstack, tmp_path):
    code, output, errors = run_probe(
        LIFECYCLE, "--site", site(), "--evidence", str(tmp_path / "evidence")
    )
    asked = requests_in(tmp_path / "evidence")

    assert (code, line(output), errors) == (0, OK, "")
    url, keystone = ooi()[1], openstack.cloud().auth_url
    assert asked[:5] == [
        f"GET {url}/-/",
        f"POST {keystone}/auth/tokens",
        f"GET {keystone}/auth/projects",
        f"POST {keystone}/auth/tokens",
        f"GET {url}/-/",
    ]
    (evidence,) = (tmp_path / "evidence").iterdir()
    assert openstack.cloud().member.password not in evidence.read_text()


@pytest.mark.parametrize("rendering", ["text/plain", "text/occi"])
def test_ok_in_text(site, rendering):
    code, output, errors = run_probe(LIFECYCLE, "--site", site(f"rendering = {rendering}"))

    assert (code, line(output), errors) == (0, OK, "")


@pytest.mark.parametrize("rendering", ["json", "text/plain", "text/occi"])
def test_user_data_and_a_key_reach_nova(site, openstack, tmp_path, rendering):
    (tmp_path / "cloud-config").write_text('#cloud-config\nhostname: "probe"\n')
    (tmp_path / "key.pub").write_text(
        f"ssh-ed25519 {base64.b64encode(KEY).decode()} probe@example.org\n"
    )
    path = site(
        f"rendering = {rendering}",
        **{"user data": str(tmp_path / "cloud-config"), "ssh key": str(tmp_path / "key.pub")},
    )
    with a_server(path, openstack) as (_, server):
        shown = openstack.api().get("compute", f"/servers/{server.id}")["server"]

    assert (
        base64.b64decode(shown["OS-EXT-SRV-ATTR:user_data"])
        == b'#cloud-config\nhostname: "probe"\n'
    )
    assert shown["key_name"]


@contextlib.contextmanager
def a_server(path, openstack):
    """(driver, a server that it has created) for a ``with`` block."""
    harness = of_site(path, Clock())
    driver, name = harness.driver, str(handle.new("live", 600, harness.deadline.clock.utc()))
    driver.connect()
    server = driver.create(ServerSpec(name, driver.resolve(harness.test_vm)))
    try:
        yield driver, server
    finally:
        driver.delete(server)
        openstack.api().wait_until(lambda: left(openstack) == [], 60, "not gone")


KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))


def test_a_token_that_is_no_longer_accepted_is_renewed_once_asked(site):
    driver = of_site(site(), Clock()).driver
    driver.connect()
    driver.http.add_secret_header("X-Auth-Token", "a-token-that-was-revoked")

    with pytest.raises(AuthRejected):
        driver.list(Kind.SERVER, "vmprobe-")
    driver.connect()

    assert driver.list(Kind.SERVER, "vmprobe-no-such") == []
    assert driver.endpoints() == [ooi()[1], ooi()[0].cloud().auth_url]


def test_a_fleet_is_a_request_for_each_member(site, tmp_path):
    code, output, _ = run_probe(
        LIFECYCLE,
        "--site",
        site(volume="none"),
        "--count",
        "5",
        "--evidence",
        str(tmp_path / "evidence"),
    )
    asked = requests_in(tmp_path / "evidence")

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - ooi: 5 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )
    assert len([request for request in asked if re.fullmatch(r"POST \S+/compute/", request)]) == 5


def test_a_server_whose_flavor_was_removed_is_not_gone(site, openstack):
    with contextlib.ExitStack() as servers:
        with a_flavor(openstack, "passing", 128):
            driver, server = servers.enter_context(a_server(site(flavor="passing"), openstack))
            assert driver.show(server).ref.id == server.id

        with pytest.raises(
            GatewayFailed,
            match=f"^show {server}: 404 Flavor .* could not be found.; it is listed all the same$",
        ):
            driver.show(server)
        assert [thing.ref for thing in driver.list(Kind.SERVER, server.name)] == [server]
    with pytest.raises(NotFound):
        driver.show(server)


@pytest.mark.parametrize(
    "test_vm, message",
    [
        ({"image": "no-such-image"}, "image: no os_tpl 'no-such-image' among blank (cause=image)"),
        ({"network": "no-such-network"}, "image: no network 'no-such-network' (cause=network)"),
        (
            {"flavor": "no-such-flavor"},
            "image: no resource_tpl 'no-such-flavor' among Flavor: nano, Flavor: small, Flavor: tiny (cause=image)",
        ),
    ],
)
def test_what_is_not_there_is_named(site, test_vm, message):
    code, output, _ = run_probe(LIFECYCLE, "--site", site(**test_vm))

    assert (code, line(output)) == (2, f"VM_LIFECYCLE CRITICAL - ooi: {message}")


@pytest.mark.parametrize("rendering", ["json", "text/plain", "text/occi"])
def test_a_refusal_is_in_ooi_s_words_with_the_request(site, rendering):
    code, output, _ = run_probe(
        LIFECYCLE, "--site", site(f"rendering = {rendering}", flavor="", volume="none")
    )

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ooi: submit: create server: 400 Missing OCCI types: "
        "'http://schemas.openstack.org/template/resource#'. (cause=gateway, REQUEST)",
    )


def test_a_server_that_failed_is_inactive_to_ooi_and_time_tells(site, openstack):
    with a_flavor(openstack, "huge", 900_000):
        code, output, _ = run_probe(
            LIFECYCLE, "--site", site(flavor="huge", volume="none", budget={"active": "5 s"})
        )

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ooi: active: server ID is inactive; not done within T s (cause=scheduler)",
    )


@contextlib.contextmanager
def a_flavor(openstack, name: str, memory: int):
    """A flavor with so many MiB for a ``with`` block; 900000 are more than any host has."""
    admin = openstack.api()
    made = admin.post(
        "compute", "/flavors", {"flavor": {"name": name, "ram": memory, "vcpus": 1, "disk": 1}}
    )["flavor"]["id"]
    try:
        yield
    finally:
        admin("DELETE", "compute", f"/flavors/{made}")


def test_a_full_quota_is_a_warning_in_novas_words(site, openstack):
    with quota(openstack, instances=0):
        code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"))

    assert code == 1
    assert re.match(
        r"VM_LIFECYCLE WARNING - ooi: submit: create server: 403 Quota exceeded for instances: "
        r"Requested 1, but already used 0.*\(cause=quota, REQUEST\)",
        line(output),
    )


def test_an_ooi_that_goes_away_is_told_with_what_it_took_along_and_the_next_run_settles_it(
    site, openstack, state_directory
):
    with a_flavor(openstack, "huge", 900_000):  # a server of it never becomes active
        running = started(
            site(flavor="huge", volume="none", budget={"deadline": "20 s", "reserve": "4 s"}),
            state_directory,
            '"event": "created", "id"',
        )
        openstack.processes.stop("ooi")
        output, _ = running.communicate(timeout=120)

        assert running.returncode == 2
        assert re.fullmatch(
            r"VM_LIFECYCLE CRITICAL - ooi: active: .+ \(cause=gateway\); left behind: server ID",
            line(output),
        ), output

    code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"))  # which starts ooi again
    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - ooi: test VM ran without storage and is gone in T s (active T s, network T s)",
    )


def test_a_server_that_never_comes_is_the_clouds_failure_and_what_was_made_is_gone(site, openstack):
    with a_flavor(openstack, "huge", 900_000):
        code, output, _ = run_probe(
            LIFECYCLE,
            "--site",
            site(flavor="huge", volume="none", budget={"deadline": "24 s", "reserve": "10 s"}),
        )

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ooi: active: server ID is inactive; not done within T s (cause=scheduler)",
    )


def test_a_wrong_password_is_critical_and_a_missing_one_is_ours(site, openstack):
    user = openstack.cloud().member.user
    code, output, _ = run_probe(
        LIFECYCLE, "--site", site(credentials=f"username = {user}\npassword = wrong-secret\n")
    )
    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ooi: auth: authentication: 401 The request you have "
        "made requires authentication. (cause=auth, REQUEST)",
    )

    code, output, _ = run_probe(LIFECYCLE, "--site", site(credentials=f"username = {user}\n"))
    assert (code, line(output)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - ooi: auth: no password, application credential, token or "
        "certificate among the credentials (cause=client)",
    )


def test_the_gateway_says_what_it_is(site):
    code, output, _ = run_probe("check_vm_gateway", "--site", site(), "--capabilities")

    assert code == 0, output
    assert re.match(
        r"VM_GATEWAY OK - ooi: OCCI ooi/1\.2\.0 OCCI/1\.1 OCCI/1\.2 answers in [\d.]+ s \(auth ",
        output,
    )
    assert re.search(
        r"^kinds +compute, ipreservation, network, networkinterface, storage, storagelink$",
        output,
        re.M,
    )


def test_what_a_sigkill_left_is_seen_and_settled_by_the_next_run(site, state_directory):
    path = site(volume="none")
    killed = started(path, state_directory, '"event": "created", "id"')
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)

    code, output, _ = run_probe("check_vm_state", "--site", path, "-v")
    assert re.search(r"^(active|inactive) .* vmprobe-live-\S+$", output, re.M), output
    code, output, _ = run_probe("check_vm_leftovers", "--site", path)
    assert (code, line(output)) == (
        0,
        "VM_LEFTOVERS OK - ooi: nothing is left behind (1 resource within its lease)",
    )

    code, output, _ = run_probe(LIFECYCLE, "--site", path)
    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - ooi: test VM ran without storage and is gone in T s (active T s, network T s)",
    )


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("creating", marks=pytest.mark.slow),
        "attaching",
        pytest.param("removing", marks=pytest.mark.slow),
    ],
)
def test_sigkill_is_settled_by_the_next_run(site, openstack, state_directory, moment):
    path = site()
    killed = (
        with_a_volume_attached(path, openstack, state_directory)
        if moment == "attaching"
        else started(
            path,
            state_directory,
            {"creating": '"kind": "server", "name"', "removing": '"event": "gone"'}[moment],
        )
    )
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL

    code, output, _ = run_probe(LIFECYCLE, "--site", path)
    assert (code, line(output)) == (0, OK)


def with_a_volume_attached(path, openstack, state_directory) -> subprocess.Popen:
    """A run whose volume is being attached or is attached. If a run is over before that was seen, another one is started."""
    member = openstack.api(openstack.cloud().member)
    for _ in range(10):
        run = started(path, state_directory, '"kind": "volume", "name"')
        while run.poll() is None:
            if {
                volume["status"] for volume in member.get("volumev3", "/volumes/detail")["volumes"]
            } & {"reserved", "attaching", "in-use"}:
                return run
        run.communicate(timeout=60)
    raise AssertionError("no volume was seen attached in ten runs")


@pytest.mark.slow
def test_sigterm_tears_down_and_is_unknown(site, state_directory):
    stopped = started(site(), state_directory, '"event": "created", "id"')
    stopped.terminate()
    output, _ = stopped.communicate(timeout=300)

    assert stopped.returncode == 3
    assert re.match(
        r"VM_LIFECYCLE UNKNOWN - ooi: (submit|active): interrupted by SIGTERM$", line(output)
    ), output


@pytest.mark.slow
def test_a_stage_outside_its_range_alerts(site):
    code, output, _ = run_probe(LIFECYCLE, "--site", site(volume="none"), "-c", "active=0.01")

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ooi: active T s is outside 0.01 (critical); test VM ran without storage and is gone in T s "
        "(active T s, network T s)",
    )
