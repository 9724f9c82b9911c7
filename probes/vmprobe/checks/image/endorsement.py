"""Lists of endorsed images: who says of which image that it may be used, until when, and by which checksum.

Three forms are read, each only as far as its signature goes:
    HEPiX            the JSON of the HEPiX virtualisation working group (vmcatcher, vmcaster, AppDB), signed by S/MIME
    Marketplace      StratusLab's metadata of one image, RDF/XML with an enveloped XML signature
    plain            one image a line, ``sha512:HEX EXPIRY NAME`` (EXPIRY also ``revoked`` or ``-``), signed by S/MIME
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe.checks.image import signature
from vmprobe.core.errors import CloudError, GatewayFailed
from vmprobe.core.text import cut
from vmprobe.host import files, paths
from vmprobe.transport import dn
from vmprobe.transport.json import field as value_at
from vmprobe.transport.json import items, parse_time

_ALGORITHMS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]{32,128}")
_MARKS = (b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff")  # of texts in UTF-8 and UTF-16
_PLAIN = re.compile(
    r"(?P<algorithm>[a-z0-9-]+):(?P<hex>[0-9A-Fa-f]+)\s+(?P<until>\S+)\s+(?P<name>\S.*)"
)


class Endorsed(NamedTuple):
    """One image that a list vouches for. ``expires`` in seconds since the epoch; ``revoked``: why, '' if it is not."""

    identifier: str
    title: str
    checksums: Mapping[str, str]  # by algorithm, as hashlib calls it
    expires: Optional[float] = None
    revoked: str = ""


class Endorsements(NamedTuple):
    """What one list says, who signed it, when it was made and when it was signed, in seconds since the epoch (None where
    nothing signed says so)."""

    form: str
    title: str
    endorser: str
    images: Tuple[Endorsed, ...]
    notes: Tuple[str, ...] = ()
    made: Optional[float] = None
    signed: Optional[float] = None


def read(
    document: bytes, ca: str, now: float, seconds: float, endorsers: Sequence[str] = ()
) -> Endorsements:
    """The list in a document, once its signature is good and, where ``endorsers`` are named, one of theirs.

    Only what is signed is read. CloudError (cause image) when the list is not to be trusted or not to be understood.
    """
    if document.lstrip()[:1] == b"<" or document.startswith(_MARKS):
        signed = signature.enveloped(document, ca, now, seconds)
        found, claimed = _marketplace(signed.content)
    else:
        signed = signature.smime(document, ca, now, seconds)
        text = _text(signed.content)
        found, claimed = _hepix(text) if text.lstrip().startswith("{") else (_plain(text), "")
    endorser = dn.to_text(signed.signer)
    if claimed and not dn.matches(claimed, signed.signer):
        raise CloudError(
            f"it names {claimed} as its endorser, and is signed by {endorser}", cause="image"
        )
    if endorsers and not any(dn.matches(one, signed.signer) for one in endorsers):
        raise CloudError(
            f"it is signed by {endorser}, who is not among those who may endorse", cause="image"
        )
    made = signed.made if found.made is None else found.made
    return found._replace(endorser=endorser, notes=signed.notes, made=made, signed=signed.made)


def check_newest(
    where: str, made: Optional[float], now: float, signed: Optional[float] = None
) -> List[str]:
    """CloudError (cause image) for a list that is older than one that was seen at this place before: what has been revoked since
    would be endorsed again. Returns notes on what keeps older ones from being noticed.

    Of two lists with the same date the one that was signed first is older; one without any date may always be. What an
    endorser dates into the future is remembered as of now, so that the next list is not older.
    """
    place = where if "://" in where else os.path.abspath(where)
    name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path = os.path.join(paths.state_directory(), "lists", f"{name}.json")
    newest, trouble = files.load_json(path, _remembered, None)
    notes = [trouble] if trouble else []
    here = (
        f"and one of {_day(newest[0])} was here before (lists/{os.path.basename(path)})"
        if newest
        else ""
    )
    if made is None:
        if newest:
            raise CloudError(
                f"it may be a replay: it does not say when it was made, {here}", cause="image"
            )
        return [
            *notes,
            "it does not say when it was made, so that an older one would not be noticed",
        ]
    if newest and made < newest[0]:
        raise CloudError(f"a replay: it is of {_day(made)}, {here}", cause="image")
    if newest and made == newest[0] and signed is not None and signed < newest[1]:
        raise CloudError(
            f"a replay: signed on {_day(signed)}, and one signed on {_day(newest[1])} was here before "
            f"(lists/{os.path.basename(path)})",
            cause="image",
        )
    this = (min(made, now), min(signed or 0.0, now))
    if newest is None or this > newest:
        try:
            files.save_json(path, {"made": this[0], "signed": this[1]})
        except (OSError, ValueError) as failed:
            notes.append(
                f"{path} cannot be written, so that an older list would not be noticed: "
                f"{getattr(failed, 'strerror', None) or failed}"
            )
    return notes


def _remembered(document: Any) -> Tuple[float, float]:
    """(when the newest list was made, when it was signed, 0 where that is not known)."""
    made, signed = float(document["made"]), float(document.get("signed", 0))
    if not math.isfinite(made) or not math.isfinite(signed):
        raise ValueError("no moment")
    return made, signed


def _day(utc: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(utc))


def _text(content: bytes) -> str:
    """What a signed message says, without the headers of the part that is signed; CloudError where they say that it is no text."""
    try:
        text = content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _unread("it is not in UTF-8") from None
    headers = re.match(r"(?:[A-Za-z-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+\n", text)
    if not headers:
        return text
    said = {
        name.lower(): value.strip().lower()
        for name, value in re.findall(r"(?m)^([A-Za-z-]+):([^\n]*)$", headers[0])
    }
    kind, coding = (
        said.get("content-type", "text/plain"),
        said.get("content-transfer-encoding", "7bit"),
    )
    if not re.match(r"text/|application/(json|octet-stream)\b", kind) or coding not in (
        "7bit",
        "8bit",
        "binary",
    ):
        raise _unread(f"what is signed is {cut(kind, 60)}, {cut(coding, 40)}, and not plain text")
    return text[headers.end() :]


def _hepix(text: str) -> Tuple[Endorsements, str]:
    """(the list, whom it names as its endorser)."""
    try:
        said = value_at(json.loads(text, object_pairs_hook=_once), "hv:imagelist", dict)
        claimed = value_at(said, "hv:endorser", "hv:x509", "hv:dn", str, default="")
        made = _moment(value_at(said, "dc:date:created", str, default=""))
        until = _until(value_at(said, "dc:date:expires", str, default=""))
        images = [value_at(image, "hv:image", dict) for image in items(said, "hv:images")]
        found = tuple(_hepix_image(image, until) for image in images)
        title = value_at(said, "dc:title", str, default="")
    except (ValueError, RecursionError):
        raise _unread("it is no JSON") from None
    except GatewayFailed as wrong:
        raise _unread(str(wrong)) from None
    return Endorsements("HEPiX image list", title, "", found, made=made), claimed


def _once(pairs: Sequence[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object of JSON, in which two readers see the same: whoever says something twice is not understood."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _unread("it says the same thing twice")
    return found


def _hepix_image(said: Mapping[str, Any], until: Optional[float]) -> Endorsed:
    pairs = [
        (word.rpartition(":")[2], value)
        for word, value in said.items()
        if word.startswith("sl:checksum:")
    ]
    own = _until(value_at(said, "dc:date:expires", str, default=""))
    ends = [moment for moment in (own, until) if moment is not None]
    return _endorsed(
        value_at(said, "dc:identifier", str),
        value_at(said, "dc:title", str, default=""),
        _sums(pairs),
        min(ends) if ends else None,
    )


def _marketplace(root: Any) -> Tuple[Endorsements, str]:
    """(the one endorsement in metadata, whom it names as its endorser)."""
    said = root.findall("Description")
    if root.tag != "RDF" or not said:
        raise _unread("it is XML, and no metadata of the Marketplace")
    if len(said) != 1:
        raise _unread(f"it has {len(said)} descriptions, and not one")
    this = said[0]

    def text(path: str) -> str:
        found = this.findall(path)
        if len(found) > 1:
            raise _unread(f"it has {len(found)} times {path}")
        return (found[0].text or "").strip() if found else ""

    pairs = [
        (one.findtext("algorithm") or "", one.findtext("value") or "")
        for one in this.findall("checksum")
    ]
    title = text("title") or " ".join(
        filter(None, (text("os"), text("os-version"), text("os-arch")))
    )
    deprecated = this.findall("deprecated")
    revoked = next(((one.text or "").strip() or "deprecated" for one in deprecated), "")
    found = _endorsed(text("identifier"), title, _sums(pairs), _until(text("valid")), revoked)
    made = _moment(text("endorsement/created"))
    return Endorsements("Marketplace metadata", title, "", (found,), made=made), text(
        "endorsement/endorser/subject"
    )


def _plain(text: str) -> Endorsements:
    found: List[Endorsed] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _PLAIN.fullmatch(line)
        if not match:
            raise _unread(f"line {number} is not 'sha512:HEX EXPIRY NAME'")
        until, revoked = match["until"], "revoked" if match["until"] == "revoked" else ""
        expires = None if until in ("-", "revoked") else _until(until)
        found.append(
            _endorsed(
                match["name"],
                match["name"],
                _sums([(match["algorithm"], match["hex"])]),
                expires,
                revoked,
            )
        )
    return Endorsements("plain list", "", "", tuple(found))


def _endorsed(
    identifier: str,
    title: str,
    sums: Mapping[str, str],
    expires: Optional[float],
    revoked: str = "",
) -> Endorsed:
    if not identifier.strip():  # which would be every image that has no name
        raise _unread("it has an image without an identifier" if title else "it has no identifier")
    return Endorsed(identifier, title, sums, expires, revoked)


def _sums(said: Sequence[Tuple[str, Any]]) -> Dict[str, str]:
    """Checksums that can be compared, by algorithm; one that cannot be is no reason to do without one."""
    found: Dict[str, str] = {}
    for word, text in said:
        algorithm, digits = word.strip().replace("-", "").lower(), str(text).strip().lower()
        if algorithm not in _ALGORITHMS:
            continue
        if len(digits) != _ALGORITHMS[algorithm] or not _HEX.fullmatch(digits):
            raise _unread(f"{cut(digits, 40)!r} is no checksum by {algorithm}")
        if found.setdefault(algorithm, digits) != digits:
            raise _unread(f"it has two checksums by {algorithm} of one image")
    return found


def _until(text: str) -> Optional[float]:
    """The moment that a text says, None where it says nothing; what is no moment would be for ever."""
    if not text:
        return None
    found = _moment(text)
    if found is None:
        raise _unread(f"{cut(text, 40)!r} is no date")
    return found


def _moment(text: str) -> Optional[float]:
    """The moment that a text says, the beginning of a day where it is only that; None where it says none."""
    return parse_time(text if "T" in text or " " in text else f"{text}T00:00:00Z")


def _unread(why: str) -> CloudError:
    return CloudError(f"it cannot be understood: {why}", cause="image")
