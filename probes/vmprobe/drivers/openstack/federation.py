"""Tokens by way of an identity provider: Keystone's OS-FEDERATION (api-ref/identity/v3-ext)."""

from __future__ import annotations

from typing import List, Sequence

from vmprobe.core.errors import AuthRejected, CloudError, NotPermitted, Transient
from vmprobe.drivers.openstack.credentials import (
    ACCESS_TOKEN,
    CERTIFICATE,
    Credentials,
    refuse_expired,
)
from vmprobe.transport.http import Http, Reply, path

_OIDC_PROTOCOLS = ("openid", "oidc")  # the names that sites of the federation chose
_CERTIFICATE_PROTOCOLS = ("mapped",)


def unscoped_token(keystone: Http, credentials: Credentials, now: float) -> Reply:
    """An answer with an unscoped token, for an OIDC access token or a certificate.

    Sites give the protocol different names, so each is tried. If all are refused, the refusal of a
    protocol that exists is raised. ClientError for a token or VOMS proxy that ended before ``now``.
    """
    provider, headers = credentials.need("identity_provider"), {}
    protocols: Sequence[str] = _CERTIFICATE_PROTOCOLS
    if credentials.form == ACCESS_TOKEN:
        token = credentials.token("access_token")
        refuse_expired(token, now)
        headers, protocols = {"Authorization": f"Bearer {token}"}, _OIDC_PROTOCOLS
    if credentials.secrets.get("protocol"):
        protocols = (credentials.secrets["protocol"],)

    refusals: List[CloudError] = []
    for protocol in protocols:
        where = path("OS-FEDERATION", "identity_providers", provider, "protocols", protocol, "auth")
        asked = f"authentication by {provider} and {protocol}"
        try:
            return keystone.post(where, headers=headers, asked=asked)
        except Transient:
            raise
        except CloudError as refused:
            refusals.append(refused)

    if credentials.form == CERTIFICATE:
        from vmprobe.transport import x509

        x509.check_voms(credentials.secrets["certificate"], now)
    for refusal in refusals:
        if isinstance(refusal, (AuthRejected, NotPermitted)):
            raise refusal
    raise AuthRejected(str(refusals[0]), request=refusals[0].request)
