"""The Query API's signatures, by AWS's published examples; its errors; and where keys come from."""

import datetime
import json
import os
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as some

from private import written
from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import AuthRejected, ClientError, GatewayFailed, NotFound, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.ec2.faults import Refusal, error, refusal_in
from vmprobe.drivers.ec2.keys import Finder
from vmprobe.drivers.ec2.query import FORM, Query, flat
from vmprobe.drivers.ec2.signature import Keys, authorization, encoded, signature_2
from vmprobe.transport.http import Http

SUITE = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7"
    "mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0"
    "rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
AT = {"Host": "example.amazonaws.com", "X-Amz-Date": "20150830T123600Z"}


# --- signatures: AWS's own examples -------------------------------------------------------------------------------


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
    said = authorization(
        SUITE, method, path, query, {**AT, **headers}, body, "us-east-1", "service"
    )

    names = ";".join(sorted(name.lower() for name in {**AT, **headers}))
    assert said == (
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

    said = authorization(SUITE, "POST", "/", "", headers, body, "us-east-1", "iam")

    assert said.endswith(
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

    said = signature_2(
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "GET",
        "https://elasticmapreduce.amazonaws.com",
        form,
    )

    assert said == "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs="


@given(some.dictionaries(some.text(min_size=1, max_size=20), some.text(max_size=20), max_size=6))
def test_a_form_is_read_back_as_it_was(words):
    assert dict(parse_qsl(encoded(words), keep_blank_values=True)) == words


def test_lists_and_mappings_are_numbered_and_what_is_not_is_left_out():
    assert flat(
        {"A": [{"N": 1, "V": ["x", "y"]}, {"N": None}], "B": True, "C": None, "D": [], "E": {}}
    ) == {"A.1.N": "1", "A.1.V.1": "x", "A.1.V.2": "y", "B": "true"}


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, said",
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
def test_an_error_document_is_read_whatever_service_wrote_it(body, said):
    assert refusal_in(body) == said


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
        said = query(server, evidence, Keys("AKID", "hidden", "token!"))(
            "DescribeRegions", {"RegionName": ["a b"]}
        )

    (request,) = server.requests
    assert said.xml().findtext("a") == "1"
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


def test_version_2_puts_its_signature_into_the_form_and_shows_it_nowhere(evidence):
    with Server(lambda request: reply(200, b"<DescribeRegionsResponse/>")) as server:
        query(server, evidence, signature=2)("DescribeRegions")

    form = dict(parse_qsl(server.requests[0].body.decode()))
    given = form.pop("Signature")
    assert given == signature_2(SUITE.secret, "POST", server.url, form)
    assert (
        given not in "\n".join(evidence.lines())
        and "authorization" not in server.requests[0].headers
    )


def test_a_refusal_goes_to_whoever_knows_the_service_and_else_by_its_status(evidence):
    body = b"<Response><Errors><Error><Code>Odd</Code><Message>words</Message></Error></Errors><RequestID>r-1</RequestID></Response>"

    def classify(answer, said):
        return error(NotFound, answer, said) if said.code == "Odd" else None

    with Server(lambda request: reply(400, body)) as server:
        with pytest.raises(NotFound) as known:
            query(server, evidence, classify=classify)("DescribeRegions", asked="regions")
    assert (str(known.value), known.value.request) == ("regions: 400 Odd: words", "r-1")
    with Server(lambda request: reply(500, b"<html>no</html>")) as server:
        with pytest.raises(GatewayFailed):
            query(server, evidence, classify=classify)("DescribeRegions")


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own, without AWS's variables; returns where AWS's two files are written to."""
    for name in (
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "EC2_ACCESS_KEY",
        "EC2_SECRET_KEY",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_EC2",
        "AWS_ENDPOINT_URL",
        "EC2_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path / ".aws"


def found(credentials=None, evidence=None, clock=None, **endpoint):
    finder = Finder(
        {"timeout": 5.0, **endpoint},
        credentials or {},
        Deadline(60, 0, clock or Clock()),
        evidence or Evidence(),
    )
    keys = finder.find("here")
    return keys.access, keys.secret, keys.token, keys.source


@pytest.mark.parametrize(
    "environment, source",
    [
        (
            {
                "AWS_ACCESS_KEY_ID": "A",
                "AWS_SECRET_ACCESS_KEY": "k",
                "AWS_SESSION_TOKEN": "t",
                "AWS_ENDPOINT_URL_EC2": "https://own:8773/",
                "AWS_ENDPOINT_URL": "https://h/",
            },
            "the environment",
        ),
        (
            {"AWS_ACCESS_KEY": "A", "AWS_SECRET_KEY": "k", "AWS_ENDPOINT_URL": "https://own:8773"},
            "the environment",
        ),
        (
            {
                "EC2_ACCESS_KEY": "A",
                "EC2_SECRET_KEY": "k",
                "EC2_URL": "https://own:8773/services/Cloud",
            },
            "the environment",
        ),
        ({}, "profile 'default'"),
    ],
)
def test_keys_are_sent_to_the_endpoint_that_is_named_beside_them_and_nowhere_else(
    home, monkeypatch, environment, source
):
    written(
        home / "credentials",
        "[default]\naws_access_key_id = A\naws_secret_access_key = k\nendpoint_url = https://own:8773/\n",
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert found(url="https://own:8773/elsewhere")[3] == source
    for url in ("https://thief:8773/", "https://own/", "http://own:8773/", None):
        with pytest.raises(
            ClientError,
            match=f"^the keys from {source} are configured for https://own:8773.*, and are not sent to ",
        ):
            found(url=url)


def test_the_keys_of_a_credentials_file_have_their_place_in_the_site_file(home, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://own:8773")

    assert found({"access_key": "F", "secret_key": "s"}, url="https://other/")[0] == "F"


def test_the_credentials_file_comes_first(home, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    assert found({"access_key": "F", "secret_key": "s", "session_token": "t"}) == (
        "F",
        "s",
        "t",
        "the credentials file",
    )


def test_then_a_profile_that_the_site_names_then_the_environment_then_the_default_profile(
    home, monkeypatch
):
    written(
        home / "credentials",
        "[default]\naws_access_key_id = D\naws_secret_access_key = d%s\n"
        "[ops]\naws_access_key_id = O\naws_secret_access_key = o\naws_session_token = t\n",
    )
    assert found() == ("D", "d%s", "", "profile 'default'")
    assert found(profile="ops") == ("O", "o", "t", "profile 'ops'")
    monkeypatch.setenv("AWS_PROFILE", "ops")
    assert found()[0] == "O"
    monkeypatch.setenv("EC2_ACCESS_KEY", "U")
    monkeypatch.setenv("EC2_SECRET_KEY", "u")
    assert found() == ("U", "u", "", "the environment")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    assert found() == ("E", "e", "x", "the environment")
    assert found(profile="ops")[0] == "O"


@pytest.mark.parametrize(
    "file, text",
    [
        ("credentials", "[default]\naws_access_key_id = D\naws_secret_access_key = d\n"),
        ("config", "[default]\naws_access_key_id = D\naws_secret_access_key: d\n"),
    ],
)
def test_a_shared_file_with_a_secret_that_others_can_read_is_refused(home, file, text):
    written(home / file, text, 0o644)
    with pytest.raises(ClientError) as wrong:
        found()
    assert (
        str(wrong.value)
        == f"{home / file}: has mode 0644: others than its owner have access; chmod 0600 it"
    )


def test_a_config_file_without_a_secret_may_be_read_by_everybody(home):
    written(home / "config", "[default]\nregion = eu-west-1\n", 0o644)
    written(home / "credentials", "[default]\naws_access_key_id = D\naws_secret_access_key = d\n")
    assert found() == ("D", "d", "", "profile 'default'")


def test_a_pipe_in_place_of_a_shared_file_is_not_waited_for(home):
    os.mkfifo(home / "credentials", 0o600)
    with pytest.raises(ClientError) as wrong:
        found()
    assert str(wrong.value) == f"{home / 'credentials'}: is not a regular file"


def test_the_config_file_calls_its_profiles_so_and_says_the_region(home):
    written(
        home / "config",
        "[profile ops]\nregion = eu-west-1\naws_access_key_id = C\naws_secret_access_key = c\n",
    )
    finder = Finder({"timeout": 5.0, "profile": "ops"}, {}, Deadline(60, 0), Evidence())
    assert (finder.find("here").access, finder.region()) == ("C", "eu-west-1")


@pytest.mark.parametrize(
    "credentials, endpoint, files, words",
    [
        ({"access_key": "A"}, {}, {}, "the credentials file has access_key and no secret_key"),
        ({"secret_key": "A"}, {}, {}, "the credentials file has secret_key and no access_key"),
        (
            {},
            {"profile": "nobody"},
            {},
            "there is no 'nobody' with an aws_access_key_id in .*credentials",
        ),
        ({}, {}, {"credentials": "no ini"}, "credentials is not an INI file"),
        (
            {},
            {},
            {},
            "no access key: not in a credentials file, in AWS_ACCESS_KEY_ID or in profile 'default' of ",
        ),
        (
            {},
            {"profile": "a"},
            {
                "config": "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n"
            },
            "its source_profile names a circle",
        ),
        (
            {},
            {"profile": "a"},
            {"config": "[profile a]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = r\n"},
            "profile 'a' gets its keys by sso_session, which an unattended probe cannot use: it needs an access key, a role with a "
            "source_profile, or the role of its instance",
        ),
        (
            {},
            {},
            {"config": "[default]\ncredential_process = /bin/keys\n"},
            "profile 'default' gets its keys by credential_process, which ",
        ),
        (
            {},
            {"profile": "a"},
            {
                "config": "[profile a]\nrole_arn = r\nsource_profile = b\nmfa_serial = arn:aws:iam::1:mfa/me\n"
                "[profile b]\naws_access_key_id = A\naws_secret_access_key = b\n"
            },
            "profile 'a' gets its keys by mfa_serial, which ",
        ),
        (
            {},
            {"profile": "a"},
            {
                "config": "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nsso_start_url = https://x\n"
            },
            "profile 'b' gets its keys by sso_start_url, which ",
        ),
    ],
)
def test_keys_that_cannot_be_used_are_ours_and_one_line(home, credentials, endpoint, files, words):
    for name, text in files.items():
        written(home / name, text)
    with pytest.raises(ClientError, match=words) as wrong:
        found(credentials, **endpoint)
    assert "\n" not in str(wrong.value)


class Metadata:
    """An instance's metadata, version 2: what asks without a token is refused."""

    def __init__(self, expires="2099-01-01T00:00:00Z", role="probe"):
        self.document = {
            "Code": "Success",
            "AccessKeyId": "ASIA",
            "SecretAccessKey": "im-secret",
            "Token": "im-token",
            "Expiration": expires,
        }
        self.role = role

    def __call__(self, request):
        if (request.method, request.target) == (
            "PUT",
            "/latest/api/token",
        ) and "x-aws-ec2-metadata-token-ttl-seconds" in request.headers:
            return reply(200, b"t0ken")
        if request.headers.get("x-aws-ec2-metadata-token") != "t0ken":
            return reply(401, b"")
        if not self.role:
            return reply(404, b"")
        where = "/latest/meta-data/iam/security-credentials/"
        return reply(
            200,
            {where: self.role.encode(), where + self.role: json.dumps(self.document).encode()}[
                request.target
            ],
        )


@pytest.fixture
def instance(home, monkeypatch):
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")

    def serve(**words):
        server = Server(Metadata(**words))
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        return server

    return serve


def test_an_instance_of_the_cloud_has_the_keys_of_its_role(instance, evidence):
    with instance():
        assert found(evidence=evidence) == ("ASIA", "im-secret", "im-token", "instance metadata")
    assert not [
        secret
        for secret in ("im-secret", "im-token", "t0ken")
        if secret in "\n".join(evidence.lines())
    ]


def test_an_instance_without_a_role_and_a_host_that_is_none_are_told_apart(instance, monkeypatch):
    with instance(role=""):
        with pytest.raises(ClientError, match="this instance has no role$"):
            found()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        ClientError, match="nor from instance metadata: 127.0.0.1 port 1: connection refused$"
    ):
        found()


def test_keys_that_have_expired_are_not_used(instance):
    clock = VirtualClock()
    end = datetime.datetime.fromtimestamp(clock.utc() - 1, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    with instance(expires=end):
        with pytest.raises(ClientError, match="the keys from instance metadata have expired"):
            found(clock=clock)


def test_a_role_is_assumed_by_sts_and_its_secrets_are_shown_nowhere(home, monkeypatch, evidence):
    body = (
        b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIA'
        b"</AccessKeyId><SecretAccessKey>s1</SecretAccessKey><SessionToken>t1</SessionToken><Expiration>2099-01-01T00:00:00Z"
        b"</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
    with Server(lambda request: reply(200, body)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        role = {
            "access_key": "A",
            "secret_key": "b",
            "role_arn": "arn:aws:iam::1:role/probe",
            "external_id": "x",
        }
        assert found(role, evidence) == ("ASIA", "s1", "t1", "role arn:aws:iam::1:role/probe")
    form = dict(parse_qsl(server.requests[0].body.decode()))
    assert (form["Action"], form["RoleArn"], form["ExternalId"]) == (
        "AssumeRole",
        "arn:aws:iam::1:role/probe",
        "x",
    )
    assert not [secret for secret in ("s1", "t1") if f">{secret}<" in "\n".join(evidence.lines())]


@pytest.mark.parametrize(
    "region, host",
    [
        ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "sts.us-iso-east-1.c2s.ic.gov"),
    ],
)
def test_sts_is_asked_in_the_partition_of_the_region(home, monkeypatch, region, host):
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS", raising=False)
    for name, value in (
        ("https_proxy", "http://127.0.0.1:1"),
        ("no_proxy", ""),
    ):  # so that nobody is looked up, nor spoken to
        monkeypatch.setenv(name, value)
    evidence = Evidence(keep=True)
    finder = Finder(
        {"timeout": 5.0},
        {"access_key": "A", "secret_key": "b", "role_arn": "arn:x"},
        Deadline(60, 0),
        evidence,
    )

    with pytest.raises(VmprobeError):
        finder.find(region)
    assert [line for line in evidence.lines() if f"POST https://{host}" in line]


def test_a_role_that_is_refused_is_the_credential_that_is_rejected(home, monkeypatch):
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    with Server(lambda request: reply(403, body)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        with pytest.raises(AuthRejected, match="AssumeRole: 403 AccessDenied: not you"):
            found({"access_key": "A", "secret_key": "b", "role_arn": "arn:x"})
