"""Read a credentials file: INI with one section, [credentials], that only its owner may access."""

from __future__ import annotations

import re
from typing import Collection, Dict, List, Mapping

from vmprobe.core import ini, redact
from vmprobe.core.errors import ClientError
from vmprobe.core.text import suggest
from vmprobe.host import files

_LARGEST = 2**20  # bytes


def read_credentials(path: str, known: Collection[str], where: str) -> Dict[str, str]:
    """The credentials in a file, which from now on are redacted in all output.

    ``known`` are the keys that it may have; ``where`` says in messages who names this file.
    ClientError says what is wrong with the file, and never quotes a line of it.
    """
    try:
        # No inline comments: a password may contain ' ;'.
        sections = ini.parse(files.read_secret(path, _LARGEST), inline_comments=False)
    except files.Exposed as error:
        raise ClientError(f"{path} {error.strerror}") from None
    except OSError as error:
        raise ClientError(f"{where}: {path}: {error.strerror}") from None
    except ValueError:  # Malformed, UnicodeDecodeError
        raise ClientError(f"{path}: is not an INI file with a section [credentials]") from None
    if list(sections) != ["credentials"]:
        raise ClientError(f"{path}: must have exactly one section, [credentials]")
    credentials = sections["credentials"]
    for name, text in credentials.items():
        if name not in known:
            raise ClientError(f"{path} [credentials] {name}: no such key; {suggest(name, known)}")
        if not text:
            raise ClientError(f"{path} [credentials] {name}: is empty")
    for secret in secrets(credentials):
        redact.current().add(secret)
    return credentials


def secrets(credentials: Mapping[str, str]) -> List[str]:
    """The secret ones of the credentials, alone and as ``username:secret``.

    Names, ids and paths are not secret.
    """
    values = [
        text
        for key, text in credentials.items()
        if re.search(r"(password|passphrase|secret|token|secret_key|access_key)$", key)
    ]
    user = credentials.get("username")
    return values + ([f"{user}:{secret}" for secret in values] if user else [])
