"""The dates of our own certificates."""

import pathlib
import time

from asking import server_side, told
from private import written
from rawserver import reply
from vmprobe.core.errors import (
    ClientError,
)
from vmprobe.transport import x509


def test_our_expired_certificate_is_our_fault_and_not_shown(http, authority, serve):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    old, early = (
        authority.issue("old", days=-1, since=-9),
        authority.issue("early", days=9, since=3),
    )

    for certificate, words in ((old, "expired on 20"), (early, "is not valid before 20")):
        error = told(
            ClientError, http(server, ca=str(authority.ca), certificate=str(certificate)).get
        )
        assert str(error).startswith(f"certificate {certificate} {words}") and str(error).endswith(
            " UTC"
        )
    assert server.connections == 0


def test_the_expiry_of_a_chain_is_its_earliest(authority):
    proxy = authority.issue("proxy", days=1, under=authority.issue("long", days=30))
    late = authority.issue("late", days=40, under=authority.issue("short", days=2))

    assert 0 < x509.expiry(str(proxy)) - time.time() <= 86400
    assert 86400 < x509.expiry(str(late)) - time.time() <= 2 * 86400


def test_a_voms_proxy_ends_with_what_its_server_attests(tmp_path):
    made = (
        pathlib.Path(__file__).with_name("voms-proxy.pem").read_bytes()
    )  # by voms-proxy-fake: for 12 hours, the attributes for 2
    proxy = str(
        written(tmp_path / "proxy.pem", made)
    )  # a checkout may have been made with umask 002

    assert x509.validity(proxy)[1] == 1795452567
    assert x509.expiry(proxy) == 1795416567
    x509.check_voms(proxy, 1795416566)
    assert str(told(ClientError, x509.check_voms, proxy, 1795416567)) == (
        f"certificate {proxy}: its VOMS attributes expired on 2026-11-23 06:49:27 UTC"
    )
