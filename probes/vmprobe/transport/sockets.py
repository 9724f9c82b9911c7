"""The wire below requests: sockets that are never late, and TLS by a site's own files.

requests bounds each step of an exchange, so a server that sends one byte a second can hold it for ever; here the
sockets know when the whole exchange has to be over. Its adapter is used without its Session, which would obey
REQUESTS_CA_BUNDLE and .netrc, and read the body of a redirect whatever its size.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import threading
import time
import zlib
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vmprobe.core import urls
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    GatewayFailed,
    TooLarge,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.text import cut, whole_number
from vmprobe.host import files
from vmprobe.transport import x509

_PIECE = 64 * 1024
_MOST_PARTS = 100  # of a packed answer: each costs a copy of those after it
_GZIP = zlib.MAX_WBITS | 16
_ALERT = 1.0  # seconds to wait for the reason why a server broke a connection
_LARGEST_BUNDLE = 16 * 2**20  # bytes of a file with authorities
_HASH_NAME = re.compile(r"[0-9a-f]{8}\.\d+")
_CA_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/ca-trust/extracted/pem/directory-hash")


class Connections:
    """Connections to the servers of one run. ``tls`` is called for the first https URL and returns its SSLContext."""

    def __init__(self, tls: Callable[[], ssl.SSLContext]):
        self._tls, self._limits = tls, _Limits()
        self._adapters: Dict[str, _Adapter] = {}

    def exchange(
        self,
        asked: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Optional[bytes],
        seconds: float,
        largest: int,
    ) -> Tuple[int, str, Mapping[str, str], bytes]:
        """One request, and (status, reason, headers, body), within ``seconds`` and ``largest`` bytes; never a retry.

        Every failure is an error of this suite and begins with ``asked``; Unreachable says whether it was sent.
        """
        self._limits.begin(asked, seconds)
        try:
            prepared = requests.Request(method, url, headers, data=body).prepare()
            response = self._adapter(url).send(
                prepared, stream=True, timeout=seconds, proxies=proxies(url)
            )
            try:
                received = _read(response, method, largest)
            except BaseException:
                response.close()  # what is left of the answer must not be the next one's
                raise
            return response.status_code, response.reason or "", response.headers, received
        except VmprobeError as failed:
            error = failed
        except _Wrong as wrong:
            error = (TooLarge if isinstance(wrong, _Large) else GatewayFailed)(f"{asked}: {wrong}")
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            HTTPException,
            OSError,
            ValueError,
        ) as failed:
            error = _broken(asked, failed)
        error.__context__ = (
            None  # an error is remembered, and the frames behind it hold what came of the answer
        )
        raise error.with_traceback(None)

    def close(self) -> None:
        """Let go of all connections."""
        for adapter in self._adapters.values():
            adapter.close()

    def _adapter(self, url: str) -> "_Adapter":
        scheme = url.partition(":")[0]
        if scheme not in self._adapters:
            self._adapters[scheme] = _Adapter(
                self._limits, self._tls() if scheme == "https" else None
            )
        return self._adapters[scheme]


class _Wrong(Exception):
    """What came is whole, and cannot be used."""


class _Large(_Wrong):
    """There is more than may be read."""


def _read(response: requests.Response, method: str, largest: int) -> bytes:
    """The body, from http.client, which bounds each line of a chunked one; unpacked here, because a bomb may be packed."""
    body = bytearray()
    while True:
        piece = response.raw.read(_PIECE, decode_content=False)
        if not piece:
            break
        body += piece
        if len(body) > largest:
            raise _Large(f"the answer is larger than {largest} bytes")
    length = whole_number(response.headers.get("Content-Length"))
    if (
        length is not None
        and len(body) < length
        and method != "HEAD"
        and response.status_code not in (204, 304)
        and "Transfer-Encoding" not in response.headers
    ):
        raise IncompleteRead(b"", length - len(body))  # urllib3 before 2 does not see it
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return (
        bytes(body)
        if encoding in ("identity", "") or not body
        else _unpacked(bytes(body), encoding, largest)
    )


def _unpacked(packed: bytes, encoding: str, largest: int) -> bytes:
    """What a body was before a proxy packed it, which nobody had asked for; no more of it is unpacked than may be read."""
    windows = {
        "gzip": [_GZIP],
        "x-gzip": [_GZIP],
        "deflate": [zlib.MAX_WBITS, -zlib.MAX_WBITS],
    }.get(encoding)
    if not windows:
        raise _Wrong(f"the answer is packed by {cut(encoding, 40)!r}, which was not asked for")
    for window in windows:  # deflate should be in zlib's format, and some servers leave that out
        try:
            return _inflated(packed, window, largest)
        except zlib.error:
            continue
    raise _Wrong(f"the answer is not the {encoding} that it is said to be")


def _inflated(packed: bytes, window: int, largest: int) -> bytes:
    body = bytearray()
    for _ in range(_MOST_PARTS):  # a gzip may be several in a row
        unpacking = zlib.decompressobj(window)
        body += unpacking.decompress(packed, largest + 1 - len(body))
        if len(body) > largest:
            raise _Large(f"the answer is larger than {largest} bytes when it is unpacked")
        if not unpacking.eof:
            raise _Wrong("the packed answer has no end")
        packed = unpacking.unused_data
        if not packed:
            return bytes(body)
    raise _Wrong(f"the answer is packed in more than {_MOST_PARTS} parts")


def _broken(asked: str, failed: BaseException) -> VmprobeError:
    """What requests, urllib3 or http.client raised, as an error of ours with the innermost words."""
    inner: Any = failed
    for _ in range(6):
        below = (
            getattr(inner, "reason", None)
            if isinstance(getattr(inner, "reason", None), Exception)
            else next((word for word in inner.args if isinstance(word, Exception)), None)
        )
        if below is None:
            break
        inner = below
    if isinstance(inner, RemoteDisconnected):
        return Unreachable(f"{asked}: the connection was closed without an answer")
    if isinstance(inner, OSError) and not isinstance(inner, requests.RequestException):
        return Unreachable(f"{asked}: {_words(inner)}")
    if isinstance(inner, (IncompleteRead, urllib3.exceptions.IncompleteRead)):
        return Unreachable(f"{asked}: the connection was closed before the end of the answer")
    return GatewayFailed(
        f"{asked}: what came is not HTTP ({type(inner).__name__}: {cut(str(inner), 100)})"
    )


def _words(failed: OSError) -> str:
    """The system's words for an error, without its number."""
    return cut(failed.strerror or str(failed) or type(failed).__name__, 200).lower()


