"""Where a pair of AWS keys comes from, in this order, and the first that has any is used:

    the site's credentials file · ``profile`` in [endpoint] · the environment (AWS_ACCESS_KEY_ID ..., and EC2_ACCESS_KEY
    ..., as Eucalyptus' eucarc sets it) · AWS_PROFILE or ``default`` in AWS's own shared files · instance metadata

Files and variables are those of AWS's tools ("AWS SDKs and Tools Reference Guide"); instance metadata is version 2 only.
A role is assumed by STS with what was found, where ``role_arn`` stands beside it.
"""

from __future__ import annotations

import configparser
import os
import re
from typing import Any, Dict, Mapping, Optional, Sequence

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import AuthRejected, ClientError, CloudError, NotFound
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.drivers.ec2.query import Keys, Query, Refusal, refused
from vmprobe.host import files
from vmprobe.transport.http import Http, Reply, origin, path
from vmprobe.transport.json import moment
from vmprobe.transport.xml import text

CREDENTIALS = ("access_key", "secret_key", "session_token", "role_arn", "external_id")
_VARIABLES = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_ACCESS_KEY", "AWS_SECRET_KEY"),
    ("EC2_ACCESS_KEY", "EC2_SECRET_KEY"),
)
_PLACES = {
    "AWS_": ("AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"),
    "EC2_": ("EC2_URL",),
}  # by what the variables of keys begin with
_ELSEWHERE = (
    "sso_session",
    "sso_start_url",
    "credential_process",
    "web_identity_token_file",
    "credential_source",
    "mfa_serial",
)
_SECRET = re.compile(rb"aws_(secret_access_key|session_token)[ \t]*[=:][ \t]*\S", re.I)
_LARGEST = 2**20  # bytes of a shared file
_METADATA = "http://169.254.169.254"
_QUICK = 2.0  # seconds: instance metadata is on the very same host, or nowhere


