"""Where credentials come from, and which Keystone they are sent to."""

import base64
import json

import pytest

from certificates import Authority
from private import written
from simulators.keystone import (
    FEDERATION,
    OIDC,
    OPS_ID,
    SENT,
    clouds,
    keystone,
    message_of,
)
from virtual import VirtualClock
from vmprobe.core.errors import (
    ClientError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor

pytestmark = pytest.mark.usefixtures("no_environment")


# --- files with tokens ----------------------------------------------------------------------------


def test_an_access_token_file_is_read_anew_for_each_session(identity, tmp_path):
    cloud, file = identity(), tmp_path / "token"
    evidence = Evidence(Redactor(), keep=True)
    session = keystone(
        cloud,
        dict(access_token_file=str(file), identity_provider="egi.eu"),
        evidence=evidence,
        project="ops",
    )

    for bearer in ("first-bearer", "second-bearer"):
        written(file, bearer + "\n")
        session.authenticate()

    bearers = [
        request.headers["authorization"]
        for request in cloud.server.requests
        if "authorization" in request.headers
    ]
    assert bearers == ["Bearer first-bearer", "Bearer second-bearer"]
    assert evidence.redactor.redact("first-bearer second-bearer token-1") == "*** *** ***"


def test_an_expired_access_token_is_a_client_error_and_is_not_sent(identity):
    cloud, clock = identity(), VirtualClock()
    claims = (
        base64.urlsafe_b64encode(json.dumps({"exp": clock.utc() - 90}).encode())
        .decode()
        .rstrip("=")
    )
    bearer = f"e30.{claims}.c2ln"

    assert (
        message_of(
            ClientError, keystone(cloud, dict(OIDC, access_token=bearer), clock).authenticate
        )
        == "the access token expired 90 s ago"
    )
    assert cloud.paths() == []
    assert (
        keystone(cloud, dict(OIDC, access_token=bearer), clock).credential_expiry()
        == clock.utc() - 90
    )


def test_a_bad_token_file_is_a_client_error(identity, tmp_path):
    written(tmp_path / "empty", "\n")
    written(tmp_path / "junk", b"\xff\xfe")
    for name, wrong in (
        ("none", "No such file or directory"),
        ("empty", "is empty"),
        ("junk", "is not a token"),
    ):
        session = keystone(
            identity(), dict(access_token_file=str(tmp_path / name), identity_provider="egi.eu")
        )
        assert message_of(ClientError, session.authenticate) == f"{tmp_path / name}: {wrong}"
    assert message_of(
        ClientError, keystone(identity(), dict(access_token="bearer")).authenticate
    ) == ("no identity_provider among the credentials")


@pytest.mark.parametrize("key", ["token_file", "access_token_file"])
def test_a_token_that_others_can_read_is_refused(identity, tmp_path, key):
    cloud, file = identity(), written(tmp_path / "token", "granted-to-robot\n", 0o644)
    session = keystone(cloud, {key: str(file), "identity_provider": "egi.eu"}, project="ops")

    assert message_of(ClientError, session.authenticate) == (
        f"{file}: has mode 0644: others than its owner have access; chmod 0600 it"
    )
    assert cloud.paths() == []


# --- the environment ------------------------------------------------------------------------------


def environment(monkeypatch, **words):
    for name, value in words.items():
        monkeypatch.setenv(name, str(value))


def test_the_environment_serves_where_the_site_has_no_credentials(identity, monkeypatch):
    cloud = identity()
    environment(
        monkeypatch,
        OS_AUTH_URL=cloud.url,
        OS_USERNAME="robot",
        OS_PASSWORD="s3cret",
        OS_PROJECT_NAME="biomed",
        OS_PROJECT_ID="a" * 32,
        OS_USER_DOMAIN_NAME="people",
        OS_PROJECT_DOMAIN_ID="default",
        OS_REGION_NAME="south",
        OS_INTERFACE="publicURL",
        OS_IDENTITY_API_VERSION="3",
        OS_AUTH_TYPE="password",
    )
    session = keystone(None)

    session.authenticate()

    assert cloud.bodies() == [
        {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"name": "robot", "domain": {"name": "people"}, "password": "s3cret"}
                },
            },
            "scope": {"project": OPS_ID},
        }
    ]
    assert session.service("compute").url == f"{cloud.url}/south"


