"""How a session with Keystone begins: by every form of credential, from every place, for the right project and region."""

import base64
import json
import os
import pathlib
import select
import ssl
import sys
import textwrap
from contextlib import suppress

import pytest

from certificates import Authority
from private import written
from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    GatewayFailed,
    NotFound,
    NotPermitted,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.drivers.openstack import credentials as known
from vmprobe.drivers.openstack.keystone import Keystone

PROJECTS = [("a" * 32, "ops"), ("b" * 32, "ops-test"), ("c" * 32, "biomed")]
CATALOG = [
    ("compute", "public", "north", "/nova"),
    ("compute", "internal", "north", "/inside"),
    ("compute", "public", "south", "/south"),
    ("volumev3", "public", "north", "/cinder"),
]
FEDERATION = "/v3/OS-FEDERATION/identity_providers/egi.eu/protocols/"


class Identity:
    """A Keystone, as far as Identity API v3 is needed: accepts any proof but the word ``wrong``."""

    def __init__(self, projects=PROJECTS, protocols=("openid",), granted=None):
        self.projects, self.protocols, self.granted = dict(projects), protocols, granted
        self.scopes = {}  # of the tokens that were granted: the project's id, or None
        self.server = Server(self.answer)
        self.url = self.server.url

    def answer(self, request):
        """The bytes for one request."""
        path, token = request.target, request.headers.get("x-auth-token")
        if path.startswith(FEDERATION):
            return self._federated(
                path[len(FEDERATION) :].partition("/")[0], request.headers.get("authorization", "")
            )
        if path == "/v3/auth/projects":
            return _json(
                {"projects": [{"id": one, "name": name} for one, name in self.projects.items()]}
            )
        if request.method == "GET" and path == "/v3/auth/tokens":
            return self._token(token, self.scopes[token]) if token in self.scopes else REJECTED
        return self._authenticate(json.loads(request.body)["auth"])

    def _authenticate(self, auth):
        (method,), proof = auth["identity"]["methods"], auth["identity"]
        if (
            "wrong" in json.dumps(proof)
            or method == "token"
            and proof["token"]["id"] not in self.scopes
        ):
            return REJECTED
        scope = auth.get("scope")
        if method == "application_credential":
            return self._grant(PROJECTS[0][0])
        if scope in (None, "unscoped"):
            return self._grant(None)
        wanted = scope["project"]
        mine = [
            one
            for one, name in self.projects.items()
            if wanted in ({"id": one}, {"name": name, "domain": wanted.get("domain")})
        ]
        return self._grant(mine[0]) if mine else REJECTED

    def _federated(self, protocol, authorization):
        if protocol not in self.protocols:
            return reply(
                404,
                '{"error": {"message": "Could not find federated protocol"}}',
                Content_Type="application/json",
            )
        return REJECTED if "wrong" in authorization else self._grant(None)

    def _grant(self, project):
        token = f"token-{len(self.scopes) + 1}"
        self.scopes[token] = project
        return self._token(token, project, 201)

    def _token(self, token, project, status=200):
        body = {"expires_at": "2030-01-01T00:00:00.000000Z", "user": {"id": "u"}}
        if project:
            body.update(
                project={"id": project, "name": self.projects[project]}, catalog=_catalog(self.url)
            )
        return _json({"token": body}, status, X_Subject_Token=token)

    def bodies(self):
        """What was sent to POST /v3/auth/tokens."""
        return [
            json.loads(request.body)["auth"]
            for request in self.server.requests
            if (request.method, request.target) == ("POST", "/v3/auth/tokens")
        ]

    def paths(self):
        return [f"{request.method} {request.target}" for request in self.server.requests]


def _catalog(url):
    kinds = dict.fromkeys(kind for kind, *_ in CATALOG)
    return [
        {
            "type": kind,
            "endpoints": [
                {"interface": interface, "region_id": region, "url": url + path}
                for one, interface, region, path in CATALOG
                if one == kind
            ],
        }
        for kind in kinds
    ]