def proxies(url: str) -> Dict[str, str]:
    """The proxy that the environment names for https; what goes over http is not shown to one.

    ClientError for one that is not served, such as SOCKS: what is meant for a proxy must not go past it.
    """
    if not url.startswith("https:"):
        return {}
    found = requests.utils.get_environ_proxies(url)
    proxy = found.get("https") or found.get("all")
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
            f"the environment names the proxy {scheme}://{address}: only a proxy by http or https can be used"
        )
    return {"https": proxy}


# --- sockets that are never late ----------------------------------------------------------------------------------


class _Limits:
    """Until when the exchange on its way may last. One for all sockets: there is one exchange at a time."""

    def begin(self, asked: str, seconds: float) -> None:
        self.asked, self.seconds, self.end = asked, seconds, time.monotonic() + seconds

    def left(self, sent: bool = True) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.late(sent)
        return left

    def late(self, sent: bool = True) -> Unreachable:
        what = "no whole answer" if sent else "no connection"
        return Unreachable(f"{self.asked}: {what} within {self.seconds:.3g} s", sent=sent)


class _Timed:
    """What makes a socket obey its limits: each call gets what time is left, and no more."""

    limits: _Limits

    def recv(self, *words: Any) -> Any:
        return self._in_time(super().recv, *words)

    def recv_into(self, *words: Any) -> Any:
        return self._in_time(super().recv_into, *words)

    def send(self, *words: Any) -> Any:
        return self._in_time(super().send, *words)

    def sendall(self, *words: Any) -> Any:
        return self._in_time(super().sendall, *words)

    def _in_time(self, act: Callable[..., Any], *words: Any) -> Any:
        self.settimeout(self.limits.left())
        try:
            return act(*words)
        except socket.timeout:
            raise self.limits.late() from None


class _Socket(_Timed, socket.socket):
    pass


class _TlsSocket(_Timed, ssl.SSLSocket):
    def do_handshake(self, *words: Any) -> None:
        """A handshake has the time that is left, not as much as the connection was given."""
        self.settimeout(self.limits.left(sent=False))
        super().do_handshake(*words)

    def _in_time(self, act: Callable[..., Any], *words: Any) -> Any:
        try:
            return super()._in_time(act, *words)
        except (ssl.SSLError, ConnectionError) as failed:
            raise _tls_failed(self.limits.asked, self._alert() or failed, sent=True) from None

    def _alert(self) -> Optional[ssl.SSLError]:
        """The alert behind a broken connection: in TLS 1.3 a refused certificate often breaks the first write."""
        try:
            self.settimeout(min(_ALERT, self.limits.left()))
            ssl.SSLSocket.read(self, 1)
        except ssl.SSLError as alert:
            return alert
        except (OSError, ValueError, Unreachable):
            return None
        return None


