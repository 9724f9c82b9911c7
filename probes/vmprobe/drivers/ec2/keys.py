"""Where the AWS keys of a site come from. The first of these places that has any is used:

    1. the site's credentials file
    2. ``profile`` in [endpoint], from AWS's own shared files
    3. the environment: AWS_ACCESS_KEY_ID ..., or EC2_ACCESS_KEY ... as Eucalyptus' eucarc sets it
    4. the profile AWS_PROFILE, or ``default``
    5. instance metadata, version 2 only

Where a ``role_arn`` stands beside the keys, that role is assumed by STS. Files and variables are
those of AWS's tools ("AWS SDKs and Tools Reference Guide").
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core import ini
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import AuthRejected, ClientError, CloudError, NotFound
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.drivers.ec2 import faults, regions
from vmprobe.drivers.ec2.query import Query
from vmprobe.drivers.ec2.signature import Keys
from vmprobe.host import files
from vmprobe.transport.http import Http, Reply, origin, path
from vmprobe.transport.json import parse_time
from vmprobe.transport.xml import text

CREDENTIALS = ("access_key", "secret_key", "session_token", "role_arn", "external_id")
_AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL")
_METADATA = "http://169.254.169.254"
_METADATA_TIMEOUT = 2.0  # seconds: instance metadata answers from the same host, or not at all
_LARGEST = 2**20  # bytes of a shared file
_LONGEST_CHAIN = 3  # of profiles that name each other by source_profile
_SECRET = re.compile(rb"aws_(secret_access_key|session_token)[ \t]*[=:][ \t]*\S", re.I)
# Settings of a profile that get keys in a way that needs a person or another program.
_UNSUPPORTED = (
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
    "credential_source",
    "mfa_serial",
)


class _Names(NamedTuple):
    """What a place calls the keys, and the endpoint that they are for."""

    access: str
    secret: str
    token: str = ""
    endpoints: Sequence[str] = ()


_IN_CREDENTIALS = _Names("access_key", "secret_key", "session_token")
_IN_PROFILE = _Names(
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", ("endpoint_url",)
)
_IN_ENVIRONMENT = (
    _Names("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", _AWS_ENDPOINTS),
    _Names("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", _AWS_ENDPOINTS),
    _Names("EC2_ACCESS_KEY", "EC2_SECRET_KEY", "", ("EC2_URL",)),
)


class Finder:
    """Finds the keys of one endpoint. Asks instance metadata and STS only where it has to."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
        has_metadata: bool = True,
    ):
        """``has_metadata``: whether this cloud's instances may get keys from their metadata."""
        self._endpoint, self._credentials = endpoint, credentials
        self._deadline, self._evidence = deadline, evidence
        self._has_metadata = has_metadata
        self.profile: str = endpoint.get("profile") or os.environ.get("AWS_PROFILE") or "default"

    def find(self, region: str) -> Keys:
        """The keys. ClientError says where they were looked for, or what is wrong with them."""
        keys, settings = self._configured()
        self._check_endpoint(keys, region)
        for secret in (keys.secret, keys.token):
            if secret:
                self._evidence.redactor.add(secret)
        if keys.expires is not None and keys.expires <= self._deadline.clock.utc():
            raise ClientError(f"the keys from {keys.source} have expired")
        return self._assume_role(keys, settings, region) if settings.get("role_arn") else keys

    def region(self) -> str:
        """The region by the environment or the profile; '' where neither names one."""
        named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
        in_profile = _profile(self.profile).get("region", "")
        return in_profile or named if self._endpoint.get("profile") else named or in_profile

    # --- where they may be ----------------------------------------------------------------------

    def _configured(self) -> Tuple[Keys, Mapping[str, str]]:
        """(keys, the settings in which a role to assume may be named)."""
        credentials = self._credentials
        if credentials.get("access_key") or credentials.get("secret_key"):
            return _pair(credentials, _IN_CREDENTIALS, "the credentials file"), credentials
        if self._endpoint.get("profile"):
            keys, role = self._in_profile(self.profile)
            if keys is None:
                raise ClientError(
                    f"[endpoint] profile: there is no '{self.profile}' with an aws_access_key_id "
                    f"in {_credentials_file()}"
                )
            return keys, role
        for names in _IN_ENVIRONMENT:
            if os.environ.get(names.access) or os.environ.get(names.secret):
                return _pair(os.environ, names, "the environment"), credentials
        keys, role = self._in_profile(self.profile)
        if keys is None:
            return self._of_instance(), credentials
        return keys, {**role, **credentials}

    def _check_endpoint(self, keys: Keys, region: str) -> None:
        """ClientError where keys that are for one endpoint would be sent to another."""
        url = self._endpoint.get("url") or regions.service_url("ec2", region)
        try:
            is_right = not keys.endpoint or origin(keys.endpoint) == origin(url)
        except CloudError:
            is_right = False
        if not is_right:
            raise ClientError(
                f"the keys from {keys.source} are configured for {cut(keys.endpoint, 200)}, "
                f"and are not sent to {cut(url, 200)}"
            )

    def _in_profile(
        self, name: str, depth: int = _LONGEST_CHAIN
    ) -> Tuple[Optional[Keys], Mapping[str, str]]:
        """(keys, settings with the role) of a profile; (None, {}) where it has no keys."""
        settings = _profile(name)
        source = settings.get("source_profile", "")
        unsupported = next((word for word in _UNSUPPORTED if settings.get(word)), "")
        if unsupported and (not settings.get("aws_access_key_id") or settings.get("role_arn")):
            raise ClientError(
                f"profile '{name}' gets its keys by {unsupported}, which an unattended probe "
                "cannot use: it needs an access key, a role with a source_profile, or the role "
                "of its instance"
            )
        if settings.get("role_arn") and source and source != name:
            if not depth:
                raise ClientError(f"profile '{self.profile}': its source_profile names a circle")
            keys, _ = self._in_profile(source, depth - 1)
            if keys is None:
                raise ClientError(
                    f"profile '{name}': its source_profile '{source}' has no aws_access_key_id"
                )
            return keys, settings
        if not settings.get("aws_access_key_id"):
            return None, {}
        return _pair(settings, _IN_PROFILE, f"profile '{name}'"), settings

    # --- who may hand them out ------------------------------------------------------------------

    def _of_instance(self) -> Keys:
        """The keys of this host's own role, where it is an instance of the cloud that has one."""
        tried = (
            "no access key: not in a credentials file, in AWS_ACCESS_KEY_ID or in profile "
            f"'{self.profile}' of {_credentials_file()}"
        )
        is_disabled = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        if not self._has_metadata or is_disabled:
            raise ClientError(tried)
        url = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA
        http = Http(url, self._deadline, self._evidence, timeout=_METADATA_TIMEOUT)
        try:
            reply = _role_keys(http)
        except NotFound:
            raise ClientError(f"{tried}, and this instance has no role") from None
        except CloudError as failed:
            raise ClientError(f"{tried}, nor from {failed}") from None
        finally:
            http.close()
        return Keys(
            reply.short_text("AccessKeyId"),
            reply.field("SecretAccessKey", str),
            reply.field("Token", str),
            parse_time(reply.field("Expiration", str, default="")),
            "instance metadata",
        )

    def _assume_role(self, keys: Keys, role: Mapping[str, str], region: str) -> Keys:
        """The keys of a session in the role (AWS STS API Reference, AssumeRole)."""
        url = os.environ.get("AWS_ENDPOINT_URL_STS") or regions.service_url("sts", region)
        http = Http(
            url,
            self._deadline,
            self._evidence,
            timeout=self._endpoint["timeout"],
            ca=self._endpoint.get("ca"),
        )
        try:
            sts = Query(
                http,
                keys,
                service="sts",
                region=region,
                version="2011-06-15",
                classify=_role_refused,
            )
            reply = sts(
                "AssumeRole",
                {
                    "RoleArn": role["role_arn"],
                    "RoleSessionName": "vmprobe",
                    "ExternalId": role.get("external_id") or None,
                },
                redact_reply=True,
            )
        finally:
            http.close()
        access, secret, token, expiration = reply.parse(
            lambda: [
                text(reply.xml(), f".//Credentials/{name}")
                for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
            ]
        )
        for word in (secret, token):
            self._evidence.redactor.add(word)
        return Keys(access, secret, token, parse_time(expiration), f"role {role['role_arn']}")