def _json(document, status=200, **headers):
    return reply(status, json.dumps(document), Content_Type="application/json", **headers)


REJECTED = _json(
    {"error": {"code": 401, "message": "The request you have made requires authentication."}}, 401
)


@pytest.fixture
def identity():
    """identity(...) is an ``Identity`` that listens."""
    made = []

    def make(**words):
        made.append(Identity(**words))
        return made[-1]

    yield make
    for one in made:
        one.server.__exit__()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """What this machine is set up for does not count here."""
    for name in [name for name in os.environ if name.startswith("OS_")] + ["X509_USER_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def keystone(url, credentials=None, clock=None, ca=None, evidence=None, **endpoint):
    """A Keystone session by a site's [endpoint] and [credentials], not begun yet."""
    endpoint = {"url": getattr(url, "url", url), "timeout": 20.0, "ca": ca, **endpoint}
    return Keystone(
        endpoint,
        credentials or {},
        Deadline(60, 0, clock or Clock()),
        evidence or Evidence(Redactor(), keep=True),
    )


def told(kind, act, *words, **more):
    """The text of the error of exactly this kind that ``act`` raises."""
    with pytest.raises(kind) as raised:
        act(*words, **more)
    assert type(raised.value) is kind
    return str(raised.value)


# --- forms --------------------------------------------------------------------------------------------------------

OPS, OPS_ID = {"name": "ops", "domain": {"name": "Default"}}, {"id": "a" * 32}
ROBOT = {"name": "robot", "domain": {"name": "Default"}}
SENT = {  # the credentials, what [endpoint] adds: what Keystone is sent
    "password": (
        dict(username="robot", password="s3cret"),
        dict(project="ops"),
        {
            "identity": {
                "methods": ["password"],
                "password": {"user": {**ROBOT, "password": "s3cret"}},
            },
            "scope": {"project": OPS},
        },
    ),
    "password-and-project-by-id": (
        dict(user_id="u1", password="s3cret"),
        dict(project="a" * 32),
        {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"id": "u1", "password": "s3cret"}},
            },
            "scope": {"project": OPS_ID},
        },
    ),
    "password-and-domains": (
        dict(username="robot", password="s3cret", user_domain_name="people"),
        {"project": "ops", "project domain": "grid"},
        {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"name": "robot", "domain": {"name": "people"}, "password": "s3cret"}
                },
            },
            "scope": {"project": {"name": "ops", "domain": {"name": "grid"}}},
        },
    ),
    "password-and-domains-by-id": (
        dict(username="robot", password="s3cret", user_domain_id="default"),
        {"project": "ops", "project domain": "default"},
        {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"name": "robot", "domain": {"id": "default"}, "password": "s3cret"}
                },
            },
            "scope": {"project": {"name": "ops", "domain": {"id": "default"}}},
        },
    ),
    "application-credential": (
        dict(application_credential_id="ac1", application_credential_secret="s3cret"),
        dict(project="ops"),
        {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": "ac1", "secret": "s3cret"},
            }
        },
    ),
    "application-credential-by-name": (
        dict(
            application_credential_name="vmprobe",
            application_credential_secret="s3cret",
            username="robot",
        ),
        {},
        {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"name": "vmprobe", "user": ROBOT, "secret": "s3cret"},
            }
        },
    ),
}


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

    said = told(ClientError, keystone(cloud, dict(username="robot"), project="ops").authenticate)

    assert said == "no password, application credential, token or certificate among the credentials"
    assert cloud.paths() == []
    assert (
        told(ClientError, keystone(cloud, dict(password="s3cret"), project="ops").authenticate)
        == "no username among the credentials"
    )


