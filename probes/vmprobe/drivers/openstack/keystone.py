"""A session with Keystone: its token, and the services of the token's catalog.

Source: Identity API v3 (docs.openstack.org, api-ref/identity/v3).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.drivers.openstack.catalog import Catalog
from vmprobe.drivers.openstack.credentials import (
    ACCESS_TOKEN,
    APPLICATION_CREDENTIAL,
    CERTIFICATE,
    KEYS,
    PASSWORD,
    TOKEN,
    Credentials,
    check_url,
    find_credentials,
    refuse_expired,
    token_expiry,
)
from vmprobe.transport.http import Http, Reply, path
from vmprobe.transport.json import field, parse_time, short_text

_ID = re.compile(r"^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")


class Keystone:
    """A project's session: the token, whom it is for, and the services by their types."""

    CREDENTIAL_KEYS = KEYS  # what [credentials] may have

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        """Credentials are the site's, else those in clouds.yaml, else the environment's."""
        self.settings, secrets = find_credentials(endpoint, credentials)
        self._credentials = Credentials(secrets, evidence.redactor)
        self._clock = deadline.clock
        url = self.settings["url"].rstrip("/")
        if not url:
            raise ClientError(
                "no URL of Keystone: neither url in [endpoint], nor auth_url in clouds.yaml, "
                "nor OS_AUTH_URL is set"
            )
        check_url(url)
        self._http = Http(
            url if url.endswith("/v3") else re.sub(r"/v2\.0$", "", url) + "/v3",
            deadline,
            evidence,
            timeout=endpoint["timeout"],
            ca=self.settings.get("ca"),
            certificate=secrets.get("certificate", ""),
            key=secrets.get("key", ""),
        )
        self._services: Dict[str, Http] = {}
        self.token: Dict[str, Any] = {}  # the object in Keystone's answer; empty without a session

    @property
    def project(self) -> str:
        """The id of the project that the token is for."""
        return short_text(self.token, "project", "id")

    @property
    def expires(self) -> Optional[float]:
        """When the token ends, in seconds since the epoch."""
        return parse_time(self.token.get("expires_at"))

    @property
    def url(self) -> str:
        """Keystone's own URL."""
        return self._http.url

    @property
    def owns_credentials(self) -> bool:
        """Whether clouds.yaml or the environment has the credentials, and names this Keystone."""
        return bool(self.settings.get("auth_url"))

    # --- the session ------------------------------------------------------------------------------

    def authenticate(self) -> None:
        """Get a token for the project.

        AuthRejected when Keystone does not accept what is valid by its own dates; ClientError when
        it has expired, or when the project is not clear.
        """
        self._http.headers.pop("X-Auth-Token", None)
        self._services, self.token = {}, {}
        form, project = self._credentials.form, self.settings.get("project", "")
        if form == APPLICATION_CREDENTIAL:
            granted = self._request_token(self._credentials.identity())
            _check_only_project(granted, project)
        elif form == TOKEN and self._use_given_token(project):
            return
        elif form in (PASSWORD, TOKEN) and project:
            granted = self._request_token(self._credentials.identity(), self._scope(project))
        else:
            if form in (ACCESS_TOKEN, CERTIFICATE):
                from vmprobe.drivers.openstack import federation

                unscoped = _token_in(
                    federation.unscoped_token(self._http, self._credentials, self._clock.utc())
                )
            else:
                unscoped = _token_in(self._request_token(self._credentials.identity(), "unscoped"))
            self._http.add_secret_header("X-Auth-Token", unscoped)
            scope = {"project": {"id": self._own_project(project)}}
            identity = {"methods": ["token"], "token": {"id": unscoped}}
            granted = self._request_token(identity, scope)
        self._begin(granted)

    def service(self, *types: str) -> Http:
        """The service of the first of these types that the site's region and interface have."""
        if not self.token:
            raise AuthRejected("no session with Keystone")
        for kind in types:
            if kind not in self._services and self.has(kind):
                self._services[kind] = self._http.at(self._catalog.url(kind))
            if kind in self._services:
                return self._services[kind]
        return self._http.at(self._catalog.url(*types))  # raises the reason why there is none

    def has(self, *types: str) -> bool:
        """Whether the catalog has a service of one of these types."""
        return self._catalog.has(*types)

    def lacks(self, *types: str) -> bool:
        """Whether the site's region has no service of these types, by whichever interface."""
        if not self.token:
            raise AuthRejected("no session with Keystone")
        return self._catalog.lacks(*types)

    def knows_host(self, url: str) -> bool:
        """Whether the catalog has a service at the same scheme, host and port as ``url``."""
        return self._catalog.has_origin(url)

    def authorize(self, http: Http) -> None:
        """Send this session's token with each request of ``http``."""
        http.add_secret_header("X-Auth-Token", self._http.headers["X-Auth-Token"])

    def version(self) -> str:
        """The version of Keystone's API, in Keystone's own words."""
        return self._http.get(asked="Keystone's version").short_text("version", "id")

    def credential_expiry(self) -> Optional[float]:
        """When the credential ends, in seconds since the epoch; None if it does not end or say so.

        A certificate or a token says it itself. Of an application credential Keystone is asked,
        once there is a session.
        """
        form, certificate = self._credentials.form, self._credentials.secrets.get("certificate")
        ends: List[Optional[float]] = []
        if form == ACCESS_TOKEN:
            ends.append(token_expiry(self._credentials.token("access_token")))
        if form == TOKEN:
            ends.append(self.expires)
        if form == APPLICATION_CREDENTIAL and self.token:
            ends.append(self._application_credential_expiry())
        if certificate:
            from vmprobe.transport import x509

            ends.append(x509.expiry(certificate))
        return min((end for end in ends if end is not None), default=None)

    def _application_credential_expiry(self) -> Optional[float]:
        """None if it does not end, or access rules keep Keystone from telling."""
        try:
            where = path(
                "users",
                short_text(self.token, "user", "id"),
                "application_credentials",
                short_text(self.token, "application_credential", "id"),
            )
            reply = self._http.get(where, asked="the end of the application credential")
            record = reply.field("application_credential", dict)
        except CloudError:
            return None
        return parse_time(record.get("expires_at"))

    @property
    def _catalog(self) -> Catalog:
        region, interface = self.settings.get("region", ""), self.settings.get("interface", "")
        return Catalog(self.token, region, interface)

    # --- tokens -----------------------------------------------------------------------------------

    def _request_token(self, identity: Dict[str, Any], scope: Any = None) -> Reply:
        auth = {"identity": identity, "scope": scope} if scope else {"identity": identity}
        return self._http.post("auth/tokens", json={"auth": auth}, asked="authentication")

    def _begin(self, granted: Reply) -> None:
        """Begin the session with the token that was granted."""
        token = _token_in(granted)
        document = granted.field("token", dict)
        if "catalog" not in document:
            raise CloudError(
                "authentication: the token is for no project; choose one with 'project'",
                cause="auth",
            )
        self.token = document
        self._http.add_secret_header("X-Auth-Token", token)

    def _use_given_token(self, project: str) -> bool:
        """Begin the session with the token among the credentials, if it is for the project.

        Returns whether it is. Where Keystone does not let a token be exchanged
        (``allow_rescope_scoped_token``), this is the only way.
        """
        token = self._credentials.token("token")
        refuse_expired(token, self._clock.utc())
        self._http.add_secret_header("X-Auth-Token", token)
        reply = self._http.get(
            "auth/tokens", headers={"X-Subject-Token": token}, asked="authentication"
        )
        document = reply.field("token", dict)
        own = field(document, "project", dict, default={})
        if not own or project not in ("", own.get("id"), own.get("name")):
            return False
        self.token = document
        return True

    def _scope(self, project: str) -> Dict[str, Any]:
        """The project by its id, or by its exact name and its domain."""
        if _ID.match(project):
            return {"project": {"id": project}}
        domain = self.settings.get("project domain") or "Default"
        key = "id" if _ID.match(domain) or domain == "default" else "name"
        return {"project": {"name": project, "domain": {key: domain}}}

    def _own_project(self, wanted: str) -> str:
        """The id of this identity's project with that id or exact name.

        Without one, of its only project.
        """
        reply = self._http.get("auth/projects", asked="projects of this identity")
        projects = reply.items("projects")
        matching = [
            project
            for project in projects
            if wanted in ("", project.get("id"), project.get("name"))
        ]
        if len(matching) == 1:
            return short_text(matching[0], "id")
        if not projects:
            raise CloudError("authentication: this identity is for no project", cause="auth")
        if wanted and matching:
            names = [f"{project.get('name')} ({project.get('id')})" for project in matching]
        else:
            names = [str(project.get("name")) for project in projects]
        if wanted and not matching:
            advice = f", not for {wanted!r}"
        else:
            advice = ": choose one with 'project'"
        raise ClientError(
            f"this identity is for the projects {cut(', '.join(sorted(names)), 200)}{advice}"
        )


def _token_in(granted: Reply) -> str:
    token = granted.headers.get("X-Subject-Token", "")
    if not token:
        raise granted.error(CloudError, "the answer has no token", cause="auth")
    return token


def _check_only_project(granted: Reply, project: str) -> None:
    """ClientError if an application credential is not for this project: it is for only one."""
    own = granted.field("token", "project", dict, default={})
    if project not in ("", own.get("id"), own.get("name")):
        raise ClientError(
            f"the application credential is for the project {own.get('name')} ({own.get('id')}), "
            f"not for {project!r}"
        )
