"""Where a redirect or the next page of a list may lead."""

import pytest

from asking import server_side, told
from rawserver import reply
from vmprobe.core.errors import (
    CloudError,
    GatewayFailed,
)


def test_a_read_is_redirected_within_its_host(serve, http):
    server = serve(
        lambda request: (
            reply(200, "{}") if request.target == "/v3/" else reply(301, Location="/v3/")
        )
    )

    assert http(server).get("v3").json() == {}
    assert [request.target for request in server.requests] == ["/v3", "/v3/"]


def test_no_redirect_leads_to_another_host_or_from_https_to_http(serve, http):
    thief = serve(reply(200, "{}"))
    locations = [
        thief.url + "/",
        f"//127.0.0.1:{thief.port}/",
        f"http://user@127.0.0.1:{thief.port}/",
    ]
    targets = iter(locations)
    server = serve(lambda request: reply(302, Location=next(targets)))
    asking = http(server)
    asking.add_secret_header("X-Auth-Token", "s3cret-token")

    said = [str(pytest.raises(CloudError, asking.get, "x").value) for _ in locations]

    assert said[0] == f"GET /x: 302 redirects to {thief.url}/, another host: not followed"
    assert said[1] == said[0]
    assert said[2] == f"'{locations[2]}' is no URL that can be asked"
    assert thief.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_read_is_redirected_by_each_status_to_the_place_with_or_without_its_slash(
    status, serve, http
):
    for asked, right in (("v3", "/v3/"), ("v3/", "/v3")):
        server = serve(
            lambda request, right=right: (
                reply(200, "{}") if request.target == right else reply(status, Location=right)
            )
        )

        assert http(server).get(asked).status == 200
        assert [request.target for request in server.requests] == [f"/{asked}", right]


def test_a_server_that_does_not_know_of_the_tls_before_it_is_asked_by_tls_all_the_same(
    serve, http, authority
):
    server = serve(
        lambda request: (
            reply(200, "{}")
            if request.target == "/v2.1/"
            else reply(302, Location=f"http://{request.headers['host']}/v2.1/")
        ),
        tls=server_side(authority.issue("server")),
    )

    assert http(server, ca=str(authority.ca)).get("v2.1").status == 200
    assert [request.target for request in server.requests] == ["/v2.1", "/v2.1/"]


def test_a_redirect_from_https_to_http_at_another_port_is_not_followed(serve, http, authority):
    thief = serve(reply(200, "{}"))
    server = serve(
        reply(302, Location=f"{thief.url}/v2.1/"), tls=server_side(authority.issue("server"))
    )

    error = told(CloudError, http(server, ca=str(authority.ca)).get, "v2.1")

    assert (
        str(error) == f"GET /v2.1: 302 redirects to {thief.url}/v2.1/, another host: not followed"
    )
    assert thief.connections == 0


def test_nothing_but_a_read_is_redirected(serve, http):
    server = serve(reply(307, Location="/elsewhere"))

    error = told(CloudError, http(server).post, "servers", {})

    assert (
        str(error)
        == f"POST /servers: 307 redirects to {server.url}/elsewhere: only reads are followed"
    )
    assert len(server.requests) == 1


def test_redirects_in_a_circle_end(serve, http):
    server = serve(reply(302, Location="/x"))

    assert str(told(CloudError, http(server).get, "x")) == "GET /x: 302 more than 3 redirects"
    assert len(server.requests) == 4


def test_the_next_page_is_of_the_same_host(serve, http):
    server, other = serve(reply(200, "{}")), serve(reply(200, "{}"))
    asking = http(server)

    asking.get(server.url + "/servers?marker=a")
    error = told(GatewayFailed, asking.get, other.url + "/servers?marker=a")

    assert str(error) == (
        f"{server.url} names {other.url}/servers?marker=a for what follows, which is another host: "
        "not asked"
    )
    assert other.connections == 0
