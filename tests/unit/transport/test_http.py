"""What drivers may rely on when they speak HTTP, against real servers on loopback."""

import os
import subprocess
import sys
import time
from email.utils import formatdate

import pytest

from asking import told
from rawserver import reply
from running import PROBES
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    Unreachable,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.transport.http import Http, path


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


def test_a_secret_header_is_sent_everywhere_the_manager_names_and_shown_nowhere(
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


def test_secrets_are_redacted_in_the_forms_that_http_gives_them(serve, http):
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
