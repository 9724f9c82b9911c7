"""Signatures of both versions, by AWS's published examples."""

import pytest

from vmprobe.drivers.ec2.query import FORM
from vmprobe.drivers.ec2.signature import Keys, authorization, encoded, signature_2

SUITE = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


SESSION = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7"
    "mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0"
    "rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)


AT = {"Host": "example.amazonaws.com", "X-Amz-Date": "20150830T123600Z"}


@pytest.mark.parametrize(
    "method, path, query, headers, body, signature",
    [  # aws-sig-v4-test-suite, by its names
        pytest.param(
            "GET",
            "/",
            "",
            {},
            b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            id="get-vanilla",
        ),
        pytest.param(
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            id="get-vanilla-query-order-key-case",
        ),
        pytest.param(
            "POST",
            "/",
            "",
            {},
            b"",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            id="post-vanilla",
        ),
        pytest.param(
            "POST",
            "/",
            "",
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            id="post-x-www-form-urlencoded",
        ),
        pytest.param(
            "POST",
            "/",
            "",
            {"X-Amz-Security-Token": SESSION},
            b"",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            id="post-sts-header-before",
        ),
    ],
)
def test_version_4_signs_what_aws_published(method, path, query, headers, body, signature):
    header = authorization(
        SUITE, method, path, query, {**AT, **headers}, body, "us-east-1", "service"
    )

    names = ";".join(sorted(name.lower() for name in {**AT, **headers}))
    assert header == (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, "
        f"Signature={signature}"
    )


def test_version_4_signs_the_form_of_the_general_references_example():
    headers = {
        "Host": "iam.amazonaws.com",
        "Content-Type": FORM,
        "X-Amz-Date": "20110909T233600Z",
    }
    body = encoded({"Version": "2010-05-08", "Action": "ListUsers"}).encode()

    header = authorization(SUITE, "POST", "/", "", headers, body, "us-east-1", "iam")

    assert header.endswith(
        "Signature=ced6826de92d2bdeed8f846f0bf508e8559e98e4b0199114b84c54174deb456c"
    )


def test_version_2_signs_what_aws_published():
    form = {
        "Action": "DescribeJobFlows",
        "Version": "2009-03-31",
        "AWSAccessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "SignatureVersion": "2",
        "SignatureMethod": "HmacSHA256",
        "Timestamp": "2011-10-03T15:19:30",
    }

    signature = signature_2(
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "GET",
        "https://elasticmapreduce.amazonaws.com",
        form,
    )

    assert signature == "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs="
