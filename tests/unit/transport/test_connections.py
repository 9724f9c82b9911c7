"""Proxies that the environment names."""

import time

import pytest

from asking import LATE, server_side, told
from rawserver import reply
from vmprobe.core.errors import (
    ClientError,
    CloudError,
    Unreachable,
)
from vmprobe.transport import tls


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
@pytest.mark.parametrize(
    "proxy, said",
    [
        (
            "socks5://127.0.0.1:1",
            "the environment names the proxy socks5://127.0.0.1:1: only a proxy by http or https can be used",
        ),
        (
            "socks5h://me:s3cret@proxy.example.org",
            "the environment names the proxy socks5h://proxy.example.org: only a proxy by http or https can be used",
        ),
        ("http://", "the proxy that the environment names is no URL like 'http://host:3128'"),
        (
            "http://proxy.example.org:port",
            "the proxy that the environment names is no URL like 'http://host:3128'",
        ),
    ],
)
def test_a_proxy_that_cannot_be_used_is_our_fault_and_not_gone_past(
    variable, proxy, said, serve, http, authority, monkeypatch
):
    server = serve(reply(200, "{}"), tls=server_side(authority.issue("server")))
    monkeypatch.setenv(variable, proxy)

    error = told(ClientError, http(server, ca=str(authority.ca)).get)

    assert (str(error), server.connections) == (said, 0)


def test_a_proxy_with_tls_is_trusted_by_the_systems_authorities_and_not_by_the_sites(
    serve, http, authority, monkeypatch
):
    proxy = serve(reply(403, ""), tls=server_side(authority.issue("server")))
    monkeypatch.setenv("https_proxy", proxy.url)

    error = told(CloudError, http("https://cloud.example.org", ca=str(authority.ca)).get)

    assert (
        str(error)
        == "GET /: the certificate of 127.0.0.1 is not accepted: unable to get local issuer certificate"
    )
    assert proxy.requests == []


def test_a_proxy_with_tls_that_drips_is_bounded_too(serve, http, authority, monkeypatch):
    proxy = serve(LATE["drips-its-headers"], tls=server_side(authority.issue("server")))
    monkeypatch.setenv("https_proxy", proxy.url)
    made = tls.client_context
    monkeypatch.setattr(
        tls, "client_context", lambda ca, *words: made(ca or str(authority.ca), *words)
    )
    began = time.monotonic()

    error = told(Unreachable, http("https://cloud.example.org", timeout=0.5).get)

    assert (str(error), error.sent) == ("GET /: no whole answer within 0.5 s", False)
    assert time.monotonic() - began < 1.5


def test_a_proxy_may_be_named_without_its_scheme(serve, http, monkeypatch):
    proxy = serve(reply(403, ""))
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")

    error = told(Unreachable, http("https://cloud.example.org").get)

    assert str(error) == "GET /: tunnel connection failed: 403 forbidden"


def test_a_proxy_of_the_environment_is_asked_for_a_tunnel_and_sees_no_credentials(
    serve, http, authority, monkeypatch
):
    proxy = serve(reply(403, ""))
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    asking = http("https://cloud.example.org/v3", ca=str(authority.ca))
    asking.add_secret_header("X-Auth-Token", "s3cret-token")

    error = told(Unreachable, asking.get, "x")

    assert (str(error), error.sent) == ("GET /v3/x: tunnel connection failed: 403 forbidden", False)
    assert [(request.method, request.target) for request in proxy.requests] == [
        ("CONNECT", "cloud.example.org:443")
    ]
    assert "x-auth-token" not in proxy.requests[0].headers