def test_what_keystone_does_not_accept_is_rejected_in_its_words(identity):
    cloud = identity()
    for credentials in (
        dict(username="robot", password="wrong"),
        dict(token="wrong-token"),
        dict(application_credential_id="ac1", application_credential_secret="wrong"),
    ):
        assert told(AuthRejected, keystone(cloud, credentials, project="ops").authenticate) == (
            "authentication: 401 The request you have made requires authentication."
        )


@pytest.mark.parametrize(
    "answer, said",
    [
        (
            _json({"token": {"catalog": []}}, 201),
            "authentication: 201 the answer has no token",
        ),
        (
            _json({"token": {}}, 201, X_Subject_Token="t"),
            "authentication: the token is for no project; choose one with 'project'",
        ),
    ],
)
def test_a_session_that_is_none_is_told(answer, said):
    with Server(lambda request: answer) as server:
        session = keystone(server, SENT["password"][0], project="ops")

        assert told(CloudError, session.authenticate) == said
        assert told(AuthRejected, session.service, "compute") == "no session with Keystone"


# --- projects and regions -----------------------------------------------------------------------------------------


def test_the_only_project_needs_no_name_and_of_several_one_has_to_be_named(identity):
    only = identity(projects=PROJECTS[:1])
    session = keystone(only, SENT["password"][0])
    session.authenticate()
    assert session.project == "a" * 32
    assert [body.get("scope") for body in only.bodies()] == ["unscoped", {"project": OPS_ID}]

    said = told(ClientError, keystone(identity(), SENT["password"][0]).authenticate)
    assert (
        said == "this identity is for the projects biomed, ops, ops-test: choose one with 'project'"
    )
    said = told(CloudError, keystone(identity(projects=[]), SENT["password"][0]).authenticate)
    assert said == "authentication: this identity is for no project"


def test_a_project_is_never_chosen_by_a_part_of_its_name(identity):
    cloud = identity(projects=PROJECTS[1:])

    said = told(ClientError, keystone(cloud, OIDC, project="ops").authenticate)

    assert said == "this identity is for the projects biomed, ops-test, not for 'ops'"


def test_two_projects_of_one_name_are_told_apart_by_their_ids(identity):
    cloud = identity(projects=[("a" * 32, "ops"), ("b" * 32, "ops")])

    said = told(ClientError, keystone(cloud, OIDC, project="ops").authenticate)
    assert (
        said
        == f"this identity is for the projects ops ({'a' * 32}), ops ({'b' * 32}): choose one with 'project'"
    )

    session = keystone(cloud, OIDC, project="b" * 32)
    session.authenticate()
    assert session.project == "b" * 32


def test_a_service_is_that_of_the_region_and_the_interface(identity):
    def nova(**endpoint):
        session = keystone(cloud, SENT["application-credential"][0], **endpoint)
        session.authenticate()
        return session.service("compute").url

    cloud = identity()

    assert nova(region="north") == f"{cloud.url}/nova"
    assert nova(region="south") == f"{cloud.url}/south"
    assert (
        nova(region="north", interface="internal")
        == nova(region="north", interface="internalURL")
        == f"{cloud.url}/inside"
    )
    assert (
        told(ClientError, nova)
        == "the catalog has compute in the regions north, south: choose one with 'region'"
    )
    assert (
        told(ClientError, nova, region="west")
        == "[endpoint] region: the catalog has compute in north, south, not in west"
    )
    assert told(ClientError, nova, region="north", interface="admin") == (
        "[endpoint] interface: the catalog has compute, but no admin endpoint of it"
    )


def test_the_first_type_that_the_catalog_has_is_taken(identity):
    session = keystone(identity(), SENT["application-credential"][0], region="north")
    session.authenticate()

    assert session.service("block-storage", "volumev3").url.endswith("/cinder")
    assert (session.has("block-storage", "volumev3"), session.has("metric")) == (True, False)
    assert told(NotFound, session.service, "metric") == "the catalog has no service metric"


