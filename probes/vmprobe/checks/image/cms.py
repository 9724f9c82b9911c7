"""Read the signers of a CMS message (RFC 5652): their digest and signing time.

openssl verifies such a message, but does not report these two.

for signer in cms.signers(der): signer.digest, signer.signed_at
"""

from __future__ import annotations

import calendar
import time
from typing import Iterator, List, NamedTuple, Optional, Tuple

_DATA = bytes.fromhex("2a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_SIGNING_TIME = bytes.fromhex("2a864886f70d010905")
_SEQUENCE, _SET, _OID, _FIRST = 0x30, 0x31, 0x06, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_DIGESTS = {  # object identifiers of digests: RFC 5754, RFC 8702, and older ones
    "2a864886f70d0202": "MD2",
    "2a864886f70d0204": "MD4",
    "2a864886f70d0205": "MD5",
    "2b0e03021a": "SHA-1",
    "608648016503040204": "SHA-224",
    "608648016503040201": "SHA-256",
    "608648016503040202": "SHA-384",
    "608648016503040203": "SHA-512",
    "608648016503040207": "SHA3-224",
    "608648016503040208": "SHA3-256",
    "608648016503040209": "SHA3-384",
    "60864801650304020a": "SHA3-512",
    "60864801650304020c": "SHAKE256",
}


class Signer(NamedTuple):
    """One signature of a message."""

    digest: str  # name of the digest; an unknown one is its identifier in hexadecimal
    signed_at: Optional[float]  # seconds since the epoch; None if the signature does not say


def signers(der: bytes) -> List[Signer]:
    """Every signature of a message in DER; ValueError or LookupError if it is no signed text."""
    ((_, message),) = _elements(der, _SEQUENCE)
    (_, identifier), (_, wrapped) = _elements(message, _OID, _FIRST)
    if identifier != _SIGNED_DATA:
        raise ValueError("it is no signed message")
    ((_, signed_data),) = _elements(wrapped, _SEQUENCE)
    # SignedData (section 5.1): version, digests, content, certificates and lists or not, signers
    _, _, (_, content), *_, (tag, infos) = _elements(signed_data)
    (_, content_type), *_ = _elements(content)
    if tag != _SET or content_type != _DATA:
        raise ValueError("it is no signed text")
    return [_signer(info) for _, info in _elements(infos)]


def _signer(info: bytes) -> Signer:
    # SignerInfo (section 5.3): version, signer, digest, signed attributes or not, algorithm, ...
    elements = list(_elements(info))
    (_, digest), *_ = _elements(elements[2][1])
    tag, attributes = elements[3]
    signed_at = _signing_time(attributes) if tag == _FIRST else None
    return Signer(_DIGESTS.get(digest.hex(), digest.hex()), signed_at)


def _signing_time(attributes: bytes) -> Optional[float]:
    for _, attribute in _elements(attributes):
        (_, identifier), (_, values) = _elements(attribute, _OID, _SET)
        if identifier == _SIGNING_TIME:
            ((tag, digits),) = _elements(values)
            form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}[tag]
            return calendar.timegm(time.strptime(digits.decode("ascii"), form))
    return None


def _elements(der: bytes, *tags: int) -> Iterator[Tuple[int, bytes]]:
    """(tag, content) of each element of a sequence. ValueError if ``tags`` are given and differ."""
    elements = list(_read(der))
    if tags and tuple(tag for tag, _ in elements) != tags:
        raise ValueError("it does not have the form of a signed message")
    return iter(elements)


def _read(der: bytes) -> Iterator[Tuple[int, bytes]]:
    at = 0
    while at < len(der):
        if len(der) < at + 2:
            raise ValueError("it is truncated")
        tag, size = der[at], der[at + 1]
        at += 2
        if size >= 0x80:
            length = size & 0x7F
            size, at = int.from_bytes(der[at : at + length], "big"), at + length
        if len(der) < at + size or size > len(der):
            raise ValueError("it is truncated")
        yield tag, der[at : at + size]
        at += size
