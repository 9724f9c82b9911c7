"""Read the host, the port and the origin out of a URL. Every module uses these rules:

- A host is in lower case, without port, user or password; an IPv6 address is without its brackets.
- A port that a URL leaves out is its scheme's: 80 for http, 443 for https.
- A malformed URL has no host and no origin.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What two URLs share when they lead to the same server."""

    scheme: str
    host: str
    port: int


def host(url: str) -> str:
    """The host of a URL; '' where it has none, or is malformed.

    >>> [host(url) for url in ("https://user@Cloud.Example.org:5000/v3", "http://[::1]:80/")]
    ['cloud.example.org', '::1']
    >>> host("http://["), host("")
    ('', '')
    """
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def origin(url: str) -> Origin:
    """Scheme, host and port of an http or https URL; ValueError for any other, and for port 0.

    >>> origin("https://Cloud.example.org/v3") == origin("https://cloud.example.org:443")
    True
    """
    parts = urlsplit(url)
    port = parts.port
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ValueError(f"{url[:200]!r} is no http or https URL with a host")
    return Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def has_user(url: str) -> bool:
    """Whether a URL that a person wrote may have a user or a password in it.

    Any @ counts: a password may contain a ``/``, so where the host ends is not certain.
    """
    return "@" in url


def authority(url: str) -> str:
    """``host:port`` as in a Host header, without the scheme's own port.

    ValueError for a malformed URL.

    >>> urls = ("https://h:443/", "http://H:8774/", "http://[::1]:8774/", "socks5://h:1080")
    >>> [authority(url) for url in urls]
    ['h', 'h:8774', '[::1]:8774', 'h:1080']
    """
    parts = urlsplit(url)
    name = _bracketed(parts.hostname or "")
    return name if parts.port in (None, _PORTS.get(parts.scheme)) else f"{name}:{parts.port}"


def with_port(url: str, port: int) -> str:
    """The same scheme and host at another port, without a path. ValueError for a malformed URL.

    >>> with_port("https://[::1]:2633/RPC2", 2634)
    'https://[::1]:2634'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{_bracketed(parts.hostname or '')}:{port}"


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name