def test_the_environment_is_not_read_where_the_site_has_credentials(identity, monkeypatch):
    cloud = identity()
    environment(
        monkeypatch,
        OS_CLOUD="nowhere",
        OS_AUTH_TYPE="v3kerberos",
        OS_PROJECT_NAME="biomed",
        OS_TOKEN="others-token",
    )

    keystone(cloud, SENT["password"][0], project="ops").authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


def test_older_variables_of_the_environment_are_known(identity, monkeypatch):
    cloud = identity()
    environment(
        monkeypatch,
        OS_AUTH_URL=f"{cloud.url}/v2.0",
        OS_USERNAME="robot",
        OS_PASSWORD="s3cret",
        OS_TENANT_NAME="ops",
    )

    keystone(None).authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


def test_the_grids_proxy_of_the_environment_serves(identity, monkeypatch, tmp_path):
    proxy = Authority(tmp_path).issue("proxy", names=())
    cloud = identity(protocols=("mapped",))
    environment(
        monkeypatch,
        X509_USER_PROXY=proxy,
        OS_AUTH_URL=cloud.url,
        OS_IDENTITY_PROVIDER="egi.eu",
        OS_PROJECT_NAME="ops",
    )

    keystone(None).authenticate()

    assert cloud.paths()[0] == f"POST {FEDERATION}mapped/auth"


# --- whose secret it is ---------------------------------------------------------------------------


def test_a_password_for_another_login_page_is_not_sent_to_keystone(monkeypatch):
    clouds(
        "clouds: {mine: {auth_type: v3oidcpassword, auth: {auth_url: http://127.0.0.1:1, username: me, password: s3cret}}}"
    )
    known = "password, token, v3applicationcredential, v3oidcaccesstoken, v3password, v3token"

    assert message_of(ClientError, keystone, None, cloud="mine") == (
        f"the cloud mine in clouds.yaml: auth_type 'v3oidcpassword' is none of {known}"
    )
    monkeypatch.setenv("OS_AUTH_TYPE", "v3kerberos")
    assert (
        message_of(ClientError, keystone, None)
        == f"OS_AUTH_TYPE: auth_type 'v3kerberos' is none of {known}"
    )


def test_a_password_from_the_environment_is_sent_only_to_the_environments_keystone(
    identity, monkeypatch
):
    mine, other = identity(), identity()
    environment(
        monkeypatch,
        OS_AUTH_URL=f"{mine.url}/identity/v3",
        OS_USERNAME="robot",
        OS_PASSWORD="s3cret",
    )

    message = message_of(ClientError, keystone, f"{other.url}/v3")

    assert message == (
        f"the credentials belong to {mine.url}/identity/v3, which is OS_AUTH_URL, and are not sent to {other.url}/v3"
    )
    assert (mine.paths(), other.paths()) == ([], [])


def test_a_site_may_name_the_keystone_of_the_environment_itself(identity, monkeypatch):
    cloud = identity()
    environment(
        monkeypatch, OS_AUTH_URL=f"{cloud.url}/v2.0", OS_USERNAME="robot", OS_PASSWORD="s3cret"
    )

    keystone(f"{cloud.url}/v3", project="ops").authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


@pytest.mark.parametrize(
    "form",
    [
        "password: s3cret, username: robot",
        "token: granted-to-robot",
        "application_credential_id: ac1, application_credential_secret: s3cret",
        "access_token: bearer, identity_provider: egi.eu",
    ],
)
@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://keystone.example.org:5000",
        "https://keystone.example.org",
        "https://keystone.example.com:5000",
    ],
)
def test_a_secret_from_clouds_yaml_is_sent_only_to_that_clouds_keystone(form, elsewhere):
    clouds(
        f"clouds: {{mine: {{auth: {{auth_url: 'https://keystone.example.org:5000/v3', {form}}}}}}}"
    )

    assert message_of(ClientError, keystone, elsewhere, cloud="mine") == (
        "the credentials belong to https://keystone.example.org:5000/v3, which is the auth_url of clouds.yaml, "
        f"and are not sent to {elsewhere}"
    )
