"""Whom TLS trusts, and whose fault it is where it fails."""

import os
import socket
import ssl
import subprocess
import threading
import time

import pytest

from asking import LATE, server_side, told
from certificates import Authority
from private import written
from rawserver import Server, reply
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Unreachable,
)
from vmprobe.transport import x509


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_site_is_trusted_by_its_own_ca_whatever_the_environment_says(
    host, serve, http, authority, monkeypatch
):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
    monkeypatch.setenv("CURL_CA_BUNDLE", os.devnull)

    assert http(f"https://{host}:{server.port}", ca=str(authority.ca)).get("x").json() == {}


def test_a_ca_directory_is_of_hashes(serve, http, authority, tmp_path):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    directory = tmp_path / "certificates"
    directory.mkdir()
    (directory / "ca.pem").write_bytes(authority.ca.read_bytes())

    error = told(ClientError, http(server, ca=str(directory)).get)
    subprocess.run(["openssl", "rehash", str(directory)], check=True, capture_output=True)

    assert str(error) == (
        f"ca {directory}: no certificate in it has a hash for its name; 'openssl rehash' makes them"
    )
    assert http(server, ca=str(directory)).get().json() == {}


BAD_SERVERS = {
    "expired": (dict(days=-1, since=-9), "certificate has expired"),
    "of-tomorrow": (dict(days=9, since=3), "certificate is not yet valid"),
    "of-another-name": (
        dict(names=("elsewhere.example.org",)),
        "IP address mismatch, certificate is not valid for '127.0.0.1'",
    ),
}


@pytest.mark.parametrize("case", BAD_SERVERS)
def test_a_servers_bad_certificate_is_the_clouds_fault_in_openssls_words(
    case, serve, http, authority
):
    words, said = BAD_SERVERS[case]
    server = serve(reply(200, "{}"), tls=server_side(authority.issue(case, **words)))
    asking = http(server, ca=str(authority.ca))
    asking.add_secret_header("X-Auth-Token", "s3cret-token")

    error = told(CloudError, asking.get, "x")

    assert str(error) == f"GET /x: the certificate of 127.0.0.1 is not accepted: {said}"
    assert error.cause == "gateway"
    assert server.requests == []


def test_a_server_of_an_unknown_authority_is_not_spoken_to(serve, http, authority, tmp_path):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    other = Authority(tmp_path, "another authority")

    for ca in (str(other.ca), None):
        assert str(told(CloudError, http(server, ca=ca).get)) == (
            "GET /: the certificate of 127.0.0.1 is not accepted: unable to get local issuer certificate"
        )
    assert server.requests == []


def test_a_server_without_tls_is_unreachable(serve, http):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def speak():
            connection, _ = plain.accept()
            connection.sendall(reply(400))
            connection.recv(9999)
            connection.close()

        threading.Thread(target=speak, daemon=True).start()
        error = told(Unreachable, http("https://127.0.0.1:%d" % plain.getsockname()[1]).get)

    assert (str(error), error.sent) == ("GET /: no TLS: wrong version number", False)


def test_a_handshake_that_hangs_is_not_waited_for(http):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = told(
            Unreachable, http("https://127.0.0.1:%d" % silent.getsockname()[1], timeout=0.3).get
        )

    assert (str(error), error.sent) == ("GET /: no connection within 0.3 s", False)


def test_a_handshake_has_only_the_time_that_connecting_left(http, monkeypatch):
    """A proxy takes two thirds of the time for its answer, and then says nothing in the handshake."""

    def proxy(connection):
        threading.Event().wait(0.4)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        while connection.recv(9999):
            pass

    with Server(lambda request: proxy) as tunnel:
        monkeypatch.setenv("https_proxy", tunnel.url)
        began = time.monotonic()
        error = told(Unreachable, http("https://cloud.example.org", timeout=0.6).get)

    assert (str(error), error.sent, time.monotonic() - began < 0.9) == (
        "GET /: no connection within 0.6 s",
        False,
        True,
    )


def test_an_answer_over_tls_that_drips_is_bounded_too(serve, http, authority):
    server = serve(LATE["drips-its-body"], tls=server_side(authority.issue("server")))

    error = told(Unreachable, http(server, ca=str(authority.ca), timeout=0.5).get, "x")

    assert str(error) == "GET /x: no whole answer within 0.5 s"


