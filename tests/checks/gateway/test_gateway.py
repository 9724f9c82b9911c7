"""check_vm_gateway: whole lines over the cloud in memory, and over real sockets and TLS on loopback."""

import json
import os
import re
import socket
import subprocess

import pytest

from certificates import Authority
from gateways.server import serving
from vmprobe.checks.gateway import command
from vmprobe.core.clock import Clock
from vmprobe.report import verdict

DAY = 86400


# --- a manager without a wire -------------------------------------------------------------------------------------

STEPS = "auth=0s;;;0 image=0s;;;0 list=0s;;;0 total=0s;;;0 version=0s;;;0"


def test_ok_when_every_step_is_good_and_nothing_was_created(site):
    assert site.probe("gateway") == (
        0,
        (
            "VM_GATEWAY OK - site: in-memory 1 answers in 0 s (auth 0 s, list 0 s, image 0 s) | "
            + STEPS
        ),
    )
    assert site.cloud.things == {}
    assert [words.split()[0] for words in site.cloud.log] == [
        "connect",
        "describe",
        "list",
        "list",
        "list",
        "resolve",
    ]


def test_critical_when_the_credential_is_rejected(site):
    site.set("endpoint", faults="auth-rejected")

    assert site.probe("gateway") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: auth: user probe is not accepted (cause=auth) | total=0s;;;0"
        ),
    )


def test_critical_when_the_image_is_missing(site):
    site.set("test vm", image="vmprobe-tset")

    assert site.probe("gateway") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: image: no image named 'vmprobe-tset' (cause=image) | "
            "auth=0s;;;0 list=0s;;;0 total=0s;;;0 version=0s;;;0"
        ),
    )


def test_critical_when_the_manager_fails_again_and_again(site):
    site.set("endpoint", faults="503@3,503@4,503@5")

    assert site.probe("gateway") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: list: 503 service unavailable (cause=gateway) | "
            "auth=0s;;;0 total=3s;;;0 version=0s;;;0"
        ),
    )


def test_one_failure_that_passes_is_waited_out_and_shows_as_time(site):
    site.set("endpoint", faults="503@3")

    assert site.probe("gateway", "-w", "list=1") == (
        1,
        (
            "VM_GATEWAY WARNING - site: list 1.5 s is outside 1 (warning); in-memory 1 answers in 1.5 s "
            "(auth 0 s, list 1.5 s, image 0 s) | auth=0s;;;0 image=0s;;;0 list=1.5s;1;;0 total=1.5s;;;0 version=0s;;;0"
        ),
    )


def test_unknown_when_the_time_is_over(site):
    site.set("endpoint", faults="hang@1,hang@2,hang@3", timeout="30 s")

    assert site.probe("gateway", "-t", "20") == (
        3,
        (
            "VM_GATEWAY UNKNOWN - site: auth: no answer within 20 s; the deadline of 20 s passed (cause=gateway) | total=20s;;;0"
        ),
    )


def test_critical_when_the_time_is_over_in_a_step_above_its_critical_range(site):
    site.set("endpoint", faults="hang@1,hang@2,hang@3", timeout="30 s")

    assert site.probe("gateway", "-t", "20", "-c", "auth=10") == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: auth: no answer within 20 s; the deadline of 20 s passed (cause=gateway) | total=20s;;;0"
        ),
    )


def test_a_site_can_map_a_cause_to_another_state(site):
    site.set("endpoint", faults="auth-rejected").set("verdict", auth="UNKNOWN")

    assert site.probe("gateway")[0] == 3


def test_capabilities_are_a_table_and_json(site, tmp_path):
    path = tmp_path / "gateway.json"
    state, output = site.probe("gateway", "--capabilities", "--json", str(path))

    assert (state, output.splitlines()[1:]) == (
        0,
        [
            "manager          in-memory",
            "volumes          yes",
            "console          yes",
            "metrics          yes",
            "snapshots        yes",
            "capacity         yes",
            "bulk             yes",
            "images           yes",
            "ports            no",
            "firewall rules   no",
            "metrics by name  cpu (when asked), disk_read (when asked), disk_write (when asked), net_in (when asked), "
            "net_out (when asked)",
            "version          1",
            "hypervisors      none",
            f"the JSON is in {path}",
        ],
    )
    document = json.loads(path.read_text())
    assert (document["state"], document["site"], document["certificates"]) == ("OK", "site", [])
    assert document["capabilities"]["hypervisors"] == ["none"]
    assert document["capabilities"]["ports"] is False
    assert [stage["stage"] for stage in document["stages"]] == ["auth", "version", "list", "image"]


