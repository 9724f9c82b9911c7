"""HTTPS to a receiver, with the credentials file that its target names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError
from vmprobe.site.targets import Target

if TYPE_CHECKING:
    from vmprobe.transport.http import Http

_TIMEOUT = 10.0  # seconds for one request


def connect(
    target: Target, deadline: Deadline, keys: Tuple[str, ...]
) -> Tuple[Http, Dict[str, str]]:
    """A verified HTTPS session to ``target``, and the content of its credentials file.

    ``keys`` are the keys that the file may have. ClientError if it cannot be used.
    """
    from vmprobe.core.exchanges import Evidence
    from vmprobe.site.credentials import read_credentials
    from vmprobe.transport.http import Http  # requests: half of a check's start-up time

    path = target.options["credentials"]
    credentials = read_credentials(path, keys, f"--submit {target.kind}")
    if not any(credentials.get(key) for key in ("username", "certificate", "token")):
        raise ClientError(f"{path}: has none of {', '.join(keys)}")
    http = Http(
        target.where,
        deadline,
        Evidence(),
        timeout=_TIMEOUT,
        ca=target.options.get("ca"),
        certificate=credentials.get("certificate", ""),
        key=credentials.get("key", ""),
    )
    if credentials.get("username"):
        http.add_basic_auth(credentials["username"], credentials.get("password", ""))
    return http, credentials