def _pair(settings: Mapping[str, str], names: _Names, source: str) -> Keys:
    """The keys in these settings; ClientError where only one of the two is there."""
    for present, missing in ((names.access, names.secret), (names.secret, names.access)):
        if not settings.get(missing):
            raise ClientError(f"{source} has {present} and no {missing}")
    return Keys(
        settings[names.access],
        settings[names.secret],
        settings.get(names.token, "") if names.token else "",
        source=source,
        endpoint=next((settings[name] for name in names.endpoints if settings.get(name)), ""),
    )


def _role_keys(http: Http) -> Reply:
    """The keys of this instance's role ("Instance Metadata Service", version 2)."""
    token = http.put(
        "latest/api/token",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "21600"},
        asked="instance metadata",
        redact_reply=True,
    ).text.strip()
    http.add_secret_header("X-aws-ec2-metadata-token", token)
    roles = "latest/meta-data/iam/security-credentials"
    role = http.get(f"{roles}/", asked="instance metadata").text.split("\n")[0].strip()
    return http.get(f"{roles}/{path(role)}", asked="instance metadata", redact_reply=True)


def _role_refused(reply: Reply, refusal: faults.Refusal) -> Optional[CloudError]:
    if reply.status not in (400, 401, 403):
        return None
    return faults.error(AuthRejected, reply, refusal)


# --- AWS's shared files -------------------------------------------------------------------------


def _profile(name: str) -> Dict[str, str]:
    """A profile's settings in AWS's shared files; the credentials file takes precedence."""
    config = os.path.expanduser(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config")
    in_config = ("default", "profile default") if name == "default" else (f"profile {name}",)
    return {**_section(config, in_config), **_section(_credentials_file(), (name,))}


def _credentials_file() -> str:
    return os.path.expanduser(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")


def _section(file: str, names: Sequence[str]) -> Dict[str, str]:
    """The first of these sections; {} where the file is missing, or this user may not read it.

    ClientError: it is no INI file, not even a file, or others can read the secret in it.
    """
    try:
        content = files.read_secret(file, _LARGEST, lambda content: bool(_SECRET.search(content)))
        sections = ini.parse(content, inline_comments=False, strict=False)
    except files.Exposed as wrong:
        raise ClientError(f"{file}: {wrong.strerror}") from None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except OSError as failed:
        raise ClientError(f"{file}: {failed.strerror}") from None
    except ValueError:  # ini.Malformed, UnicodeDecodeError
        raise ClientError(f"{file} is not an INI file, as AWS's tools write it") from None
    section = next((sections[name] for name in names if name in sections), {})
    return {key.lower(): text for key, text in section.items()}
