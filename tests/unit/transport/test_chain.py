"""The chain of certificates that a server shows, also where a certificate breaks the rules of its own encoding."""

import contextlib
import re
import socket
import ssl
import threading

import pytest

from certificates import Authority
from vmprobe.core.errors import Unreachable
from vmprobe.transport import chain

CN = b"\x0c\x08odd-name"  # as UTF8String


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def showing(certificate, directory):
    """A connection to a server that shows this certificate, whatever its signature is worth."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve():
        connection, _ = listening.accept()
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
            return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield socket.create_connection(listening.getsockname())


def changed(authority, directory, old, new):
    """The path of a certificate and its key, in which some bytes were replaced by as many others."""
    pem = authority.issue("odd-name", names=("localhost",)).read_text()
    certificate = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", pem, re.S)[
        0
    ]
    der = ssl.PEM_cert_to_DER_cert(certificate)
    was = re.search(old, der, re.S)[0]
    assert len(was) == len(new)
    path = directory / "changed.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der.replace(was, new)) + pem.replace(certificate, ""))
    return path


@pytest.mark.parametrize(
    "value, subject",
    [
        (CN, "/CN=odd-name"),
        (b"\x14\x08M\xfcnchen.", "/CN=M\ufffdnchen."),
        (b"\x14\x08\xff\x00\n|<b\xfe\x01", "/CN=\ufffd\x00\n|<b\ufffd\x01"),
        (b"\x13\x08under_sc", "/CN=under_sc"),
        (b"\x13\x08\xe4\xf6\xfc\xdf....", "/CN=\ufffd\ufffd\ufffd\ufffd...."),
        (b"\x16\x08\xff\xff\xff\xff\xff\xff\xff\xff", "/CN=" + 8 * "\ufffd"),
        (b"\x1e\x08\x00o\x00d\x00d\x00!", "/CN=odd!"),
    ],
)
def test_a_name_in_any_encoding_is_told(authority, tmp_path, value, subject):
    with showing(changed(authority, tmp_path, re.escape(CN), value), tmp_path) as connection:
        shown = chain.read(connection, "localhost", 5)

    assert (shown[0].subject, shown[0].issuer) == (subject, "/CN=test authority")


@pytest.mark.parametrize(
    "date", [b"000000000000Z", b"991332256161Z", b"\xff" * 13, b"2611281200+01", b"26112812+0100"]
)
def test_a_certificate_whose_date_cannot_be_read_is_no_chain(authority, tmp_path, date):
    path = changed(authority, tmp_path, rb"(?<=Z\x17\x0d)\d{12}Z", date)

    with (
        showing(path, tmp_path) as connection,
        pytest.raises(
            Unreachable,
            match="^localhost: a certificate of its chain has no date that can be read$",
        ),
    ):
        chain.read(connection, "localhost", 5)


@pytest.mark.parametrize(
    "host", ["a..b", "x" * 70 + ".example.org", "127.0.0.1", "::1", "\udcff", "1.2.3"]
)
def test_a_host_that_dns_could_not_have_is_not_named_to_the_server(authority, tmp_path, host):
    with showing(authority.issue("server"), tmp_path) as connection:
        assert chain.read(connection, host, 5)[0].subject == "/CN=server"
