"""Who signed a document, and whether an authority that we trust vouches for that: S/MIME by openssl, XML by xmlsec1.

Both are the commands that the field verifies with. XML signatures are over canonical XML 1.0 with inherited namespaces,
which Python's standard library does not have, so none is verified by hand here.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
import tempfile
from typing import Any, List, Tuple
from xml.etree import ElementTree

from vmprobe.errors import ClientError, CloudError
from vmprobe.transport import x509, xml

_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_CANONICAL = re.compile(r"http://www\.w3\.org/(TR/2001/REC-xml-c14n-20010315|2006/12/xml-c14n11|2001/10/xml-exc-c14n#)"
                        r"(#?WithComments)?")
_KEY_INFO = re.compile(rb"<(?:\w+:)?KeyInfo\b.*?</(?:\w+:)?KeyInfo\s*>", re.S)
_MOST_CERTIFICATES = 10


def smime(document: bytes, ca: str, now: float, seconds: float) -> Tuple[bytes, str]:
    """(content, its signer's name) of an S/MIME message; CloudError (cause image) when the signature is not good.

    ``ca``: a file or hashed directory of the only authorities that count. ``now``: the moment that certificates have to
    be valid at, in seconds since the epoch.
    """
    with tempfile.TemporaryDirectory(prefix="vmprobe-") as directory:
        signer = os.path.join(directory, "signer.pem")
        command = ["openssl", "cms", "-verify", "-inform", "SMIME", "-purpose", "any", *_authorities(ca),
                   "-attime", str(int(now)), "-signer", signer]
        content = _run(command, document, seconds, "the signature is not good")
        with open(signer, "rb") as file:
            name = _name(file.read())
    return content, name


def enveloped(document: bytes, ca: str, now: float, seconds: float) -> Tuple[Any, str]:
    """(root element without namespaces, signer's name) of an XML document that carries its own signature, over all of it.

    The certificate in it has to be vouched for by ``ca``, as for ``smime``; no other key in it is looked at.
    """
    root = xml.parse(document)  # also refuses document types, and what is too large
    certificates = _certificates(_signature(ElementTree.fromstring(document)))
    with tempfile.TemporaryDirectory(prefix="vmprobe-") as directory:
        paths = []
        for number, certificate in enumerate(certificates):
            paths.append(_write(directory, f"{number}.pem", certificate))
        others = _write(directory, "others.pem", b"".join(certificates[1:]) or certificates[0])
        _run(["openssl", "verify", "-purpose", "any", *_authorities(ca), "-attime", str(int(now)), "-untrusted", others,
              paths[0]], b"", seconds, "the signer's certificate is not accepted")
        bare = _write(directory, "document.xml", _KEY_INFO.sub(b"", document))  # which is not itself signed
        _run(["xmlsec1", "--verify", "--enabled-reference-uris", "empty", "--pubkey-cert-pem", paths[0], bare], b"", seconds,
             "the signature is not good")
    return root, _name(certificates[0])


def same_name(one: str, other: str) -> bool:
    """Whether two names of a certificate are the same, written ``/C=DE/CN=x`` or ``CN=x,C=DE``."""
    return _parts(one) == _parts(other)


def _signature(root: ElementTree.Element) -> ElementTree.Element:
    """The one signature, a child of the root, over the whole document; CloudError for anything else that there may be."""
    found = [element for element in root.iter(f"{_DSIG}Signature")]
    if len(found) != 1 or found[0] not in list(root):
        raise _bad(f"it has {len(found) or 'no'} signatures, and not one of the whole" if len(found) != 1 else
                   "its signature is not of the whole")
    references = found[0].findall(f"{_DSIG}SignedInfo/{_DSIG}Reference")
    transforms = [one.get("Algorithm", "") for one in found[0].iter(f"{_DSIG}Transform")]
    others = [word for word in transforms if word != _ENVELOPED and not _CANONICAL.fullmatch(word)]
    if len(references) != 1 or references[0].get("URI") != "" or others or _ENVELOPED not in transforms:
        raise _bad("its signature is not of the whole document")
    return found[0]


def _certificates(signature: ElementTree.Element) -> List[bytes]:
    """The certificates beside a signature, as PEM, the signer's own first."""
    found = []
    for element in list(signature.iter(f"{_DSIG}X509Certificate"))[:_MOST_CERTIFICATES]:
        try:
            raw = base64.b64decode(re.sub(r"\s", "", element.text or ""), validate=True)
        except (binascii.Error, ValueError):
            raise _bad("a certificate in its signature cannot be read") from None
        found.append(b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(raw) + b"-----END CERTIFICATE-----\n")
    if not found:
        raise _bad("its signature names no certificate, so nobody can be trusted for it")
    return found


def _authorities(ca: str) -> List[str]:
    """Options for exactly these authorities: openssl would add the system's."""
    only = ["-CApath", ca, "-no-CAfile"] if os.path.isdir(ca) else ["-CAfile", ca, "-no-CApath"]
    return [*only, "-no-CAstore"]


def _run(command: List[str], given: bytes, seconds: float, wrong: str) -> bytes:
    try:
        done = subprocess.run(command, input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              timeout=max(0.1, seconds), env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise ClientError(f"signatures of this form are verified by {command[0]}, which is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise ClientError(f"{command[0]} did not do its work: {failed}") from None
    if done.returncode:
        raise _bad(f"{wrong}: {_why(done.stderr.decode('utf-8', 'replace'))}")
    return done.stdout


def _why(said: str) -> str:
    """The reason among the lines of openssl and xmlsec1."""
    if "SignedInfo References (ok/all): 0/" in said:
        return "the document was changed"
    for pattern in (r"Verify error: (.+)", r"depth lookup:\s*(.+)", r" routines:\w*:([\w ]+):"):
        match = re.search(pattern, said)
        if match:
            return match[1].strip().lower()
    return "it does not fit the certificate" if "FAIL" in said else (said.strip().splitlines() or ["no reason given"])[-1][:100]


def _bad(why: str) -> CloudError:
    return CloudError(why, cause="image")


def _name(pem: bytes) -> str:
    try:
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError as missing:
        raise ClientError(f"certificates are read by cryptography: {missing}") from None
    try:
        return x509.name(load_pem_x509_certificate(pem).subject)
    except ValueError:
        raise _bad("the signer's certificate cannot be read") from None


def _write(directory: str, name: str, content: bytes) -> str:
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(content)
    return path


_ALIASES = {"e": "emailaddress", "email": "emailaddress"}


def _parts(name: str) -> List[Tuple[str, str]]:
    """A name's parts in an order of their own: both forms are the other's reverse, and neither says so."""
    split = re.split(r"/(?=[A-Za-z0-9.]+=)", name.strip()) if name.strip().startswith("/") else re.split(r"(?<!\\),", name)
    pairs = [part.partition("=") for part in split if part.strip()]
    return sorted((_ALIASES.get(key.strip().lower(), key.strip().lower()), value.strip()) for key, _, value in pairs)
