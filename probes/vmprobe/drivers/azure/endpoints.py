"""Which addresses a cloud has: the public one, the sovereign ones, and Azure Stack by discovery."""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple

from vmprobe.core import urls
from vmprobe.core.errors import GatewayFailed
from vmprobe.transport.http import Http
from vmprobe.transport.json import field


class Cloud(NamedTuple):
    """One cloud: the Resource Manager, the login service, and for whom its tokens are."""

    manager: str
    login: str
    audience: str


CLOUDS = {
    "public": Cloud(
        "https://management.azure.com",
        "https://login.microsoftonline.com",
        "https://management.azure.com",
    ),
    "us government": Cloud(
        "https://management.usgovcloudapi.net",
        "https://login.microsoftonline.us",
        "https://management.usgovcloudapi.net",
    ),
    "china": Cloud(
        "https://management.chinacloudapi.cn",
        "https://login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
    ),
}


def of(endpoint: Mapping[str, Any], http: Callable[[str], Http]) -> Cloud:
    """The cloud of a site. One of another address says by itself where its login is."""
    url = endpoint.get("url") or CLOUDS[endpoint.get("cloud") or "public"].manager
    known = next((cloud for cloud in CLOUDS.values() if cloud.manager == url), None)
    login, audience = endpoint.get("login url"), endpoint.get("audience")
    if known is not None:
        return Cloud(url, login or known.login, audience or known.audience)
    if login:
        return Cloud(url, login, audience or url)
    return _discovered(url, http(url), audience)


def _discovered(url: str, http: Http, audience: Any) -> Cloud:
    """What the Resource Manager itself names (api-version 2015-01-01, which each of them has)."""
    reply = http.get(
        "metadata/endpoints", {"api-version": "2015-01-01"}, asked="the endpoints of the cloud"
    )
    login = reply.field("authentication", "loginEndpoint", str).rstrip("/")
    named = reply.parse(
        lambda: str(field(reply.json(), "authentication", "audiences", 0, str, default=""))
    )
    try:
        urls.origin(login)
    except ValueError:
        raise reply.malformed("the login endpoint in the answer is no URL") from None
    if url.startswith("https:") and not login.startswith("https:"):
        raise GatewayFailed(f"{url} names a login without TLS: not used")
    return Cloud(url, login, (audience or named or url).rstrip("/"))
