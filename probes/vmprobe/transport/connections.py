"""One HTTP exchange after the other, over connections that are kept: requests' adapter on our
sockets and our TLS.

Its adapter is used without its Session, which would obey REQUESTS_CA_BUNDLE and .netrc, and would
read the body of a redirect whatever its size.
"""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vmprobe.core import urls
from vmprobe.core.errors import ClientError, GatewayFailed, TooLarge, Unreachable, VmprobeError
from vmprobe.core.text import cut
from vmprobe.transport import body, tls
from vmprobe.transport.error_text import of_system
from vmprobe.transport.sockets import Limits, TlsSocket, connect_within

_MAX_NESTED = 6  # exceptions within exceptions that are followed to the innermost one


class Connections:
    """The connections of one run. ``make_tls`` is called before the first https request."""

    def __init__(self, make_tls: Callable[[], tls.Context]):
        self._make_tls, self._limits = make_tls, Limits()
        self._adapters: Dict[str, _Adapter] = {}

    def exchange(
        self,
        asked: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Optional[bytes],
        seconds: float,
        limit: int,
    ) -> Tuple[int, str, Mapping[str, str], bytes]:
        """Send one request, never twice; return (status, reason, headers, body) within ``seconds``
        and ``limit`` bytes.

        Every failure is an error of this suite, and its text begins with ``asked``. Unreachable
        says by its ``sent`` whether the request may have reached the server.
        """
        self._limits.begin(asked, seconds)
        try:
            request = requests.Request(method, url, headers, data=content).prepare()
            response = self._adapter(url).send(
                request, stream=True, timeout=seconds, proxies=proxies(url)
            )
            try:
                received = body.read(response, method, limit)
            except BaseException:
                response.close()  # the next answer must not begin with the rest of this one
                raise
            return response.status_code, response.reason or "", response.headers, received
        except VmprobeError as known:
            error = known
        except body.BodyTooLarge as too_large:
            error = TooLarge(f"{asked}: {too_large}")
        except body.BadBody as bad:
            error = GatewayFailed(f"{asked}: {bad}")
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            HTTPException,
            OSError,
            ValueError,
        ) as foreign:
            error = _translated(asked, foreign)
        # An error is remembered with the frames behind it, and these hold what was received
        error.__context__ = None
        raise error.with_traceback(None)

    def close(self) -> None:
        """Close all connections."""
        for adapter in self._adapters.values():
            adapter.close()

    def _adapter(self, url: str) -> _Adapter:
        scheme = url.partition(":")[0]
        if scheme not in self._adapters:
            context = self._make_tls() if scheme == "https" else None
            self._adapters[scheme] = _Adapter(self._limits, context)
        return self._adapters[scheme]


def proxies(url: str) -> Dict[str, str]:
    """The proxy that the environment names for an https URL, as requests takes it; {} for http, and
    where there is none.

    What goes over http is not shown to a proxy. ClientError for a proxy that cannot be used, such
    as SOCKS: what is meant for a proxy must not go past it.
    """
    if not url.startswith("https:"):
        return {}
    named = requests.utils.get_environ_proxies(url)
    proxy = named.get("https") or named.get("all")
    if not proxy:
        return {}
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        address = urls.authority(proxy) if urls.host(proxy) else ""
    except ValueError:  # its port is no number
        address = ""
    if not address:
        raise ClientError("the proxy that the environment names is no URL like 'http://host:3128'")
    scheme = proxy.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise ClientError(
            f"the environment names the proxy {scheme}://{address}: only a proxy by http or https "
            "can be used"
        )
    return {"https": proxy}


def _translated(asked: str, error: Exception) -> VmprobeError:
    """The error of this suite for one of requests, urllib3 or http.client: its innermost reason."""
    inner: BaseException = error
    for _ in range(_MAX_NESTED):
        below = _within(inner)
        if below is None:
            break
        inner = below
    if isinstance(inner, RemoteDisconnected):
        return Unreachable(f"{asked}: the connection was closed without an answer")
    if isinstance(inner, OSError) and not isinstance(inner, requests.RequestException):
        return Unreachable(f"{asked}: {of_system(inner)}")
    if isinstance(inner, (IncompleteRead, urllib3.exceptions.IncompleteRead)):
        return Unreachable(f"{asked}: the connection was closed before the end of the answer")
    return GatewayFailed(
        f"{asked}: the answer is not HTTP ({type(inner).__name__}: {cut(str(inner), 100)})"
    )


def _within(error: BaseException) -> Optional[BaseException]:
    """The exception that another one carries as its reason or as an argument."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, Exception):
        return reason
    return next((argument for argument in error.args if isinstance(argument, Exception)), None)


class _Adapter(HTTPAdapter):
    """requests' adapter with our sockets and our TLS; never a retry."""

    def __init__(self, limits: Limits, context: Optional[tls.Context]):
        self._pools, self._context = _pools(limits), context
        self._socket_class = type("LimitedTlsSocket", (TlsSocket,), {"limits": limits})
        if context is not None:
            context.sslsocket_class = self._socket_class
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: Any) -> urllib3.ProxyManager:
        if proxy.startswith("https:"):
            # The proxy is not the site's: it is neither shown the site's certificate nor trusted by
            # the site's authorities
            context = tls.client_context("")
            context.peer, context.sslsocket_class = urls.host(proxy), self._socket_class
            more["proxy_ssl_context"] = context
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._context, **more
        )
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, *_: Any) -> None:
        """Do nothing: the context has all authorities; requests would add its own."""


def _pools(limits: Limits) -> Dict[str, type]:
    """urllib3's pools, with connections within ``limits``.

    A request that fails before ``connect`` returns was not sent.
    """

    def with_limits(pool: type, connection: type) -> type:
        class Connection(connection):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                return connect_within(limits, self._dns_host, self.port, self.socket_options or ())

            def connect(self) -> None:
                if connection is HTTPSConnection:
                    self.ssl_context.peer = self._tunnel_host or self.host
                try:
                    super().connect()
                except ssl.SSLCertVerificationError as error:
                    raise tls.not_accepted(limits.asked, self.host, error) from None
                except ssl.SSLError as error:
                    raise tls.failure(limits.asked, error, sent=False) from None
                except socket.timeout:
                    raise limits.timed_out(sent=False) from None
                except Unreachable as error:  # in the middle of a proxy's answer
                    error.sent = False
                    raise
                except OSError as error:
                    raise Unreachable(f"{limits.asked}: {of_system(error)}", sent=False) from None

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    return {
        "http": with_limits(HTTPConnectionPool, HTTPConnection),
        "https": with_limits(HTTPSConnectionPool, HTTPSConnection),
    }
