"""TLS to a site's servers: whom we trust, what we show, and whose fault a failed handshake is."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import Optional, Union

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from vmprobe.core.errors import AuthRejected, ClientError, CloudError, Unreachable, VmprobeError
from vmprobe.host import files
from vmprobe.transport import x509
from vmprobe.transport.error_text import of_system

_CA_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/ca-trust/extracted/pem/directory-hash")
_HASH_NAME = re.compile(r"[0-9a-f]{8}\.\d+")
_MAX_BUNDLE = 16 * 2**20  # bytes of a file with authorities
_REFUSED = re.compile(
    r"ALERT_(CERTIFICATE_\w+|(BAD|UNSUPPORTED)_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)"
)


class Context(ssl.SSLContext):
    """A context that always checks the name of its peer, also where its caller names none.

    urllib3 before 2 passes no ``server_hostname`` where the host is an address: ``peer`` is used
    then.
    """

    peer = ""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: Union[str, bytes, None] = None,
        session: Optional[ssl.SSLSession] = None,
    ) -> ssl.SSLSocket:
        return super().wrap_socket(
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            server_hostname or self.peer,
            session,
        )


def client_context(ca: str, certificate: str = "", key: str = "") -> Context:
    """TLS 1.2 or later that trusts ``ca`` and shows ``certificate``, if there is one.

    ``ca`` is a file or a hashed directory, '' for the system's. ``key`` may be '' where the file of
    the certificate has it, as that of a proxy has. ClientError names the file at fault.
    """
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, ca or system_ca())
    if certificate:
        _show(context, certificate, key)
    return context


def system_ca() -> str:
    """The hashed directory or the file of the authorities that this system trusts."""
    return (
        next((path for path in _CA_DIRECTORIES if _is_hashed(path)), "") or DEFAULT_CA_BUNDLE_PATH
    )


def _trust(context: Context, ca: str) -> None:
    try:
        if os.path.isdir(ca):
            if not _is_hashed(ca):
                raise ClientError(
                    f"ca {ca}: no certificate in it has a hash for its name; "
                    "'openssl rehash' makes them"
                )
            context.load_verify_locations(capath=ca)
        else:
            files.open_regular(ca, _MAX_BUNDLE).close()  # OpenSSL would wait for a pipe
            context.load_verify_locations(cafile=ca)
    except OSError as error:
        reason = _reason(error, "there is no PEM certificate in it")
        raise ClientError(f"ca {ca}: {reason}") from None


def _show(context: Context, certificate: str, key: str) -> None:
    # TLS 1.3: a server that wants a certificate for some of its paths asks for it after the
    # handshake
    context.post_handshake_auth = True

    def no_password() -> str:  # without it, OpenSSL would ask the terminal
        raise ClientError(
            f"the key of certificate {certificate} is encrypted, "
            "and nobody is here to give its password"
        )

    # Refuses a key that others can read, and a pipe, for which OpenSSL would wait
    x509.pem(certificate)
    if key:
        x509.pem(key, "key")
    try:
        context.load_cert_chain(certificate, key or None, password=no_password)
    except OSError as error:
        reason = _reason(error, "this is no PEM certificate with its key")
        raise ClientError(
            f"certificate {certificate}{f' with key {key}' if key else ''}: {reason}"
        ) from None


def _is_hashed(directory: str) -> bool:
    """Whether a certificate in this directory has the hash of its subject for its name."""
    try:
        with os.scandir(directory) as entries:
            return any(_HASH_NAME.fullmatch(entry.name) for entry in entries)
    except OSError:
        return False


def _reason(error: OSError, otherwise: str) -> str:
    """Why a file cannot be used; ``otherwise`` where OpenSSL gives no better reason."""
    if not isinstance(error, ssl.SSLError):
        return of_system(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return otherwise


def handshake(
    asked: str, plain: socket.socket, host: str, seconds: float, context: ssl.SSLContext
) -> str:
    """Do a TLS handshake over a connection, close it, and return the version of TLS.

    Errors begin with ``asked``: CloudError where the server's certificate is not accepted,
    Unreachable where there is no TLS within ``seconds``.
    """
    plain.settimeout(seconds)
    try:
        with context.wrap_socket(plain, server_hostname=host) as connection:
            return connection.version() or ""
    except ssl.SSLCertVerificationError as error:
        raise not_accepted(asked, host, error) from None
    except socket.timeout:
        raise Unreachable(f"{asked}: no TLS within {seconds:.3g} s", sent=False) from None
    except OSError as error:
        raise failure(asked, error, sent=False) from None


def not_accepted(asked: str, host: str, error: ssl.SSLCertVerificationError) -> CloudError:
    """The error for a server's certificate that OpenSSL does not accept."""
    return CloudError(
        f"{asked}: the certificate of {host} is not accepted: {error.verify_message.rstrip('.')}",
        cause="gateway",
    )


def failure(asked: str, error: OSError, sent: bool) -> VmprobeError:
    """The error for a connection that broke in TLS: AuthRejected or ClientError where our
    certificate is the reason.

    ``sent``: whether the request may have reached the server.
    """
    if not isinstance(error, ssl.SSLError):
        return Unreachable(f"{asked}: {of_system(error)}", sent=sent)
    reason = error.reason or str(error)
    words = reason.lower().replace("_", " ")
    if not _REFUSED.search(reason):
        return Unreachable(f"{asked}: no TLS: {words}", sent=sent)
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return ClientError(f"{asked}: the server wants a client certificate")
    return AuthRejected(f"{asked}: our certificate is not accepted: {words}")
