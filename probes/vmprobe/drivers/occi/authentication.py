"""Answer the challenge of an OCCI endpoint: a token of Keystone, or a password.

The endpoint itself names the Keystone, and it may lie. So credentials go only to a Keystone that
the site file names, that is on the endpoint's own host, or that the credentials name, too; and a
token goes only to an endpoint that the Keystone's catalog names.
"""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional
from urllib.parse import urlsplit

from vmprobe.core import urls
from vmprobe.core.errors import AuthRejected, ClientError, CloudError, GatewayFailed
from vmprobe.core.text import cut
from vmprobe.core.values import http_url
from vmprobe.drivers.openstack.keystone import Keystone
from vmprobe.transport.http import Http, Reply


def find_keystone(
    reply: Reply, http: Http, endpoint: Mapping[str, Any], credentials: Mapping[str, str]
) -> Optional[Keystone]:
    """The Keystone of the challenge in a 401, or that of the site file; None where there is none.

    Nothing is sent to it yet.
    """
    # As keystonemiddleware writes it, and before it rOCCI
    match = re.search(r"Keystone\s+uri\s*=\s*[\"']?([^\"'\s,]{1,300})", _challenge(reply), re.I)
    if not match:
        return None
    url = endpoint["keystone"] or named_keystone(reply, http.url, match[1])
    return Keystone({**endpoint, "url": url}, credentials, http.deadline, http.evidence)


def use_keystone(keystone: Keystone, http: Http, is_configured: bool) -> None:
    """Get a token, and send it with all later requests of ``http``.

    ClientError where credentials or token would go where they must not go. ``is_configured``: the
    site file names this Keystone.
    """
    is_trusted = is_configured or urls.host(keystone.url) == urls.host(http.url)
    if not is_trusted:
        _check_owns_credentials(keystone)
    keystone.authenticate()
    if not is_trusted:
        _check_knows_endpoint(keystone, http.url)
    keystone.authorize(http)


def use_password(reply: Reply, http: Http, credentials: Mapping[str, str]) -> None:
    """Answer a challenge without a Keystone; the error where there is no such answer."""
    challenge = _challenge(reply)
    is_basic = re.search(r"\bBasic\b", challenge, re.I)
    if is_basic and credentials.get("username") and credentials.get("password"):
        http.add_basic_auth(credentials["username"], credentials["password"])
        return
    if credentials.get("certificate"):
        raise reply.error(AuthRejected)
    wanted = cut(challenge, 80) or "it does not say which"
    raise ClientError(f"the endpoint wants credentials that it was not given: {wanted}")


def _challenge(reply: Reply) -> str:
    return reply.headers.get("WWW-Authenticate", "")


def named_keystone(reply: Reply, endpoint_url: str, url: str) -> str:
    """The URL of the Keystone that a challenge names.

    CloudError where it is none, or leaves https.
    """
    try:
        keystone_url = http_url(url)
    except ValueError as error:
        raise reply.error(
            GatewayFailed, f"names a Keystone {cut(url, 120)!r} that {error}"
        ) from None
    if urlsplit(endpoint_url).scheme == "https" and urlsplit(keystone_url).scheme != "https":
        raise reply.error(
            CloudError,
            f"names the Keystone {cut(keystone_url, 120)}, which is not https as the endpoint is: "
            "not used",
            cause="auth",
        )
    return keystone_url


def _check_owns_credentials(keystone: Keystone) -> None:
    """ClientError before credentials go to a host that only the endpoint's answer names."""
    if not keystone.owns_credentials:
        url = cut(keystone.url, 120)
        raise ClientError(
            f"the endpoint names the Keystone {url}, on another host than its own: no credentials "
            f"are sent there unless [endpoint] has 'keystone = {url}'"
        )


def _check_knows_endpoint(keystone: Keystone, endpoint_url: str) -> None:
    """ClientError before a token goes to an endpoint that has named a Keystone not its own."""
    if not keystone.knows_host(endpoint_url):
        url = cut(keystone.url, 120)
        raise ClientError(
            f"the catalog of {url} does not name this endpoint: no token of it is sent here "
            f"unless [endpoint] has 'keystone = {url}'"
        )
