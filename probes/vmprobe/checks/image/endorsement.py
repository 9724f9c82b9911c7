"""Lists of endorsed images: who says which image may be used, until when, with which checksum.

Three forms, each only as far as its signature covers it:
    HEPiX            JSON of the HEPiX virtualisation working group (vmcatcher, vmcaster, AppDB),
                     signed by S/MIME
    Marketplace      StratusLab's metadata of one image, RDF/XML with an enveloped XML signature
    plain            one image a line, ``sha512:HEX EXPIRY NAME``, signed by S/MIME; EXPIRY is a
                     date, ``revoked``, or ``-`` for none
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from vmprobe.checks.image import signature
from vmprobe.core.errors import CloudError, GatewayFailed
from vmprobe.core.text import cut
from vmprobe.host import files, paths
from vmprobe.transport import dn
from vmprobe.transport.json import field as value_at
from vmprobe.transport.json import items, parse_time

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]{32,128}")
_XML_MARKS = (b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff")  # byte order marks of UTF-8 and UTF-16
_PLAIN_LINE = re.compile(
    r"(?P<algorithm>[a-z0-9-]+):(?P<hex>[0-9A-Fa-f]+)\s+(?P<until>\S+)\s+(?P<name>\S.*)"
)
_HEADERS = re.compile(r"(?:[A-Za-z-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+\n")


class Endorsed(NamedTuple):
    """One image that a list endorses."""

    identifier: str
    title: str
    checksums: Mapping[str, str]  # hexadecimal, by algorithm as hashlib calls it
    expires: Optional[float] = None  # seconds since the epoch
    revoked: str = ""  # why; '' if it is not


class Endorsements(NamedTuple):
    """One list. Moments are seconds since the epoch; None if nothing signed says so."""

    form: str
    title: str
    endorser: str
    images: Tuple[Endorsed, ...]
    notes: Tuple[str, ...] = ()
    made_at: Optional[float] = None
    signed_at: Optional[float] = None


def read(
    document: bytes, ca: str, now: float, seconds: float, endorsers: Sequence[str] = ()
) -> Endorsements:
    """Verify the signature of a document, and read the list in it.

    The signer has to be one of ``endorsers`` where any are named.

    ``ca``, ``now``, ``seconds`` as for ``signature.smime``. Only what is signed is read. CloudError
    (cause image) if the list is not to be trusted, or cannot be understood.
    """
    signed: Union[signature.SignedDocument, signature.SignedMessage]
    if document.lstrip()[:1] == b"<" or document.startswith(_XML_MARKS):
        signed = signature.enveloped(document, ca, now, seconds)
        endorsements, claimed = _marketplace(signed.content)
    else:
        signed = signature.smime(document, ca, now, seconds)
        text = _text(signed.content)
        if text.lstrip().startswith("{"):
            endorsements, claimed = _hepix(text)
        else:
            endorsements, claimed = _plain(text), ""
    endorser = dn.to_text(signed.signer)
    if claimed and not dn.matches(claimed, signed.signer):
        raise CloudError(
            f"it names {claimed} as its endorser, but is signed by {endorser}", cause="image"
        )
    if endorsers and not any(dn.matches(name, signed.signer) for name in endorsers):
        raise CloudError(
            f"it is signed by {endorser}, who is not an accepted endorser", cause="image"
        )
    made_at = signed.signed_at if endorsements.made_at is None else endorsements.made_at
    return endorsements._replace(
        endorser=endorser, notes=signed.notes, made_at=made_at, signed_at=signed.signed_at
    )


# --- replays --------------------------------------------------------------------------------------


class _Age(NamedTuple):
    """How old the newest list at a place is, in seconds since the epoch."""

    made_at: float
    signed_at: float  # 0 if not known


def check_newest(
    place: str, made_at: Optional[float], now: float, signed_at: Optional[float] = None
) -> List[str]:
    """Refuse a list that is older than one seen at this place before, by CloudError (cause image).

    An older list would endorse again what was revoked since.

    ``place`` is a path or URL. Of two lists with the same date the one signed first is older; a
    list without any date may always be older. A date in the future is remembered as ``now``, so
    that the next list is not older. Returns notes on why older lists might not be noticed.
    """
    path = _memory_path(place)
    newest: Optional[_Age]
    newest, warning = files.load_json(path, _parse_age, None)
    notes = [warning] if warning else []
    memory = f"(lists/{os.path.basename(path)})"
    if made_at is None:
        if newest:
            raise CloudError(
                "it may be a replay: it has no date, and a list of "
                f"{_date(newest.made_at)} was here before {memory}",
                cause="image",
            )
        return [*notes, "it has no date, so an older list would not be noticed"]
    if newest and made_at < newest.made_at:
        raise CloudError(
            f"a replay: it is of {_date(made_at)}, and a list of "
            f"{_date(newest.made_at)} was here before {memory}",
            cause="image",
        )
    if (
        newest
        and made_at == newest.made_at
        and signed_at is not None
        and signed_at < newest.signed_at
    ):
        raise CloudError(
            f"a replay: it was signed on {_date(signed_at)}, and a list signed on "
            f"{_date(newest.signed_at)} was here before {memory}",
            cause="image",
        )
    age = _Age(min(made_at, now), min(signed_at or 0.0, now))
    if newest is None or age > newest:
        try:
            files.save_json(path, {"made": age.made_at, "signed": age.signed_at})
        except (OSError, ValueError) as failed:
            reason = getattr(failed, "strerror", None) or failed
            notes.append(
                f"{path} cannot be written, so an older list would not be noticed: {reason}"
            )
    return notes


def _memory_path(place: str) -> str:
    """Where the newest list of a place is remembered."""
    full = place if "://" in place else os.path.abspath(place)
    name = hashlib.sha256(full.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return os.path.join(paths.state_directory(), "lists", f"{name}.json")


def _parse_age(document: Any) -> _Age:
    age = _Age(float(document["made"]), float(document.get("signed", 0)))
    if not all(map(math.isfinite, age)):
        raise ValueError("no moment")
    return age


def _date(utc: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(utc))


# --- the three forms ------------------------------------------------------------------------------


def _text(content: bytes) -> str:
    """The text of a signed message without its headers; CloudError if they say it is no text."""
    try:
        text = content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _not_understood("it is not in UTF-8") from None
    match = _HEADERS.match(text)
    if not match:
        return text
    headers = {
        name.lower(): value.strip().lower()
        for name, value in re.findall(r"(?m)^([A-Za-z-]+):([^\n]*)$", match[0])
    }
    kind = headers.get("content-type", "text/plain")
    encoding = headers.get("content-transfer-encoding", "7bit")
    is_text = re.match(r"text/|application/(json|octet-stream)\b", kind)
    if not is_text or encoding not in ("7bit", "8bit", "binary"):
        raise _not_understood(
            f"the signed content is {cut(kind, 60)}, {cut(encoding, 40)}, not plain text"
        )
    return text[match.end() :]


def _hepix(text: str) -> Tuple[Endorsements, str]:
    """(the list, the endorser it names)."""
    try:
        document = value_at(json.loads(text, object_pairs_hook=_unique_keys), "hv:imagelist", dict)
        claimed = value_at(document, "hv:endorser", "hv:x509", "hv:dn", str, default="")
        made_at = _moment(value_at(document, "dc:date:created", str, default=""))
        expires = _expiry(value_at(document, "dc:date:expires", str, default=""))
        entries = [value_at(item, "hv:image", dict) for item in items(document, "hv:images")]
        images = tuple(_hepix_image(entry, expires) for entry in entries)
        title = value_at(document, "dc:title", str, default="")
    except (ValueError, RecursionError):
        raise _not_understood("it is not JSON") from None
    except GatewayFailed as wrong:
        raise _not_understood(str(wrong)) from None
    return Endorsements("HEPiX image list", title, "", images, made_at=made_at), claimed


def _unique_keys(pairs: Sequence[Tuple[str, object]]) -> Dict[str, object]:
    """A JSON object. A key that comes twice is refused: two readers could see different values."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _not_understood("it has the same key twice")
    return unique


