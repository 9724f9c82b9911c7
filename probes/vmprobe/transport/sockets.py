"""Connect to a server, with sockets that stop when the time of the whole exchange is over.

requests bounds each step of an exchange: a server that sends one byte a second can hold it for
ever. Here each call of a socket gets the time that the exchange has left, and no more.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple, TypeVar, Union

from vmprobe.core.errors import ClientError, Unreachable
from vmprobe.transport import tls
from vmprobe.transport.error_text import of_system

_ALERT = 1.0  # seconds to wait for the reason why a server broke a connection

T = TypeVar("T")
Addresses = Sequence[Tuple[int, int, int, str, Any]]  # as getaddrinfo returns them
SocketOptions = Sequence[Tuple[int, int, Union[int, bytes]]]  # arguments of setsockopt


class Limits:
    """When the exchange under way has to be over.

    One object for all sockets: there is one exchange at a time.
    """

    def begin(self, asked: str, seconds: float) -> None:
        """Begin an exchange of at most ``seconds``; ``asked`` is what error texts call it."""
        self.asked, self.seconds, self.end = asked, seconds, time.monotonic() + seconds

    def left(self, sent: bool = True) -> float:
        """Seconds left, above 0; Unreachable when there are none.

        ``sent``: the request may have reached the server.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.timed_out(sent)
        return left

    def timed_out(self, sent: bool = True) -> Unreachable:
        """The error for an exchange whose time is over."""
        missing = "no whole answer" if sent else "no connection"
        return Unreachable(f"{self.asked}: {missing} within {self.seconds:.3g} s", sent=sent)


def connect(asked: str, host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection within ``seconds``.

    Unreachable, its text beginning with ``asked``, where there is none.
    """
    limits = Limits()
    limits.begin(asked, seconds)
    return connect_within(limits, host, port)


def connect_within(
    limits: Limits, host: str, port: int, options: SocketOptions = ()
) -> socket.socket:
    """A connection to the first address of ``host`` that accepts one.

    Each address gets its share of the time left.
    """
    addresses = _resolve(limits, host, port)
    reason = ""
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            connection = _PlainSocket(family, kind, protocol)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise ClientError(
                    f"{limits.asked}: no connection can be made from here: {of_system(error)}"
                ) from None
            # A host without IPv6 may be given IPv6 addresses: the reason of another address says
            # more
            reason = reason or of_system(error)
            continue
        connection.limits = limits
        try:
            for option in options:
                connection.setsockopt(*option)
            connection.settimeout(limits.left(sent=False) / (len(addresses) - number))
            connection.connect(address)
            return connection
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            reason = "no answer" if isinstance(error, socket.timeout) else of_system(error)
    limits.left(sent=False)
    raise Unreachable(f"{limits.asked}: {host} port {port}: {reason or 'no address'}", sent=False)


def _resolve(limits: Limits, host: str, port: int) -> Addresses:
    """The addresses of a host.

    A resolver takes no limit of time, so another thread waits for it.
    """

    def resolve(flags: int = 0) -> Addresses:
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)

    try:
        return resolve(socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        pass  # a name, not an address
    results: List[Union[Addresses, Exception]] = []

    def resolve_name() -> None:
        try:
            results.append(resolve())
        except (OSError, UnicodeError) as error:
            results.append(error)

    resolver = threading.Thread(target=resolve_name, daemon=True)
    resolver.start()
    resolver.join(limits.left(sent=False))
    if not results:
        raise Unreachable(
            f"{limits.asked}: the address of {host} could not be found "
            f"within {limits.seconds:.3g} s",
            sent=False,
        )
    result = results[0]
    if isinstance(result, Exception):
        reason = of_system(result) if isinstance(result, OSError) else "is no host name"
        raise Unreachable(f"{limits.asked}: {host}: {reason}", sent=False)
    return result


if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object


class _Limited(_Base):
    """Mixed into a socket class: each call gets the time that ``limits`` has left."""

    limits: Limits

    def recv(self, *args: Any, **more: Any) -> bytes:
        return self._within_limits(super().recv, *args, **more)

    def recv_into(self, *args: Any, **more: Any) -> int:
        return self._within_limits(super().recv_into, *args, **more)

    def send(self, *args: Any, **more: Any) -> int:
        return self._within_limits(super().send, *args, **more)

    def sendall(self, *args: Any, **more: Any) -> None:
        return self._within_limits(super().sendall, *args, **more)

    def _within_limits(self, call: Callable[..., T], *args: Any, **more: Any) -> T:
        self.settimeout(self.limits.left())
        try:
            return call(*args, **more)
        except socket.timeout:
            raise self.limits.timed_out() from None


class _PlainSocket(_Limited, socket.socket):
    pass


class TlsSocket(_Limited, ssl.SSLSocket):
    """A TLS socket within limits.

    Make a subclass with its ``limits`` for an SSLContext's ``sslsocket_class``.
    """

    def do_handshake(self, block: bool = False) -> None:
        """A handshake gets the time that is left, not as much as the connection got."""
        self.settimeout(self.limits.left(sent=False))
        super().do_handshake(block)

    def _within_limits(self, call: Callable[..., T], *args: Any, **more: Any) -> T:
        try:
            return super()._within_limits(call, *args, **more)
        except (ssl.SSLError, ConnectionError) as error:
            raise tls.failure(self.limits.asked, self._alert() or error, sent=True) from None

    def _alert(self) -> Optional[ssl.SSLError]:
        """The alert behind a broken connection.

        In TLS 1.3 a refused certificate often breaks the first write.
        """
        try:
            self.settimeout(min(_ALERT, self.limits.left()))
            ssl.SSLSocket.read(self, 1)
        except ssl.SSLError as alert:
            return alert
        except (OSError, ValueError, Unreachable):
            return None
        return None