def test_a_region_is_without_a_service_that_only_another_one_has(identity):
    for region, lacking in (("north", False), ("south", True)):
        session = keystone(identity(), SENT["application-credential"][0], region=region)
        session.authenticate()
        assert (session.lacks("volumev3"), session.lacks("compute"), session.lacks("metric")) == (
            lacking,
            False,
            True,
        )


@pytest.mark.parametrize(
    "region, expected", [(None, "a"), ("RegionOne", "a"), ("REGIONONE", "b"), ("regionone", "a")]
)
def test_a_region_in_other_letters_is_the_same_unless_it_is_there_in_these(
    region, expected, identity, monkeypatch
):
    monkeypatch.setitem(
        globals(),
        "_catalog",
        lambda url: [
            {
                "type": "compute",
                "endpoints": [
                    {"interface": "public", "region_id": name, "url": f"{url}/{path}"}
                    for name, path in (("RegionOne", "a"), ("REGIONONE", "b"))
                ],
            }
        ],
    )
    session = keystone(
        identity(), SENT["application-credential"][0], **({"region": region} if region else {})
    )
    session.authenticate()

    assert session.service("compute").url.rpartition("/")[2] == expected


def test_an_older_catalog_names_its_regions_by_another_word(identity, monkeypatch):
    monkeypatch.setitem(
        globals(),
        "_catalog",
        lambda url: [
            {
                "type": "compute",
                "endpoints": [
                    {"interface": "public", "region": region, "url": f"{url}/{region}"}
                    for region in ("north", "south")
                ],
            }
        ],
    )
    session = keystone(identity(), SENT["application-credential"][0], region="south")
    session.authenticate()

    assert session.service("compute").url.endswith("/south")


def test_an_application_credential_for_another_project_than_the_sites_is_refused(identity):
    secret = SENT["application-credential"][0]

    for project in ("ops", "a" * 32):
        keystone(identity(), secret, project=project).authenticate()
    assert told(ClientError, keystone(identity(), secret, project="biomed").authenticate) == (
        f"the application credential is for the project ops ({'a' * 32}), not for 'biomed'"
    )


# --- federation ---------------------------------------------------------------------------------------------------

OIDC = dict(access_token="bearer-of-the-robot", identity_provider="egi.eu")


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

    said = told(
        AuthRejected, keystone(cloud, dict(OIDC, protocol="mapped"), project="ops").authenticate
    )
    assert said == "authentication by egi.eu and mapped: 404 Could not find federated protocol"


def test_a_rejection_by_the_protocol_that_is_there_is_told_and_not_the_others_absence(identity):
    cloud = identity(protocols=("openid",))

    said = told(
        AuthRejected, keystone(cloud, dict(OIDC, access_token="wrong"), project="ops").authenticate
    )

    assert (
        said
        == "authentication by egi.eu and openid: 401 The request you have made requires authentication."
    )


def test_a_mapping_that_lets_nobody_in_and_a_login_page_are_refusals():
    forbidden = _json({"error": {"message": "Could not map any federated user properties"}}, 403)
    with Server(
        lambda request: (
            forbidden
            if "openid" in request.target
            else reply(302, Location="https://login.example.org/")
        )
    ) as one:
        assert told(NotPermitted, keystone(one, OIDC).authenticate) == (
            "authentication by egi.eu and openid: 403 Could not map any federated user properties"
        )
    with Server(lambda request: reply(302, Location="https://login.example.org/")) as one:
        assert told(AuthRejected, keystone(one, OIDC).authenticate) == (
            "authentication by egi.eu and openid: 302 redirects to https://login.example.org/, another host: not followed"
        )


def test_a_keystone_that_fails_is_not_asked_for_its_other_protocol():
    with Server(lambda request: reply(503, "")) as server:
        told(GatewayFailed, keystone(server, OIDC).authenticate)

        assert len(server.requests) == 1


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


