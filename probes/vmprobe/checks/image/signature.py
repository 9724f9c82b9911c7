"""Who signed a document, and whether an authority that we trust vouches for that: S/MIME by openssl, XML by xmlsec1.

Both are the commands that the field verifies with. XML signatures are over canonical XML 1.0 with inherited namespaces,
which Python's standard library does not have, so none is verified by hand here.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe.checks.image import cms, signedxml
from vmprobe.checks.image.signedxml import bad
from vmprobe.core.errors import ClientError
from vmprobe.core.text import cut
from vmprobe.host import programs
from vmprobe.transport import dn

_GOOD = re.compile(r"(SHA-|SHA3-|SHAKE)(224|256|384|512)")
_LARGEST = 2**24  # bytes that a command may write
_TIME_LEFT = 0.1  # seconds that a command gets when there are none


class Signed(NamedTuple):
    """What was signed, and by whom. ``notes``: what is weak about it; ``made``: when, where the signature itself says so."""

    content: Any  # bytes of an S/MIME message; the root element of an XML document, without the signature and without namespaces
    signer: dn.Name
    notes: Tuple[str, ...] = ()
    made: Optional[float] = None


def smime(document: bytes, ca: str, now: float, seconds: float) -> Signed:
    """The content of an S/MIME message with one signer, exactly as far as it is signed; CloudError (cause image) otherwise.

    ``ca``: a file or hashed directory of the only authorities that count. ``now``: the moment that certificates have to
    be valid at, in seconds since the epoch. MD5 and what is older does not count.
    """
    with _Commands(seconds) as commands:
        given = commands.file("message", document)
        said = commands.run(
            ["openssl", "cms", "-cmsout", "-inform", "SMIME", "-in", given, "-outform", "DER"],
            "the signature is not good",
        )
        try:
            signers = cms.signers(said)
        except (ValueError, LookupError):
            raise bad("its signature cannot be read") from None
        if len(signers) != 1:
            raise bad(f"it has {len(signers) or 'no'} signers, and not one")
        notes = _weak([signers[0].digest], "the signature")
        signer, beside = commands.path("signer"), commands.path("beside")
        content = commands.run(
            [
                "openssl",
                "cms",
                "-verify",
                "-inform",
                "SMIME",
                "-in",
                given,
                "-noverify",
                "-signer",
                signer,
                "-certsout",
                beside,
            ],
            "the signature is not good",
        )
        own, others = _certificates(signer)[0], _certificates(beside)
        name, more = _vouched(commands, own, others, ca, now, "the signature is not good")
    return Signed(content, name, notes + more, signers[0].made)


def enveloped(document: bytes, ca: str, now: float, seconds: float) -> Signed:
    """The content of an XML document that carries its own signature, over all of it; CloudError (cause image) otherwise.

    The certificate in it has to be vouched for by ``ca``, as for ``smime``; no other key in it is looked at. What is read is
    the very tree that was verified.
    """
    signed = signedxml.read(document)
    notes = _weak(signed.hashes, "the Marketplace's signature")
    with _Commands(seconds) as commands:
        own, *others = signed.certificates
        name, more = _vouched(
            commands, own, others, ca, now, "the signer's certificate is not accepted"
        )
        commands.run(
            [
                "xmlsec1",
                "--verify",
                "--enabled-reference-uris",
                "empty",
                "--enabled-key-data",
                "key-name",
                f"--pubkey-cert-pem:{signedxml.KEY}",
                commands.file("signer.pem", own),
                commands.file("document.xml", signed.bare()),
            ],
            "the signature is not good",
        )
    return Signed(signed.content(), name, notes + more)


def _vouched(
    commands: "_Commands", own: bytes, beside: Sequence[bytes], ca: str, now: float, wrong: str
) -> Tuple[dn.Name, Tuple[str, ...]]:
    """(whose certificate it is, notes on weak ones), once the authorities vouch for it; CloudError ``wrong`` otherwise.

    Of the certificates that came beside it only those lead to an authority whose own signatures count: whoever has one
    harmless certificate signed by MD5 can make an authority of it.
    """
    known = [(certificate, *_facts(certificate)) for certificate in beside if certificate != own]
    counting = [
        (certificate, found, word)
        for certificate, found, word in known
        if not word or word == "SHA-1" or _GOOD.fullmatch(word)
    ]
    others = commands.file(
        "others.pem", b"".join(certificate for certificate, *_ in counting) or own
    )
    if len(counting) < len(known):
        wrong += ", where certificates by MD5 and the like do not count"
    commands.run(
        [
            "openssl",
            "verify",
            "-purpose",
            "any",
            *_authorities(ca, commands),
            "-attime",
            str(int(now)),
            "-untrusted",
            others,
            commands.file("signer.pem", own),
        ],
        wrong,
    )

    found, word = _facts(own)
    if found is None:
        raise bad("the signer's certificate cannot be read")
    name = dn.from_subject(found.subject)
    if not name:
        raise bad("the signer's certificate has no name")
    notes = _weak([word] if word else [], "the signer's certificate")
    if any(word == "SHA-1" and found.subject != found.issuer for _, found, word in counting):
        notes += ("a certificate beside the signer's is by SHA-1",)
    return name, notes


def _weak(hashes: Sequence[str], what: str) -> Tuple[str, ...]:
    """A note on SHA-1; CloudError for what anybody can forge, and for what nobody here knows."""
    for word in hashes:
        if word != "SHA-1" and not _GOOD.fullmatch(word):
            raise bad(f"{what} is by {word}, which does not count")
    return (f"{what} is by SHA-1",) if "SHA-1" in hashes else ()


def _facts(pem: bytes) -> Tuple[Any, str]:
    """(the certificate, by which digest it is signed); (None, why) when it cannot be read, no digest where there is none of its own."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError as missing:
        raise ClientError(f"certificates are read by cryptography: {missing}") from None
    try:
        found = load_pem_x509_certificate(pem)
        dn.from_subject(found.subject), dn.from_subject(found.issuer)
        algorithm = found.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, "unreadable"
    return found, re.sub(
        r"^SHA(?!3-)", "SHA-", algorithm.name.upper()
    ) if algorithm else ""  # Ed25519 digests by itself