def test_what_more_is_offered_is_asked_for_readers_only_and_last(site, tmp_path):
    for options, offers in (
        ((), 0),
        (("-v",), 0),
        (("--capabilities",), 1),
        (("--json", str(tmp_path / "g.json")), 1),
    ):
        before = len(site.cloud.log)
        assert site.probe("gateway", *options)[0] == 0
        asked = [words.split()[0] for words in site.cloud.log[before:]]
        assert (asked.count("offers"), asked[-1]) == (offers, "offers" if offers else "resolve")


def test_that_it_cannot_be_told_what_is_offered_is_a_note_and_no_verdict(site):
    site.set("endpoint", faults="403@7")

    state, output = site.probe("gateway", "--capabilities", "-v")

    assert state == 0
    assert "\nnote: what else it offers is not known: 403 not allowed\n" in output


def test_v_shows_the_steps_and_the_parts(site):
    assert site.probe("gateway", "-v")[1].splitlines()[1:] == [
        "a test VM would have image vmprobe-test, flavor tiny, network inside",
        "auth      0 s",
        "version   0 s",
        "list      0 s",
        "image     0 s",
        "requests 6",
    ]


# --- a manager behind a wire --------------------------------------------------------------------------------------


class Wired:
    """A site whose gateway is a real server; runs take real time, so durations are T in what they say."""

    def __init__(self, site, url):
        self.site = site.set(
            "endpoint", manager="gateways.driver", url=url, memory=site.url, timeout="5 s"
        )

    def set(self, section, **keys):
        self.site.set(section, **keys)
        return self

    def __call__(self, *options):
        said = command.main(["--site", str(self.site.write()), *options], clock=Clock()).verdict
        return said.state, plain(verdict.render("VM_GATEWAY", said))


def plain(text):
    """Text without what differs from run to run."""
    text = re.sub(r"(?<![\w.])\d+(\.\d+)? ?s\b", "Ts", text)
    text = re.sub(r"(skew=)Ts", r"\1Ss", text)
    return re.sub(r"(127\.0\.0\.1(?: port |:))\d+", r"\1PORT", text)


@pytest.fixture
def authority(tmp_path):
    (tmp_path / "ca").mkdir()
    return Authority(tmp_path / "ca")


def test_ok_over_http_with_the_servers_clock(site):
    with serving() as url:
        assert Wired(site, url)() == (
            0,
            (
                "VM_GATEWAY OK - site: test gateway 1 answers in Ts (auth Ts, list Ts, image Ts) | auth=Ts;;;0 http=Ts;;;0 "
                "image=Ts;;;0 list=Ts;;;0 skew=Ss;60;300;0 tcp=Ts;;;0 total=Ts;;;0 version=Ts;;;0"
            ),
        )


def test_critical_when_nobody_listens_and_it_is_no_matter_of_authentication(site):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    assert Wired(site, url)() == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: tcp: connect: 127.0.0.1 port PORT: connection refused (cause=gateway) | total=Ts;;;0"
        ),
    )


@pytest.mark.parametrize(
    "front, auth, line",
    [
        (503, 201, "http: GET /: 503 the service is out of order (cause=gateway)"),
        (200, 503, "auth: POST /tokens: 503 the service is out of order (cause=gateway)"),
        (200, 401, "auth: POST /tokens: 401 who are you? (cause=auth)"),
        (200, 403, "auth: POST /tokens: 403 who are you? (cause=auth)"),
    ],
)
def test_reachability_the_clouds_own_failure_and_a_rejected_credential_are_told_apart(
    site, front, auth, line
):
    with serving(front=front, auth=auth) as url:
        state, said = Wired(site, url)()

    assert (state, said.split(" | ")[0]) == (2, f"VM_GATEWAY CRITICAL - site: {line}")


