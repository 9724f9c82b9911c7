"""vmprobectl sites import: site files from a catalogue, beside what people wrote, which is never touched.

What was written is remembered in ``.vmprobe-import.json``, by file, section and key. A value that is still as it was
written follows the catalogue; one that a person changed or took out stays so. No file is ever removed.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from typing import Any, Dict, List, Mapping, Optional, Tuple

from vmprobe import site as sites
from vmprobe.catalogue import Catalogue, Entry
from vmprobe.errors import ClientError
from vmprobe.files import replace

_MEMORY = ".vmprobe-import.json"
Values = Dict[str, Dict[str, str]]  # section, key


def adopt(catalogue: Catalogue, source: str, directory: str, defaults: str = "", write: bool = True) -> Tuple[List[str], int]:
    """Bring ``directory`` up to date; returns a line for whatever was added, changed, kept, refused or no longer found,
    and how many files were written, or would be.

    ``defaults`` is the text of sections that every new site gets beside what the catalogue says.
    """
    if not os.path.isdir(directory):
        raise ClientError(f"{directory}: No such directory")
    memory = _remembered(directory)
    known: Dict[str, Any] = memory.setdefault(source, {})
    before, told, written = _memory(memory), list(catalogue.doubles), 0
    for entry in catalogue.entries:
        path = os.path.join(directory, f"{entry.name}.ini")
        try:
            lines, text, ours = _one(entry, path, known.get(entry.name), source, defaults)
            if text:
                _check(text, path)
                written += 1
                if write:
                    _put(path, text)
            if ours is not None:
                known[entry.name] = ours
        except ClientError as wrong:
            lines = [f"refused: {wrong}"]
        told += [f"{entry.name}: {line}" for line in lines]
    for name in sorted(set(known) - {entry.name for entry in catalogue.entries}):
        told.append(f"{name}: no longer found; its file stays, remove it when that is right")
    if write and _memory(memory) != before:
        replace(os.path.join(directory, _MEMORY), _memory(memory))
    return told, written


def _one(entry: Entry, path: str, ours: Optional[Dict[str, str]], source: str,
         defaults: str) -> Tuple[List[str], str, Optional[Dict[str, str]]]:
    """What there is to tell of an entry, the text that its file shall have, '' if it stays, and what then is ours in it.

    A file that is as it would be made is ours: a run that was cut off had no time to remember it.
    """
    wanted = {f"{section}/{key}": text for (section, key), text in entry.values.items()}
    if not os.path.exists(path):
        if ours is not None:
            return ["its file was removed by somebody, and stays so"], "", ours
        return ["added"], _new(entry, source, defaults), wanted
    with open(path, encoding="utf-8") as file:
        text = before = file.read()
    if ours is None:
        if text == _new(entry, source, defaults):
            return [], "", wanted
        return ["is there already, written by somebody else; it stays as it is"], "", None

    told, ours = [], dict(ours)
    for place, value in sorted(wanted.items()):
        section, key = place.split("/", 1)
        if ours.get(place) == value:
            continue
        changed = _changed(text, section, key, ours.get(place), value)
        if changed is None:
            told.append(f"[{section}] {key} is a person's now; not changed to {value}")
            continue
        told += [f"[{section}] {key} is now {value}"] if changed != text else []
        text, ours[place] = changed, value
    return told, text if text != before else "", ours


def _new(entry: Entry, source: str, defaults: str) -> str:
    """A new site file: the catalogue's values, each section completed by the defaults."""
    sections: Values = {"site": {}, "endpoint": {}, "test vm": {}}
    for section, key, text in _pairs(defaults):
        sections.setdefault(section, {})[key] = text
    for (section, key), text in entry.values.items():
        sections.setdefault(section, {})[key] = text
    sections["test vm"].setdefault("image", "vmprobe-test")
    lines = [f"; From {source}. What a person changes here stays as it is."]
    for section, values in sections.items():
        lines += [f"[{section}]", *(_line(section, key, text) for key, text in values.items()), ""]
    return "\n".join(lines)


def _line(section: str, key: str, text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]|\s;", text):
        raise ClientError(f"[{section}] {key}: {text!r} cannot stand in a site file")
    return f"{key} = {text}"


def _pairs(defaults: str) -> List[Tuple[str, str, str]]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",), default_section="\0")
    parser.optionxform = str
    try:
        parser.read_string(defaults)
    except configparser.Error as wrong:
        raise ClientError(f"--defaults: {str(wrong).splitlines()[0]}") from None
    return [(section, key, text) for section in parser.sections() for key, text in parser.items(section)]


def _changed(text: str, section: str, key: str, old: Optional[str], new: str) -> Optional[str]:
    """The text with a key's value exchanged, or with the key where it had none (``old`` is None), all else to the letter
    as it is; None where the value is not ``old`` any more.
    """
    line = _line(section, key, new)
    lines, inside, end = text.split("\n"), "", None
    for number, found in enumerate(lines):
        head = re.match(r"^\[(.+)\]", found)
        inside = head[1] if head else inside
        pair = re.match(r"^(\s*([^=:;#]+?)\s*[=:]\s*)(.*?)(\s+;.*|\s*)$", found)
        if inside == section and pair and pair[2] == key:
            if pair[3] not in (old, new):
                return None
            lines[number] = pair[1] + new + pair[4]
            return "\n".join(lines)
        if inside == section and found.strip():
            end = number + 1
    if old is not None or end is None:
        return None
    lines.insert(end, line)
    return "\n".join(lines)


def _put(path: str, text: str) -> None:
    """Write a site file, which the monitoring user, another one, has to be able to read; mode and owner of an old one stay."""
    if not os.path.exists(path):
        replace(path, text, 0o644)
        return
    before = os.stat(path)
    replace(path, text, before.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(path, before.st_uid, before.st_gid)


def _check(text: str, path: str) -> None:
    """ClientError where the text is no whole site file; nothing has been written then."""
    with tempfile.TemporaryDirectory() as directory:
        draft = os.path.join(directory, os.path.basename(path))
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
        sites.load(draft)


def _memory(memory: Mapping[str, Any]) -> str:
    return json.dumps(memory, indent=1, sort_keys=True) + "\n"


def _remembered(directory: str) -> Dict[str, Any]:
    path = os.path.join(directory, _MEMORY)
    try:
        with open(path, encoding="utf-8") as file:
            held: Mapping[str, Any] = json.load(file)
        return {source: dict(names) for source, names in held.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        raise ClientError(f"{path}: is damaged; without it nobody can tell what a person wrote") from None
