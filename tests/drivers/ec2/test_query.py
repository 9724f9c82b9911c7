"""The Query API: forms, answers and error documents."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rawserver import Server, reply
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import GatewayFailed, NotFound
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.ec2.faults import Refusal, error, refusal_in
from vmprobe.drivers.ec2.query import Query, flat
from vmprobe.drivers.ec2.signature import Keys, encoded, signature_2
from vmprobe.transport.http import Http

SUITE = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


@given(some.dictionaries(some.text(min_size=1, max_size=20), some.text(max_size=20), max_size=6))
def test_an_encoded_form_is_decoded_to_the_same(form):
    assert dict(parse_qsl(encoded(form), keep_blank_values=True)) == form


def test_lists_and_mappings_are_numbered_and_none_is_left_out():
    assert flat(
        {"A": [{"N": 1, "V": ["x", "y"]}, {"N": None}], "B": True, "C": None, "D": [], "E": {}}
    ) == {"A.1.N": "1", "A.1.V.1": "x", "A.1.V.2": "y", "B": "true"}


@pytest.mark.parametrize(
    "body, refusal",
    [
        (
            b'<?xml version="1.0"?>\n<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>The instance ID '
            b"&apos;i-1&apos; does not exist</Message></Error></Errors><RequestID>req-1</RequestID></Response>",
            Refusal("InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist", "req-1"),
        ),
        (
            b'<ErrorResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><Error><Type>Sender</Type><Code>AccessDenied</Code>'
            b"<Message>no\n  rights</Message></Error><RequestId>abc</RequestId></ErrorResponse>",
            Refusal("AccessDenied", "no rights", "abc"),
        ),
        (b"<Error><Code>X</Code></Error>", Refusal("X", "", "")),
        (b"<html><body>502 Bad Gateway</body></html>", Refusal()),
        (b"", Refusal()),
        (b"<Response><Errors>", Refusal()),
        (b"plain words", Refusal()),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><Error><Code>X</Code></Error>', Refusal()),
    ],
)
def test_an_error_document_is_read_whatever_service_wrote_it(body, refusal):
    assert refusal_in(body) == refusal


@pytest.fixture
def evidence():
    return Evidence(keep=True)


def query(server, evidence, keys=SUITE, **more):
    http = Http(server.url, Deadline(60, 0, Clock()), evidence)
    return Query(http, keys, service="ec2", region="here", version="2016-11-15", **more)


def test_a_call_is_a_signed_form_and_its_answer_is_xml(evidence):
    with Server(
        lambda request: reply(
            200,
            b"<DescribeRegionsResponse><a>1</a></DescribeRegionsResponse>",
            Content_Type="text/xml",
        )
    ) as server:
        answer = query(server, evidence, Keys("AKID", "hidden", "token!"))(
            "DescribeRegions", {"RegionName": ["a b"]}
        )

    (request,) = server.requests
    assert answer.xml().findtext("a") == "1"
    assert (request.method, request.target, request.body) == (
        "POST",
        "/",
        b"Action=DescribeRegions&RegionName.1=a%20b&Version=2016-11-15",
    )
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert request.headers["x-amz-security-token"] == "token!"
    assert "token!" not in "\n".join(evidence.lines()) and "Signature=" not in "\n".join(
        evidence.lines()
    )


def test_version_2_puts_its_signature_into_the_form_and_it_is_redacted(evidence):
    with Server(lambda request: reply(200, b"<DescribeRegionsResponse/>")) as server:
        query(server, evidence, signature=2)("DescribeRegions")

    form = dict(parse_qsl(server.requests[0].body.decode()))
    given = form.pop("Signature")
    assert given == signature_2(SUITE.secret, "POST", server.url, form)
    assert (
        given not in "\n".join(evidence.lines())
        and "authorization" not in server.requests[0].headers
    )


def test_a_refusal_is_classified_by_its_code_else_by_its_status(evidence):
    body = b"<Response><Errors><Error><Code>Odd</Code><Message>words</Message></Error></Errors><RequestID>r-1</RequestID></Response>"

    def classify(answer, refusal):
        return error(NotFound, answer, refusal) if refusal.code == "Odd" else None

    with Server(lambda request: reply(400, body)) as server:
        with pytest.raises(NotFound) as known:
            query(server, evidence, classify=classify)("DescribeRegions", asked="regions")
    assert (str(known.value), known.value.request) == ("regions: 400 Odd: words", "r-1")
    with Server(lambda request: reply(500, b"<html>no</html>")) as server:
        with pytest.raises(GatewayFailed):
            query(server, evidence, classify=classify)("DescribeRegions")
