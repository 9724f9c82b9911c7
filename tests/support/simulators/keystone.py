"""A Keystone, as far as Identity API v3 and its federation are needed."""

import json
import pathlib
import textwrap

import pytest

from private import written
from rawserver import Server, reply
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
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
    """Accepts any proof except the word ``wrong``."""

    def __init__(self, projects=PROJECTS, protocols=("openid",), granted=None):
        self.projects, self.protocols, self.granted = dict(projects), protocols, granted
        self.scopes = {}  # by granted token: the id of its project, or None
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
            return answer(
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
                project={"id": project, "name": self.projects[project]}, catalog=catalog(self.url)
            )
        return answer({"token": body}, status, X_Subject_Token=token)

    def bodies(self):
        """The bodies of POST /v3/auth/tokens."""
        return [
            json.loads(request.body)["auth"]
            for request in self.server.requests
            if (request.method, request.target) == ("POST", "/v3/auth/tokens")
        ]

    def paths(self):
        return [f"{request.method} {request.target}" for request in self.server.requests]


def catalog(url):
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


def answer(document, status=200, **headers):
    return reply(status, json.dumps(document), Content_Type="application/json", **headers)


REJECTED = answer(
    {"error": {"code": 401, "message": "The request you have made requires authentication."}}, 401
)


def keystone(url, credentials=None, clock=None, ca=None, evidence=None, **endpoint):
    """A session that is not begun yet, by a site's [endpoint] and [credentials]."""
    endpoint = {"url": getattr(url, "url", url), "timeout": 20.0, "ca": ca, **endpoint}
    return Keystone(
        endpoint,
        credentials or {},
        Deadline(60, 0, clock or Clock()),
        evidence or Evidence(Redactor(), keep=True),
    )


def message_of(kind, act, *words, **more):
    """The message of the error that ``act`` raises, which is of exactly this kind."""
    with pytest.raises(kind) as raised:
        act(*words, **more)
    assert type(raised.value) is kind
    return str(raised.value)


def clouds(text, file="clouds.yaml", mode=0o600):
    written(pathlib.Path(file), textwrap.dedent(text), mode)


OIDC = dict(access_token="bearer-of-the-robot", identity_provider="egi.eu")


OPS, OPS_ID = {"name": "ops", "domain": {"name": "Default"}}, {"id": "a" * 32}


ROBOT = {"name": "robot", "domain": {"name": "Default"}}


SENT = {  # (credentials, what [endpoint] adds, what is sent to Keystone)
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
