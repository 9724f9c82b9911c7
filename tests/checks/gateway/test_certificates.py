"""Certificates of the gateway, and of the client: who issued them, when they end, and whether they are revoked."""

import os
import re
import subprocess

import pytest

from certificates import Authority
from gateways.server import serving
from gateways.wired import Wired


def test_ok_over_tls_with_every_certificate_of_the_chain(site, authority):
    with serving(authority.issue("server", days=100)) as url:
        wired = Wired(site, url).set("endpoint", ca=str(authority.ca))
        state, output = wired("-v", "-w", "tls_expires=600:", "-c", "tls_expires=60:")

    assert state == 0
    assert (
        "note: certificate of 127.0.0.1: /CN=server by /CN=test authority, ends in 100 d, for 127.0.0.1, localhost"
        in output
    )
    assert (
        "note: certificate of 127.0.0.1: /CN=test authority by /CN=test authority, ends in "
        in output
    )
    assert " tls=Ts;;;0 tls_expires=Ts;600:;60:;0 " in output


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
    "issue, message",
    [
        (dict(days=-1), "certificate has expired"),
        (
            dict(names=("127.0.0.2",)),
            "IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
    ],
)
def test_critical_when_the_certificate_is_not_accepted_and_its_dates_are_shown(
    site, authority, issue, message
):
    with serving(authority.issue("server", **issue)) as url:
        state, output = Wired(site, url).set("endpoint", ca=str(authority.ca))("-v")

    assert (state, output.split(" | ")[0]) == (
        2,
        (
            f"VM_GATEWAY CRITICAL - site: tls: TLS: the certificate of 127.0.0.1 is not accepted: {message} (cause=gateway)"
        ),
    )
    assert "tls_expires=" in output
    assert "note: certificate of 127.0.0.1: /CN=server by /CN=test authority, end" in output


def test_critical_when_nobody_trusted_has_signed_the_certificate(site, authority, tmp_path):
    (tmp_path / "other").mkdir()
    with serving(authority.issue("server")) as url:
        state, output = Wired(site, url).set(
            "endpoint", ca=str(Authority(tmp_path / "other", "another").ca)
        )()

    assert (state, output.split(" | ")[0]) == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: tls: TLS: the certificate of 127.0.0.1 is not accepted: unable to get local issuer "
            "certificate (cause=gateway)"
        ),
    )


def _authorities(authority, directory):
    """Make a directory of CAs like the IGTF's. Returns it, and the hash of this CA, which its file names begin with."""
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(authority.ca)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    certificates = directory / "certificates"
    certificates.mkdir()
    (certificates / f"{hashed}.0").symlink_to(authority.ca)
    return certificates, hashed


def test_a_directory_of_authorities_as_the_grid_has_it_is_trusted(site, authority, tmp_path):
    directory, hashed = _authorities(authority, tmp_path)
    (directory / f"{hashed}.signing_policy").write_text("access_id_CA X509 '/CN=test authority'\n")
    (directory / f"{hashed}.namespaces").write_text("# who may be named by whom\n")
    with serving(authority.issue("server", days=100)) as url:
        state, output = Wired(site, url).set("endpoint", ca=str(directory))(
            "-v", "-c", "tls_expires=60:", "-w", "tls_expires=60:"
        )

    assert state == 0
    assert "/CN=test authority by /CN=test authority" in output


def test_critical_when_the_authoritys_list_beside_it_has_the_certificate(site, authority, tmp_path):
    directory, hashed = _authorities(authority, tmp_path)
    revoked, good = authority.issue("server", days=100), authority.issue("other", days=100)
    (directory / f"{hashed}.r0").symlink_to(authority.revoke(revoked))

    def said_of(certificate):
        with serving(certificate) as url:
            return Wired(site, url).set("endpoint", ca=str(directory))(
                "-c", "tls_expires=60:", "-w", "tls_expires=60:"
            )

    state, output = said_of(revoked)
    assert (state, output.split(" | ")[0]) == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: tls: the certificate /CN=server is revoked by /CN=test authority (cause=gateway)"
        ),
    )
    assert said_of(good)[0] == 0


def _credentials(wired, directory, certificate):
    path = directory / "credentials.ini"
    path.write_text(f"[credentials]\ncertificate = {certificate}\n")
    os.chmod(path, 0o600)
    return wired.set("endpoint", credentials=str(path))


def test_warning_when_the_proxy_is_about_to_end(site, authority, tmp_path):
    with serving(authority.issue("server", days=100), ca=authority.ca) as url:
        wired = Wired(site, url).set("endpoint", ca=str(authority.ca))
        wired = _credentials(wired, tmp_path, authority.issue("robot", days=0.02, names=()))
        state, output = wired("-c", "tls_expires=60:", "-w", "tls_expires=60:")

    assert state == 1
    assert output.startswith(
        "VM_GATEWAY WARNING - site: cred_expires Ts is outside 3600: (warning); test gateway 1 answers in "
    )
    assert " cred_expires=Ts;3600:;;0 " in output


def test_unknown_when_our_own_proxy_has_expired(site, authority, tmp_path):
    with serving(authority.issue("server", days=100), ca=authority.ca) as url:
        wired = _credentials(
            Wired(site, url).set("endpoint", ca=str(authority.ca)),
            tmp_path,
            authority.issue("robot", days=-1, names=()),
        )
        state, output = wired()

    assert state == 3
    assert re.match(
        r"VM_GATEWAY UNKNOWN - site: http: certificate \S+/robot.pem expired on .* UTC \(cause=client\) \| ",
        output,
    )


def test_unknown_when_the_server_requires_a_certificate_and_we_have_none(site, authority):
    with serving(authority.issue("server", days=100), ca=authority.ca) as url:
        state, output = Wired(site, url).set("endpoint", ca=str(authority.ca))()

    assert (state, output.split(" | ")[0]) == (
        3,
        (
            "VM_GATEWAY UNKNOWN - site: http: GET /: the server wants a client certificate (cause=client)"
        ),
    )