def _certificates(path: str) -> List[bytes]:
    """The certificates in a file that openssl wrote."""
    with open(path, "rb") as file:
        return re.findall(
            rb"-----BEGIN CERTIFICATE-----\n[^-]*-----END CERTIFICATE-----\n", file.read()
        )


def _authorities(ca: str, commands: "_Commands") -> List[str]:
    """Options for exactly these authorities: openssl would add the system's. That of EL 8, 1.1.1, has no stores to leave out."""
    only = ["-CApath", ca, "-no-CAfile"] if os.path.isdir(ca) else ["-CAfile", ca, "-no-CApath"]
    has_stores = not commands.run(["openssl", "version"], "openssl does not work").startswith(
        b"OpenSSL 1."
    )
    return [*only, *(["-no-CAstore"] if has_stores else [])]


class _Commands:
    """Commands that share one directory, gone in the end, and so many seconds."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def __enter__(self) -> "_Commands":
        try:
            self._directory = tempfile.TemporaryDirectory(prefix="vmprobe-")
        except OSError as failed:
            raise ClientError(f"there is no place for temporary files: {failed.strerror}") from None
        return self

    def __exit__(self, *what: Any) -> None:
        self._directory.cleanup()

    def path(self, name: str) -> str:
        return os.path.join(self._directory.name, name)

    def file(self, name: str, content: bytes) -> str:
        """The path of a file with this content."""
        try:
            with open(self.path(name), "wb") as file:
                file.write(content)
        except OSError as failed:
            raise ClientError(f"there is no place for temporary files: {failed.strerror}") from None
        return self.path(name)

    def run(self, command: List[str], wrong: str) -> bytes:
        """What a command writes; CloudError (cause image) when it fails, ClientError when it cannot do its work."""
        left = max(_TIME_LEFT, self._end - time.monotonic())
        try:
            done = programs.run(command, left, largest=_LARGEST, env={**os.environ, "LC_ALL": "C"})
        except FileNotFoundError:
            raise ClientError(
                f"signatures of this form are verified by {command[0]}, which is not installed"
            ) from None
        except programs.TooSlow:
            raise ClientError(f"{command[0]} did not end within {left:.3g} s") from None
        except OSError as failed:
            raise ClientError(f"{command[0]} did not do its work: {failed.strerror}") from None
        if done.code:
            raise bad(f"{wrong}: {_why(done.errors.decode('utf-8', 'replace'))}")
        if not done.is_whole:
            raise bad(f"{wrong}: {command[0]} says more than {_LARGEST // 2**20} MiB")
        return done.output


def _why(said: str) -> str:
    """The reason among the lines of openssl and xmlsec1."""
    if "SignedInfo References (ok/all): 0/" in said:
        return "the document was changed"
    for pattern in (r"Verify error: (.+)", r"depth lookup:\s*(.+)", r" routines:\w*:([\w ]+):"):
        match = re.search(pattern, said)
        if match:
            return match[1].strip().lower()
    return (
        "it does not fit the certificate"
        if "FAIL" in said
        else cut((said.strip().splitlines() or ["no reason given"])[-1], 100)
    )
