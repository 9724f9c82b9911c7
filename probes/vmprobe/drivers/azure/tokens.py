"""Tokens of Microsoft Entra ID, and of managed identities. The credentials decide how:

    tenant_id, client_id, client_secret            OAuth 2.0 client credentials
    tenant_id, client_id, certificate, key         the same, with a signed assertion (RFC 7523)
    tenant_id, client_id, federated_token_file     the same, with a token of another issuer
    managed_identity (system or user), client_id   the identity of the machine that runs the check

Directories of AD FS (Azure Stack) have ``adfs`` as their tenant_id.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Callable, Dict, Mapping, NamedTuple, Optional
from urllib.parse import urlencode

from vmprobe.core.errors import AuthRejected, ClientError, CloudError, VmprobeError
from vmprobe.core.text import cut, whole_number
from vmprobe.drivers.azure.endpoints import Cloud
from vmprobe.host import files
from vmprobe.transport import x509
from vmprobe.transport.http import Http, Reply, path

CREDENTIALS = (
    "tenant_id",
    "client_id",
    "client_secret",
    "certificate",
    "key",
    "federated_token_file",
    "managed_identity",
)
IDENTITY = "http://169.254.169.254"  # the metadata service of each machine in Azure
_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME = 600  # seconds that an assertion made here is valid
_LARGEST = 2**20  # bytes of a file with a secret
_EXPIRED = "AADSTS7000222"  # the client secret has expired
# no such application, no such directory, or what they are called is no id
_UNKNOWN = re.compile(r"AADSTS(?:700016|90002|900023|900021|7000229)\b")


class Token(NamedTuple):
    """An access token, and when it ends by our clock."""

    text: str
    ends: Optional[float]


def obtain(
    credentials: Mapping[str, str],
    cloud: Cloud,
    identity_url: str,
    http: Callable[[str], Http],
    now: float,
) -> Token:
    """A new token for the Resource Manager.

    ``now``: seconds since the epoch. ClientError where the credentials cannot be used, AuthRejected
    where they were not accepted.
    """
    if credentials.get("managed_identity"):
        return _of_machine(credentials, cloud, http(identity_url or IDENTITY), now)
    tenant, client = credentials.get("tenant_id", ""), credentials.get("client_id", "")
    if not tenant or not client:
        raise ClientError(
            f"no {'client_id' if tenant else 'tenant_id'} among the credentials,"
            " and no managed_identity"
        )
    adfs = tenant.lower() == "adfs"
    where = path(tenant, "oauth2", "token") if adfs else path(tenant, "oauth2", "v2.0", "token")
    form = {"grant_type": "client_credentials", "client_id": client}
    form["resource" if adfs else "scope"] = cloud.audience + ("" if adfs else "/.default")
    form.update(_proof(credentials, f"{cloud.login}/{where}", now))
    session = http(cloud.login)
    session.classify = _classify
    for secret in ("client_secret", "client_assertion"):
        session.evidence.redactor.add(form.get(secret, ""))
    reply = session.request(
        "POST",
        where,
        body=urlencode(form).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        asked="login",
        redact_reply=True,
    )
    return _token(reply, now)


def _proof(credentials: Mapping[str, str], audience: str, now: float) -> Dict[str, str]:
    """What proves that the client is who it says."""
    if credentials.get("client_secret"):
        return {"client_secret": credentials["client_secret"]}
    if credentials.get("certificate"):
        certificate = credentials["certificate"]
        x509.check(certificate, now)
        key = credentials.get("key") or certificate
        assertion = _assertion(credentials["client_id"], certificate, key, audience, now)
    elif credentials.get("federated_token_file"):
        assertion = _federated(credentials["federated_token_file"])
    else:
        raise ClientError(
            "no client_secret, certificate or federated_token_file among the credentials"
        )
    return {"client_assertion_type": _BEARER, "client_assertion": assertion}


def _federated(file: str) -> str:
    """The token in a file that another program keeps fresh; read anew at each login."""
    try:
        text = files.read_secret(file, _LARGEST, lambda _: False).decode("ascii").strip()
    except OSError as failed:
        raise ClientError(f"federated_token_file {file}: {failed.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", text):
        raise ClientError(f"federated_token_file {file}: there is no token in it")
    return text


def _assertion(client: str, certificate: str, key: str, audience: str, now: float) -> str:
    """A JSON Web Token (RFC 7519), signed by RS256; its header names the certificate."""
    import hashlib

    try:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as missing:
        raise ClientError(f"a login by certificate needs cryptography: {missing}") from None
    blocks = re.findall(
        rb"-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----", x509.pem(certificate)
    )
    text = re.search(
        rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----",
        x509.pem(key, "key"),
        re.S,
    )
    try:
        private = load_pem_private_key(text[0] if text else b"", None)
        der = base64.b64decode(b"".join(blocks[0].split()))
    except (ValueError, TypeError, IndexError):
        private = None
    if not isinstance(private, RSAPrivateKey):
        raise ClientError("the key among the credentials is not an RSA key without a passphrase")
    header = {
        "alg": "RS256",
        "typ": "JWT",
        "x5t": _base64(hashlib.sha1(der).digest()),  # the service looks the certificate up by it
        "x5t#S256": _base64(hashlib.sha256(der).digest()),
    }
    claims = {
        "aud": audience,
        "iss": client,
        "sub": client,
        "jti": str(uuid.uuid4()),
        "nbf": int(now) - 60,
        "exp": int(now) + _LIFETIME,
    }
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{_base64(private.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _of_machine(credentials: Mapping[str, str], cloud: Cloud, http: Http, now: float) -> Token:
    """The token that the metadata service hands out to its own machine."""
    which = credentials["managed_identity"]
    if which not in ("system", "user"):
        raise ClientError("managed_identity among the credentials is neither 'system' nor 'user'")
    query = {"api-version": "2018-02-01", "resource": f"{cloud.audience}/"}
    if which == "user":
        if not credentials.get("client_id"):
            raise ClientError("no client_id among the credentials for the managed identity")
        query["client_id"] = credentials["client_id"]
    http.classify = _classify
    reply = http.get(
        "metadata/identity/oauth2/token",
        query,
        headers={"Metadata": "true"},
        asked="token of the managed identity",
        redact_reply=True,
    )
    return _token(reply, now)


def _token(reply: Reply, now: float) -> Token:
    text = reply.field("access_token", str)
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise reply.malformed("the token in the answer is no token")
    seconds = whole_number(reply.short_text("expires_in", default=""))  # a number, or its digits
    reply.forget()
    return Token(text, now + seconds if seconds else None)


def _classify(reply: Reply) -> Optional[VmprobeError]:
    """Refusals by the login service: what is wrong is in ``error_description``, as AADSTS codes."""
    try:
        document = json.loads(reply.body[: 64 * 1024])
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or reply.status >= 500 or reply.status == 429:
        return None
    error, words = document.get("error"), document.get("error_description")
    if not isinstance(error, str):
        return None
    message = " ".join(str(words or "").split())
    # Behind the sentence come ids and times, for Microsoft's support only.
    message = cut(re.split(r" Trace ID: | Correlation ID: ", message)[0], 400)
    text = f"{reply.asked}: {reply.status} {cut(error, 100)}: {message}".rstrip(": ")
    if _EXPIRED in message:
        return ClientError(text)
    if error in ("invalid_client", "unauthorized_client", "invalid_grant"):
        return AuthRejected(text)
    if _UNKNOWN.search(message):
        return AuthRejected(text)
    return CloudError(text, cause="auth")


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
