"""Keystone's token and catalog: how every OpenStack service is reached.

Identity API v3 (api-ref/identity/v3) and its OS-FEDERATION extension; the credentials' keys are OpenStack's own, as in
clouds.yaml and the ``OS_*`` environment.
"""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    GatewayFailed,
    NotFound,
    NotPermitted,
    Transient,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.host import files
from vmprobe.transport import json as fields
from vmprobe.transport.http import Http, Reply, origin, path

CREDENTIALS = (
    "username",
    "user_id",
    "password",
    "user_domain_name",
    "user_domain_id",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "token",
    "token_file",
    "access_token",
    "access_token_file",
    "identity_provider",
    "protocol",
    "certificate",
    "key",
)
_FORMS = {  # what proves who we are, in the order in which it is looked for: the keys that have it
    "application credential": ("application_credential_secret",),
    "access token": ("access_token", "access_token_file"),
    "token": ("token", "token_file"),
    "password": ("password",),
    "certificate": ("certificate",),
}
_AUTH_TYPES = {  # keystoneauth's words for them
    "password": "password",
    "v3password": "password",
    "token": "token",
    "v3token": "token",
    "v3applicationcredential": "application credential",
    "v3oidcaccesstoken": "access token",
}
_SETTINGS = {  # the site file's word: those of clouds.yaml and of the environment, the best one first
    "url": ("auth_url",),
    "region": ("region_name",),
    "interface": ("interface", "endpoint_type"),
    "ca": ("cacert",),
    "project": ("project_id", "tenant_id", "project_name", "tenant_name"),
    "project domain": ("project_domain_id", "project_domain_name"),
}
_DOMAINS = (
    "domain",
    "default_domain",
)  # that of the user and that of the project, where they are the same
_SECRETS = ("password", "application_credential_secret", "token", "access_token")
_ID = re.compile(r"^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
_OF_THE_SYSTEM = ("/etc/xdg/openstack", "/etc/openstack")  # where only root can put something
_SECRET_WORD = re.compile(
    rb"(?:password|passcode|secret|token)[\"']?\s*:\s*\S", re.I
)  # a clouds.yaml with a secret in it
_LARGEST, _LARGEST_TOKEN = 2**20, 2**16  # bytes of clouds.yaml and of a file with a token
_FEDERATED = ("openid", "oidc")  # the protocols' names that sites of the federation chose


class Keystone:
    """A project's session: the token, who it is for, and the services by their types."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        """Credentials come from the file, else from ``cloud`` in clouds.yaml, else from the environment."""
        settings, secrets = found(endpoint, credentials)
        for name in _SECRETS:
            evidence.redactor.add(secrets.get(name, ""))
        self.settings, self._secrets, self._deadline, self._redactor = (
            settings,
            secrets,
            deadline,
            evidence.redactor,
        )
        url = settings["url"].rstrip("/")
        if not url:
            raise ClientError(
                "no url in [endpoint], in clouds.yaml or in OS_AUTH_URL: where is Keystone?"
            )
        _check_url(url)
        url = url if url.endswith("/v3") else re.sub(r"/v2\.0$", "", url) + "/v3"
        self._http = Http(
            url,
            deadline,
            evidence,
            timeout=endpoint["timeout"],
            ca=settings.get("ca"),
            certificate=secrets.get("certificate", ""),
            key=secrets.get("key", ""),
        )
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

    @property
    def is_named_beside(self) -> bool:
        """Whether the credentials are of clouds.yaml or the environment, and this Keystone is the one named beside them."""
        return bool(self.settings.get("auth_url"))

    def version(self) -> str:
        """Keystone's own word for the version of its API."""
        return self._http.get(asked="Keystone's version").word("version", "id")

    def credential_expires(self) -> Optional[float]:
        """When the credential ends, seconds since the epoch; None for a password, and for what does not end or say so.

        A certificate or token says it itself; of an application credential Keystone is asked, once there is a session.
        """
        form, ends = _form(self._secrets), []
        if form == "access token":
            ends.append(_ends(self._proof("access_token")))
        if form == "token":
            ends.append(self.expires)
        if form == "application credential" and self.token:
            ends.append(self._application_credential_ends())
        if self._secrets.get("certificate"):
            from vmprobe.transport import x509

            ends.append(x509.expiry(self._secrets["certificate"]))
        return min((end for end in ends if end is not None), default=None)

    def _application_credential_ends(self) -> Optional[float]:
        """None where it does not end, and where access rules keep Keystone from telling."""
        try:
            where = path(
                "users",
                fields.word(self.token, "user", "id"),
                "application_credentials",
                fields.word(self.token, "application_credential", "id"),
            )
            said = self._http.get(where, asked="the end of the application credential").field(
                "application_credential", dict
            )
        except CloudError:
            return None
        return fields.moment(said.get("expires_at"))

    def authenticate(self) -> None:
        """Get a token for the project. AuthRejected when Keystone does not accept what is valid by its own dates."""
        self._http.headers.pop("X-Auth-Token", None)
        self._services, self.token = {}, {}
        form, wanted = _form(self._secrets), self.settings.get("project", "")
        if form == "application credential":
            self._begin(self._for_no_other(self._ask(self._methods()), wanted))
        elif form == "token" and self._is_for_the_project():
            return
        elif form in ("password", "token") and wanted:
            self._begin(self._ask(self._methods(), self._scope(wanted)))
        else:
            unscoped = (
                self._federated()
                if form in ("access token", "certificate")
                else self._ask(self._methods(), "unscoped")
            )
            mine = _token_of(unscoped)
            self._http.present("X-Auth-Token", mine)
            scope = {"project": {"id": self._one_of_mine(wanted)}}
            self._begin(self._ask({"methods": ["token"], "token": {"id": mine}}, scope))

    def names(self, url: str) -> bool:
        """Whether the catalog names a service at the same scheme, host and port as ``url``."""
        offers = [
            endpoint
            for entry in fields.items(self.token, "catalog")
            for endpoint in fields.items(entry, "endpoints", default=[])
        ]
        return origin(url) in [origin(offer["url"]) for offer in offers if is_url(offer.get("url"))]

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
        elsewhere = _regions(offer for kind in types for offer in self._offers(kind, anywhere=True))
        if elsewhere:
            raise ClientError(
                f"[endpoint] region: the catalog has {types[0]} in {elsewhere}, not in {self.settings['region']}"
            )
        if not self.lacks(*types):
            raise ClientError(
                f"[endpoint] interface: the catalog has {types[0]}, and no {self._interface} endpoint of it"
            )
        raise NotFound(f"the catalog has no service {types[0]}", cause="gateway")

    def has(self, *types: str) -> bool:
        """Whether the catalog has a service of one of these types."""
        return any(self._offers(kind) for kind in types)

    def lacks(self, *types: str) -> bool:
        """Whether the cloud is without them: the catalog has none of these types in the site's region, by any interface."""
        if not self.token:
            raise AuthRejected("no session with Keystone")
        return not any(self._offers(kind, interface="") for kind in types)

    # --- the catalog ------------------------------------------------------------------------------------------

    def _offers(
        self, kind: str, anywhere: bool = False, interface: Optional[str] = None
    ) -> List[Dict[str, Any]]:
        """The endpoints of a type that the site's interface ('': any) and, unless ``anywhere``, its region leave.

        A region may be spelled in other letters for one service than for the next.
        """
        wanted = self._interface if interface is None else interface
        found = [
            endpoint
            for entry in fields.items(self.token, "catalog")
            if entry.get("type") == kind
            for endpoint in fields.items(entry, "endpoints", default=[])
            if wanted in ("", endpoint.get("interface"))
        ]
        region = None if anywhere else self.settings.get("region")
        if not region:
            return found
        exact = [endpoint for endpoint in found if _region(endpoint) == region]
        return exact or [
            endpoint for endpoint in found if _region(endpoint).lower() == region.lower()
        ]

    @property
    def _interface(self) -> str:
        return re.sub(
            r"URL$", "", self.settings.get("interface") or "public"
        )  # publicURL, as older files say

    def _url(self, kind: str) -> str:
        offers = self._offers(kind)
        if len({_region(offer).lower() for offer in offers}) > 1:
            raise ClientError(
                f"the catalog has {kind} in the regions {_regions(offers)}: name one by 'region'"
            )
        return fields.field(offers[0], "url", str).rstrip("/")

    # --- tokens -----------------------------------------------------------------------------------------------

    def _ask(self, identity: Dict[str, Any], scope: Any = None) -> Reply:
        auth = {"identity": identity, "scope": scope} if scope else {"identity": identity}
        return self._http.post("auth/tokens", json={"auth": auth}, asked="authentication")

    def _begin(self, granted: Reply) -> None:
        """The session, with the token that was granted."""
        token = _token_of(granted)
        self.token = granted.field("token", dict)
        if "catalog" not in self.token:
            self.token = {}
            raise CloudError(
                "authentication: the token is for no project; name one by 'project'", cause="auth"
            )
        self._http.present("X-Auth-Token", token)

    def _for_no_other(self, granted: Reply, wanted: str) -> Reply:
        """An application credential is for one project, and no other can be asked for."""
        own = granted.field("token", "project", dict, default={})
        if wanted not in ("", own.get("id"), own.get("name")):
            raise ClientError(
                f"the application credential is for the project {own.get('name')} ({own.get('id')}), not for {wanted!r}"
            )
        return granted

    def _is_for_the_project(self) -> bool:
        """Whether the token that we were given is for the project already; then it is the session's.

        Where Keystone does not let a token be exchanged (``allow_rescope_scoped_token``) there is no other way.
        """
        given, wanted = self._proof("token"), self.settings.get("project", "")
        _refuse_expired(given, self._deadline.clock.utc())
        self._http.present("X-Auth-Token", given)
        said = self._http.get(
            "auth/tokens", headers={"X-Subject-Token": given}, asked="authentication"
        ).field("token", dict)
        project = fields.field(said, "project", dict, default={})
        if not project or wanted not in ("", project.get("id"), project.get("name")):
            return False
        self.token = said
        return True

    def _scope(self, wanted: str) -> Dict[str, Any]:
        """The project by its id, or by its exact name and its domain."""
        if _ID.match(wanted):
            return {"project": {"id": wanted}}
        domain = self.settings.get("project domain") or "Default"
        return {
            "project": {
                "name": wanted,
                "domain": {"id" if _ID.match(domain) or domain == "default" else "name": domain},
            }
        }

    def _one_of_mine(self, wanted: str) -> str:
        """The id of the project: the one of that id or exact name, or the only one that this identity is for."""
        mine = self._http.get("auth/projects", asked="projects of this identity").items("projects")
        chosen = (
            [project for project in mine if wanted in (project.get("id"), project.get("name"))]
            if wanted
            else mine
        )
        if len(chosen) == 1:
            return fields.word(chosen[0], "id")
        if not mine:
            raise CloudError("authentication: this identity is for no project", cause="auth")
        names = ", ".join(
            sorted(
                f"{one.get('name')} ({one.get('id')})"
                if len(chosen) > 1 and wanted
                else str(one.get("name"))
                for one in (chosen or mine)
            )
        )
        raise ClientError(
            f"this identity is for the projects {cut(names, 200)}"
            + (f", not for {wanted!r}" if wanted and not chosen else ": name one by 'project'")
        )

    # --- what proves who we are -------------------------------------------------------------------------------

    def _methods(self) -> Dict[str, Any]:
        """In the words of POST /v3/auth/tokens."""
        form = _form(self._secrets)
        if form == "application credential":
            proof: Dict[str, Any] = {"secret": self._secrets["application_credential_secret"]}
            if self._secrets.get("application_credential_id"):
                proof["id"] = self._secrets["application_credential_id"]
            else:
                proof.update(name=self._need("application_credential_name"), user=self._user())
            return {"methods": ["application_credential"], "application_credential": proof}
        if form == "token":
            return {"methods": ["token"], "token": {"id": self._proof("token")}}
        if form == "password":
            return {
                "methods": ["password"],
                "password": {"user": {**self._user(), "password": self._secrets["password"]}},
            }
        raise ClientError(
            "no password, application credential, token or certificate among the credentials"
        )

    def _user(self) -> Dict[str, Any]:
        if self._secrets.get("user_id"):
            return {"id": self._secrets["user_id"]}
        domain = (
            {"id": self._secrets["user_domain_id"]}
            if self._secrets.get("user_domain_id")
            else {"name": self._secrets.get("user_domain_name", "Default")}
        )
        return {"name": self._need("username"), "domain": domain}

    def _need(self, key: str) -> str:
        if not self._secrets.get(key):
            raise ClientError(f"no {key} among the credentials")
        return self._secrets[key]

    def _proof(self, key: str) -> str:
        """A token, from the credentials or from the file that they name, which others may renew while we run."""
        proof = self._secrets.get(key) or _file(self._secrets[f"{key}_file"])
        self._redactor.add(proof)
        return proof

    def _federated(self) -> Reply:
        """An unscoped token by way of an identity provider: by OIDC access token, or by certificate or proxy.

        Sites call the protocol by different names: each is asked for, and the refusal of one that is there is told.
        """
        provider, headers, protocols = self._need("identity_provider"), {}, ("mapped",)
        if _form(self._secrets) == "access token":
            bearer = self._proof("access_token")
            _refuse_expired(bearer, self._deadline.clock.utc())
            headers, protocols = {"Authorization": f"Bearer {bearer}"}, _FEDERATED
        if self._secrets.get("protocol"):
            protocols = (self._secrets["protocol"],)

        refusals: List[CloudError] = []
        for protocol in protocols:
            where = path(
                "OS-FEDERATION", "identity_providers", provider, "protocols", protocol, "auth"
            )
            try:
                return self._http.post(
                    where, headers=headers, asked=f"authentication by {provider} and {protocol}"
                )
            except Transient:
                raise
            except CloudError as refused:
                refusals.append(refused)
        if _form(self._secrets) == "certificate":
            from vmprobe.transport import x509

            x509.check_attested(self._secrets["certificate"], self._deadline.clock.utc())
        refused = next(
            (one for one in refusals if isinstance(one, (AuthRejected, NotPermitted))), refusals[0]
        )
        raise (
            refused
            if isinstance(refused, (AuthRejected, NotPermitted))
            else AuthRejected(str(refused), request=refused.request)
        )


def _form(secrets: Mapping[str, str]) -> str:
    """Which of the forms the credentials have; '' is none."""
    return next(
        (form for form, keys in _FORMS.items() if any(secrets.get(key) for key in keys)), ""
    )


def _token_of(granted: Reply) -> str:
    token = granted.headers.get("X-Subject-Token", "")
    if not token:
        raise granted.error(CloudError, "a token was granted, and not given", cause="auth")
    return token


def _region(offer: Mapping[str, Any]) -> str:
    return str(
        offer.get("region_id") or offer.get("region")
    )  # the latter is all that older catalogs have


def _regions(offers: Iterable[Mapping[str, Any]]) -> str:
    return cut(", ".join(sorted(set(map(_region, offers)))), 120)


# --- where settings and credentials come from ---------------------------------------------------------------------


def found(
    endpoint: Mapping[str, Any], credentials: Mapping[str, str]
) -> Tuple[Dict[str, str], Dict[str, str]]:
    """(settings by the site file's words, credentials): the site's own first, then clouds.yaml or the environment.

    ClientError where clouds.yaml or the environment want a way to authenticate that is not known here: a password for
    somebody else must not be sent to Keystone. ClientError as well where their credentials belong to another Keystone,
    the one that is named beside them. ``auth_url`` among the settings is the one beside credentials that are used.
    """
    settings = {key: str(value) for key, value in endpoint.items() if value}
    secrets = dict(credentials)
    cloud = endpoint.get("cloud") or ("" if credentials else os.environ.get("OS_CLOUD"))
    if cloud:
        more, where = (
            _clouds_yaml(cloud, str(endpoint.get("region") or "")),
            f"the cloud {cloud} in clouds.yaml",
        )
    elif not credentials:
        more, where = (
            {
                key[3:].lower(): value
                for key, value in os.environ.items()
                if key.startswith("OS_") and value
            },
            "OS_AUTH_TYPE",
        )
        if os.environ.get("X509_USER_PROXY"):
            more.setdefault("cert", os.environ["X509_USER_PROXY"])
    else:
        more, where = {}, ""
    form = _AUTH_TYPES.get(more.get("auth_type", "password"))
    if not form:
        raise ClientError(
            f"{where}: auth_type {cut(more['auth_type'], 40)!r} is none of {', '.join(sorted(_AUTH_TYPES))}"
        )

    for end in ("id", "name"):
        domain = next((more[f"{word}_{end}"] for word in _DOMAINS if more.get(f"{word}_{end}")), "")
        for whose in ("user", "project"):
            if domain and not any(more.get(f"{whose}_domain_{other}") for other in ("id", "name")):
                more[f"{whose}_domain_{end}"] = domain
    for word, others in _SETTINGS.items():
        settings.setdefault(word, next((more[other] for other in others if more.get(other)), ""))
    if "cert" in more:
        more["certificate"] = more["cert"]
    if _form(credentials):
        proofs = {key for keys in _FORMS.values() for key in keys}
    elif "auth_type" in more and any(
        more.get(key) for key in _FORMS[form]
    ):  # what else there is is not asked for
        proofs = {
            key
            for other, keys in _FORMS.items()
            if other not in (form, "certificate")
            for key in keys
        }
    else:
        proofs = set()
    borrowed = [
        key for key in CREDENTIALS if more.get(key) and key not in proofs and key not in secrets
    ]
    secrets.update((key, more[key]) for key in borrowed)
    if more.get("auth_url") and _form({key: secrets[key] for key in borrowed}):
        _check_origin(
            settings["url"],
            more["auth_url"],
            "the auth_url of clouds.yaml" if cloud else "OS_AUTH_URL",
        )
        settings["auth_url"] = more["auth_url"]
    return settings, secrets


def _check_url(url: str) -> None:
    if not is_url(url):
        raise ClientError(
            "the auth_url of clouds.yaml or OS_AUTH_URL is not a URL like 'https://host:5000/v3'"
        )


def _check_origin(url: str, theirs: str, named: str) -> None:
    """ClientError where credentials would be sent elsewhere than to the Keystone that is named beside them."""
    _check_url(theirs)
    _check_url(url)
    if origin(url) != origin(theirs):
        raise ClientError(
            f"the credentials belong to {cut(theirs, 200)}, which is {named}, and are not sent to {cut(url, 200)}"
        )


def is_url(url: Any) -> bool:
    """Whether this is an http or https URL with a host, and with no user or password in it."""
    if not isinstance(url, str) or not re.fullmatch(r"https?://[^/@\s]+(?:/[^@\s]*)?", url):
        return False
    try:
        origin(url)
    except GatewayFailed:
        return False
    return True


def _clouds_yaml(name: str, region: str) -> Dict[str, str]:
    """One cloud of clouds.yaml, with what secure.yaml and its profile add; flat.

    clouds.yaml is looked for where OpenStack's own client looks, and of a list of regions the first is meant. Unlike
    that client, what belongs to it is only looked for beside it, and OS_CLIENT_SECURE_FILE does not count for a clouds.yaml
    in the current directory: a password that is elsewhere must not go to the auth_url of that one.
    """
    try:
        import yaml
    except ImportError:
        raise ClientError("clouds.yaml needs PyYAML (python3-yaml)") from None
    place = _clouds_file()
    if not place:
        raise ClientError(f"there is no clouds.yaml that could have the cloud {name!r}")
    beside = os.path.dirname(place)
    is_found_here = not beside and not _named_file(
        "OS_CLIENT_CONFIG_FILE"
    )  # in whatever directory the run was started
    secure = (not is_found_here and _named_file("OS_CLIENT_SECURE_FILE")) or _first_file(
        [beside], "secure"
    )
    cloud = _merged(_cloud_in(place, "clouds", name, yaml), _cloud_in(secure, "clouds", name, yaml))
    if not cloud:
        raise ClientError(f"{place}: no cloud {name!r} in it")

    profile = cloud.get("profile") or cloud.get("cloud")
    if isinstance(profile, str):
        known = _cloud_in(
            _first_file([beside, *_OF_THE_SYSTEM], "clouds-public"), "public-clouds", profile, yaml
        )
        cloud = _merged(known, cloud)
        if not known and not (
            isinstance(cloud.get("auth"), dict) and cloud["auth"].get("auth_url")
        ):
            raise ClientError(
                f"{place}: the cloud {name!r} has no auth_url, and its profile {profile!r} is in no clouds-public.yaml"
            )
    cloud = _of_region(cloud, region)
    flat = {**cloud, **(cloud.get("auth") if isinstance(cloud.get("auth"), dict) else {})}
    return {
        str(key): str(value)
        for key, value in flat.items()
        if isinstance(value, (str, int)) and value != ""
    }


def _of_region(cloud: Dict[str, Any], wanted: str) -> Dict[str, Any]:
    """The cloud with what it says of one of its ``regions``: the one that is wanted, or the first."""
    regions = [
        one if isinstance(one, dict) else {"name": one} for one in cloud.get("regions") or []
    ]
    wanted = wanted or str(cloud.get("region_name") or "")
    chosen = next((one for one in regions if wanted in ("", one.get("name"))), None)
    if not chosen:
        return cloud
    values = chosen.get("values")
    return _merged(
        {**cloud, "region_name": chosen.get("name")}, values if isinstance(values, dict) else {}
    )


def _clouds_file() -> str:
    """The clouds.yaml that the environment names, or the first one that there is; '' if there is none."""
    homes = [
        os.environ.get("XDG_CONFIG_HOME", ""),
        os.path.expanduser("~/.config"),
    ]  # of which a user without an account has none
    directories = [
        "",
        *(os.path.join(home, "openstack") for home in homes if os.path.isabs(home)),
        *_OF_THE_SYSTEM,
    ]
    return _named_file("OS_CLIENT_CONFIG_FILE") or _first_file(directories, "clouds")


def _named_file(variable: str) -> str:
    """The file that the environment names; '' where it names none, or one that is not there."""
    named = os.environ.get(variable, "")
    return named if os.path.lexists(named) else ""


def _first_file(directories: Iterable[str], name: str) -> str:
    places = [
        os.path.join(directory, f"{name}.{end}")
        for directory in directories
        for end in ("yaml", "yml", "json")
    ]
    return next((place for place in places if os.path.lexists(place)), "")


def _cloud_in(file: str, section: str, name: str, yaml: Any) -> Dict[str, Any]:
    """What a file says of a cloud; its words may have hyphens for underscores."""
    if not file:
        return {}
    try:
        held = files.read_secret(
            file, _LARGEST, lambda held: bool(_SECRET_WORD.search(held)), searched=True
        )
        document = yaml.safe_load(held.decode("utf-8-sig"))
    except OSError as wrong:
        raise ClientError(f"{file}: {wrong.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as wrong:
        raise ClientError(
            f"{file}: cannot be read: {(str(wrong).splitlines() or ['it is no YAML'])[0]}"
        ) from None
    found = document.get(section, {}) if isinstance(document, dict) else {}
    found = found.get(name) if isinstance(found, dict) else None
    return _underscored(found) if isinstance(found, dict) else {}


def _underscored(words: Dict[Any, Any]) -> Dict[str, Any]:
    return {
        str(key).replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for key, value in words.items()
    }


def _merged(one: Dict[str, Any], other: Dict[str, Any]) -> Dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _file(name: str) -> str:
    try:
        text = files.read_secret(name, _LARGEST_TOKEN).decode("ascii").strip()
    except OSError as failed:
        raise ClientError(f"{name}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{name}: is no token") from None
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
