"""Read the chain of certificates that a TLS server sends, whether it is to be trusted or not.

pyOpenSSL reads it, in a handshake of its own that judges nothing: the standard library shows no
chain before Python 3.13. The handshake that judges is ``tls.handshake``. What pyOpenSSL returns is
``Any`` here: its classes differ from version to version.
"""

from __future__ import annotations

import math
import os
import re
import select
import socket
import time
from typing import Any, Callable, List, NamedTuple, Set, Tuple

from vmprobe.core.errors import ClientError, Unreachable
from vmprobe.transport import x509

_REVOKED = 23  # X509_V_ERR_CERT_REVOKED


class Certificate(NamedTuple):
    """One certificate of a chain."""

    subject: str  # as the grid writes it: /C=DE/O=Grid/CN=host
    issuer: str
    expires: float  # seconds since the epoch
    names: Tuple[str, ...] = ()  # hosts that it is for
    revoked: bool = (
        False  # by its issuer's list, where the directory of authorities has one as HASH.r0
    )


def read(plain: socket.socket, host: str, seconds: float, ca: str = "") -> List[Certificate]:
    """The certificates, the server's own first, up to the root where ``ca`` (a file or hashed
    directory) has it.

    Closes the connection. ClientError without pyOpenSSL; Unreachable when no chain comes within
    ``seconds``.
    """
    try:
        from OpenSSL import SSL, crypto
    except ImportError as error:
        plain.close()
        raise ClientError(f"the certificates of {host} are read by pyOpenSSL: {error}") from None
    context = SSL.Context(SSL.SSLv23_METHOD)  # any version: this name exists in every pyOpenSSL
    revoked = _trust(context, SSL, ca)
    connection = SSL.Connection(context, plain)
    connection.set_connect_state()
    name = _server_name(host)
    if name:
        connection.set_tlsext_host_name(name)
    plain.setblocking(False)
    try:
        _wait_for(connection.do_handshake, SSL, plain, time.monotonic() + seconds)
    except (SSL.Error, OSError) as error:
        raise Unreachable(f"{host}: no chain of certificates: {error}", sent=False) from None
    finally:
        plain.close()
    sent, verified = connection.get_peer_cert_chain() or [], connection.get_verified_chain() or []
    longer = verified if len(verified) > len(sent) else sent
    try:
        return [_certificate(certificate, revoked) for certificate in longer]
    except (crypto.Error, ValueError, TypeError):
        raise Unreachable(
            f"{host}: a certificate of its chain has no date that can be read", sent=False
        ) from None


def _server_name(host: str) -> bytes:
    """The host for TLS's server name.

    B'' for an address, and for what DNS cannot have: TLS allows neither.
    """
    try:
        return b"" if ":" in host or re.fullmatch("[0-9.]+", host) else host.encode("idna")
    except UnicodeError:
        return b""


def _trust(context: Any, library: Any, ca: str) -> Set[int]:
    """Let OpenSSL find roots and revocation lists in ``ca``; without it, the chain ends where the
    server ends it.

    Returns the set that the handshake fills with the serial numbers of revoked certificates.
    """
    revoked: Set[int] = set()
    if not ca:
        return revoked
    try:
        context.load_verify_locations(*((None, ca) if os.path.isdir(ca) else (ca, None)))
    except library.Error:
        return revoked

    def note(_: Any, certificate: Any, error: int, *__: Any) -> bool:
        if error == _REVOKED:
            revoked.add(certificate.get_serial_number())
        return True  # go on: other errors are for tls.handshake to judge

    if os.path.isdir(ca):
        from OpenSSL.crypto import X509StoreFlags

        context.get_cert_store().set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
        context.set_verify(library.VERIFY_PEER, note)
    return revoked


def _wait_for(step: Callable[[], object], library: Any, plain: socket.socket, end: float) -> None:
    """Repeat ``step`` until it needs nothing more of the socket.

    Socket.timeout at ``end``, by the monotonic clock.
    """
    while True:
        try:
            step()
            return
        except (library.WantReadError, library.WantWriteError) as wants:
            left = end - time.monotonic()
            if left <= 0:
                raise socket.timeout("no answer in time") from None
            events = select.POLLIN if isinstance(wants, library.WantReadError) else select.POLLOUT
            poll = select.poll()  # unlike select, it takes descriptors above 1023
            poll.register(plain, events)
            poll.poll(math.ceil(1000 * left))


def _certificate(certificate: Any, revoked: Set[int]) -> Certificate:
    """What we tell of a certificate.

    Names that break their own encoding, as old authorities' do, are read by bytes.
    """
    expires = x509.date(certificate.get_notAfter)
    try:
        modern = certificate.to_cryptography()
        subject, issuer = x509.name(modern.subject), x509.name(modern.issuer)
        hosts = _hosts(modern)
    except (ValueError, TypeError):
        subject, issuer = (
            _raw_name(certificate, "get_subject"),
            _raw_name(certificate, "get_issuer"),
        )
        hosts = ()
    is_revoked = certificate.get_serial_number() in revoked
    return Certificate(subject, issuer, expires, hosts, is_revoked)


def _raw_name(certificate: Any, getter: str) -> str:
    if not hasattr(certificate, getter):  # a later pyOpenSSL will not have it
        return "(a name that cannot be read)"
    return "".join(
        f"/{key.decode('ascii', 'replace')}={value.decode('utf-8', 'replace')}"
        for key, value in getattr(certificate, getter)().get_components()
    )


def _hosts(certificate: Any) -> Tuple[str, ...]:
    """The hosts of the extension subjectAltName (RFC 5280, 4.2.1.6); () where it cannot be read."""
    from cryptography import x509 as library

    try:
        extension = certificate.extensions.get_extension_for_class(library.SubjectAlternativeName)
    except (
        library.ExtensionNotFound,
        library.DuplicateExtension,
        library.UnsupportedGeneralNameType,
        ValueError,
        TypeError,
    ):
        return ()
    return tuple(
        str(name.value)
        for name in extension.value
        if isinstance(name, (library.DNSName, library.IPAddress))
    )
