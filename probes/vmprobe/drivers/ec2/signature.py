"""Signatures of AWS requests, version 4 and version 2.

Version 4: AWS General Reference, "Create a signed AWS API request". Version 2: the same, "Signature
Version 2 signing process". tests/drivers/ec2/test_signature.py checks both by AWS's own examples.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from typing import Dict, Mapping, NamedTuple, Optional
from urllib.parse import quote, urlsplit

from vmprobe.core import urls
from vmprobe.transport.http import Http

_ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    """A pair of access keys. A session has a ``token`` as well, and ends at ``expires``."""

    access: str
    secret: str
    token: str = ""
    expires: Optional[float] = None  # seconds since the epoch, where it is known
    source: str = ""  # where the keys were found, for people to read
    endpoint: str = ""  # the URL that is configured beside the keys; '': none


def signed(
    http: Http, keys: Keys, headers: Mapping[str, str], body: bytes, region: str, service: str
) -> Dict[str, str]:
    """``headers`` of a POST to ``http.url``, with those that signature version 4 adds.

    These are the time, the session token and the signature over all headers and the body.
    """
    parts = urlsplit(http.url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(http.deadline.clock.utc()))
    sent = {**headers, "X-Amz-Date": stamp}
    if keys.token:
        sent["X-Amz-Security-Token"] = keys.token
    to_sign = {**sent, "Host": urls.authority(http.url)}
    signature = authorization(keys, "POST", parts.path, parts.query, to_sign, body, region, service)
    return {**sent, "Authorization": signature}


def authorization(
    keys: Keys,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    service: str,
) -> str:
    """The Authorization header of version 4. All ``headers`` are signed; X-Amz-Date is required."""
    values = {name.lower(): re.sub(" +", " ", value.strip()) for name, value in headers.items()}
    names = sorted(values)
    stamp = values["x-amz-date"]
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    parameters = sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)
    canonical_request = "\n".join(
        [
            method,
            quote(path or "/", safe="/-_.~"),
            "&".join(parameters),
            *(f"{name}:{values[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join([_ALGORITHM, stamp, scope, digest])).hex()
    return (
        f"{_ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )


def signature_2(secret: str, method: str, url: str, form: Mapping[str, str]) -> str:
    """The ``Signature`` parameter of version 2, by HMAC-SHA256, over all other parameters."""
    to_sign = "\n".join([method, urls.authority(url), urlsplit(url).path or "/", encoded(form)])
    return base64.b64encode(_hmac(secret.encode(), to_sign)).decode("ascii")


def encoded(form: Mapping[str, str]) -> str:
    """A form, encoded as in RFC 3986 and sorted by the bytes of its names (both versions do)."""
    return "&".join(
        f"{_quoted(name)}={_quoted(form[name])}"
        for name in sorted(form, key=lambda name: name.encode())
    )


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