def _hepix_image(entry: Mapping[str, object], list_expires: Optional[float]) -> Endorsed:
    """One image. Its endorsement ends with its own date or the list's, whichever is earlier."""
    checksums = [
        (key.rpartition(":")[2], value)
        for key, value in entry.items()
        if key.startswith("sl:checksum:")
    ]
    own = _expiry(value_at(entry, "dc:date:expires", str, default=""))
    ends = [moment for moment in (own, list_expires) if moment is not None]
    return _endorsed(
        value_at(entry, "dc:identifier", str),
        value_at(entry, "dc:title", str, default=""),
        _checksums(checksums),
        min(ends) if ends else None,
    )


def _marketplace(root: Element) -> Tuple[Endorsements, str]:
    """(the one endorsement in the metadata, the endorser it names)."""
    descriptions = root.findall("Description")
    if root.tag != "RDF" or not descriptions:
        raise _not_understood("it is XML, but not metadata of the Marketplace")
    if len(descriptions) != 1:
        raise _not_understood(f"it has {len(descriptions)} descriptions instead of one")
    description = descriptions[0]

    def text(path: str) -> str:
        elements = description.findall(path)
        if len(elements) > 1:
            raise _not_understood(f"it has {path} {len(elements)} times")
        return (elements[0].text or "").strip() if elements else ""

    checksums = [
        (each.findtext("algorithm") or "", each.findtext("value") or "")
        for each in description.findall("checksum")
    ]
    system = " ".join(filter(None, (text("os"), text("os-version"), text("os-arch"))))
    title = text("title") or system
    deprecated = description.findall("deprecated")
    revoked = ((deprecated[0].text or "").strip() or "deprecated") if deprecated else ""
    image = _endorsed(
        text("identifier"), title, _checksums(checksums), _expiry(text("valid")), revoked
    )
    made_at = _moment(text("endorsement/created"))
    claimed = text("endorsement/endorser/subject")
    return Endorsements("Marketplace metadata", title, "", (image,), made_at=made_at), claimed


