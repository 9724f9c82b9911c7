"""How a session with Keystone begins: by each form of credentials, for the right project."""

import select
import ssl
from contextlib import suppress

import pytest

from certificates import Authority
from private import written
from rawserver import Server, reply
from simulators.keystone import (
    FEDERATION,
    OIDC,
    OPS,
    OPS_ID,
    PROJECTS,
    SENT,
    answer,
    keystone,
    message_of,
)
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    GatewayFailed,
    NotPermitted,
)

pytestmark = pytest.mark.usefixtures("no_environment")


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", SENT)
def test_each_form_is_one_request_in_keystones_own_words(form, identity):
    cloud = identity()
    credentials, endpoint, body = SENT[form]
    session = keystone(cloud, credentials, **endpoint)

    session.authenticate()

    assert cloud.bodies() == [body] and len(cloud.server.requests) == 1
    assert session.project == "a" * 32


@pytest.mark.parametrize("suffix", ["", "/", "/v3", "/v3/", "/v2.0"])
def test_the_url_may_or_may_not_have_the_version(identity, suffix):
    cloud = identity()

    keystone(cloud.url + suffix, SENT["password"][0], project="ops").authenticate()

    assert cloud.paths() == ["POST /v3/auth/tokens"]


def test_a_token_that_is_for_the_project_already_is_the_session_and_never_exchanged(
    identity, tmp_path
):
    cloud = identity()
    cloud.scopes["given-token"] = "a" * 32
    written(tmp_path / "token", "given-token\n")

    for credentials, project in (
        (dict(token="given-token"), "ops"),
        (dict(token="given-token"), ""),
        (dict(token_file=str(tmp_path / "token")), "a" * 32),
    ):
        session = keystone(cloud, credentials, project=project)
        session.authenticate()
        assert session.project == "a" * 32
        assert session.credential_expiry() == 1893456000

    assert cloud.paths() == ["GET /v3/auth/tokens"] * 3