def connect(asked: str, host: str, port: int, seconds: float) -> socket.socket:
    """A connection alone, within ``seconds``; Unreachable where there is none."""
    limits = _Limits()
    limits.begin(asked, seconds)
    return _connect(limits, host, port, ())


def handshake(
    asked: str, plain: socket.socket, host: str, seconds: float, context: ssl.SSLContext
) -> str:
    """TLS over a connection, as an exchange begins it; its version. CloudError: why the certificate is not accepted."""
    plain.settimeout(seconds)
    try:
        with context.wrap_socket(plain, server_hostname=host) as connection:
            return connection.version() or ""
    except ssl.SSLCertVerificationError as refused:
        raise _not_accepted(asked, host, refused) from None
    except socket.timeout:
        raise Unreachable(f"{asked}: no TLS within {seconds:.3g} s", sent=False) from None
    except OSError as failed:
        raise _tls_failed(asked, failed, sent=False) from None


def _connect(limits: _Limits, host: str, port: int, options: Any) -> socket.socket:
    """A connection to the first address that takes one; each gets its share of the time."""
    addresses = _resolve(limits, host, port)
    reason = "no address"
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            found = _Socket(family, kind, protocol)
        except OSError as failed:
            if failed.errno in (errno.EMFILE, errno.ENFILE):
                raise ClientError(
                    f"{limits.asked}: no connection can be made from here: {_words(failed)}"
                ) from None
            reason = (
                _words(failed) if reason == "no address" else reason
            )  # a host without IPv6 may be told of such addresses
            continue
        found.limits = limits
        try:
            for option in options or ():
                found.setsockopt(*option)
            found.settimeout(limits.left(sent=False) / (len(addresses) - number))
            found.connect(address)
            return found
        except BaseException as failed:
            found.close()
            if not isinstance(failed, OSError):
                raise
            reason = "no answer" if isinstance(failed, socket.timeout) else _words(failed)
    limits.left(sent=False)
    raise Unreachable(f"{limits.asked}: {host} port {port}: {reason}", sent=False)


def _resolve(limits: _Limits, host: str, port: int) -> List[Any]:
    """The addresses of a host. A resolver cannot be told to hurry, so it is waited for in another thread."""

    def ask(flags: int = 0) -> Any:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)

    def note() -> None:
        try:
            answer.append(ask())
        except (OSError, UnicodeError) as failed:
            answer.append(failed)

    try:
        return ask(socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        answer: List[Any] = []
    asking = threading.Thread(target=note, daemon=True)
    asking.start()
    asking.join(limits.left(sent=False))
    if not answer:
        raise Unreachable(
            f"{limits.asked}: the address of {host} could not be found within {limits.seconds:.3g} s",
            sent=False,
        )
    if isinstance(answer[0], Exception):
        words = _words(answer[0]) if isinstance(answer[0], OSError) else "is no host name"
        raise Unreachable(f"{limits.asked}: {host}: {words}", sent=False)
    return answer[0]


def _pools(limits: _Limits) -> Dict[str, type]:
    """urllib3's pools, with connections that obey ``limits``. What fails before ``connect`` returns was never sent."""

    def of(pool: type, connection: type) -> type:
        class Connection(connection):  # type: ignore[misc, valid-type]
            def _new_conn(self) -> socket.socket:
                return _connect(limits, self._dns_host, self.port, self.socket_options)

            def connect(self) -> None:
                if connection is HTTPSConnection:
                    self.ssl_context.peer = self._tunnel_host or self.host
                try:
                    super().connect()
                except ssl.SSLCertVerificationError as refused:
                    raise _not_accepted(limits.asked, self.host, refused) from None
                except ssl.SSLError as failed:
                    raise _tls_failed(limits.asked, failed, sent=False) from None
                except socket.timeout:
                    raise limits.late(sent=False) from None
                except Unreachable as failed:  # in the middle of a proxy's answer
                    failed.sent = False
                    raise
                except OSError as failed:
                    raise Unreachable(f"{limits.asked}: {_words(failed)}", sent=False) from None

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    return {
        "http": of(HTTPConnectionPool, HTTPConnection),
        "https": of(HTTPSConnectionPool, HTTPSConnection),
    }


class _Adapter(HTTPAdapter):
    """requests' adapter with our sockets and our TLS; never a retry."""

    def __init__(self, limits: _Limits, tls: Optional[ssl.SSLContext]):
        self._classes, self._context = _pools(limits), tls
        self._socket = type("TlsSocket", (_TlsSocket,), {"limits": limits})
        if tls is not None:
            tls.sslsocket_class = self._socket
        super().__init__(max_retries=0)

    def init_poolmanager(self, *words: Any, **more: Any) -> None:
        super().init_poolmanager(*words, ssl_context=self._context, **more)
        self.poolmanager.pool_classes_by_scheme = self._classes

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        if proxy.startswith(
            "https:"
        ):  # a proxy has nothing to do with the site: it is not shown the site's certificate
            context = tls_context("", "", "")
            context.peer, context.sslsocket_class = urls.host(proxy), self._socket
            more["proxy_ssl_context"] = context
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **more)
        manager.pool_classes_by_scheme = self._classes
        return manager

    def cert_verify(self, *words: Any) -> None:
        """Nothing: the context has it all, and requests would add its own bundle to it."""


