"""What PowerShell, WS-Management and the network report, as errors of the suite.

PowerShell's error has an id that does not depend on the language of Windows, such as
``OutOfMemory,Microsoft.HyperV.PowerShell.Commands.StartVM``. Texts are only searched for the
numbers of Windows' errors, which are the same in every language.
"""

from __future__ import annotations

import socket
from typing import Any, Dict, Tuple, Type

from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotPermitted,
    ResourceFailed,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.text import cut
from vmprobe.transport import error_text

NO_SESSION = 2150858843  # WS-Management: the host does not know this session (any more)
_ACCESS_DENIED = 5  # WS-Management has Windows' own number for it

_BY_ID: Dict[str, Tuple[Type[VmprobeError], str]] = {
    "AccessDenied": (NotPermitted, ""),
    "OutOfMemory": (ResourceFailed, "scheduler"),
    "InvalidState": (Conflict, ""),
    "CommandNotFoundException": (ClientError, ""),
    "RemoveFileSystemItemIOError": (Conflict, ""),
    "RemoveFileSystemItemUnAuthorizedAccess": (NotPermitted, ""),
    "DirUnauthorizedAccessError": (NotPermitted, ""),
}
_BY_NUMBER: Dict[str, Tuple[Type[VmprobeError], str]] = {
    "0x80070005": (NotPermitted, ""),  # ERROR_ACCESS_DENIED
    "0x80070020": (Conflict, ""),  # ERROR_SHARING_VIOLATION: another process has the file open
    "0x80070070": (ResourceFailed, "storage"),  # ERROR_DISK_FULL
    "0x8007000e": (ResourceFailed, "scheduler"),  # ERROR_OUTOFMEMORY
    "0x800705aa": (ResourceFailed, "scheduler"),  # ERROR_NO_SYSTEM_RESOURCES
}


def of_script(
    request: str, id: str, message: str, failed: Type[CloudError], cause: str
) -> VmprobeError:
    """The error of the suite for an error of PowerShell; ``failed`` if it is not known."""
    message = " ".join(message.split())
    name = id.partition(",")[0]
    text = cut(f"{request}: {message or name or 'PowerShell reports an error without a text'}", 500)
    kind, known_cause = _BY_ID.get(name, (None, ""))
    if kind is None:
        numbers = [number for number in _BY_NUMBER if number in message.lower()]
        kind, known_cause = _BY_NUMBER[numbers[0]] if numbers else (None, "")
    if kind is None:
        return failed(text, cause)
    return kind(text, known_cause)


def of_transport(request: str, error: Exception, host: str, user: str, sent: bool) -> VmprobeError:
    """The error of the suite for an error of pypsrp, pyspnego or requests.

    ``sent``: whether the host may have run the script.
    """
    import requests
    from pypsrp import exceptions

    text = cut(" ".join(str(error).split()), 300)
    if isinstance(error, exceptions.AuthenticationError):
        return AuthRejected(f"{request}: {user} is not accepted by {host}")
    if isinstance(error, exceptions.WSManFaultError):
        return _of_fault(request, error, sent)
    if isinstance(error, exceptions.WinRMTransportError):
        return of_status(
            error.code, str(error.response_text or "").encode("utf-8", "replace"), host
        )
    if isinstance(error, requests.exceptions.SSLError):
        return CloudError(f"{request}: TLS with {host} failed: {text}", cause="gateway")
    if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)):
        inner = _innermost(error)
        if isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(
            inner, (ConnectionRefusedError, socket.gaierror)
        ):
            words, sent = f"{host} cannot be reached", False
        else:
            words = f"no complete answer from {host}"
        return Unreachable(f"{request}: {words}: {_reason(inner)}", sent=sent)
    if isinstance(error, ImportError):  # Kerberos is loaded when it is needed
        return ClientError(f"{request}: authentication of {user}: {text}")
    is_login = type(error).__module__.startswith(("spnego", "gssapi", "krb5"))
    if is_login and type(error).__name__ not in ("InvalidTokenError", "BadMICError"):
        return ClientError(f"{request}: authentication of {user}: {text}")
    return GatewayFailed(
        f"{request}: the answer of {host} cannot be parsed: {text or type(error).__name__}"
    )


def of_status(status: int, body: bytes, host: str) -> CloudError:
    """The error of the suite for an HTTP status."""
    text = f"{host} answered {status} {error_text.message(body)}".rstrip()
    return NotPermitted(text) if status == 403 else GatewayFailed(text)


def _of_fault(request: str, fault: Any, sent: bool) -> VmprobeError:
    text = cut(" ".join(str(fault.reason or fault.message).split()), 300)
    if fault.code == _ACCESS_DENIED:
        return NotPermitted(f"{request}: {text}")
    if fault.code == NO_SESSION:
        return Unreachable(f"{request}: the session has ended: {text}", sent=sent)
    return GatewayFailed(f"{request}: {text} (WS-Management {fault.code})")


def _innermost(error: BaseException) -> BaseException:
    """The error that others were raised for."""
    for _ in range(10):
        error = error.__cause__ or error.__context__ or error
    return error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error_text.of_system(error)
    return cut(str(error) or type(error).__name__, 200).lower()
