"""What drivers may rely on when they speak HTTP, against real servers on loopback."""

import gzip
import os
import pathlib
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from email.utils import formatdate

import pytest

from certificates import Authority
from private import written
from rawserver import Server, reply
from running import PROBES
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    DeadlinePassed,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Unreachable,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.transport import json, tls, x509
from vmprobe.transport.http import Http, path


@pytest.fixture
def serve():
    """serve(answer) is a server that answers so; see rawserver.Server."""
    servers = []

    def start(answer=None, **words):
        servers.append(Server(answer if callable(answer) else lambda request: answer, **words))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def evidence():
    return Evidence(Redactor(), keep=True)


@pytest.fixture
def http(evidence):
    """http(url, ...) is an Http with ample time."""
    made = []

    def make(url, total=60.0, **words):
        made.append(Http(getattr(url, "url", url), Deadline(total, 0), evidence, **words))
        return made[-1]

    yield make
    for one in made:
        one.close()


def told(kind, act, *words, **more):
    """The error of exactly this kind that ``act`` raises."""
    with pytest.raises(kind) as raised:
        act(*words, **more)
    assert type(raised.value) is kind
    return raised.value


# --- asking -------------------------------------------------------------------------------------------------------


def test_one_connection_serves_a_whole_run(serve, http):
    server = serve(reply(200, '{"servers": []}'))
    asking = http(server.url + "/v2.1/")

    for _ in range(3):
        assert asking.get("servers", {"name": "vmprobe-a b&c"}).items("servers") == []

    assert server.connections == 1
    assert [(request.method, request.target) for request in server.requests] == [
        ("GET", "/v2.1/servers?name=vmprobe-a+b%26c")
    ] * 3
    assert server.requests[0].headers["user-agent"].startswith("vmprobe/")


def test_a_document_is_sent_as_json_and_a_body_as_it_is(serve, http):
    server = serve(reply(201, '{"id": 5}'))

    assert http(server).post("servers", {"server": {"name": "a"}}).short_text("id") == "5"
    http(server).put("raw", body=b"\x00\x01", headers={"Content-Type": "application/octet-stream"})

    assert [(request.body, request.headers["content-type"]) for request in server.requests] == [
        (b'{"server": {"name": "a"}}', "application/json"),
        (b"\x00\x01", "application/octet-stream"),
    ]


def test_what_is_presented_is_sent_everywhere_the_manager_names_and_shown_nowhere(
    serve, http, evidence
):
    server, compute = serve(reply(200, "{}")), serve(reply(200, '{"echo": "s3cret-token"}'))
    asking = http(server)

    nova = asking.at(compute.url + "/v2.1")
    asking.add_secret_header("X-Auth-Token", "s3cret-token")
    nova.get("servers")

    assert compute.requests[0].headers["x-auth-token"] == "s3cret-token"
    assert "s3cret-token" not in "\n".join(evidence.lines())
    assert "  > X-Auth-Token: ***" in evidence.lines()


def test_secrets_are_struck_in_the_forms_that_a_wire_gives_them(serve, http):
    secret = 'p&ss "wörd"/+'
    evidence = Evidence(Redactor([secret]), keep=True)
    server = serve(reply(200, "p&amp;ss &quot;w\u00f6rd&quot;/+"))

    Http(server.url, Deadline(9, 0), evidence).post("login", {"any": secret}, query={"u": secret})

    assert (
        evidence.exchanges[0]["request"],
        evidence.exchanges[0]["sent"].splitlines()[-1],
        evidence.exchanges[0]["received"].splitlines()[-1],
    ) == (f"POST {server.url}/login?u=***", '{"any": "***"}', "***")


def test_every_exchange_is_evidence_also_one_that_failed(serve, http, evidence):
    server = serve(reply(404, '{"itemNotFound": {"message": "Instance 4f1c could not be found."}}'))

    told(NotFound, http(server).get, "servers/4f1c")
    told(Unreachable, http("http://127.0.0.1:1").get)

    assert evidence.requests == 2
    assert [exchange["status"] for exchange in evidence.exchanges] == [
        "404 Not Found",
        "GET /: 127.0.0.1 port 1: connection refused",
    ]