def test_an_access_token_that_ended_by_its_own_word_is_ours_and_not_sent(identity):
    cloud, clock = identity(), VirtualClock()
    claims = (
        base64.urlsafe_b64encode(json.dumps({"exp": clock.utc() - 90}).encode())
        .decode()
        .rstrip("=")
    )
    bearer = f"e30.{claims}.c2ln"

    assert (
        told(ClientError, keystone(cloud, dict(OIDC, access_token=bearer), clock).authenticate)
        == "the access token expired 90 s ago"
    )
    assert cloud.paths() == []
    assert (
        keystone(cloud, dict(OIDC, access_token=bearer), clock).credential_expiry()
        == clock.utc() - 90
    )


def test_what_is_wrong_with_a_token_file_is_ours(identity, tmp_path):
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
        assert told(ClientError, session.authenticate) == f"{tmp_path / name}: {wrong}"
    assert told(ClientError, keystone(identity(), dict(access_token="bearer")).authenticate) == (
        "no identity_provider among the credentials"
    )


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

    def answer(request):
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

    with Server(answer, tls=tls) as server:
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


# --- where they come from -----------------------------------------------------------------------------------------


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


def test_the_environment_is_not_looked_at_where_the_site_has_credentials(identity, monkeypatch):
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


def test_older_words_of_the_environment_are_known(identity, monkeypatch):
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


def clouds(text, file="clouds.yaml", mode=0o600):
    written(pathlib.Path(file), textwrap.dedent(text), mode)


def test_a_cloud_of_clouds_yaml_has_its_secret_in_secure_yaml(identity):
    cloud = identity()
    clouds(f"""\
        clouds:
          mine:
            auth:
              auth_url: {cloud.url}
              username: robot
              project_name: ops
              user_domain_name: Default
            region_name: south
            interface: public
          other: {{auth: {{auth_url: http://127.0.0.1:1}}}}
        """)
    clouds(
        "clouds: {mine: {auth: {password: s3cret}}, other: {auth: {password: wrong}}}",
        "secure.yaml",
    )
    session = keystone(None, cloud="mine")

    session.authenticate()

    assert cloud.bodies() == [SENT["password"][2]]
    assert session.service("compute").url == f"{cloud.url}/south"


def test_clouds_yaml_may_have_the_other_forms_and_os_cloud_chooses(identity, monkeypatch, tmp_path):
    cloud = identity()
    (tmp_path / "home" / "openstack").mkdir(parents=True)
    clouds(
        f"""\
        clouds:
          app:
            auth_type: v3applicationcredential
            auth: {{auth_url: {cloud.url}, application_credential_id: ac1, application_credential_secret: s3cret}}
          egi:
            auth_type: v3oidcaccesstoken
            auth: {{auth_url: {cloud.url}, access_token: bearer, identity_provider: egi.eu, protocol: openid, project_id: {"a" * 32}}}
        """,
        tmp_path / "home" / "openstack" / "clouds.yaml",
    )

    for name, asked in (("app", "POST /v3/auth/tokens"), ("egi", f"POST {FEDERATION}openid/auth")):
        monkeypatch.setenv("OS_CLOUD", name)
        before = len(cloud.paths())
        keystone(None).authenticate()
        assert cloud.paths()[before] == asked


def test_what_the_site_says_itself_goes_before_clouds_yaml(identity):
    cloud = identity()
    clouds(
        "clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, token: others-token, project_name: biomed, user_domain_name: people}}}"
    )

    keystone(
        cloud,
        dict(username="robot", password="s3cret", user_domain_name="Default"),
        cloud="mine",
        project="ops",
    ).authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


