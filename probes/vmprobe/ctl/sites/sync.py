"""vmprobectl sites import: sync site files with a catalogue, and never touch people's edits.

What was written is remembered in ``.vmprobe-import.json``, by file, section and key. A value that
is still as it was written follows the catalogue, even where that is now empty. A value that a
person changed or removed stays so. No file is ever removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import Counter
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from vmprobe.core import ini
from vmprobe.core.errors import ClientError
from vmprobe.core.text import counted
from vmprobe.ctl.config import output
from vmprobe.ctl.sites import editing
from vmprobe.ctl.sites.catalogue import Catalogue
from vmprobe.ctl.sites.entries import Entry
from vmprobe.host import files
from vmprobe.site import site as sites

_MEMORY = ".vmprobe-import.json"
_LARGEST_MEMORY = 2**28  # bytes
_LARGEST = 2**20  # bytes of a file that a person may have written
Written = Dict[str, str]  # what an import wrote into one site file, by 'section/key'
Memory = Dict[str, Dict[str, Written]]  # by form of catalogue, name of site


class Update(NamedTuple):
    """What an import has to do about one site file."""

    messages: List[str]
    text: str  # the file's new text, '' if it stays as it is
    written: Optional[Written]  # what an import wrote into the file, None if it is not ours


def sync(
    catalogue: Catalogue, form: str, directory: str, defaults: str = "", write: bool = True
) -> Tuple[List[str], int]:
    """Bring the site files in ``directory`` up to date with a catalogue.

    Returns a line for everything that was added, changed, kept, refused or is no longer found, and
    how many files were written, or would be without ``write``. ``defaults`` is a file of sections
    that every new site gets, '' if there is none. ClientError while another run writes there.
    """
    if not os.path.isdir(directory):
        raise ClientError(f"{directory}: No such directory")
    sections = _defaults(defaults)
    with output.locked(directory) if write else contextlib.nullcontext():
        memory = _load_memory(directory)
        before = _dumped(memory)
        known = memory.setdefault(form, {})
        messages, count = list(catalogue.notes), 0
        try:
            for entry in catalogue.entries:
                path = os.path.join(directory, f"{entry.name}.ini")
                try:
                    update = _update(entry, path, known.get(entry.name), form, sections)
                    if update.text:
                        _check(update.text, path)
                        count += 1
                        if write:
                            _write(path, update.text)
                    if update.written is not None:
                        known[entry.name] = update.written
                except ClientError as error:
                    update = Update([f"refused: {error}"], "", None)
                messages += [f"{entry.name}: {message}" for message in update.messages]
        finally:  # also remember what was written before the disk was full
            if write and _dumped(memory) != before:
                _write(os.path.join(directory, _MEMORY), _dumped(memory))
    for name in sorted(set(known) - {entry.name for entry in catalogue.entries}):
        messages.append(f"{name}: no longer found; its file stays, remove it if that is right")
    return messages + _dropped_fields(catalogue, known), count


def _update(
    entry: Entry, path: str, written: Optional[Written], form: str, defaults: ini.Sections
) -> Update:
    """What has to be done about one site, of which an import has ``written`` this before.

    A file that is exactly as an import would make it is ours, even if that is not remembered: a run
    that was cut off had no time to.
    """
    values = {f"{section}/{key}": text for (section, key), text in entry.values.items()}
    not_empty = {place: text for place, text in values.items() if text}
    content = _read(path)
    if content is None:
        if written is not None:
            return Update(["its file was removed by somebody; not written again"], "", written)
        return Update(["added"], editing.new_file(entry, form, defaults), not_empty)
    if written is None:
        if content == editing.new_file(entry, form, defaults).encode():
            return Update([], "", not_empty)
        return Update(["a file that somebody else wrote exists; it stays as it is"], "", None)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ClientError(f"{os.path.basename(path)}: is not UTF-8 text") from None
    return _changes(text, values, written, defaults)


def _changes(
    before: str, values: Mapping[str, str], written: Written, defaults: ini.Sections
) -> Update:
    """The changes of an existing file, value by value."""
    messages: List[str] = []
    text, written = before, dict(written)
    for place, value in sorted(values.items()):
        section, key = place.split("/", 1)
        old = written.get(place)
        if old is not None and not value:
            value = defaults.get(section, {}).get(key, "")  # what a new file would have
        if value == (old or ""):
            continue
        changed = editing.replace_value(text, section, key, old, value)
        if changed is None:
            action = f"not changed to {value}" if value else "not removed"
            messages.append(f"[{section}] {key} was edited by hand; {action}")
            continue
        if changed != text:
            action = f"now {value}" if value else f"removed; it was {old}"
            messages.append(f"[{section}] {key} is {action}")
        text = changed
        written.pop(place, None)
        if value:
            written[place] = value
    return Update(messages, text if text != before else "", written)


def _dropped_fields(catalogue: Catalogue, known: Mapping[str, Written]) -> List[str]:
    """Messages about fields that a catalogue no longer has, such as a removed column."""
    places = Counter(
        place
        for entry in catalogue.entries
        for place in known.get(entry.name, ())
        if tuple(place.split("/", 1)) not in entry.values
    )
    messages = []
    for place, count in sorted(places.items()):
        section, key = place.split("/", 1)
        messages.append(
            f"[{section}] {key}: the catalogue no longer has this field; it stays in "
            f"{counted(count, 'site file')}, remove it there if that is right"
        )
    return messages


def _defaults(path: str) -> ini.Sections:
    """The sections of the file of defaults, and the test image."""
    sections: ini.Sections = {}
    if path:
        try:
            sections = ini.parse(files.read(path, _LARGEST))
        except OSError as error:
            raise ClientError(f"--defaults {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ClientError(f"--defaults {path}: is not UTF-8 text") from None
        except ini.Malformed as error:
            raise ClientError(f"--defaults {path}: {error}") from None
    sections.setdefault("test vm", {}).setdefault("image", "vmprobe-test")
    return sections


def _read(path: str) -> Optional[bytes]:
    """The content of a site file, None if there is none."""
    if not os.path.lexists(path):
        return None
    try:
        return files.read(path, _LARGEST)
    except OSError as error:
        raise ClientError(f"{os.path.basename(path)}: {error.strerror}") from None


def _check(text: str, path: str) -> None:
    """ClientError if the text is not a valid site file; nothing has been written yet."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)  # a umask may have removed even the owner's rights
        draft = os.path.join(directory, os.path.basename(path))
        with open(draft, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        sites.load(draft)


def _write(path: str, text: str) -> None:
    """Write a site file, readable by the monitoring user. OSError names the path.

    An existing file keeps its mode and owner, and a link stays a link.
    """
    path = os.path.realpath(path)
    try:
        if not os.path.exists(path):
            files.replace(path, text, 0o644)
            return
        before = os.stat(path)
        files.replace(path, text, before.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(path, before.st_uid, before.st_gid)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _load_memory(directory: str) -> Memory:
    path = os.path.join(directory, _MEMORY)
    try:
        with files.open_regular(path, _LARGEST_MEMORY) as file:
            document = json.load(file)
        return {form: dict(written) for form, written in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        raise ClientError(
            f"{path}: is damaged; without it, people's edits cannot be told from imported values"
        ) from None


def _dumped(memory: Memory) -> str:
    return json.dumps(memory, indent=1, sort_keys=True) + "\n"