# --- TLS ----------------------------------------------------------------------------------------------------------


class _Context(ssl.SSLContext):
    """TLS that checks the name of its peer always: urllib3 before 2 does not pass on one that is an address."""

    peer = ""

    def wrap_socket(self, *words: Any, server_hostname: Any = None, **more: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*words, server_hostname=server_hostname or self.peer, **more)


def tls_context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """TLS that trusts ``ca`` (a file or hashed directory; '': the system's) and shows ``certificate``, if any.

    ``key`` may be '' where the certificate's file has it, as a proxy's has. ClientError names the file at fault.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    ca = (
        ca
        or next((path for path in _CA_DIRECTORIES if _is_hashed(path)), "")
        or requests.certs.where()
    )
    try:
        if os.path.isdir(ca):
            if not _is_hashed(ca):
                raise ClientError(
                    f"ca {ca}: no certificate in it has a hash for its name; 'openssl rehash' makes them"
                )
            context.load_verify_locations(capath=ca)
        else:
            files.open_regular(ca, _LARGEST_BUNDLE).close()  # OpenSSL would wait for a pipe
            context.load_verify_locations(cafile=ca)
    except OSError as failed:
        raise ClientError(f"ca {ca}: {_why(failed, 'there is no PEM certificate in it')}") from None
    if certificate:
        context.post_handshake_auth = (
            True  # TLS 1.3: servers that want it for some of their paths only ask later
        )

        def no_password() -> str:  # without it, OpenSSL would ask the terminal
            raise ClientError(
                f"the key of certificate {certificate} is encrypted, and nobody is here to give its password"
            )

        x509.pem(
            certificate
        )  # refuses a key that others can read, and a pipe, for which OpenSSL would wait
        if key:
            x509.pem(key, "key")
        try:
            context.load_cert_chain(certificate, key or None, password=no_password)
        except OSError as failed:
            raise ClientError(
                f"certificate {certificate}{f' with key {key}' if key else ''}: "
                f"{_why(failed, 'this is no PEM certificate with its key')}"
            ) from None
    return context


def _is_hashed(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(_HASH_NAME.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False


def _why(failed: OSError, else_words: str) -> str:
    if isinstance(failed, ssl.SSLError):
        return (
            "the key does not belong to the certificate"
            if failed.reason == "KEY_VALUES_MISMATCH"
            else else_words
        )
    return _words(failed)


_REFUSED = re.compile(
    r"ALERT_(CERTIFICATE_\w+|(BAD|UNSUPPORTED)_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)"
)


def _not_accepted(asked: str, host: str, refused: ssl.SSLCertVerificationError) -> CloudError:
    return CloudError(
        f"{asked}: the certificate of {host} is not accepted: {refused.verify_message.rstrip('.')}",
        cause="gateway",
    )


def _tls_failed(asked: str, failed: OSError, sent: bool) -> VmprobeError:
    if not isinstance(failed, ssl.SSLError):
        return Unreachable(f"{asked}: {_words(failed)}", sent=sent)
    reason = failed.reason or str(failed)
    if _REFUSED.search(reason):
        if reason.endswith("CERTIFICATE_REQUIRED"):
            return ClientError(f"{asked}: the server wants a client certificate")
        return AuthRejected(
            f"{asked}: our certificate is not accepted: {reason.lower().replace('_', ' ')}"
        )
    return Unreachable(f"{asked}: no TLS: {reason.lower().replace('_', ' ')}", sent=sent)