class Finder:
    """Finds the keys of one endpoint; asks nobody but instance metadata and STS, and those only when it has to."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
        metadata: bool = True,
    ):
        self._endpoint, self._credentials = endpoint, credentials
        self._deadline, self._evidence, self._metadata = deadline, evidence, metadata
        self.profile = endpoint.get("profile") or os.environ.get("AWS_PROFILE") or "default"

    def find(self, region: str) -> Keys:
        """The keys; ClientError says where they were looked for, or what is wrong with those that are there."""
        keys, role = self._given()
        self._check_place(keys, region)
        for secret in (keys.secret, keys.token):
            if secret:
                self._evidence.redactor.add(secret)
        if keys.expires is not None and keys.expires <= self._deadline.clock.utc():
            raise ClientError(f"the keys from {keys.source} have expired")
        return self._assumed(keys, role, region) if role.get("role_arn") else keys

    def region(self) -> str:
        """The region by the environment or the profile; '' where neither says one."""
        named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
        profile = self._shared(self.profile).get("region", "")
        return profile or named if self._endpoint.get("profile") else named or profile

    # --- where they may be ------------------------------------------------------------------------------------

    def _given(self) -> Any:
        """(keys, the words that a role may be among)."""
        mine = self._credentials
        if mine.get("access_key") or mine.get("secret_key"):
            return self._pair(
                mine, "access_key", "secret_key", "session_token", "the credentials file"
            ), mine
        if self._endpoint.get("profile"):
            keys, role = self._of_profile(self.profile)
            if keys is None:
                raise ClientError(
                    f"[endpoint] profile: there is no '{self.profile}' with an aws_access_key_id in {_files()[1]}"
                )
            return keys, role
        for access, secret in _VARIABLES:
            if os.environ.get(access) or os.environ.get(secret):
                token = "AWS_SESSION_TOKEN" if access.startswith("AWS_") else ""
                return self._pair(
                    os.environ, access, secret, token, "the environment", _PLACES[access[:4]]
                ), mine
        keys, role = self._of_profile(self.profile)
        if keys is None:
            keys, role = self._of_instance(), mine
        return keys, {**role, **mine}

    def _pair(
        self,
        words: Mapping[str, str],
        access: str,
        secret: str,
        token: str,
        source: str,
        places: Sequence[str] = (),
    ) -> Keys:
        """The keys by these words; ``places``: the words that may name the endpoint that they are for."""
        for there, missing in ((access, secret), (secret, access)):
            if not words.get(missing):
                raise ClientError(f"{source} has {there} and no {missing}")
        place = next((words[name] for name in places if words.get(name)), "")
        return Keys(
            words[access],
            words[secret],
            words.get(token, "") if token else "",
            source=source,
            place=place,
        )

    def _check_place(self, keys: Keys, region: str) -> None:
        """ClientError where keys would be sent elsewhere than to the endpoint that is named beside them."""
        url = self._endpoint.get("url") or f"https://ec2.{region}.{domain(region)}"
        try:
            is_right = not keys.place or origin(keys.place) == origin(url)
        except CloudError:
            is_right = False
        if not is_right:
            raise ClientError(
                f"the keys from {keys.source} belong to {cut(keys.place, 200)}, which is named beside them, "
                f"and are not sent to {cut(url, 200)}"
            )

    def _of_profile(self, name: str, depth: int = 3) -> Any:
        words = self._shared(name)
        source = words.get("source_profile", "")
        other = next((word for word in _ELSEWHERE if words.get(word)), "")
        if other and (not words.get("aws_access_key_id") or words.get("role_arn")):
            raise ClientError(
                f"profile '{name}' has its keys by {other}, which a probe that runs alone cannot use: it needs "
                "an access key, a role with a source_profile, or the role of its instance"
            )
        if words.get("role_arn") and source and source != name:
            if not depth:
                raise ClientError(f"profile '{self.profile}': source_profile leads round and round")
            keys, _ = self._of_profile(source, depth - 1)
            if keys is None:
                raise ClientError(
                    f"profile '{name}': its source_profile '{source}' has no aws_access_key_id"
                )
            return keys, words
        if not words.get("aws_access_key_id"):
            return None, {}
        return self._pair(
            words,
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
            f"profile '{name}'",
            ("endpoint_url",),
        ), words

    def _shared(self, name: str) -> Dict[str, str]:
        """A profile's words in AWS's shared files, the credentials file before the config file."""
        config, credentials = _files()
        in_config = ("default", "profile default") if name == "default" else (f"profile {name}",)
        return {**_section(config, in_config), **_section(credentials, (name,))}

    # --- who may hand them out --------------------------------------------------------------------------------

    def _of_instance(self) -> Keys:
        """The keys of this host's own role, where it is an instance of the cloud that has one."""
        looked = f"no access key: not in a credentials file, in AWS_ACCESS_KEY_ID or in profile '{self.profile}' of {_files()[1]}"
        if not self._metadata or os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            raise ClientError(looked)
        url = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA
        http = Http(url, self._deadline, self._evidence, timeout=_QUICK)
        try:
            token = http.put(
                "latest/api/token",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": "21600"},
                asked="instance metadata",
                struck=True,
            ).text.strip()
            http.present("X-aws-ec2-metadata-token", token)
            where = "latest/meta-data/iam/security-credentials"
            role = http.get(f"{where}/", asked="instance metadata").text.split("\n")[0].strip()
            said = http.get(f"{where}/{path(role)}", asked="instance metadata", struck=True)
        except NotFound:
            raise ClientError(f"{looked}, and this instance has no role") from None
        except CloudError as silent:
            raise ClientError(f"{looked}, nor from {silent}") from None
        finally:
            http.close()
        return Keys(
            said.word("AccessKeyId"),
            said.field("SecretAccessKey", str),
            said.field("Token", str),
            moment(said.field("Expiration", str, default="")),
            "instance metadata",
        )

    def _assumed(self, keys: Keys, role: Mapping[str, str], region: str) -> Keys:
        """The keys of a session in the role, by STS."""
        url = os.environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.{domain(region)}"
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
                classify=_not_assumed,
            )
            said = sts(
                "AssumeRole",
                {
                    "RoleArn": role["role_arn"],
                    "RoleSessionName": "vmprobe",
                    "ExternalId": role.get("external_id") or None,
                },
                struck=True,
            )
        finally:
            http.close()
        found = said.understood(
            lambda: [
                text(said.xml(), f".//Credentials/{word}")
                for word in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
            ]
        )
        for secret in found[1:3]:
            self._evidence.redactor.add(secret)
        return Keys(*found[:3], moment(found[3]), f"role {role['role_arn']}")


def domain(region: str) -> str:
    """Where Amazon's services of a region are ("AWS General Reference", partitions)."""
    return next(
        (
            name
            for begin, name in (
                ("cn-", "amazonaws.com.cn"),
                ("eusc-", "amazonaws.eu"),
                ("us-isob-", "sc2s.sgov.gov"),
                ("us-iso-", "c2s.ic.gov"),
            )
            if region.startswith(begin)
        ),
        "amazonaws.com",
    )


def _not_assumed(reply: Reply, said: Refusal) -> Optional[CloudError]:
    return refused(AuthRejected, reply, said) if reply.status in (400, 401, 403) else None


def _files() -> Any:
    """(config file, credentials file) of AWS's tools."""
    return tuple(
        os.path.expanduser(os.environ.get(variable) or default)
        for variable, default in (
            ("AWS_CONFIG_FILE", "~/.aws/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        )
    )


def _section(file: str, names: Any) -> Dict[str, str]:
    """The first of these sections; a file that is not there, or may not be read, has none.

    ClientError: it is no INI file, not even a file, or others can read the secret in it.
    """
    parser = configparser.RawConfigParser(default_section="\0", strict=False)
    try:
        parser.read_string(
            files.read_secret(file, _LARGEST, lambda held: bool(_SECRET.search(held))).decode(
                "utf-8-sig"
            )
        )
    except files.Exposed as wrong:
        raise ClientError(f"{file}: {wrong.strerror}") from None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except OSError as failed:
        raise ClientError(f"{file}: {failed.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):
        raise ClientError(f"{file} is not an INI file, as AWS's tools have it") from None
    name = next((name for name in names if parser.has_section(name)), "")
    return dict(parser[name]) if name else {}
