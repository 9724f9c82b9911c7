"""What a CMS message (RFC 5652) says of its signers: by which digest and when. openssl verifies it, but does not tell these.

for signer in cms.signers(der): signer.digest, signer.made
"""

from __future__ import annotations

import calendar
import time
from typing import Iterator, List, NamedTuple, Optional, Tuple

_DATA = bytes.fromhex("2a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_SIGNING_TIME = bytes.fromhex("2a864886f70d010905")
_SEQUENCE, _SET, _OID, _FIRST = 0x30, 0x31, 0x06, 0xA0
_DIGESTS = {  # the identifiers of digests (RFC 5754, RFC 8702), and of those from before
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
    """``digest``: its name, or its identifier in hexadecimal; ``made``: when, as the signature itself says, None if it does not."""

    digest: str
    made: Optional[float]


def signers(der: bytes) -> List[Signer]:
    """Each signature of a message, in DER; ValueError when it is no signed message."""
    ((_, message),) = _things(der, _SEQUENCE)
    (_, identifier), (_, wrapped) = _things(message, _OID, _FIRST)
    if identifier != _SIGNED_DATA:
        raise ValueError("it is no signed message")
    ((_, signed),) = _things(wrapped, _SEQUENCE)
    _, _, (_, content), *_, (tag, infos) = _things(signed)
    (_, kind), *_ = _things(content)
    if tag != _SET or kind != _DATA:
        raise ValueError("it is no signed text")
    return [_signer(info) for _, info in _things(infos)]


def _signer(info: bytes) -> Signer:
    """Version, identifier, digest, perhaps what is signed beside the content, algorithm, signature, perhaps more."""
    things = list(_things(info))
    (_, digest), *_ = _things(things[2][1])
    tag, attributes = things[3]
    return Signer(
        _DIGESTS.get(digest.hex(), digest.hex()), _time(attributes) if tag == _FIRST else None
    )


def _time(attributes: bytes) -> Optional[float]:
    for _, attribute in _things(attributes):
        (_, identifier), (_, values) = _things(attribute, _OID, _SET)
        if identifier == _SIGNING_TIME:
            ((tag, digits),) = _things(values)
            form = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}[tag]
            return calendar.timegm(time.strptime(digits.decode("ascii"), form))
    return None


def _things(der: bytes, *tags: int) -> Iterator[Tuple[int, bytes]]:
    """(tag, content) of each thing in a sequence, which have to be of these tags where any are named."""
    found = list(_all(der))
    if tags and tuple(tag for tag, _ in found) != tags:
        raise ValueError("it is not of the form of a signed message")
    return iter(found)


def _all(der: bytes) -> Iterator[Tuple[int, bytes]]:
    at = 0
    while at < len(der):
        if len(der) < at + 2:
            raise ValueError("it is cut")
        tag, size = der[at], der[at + 1]
        at += 2
        if size >= 0x80:
            many = size & 0x7F
            size, at = int.from_bytes(der[at : at + many], "big"), at + many
        if len(der) < at + size or size > len(der):
            raise ValueError("it is cut")
        yield tag, der[at : at + size]
        at += size