def _plain(text: str) -> Endorsements:
    images: List[Endorsed] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _PLAIN_LINE.fullmatch(line)
        if not match:
            raise _not_understood(f"line {number} is not 'sha512:HEX EXPIRY NAME'")
        checksums = _checksums([(match["algorithm"], match["hex"])])
        expires = None if match["until"] in ("-", "revoked") else _expiry(match["until"])
        revoked = "revoked" if match["until"] == "revoked" else ""
        images.append(_endorsed(match["name"], match["name"], checksums, expires, revoked))
    return Endorsements("plain list", "", "", tuple(images))


def _endorsed(
    identifier: str,
    title: str,
    checksums: Mapping[str, str],
    expires: Optional[float],
    revoked: str = "",
) -> Endorsed:
    if not identifier.strip():  # it would match every image without a name
        raise _not_understood(
            "it has an image without an identifier" if title else "it has no identifier"
        )
    return Endorsed(identifier, title, checksums, expires, revoked)


def _checksums(pairs: Sequence[Tuple[str, object]]) -> Dict[str, str]:
    """Checksums by algorithm, from (algorithm, digits).

    Unknown algorithms are left out; CloudError for wrong digits.
    """
    checksums: Dict[str, str] = {}
    for name, value in pairs:
        algorithm, digits = name.strip().replace("-", "").lower(), str(value).strip().lower()
        if algorithm not in _DIGITS:
            continue
        if len(digits) != _DIGITS[algorithm] or not _HEX.fullmatch(digits):
            raise _not_understood(f"{cut(digits, 40)!r} is not a {algorithm} checksum")
        if checksums.setdefault(algorithm, digits) != digits:
            raise _not_understood(f"it has two {algorithm} checksums of one image")
    return checksums


def _expiry(text: str) -> Optional[float]:
    """When an endorsement ends; None without a text.

    CloudError if it is no date: the endorsement would never end.
    """
    if not text:
        return None
    moment = _moment(text)
    if moment is None:
        raise _not_understood(f"{cut(text, 40)!r} is not a date")
    return moment


def _moment(text: str) -> Optional[float]:
    """Seconds since the epoch of a date, or a date and time, by ISO 8601; None if it is neither."""
    return parse_time(text if "T" in text or " " in text else f"{text}T00:00:00Z")


def _not_understood(why: str) -> CloudError:
    return CloudError(f"it cannot be understood: {why}", cause="image")