def test_ids_from_outside_cannot_lead_elsewhere():
    assert path("servers", "a/../b?c#d", "action") == "servers/a%2F..%2Fb%3Fc%23d/action"
    for bad in ("", ".", "..", "a\nb", "x" * 256):
        told(GatewayFailed, path, "servers", bad)


# --- refusals -----------------------------------------------------------------------------------------------------

REFUSALS = {
    "401-is-a-rejected-credential": (
        401,
        '{"error": {"code": 401, "message": "The request you have made requires authentication."}}',
        AuthRejected,
        "GET /x: 401 The request you have made requires authentication.",
    ),
    "403-is-not-permitted": (
        403,
        '{"forbidden": {"message": "Policy does not allow it", "code": 403}}',
        NotPermitted,
        "GET /x: 403 Policy does not allow it",
    ),
    "404-is-not-found": (
        404,
        '{"NeutronError": {"type": "PortNotFound", "message": "Port a could not be found."}}',
        NotFound,
        "GET /x: 404 Port a could not be found.",
    ),
    "404-as-a-page-is-a-proxy-that-knows-nothing": (
        404,
        "<html><head><title>404 Not Found</title></head></html>",
        GatewayFailed,
        "GET /x: 404 Not Found",
    ),
    "404-as-a-page-of-apache": (
        404,
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"\n"x">\n'
        "<html><head><title>Object not found!</title></head></html>",
        GatewayFailed,
        "GET /x: 404 Object not found!",
    ),
    "404-as-a-page-with-a-comment-before-it": (
        404,
        "\ufeff<!-- served by f5 -->\n<HTML><BODY><p>nothing here</p>",
        GatewayFailed,
        "GET /x: 404 Not Found",
    ),
    "404-as-a-headline": (404, "<h1>Not Found</h1>", GatewayFailed, "GET /x: 404 Not Found"),
    "404-as-xml-is-the-managers-own": (
        404,
        "<?xml version='1.0'?><error><message>no vm 9</message></error>",
        NotFound,
        "GET /x: 404 no vm 9",
    ),
    "502-as-a-page-within-json": (
        502,
        '{"error": {"message": "<html><head><title>504 Gateway Time-out</title></head>"}}',
        GatewayFailed,
        "GET /x: 502 504 Gateway Time-out",
    ),
    "500-as-a-page-after-words": (
        500,
        "upstream failed: <html><p>Sorry",
        GatewayFailed,
        "GET /x: 500 upstream failed:",
    ),
    "500-about-a-python-class": (
        500,
        '{"message": "Unexpected API Error. <class \'oslo_db.exception.DBError\'>"}',
        GatewayFailed,
        "GET /x: 500 Unexpected API Error. <class 'oslo_db.exception.DBError'>",
    ),
    "409-is-a-conflict": (
        409,
        '{"conflictingRequest": {"message": "it is building"}}',
        Conflict,
        "GET /x: 409 it is building",
    ),
    "410-is-not-found": (410, "", NotFound, "GET /x: 410 Words"),
    "400-is-a-cloud-error": (
        400,
        "<Response><Errors><Error><Code>InvalidAMIID.Malformed</Code><Message>Invalid id: &quot;a&quot;</Message>"
        "</Error></Errors></Response>",
        CloudError,
        'GET /x: 400 Invalid id: "a"',
    ),
    "418-without-words-has-the-reason": (418, b"\x00\xff", CloudError, "GET /x: 418 \x00\ufffd"),
    "500-is-the-gateway": (500, '["a", {"b": 1}]', GatewayFailed, "GET /x: 500 a"),
    "502-as-a-page": (
        502,
        "<!DOCTYPE html><title>Bad\nGateway</title>",
        GatewayFailed,
        "GET /x: 502 Bad\nGateway",
    ),
    "999-is-the-gateway": (999, "", GatewayFailed, "GET /x: 999 Words"),
    "placement": (
        400,
        '{"errors": [{"status": 400, "title": "Bad Request", "detail": "no such trait"}]}',
        CloudError,
        "GET /x: 400 no such trait",
    ),
    "oauth": (
        400,
        '{"error": "invalid_grant", "error_description": "Token is expired"}',
        CloudError,
        "GET /x: 400 Token is expired",
    ),
    "only-a-word": (400, '{"error": "nope"}', CloudError, "GET /x: 400 nope"),
    "broken-json": (400, '{"error": ', CloudError, "GET /x: 400 Bad Request"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_has_its_error_and_the_servers_words(case, serve, http):
    status, body, kind, text = REFUSALS[case]

    assert str(told(kind, http(serve(reply(status, body))).get, "x")) == text


def test_a_refusal_names_its_request_and_can_be_called_by_the_drivers_name(serve, http):
    server = serve(reply(403, '{"message": "no"}', x_openstack_request_id="req-1a2b"))

    error = told(NotPermitted, http(server).post, body=b"Action=RunInstances", asked="RunInstances")

    assert (str(error), error.request, error.cause) == ("RunInstances: 403 no", "req-1a2b", "auth")


def test_a_driver_can_know_better(serve, http):
    server = serve(reply(403, '{"forbidden": {"message": "Quota exceeded for instances"}}'))

    def classify(answer):
        return answer.error(QuotaExceeded) if "Quota exceeded" in answer.message else None

    error = told(QuotaExceeded, http(server, classify=classify).post, "servers")
    assert (str(error), error.cause) == ("POST /servers: 403 Quota exceeded for instances", "quota")


def test_a_refusal_that_is_expected_is_an_answer(serve, http):
    server = serve(reply(401, "", WWW_Authenticate="Keystone uri='https://keystone:5000'"))

    assert (
        http(server).get("-/", accept=(401,)).headers["www-authenticate"]
        == "Keystone uri='https://keystone:5000'"
    )


@pytest.mark.parametrize(
    "status, kind",
    [(413, RateLimited), (429, RateLimited), (503, GatewayFailed)],
    ids=["413", "429", "503"],
)
@pytest.mark.parametrize(
    "said, wait",
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("100000", 60.0),
        ("-3", 0.0),
        ("soon", 0.0),
        ("9" * 400, 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
        ("Xyz, 99 Abc 99999999999 99:99:99 GMT", 0.0),
    ],
)
def test_retry_after_is_obeyed_up_to_a_minute(status, kind, said, wait, serve, http):
    assert told(kind, http(serve(reply(status, Retry_After=said))).get).wait == wait


@pytest.mark.parametrize(
    "until",
    ["Sun, 06 Nov 1994 08:49:57 GMT", "Sunday, 06-Nov-94 08:49:57 GMT", "Sun Nov  6 08:49:57 1994"],
)
def test_a_date_in_retry_after_is_counted_from_the_servers_own_date(
    until, serve, http, monkeypatch
):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    server = serve(reply(503, Retry_After=until, Date="Sun, 06 Nov 1994 08:49:37 GMT"))

    wait = told(GatewayFailed, http(server).get).wait
    monkeypatch.undo()
    time.tzset()

    assert wait == 20.0


def test_retry_after_as_a_date_is_a_duration(serve, http):
    server = serve(
        lambda request: reply(429, Retry_After=formatdate(time.time() + 20, usegmt=True))
    )

    assert 17 <= told(RateLimited, http(server).get).wait <= 20


# --- no answer ----------------------------------------------------------------------------------------------------


def test_what_was_never_sent_is_known_as_such(http):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    refused = told(Unreachable, http(f"http://127.0.0.1:{port}/v3").post, "servers", {})
    unknown = told(Unreachable, http("http://nowhere.invalid/").post)
    no_name = told(Unreachable, http(f"http://{'a' * 70}.invalid/").post)

    assert (str(refused), refused.sent) == (
        f"POST /v3/servers: 127.0.0.1 port {port}: connection refused",
        False,
    )
    assert (str(unknown).split(": ")[:2], unknown.sent) == (["POST /", "nowhere.invalid"], False)
    assert (str(no_name), no_name.sent) == (f"POST /: {'a' * 70}.invalid: is no host name", False)


def test_a_resolver_that_hangs_is_not_waited_for(http, monkeypatch):
    really = socket.getaddrinfo

    def hang(host, port, *words):
        if host == "slow.invalid" and not words[-1]:
            time.sleep(5)
        return really(host, port, *words)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()

    error = told(Unreachable, http("http://slow.invalid/", timeout=0.2).get)

    assert (str(error), error.sent) == (
        "GET /: the address of slow.invalid could not be found within 0.2 s",
        False,
    )
    assert time.monotonic() - began < 2


def test_an_address_of_a_family_that_this_machine_does_not_have_is_passed_over(
    serve, http, monkeypatch
):
    server, really = serve(reply(200, "{}")), socket.getaddrinfo
    other = (socket.AF_APPLETALK, socket.SOCK_STREAM, 6, "", ("nowhere", 1))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: [other] + really(*words) + [other])

    assert http(server).get().status == 200
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert (
        str(told(Unreachable, http(f"http://127.0.0.1:{port}").get))
        == f"GET /: 127.0.0.1 port {port}: connection refused"
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: [other])
    assert str(told(Unreachable, http(server).get)) == (
        f"GET /: 127.0.0.1 port {server.port}: address family not supported by protocol"
    )


def test_too_many_open_files_are_our_own_matter(serve, http):
    server, asking = serve(reply(200, "{}")), None
    http(server).get()  # what has to be loaded is loaded
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    asking, held = http(server), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with pytest.raises(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        error = told(ClientError, asking.get)
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert str(error) == "GET /: no connection can be made from here: too many open files"


def test_a_host_that_takes_no_connection_is_not_waited_for(http):
    with socket.socket() as full:  # its queue is full: further connections get no answer
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        error = told(
            Unreachable, http("http://127.0.0.1:%d" % full.getsockname()[1], timeout=0.3).get
        )
        for one in waiting:
            one.close()

    assert (str(error), error.sent) == ("GET /: no connection within 0.3 s", False)


def _dripping(data, every=0.02):
    def drip(connection):
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(every)

    return lambda request: drip


LATE = {
    "never-answers": lambda request: lambda connection: time.sleep(3),
    "drips-its-headers": _dripping(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100),
    "drips-its-body": _dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500),
    "drips-its-chunks": _dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100
    ),
    "drips-one-chunks-size": _dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 500
    ),
    "says-continue-for-ever": _dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.001),
}