def test_the_manager_cannot_send_us_from_https_to_http(http):
    error = told(
        CloudError, http("https://keystone.example.org").at, "http://nova.example.org/v2.1"
    )

    assert str(error) == (
        "the manager names http://nova.example.org/v2.1, which is not https as "
        "https://keystone.example.org is: not used"
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_shown_and_a_proxy_in_one_file_too(version, serve, http, authority):
    server = serve(
        reply(200, "{}"), tls=server_side(authority.issue("server"), authority.ca, version)
    )
    user = authority.issue("user", names=())
    chained = authority.issue("chained", names=(), under=user)

    for certificate in (user, chained):
        assert http(server, ca=str(authority.ca), certificate=str(certificate)).get().json() == {}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_the_server_does_not_accept_is_rejected(
    version, serve, http, authority, tmp_path
):
    server = serve(
        reply(200, "{}"), tls=server_side(authority.issue("server"), authority.ca, version)
    )
    stranger = Authority(tmp_path, "another authority").issue("stranger", names=())

    error = told(AuthRejected, http(server, ca=str(authority.ca), certificate=str(stranger)).get)

    assert str(error) == "GET /: our certificate is not accepted: tlsv1 alert unknown ca"
    assert server.requests == []


OURS = {
    "ca-not-there": (dict(ca="{}/none.pem"), "ca {}/none.pem: no such file or directory"),
    "ca-not-pem": (dict(ca="{}/junk.pem"), "ca {}/junk.pem: there is no PEM certificate in it"),
    "certificate-not-there": (
        dict(certificate="{}/none.pem"),
        "certificate {}/none.pem: No such file or directory",
    ),
    "certificate-not-pem": (
        dict(certificate="{}/junk.pem"),
        "certificate {}/junk.pem: there is no PEM certificate in it",
    ),
    "certificate-without-key": (
        dict(certificate="{}/ca.pem"),
        "certificate {}/ca.pem: this is no PEM certificate with its key",
    ),
    "certificate-with-anothers-key": (
        dict(certificate="{}/one.pem", key="{}/two.pem"),
        "certificate {}/one.pem with key {}/two.pem: the key does not belong to the certificate",
    ),
    "certificate-locked": (
        dict(certificate="{}/locked.pem"),
        "the key of certificate {}/locked.pem is encrypted, and nobody is here to give its password",
    ),
}


@pytest.mark.parametrize("case", OURS)
def test_what_is_wrong_with_our_own_files_is_our_fault_and_nothing_is_sent(
    case, http, authority, serve
):
    server, directory = (
        serve(reply(200, "{}"), tls=server_side(authority.issue("server"))),
        authority.directory,
    )
    (directory / "junk.pem").write_text("-----BEGIN JUNK-----")
    authority.issue("one"), authority.issue("two"), authority.issue("locked", password=b"s3cret")
    words, said = OURS[case]
    words = {
        "ca": str(authority.ca),
        **{name: value.format(directory) for name, value in words.items()},
    }

    error = told(ClientError, http(server, **words).get)

    assert str(error) == said.replace("{}", str(directory))
    assert server.connections == 0


def test_a_private_key_that_others_can_read_is_refused_and_a_certificate_alone_is_not(
    http, authority, serve, tmp_path
):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    both = authority.issue("both")
    key = written(tmp_path / "key.pem", both.read_bytes(), 0o640)
    alone = written(
        tmp_path / "alone.pem", x509.pem(str(both)).split(b"-----BEGIN PRIVATE KEY-----")[0], 0o644
    )
    both.chmod(0o644)

    assert str(
        told(ClientError, http(server, ca=str(authority.ca), certificate=str(both)).get)
    ) == (f"certificate {both}: has mode 0644: others than its owner have access; chmod 0600 it")
    assert str(
        told(
            ClientError,
            http(server, ca=str(authority.ca), certificate=str(alone), key=str(key)).get,
        )
    ) == (f"key {key}: has mode 0640: others than its owner have access; chmod 0600 it")
    assert server.connections == 0
    key.chmod(0o600)
    http(server, ca=str(authority.ca), certificate=str(alone), key=str(key)).get()


@pytest.mark.parametrize("word", ["ca", "certificate", "key"])
def test_a_pipe_or_directory_where_a_file_was_meant_is_not_waited_for(
    word, http, authority, serve, tmp_path
):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    os.mkfifo(tmp_path / "pipe", 0o600)
    ours = {"ca": str(authority.ca), "certificate": str(authority.issue("client"))}

    assert str(told(ClientError, http(server, **{**ours, word: f"{tmp_path}/pipe"}).get)) == (
        f"{word} {tmp_path}/pipe: is not a regular file"
    )
    if word != "ca":  # there a directory is right
        assert str(told(ClientError, http(server, **{**ours, word: str(tmp_path)}).get)) == (
            f"{word} {tmp_path}: is not a regular file"
        )
    assert server.connections == 0
