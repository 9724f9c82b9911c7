"""Helpers for tests that ask servers on loopback."""

import ssl
import time

import pytest


def told(kind, act, *words, **more):
    """The error of exactly this kind that ``act`` raises."""
    with pytest.raises(kind) as raised:
        act(*words, **more)
    assert type(raised.value) is kind
    return raised.value


def server_side(certificate, clients=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if version:
        context.maximum_version = version
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def dripping(data, every=0.02):
    def drip(connection):
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(every)

    return lambda request: drip


LATE = {
    "never-answers": lambda request: lambda connection: time.sleep(3),
    "drips-its-headers": dripping(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100),
    "drips-its-body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500),
    "drips-its-chunks": dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100
    ),
    "drips-one-chunks-size": dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 500
    ),
    "says-continue-for-ever": dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.001),
}