@pytest.mark.parametrize("case", LATE)
def test_the_whole_exchange_is_bounded_not_each_step(case, serve, http):
    began = time.monotonic()

    error = told(Unreachable, http(serve(LATE[case]), timeout=0.4).get, "x")

    assert (str(error), error.sent) == ("GET /x: no whole answer within 0.4 s", True)
    assert time.monotonic() - began < 1.5


def test_a_server_that_does_not_read_is_not_waited_for(http):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        error = told(
            Unreachable,
            http("http://127.0.0.1:%d" % deaf.getsockname()[1], timeout=0.3).put,
            "x",
            body=b"x" * 2**24,
        )

    assert (str(error), error.sent) == ("PUT /x: no whole answer within 0.3 s", True)


def test_the_deadline_bounds_a_request_and_after_it_nothing_is_sent(serve, http):
    server = serve(LATE["never-answers"])
    asking = http(server, total=0.3, timeout=30)

    told(Unreachable, asking.get)
    told(DeadlinePassed, asking.get)

    assert len(server.requests) == 1


CUT = {
    "without-an-answer": (b"", "GET /x: the connection was closed without an answer"),
    "in-its-body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        "GET /x: the connection was closed before the end of the answer",
    ),
    "in-a-chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        "GET /x: the connection was closed before the end of the answer",
    ),
}