FORMS_OF_A_CLOUD = {  # one cloud, as clouds.yaml may say it
    "one-domain-for-both": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops}, domain_name: grid}",
    "one-domain-within-auth": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops, domain_name: grid}}",
    "a-default-domain": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops, default_domain_name: grid}}",
    "hyphens": "{auth: {AUTH-URL, username: robot, password: s3cret, project-name: ops, user-domain-name: grid, project-domain-name: grid}, "
    "region-name: south}",
    "a-list-of-regions": "{auth: {AUTH, username: robot, password: s3cret, project_name: ops}, domain_name: grid, regions: [south, north]}",
    "what-a-region-says": "{auth: {AUTH, username: robot, password: s3cret, project_name: biomed}, domain_name: grid, "
    "regions: [{name: south, values: {auth: {project_name: ops}}}, north]}",
    "a-profile": "{profile: grid-cloud, auth: {username: robot, password: s3cret, project_name: ops}}",
    "another-form-beside-the-one-that-is-meant": "{auth_type: v3password, domain_name: grid, auth: {AUTH, username: robot, "
    "password: s3cret, project_name: ops, token: of-yesterday}}",
}


@pytest.mark.parametrize("form", FORMS_OF_A_CLOUD)
def test_a_cloud_may_be_said_in_any_of_the_clients_ways(form, identity):
    cloud = identity()
    clouds(
        "{public-clouds: {grid-cloud: {regions: [south], auth: {AUTH, user_domain_name: grid, project_domain_name: grid}}}}".replace(
            "AUTH", f"auth_url: {cloud.url}"
        ),
        "clouds-public.yaml",
    )
    said = (
        FORMS_OF_A_CLOUD[form]
        .replace("AUTH-URL", f"auth-url: {cloud.url}")
        .replace("AUTH", f"auth_url: {cloud.url}")
    )
    clouds(f"clouds: {{mine: {said}}}", "clouds.yml")
    session = keystone(None, cloud="mine")

    session.authenticate()

    assert cloud.bodies() == [
        {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"name": "robot", "domain": {"name": "grid"}, "password": "s3cret"}
                },
            },
            "scope": {"project": {"name": "ops", "domain": {"name": "grid"}}},
        }
    ]
    assert session.settings["region"] in ("south", "")


def test_the_sites_region_chooses_among_those_of_a_cloud(identity):
    cloud = identity()
    clouds(
        f"clouds: {{mine: {{auth: {{auth_url: {cloud.url}, application_credential_id: ac1, application_credential_secret: s}}, regions: [south, north]}}}}"
    )
    for wanted, found in ((None, "south"), ("north", "north"), ("west", "west")):
        assert keystone(None, cloud="mine", region=wanted).settings["region"] == found


def test_a_password_for_somebody_else_is_not_sent_to_keystone(monkeypatch):
    clouds(
        "clouds: {mine: {auth_type: v3oidcpassword, auth: {auth_url: http://127.0.0.1:1, username: me, password: s3cret}}}"
    )
    known = "password, token, v3applicationcredential, v3oidcaccesstoken, v3password, v3token"

    assert told(ClientError, keystone, None, cloud="mine") == (
        f"the cloud mine in clouds.yaml: auth_type 'v3oidcpassword' is none of {known}"
    )
    monkeypatch.setenv("OS_AUTH_TYPE", "v3kerberos")
    assert (
        told(ClientError, keystone, None)
        == f"OS_AUTH_TYPE: auth_type 'v3kerberos' is none of {known}"
    )


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "there is no clouds.yaml to read the cloud 'mine' from"),
        ("clouds: {other: {}}", "clouds.yaml: no cloud 'mine' in it"),
        ("clouds: [1]", "clouds.yaml: no cloud 'mine' in it"),
        ("clouds: {mine", "clouds.yaml: cannot be read: while parsing a flow mapping"),
        (
            "clouds: {mine: {profile: vexxhost, auth: {username: me}}}",
            "clouds.yaml: the cloud 'mine' has no auth_url, and its profile 'vexxhost' is in no clouds-public.yaml",
        ),
        (
            "clouds: {mine: {auth: {username: me}}}",
            "no URL of Keystone: neither url in [endpoint], nor auth_url in clouds.yaml, nor OS_AUTH_URL is set",
        ),
        (
            "clouds: {mine: {auth: {auth_url: 'https://me:s3cret@host'}}}",
            "the auth_url of clouds.yaml or OS_AUTH_URL is not a URL like 'https://host:5000/v3'",
        ),
    ],
)
def test_what_is_wrong_with_clouds_yaml_is_one_line(text, said):
    if text:
        clouds(text)

    assert told(ClientError, keystone, None, cloud="mine") == said