@pytest.mark.parametrize("front", [300, 302, 401, 404, 405])
def test_what_a_gateway_answers_without_a_credential_does_not_matter_as_long_as_it_is_well(
    site, front
):
    with serving(front=front) as url:
        assert Wired(site, url)()[0] == 0


@pytest.mark.parametrize(
    "behind, state, words", [(100, 1, "60 (warning)"), (-1000, 2, "300 (critical)")]
)
def test_a_clock_that_is_wrong_alerts(site, behind, state, words):
    with serving(behind=behind) as url:
        found, said = Wired(site, url)()

    assert found == state
    assert re.match(
        rf"VM_GATEWAY {verdict.WORDS[state]} - site: skew Ts is outside {re.escape(words)}; test gateway",
        said,
    )


def test_without_a_date_the_clock_is_not_known_and_said_so(site):
    with serving(behind=None) as url:
        state, said = Wired(site, url)("-v")

    assert (state, "skew=" in said) == (0, False)
    assert "note: the server says no date: its clock is not known" in said.splitlines()


def test_a_service_of_the_catalogue_that_nobody_serves_is_critical(site):
    with serving() as url, socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
        closed.close()
        state, said = Wired(site, url).set(
            "endpoint", services=f"{url}/v2 http://127.0.0.1:{port}/v3"
        )()

    assert (state, said.split(" | ")[0]) == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: services: connect: 127.0.0.1 port PORT: connection refused (cause=gateway)"
        ),
    )


# --- certificates -------------------------------------------------------------------------------------------------


def test_ok_over_tls_with_every_certificate_of_the_chain(site, authority):
    with serving(authority.issue("server", days=100)) as url:
        wired = Wired(site, url).set("endpoint", ca=str(authority.ca))
        state, said = wired("-v", "-w", "tls_expires=600:", "-c", "tls_expires=60:")

    assert state == 0
    assert (
        "note: certificate of 127.0.0.1: /CN=server by /CN=test authority, ends in 100 d, for 127.0.0.1, localhost"
        in said
    )
    assert (
        "note: certificate of 127.0.0.1: /CN=test authority by /CN=test authority, ends in " in said
    )
    assert " tls=Ts;;;0 tls_expires=Ts;600:;60:;0 " in said


def test_warning_and_critical_when_a_certificate_is_about_to_end(site, authority):
    with serving(authority.issue("server", days=0.5)) as url:
        wired = Wired(site, url).set("endpoint", ca=str(authority.ca))

        assert re.match(
            r"VM_GATEWAY CRITICAL - site: tls_expires Ts is outside 259200: \(critical\); the certificate /CN=server "
            r"ends in 12 h; test gateway 1 answers in Ts ",
            wired()[1],
        )
        assert wired("-c", "tls_expires=60:", "-w", "tls_expires=86400:")[0] == 1


@pytest.mark.parametrize(
    "issue, words",
    [
        (dict(days=-1), "certificate has expired"),
        (
            dict(names=("127.0.0.2",)),
            "IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
    ],
)
def test_critical_when_the_certificate_is_not_to_be_accepted_and_its_dates_are_told(
    site, authority, issue, words
):
    with serving(authority.issue("server", **issue)) as url:
        state, said = Wired(site, url).set("endpoint", ca=str(authority.ca))("-v")

    assert (state, said.split(" | ")[0]) == (
        2,
        (
            f"VM_GATEWAY CRITICAL - site: tls: TLS: the certificate of 127.0.0.1 is not accepted: {words} (cause=gateway)"
        ),
    )
    assert "tls_expires=" in said
    assert "note: certificate of 127.0.0.1: /CN=server by /CN=test authority, end" in said


def test_critical_when_nobody_trusted_has_signed_the_certificate(site, authority, tmp_path):
    (tmp_path / "other").mkdir()
    with serving(authority.issue("server")) as url:
        state, said = Wired(site, url).set(
            "endpoint", ca=str(Authority(tmp_path / "other", "another").ca)
        )()

    assert (state, said.split(" | ")[0]) == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: tls: TLS: the certificate of 127.0.0.1 is not accepted: unable to get local issuer "
            "certificate (cause=gateway)"
        ),
    )