@pytest.mark.parametrize("case", CUT)
def test_an_answer_that_was_cut_is_no_answer(case, serve, http):
    server = serve(lambda request: lambda connection: connection.sendall(CUT[case][0]))

    error = told(Unreachable, http(server).get, "x")

    assert (str(error), error.sent) == (CUT[case][1], True)


def test_a_connection_that_is_reset_is_no_answer(serve, http):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        socket.socket(fileno=connection.detach()).close()

    error = told(Unreachable, http(serve(lambda request: reset)).get, "x")

    assert (str(error), error.sent) == ("GET /x: connection reset by peer", True)


def test_a_create_is_never_sent_twice(serve, http):
    server = serve(b"")

    told(Unreachable, http(server).post, "servers", {"server": {}})

    assert len(server.requests) == 1


# --- what is too much ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", [b"Content-Length: 104857600", b"Connection: close"], ids=["announced", "unannounced"]
)
def test_an_answer_is_no_larger_than_allowed(head, serve, http):
    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        for _ in range(1600):
            connection.sendall(b"x" * 65536)

    error = told(TooLarge, http(serve(lambda request: flood)).get, "x", max_bytes=100_000)

    assert str(error) == "GET /x: the answer is larger than 100000 bytes"


PLAIN = b'{"id": "4f1c", "padding": "%s"}' % (b"x" * 1000)
PACKED = {
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "its-old-name": ("X-Gzip", gzip.compress(PLAIN)),
    "several-in-a-row": (
        "gzip",
        gzip.compress(PLAIN[:500]) + gzip.compress(b"") + gzip.compress(PLAIN[500:]),
    ),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "deflate-without-its-frame": ("deflate", zlib.compress(PLAIN)[2:-4]),
}


