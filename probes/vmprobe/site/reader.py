"""Read a site file: its sections as text, and each section's values, parsed by its keys.

Every mistake is a ClientError of one line that names file, section and key, and says what would be
right.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Mapping, Optional

from vmprobe.core import ini, redact
from vmprobe.core.driver import Key
from vmprobe.core.errors import ClientError
from vmprobe.core.text import one_line, suggest
from vmprobe.host import files

_LARGEST = 2**20  # bytes
_FREE_TEXT = ("contact", "notes")  # keys whose values may have several lines


def read(path: str) -> ini.Sections:
    """The sections of a site file; ClientError if it cannot be read or is not valid."""
    base = os.path.basename(path)
    try:
        sections = ini.parse(files.read(path, _LARGEST))
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{path}: is not UTF-8 text") from None
    except ini.Malformed as error:
        raise ClientError(f"{base} {error}") from None
    for section, texts in sections.items():
        if section != "labels":
            _check_lines(f"{base} [{section}]", texts)
    return sections


def _check_lines(where: str, texts: Mapping[str, str]) -> None:
    """Refuse a value of several lines: mostly it is the next key, indented by mistake."""
    for key, text in texts.items():
        if "\n" in text and key not in _FREE_TEXT:
            last = text.split("\n")[-1]
            raise ClientError(
                f"{where} {key}: continues on the indented line '{last}'; a value is one line"
            )
        if re.search(r"[\x00-\x08\x0e-\x1f\x7f]", key + text):
            raise ClientError(f"{where} {key}: contains a control character")


def values(where: str, texts: Mapping[str, str], keys: Mapping[str, Key]) -> Dict[str, Any]:
    """The value of each key in ``keys``: parsed, or its default.

    ``where`` is the file and section in messages. ClientError for unknown, missing and wrong keys.
    """
    for name in texts:
        if name not in keys:
            raise ClientError(f"{where} {name}: no such key; {suggest(name, keys)}")
    # Most keys are left out, and ten thousand sites are read at once: skip the call for these.
    return {
        name: _value(f"{where} {name}", texts.get(name), key)
        if name in texts or key.required
        else key.default
        for name, key in keys.items()
    }


def _value(where: str, text: Optional[str], key: Key) -> Any:
    if text is None:
        raise ClientError(f"{where}: this key is missing")
    if not text:
        raise ClientError(f"{where}: is empty; leave the line out for the default")
    try:
        return key.parse(text)
    except ValueError as error:
        redact.current().add_url(text)  # it may contain a password
        shown = one_line(re.sub(r"//\S*@", "//***@", text), 60)
        raise ClientError(f"{where}: '{shown}' {error}") from None
