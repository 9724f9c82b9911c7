"""The chain of certificates that a TLS server shows, whether it is to be trusted or not.

Read by pyOpenSSL in a handshake of its own that judges nothing: the one that counts (``wire.handshake``) is the standard
library's, which shows no chain before Python 3.13.
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
    """One certificate of a chain; ``expires`` in seconds since the epoch, ``names`` are the hosts that it is for.

    ``revoked`` by its issuer's list, where that lies in the directory of authorities as ``HASH.r0``.
    """

    subject: str
    issuer: str
    expires: float
    names: Tuple[str, ...] = ()
    revoked: bool = False


def chain(plain: socket.socket, host: str, seconds: float, ca: str = "") -> List[Certificate]:
    """The certificates, the server's own first, up to the root where ``ca`` (a file or hashed directory) has it.

    Closes the connection. ClientError without pyOpenSSL, Unreachable when no chain comes within ``seconds``.
    """
    try:
        from OpenSSL import SSL, crypto
    except ImportError as missing:
        plain.close()
        raise ClientError(f"the certificates of {host} are read by pyOpenSSL: {missing}") from None
    context = SSL.Context(
        SSL.SSLv23_METHOD
    )  # whatever both sides can, by its name in pyOpenSSL of every age
    revoked = _trust(context, SSL, ca)
    connection = SSL.Connection(context, plain)
    connection.set_connect_state()
    name = _server_name(host)
    if name:
        connection.set_tlsext_host_name(name)
    plain.setblocking(False)
    try:
        _drive(connection.do_handshake, SSL, plain, time.monotonic() + seconds)
    except (SSL.Error, OSError) as failed:
        raise Unreachable(f"{host}: no chain of certificates: {failed}", sent=False) from None
    finally:
        plain.close()
    shown, complete = connection.get_peer_cert_chain() or [], connection.get_verified_chain() or []
    try:
        return [_facts(one, revoked) for one in (complete if len(complete) > len(shown) else shown)]
    except (crypto.Error, ValueError, TypeError):
        raise Unreachable(
            f"{host}: a certificate of its chain has no date that can be read", sent=False
        ) from None


def _server_name(host: str) -> bytes:
    """The host as TLS names it; an address is no server name, and neither is what DNS could not have."""
    try:
        return b"" if ":" in host or re.fullmatch("[0-9.]+", host) else host.encode("idna")
    except UnicodeError:
        return b""


def _trust(context: Any, library: Any, ca: str) -> Set[int]:
    """Where there are no roots, the chain ends where the server ends it.

    Returns the set that will hold the serial numbers of what is revoked; OpenSSL finds the lists as it finds the roots.
    """
    revoked: Set[int] = set()
    if not ca:
        return revoked
    try:
        context.load_verify_locations(*((None, ca) if os.path.isdir(ca) else (ca, None)))
    except library.Error:
        return revoked

    def note(_: Any, one: Any, error: int, *__: Any) -> bool:
        if error == _REVOKED:
            revoked.add(one.get_serial_number())
        return True  # what is wrong otherwise, or has no list, is judged by another

    if os.path.isdir(ca):
        from OpenSSL.crypto import X509StoreFlags

        context.get_cert_store().set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
        context.set_verify(library.VERIFY_PEER, note)
    return revoked


def _drive(act: Callable[[], Any], library: Any, plain: socket.socket, end: float) -> None:
    while True:
        try:
            return act()
        except (library.WantReadError, library.WantWriteError) as wants:
            left = end - time.monotonic()
            if left <= 0:
                raise socket.timeout("no answer in time") from None
            waiting = select.poll()  # takes descriptors from 1024 on
            waiting.register(
                plain, select.POLLIN if isinstance(wants, library.WantReadError) else select.POLLOUT
            )
            waiting.poll(math.ceil(1000 * left))


def _facts(shown: Any, revoked: Set[int]) -> Certificate:
    """The facts; names that break their own encoding, as old authorities' do, by their bytes."""
    expires = x509.when(shown.get_notAfter)
    try:
        one = shown.to_cryptography()
        subject, issuer, hosts = x509.name(one.subject), x509.name(one.issuer), _hosts(one)
    except (ValueError, TypeError):
        subject, issuer, hosts = _as_it_is(shown, "get_subject"), _as_it_is(shown, "get_issuer"), ()
    return Certificate(subject, issuer, expires, hosts, shown.get_serial_number() in revoked)


def _as_it_is(shown: Any, ask: str) -> str:
    if not hasattr(shown, ask):  # pyOpenSSL is about to lose it
        return "(a name that cannot be read)"
    parts = getattr(shown, ask)().get_components()
    return "".join(
        f"/{key.decode('ascii', 'replace')}={value.decode('utf-8', 'replace')}"
        for key, value in parts
    )


def _hosts(one: Any) -> Tuple[str, ...]:
    from cryptography import x509 as certificates

    try:
        names = one.extensions.get_extension_for_class(certificates.SubjectAlternativeName).value
    except (
        certificates.ExtensionNotFound,
        certificates.DuplicateExtension,
        certificates.UnsupportedGeneralNameType,
        ValueError,
        TypeError,
    ):
        return ()
    return tuple(
        str(name.value)
        for name in names
        if isinstance(name, (certificates.DNSName, certificates.IPAddress))
    )
