"""Our own X.509 certificates: until when they are valid.

pyOpenSSL is loaded only where there is a certificate.
"""

from __future__ import annotations

import binascii
import calendar
import re
import time
from typing import Any, Callable, List, Optional, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.host import files

_MAX_BYTES = 2**20  # of a file with certificates
_BLOCK = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----"
)
# 1.3.6.1.4.1.8005.100.100.5: the extension with VOMS attribute certificates
_VOMS = bytes.fromhex("060a2b06010401be45646405")
# their attrCertValidityPeriod (RFC 5755, 4.2.6)
_ATTRIBUTE_VALIDITY = re.compile(rb"\x30\x22\x18\x0f(\d{14}Z)\x18\x0f(\d{14}Z)")


def expiry(path: str) -> float:
    """When the first certificate in ``path`` expires, in seconds since the epoch; ClientError if it
    is unreadable.

    For a proxy certificate that is the earliest end in its whole chain, its VOMS attributes
    included.
    """
    end, attributes_end = validity(path)[1], _voms_expiry(path)
    return end if attributes_end is None else min(end, attributes_end)


def validity(path: str) -> Tuple[float, float]:
    """From when until when all certificates in a PEM file are valid, in seconds since the epoch.

    ClientError.
    """
    blocks = _blocks(path)
    try:
        from OpenSSL import crypto
    except ImportError as error:
        raise ClientError(f"the dates of {path} are read by pyOpenSSL: {error}") from None
    try:
        certificates = [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
        begins = [date(certificate.get_notBefore) for certificate in certificates]
        ends = [date(certificate.get_notAfter) for certificate in certificates]
    except (crypto.Error, ValueError, TypeError):
        raise ClientError(f"certificate {path}: a certificate in it cannot be read") from None
    return max(begins), min(ends)


def check(path: str, now: float) -> None:
    """ClientError unless the certificates in ``path`` are valid at ``now`` (since the epoch)."""
    begin, end = validity(path)
    if now >= end:
        raise ClientError(f"certificate {path} expired on {_written(end)}")
    if now < begin:
        raise ClientError(f"certificate {path} is not valid before {_written(begin)}")


def check_voms(path: str, now: float) -> None:
    """ClientError for a proxy whose VOMS attributes have expired: no server knows its VO then."""
    end = _voms_expiry(path)
    if end is not None and now >= end:
        raise ClientError(f"certificate {path}: its VOMS attributes expired on {_written(end)}")


def _voms_expiry(path: str) -> Optional[float]:
    """When the first of the VOMS attribute certificates in ``path`` expires.

    None where there is none.
    """
    ends: List[float] = []
    for block in _blocks(path):
        try:
            extension = binascii.a2b_base64(b"".join(block.splitlines()[1:-1])).partition(_VOMS)[2]
            ends += [epoch(end) for _, end in _ATTRIBUTE_VALIDITY.findall(extension)]
        except ValueError:
            continue
    return min(ends, default=None)


def pem(path: str, what: str = "certificate") -> bytes:
    """The content of a file with a certificate or key.

    ClientError, its text beginning with ``what``, if it cannot be read, or holds a key that others
    can read.
    """
    try:
        return files.read_secret(path, _MAX_BYTES, lambda content: b"PRIVATE KEY-----" in content)
    except OSError as error:
        raise ClientError(f"{what} {path}: {error.strerror}") from None


def _blocks(path: str) -> List[bytes]:
    """The PEM certificates of a file."""
    blocks = _BLOCK.findall(pem(path))
    if not blocks:
        raise ClientError(f"certificate {path}: there is no PEM certificate in it")
    return blocks


def _written(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def name(subject: Any) -> str:
    """``/C=DE/O=Grid/CN=host``: one of cryptography's ``x509.Name``, as the grid writes it."""
    return "".join(
        f"/{_SHORT.get(part.oid.dotted_string) or part.rfc4514_attribute_name}={part.value}"
        for part in subject
    )


_SHORT = {"1.2.840.113549.1.9.1": "emailAddress"}


def date(getter: Callable[[], Optional[bytes]]) -> float:
    """A date of a certificate, in seconds since the epoch, by one of pyOpenSSL's methods such as
    ``get_notAfter``.

    ValueError or TypeError where it cannot be read.
    """
    try:
        asn1 = getter()
    except RuntimeError as error:  # what pyOpenSSL 23 raises
        raise ValueError(str(error)) from None
    if asn1 is None:
        raise ValueError("there is no date")
    return epoch(asn1)


def epoch(asn1: bytes) -> float:
    """Seconds since the epoch of ``YYYYMMDDhhmmssZ``; ValueError."""
    return calendar.timegm(time.strptime(asn1.decode("ascii"), "%Y%m%d%H%M%SZ"))
