"""Lists of endorsed images: who says of which image that it may be used, until when, and by which checksum.

Three forms are read, each only as far as its signature goes:
    HEPiX            the JSON of the HEPiX virtualisation working group (vmcatcher, vmcaster, AppDB), signed by S/MIME
    Marketplace      StratusLab's metadata of one image, RDF/XML with an enveloped XML signature
    plain            one image a line, ``sha512:HEX EXPIRY NAME`` (EXPIRY also ``revoked`` or ``-``), signed by S/MIME
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe import signature
from vmprobe.errors import CloudError, GatewayFailed
from vmprobe.transport.fields import items, moment
from vmprobe.transport.fields import field as value_at

_ALGORITHMS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]{32,128}")
_PLAIN = re.compile(r"(?P<algorithm>[a-z0-9-]+):(?P<hex>[0-9A-Fa-f]+)\s+(?P<until>\S+)\s+(?P<name>\S.*)")


class Endorsed(NamedTuple):
    """One image that a list vouches for. ``expires`` in seconds since the epoch; ``revoked``: why, '' if it is not."""

    identifier: str
    title: str
    checksums: Mapping[str, str]  # by algorithm, as hashlib calls it
    expires: Optional[float] = None
    revoked: str = ""


class Endorsements(NamedTuple):
    """What one list says, and who signed it."""

    form: str
    title: str
    endorser: str
    images: Tuple[Endorsed, ...]
    notes: Tuple[str, ...] = ()


def read(document: bytes, ca: str, now: float, seconds: float, endorsers: Sequence[str] = ()) -> Endorsements:
    """The list in a document, once its signature is good and, where ``endorsers`` are named, one of theirs.

    CloudError (cause image) when the list is not to be trusted or not to be understood.
    """
    if document.lstrip()[:1] == b"<":
        root, endorser = signature.enveloped(document, ca, now, seconds)
        found = _marketplace(root, endorser)
    else:
        content, endorser = signature.smime(document, ca, now, seconds)
        text = re.sub(r"\A(?:[A-Za-z-]+: [^\n]*\n)+\r?\n", "", content.decode("utf-8", "replace").replace("\r\n", "\n"))
        found = _hepix(text, endorser) if text.lstrip().startswith("{") else _plain(text, endorser)
    if endorsers and not any(signature.same_name(endorser, one) for one in endorsers):
        raise CloudError(f"it is signed by {endorser}, who is not among those who may endorse", cause="image")
    return found


def _hepix(text: str, endorser: str) -> Endorsements:
    try:
        said = value_at(json.loads(text), "hv:imagelist", dict)
        claimed = value_at(said, "hv:endorser", "hv:x509", "hv:dn", str, default="")
        until = _until(value_at(said, "dc:date:expires", str, default=""))
        images = [value_at(image, "hv:image", dict) for image in items(said, "hv:images")]
        found = tuple(_hepix_image(image, until) for image in images)
    except (ValueError, RecursionError):
        raise _unread("it is no JSON") from None
    except GatewayFailed as wrong:
        raise _unread(str(wrong)) from None
    _claims(claimed, endorser)
    return Endorsements("HEPiX image list", value_at(said, "dc:title", str, default=""), endorser, found)


def _hepix_image(said: Mapping[str, Any], until: Optional[float]) -> Endorsed:
    checksums = {word.rpartition(":")[2].lower(): value for word, value in said.items() if word.startswith("sl:checksum:")}
    own = _until(value_at(said, "dc:date:expires", str, default=""))
    ends = [moment for moment in (own, until) if moment is not None]
    return Endorsed(value_at(said, "dc:identifier", str), value_at(said, "dc:title", str, default=""), _sums(checksums),
                    min(ends) if ends else None)


def _marketplace(root: Any, endorser: str) -> Endorsements:
    said = root.find("Description")
    if root.tag != "RDF" or said is None:
        raise _unread("it is XML, and no metadata of the Marketplace")

    def text(path: str) -> str:
        return (said.findtext(path) or "").strip()

    _claims(text("endorsement/endorser/subject"), endorser)
    sums = {(one.findtext("algorithm") or "").strip().replace("-", "").lower(): (one.findtext("value") or "").strip()
            for one in said.findall("checksum")}
    title = text("title") or " ".join(filter(None, (text("os"), text("os-version"), text("os-arch"))))
    deprecated = said.find("deprecated")
    revoked = "" if deprecated is None else (deprecated.text or "").strip() or "deprecated"
    if not text("identifier"):
        raise _unread("it has no identifier")
    weak = any("sha1" in (method.get("Algorithm") or "") for method in root.iter("SignatureMethod"))
    return Endorsements("Marketplace metadata", title, endorser, (
        Endorsed(text("identifier"), title, _sums(sums), _until(text("valid")), revoked),),
        ("the Marketplace's signature is by SHA-1",) if weak else ())


def _plain(text: str, endorser: str) -> Endorsements:
    found: List[Endorsed] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _PLAIN.fullmatch(line)
        if not match:
            raise _unread(f"line {number} is not 'sha512:HEX EXPIRY NAME'")
        until, revoked = match["until"], "revoked" if match["until"] == "revoked" else ""
        expires = None if until in ("-", "revoked") else _until(until)
        found.append(Endorsed(match["name"], match["name"],
                              _sums({match["algorithm"].replace("-", ""): match["hex"]}), expires, revoked))
    return Endorsements("plain list", "", endorser, tuple(found))


def _sums(said: Mapping[str, Any]) -> Dict[str, str]:
    """Checksums that can be compared; one that cannot be is no reason to do without one."""
    found = {}
    for algorithm, text in said.items():
        digits = str(text).strip().lower()
        if algorithm not in _ALGORITHMS:
            continue
        if len(digits) != _ALGORITHMS[algorithm] or not _HEX.fullmatch(digits):
            raise _unread(f"{digits[:40]!r} is no checksum by {algorithm}")
        found[algorithm] = digits
    return found


def _until(text: str) -> Optional[float]:
    """The moment that a text says, None where it says nothing; what is no moment would be for ever."""
    if not text:
        return None
    found = moment(text if "T" in text or " " in text else f"{text}T00:00:00Z")
    if found is None:
        raise _unread(f"{text[:40]!r} is no date")
    return found


def _claims(claimed: str, endorser: str) -> None:
    """Who is named in a list as its endorser has to be who signed it."""
    if claimed and not signature.same_name(claimed, endorser):
        raise CloudError(f"it names {claimed} as its endorser, and is signed by {endorser}", cause="image")


def _unread(why: str) -> CloudError:
    return CloudError(f"it cannot be understood: {why}", cause="image")
