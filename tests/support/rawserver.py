"""Servers for tests, on loopback, that answer with exactly the bytes that a test gives them."""

import socket
import ssl
import threading
from collections import namedtuple
from contextlib import suppress

Request = namedtuple("Request", "method target headers body")


class Server:
    """Answer each request with what ``answer(request)`` returns: bytes, or a function of the connection.

    After a function, and after b"", the connection is closed. ``requests`` has the requests.
    """

    def __init__(self, answer, tls=None, host="127.0.0.1"):
        self.answer, self.tls, self.requests, self.connections = answer, tls, [], 0
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._open, self._closed = set(), False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *words):
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        self._open.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            file = connection.makefile("rb")
            while True:
                request = _read(file)
                if request is None:
                    return
                self.requests.append(request)
                answer = self.answer(request)
                if callable(answer):
                    answer(connection)
                    return
                if not answer:
                    return
                connection.sendall(answer)
        except (OSError, ssl.SSLError):
            return
        finally:
            self._open.discard(connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _read(file):
    head = file.readline().decode("latin-1").split()
    if len(head) != 3:
        return None
    headers = {}
    for line in iter(file.readline, b"\r\n"):
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return Request(head[0], head[1], headers, file.read(int(headers.get("content-length", 0))))


def reply(status=200, body=b"", **headers):
    """A complete, correct response; headers as ``Retry_After=3``."""
    body = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Words')}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
