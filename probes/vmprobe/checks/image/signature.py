"""Verify who signed a document, and that a trusted CA vouches for the signer.

S/MIME is verified by openssl, XML by xmlsec1.
Both commands are what endorsers use. XML signatures are over Canonical XML 1.0 with inherited
namespaces. Python's standard library does not have it, so no signature is verified in Python.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Sequence, Tuple, Union

from vmprobe.checks.image import cms, signedxml
from vmprobe.checks.image.signedxml import untrusted
from vmprobe.core.errors import ClientError
from vmprobe.core.text import cut
from vmprobe.host import programs
from vmprobe.transport import dn

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from cryptography.x509 import Certificate

_ACCEPTED = re.compile(r"(SHA-|SHA3-|SHAKE)(224|256|384|512)")
_LARGEST = 2**24  # bytes that a command may write
_SHORTEST = 0.1  # seconds that a command gets when no time is left


class SignedMessage(NamedTuple):
    """The content of an S/MIME message, as far as it is signed."""

    content: bytes
    signer: dn.Name
    notes: Tuple[str, ...]  # what is weak about the signature
    signed_at: Optional[float]  # seconds since the epoch; None if the signature does not say


class SignedDocument(NamedTuple):
    """The root of a signed XML document, without the signature and without namespaces."""

    content: Element
    signer: dn.Name
    notes: Tuple[str, ...]  # what is weak about the signature
    signed_at: None = None  # an XML signature does not say


def smime(document: bytes, ca: str, now: float, seconds: float) -> SignedMessage:
    """The content of an S/MIME message with one signer, exactly as far as it is signed.

    ``ca``: a file or hashed directory; only these CAs count. ``now``: when certificates have to be
    valid, in seconds since the epoch. ``seconds``: time for all commands. MD5 and older digests are
    not accepted. CloudError (cause image) if the message is not to be trusted, ClientError if it
    cannot be verified here.
    """
    with _Commands(seconds) as commands:
        message = commands.file("message", document)
        der = commands.run(
            ["openssl", "cms", "-cmsout", "-inform", "SMIME", "-in", message, "-outform", "DER"],
            "the signature is not good",
        )
        try:
            signers = cms.signers(der)
        except (ValueError, LookupError):
            raise untrusted("its signature cannot be read") from None
        if len(signers) != 1:
            raise untrusted(f"it has {len(signers) or 'no'} signers instead of one")
        notes = _weaknesses([signers[0].digest], "the signature")
        signer, beside = commands.path("signer"), commands.path("beside")
        verify = ["openssl", "cms", "-verify", "-inform", "SMIME", "-in", message, "-noverify"]
        content = commands.run(
            [*verify, "-signer", signer, "-certsout", beside], "the signature is not good"
        )
        own, others = _certificates(signer)[0], _certificates(beside)
        name, more = _check_certificate(commands, own, others, ca, now, "the signature is not good")
    return SignedMessage(content, name, notes + more, signers[0].signed_at)


def enveloped(document: bytes, ca: str, now: float, seconds: float) -> SignedDocument:
    """The content of an XML document that carries its own signature, over all of it.

    Arguments and errors as for ``smime``. A CA has to vouch for the certificate in the document;
    any other key in it is ignored. The tree that is returned is the very tree that was verified.
    """
    signed = signedxml.read(document)
    notes = _weaknesses(signed.hashes, "the Marketplace's signature")
    with _Commands(seconds) as commands:
        own, *others = signed.certificates
        name, more = _check_certificate(
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
    return SignedDocument(signed.content(), name, notes + more)


def _check_certificate(
    commands: _Commands, own: bytes, beside: Sequence[bytes], ca: str, now: float, wrong: str
) -> Tuple[dn.Name, Tuple[str, ...]]:
    """(the name in the signer's certificate, notes on weak certificates), once a CA vouches for it.

    CloudError that begins with ``wrong`` otherwise. Of the certificates beside the signer's, those
    signed with MD5 or older are ignored: whoever has one harmless certificate with such a signature
    can forge a CA from it.
    """
    intermediates = [
        (certificate, *_parse(certificate)) for certificate in beside if certificate != own
    ]
    accepted = [
        (certificate, parsed, digest)
        for certificate, parsed, digest in intermediates
        if not digest or digest == "SHA-1" or _ACCEPTED.fullmatch(digest)
    ]
    others = commands.file(
        "others.pem", b"".join(certificate for certificate, *_ in accepted) or own
    )
    if len(accepted) < len(intermediates):
        wrong += "; certificates signed with MD5 or older are ignored"
    verify = ["openssl", "verify", "-purpose", "any", *_ca_options(ca, commands)]
    at = ["-attime", str(int(now))]
    signer = commands.file("signer.pem", own)
    commands.run([*verify, *at, "-untrusted", others, signer], wrong)

    parsed, digest = _parse(own)
    if parsed is None:
        raise untrusted("the signer's certificate cannot be read")
    name = dn.from_subject(parsed.subject)
    if not name:
        raise untrusted("the signer's certificate has no name")
    notes = _weaknesses([digest] if digest else [], "the signer's certificate")
    if any(
        digest == "SHA-1" and parsed is not None and parsed.subject != parsed.issuer
        for _, parsed, digest in accepted
    ):
        notes += ("a certificate beside the signer's uses SHA-1",)
    return name, notes


def _weaknesses(digests: Sequence[str], what: str) -> Tuple[str, ...]:
    """A note if SHA-1 is used; CloudError for digests that can be forged, and for unknown ones."""
    for digest in digests:
        if digest != "SHA-1" and not _ACCEPTED.fullmatch(digest):
            raise untrusted(f"{what} uses {digest}, which is not accepted")
    return (f"{what} uses SHA-1",) if "SHA-1" in digests else ()


def _parse(pem: bytes) -> Union[Tuple[Certificate, str], Tuple[None, str]]:
    """(the certificate, the digest of its signature); (None, "unreadable") if it cannot be read.

    The digest is '' where the algorithm has none of its own (Ed25519).
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError as missing:
        raise ClientError(f"certificates are read by cryptography: {missing}") from None
    try:
        parsed = load_pem_x509_certificate(pem)
        dn.from_subject(parsed.subject), dn.from_subject(parsed.issuer)
        algorithm = parsed.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, "unreadable"
    return parsed, re.sub(r"^SHA(?!3-)", "SHA-", algorithm.name.upper()) if algorithm else ""


def _certificates(path: str) -> List[bytes]:
    """The certificates in a file that openssl wrote."""
    with open(path, "rb") as file:
        content = file.read()
    return re.findall(rb"-----BEGIN CERTIFICATE-----\n[^-]*-----END CERTIFICATE-----\n", content)


def _ca_options(ca: str, commands: _Commands) -> List[str]:
    """openssl's options for exactly these CAs: otherwise it adds the system's.

    OpenSSL 1.1.1 (EL 8) has no certificate stores, and no option to leave them out.
    """
    options = ["-CApath", ca, "-no-CAfile"] if os.path.isdir(ca) else ["-CAfile", ca, "-no-CApath"]
    version = commands.run(["openssl", "version"], "openssl does not work")
    return options if version.startswith(b"OpenSSL 1.") else [*options, "-no-CAstore"]


class _Commands:
    """Commands that share a temporary directory, removed on exit, and a time limit in seconds."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def __enter__(self) -> _Commands:
        try:
            self._directory = tempfile.TemporaryDirectory(prefix="vmprobe-")
        except OSError as failed:
            raise ClientError(f"cannot create temporary files: {failed.strerror}") from None
        return self

    def __exit__(self, *error: object) -> None:
        self._directory.cleanup()

    def path(self, name: str) -> str:
        """The path of a file in the directory."""
        return os.path.join(self._directory.name, name)

    def file(self, name: str, content: bytes) -> str:
        """Write a file with this content; returns its path."""
        try:
            with open(self.path(name), "wb") as file:
                file.write(content)
        except OSError as failed:
            raise ClientError(f"cannot create temporary files: {failed.strerror}") from None
        return self.path(name)

    def run(self, command: List[str], wrong: str) -> bytes:
        """What a command writes to stdout; CloudError that begins with ``wrong`` when it fails.

        ClientError when it is not installed, cannot be run, or does not end in time.
        """
        left = max(_SHORTEST, self._end - time.monotonic())
        try:
            done = programs.run(command, left, largest=_LARGEST, env={**os.environ, "LC_ALL": "C"})
        except FileNotFoundError:
            raise ClientError(
                f"signatures of this form are verified by {command[0]}, which is not installed"
            ) from None
        except programs.TooSlow:
            raise ClientError(f"{command[0]} did not end within {left:.3g} s") from None
        except OSError as failed:
            raise ClientError(f"{command[0]} cannot be run: {failed.strerror}") from None
        if done.code:
            raise untrusted(f"{wrong}: {_reason(done.errors.decode('utf-8', 'replace'))}")
        if not done.is_whole:
            raise untrusted(f"{wrong}: {command[0]} wrote more than {_LARGEST // 2**20} MiB")
        return done.output


def _reason(errors: str) -> str:
    """The reason in the error messages of openssl or xmlsec1."""
    if "SignedInfo References (ok/all): 0/" in errors:
        return "the document was changed"
    for pattern in (r"Verify error: (.+)", r"depth lookup:\s*(.+)", r" routines:\w*:([\w ]+):"):
        match = re.search(pattern, errors)
        if match:
            return match[1].strip().lower()
    if "FAIL" in errors:
        return "it does not fit the certificate"
    return cut((errors.strip().splitlines() or ["no reason given"])[-1], 100)
