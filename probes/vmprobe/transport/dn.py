"""Distinguished names of certificates, compared attribute by attribute and never as text.

    name = dn.from_subject(certificate.subject)
    dn.to_text(name)                                       "/C=DE/O=Grid/CN=host\\/OU=x", as the grid and openssl write it
    dn.matches("CN=Jane,O=Grid,C=DE", name)                   whether a text that a person or a document wrote means this name

Two forms are read: the grid's (``/C=DE/O=Grid/CN=Jane``) and that of RFC 4514 (``CN=Jane,O=Grid,C=DE``).
"""

from __future__ import annotations

import re
from typing import Any, List, Tuple

Name = Tuple[
    Tuple[Tuple[str, str], ...], ...
]  # in the certificate's order: parts of one or more (type as OID, value)

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
    """A name as one of ``cryptography``'s ``x509.Name`` has it."""
    return tuple(
        tuple(sorted((part.oid.dotted_string, _value(part.value)) for part in several))
        for several in subject.rdns
    )


def parse(text: str) -> Name:
    """A name in the order in which it is written, in either form; ValueError when it is none."""
    text = text.strip()
    if text.startswith("/"):
        parts = _split(text, _SLASH)
    else:
        parts = [
            ["=".join(half.strip() for half in part.split("=", 1)) for part in several]
            for several in _split("," + text, _COMMA)
        ]
    return tuple(tuple(sorted(map(_pair, several))) for several in parts)


def matches(text: str, name: Name) -> bool:
    """Whether ``text`` means this name: the same attributes with the same values, in the same order.

    RFC 4514 begins with the last part; as many people write its commas beginning with the first, either is understood.
    """
    try:
        found = parse(text)
    except ValueError:
        return False
    return found == name or not text.strip().startswith("/") and found[::-1] == name


def to_text(name: Name) -> str:
    """``/C=DE/O=Grid/CN=Jane`` in printable ASCII, other characters as openssl writes them, from which ``parse`` makes the same
    name; a slash within a value is escaped where it would begin another part."""
    return "".join(
        "/" + "+".join(f"{_KEYWORDS.get(oid, oid)}={_escaped(value)}" for oid, value in several)
        for several in name
    )


def _escaped(value: str) -> str:
    value = re.sub(rf"\\|[/+](?={_KEY})", lambda found: "\\" + found[0], value)
    return re.sub(
        r"[^ -~]|^ | $",
        lambda found: "".join(
            f"\\x{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass")
        ),
        value,
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else "#" + bytes(value).hex()  # a bit string


def _split(text: str, form: Any) -> List[List[str]]:
    """The parts of a name, each of one or more ``key=value``; ValueError where an escape leads nowhere."""
    parts: List[List[str]] = []
    at = 0
    while at < len(text):
        found = form.match(text, at)
        if found is None:
            raise ValueError("ends within an escape")
        at = found.end()
        if found["next"] == "+" and parts:
            parts[-1].append("")
        elif found["next"]:
            parts.append([""])
        elif not parts:
            raise ValueError("does not begin with a key")
        elif found["hex"]:
            parts[-1][-1] += bytes.fromhex(re.sub(r"\\x?", "", found["hex"])).decode(
                "utf-8", "surrogatepass"
            )
        else:
            parts[-1][-1] += found["escaped"] or found["other"]
    return parts


def _pair(text: str) -> Tuple[str, str]:
    key, equals, value = text.partition("=")
    key = key.strip().lower()
    key = key[4:] if key.startswith("oid.") else key
    oid = _OIDS.get(key) or (key if re.fullmatch(r"[0-9]+(\.[0-9]+)+", key) else "")
    if not equals or not oid:
        raise ValueError(f"{text[:40]!r} is not a part like 'CN=Jane'")
    return oid, value