def test_a_token_for_no_project_or_another_one_is_exchanged(identity):
    cloud = identity()
    cloud.scopes.update({"unscoped-token": None, "other-token": "c" * 32})

    for token in cloud.scopes.copy():
        session = keystone(cloud, dict(token=token), project="ops")
        session.authenticate()
        assert session.project == "a" * 32

    assert cloud.bodies() == [
        {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": {"project": OPS}}
        for token in ("unscoped-token", "other-token")
    ]


def test_without_any_form_nothing_is_asked(identity):
    cloud = identity()

    message = message_of(
        ClientError, keystone(cloud, dict(username="robot"), project="ops").authenticate
    )

    assert (
        message == "no password, application credential, token or certificate among the credentials"
    )
    assert cloud.paths() == []
    assert (
        message_of(
            ClientError, keystone(cloud, dict(password="s3cret"), project="ops").authenticate
        )
        == "no username among the credentials"
    )


def test_a_credential_that_keystone_does_not_accept_is_rejected_in_keystones_words(identity):
    cloud = identity()
    for credentials in (
        dict(username="robot", password="wrong"),
        dict(token="wrong-token"),
        dict(application_credential_id="ac1", application_credential_secret="wrong"),
    ):
        assert message_of(
            AuthRejected, keystone(cloud, credentials, project="ops").authenticate
        ) == ("authentication: 401 The request you have made requires authentication.")


@pytest.mark.parametrize(
    "response, message",
    [
        (
            answer({"token": {"catalog": []}}, 201),
            "authentication: 201 the answer has no token",
        ),
        (
            answer({"token": {}}, 201, X_Subject_Token="t"),
            "authentication: the token is for no project; choose one with 'project'",
        ),
    ],
)
def test_an_answer_without_a_session_is_an_error(response, message):
    with Server(lambda request: response) as server:
        session = keystone(server, SENT["password"][0], project="ops")

        assert message_of(CloudError, session.authenticate) == message
        assert message_of(AuthRejected, session.service, "compute") == "no session with Keystone"


# --- projects -------------------------------------------------------------------------------------


def test_the_only_project_needs_no_name_and_of_several_one_has_to_be_named(identity):
    only = identity(projects=PROJECTS[:1])
    session = keystone(only, SENT["password"][0])
    session.authenticate()
    assert session.project == "a" * 32
    assert [body.get("scope") for body in only.bodies()] == ["unscoped", {"project": OPS_ID}]

    message = message_of(ClientError, keystone(identity(), SENT["password"][0]).authenticate)
    assert (
        message
        == "this identity is for the projects biomed, ops, ops-test: choose one with 'project'"
    )
    message = message_of(
        CloudError, keystone(identity(projects=[]), SENT["password"][0]).authenticate
    )
    assert message == "authentication: this identity is for no project"


def test_a_project_is_never_chosen_by_a_part_of_its_name(identity):
    cloud = identity(projects=PROJECTS[1:])

    message = message_of(ClientError, keystone(cloud, OIDC, project="ops").authenticate)

    assert message == "this identity is for the projects biomed, ops-test, not for 'ops'"


def test_two_projects_of_one_name_are_told_apart_by_their_ids(identity):
    cloud = identity(projects=[("a" * 32, "ops"), ("b" * 32, "ops")])

    message = message_of(ClientError, keystone(cloud, OIDC, project="ops").authenticate)
    assert (
        message
        == f"this identity is for the projects ops ({'a' * 32}), ops ({'b' * 32}): choose one with 'project'"
    )

    session = keystone(cloud, OIDC, project="b" * 32)
    session.authenticate()
    assert session.project == "b" * 32


def test_an_application_credential_for_another_project_than_the_sites_is_refused(identity):
    secret = SENT["application-credential"][0]

    for project in ("ops", "a" * 32):
        keystone(identity(), secret, project=project).authenticate()
    assert message_of(ClientError, keystone(identity(), secret, project="biomed").authenticate) == (
        f"the application credential is for the project ops ({'a' * 32}), not for 'biomed'"
    )


# --- federation -----------------------------------------------------------------------------------


def test_an_access_token_is_exchanged_by_the_protocol_that_the_site_has(identity):
    for protocol, asked in (("openid", ["openid"]), ("oidc", ["openid", "oidc"])):
        cloud = identity(protocols=(protocol,))
        session = keystone(cloud, OIDC, project="ops")

        session.authenticate()

        assert cloud.paths() == [f"POST {FEDERATION}{name}/auth" for name in asked] + [
            "GET /v3/auth/projects",
            "POST /v3/auth/tokens",
        ]
        assert cloud.server.requests[0].headers["authorization"] == "Bearer bearer-of-the-robot"
        assert "authorization" not in cloud.server.requests[-1].headers
        assert cloud.bodies() == [
            {
                "identity": {"methods": ["token"], "token": {"id": "token-1"}},
                "scope": {"project": OPS_ID},
            }
        ]


def test_a_protocol_that_is_named_is_the_only_one(identity):
    cloud = identity(protocols=("oidc",))
    keystone(cloud, dict(OIDC, protocol="oidc"), project="ops").authenticate()
    assert cloud.paths()[0] == f"POST {FEDERATION}oidc/auth"

    message = message_of(
        AuthRejected, keystone(cloud, dict(OIDC, protocol="mapped"), project="ops").authenticate
    )
    assert message == "authentication by egi.eu and mapped: 404 Could not find federated protocol"


def test_a_rejection_by_the_protocol_that_exists_is_raised_and_not_the_others_absence(identity):
    cloud = identity(protocols=("openid",))

    message = message_of(
        AuthRejected, keystone(cloud, dict(OIDC, access_token="wrong"), project="ops").authenticate
    )

    assert (
        message
        == "authentication by egi.eu and openid: 401 The request you have made requires authentication."
    )


def test_a_mapping_that_lets_nobody_in_and_a_login_page_are_refusals():
    forbidden = answer({"error": {"message": "Could not map any federated user properties"}}, 403)
    with Server(
        lambda request: (
            forbidden
            if "openid" in request.target
            else reply(302, Location="https://login.example.org/")
        )
    ) as server:
        assert message_of(NotPermitted, keystone(server, OIDC).authenticate) == (
            "authentication by egi.eu and openid: 403 Could not map any federated user properties"
        )
    with Server(lambda request: reply(302, Location="https://login.example.org/")) as server:
        assert message_of(AuthRejected, keystone(server, OIDC).authenticate) == (
            "authentication by egi.eu and openid: 302 redirects to https://login.example.org/, another host: not followed"
        )


def test_a_keystone_that_fails_is_not_asked_for_its_other_protocol():
    with Server(lambda request: reply(503, "")) as server:
        message_of(GatewayFailed, keystone(server, OIDC).authenticate)

        assert len(server.requests) == 1


@pytest.mark.parametrize("later", [False, True], ids=["at-the-handshake", "for-this-path-only"])
def test_a_proxy_goes_through_the_protocol_mapped(identity, tmp_path, later):
    authority = Authority(tmp_path)
    proxy = authority.issue("proxy", names=(), under=authority.issue("user", names=()))
    cloud, seen = identity(protocols=("mapped",)), []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.issue("server"))
    tls.load_verify_locations(authority.ca)
    tls.verify_mode, tls.post_handshake_auth = (
        (ssl.CERT_OPTIONAL if later else ssl.CERT_REQUIRED),
        later,
    )

    def respond(request):
        answered = cloud.answer(request)
        if not later or "OS-FEDERATION" not in request.target:
            return answered

        def verified(connection):
            connection.verify_client_post_handshake()
            connection.do_handshake()
            connection.setblocking(False)
            while (
                not connection.getpeercert()
            ):  # it comes with nothing after it: the client waits for the answer
                select.select([connection], [], [], 5)
                with suppress(ssl.SSLWantReadError):
                    connection.recv(1)
            connection.setblocking(True)
            seen.append(dict(pair for (pair,) in connection.getpeercert()["subject"])["commonName"])
            connection.sendall(answered.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

        return verified

    with Server(respond, tls=tls) as server:
        cloud.url = server.url
        session = keystone(
            server,
            dict(certificate=str(proxy), identity_provider="egi.eu"),
            ca=str(authority.ca),
            project="ops",
        )
        session.authenticate()

    assert [request.target for request in server.requests] == [
        f"{FEDERATION}mapped/auth",
        "/v3/auth/projects",
        "/v3/auth/tokens",
    ]
    assert session.project == "a" * 32
    assert seen == (["proxy"] if later else [])


def test_a_certificate_beside_another_form_is_for_tls_alone(identity, tmp_path):
    cloud, authority = identity(), Authority(tmp_path)
    certificate = str(authority.issue("user", days=7, names=()))
    session = keystone(cloud, dict(SENT["application-credential"][0], certificate=certificate))

    session.authenticate()

    assert cloud.paths() == ["POST /v3/auth/tokens"]
    assert session.credential_expiry() is not None
