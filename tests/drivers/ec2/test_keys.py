"""Where the keys of a site come from."""

import datetime
import json
import os
from urllib.parse import parse_qsl

import pytest

from private import written
from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import AuthRejected, ClientError, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.ec2.keys import Finder


@pytest.fixture
def evidence():
    return Evidence(keep=True)


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


def keys_of(credentials=None, evidence=None, clock=None, **endpoint):
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
def test_keys_are_sent_only_to_the_endpoint_that_is_configured_beside_them(
    home, monkeypatch, environment, source
):
    written(
        home / "credentials",
        "[default]\naws_access_key_id = A\naws_secret_access_key = k\nendpoint_url = https://own:8773/\n",
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert keys_of(url="https://own:8773/elsewhere")[3] == source
    for url in ("https://thief:8773/", "https://own/", "http://own:8773/", None):
        with pytest.raises(
            ClientError,
            match=f"^the keys from {source} are configured for https://own:8773.*, and are not sent to ",
        ):
            keys_of(url=url)


def test_keys_of_a_credentials_file_are_for_the_url_of_the_site(home, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://own:8773")

    assert keys_of({"access_key": "F", "secret_key": "s"}, url="https://other/")[0] == "F"


def test_the_credentials_file_comes_first(home, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    assert keys_of({"access_key": "F", "secret_key": "s", "session_token": "t"}) == (
        "F",
        "s",
        "t",
        "the credentials file",
    )


def test_then_the_profile_of_the_site_then_the_environment_then_the_default_profile(
    home, monkeypatch
):
    written(
        home / "credentials",
        "[default]\naws_access_key_id = D\naws_secret_access_key = d%s\n"
        "[ops]\naws_access_key_id = O\naws_secret_access_key = o\naws_session_token = t\n",
    )
    assert keys_of() == ("D", "d%s", "", "profile 'default'")
    assert keys_of(profile="ops") == ("O", "o", "t", "profile 'ops'")
    monkeypatch.setenv("AWS_PROFILE", "ops")
    assert keys_of()[0] == "O"
    monkeypatch.setenv("EC2_ACCESS_KEY", "U")
    monkeypatch.setenv("EC2_SECRET_KEY", "u")
    assert keys_of() == ("U", "u", "", "the environment")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    assert keys_of() == ("E", "e", "x", "the environment")
    assert keys_of(profile="ops")[0] == "O"


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
        keys_of()
    assert (
        str(wrong.value)
        == f"{home / file}: has mode 0644: others than its owner have access; chmod 0600 it"
    )


def test_a_config_file_without_a_secret_may_be_read_by_everybody(home):
    written(home / "config", "[default]\nregion = eu-west-1\n", 0o644)
    written(home / "credentials", "[default]\naws_access_key_id = D\naws_secret_access_key = d\n")
    assert keys_of() == ("D", "d", "", "profile 'default'")


def test_a_pipe_in_place_of_a_shared_file_is_refused_at_once(home):
    os.mkfifo(home / "credentials", 0o600)
    with pytest.raises(ClientError) as wrong:
        keys_of()
    assert str(wrong.value) == f"{home / 'credentials'}: is not a regular file"


def test_the_config_file_has_its_own_names_of_profiles_and_the_region(home):
    written(
        home / "config",
        "[profile ops]\nregion = eu-west-1\naws_access_key_id = C\naws_secret_access_key = c\n",
    )
    finder = Finder({"timeout": 5.0, "profile": "ops"}, {}, Deadline(60, 0), Evidence())
    assert (finder.find("here").access, finder.region()) == ("C", "eu-west-1")


@pytest.mark.parametrize(
    "credentials, endpoint, files, message",
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
def test_keys_that_cannot_be_used_are_our_own_mistake_and_one_line(
    home, credentials, endpoint, files, message
):
    for name, text in files.items():
        written(home / name, text)
    with pytest.raises(ClientError, match=message) as wrong:
        keys_of(credentials, **endpoint)
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

    def serve(**settings):
        server = Server(Metadata(**settings))
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        return server

    return serve


def test_an_instance_of_the_cloud_has_the_keys_of_its_role(instance, evidence):
    with instance():
        assert keys_of(evidence=evidence) == ("ASIA", "im-secret", "im-token", "instance metadata")
    assert not [
        secret
        for secret in ("im-secret", "im-token", "t0ken")
        if secret in "\n".join(evidence.lines())
    ]


def test_an_instance_without_a_role_and_a_host_without_metadata_are_told_apart(
    instance, monkeypatch
):
    with instance(role=""):
        with pytest.raises(ClientError, match="this instance has no role$"):
            keys_of()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        ClientError, match="nor from instance metadata: 127.0.0.1 port 1: connection refused$"
    ):
        keys_of()


def test_keys_that_have_expired_are_not_used(instance):
    clock = VirtualClock()
    end = datetime.datetime.fromtimestamp(clock.utc() - 1, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    with instance(expires=end):
        with pytest.raises(ClientError, match="the keys from instance metadata have expired"):
            keys_of(clock=clock)


def test_a_role_is_assumed_by_sts_and_its_secrets_are_redacted(home, monkeypatch, evidence):
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
        assert keys_of(role, evidence) == ("ASIA", "s1", "t1", "role arn:aws:iam::1:role/probe")
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


def test_a_refused_role_is_a_rejected_credential(home, monkeypatch):
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    with Server(lambda request: reply(403, body)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        with pytest.raises(AuthRejected, match="AssumeRole: 403 AccessDenied: not you"):
            keys_of({"access_key": "A", "secret_key": "b", "role_arn": "arn:x"})