@pytest.mark.parametrize("case", PACKED)
def test_an_answer_that_a_proxy_compressed_is_uncompressed(case, serve, http):
    encoding, body = PACKED[case]
    server = serve(reply(200, body, Content_Encoding=encoding))

    assert http(server).get("x").short_text("id") == "4f1c"
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "encoding, body, said",
    [
        ("gzip", b"\x1f\x8b...", "the answer is not valid gzip, as its headers say"),
        ("gzip", PLAIN, "the answer is not valid gzip, as its headers say"),
        ("deflate", PLAIN, "the answer is not valid deflate, as its headers say"),
        ("gzip", gzip.compress(PLAIN)[:-9], "the compressed answer is cut off"),
        ("br", b"\x0b\x02\x80", "the answer is compressed by 'br', which was not asked for"),
        (
            "gzip, gzip",
            gzip.compress(gzip.compress(PLAIN)),
            "the answer is compressed by 'gzip, gzip', which was not asked for",
        ),
    ],
    ids=["no-gzip", "plain-instead", "no-deflate", "cut", "another-form", "twice"],
)
def test_what_cannot_be_unpacked_is_said_to_be_so(encoding, body, said, serve, http):
    error = told(GatewayFailed, http(serve(reply(200, body, Content_Encoding=encoding))).get, "x")

    assert str(error) == f"GET /x: {said}"


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"x" * 100_001), gzip.compress(b"x" * 60_000) * 2, gzip.compress(b"") * 9000],
    ids=["one-bomb", "several", "many-of-nothing"],
)
def test_no_more_is_unpacked_than_may_be_read(body, serve, http):
    error = told(
        TooLarge, http(serve(reply(200, body, Content_Encoding="gzip"))).get, "x", max_bytes=100_000
    )

    assert str(error).startswith("GET /x: the answer is larger than 100000 bytes")


def test_an_answer_of_very_many_compressed_parts_costs_no_more_than_a_few(serve, http):
    began = time.process_time()

    error = told(
        GatewayFailed,
        http(serve(reply(200, gzip.compress(b"") * 200_000, Content_Encoding="gzip"))).get,
        "x",
    )

    assert str(error) == "GET /x: the answer is compressed in more than 100 parts"
    assert time.process_time() - began < 5


def test_an_answer_without_a_body_is_in_no_form(serve, http):
    assert http(serve(reply(204, b"", Content_Encoding="gzip"))).delete("x").status == 204


