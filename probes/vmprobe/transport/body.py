"""Read the body of an answer, within a size, and uncompress it where a proxy has compressed it."""

from __future__ import annotations

import zlib
from http.client import IncompleteRead
from typing import TYPE_CHECKING

from vmprobe.core.text import cut, whole_number

if TYPE_CHECKING:
    import requests

_PIECE = 64 * 1024  # bytes that are read at once
_MAX_PARTS = 100  # of a compressed answer: each costs a copy of those after it
_GZIP = zlib.MAX_WBITS | 16
_WINDOWS = {
    "gzip": (_GZIP,),
    "x-gzip": (_GZIP,),
    # zlib's format by RFC 9110, 8.4.1.2; some servers leave out its header
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),
}


class BadBody(Exception):
    """The body was received, and cannot be used; the text says why."""


class BodyTooLarge(BadBody):
    """The body is larger than what may be read."""


def read(response: requests.Response, method: str, limit: int) -> bytes:
    """The body of a response, of at most ``limit`` bytes, uncompressed.

    BadBody where it cannot be used; http.client's and urllib3's errors where the connection breaks.
    """
    body = bytearray()  # http.client bounds each line of a chunked body
    while True:
        piece = response.raw.read(_PIECE, decode_content=False)
        if not piece:
            break
        body += piece
        if len(body) > limit:
            raise BodyTooLarge(f"the answer is larger than {limit} bytes")
    length = whole_number(response.headers.get("Content-Length"))
    if (
        length is not None
        and len(body) < length
        and method != "HEAD"
        and response.status_code not in (204, 304)
        and "Transfer-Encoding" not in response.headers
    ):
        raise IncompleteRead(b"", length - len(body))  # urllib3 before 2 does not notice
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", "") or not body:
        return bytes(body)
    return _uncompressed(bytes(body), encoding, limit)


def _uncompressed(compressed: bytes, encoding: str, limit: int) -> bytes:
    """At most ``limit`` bytes: a few bytes may uncompress to many. We never ask for compression.

    Some proxies do it.
    """
    if encoding not in _WINDOWS:
        raise BadBody(f"the answer is compressed by {cut(encoding, 40)!r}, which was not asked for")
    for window in _WINDOWS[encoding]:
        try:
            return _inflated(compressed, window, limit)
        except zlib.error:
            continue
    raise BadBody(f"the answer is not valid {encoding}, as its headers say")


def _inflated(compressed: bytes, window: int, limit: int) -> bytes:
    body = bytearray()
    for _ in range(_MAX_PARTS):  # gzip files may follow each other
        inflater = zlib.decompressobj(window)
        body += inflater.decompress(compressed, limit + 1 - len(body))
        if len(body) > limit:
            raise BodyTooLarge(f"the answer is larger than {limit} bytes when uncompressed")
        if not inflater.eof:
            raise BadBody("the compressed answer is cut off")
        compressed = inflater.unused_data
        if not compressed:
            return bytes(body)
    raise BadBody(f"the answer is compressed in more than {_MAX_PARTS} parts")
