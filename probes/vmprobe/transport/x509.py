"""X.509 certificates of ours: until when they are valid. pyOpenSSL is loaded only where there is a certificate."""

from __future__ import annotations

import binascii
import calendar
import re
import time
from typing import Any, Callable, List, Optional, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.host import files

_LARGEST = 2**20  # bytes of a file with certificates
_BLOCK = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----"
)
_VOMS = bytes.fromhex(
    "060a2b06010401be45646405"
)  # 1.3.6.1.4.1.8005.100.100.5: the extension with attribute certificates
_ATTESTED = re.compile(
    rb"\x30\x22\x18\x0f(\d{14}Z)\x18\x0f(\d{14}Z)"
)  # their attrCertValidityPeriod (RFC 5755, 4.2.6)


def expiry(path: str) -> float:
    """When the first certificate in ``path`` ends to be valid, in seconds since the epoch; ClientError if unreadable.

    Of a proxy certificate that is the earliest end in its whole chain, what a VOMS server attests in it included.
    """
    end, attested = validity(path)[1], _attested(path)
    return end if attested is None else min(end, attested)


def validity(path: str) -> Tuple[float, float]:
    """From when until when all certificates in a PEM file are valid."""
    blocks = _blocks(path)
    try:
        from OpenSSL import crypto
    except ImportError as missing:
        raise ClientError(f"the dates of {path} are read by pyOpenSSL: {missing}") from None
    try:
        found = [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
        return max(when(one.get_notBefore) for one in found), min(
            when(one.get_notAfter) for one in found
        )
    except (crypto.Error, ValueError, TypeError):
        raise ClientError(f"certificate {path}: a certificate in it cannot be read") from None


def check(path: str, now: float) -> None:
    """ClientError unless the certificates in ``path`` are valid at ``now``, seconds since the epoch."""
    begin, end = validity(path)
    if not begin <= now < end:
        word, moment = ("expired on", end) if now >= end else ("is not valid before", begin)
        raise ClientError(f"certificate {path} {word} {_date(moment)}")


def check_voms(path: str, now: float) -> None:
    """ClientError for a proxy in which what a VOMS server attests has ended: TLS takes it, and nobody knows its VO."""
    end = _attested(path)
    if end is not None and now >= end:
        raise ClientError(f"certificate {path}: its VOMS attributes expired on {_date(end)}")


def _attested(path: str) -> Optional[float]:
    """When the first of the attribute certificates in ``path`` ends; None where there is none."""
    ends = []
    for block in _blocks(path):
        try:
            extension = binascii.a2b_base64(b"".join(block.splitlines()[1:-1])).partition(_VOMS)[2]
            ends += [epoch(end) for _, end in _ATTESTED.findall(extension)]
        except ValueError:
            continue
    return min(ends, default=None)


def pem(path: str, word: str = "certificate") -> bytes:
    """What a file with a certificate or key holds; ClientError where it cannot be read, or where others can read a key."""
    try:
        return files.read_secret(path, _LARGEST, lambda held: b"PRIVATE KEY-----" in held)
    except OSError as failed:
        raise ClientError(f"{word} {path}: {failed.strerror}") from None


def _blocks(path: str) -> List[bytes]:
    """The PEM certificates of a file."""
    found = _BLOCK.findall(pem(path))
    if not found:
        raise ClientError(f"certificate {path}: there is no PEM certificate in it")
    return found


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


def name(found: Any) -> str:
    """``/C=DE/O=Grid/CN=host``: one of cryptography's names, as the grid writes them."""
    return "".join(
        f"/{_SHORT.get(part.oid.dotted_string) or part.rfc4514_attribute_name}={part.value}"
        for part in found
    )


_SHORT = {"1.2.840.113549.1.9.1": "emailAddress"}


def when(ask: Callable[[], bytes]) -> float:
    """A date of a certificate, which pyOpenSSL is asked for; ValueError or TypeError where it cannot be read."""
    try:
        return epoch(ask())
    except RuntimeError as failed:  # pyOpenSSL 23's word for it
        raise ValueError(str(failed)) from None


def epoch(asn1: bytes) -> float:
    """Seconds since the epoch of ``YYYYMMDDhhmmssZ``."""
    return calendar.timegm(time.strptime(asn1.decode("ascii"), "%Y%m%d%H%M%SZ"))