def test_what_is_not_http_is_said_to_be_so(serve, http):
    error = told(GatewayFailed, http(serve(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")).get, "x")

    assert str(error) == "GET /x: the answer is not HTTP (BadStatusLine: SSH-2.0-OpenSSH_9.2\r\n)"


# --- redirects ----------------------------------------------------------------------------------------------------


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
            lambda request: (
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


# --- the environment ----------------------------------------------------------------------------------------------


def test_the_environment_neither_adds_credentials_nor_takes_http_to_a_proxy(
    serve, http, monkeypatch, tmp_path
):
    server, proxy = serve(reply(200, "{}")), serve(reply(200, "{}"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)

    http(server).get()

    assert "authorization" not in server.requests[0].headers
    assert proxy.connections == 0


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


def server_side(certificate, clients=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if version:
        context.maximum_version = version
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


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


def test_a_handshake_has_only_what_time_the_way_to_it_left(http, monkeypatch):
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


# --- answers that are read ----------------------------------------------------------------------------------------


@pytest.fixture
def answer(serve, http):
    """answer(body) is the Reply that has this body."""
    return lambda body: http(serve(reply(200, body))).get("x")


def test_json_is_read_by_its_shape(answer):
    found = answer(
        '{"server": {"id": "4f1c", "n": 3, "x": 1.5, "ok": true, "fault": null, "list": [{"a": 1}]}}'
    )

    assert found.field("server", "id", str) == "4f1c"
    assert found.field("server", "n", float) == 3.0
    assert found.field("server", "ok", bool) is True
    assert found.field("server", "fault", "message", str, default="") == ""
    assert found.field("server", "list", 0, "a", int) == 1
    assert found.items("server", "list") == [{"a": 1}]
    assert found.short_text("server", "n") == "3"


SHAPES = {
    "missing": (("server", "name", str), "GET /x: the answer has no server.name"),
    "null": (("server", "fault", str), "GET /x: the answer has no server.fault"),
    "other-type": (
        ("server", "n", str),
        "GET /x: server.n in the answer is a whole number, not text",
    ),
    "true-is-no-number": (
        ("server", "ok", int),
        "GET /x: server.ok in the answer is true or false, not a whole number",
    ),
    "through-text": (
        ("server", "id", "x", str),
        "GET /x: server.id in the answer is text, not an object",
    ),
    "no-such-index": (("server", "list", 7, int), "GET /x: the answer has no server.list.7"),
    "list-as-object": (
        ("server", "list", "a", int),
        "GET /x: server.list in the answer is a list, not an object",
    ),
    "huge-as-float": (("server", "huge", float), "GET /x: the answer has no server.huge"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_json_of_another_shape_is_named_by_its_path(case, answer):
    found = answer(
        '{"server": {"id": "4f1c", "n": 3, "ok": true, "fault": null, "list": [1], "huge": 1e999}}'
    )
    where, said = SHAPES[case]

    assert str(told(GatewayFailed, found.field, *where)) == said


@pytest.mark.parametrize(
    "text", ['""', '"a\\nb"', '"' + "x" * 256 + '"', '"\\ud800"', "[]", "true", "1.5", "null"]
)
def test_an_id_is_a_short_printable_text(text, answer):
    told(GatewayFailed, answer('{"id": %s}' % text).short_text, "id")


@pytest.mark.parametrize(
    "body, value",
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e400", None),
        ("9" * 400, None),
        ("1" + "0" * 20, 10**20),
        ("-1.5", -1.5),
    ],
)
def test_a_number_that_is_none_is_null(body, value, answer):
    assert answer(body).json() == value


UNREADABLE = {
    "html": ("<html>", "GET /x: the answer is no JSON: Expecting value: line 1 column 1 (char 0)"),
    "empty": ("", "GET /x: the answer is no JSON: Expecting value: line 1 column 1 (char 0)"),
    "deep": ("[" * 30000, "GET /x: the JSON of the answer is nested too deep"),
    "heavy": (
        "[" + "{}," * 400000 + "{}]",
        "GET /x: the JSON of the answer, 1200004 bytes, is too much to be held",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_json_is_said_to_be_so(case, answer):
    body, said = UNREADABLE[case]

    assert str(told(TooLarge if case == "heavy" else GatewayFailed, answer(body).json)) == said


def test_a_list_of_a_thousand_servers_is_no_problem(answer):
    server = (
        '{"id": "4f1c9b9e-0000-4000-8000-000000000000", "name": "vmprobe-mon-1", "status": "ACTIVE", "addresses": '
        '{"net": [{"addr": "10.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}]}, "links": [{"rel": "self", "href": '
        '"https://nova.example.org/v2.1/servers/4f1c"}], "metadata": {}, "fault": null, "OS-EXT-STS:vm_state": "active"'
        + ', "filler": "%s"}'
        % ("x" * 1000)
    )

    assert len(answer('{"servers": [' + ",".join([server] * 1000) + "]}").items("servers")) == 1000


def test_xml_is_read_without_its_namespaces(answer):
    root = answer(
        '<a:R xmlns:a="urn:x" xmlns="urn:y"><item a:n="1"><id>i-1</id></item></a:R>'
    ).xml()

    assert (root.tag, root.find("item").get("n"), root.findtext("item/id")) == ("R", "1", "i-1")


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<z>&b;</z>"
)
BAD_XML = {
    "entities": (
        BOMB,
        "GET /x: the answer has a document type, which could expand entities",
    ),
    "external": (
        '<!DOCTYPE z SYSTEM "http://127.0.0.1:1/x.dtd"><z/>',
        "GET /x: the answer has a document type, which could expand entities",
    ),
    "deep": ("<a>" * 5000, "GET /x: the answer is XML nested more than 100 deep"),
    "many": (
        "<a>" + "<b/>" * 100001 + "</a>",
        "GET /x: the answer is XML of more than 100000 elements",
    ),
    "cut": ("<a><b>", "GET /x: the answer is no XML: no element found: line 1, column 6"),
    "json": (
        "{}",
        "GET /x: the answer is no XML: not well-formed (invalid token): line 1, column 0",
    ),
    "unknown-encoding": (
        '<?xml version="1.0" encoding="rot13"?><a/>',
        "GET /x: the answer is no XML: ",
    ),
}


@pytest.mark.parametrize("case", BAD_XML)
def test_xml_that_could_hurt_is_refused(case, answer):
    body, said = BAD_XML[case]

    assert str(told(TooLarge if case == "many" else GatewayFailed, answer(body).xml)).startswith(
        said
    )


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("2026-11-22T21:37:11Z", 1795383431.0),
        ("2026-11-22T21:37:11.250000", 1795383431.25),
        ("2026-11-22 22:37:11+01:00", 1795383431.0),
        ("2026-11-22T21:07:11-0030", 1795383431.0),
        ("2026-13-22T21:37:11Z", None),
        ("0000-00-00T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("yesterday", None),
        (5, None),
        ("9999-12-31T23:59:59-23:59", None),
        ("\u0662026-11-22T21:37:11Z", None),
    ],
)
def test_a_timestamp_is_seconds_since_the_epoch(text, seconds):
    assert json.parse_time(text) == seconds


# --- what it costs ------------------------------------------------------------------------------------------------


def test_a_library_is_loaded_only_when_it_is_needed(serve):
    server = serve(reply(200, "{}"))
    script = (
        "import sys\n"
        "from vmprobe.transport.http import Http\n"
        "from vmprobe.core.clock import Deadline\n"
        "from vmprobe.core.exchanges import Evidence\n"
        "heavy = ('requests', 'urllib3', 'ssl', 'OpenSSL', 'cryptography', 'xml', 'email.utils', 'dataclasses', 'inspect')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        f"Http({server.url!r}, Deadline(9, 0), Evidence()).get()\n"
        "print([name for name in heavy if name in sys.modules and name in ('requests', 'OpenSSL', 'cryptography', 'xml')])\n"
    )
    where = str(PROBES)

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": where},
    )

    assert done.stdout.splitlines() == ["[]", "['requests']"], done.stderr
