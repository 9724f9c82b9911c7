"""Bodies: how large they may be, and how they may be compressed."""

import gzip
import time
import zlib

import pytest

from asking import told
from rawserver import reply
from vmprobe.core.errors import (
    GatewayFailed,
    TooLarge,
)


@pytest.mark.parametrize(
    "head", [b"Content-Length: 104857600", b"Connection: close"], ids=["announced", "unannounced"]
)
def test_an_answer_is_no_larger_than_allowed(head, serve, http):
    def flood(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        for _ in range(1600):
            connection.sendall(b"x" * 65536)

    error = told(TooLarge, http(serve(lambda request: flood)).get, "x", max_bytes=100_000)

    assert str(error) == "GET /x: the answer is larger than 100000 bytes"


PLAIN = b'{"id": "4f1c", "padding": "%s"}' % (b"x" * 1000)
COMPRESSED = {
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "its-old-name": ("X-Gzip", gzip.compress(PLAIN)),
    "several-in-a-row": (
        "gzip",
        gzip.compress(PLAIN[:500]) + gzip.compress(b"") + gzip.compress(PLAIN[500:]),
    ),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "deflate-without-its-frame": ("deflate", zlib.compress(PLAIN)[2:-4]),
}


@pytest.mark.parametrize("case", COMPRESSED)
def test_an_answer_that_a_proxy_compressed_is_uncompressed(case, serve, http):
    encoding, body = COMPRESSED[case]
    server = serve(reply(200, body, Content_Encoding=encoding))

    assert http(server).get("x").short_text("id") == "4f1c"
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "encoding, body, said",
    [
        ("gzip", b"\x1f\x8b...", "the answer is not valid gzip, as its headers say"),
        ("gzip", PLAIN, "the answer is not valid gzip, as its headers say"),
        ("deflate", PLAIN, "the answer is not valid deflate, as its headers say"),
        ("gzip", gzip.compress(PLAIN)[:-9], "the compressed answer is cut off"),
        ("br", b"\x0b\x02\x80", "the answer is compressed by 'br', which was not asked for"),
        (
            "gzip, gzip",
            gzip.compress(gzip.compress(PLAIN)),
            "the answer is compressed by 'gzip, gzip', which was not asked for",
        ),
    ],
    ids=["no-gzip", "plain-instead", "no-deflate", "cut", "another-form", "twice"],
)
def test_a_body_that_cannot_be_uncompressed_is_named(encoding, body, said, serve, http):
    error = told(GatewayFailed, http(serve(reply(200, body, Content_Encoding=encoding))).get, "x")

    assert str(error) == f"GET /x: {said}"


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"x" * 100_001), gzip.compress(b"x" * 60_000) * 2, gzip.compress(b"") * 9000],
    ids=["one-bomb", "several", "many-of-nothing"],
)
def test_no_more_is_uncompressed_than_may_be_read(body, serve, http):
    error = told(
        TooLarge, http(serve(reply(200, body, Content_Encoding="gzip"))).get, "x", max_bytes=100_000
    )

    assert str(error).startswith("GET /x: the answer is larger than 100000 bytes")


def test_an_answer_of_very_many_compressed_parts_costs_no_more_than_a_few(serve, http):
    began = time.process_time()

    error = told(
        GatewayFailed,
        http(serve(reply(200, gzip.compress(b"") * 200_000, Content_Encoding="gzip"))).get,
        "x",
    )

    assert str(error) == "GET /x: the answer is compressed in more than 100 parts"
    assert time.process_time() - began < 5


def test_an_answer_without_a_body_is_not_uncompressed(serve, http):
    assert http(serve(reply(204, b"", Content_Encoding="gzip"))).delete("x").status == 204


def test_what_is_not_http_is_named(serve, http):
    error = told(GatewayFailed, http(serve(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")).get, "x")

    assert str(error) == "GET /x: the answer is not HTTP (BadStatusLine: SSH-2.0-OpenSSH_9.2\r\n)"
