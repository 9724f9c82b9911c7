"""What proves to Keystone who we are, and where it comes from.

The keys are OpenStack's own, as in clouds.yaml and in the ``OS_*`` variables of the environment.
"""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any, Dict, Mapping, Optional, Set, Tuple

from vmprobe.core.errors import ClientError, GatewayFailed
from vmprobe.core.redact import Redactor
from vmprobe.core.text import cut
from vmprobe.core.urls import has_user
from vmprobe.host import files
from vmprobe.transport.http import origin

KEYS = (
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
_SECRETS = ("password", "application_credential_secret", "token", "access_token")

# The forms of credentials, in the order in which they are looked for, with the keys of the proof.
APPLICATION_CREDENTIAL = "application credential"
ACCESS_TOKEN = "access token"
TOKEN = "token"
PASSWORD = "password"
CERTIFICATE = "certificate"
_FORMS = {
    APPLICATION_CREDENTIAL: ("application_credential_secret",),
    ACCESS_TOKEN: ("access_token", "access_token_file"),
    TOKEN: ("token", "token_file"),
    PASSWORD: ("password",),
    CERTIFICATE: ("certificate",),
}
_AUTH_TYPES = {  # keystoneauth's names of these forms
    "password": PASSWORD,
    "v3password": PASSWORD,
    "token": TOKEN,
    "v3token": TOKEN,
    "v3applicationcredential": APPLICATION_CREDENTIAL,
    "v3oidcaccesstoken": ACCESS_TOKEN,
}
_SETTINGS = {  # by the site file's key: those of clouds.yaml and the environment, best one first
    "url": ("auth_url",),
    "region": ("region_name",),
    "interface": ("interface", "endpoint_type"),
    "ca": ("cacert",),
    "project": ("project_id", "tenant_id", "project_name", "tenant_name"),
    "project domain": ("project_domain_id", "project_domain_name"),
}
_COMMON_DOMAINS = ("domain", "default_domain")  # of the user and of the project, where they agree
_LARGEST_TOKEN = 2**16  # bytes of a file with a token


class Credentials:
    """The credentials of one identity; ``secrets`` maps KEYS to their values."""

    def __init__(self, secrets: Mapping[str, str], redactor: Redactor):
        self.secrets, self._redactor = secrets, redactor
        for key in _SECRETS:
            redactor.add(secrets.get(key, ""))

    @property
    def form(self) -> str:
        """Which form of credentials these are; "" if there is nothing that proves anything."""
        return _form(self.secrets)

    def identity(self) -> Dict[str, Any]:
        """The ``identity`` object of POST /v3/auth/tokens (api-ref/identity/v3)."""
        if self.form == APPLICATION_CREDENTIAL:
            proof: Dict[str, Any] = {"secret": self.secrets["application_credential_secret"]}
            if self.secrets.get("application_credential_id"):
                proof["id"] = self.secrets["application_credential_id"]
            else:
                proof.update(name=self.need("application_credential_name"), user=self._user())
            return {"methods": ["application_credential"], "application_credential": proof}
        if self.form == TOKEN:
            return {"methods": ["token"], "token": {"id": self.token("token")}}
        if self.form == PASSWORD:
            user = {**self._user(), "password": self.secrets["password"]}
            return {"methods": ["password"], "password": {"user": user}}
        raise ClientError(
            "no password, application credential, token or certificate among the credentials"
        )

    def token(self, key: str) -> str:
        """The value of ``key``, or the content of the file that ``<key>_file`` names.

        The file is read each time, because others may renew the token while we run.
        """
        token = self.secrets.get(key) or _read_token(self.secrets[f"{key}_file"])
        self._redactor.add(token)
        return token

    def need(self, key: str) -> str:
        """The value of ``key``; ClientError if there is none."""
        if not self.secrets.get(key):
            raise ClientError(f"no {key} among the credentials")
        return self.secrets[key]

    def _user(self) -> Dict[str, Any]:
        if self.secrets.get("user_id"):
            return {"id": self.secrets["user_id"]}
        domain = {"name": self.secrets.get("user_domain_name", "Default")}
        if self.secrets.get("user_domain_id"):
            domain = {"id": self.secrets["user_domain_id"]}
        return {"name": self.need("username"), "domain": domain}


def _form(secrets: Mapping[str, str]) -> str:
    """The first form whose proof is among ``secrets``; "" if none is."""
    for form, keys in _FORMS.items():
        if any(secrets.get(key) for key in keys):
            return form
    return ""


def _read_token(path: str) -> str:
    try:
        token = files.read_secret(path, _LARGEST_TOKEN).decode("ascii").strip()
    except OSError as failed:
        raise ClientError(f"{path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{path}: is not a token") from None
    if not token:
        raise ClientError(f"{path}: is empty")
    return token


def refuse_expired(token: str, now: float) -> None:
    """ClientError if a JSON Web Token says that it ended before ``now`` (since the epoch)."""
    end = token_expiry(token)
    if end is not None and end <= now:
        raise ClientError(f"the access token expired {now - end:.0f} s ago")


def token_expiry(token: str) -> Optional[float]:
    """When a JSON Web Token ends (``exp``, RFC 7519, 4.1.4), in seconds since the epoch.

    None if it does not say.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        end = claims.get("exp") if isinstance(claims, dict) else None
        return float(end) if isinstance(end, (int, float)) and abs(end) < 1e15 else None
    except (ValueError, RecursionError, OverflowError):
        return None


# --- where settings and credentials come from -----------------------------------------------------


def find_credentials(
    endpoint: Mapping[str, Any], credentials: Mapping[str, str]
) -> Tuple[Dict[str, str], Dict[str, str]]:
    """The settings by the site file's keys, and the credentials.

    The site's own take precedence over those of clouds.yaml or the environment. If credentials of
    these are used, ``auth_url`` among the settings is the URL that stands beside them.

    ClientError where clouds.yaml or the environment want a form of authentication that is not known
    here: a password for another login page must not be sent to Keystone. ClientError, too, where
    their credentials belong to another Keystone than the site's.
    """
    settings = {key: str(value) for key, value in endpoint.items() if value}
    cloud = endpoint.get("cloud") or ("" if credentials else os.environ.get("OS_CLOUD"))
    added: Dict[str, str] = {}
    origin_of_auth_type = "OS_AUTH_TYPE"
    if cloud:
        from vmprobe.drivers.openstack import clouds_yaml

        added = clouds_yaml.read_cloud(cloud, str(endpoint.get("region") or ""))
        origin_of_auth_type = f"the cloud {cloud} in clouds.yaml"
    elif not credentials:
        added = _environment()
    auth_type = added.get("auth_type", "password")
    if auth_type not in _AUTH_TYPES:
        known = ", ".join(sorted(_AUTH_TYPES))
        raise ClientError(
            f"{origin_of_auth_type}: auth_type {cut(auth_type, 40)!r} is none of {known}"
        )

    _split_domains(added)
    if "cert" in added:
        added["certificate"] = added["cert"]
    for key, others in _SETTINGS.items():
        settings.setdefault(key, next((added[other] for other in others if added.get(other)), ""))

    unused = _unused_proofs(credentials, added)
    borrowed = {
        key: added[key]
        for key in KEYS
        if added.get(key) and key not in unused and key not in credentials
    }
    if added.get("auth_url") and _form(borrowed):
        named_by = "the auth_url of clouds.yaml" if cloud else "OS_AUTH_URL"
        _check_origin(settings["url"], added["auth_url"], named_by)
        settings["auth_url"] = added["auth_url"]
    return settings, {**credentials, **borrowed}


def _environment() -> Dict[str, str]:
    """The ``OS_*`` variables by their names in clouds.yaml, and the grid's proxy certificate."""
    found = {
        name[3:].lower(): value
        for name, value in os.environ.items()
        if name.startswith("OS_") and value
    }
    if os.environ.get("X509_USER_PROXY"):
        found.setdefault("cert", os.environ["X509_USER_PROXY"])
    return found


def _split_domains(added: Dict[str, str]) -> None:
    """Use a common domain for the user and the project where they have none of their own."""
    for end in ("id", "name"):
        domains = [added.get(f"{key}_{end}") for key in _COMMON_DOMAINS]
        domain = next(filter(None, domains), "")
        for whose in ("user", "project"):
            has_own = any(added.get(f"{whose}_domain_{other}") for other in ("id", "name"))
            if domain and not has_own:
                added[f"{whose}_domain_{end}"] = domain


def _unused_proofs(credentials: Mapping[str, str], added: Mapping[str, str]) -> Set[str]:
    """The keys with a proof that are not taken from clouds.yaml or the environment.

    That is every proof if the site has one of its own; and where ``auth_type`` names a form and its
    proof is there, the proofs of all other forms. A certificate may go with any of them.
    """
    if _form(credentials):
        return {key for keys in _FORMS.values() for key in keys}
    form = _AUTH_TYPES[added["auth_type"]] if "auth_type" in added else ""
    if not form or not any(added.get(key) for key in _FORMS[form]):
        return set()
    return {
        key for other, keys in _FORMS.items() if other not in (form, CERTIFICATE) for key in keys
    }


def _check_origin(url: str, theirs: str, named_by: str) -> None:
    """ClientError if the credentials would be sent to another Keystone than their own."""
    check_url(theirs)
    check_url(url)
    if origin(url) != origin(theirs):
        raise ClientError(
            f"the credentials belong to {cut(theirs, 200)}, which is {named_by}, "
            f"and are not sent to {cut(url, 200)}"
        )


def check_url(url: str) -> None:
    """ClientError unless this is a URL for Keystone."""
    if not is_url(url):
        raise ClientError(
            "the auth_url of clouds.yaml or OS_AUTH_URL is not a URL like 'https://host:5000/v3'"
        )


def is_url(url: object) -> bool:
    """Whether this is an http or https URL with a host, and without a user or password in it."""
    if not isinstance(url, str) or not re.fullmatch(r"https?://\S+", url) or has_user(url):
        return False
    try:
        origin(url)
    except GatewayFailed:
        return False
    return True
