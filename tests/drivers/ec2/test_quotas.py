"""Service Quotas: requests as botocore makes them, values, defaults, and answers that are odd."""

import json
from functools import partial

import pytest

from rawserver import Server, reply
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import GatewayFailed, NotFound, NotPermitted
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.ec2.capacity import STANDARD
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.faults import classify
from vmprobe.drivers.ec2.quotas import JSON, Quotas
from vmprobe.drivers.ec2.signature import Keys
from vmprobe.transport.http import Http


def quota(*answers):
    """(what one quota is by these answers, the requests)."""
    left = list(answers)
    with Server(lambda request: left.pop(0)) as server:
        quotas = Quotas(
            Http(server.url, Deadline(60, 0, Clock()), Evidence()),
            Keys("AKID", "s"),
            region="here",
            classify=partial(classify, Dialect()),
        )
        try:
            return quotas("ec2", "L-1216C47A"), server.requests
        except Exception as refused:
            return refused, server.requests


def quota_reply(value):
    return reply(
        200,
        json.dumps({"Quota": {"QuotaCode": "L-1216C47A", "Value": value}}).encode(),
        Content_Type=JSON,
    )


def refusal(kind, message="words"):
    return reply(
        400,
        json.dumps({"__type": kind, "Message": message}).encode(),
        Content_Type=JSON,
        x_amzn_RequestId="r-1",
    )


def test_a_request_is_as_botocore_would_make_it():
    serialize = pytest.importorskip("botocore.serialize")
    from botocore.session import get_session

    value, (request,) = quota(quota_reply(32.0))
    model = get_session().get_service_model("service-quotas")
    theirs = serialize.create_serializer("json").serialize_to_request(
        {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}, model.operation_model("GetServiceQuota")
    )

    assert value == 32.0
    assert json.loads(request.body) == json.loads(theirs["body"])
    assert {name: request.headers[name.lower()] for name in theirs["headers"]} == dict(
        theirs["headers"]
    )
    assert f"/here/{model.signing_name}/aws4_request" in request.headers["authorization"]


def test_a_quota_that_was_never_set_is_the_default():
    value, requests = quota(refusal("NoSuchResourceException"), quota_reply(5))

    assert value == 5.0
    assert [request.headers["x-amz-target"].rpartition(".")[2] for request in requests] == [
        "GetServiceQuota",
        "GetAWSDefaultServiceQuota",
    ]


@pytest.mark.parametrize(
    "answers, kind, message",
    [
        (
            [refusal("NoSuchResourceException")] * 2,
            NotFound,
            "quota ec2/L-1216C47A: 400 NoSuchResourceException: words",
        ),
        (
            [refusal("com.amazonaws.servicequotas#AccessDeniedException", "no")],
            NotPermitted,
            "quota ec2/L-1216C47A: 400 AccessDeniedException: no",
        ),
        ([reply(503, b"{}")], GatewayFailed, "quota ec2/L-1216C47A: 503 Service Unavailable"),
        (
            [quota_reply("many")],
            GatewayFailed,
            "quota ec2/L-1216C47A: Quota.Value in the answer is text, not a number",
        ),
        (
            [reply(200, b"[]")],
            GatewayFailed,
            "quota ec2/L-1216C47A: content in the answer is a list, not an object",
        ),
    ],
)
def test_an_answer_without_a_quota_is_one_of_our_errors(answers, kind, message):
    error, _ = quota(*answers)

    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize(
    "name, standard",
    [
        ("t3.nano", True),
        ("m5.large", True),
        ("a1.large", True),
        ("im4gn.large", True),
        ("i3en.large", True),
        ("z1d.large", True),
        ("p3.2xlarge", False),
        ("g4dn.xlarge", False),
        ("inf1.xlarge", False),
        ("trn1.2xlarge", False),
        ("dl1.24xlarge", False),
        ("hpc6a.48xlarge", False),
        ("x1.16xlarge", False),
        ("mac1.metal", False),
        ("u-6tb1.metal", False),
        ("f1.2xlarge", False),
    ],
)
def test_instance_types_of_the_standard_families_are_told_by_their_names(name, standard):
    assert bool(STANDARD.match(name)) == standard