# --- a secret stays with the place it was found beside --------------------------------------------------------------


def test_a_password_of_the_environment_goes_to_no_other_keystone_than_the_environments(
    identity, monkeypatch
):
    mine, other = identity(), identity()
    environment(
        monkeypatch,
        OS_AUTH_URL=f"{mine.url}/identity/v3",
        OS_USERNAME="robot",
        OS_PASSWORD="s3cret",
    )

    said = told(ClientError, keystone, f"{other.url}/v3")

    assert said == (
        f"the credentials belong to {mine.url}/identity/v3, which is OS_AUTH_URL, and are not sent to {other.url}/v3"
    )
    assert (mine.paths(), other.paths()) == ([], [])


def test_a_site_may_say_itself_where_the_keystone_of_the_environment_is(identity, monkeypatch):
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
def test_a_secret_of_clouds_yaml_goes_to_no_other_keystone_than_that_clouds(form, elsewhere):
    clouds(
        f"clouds: {{mine: {{auth: {{auth_url: 'https://keystone.example.org:5000/v3', {form}}}}}}}"
    )

    assert told(ClientError, keystone, elsewhere, cloud="mine") == (
        "the credentials belong to https://keystone.example.org:5000/v3, which is the auth_url of clouds.yaml, "
        f"and are not sent to {elsewhere}"
    )


def test_a_clouds_yaml_of_the_current_directory_is_not_completed_from_the_home(identity, tmp_path):
    cloud, home = identity(), tmp_path / "home" / "openstack"
    home.mkdir(parents=True)
    said = f"{{auth: {{auth_url: {cloud.url}, username: robot, project_name: ops}}}}"
    clouds("clouds: {mine: {auth: {password: of-the-home}}}", home / "secure.yaml")
    clouds(
        f"public-clouds: {{known: {{auth: {{auth_url: {cloud.url}}}}}}}",
        home / "clouds-public.yaml",
    )
    clouds(f"clouds: {{mine: {said}, by-a-profile: {{profile: known, auth: {{username: robot}}}}}}")

    assert told(ClientError, keystone(None, cloud="mine").authenticate) == (
        "no password, application credential, token or certificate among the credentials"
    )
    assert told(ClientError, keystone, None, cloud="by-a-profile") == (
        "clouds.yaml: the cloud 'by-a-profile' has no auth_url, and its profile 'known' is in no clouds-public.yaml"
    )
    assert cloud.paths() == []


@pytest.mark.parametrize("named", [False, True])
def test_a_secure_yaml_that_the_environment_names_is_not_for_a_clouds_yaml_of_whatever_directory(
    tmp_path, monkeypatch, named
):
    home = tmp_path / "home" / ".config" / "openstack"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(home / "secure.yaml"))
    clouds(
        "clouds: {mine: {auth: {auth_url: 'https://thief/v3', username: probe, project_name: ops}}}"
    )
    clouds("clouds: {mine: {auth: {password: of-the-home}}}", home / "secure.yaml")
    if named:
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "clouds.yaml")

    assert known.find({"cloud": "mine"}, {})[1].get("password") == (
        "of-the-home" if named else None
    )


def test_a_clouds_yaml_that_everybody_may_read_has_its_secret_in_a_secure_yaml_that_nobody_may(
    identity,
):
    cloud = identity()
    clouds(
        f"clouds: {{mine: {{auth_type: password, auth: {{auth_url: {cloud.url}, username: robot, project_name: ops, user_domain_name: Default}}}}}}",
        mode=0o644,
    )
    clouds("clouds: {mine: {auth: {password: s3cret}}}", "secure.yaml")

    keystone(None, cloud="mine").authenticate()

    assert cloud.bodies() == [SENT["password"][2]]


