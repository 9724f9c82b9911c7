"""Keystone's token and catalog: how every OpenStack service is reached.

Identity API v3 (api-ref/identity/v3) and its OS-FEDERATION extension; the credentials' keys are OpenStack's own, as in
clouds.yaml and the ``OS_*`` environment.
"""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from vmprobe.clock import Deadline
from vmprobe.errors import AuthRejected, ClientError, CloudError, NotFound
from vmprobe.evidence import Evidence
from vmprobe.transport import fields, x509
from vmprobe.transport.http import Http, path

CREDENTIALS = ("username", "user_id", "password", "user_domain_name", "user_domain_id", "application_credential_id",
               "application_credential_name", "application_credential_secret", "token", "token_file", "access_token",
               "access_token_file", "identity_provider", "protocol", "certificate", "key")
_SETTINGS = {"auth_url": "url", "region_name": "region", "project_name": "project", "project_id": "project",
             "project_domain_name": "project domain", "project_domain_id": "project domain", "interface": "interface",
             "cacert": "ca"}  # clouds.yaml's and the environment's word: the site file's
_ID = re.compile(r"^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
_FEDERATED = ("openid", "oidc")  # the protocols' names that sites of the federation chose


class Keystone:
    """A project's session: the token, who it is for, and the services by their types."""

    def __init__(self, endpoint: Mapping[str, Any], credentials: Mapping[str, str], deadline: Deadline, evidence: Evidence,
                 choose: bool = False):
        """Credentials come from the file, else from ``cloud`` in clouds.yaml, else from the environment.

        ``choose``: where no project is named, it is the only one that the identity is for, whatever the credential.
        """
        self._choose = choose
        settings, secrets = _found(endpoint, credentials)
        for name, value in secrets.items():
            if not name.endswith(("_name", "_id", "_file", "certificate", "key", "provider", "protocol", "username")):
                evidence.redactor.add(value)
        self._settings, self._secrets, self._deadline = settings, secrets, deadline
        if not settings.get("url"):
            raise ClientError("no url in [endpoint], in clouds.yaml or in OS_AUTH_URL: where is Keystone?")
        url = settings["url"].rstrip("/")
        url = url if re.search(r"/v3$", url) else re.sub(r"/v2\.0$", "", url) + "/v3"
        self._http = Http(url, deadline, evidence, timeout=endpoint["timeout"], ca=settings.get("ca"),
                          certificate=secrets.get("certificate", ""), key=secrets.get("key", ""))
        self._services: Dict[str, Http] = {}
        self.token: Dict[str, Any] = {}

    @property
    def project(self) -> str:
        """The id of the project that the token is for."""
        return fields.word(self.token, "project", "id")

    @property
    def expires(self) -> Optional[float]:
        """When the token ends, seconds since the epoch."""
        return fields.moment(self.token.get("expires_at"))

    @property
    def url(self) -> str:
        """Keystone's own."""
        return self._http.url

    def credential_expires(self) -> Optional[float]:
        """When the credential ends, seconds since the epoch: a certificate or token says so, a password does not."""
        known = self._secrets
        if known.get("access_token") or known.get("access_token_file"):
            return _ends(known.get("access_token") or _file(known["access_token_file"]))
        if known.get("certificate") and not known.get("password"):
            return x509.expiry(known["certificate"])
        return self.expires if known.get("token") or known.get("token_file") else None

    def authenticate(self) -> None:
        """Get a token for the project. AuthRejected when Keystone does not accept what is valid by its own dates."""
        self._http.headers.pop("X-Auth-Token", None)
        self._services, self.token = {}, {}
        unscoped = self._federated() or self._unscoped()
        if unscoped is not None:
            self._http.present("X-Auth-Token", unscoped)
        methods = {"methods": ["token"], "token": {"id": unscoped}} if unscoped else self._methods()
        asked: Dict[str, Any] = {"auth": {"identity": methods}}
        scope = self._scope(bool(unscoped))
        if scope:
            asked["auth"]["scope"] = scope
        reply = self._http.post("auth/tokens", json=asked, asked="authentication")
        token = reply.headers.get("X-Subject-Token", "")
        if not token:
            raise reply.error(CloudError, "a token was granted, and not given", cause="auth")
        self.token = reply.field("token", dict)
        self._http.present("X-Auth-Token", token)
        if "catalog" not in self.token:
            raise CloudError("authentication: the token is for no project; name one by 'project'", cause="auth")

    def present_to(self, http: Http) -> None:
        """Have a service that is not in the catalog reached with this session's token."""
        http.present("X-Auth-Token", self._http.headers["X-Auth-Token"])

    def service(self, *types: str) -> Http:
        """The service of the first of these types that the catalog has, in the site's region and by its interface."""
        if not self.token:
            raise AuthRejected("no session with Keystone")
        for kind in types:
            if kind not in self._services and self._offers(kind):
                self._services[kind] = self._http.at(self._url(kind))
            if kind in self._services:
                return self._services[kind]
        raise NotFound(f"the catalog has no service {types[0]}", cause="gateway")

    def has(self, *types: str) -> bool:
        """Whether the catalog has a service of one of these types."""
        return any(self._offers(kind) for kind in types)

    # --- the catalog ------------------------------------------------------------------------------------------

    def _offers(self, kind: str) -> List[Dict[str, Any]]:
        """The endpoints of a type that the site's interface and region leave."""
        wanted = self._settings.get("interface") or "public"
        found = [endpoint for entry in fields.items(self.token, "catalog") if entry.get("type") == kind
                 for endpoint in fields.items(entry, "endpoints", default=[]) if endpoint.get("interface") == wanted]
        region = self._settings.get("region")
        return [endpoint for endpoint in found if endpoint.get("region_id") == region] if region else found

    def _url(self, kind: str) -> str:
        offers = self._offers(kind)
        regions = sorted({str(endpoint.get("region_id")) for endpoint in offers})
        if len(regions) > 1:
            raise ClientError(f"the catalog has {kind} in the regions {', '.join(regions)[:120]}: name one by 'region'")
        return fields.field(offers[0], "url", str).rstrip("/")

    # --- credentials ------------------------------------------------------------------------------------------

    def _methods(self) -> Dict[str, Any]:
        """What proves who we are, in the words of POST /v3/auth/tokens."""
        known = self._secrets
        if known.get("application_credential_secret"):
            proof: Dict[str, Any] = {"secret": known["application_credential_secret"]}
            if known.get("application_credential_id"):
                proof["id"] = known["application_credential_id"]
            else:
                proof.update(name=self._need("application_credential_name"), user=self._user())
            return {"methods": ["application_credential"], "application_credential": proof}
        if known.get("token") or known.get("token_file"):
            return {"methods": ["token"], "token": {"id": known.get("token") or _file(known["token_file"])}}
        if known.get("password"):
            return {"methods": ["password"], "password": {"user": {**self._user(), "password": known["password"]}}}
        raise ClientError("no password, application credential or token among the credentials")

    def _user(self) -> Dict[str, Any]:
        if self._secrets.get("user_id"):
            return {"id": self._secrets["user_id"]}
        domain = {"id": self._secrets["user_domain_id"]} if self._secrets.get("user_domain_id") else {
            "name": self._secrets.get("user_domain_name", "Default")}
        return {"name": self._need("username"), "domain": domain}

    def _need(self, key: str) -> str:
        if not self._secrets.get(key):
            raise ClientError(f"no {key} among the credentials")
        return self._secrets[key]

    def _unscoped(self) -> Optional[str]:
        """A token for no project yet, where the project is to be chosen among those of the identity; else None."""
        if not self._choose or self._settings.get("project") or self._secrets.get("application_credential_secret"):
            return None
        asked = {"auth": {"identity": self._methods(), "scope": "unscoped"}}
        return self._http.post("auth/tokens", json=asked, asked="authentication").headers.get("X-Subject-Token", "") or None

    def _scope(self, unscoped: bool) -> Optional[Dict[str, Any]]:
        """The project by its id or its exact name; None where the credential itself is for one project."""
        if self._secrets.get("application_credential_secret"):
            return None
        wanted = self._settings.get("project", "")
        if not unscoped:
            if not wanted:
                raise ClientError("no project in [endpoint], in clouds.yaml or in OS_PROJECT_NAME")
            if _ID.match(wanted):
                return {"project": {"id": wanted}}
            domain = self._settings.get("project domain") or "Default"
            return {"project": {"name": wanted, "domain": {"id" if _ID.match(domain) or domain == "default" else "name": domain}}}
        mine = self._http.get("auth/projects", asked="projects of this identity").items("projects")
        names = ", ".join(str(project.get("name")) for project in mine)[:120]
        chosen = [project for project in mine if wanted in (project.get("id"), project.get("name"))] if wanted else mine
        if len(chosen) != 1:
            raise ClientError(f"this identity is for the projects {names or '(none)'}: name one by 'project'"
                              if not wanted or mine else f"this identity is for no project, wanted is {wanted}")
        return {"project": {"id": fields.word(chosen[0], "id")}}

    def _federated(self) -> Optional[str]:
        """An unscoped token from an identity provider: by OIDC access token, or by certificate or proxy; else None."""
        known = self._secrets
        bearer = known.get("access_token") or (_file(known["access_token_file"]) if known.get("access_token_file") else "")
        if not bearer and not (known.get("certificate") and not known.get("password")):
            return None
        if bearer:
            _refuse_expired(bearer, self._deadline.clock.utc())
        provider = self._need("identity_provider")
        default = _FEDERATED if bearer else ("mapped",)
        protocols = (known["protocol"],) if known.get("protocol") else default
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        refusal: Optional[CloudError] = None
        for protocol in protocols:
            where = path("OS-FEDERATION", "identity_providers", provider, "protocols", protocol, "auth")
            try:
                reply = self._http.post(where, headers=headers, asked=f"authentication by {provider} and {protocol}")
                return reply.headers.get("X-Subject-Token", "") or None
            except (NotFound, AuthRejected) as refused:
                refusal = refused
        assert refusal is not None
        raise refusal if isinstance(refusal, AuthRejected) else AuthRejected(str(refusal), request=refusal.request)


# --- where settings and credentials come from ---------------------------------------------------------------------

def _found(endpoint: Mapping[str, Any], credentials: Mapping[str, str]) -> Tuple[Dict[str, str], Dict[str, str]]:
    """(settings by the site file's words, credentials): the site's own first, then clouds.yaml or the environment."""
    settings = {key: str(value) for key, value in endpoint.items() if value}
    secrets = dict(credentials)
    if endpoint.get("cloud"):
        more = _clouds_yaml(endpoint["cloud"])
    elif not credentials:
        more = {key[3:].lower(): value for key, value in os.environ.items() if key.startswith("OS_") and value}
    else:
        more = {}
    for key, value in more.items():
        if key in CREDENTIALS:
            secrets.setdefault(key, value)
        elif key in _SETTINGS:
            settings.setdefault(_SETTINGS[key], value)
    return settings, secrets


def _clouds_yaml(name: str) -> Dict[str, str]:
    """One cloud of clouds.yaml, with what secure.yaml beside it adds; flat."""
    try:
        import yaml
    except ImportError:
        raise ClientError("clouds.yaml needs PyYAML (python3-yaml)") from None
    for place in (os.environ.get("OS_CLIENT_CONFIG_FILE", ""), "clouds.yaml",
                  os.path.expanduser("~/.config/openstack/clouds.yaml"), "/etc/openstack/clouds.yaml"):
        if not place or not os.path.isfile(place):
            continue
        cloud: Dict[str, Any] = {}
        for file in (place, os.path.join(os.path.dirname(place), "secure.yaml")):
            cloud = _merged(cloud, _cloud_in(file, name, yaml))
        if not cloud:
            raise ClientError(f"{place}: no cloud {name} in it")
        flat = {**cloud, **(cloud.get("auth") if isinstance(cloud.get("auth"), dict) else {})}
        return {str(key): str(value) for key, value in flat.items() if isinstance(value, (str, int)) and value != ""}
    raise ClientError(f"[endpoint] cloud: there is no clouds.yaml that could have {name}")


def _cloud_in(file: str, name: str, yaml: Any) -> Dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as stream:
            document = yaml.safe_load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as wrong:
        raise ClientError(f"{file}: cannot be read: {str(wrong).splitlines()[0]}") from None
    found = document.get("clouds", {}) if isinstance(document, dict) else {}
    found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _merged(one: Dict[str, Any], other: Dict[str, Any]) -> Dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _file(name: str) -> str:
    try:
        with open(name, encoding="ascii") as file:
            text = file.read(65536).strip()
    except (OSError, UnicodeDecodeError) as failed:
        raise ClientError(f"{name}: {getattr(failed, 'strerror', 'is no token')}") from None
    if not text:
        raise ClientError(f"{name}: is empty")
    return text


def _refuse_expired(bearer: str, now: float) -> None:
    """ClientError for a token that has ended by its own word; others are Keystone's matter."""
    ends = _ends(bearer)
    if ends is not None and ends <= now:
        raise ClientError(f"the access token expired {now - ends:.0f} s ago")


def _ends(bearer: str) -> Optional[float]:
    """When a token ends by its own word (``exp``, RFC 7519, 4.1.4); None where it does not say."""
    parts = bearer.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = claims.get("exp") if isinstance(claims, dict) else None
        return float(ends) if isinstance(ends, (int, float)) and abs(ends) < 1e15 else None
    except (ValueError, RecursionError, OverflowError):
        return None
