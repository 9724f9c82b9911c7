"""Distinguished names of certificates, compared attribute by attribute and never as text.

    name = dn.from_subject(certificate.subject)
    dn.to_text(name)                          # "/C=DE/O=Grid/CN=host\\/OU=x", as openssl writes it
    dn.matches("CN=Jane,O=Grid,C=DE", name)   # whether a text from outside means this name

Two forms are read: the grid's (``/C=DE/O=Grid/CN=Jane``) and RFC 4514's (``CN=Jane,O=Grid,C=DE``).
"""

from __future__ import annotations

import re
from typing import Any, List, Pattern, Tuple

# In the certificate's order: parts of one or more attributes (type as OID, value)
Name = Tuple[Tuple[Tuple[str, str], ...], ...]

_TYPES = {  # keyword: OID; the first keyword of an OID is the one that is written
    "CN": "2.5.4.3",
    "SN": "2.5.4.4",
    "serialNumber": "2.5.4.5",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "ST": "2.5.4.8",
    "street": "2.5.4.9",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "title": "2.5.4.12",
    "postalCode": "2.5.4.17",
    "name": "2.5.4.41",
    "GN": "2.5.4.42",
    "initials": "2.5.4.43",
    "generationQualifier": "2.5.4.44",
    "dnQualifier": "2.5.4.46",
    "pseudonym": "2.5.4.65",
    "organizationIdentifier": "2.5.4.97",
    "UID": "0.9.2342.19200300.100.1.1",
    "DC": "0.9.2342.19200300.100.1.25",
    "emailAddress": "1.2.840.113549.1.9.1",
    "S": "2.5.4.8",
    "surname": "2.5.4.4",
    "givenName": "2.5.4.42",
    "userId": "0.9.2342.19200300.100.1.1",
    "domainComponent": "0.9.2342.19200300.100.1.25",
    "E": "1.2.840.113549.1.9.1",
    "email": "1.2.840.113549.1.9.1",
    "commonName": "2.5.4.3",
    "countryName": "2.5.4.6",
    "organizationName": "2.5.4.10",
    "organizationalUnitName": "2.5.4.11",
    "localityName": "2.5.4.7",
    "stateOrProvinceName": "2.5.4.8",
    "streetAddress": "2.5.4.9",
}
_OIDS = {keyword.lower(): oid for keyword, oid in _TYPES.items()}
_KEYWORDS = {oid: keyword for keyword, oid in reversed(list(_TYPES.items()))}
_KEY = r"(?:[A-Za-z][A-Za-z0-9-]*|(?:OID\.)?[0-9]+(?:\.[0-9]+)+)="
_SLASH = re.compile(
    rf"(?P<hex>(?:\\x[0-9A-Fa-f]{{2}})+)|\\(?P<escaped>[\\/+])|(?P<next>[/+])(?={_KEY})|(?P<other>.)",
    re.S,
)
_COMMA = re.compile(
    r"(?P<hex>(?:\\[0-9A-Fa-f]{2})+)|\\(?P<escaped>.)|(?P<next>[,;+])|(?P<other>[^\\])", re.S
)


def from_subject(subject: Any) -> Name:
    """The name in one of ``cryptography``'s ``x509.Name``."""
    return tuple(
        tuple(sorted((part.oid.dotted_string, _value(part.value)) for part in parts))
        for parts in subject.rdns
    )


def parse(text: str) -> Name:
    """A name in the order in which it is written, in either form; ValueError when it is none."""
    text = text.strip()
    if text.startswith("/"):
        parts = _split(text, _SLASH)
    else:
        parts = [
            ["=".join(half.strip() for half in attribute.split("=", 1)) for attribute in part]
            for part in _split("," + text, _COMMA)
        ]
    return tuple(tuple(sorted(map(_attribute, part))) for part in parts)


def matches(text: str, name: Name) -> bool:
    """Whether ``text`` means this name: the same attributes with the same values, in order.

    RFC 4514 begins with the last part. Many people write commas and begin with the first: both
    orders are accepted there.
    """
    try:
        parsed = parse(text)
    except ValueError:
        return False
    return parsed == name or not text.strip().startswith("/") and parsed[::-1] == name


def to_text(name: Name) -> str:
    """``/C=DE/O=Grid/CN=Jane`` in printable ASCII, other characters as openssl writes them.

    ``parse`` makes the same name of it: a slash in a value is escaped where it would begin a part.
    """
    return "".join(
        "/" + "+".join(f"{_KEYWORDS.get(oid, oid)}={_escaped(value)}" for oid, value in part)
        for part in name
    )


def _escaped(value: str) -> str:
    value = re.sub(rf"\\|[/+](?={_KEY})", lambda match: "\\" + match[0], value)
    return re.sub(
        r"[^ -~]|^ | $",
        lambda match: "".join(
            f"\\x{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")
        ),
        value,
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else "#" + bytes(value).hex()  # a bit string


def _split(text: str, token: Pattern[str]) -> List[List[str]]:
    """The parts of a name, each of one or more ``key=value``.

    ValueError for an unfinished escape, and for a text that begins without a separator.
    """
    parts: List[List[str]] = []
    at = 0
    while at < len(text):
        match = token.match(text, at)
        if match is None:
            raise ValueError("ends within an escape")
        at = match.end()
        if match["next"] == "+" and parts:
            parts[-1].append("")
        elif match["next"]:
            parts.append([""])
        elif not parts:
            raise ValueError("does not begin with a key")
        elif match["hex"]:
            code = bytes.fromhex(re.sub(r"\\x?", "", match["hex"]))
            parts[-1][-1] += code.decode("utf-8", "surrogatepass")
        else:
            parts[-1][-1] += match["escaped"] or match["other"]
    return parts


def _attribute(text: str) -> Tuple[str, str]:
    """(OID, value) of ``CN=Jane``."""
    key, equals, value = text.partition("=")
    key = key.strip().lower()
    key = key[4:] if key.startswith("oid.") else key
    oid = _OIDS.get(key) or (key if re.fullmatch(r"[0-9]+(\.[0-9]+)+", key) else "")
    if not equals or not oid:
        raise ValueError(f"{text[:40]!r} is not a part like 'CN=Jane'")
    return oid, value