@pytest.mark.parametrize("file", ["clouds.yaml", "secure.yaml"])
@pytest.mark.parametrize(
    "mode, said",
    [
        (0o644, "has mode 0644: others than its owner have access; chmod 0600 it"),
        (0o640, "has mode 0640: others than its owner have access; chmod 0600 it"),
        (0o620, "has mode 0620: others than its owner have access; chmod 0600 it"),
    ],
)
def test_a_secret_of_clouds_yaml_that_others_can_read_is_refused(file, mode, said):
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}")
    clouds(
        "clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot, password: s3cret}}}",
        file,
        mode,
    )

    assert told(ClientError, keystone, None, cloud="mine") == f"{file}: {said}"


def test_a_clouds_yaml_that_others_can_write_is_refused_also_without_a_secret():
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}", mode=0o664)

    assert told(ClientError, keystone, None, cloud="mine") == (
        "clouds.yaml: has mode 0664: others than its owner can write into it; chmod go-w it"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("file", ["clouds.yaml", "secure.yaml", "clouds-public.yaml"])
@pytest.mark.parametrize("directory_mode", [0o1777, 0o755])
def test_what_another_user_put_into_the_current_directory_is_refused(
    file, directory_mode, tmp_path
):
    tmp_path.chmod(directory_mode)
    clouds(
        "clouds: {mine: {profile: known, auth: {auth_url: http://127.0.0.1:1, username: robot}}}"
    )
    clouds("{clouds: {mine: {}}, public-clouds: {known: {}}}", file)
    os.chown(file, 65534, 65534)

    assert told(ClientError, keystone, None, cloud="mine") == f"{file}: belongs to another user"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_of_another_user_does_not_lead_to_a_secret_of_ours(tmp_path):
    tmp_path.chmod(0o1777)
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}")
    (tmp_path / "home").mkdir()
    clouds(
        "clouds: {mine: {auth: {password: of-another-cloud}}}", tmp_path / "home" / "secure.yaml"
    )
    os.symlink("home/secure.yaml", "secure.yaml")
    os.chown("secure.yaml", 65534, 65534, follow_symlinks=False)

    assert told(ClientError, keystone, None, cloud="mine") == "secure.yaml: belongs to another user"


@pytest.mark.parametrize("key", ["token_file", "access_token_file"])
def test_a_token_that_others_can_read_is_refused(identity, tmp_path, key):
    cloud, file = identity(), written(tmp_path / "token", "granted-to-robot\n", 0o644)
    session = keystone(cloud, {key: str(file), "identity_provider": "egi.eu"}, project="ops")

    assert told(ClientError, session.authenticate) == (
        f"{file}: has mode 0644: others than its owner have access; chmod 0600 it"
    )
    assert cloud.paths() == []


@pytest.mark.parametrize("variable", ["OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"])
def test_a_pipe_where_a_file_was_meant_is_not_waited_for(tmp_path, variable, monkeypatch):
    clouds("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1, username: robot}}}")
    os.mkfifo(tmp_path / "pipe", 0o600)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", "clouds.yaml")
    monkeypatch.setenv(variable, str(tmp_path / "pipe"))

    assert (
        told(ClientError, keystone, None, cloud="mine") == f"{tmp_path}/pipe: is not a regular file"
    )
    assert told(
        ClientError,
        keystone("http://127.0.0.1:1", {"token_file": str(tmp_path / "pipe")}).authenticate,
    ) == (f"{tmp_path}/pipe: is not a regular file")


def test_clouds_yaml_without_pyyaml_is_told(monkeypatch):
    clouds("clouds: {}")
    monkeypatch.setitem(sys.modules, "yaml", None)

    assert (
        told(ClientError, keystone, None, cloud="mine") == "clouds.yaml needs PyYAML (python3-yaml)"
    )