def _authorities(authority, directory):
    """(a directory as the IGTF's is, with this authority in it; the authority's hash, which names its files there)."""
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(authority.ca)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    found = directory / "certificates"
    found.mkdir()
    (found / f"{hashed}.0").symlink_to(authority.ca)
    return found, hashed


def test_a_directory_of_authorities_as_the_grid_has_it_is_trusted(site, authority, tmp_path):
    directory, hashed = _authorities(authority, tmp_path)
    (directory / f"{hashed}.signing_policy").write_text("access_id_CA X509 '/CN=test authority'\n")
    (directory / f"{hashed}.namespaces").write_text("# who may be named by whom\n")
    with serving(authority.issue("server", days=100)) as url:
        state, said = Wired(site, url).set("endpoint", ca=str(directory))(
            "-v", "-c", "tls_expires=60:", "-w", "tls_expires=60:"
        )

    assert state == 0
    assert "/CN=test authority by /CN=test authority" in said


def test_critical_when_the_authoritys_list_beside_it_has_the_certificate(site, authority, tmp_path):
    directory, hashed = _authorities(authority, tmp_path)
    revoked, good = authority.issue("server", days=100), authority.issue("other", days=100)
    (directory / f"{hashed}.r0").symlink_to(authority.revoke(revoked))

    def said_of(certificate):
        with serving(certificate) as url:
            return Wired(site, url).set("endpoint", ca=str(directory))(
                "-c", "tls_expires=60:", "-w", "tls_expires=60:"
            )

    state, said = said_of(revoked)
    assert (state, said.split(" | ")[0]) == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: tls: the certificate /CN=server is revoked by /CN=test authority (cause=gateway)"
        ),
    )
    assert said_of(good)[0] == 0


# --- credentials --------------------------------------------------------------------------------------------------


def _credentials(wired, directory, certificate):
    path = directory / "credentials.ini"
    path.write_text(f"[credentials]\ncertificate = {certificate}\n")
    os.chmod(path, 0o600)
    return wired.set("endpoint", credentials=str(path))


def test_warning_when_the_proxy_is_about_to_end(site, authority, tmp_path):
    with serving(authority.issue("server", days=100), ca=authority.ca) as url:
        wired = Wired(site, url).set("endpoint", ca=str(authority.ca))
        wired = _credentials(wired, tmp_path, authority.issue("robot", days=0.02, names=()))
        state, said = wired("-c", "tls_expires=60:", "-w", "tls_expires=60:")

    assert state == 1
    assert said.startswith(
        "VM_GATEWAY WARNING - site: cred_expires Ts is outside 3600: (warning); test gateway 1 answers in "
    )
    assert " cred_expires=Ts;3600:;;0 " in said


def test_unknown_when_the_proxy_has_ended_because_that_is_ours(site, authority, tmp_path):
    with serving(authority.issue("server", days=100), ca=authority.ca) as url:
        wired = _credentials(
            Wired(site, url).set("endpoint", ca=str(authority.ca)),
            tmp_path,
            authority.issue("robot", days=-1, names=()),
        )
        state, said = wired()

    assert state == 3
    assert re.match(
        r"VM_GATEWAY UNKNOWN - site: http: certificate \S+/robot.pem expired on .* UTC \(cause=client\) \| ",
        said,
    )


def test_unknown_when_the_server_wants_a_certificate_and_there_is_none(site, authority):
    with serving(authority.issue("server", days=100), ca=authority.ca) as url:
        state, said = Wired(site, url).set("endpoint", ca=str(authority.ca))()

    assert (state, said.split(" | ")[0]) == (
        3,
        (
            "VM_GATEWAY UNKNOWN - site: http: GET /: the server wants a client certificate (cause=client)"
        ),
    )
