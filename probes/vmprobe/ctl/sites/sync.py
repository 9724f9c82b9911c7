"""vmprobectl sites import: site files from a catalogue, beside what people wrote, which is never touched.

What was written is remembered in ``.vmprobe-import.json``, by file, section and key. A value that is still as it was
written follows the catalogue, also where that says nothing any more; one that a person changed or took out stays so. No
file is ever removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.core.text import counted, one_line
from vmprobe.ctl.config import output
from vmprobe.ctl.sites.catalogue import Catalogue, Entry
from vmprobe.host import files
from vmprobe.site import site as sites

_MEMORY = ".vmprobe-import.json"
_LARGEST_MEMORY = 2**28  # bytes
_LARGEST = 2**20  # bytes of a file that a person may have written
Values = Dict[str, Dict[str, str]]  # section, key


def adopt(
    catalogue: Catalogue, source: str, directory: str, defaults: str = "", write: bool = True
) -> Tuple[List[str], int]:
    """Bring ``directory`` up to date; returns a line for whatever was added, changed, kept, refused or no longer found,
    and how many files were written, or would be.

    ``defaults`` is a file of sections that every new site gets beside what the catalogue says, '' if there is none.
    ClientError while another run writes there.
    """
    if not os.path.isdir(directory):
        raise ClientError(f"{directory}: No such directory")
    sections = _defaults(defaults)
    with output.held(directory) if write else contextlib.nullcontext():
        memory = _remembered(directory)
        known: Dict[str, Any] = memory.setdefault(source, {})
        before, told, written = _memory(memory), list(catalogue.doubles), 0
        try:
            for entry in catalogue.entries:
                path = os.path.join(directory, f"{entry.name}.ini")
                try:
                    lines, text, ours = _one(entry, path, known.get(entry.name), source, sections)
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
        finally:  # also what was written before a disk was full
            if write and _memory(memory) != before:
                _put(os.path.join(directory, _MEMORY), _memory(memory))
    for name in sorted(set(known) - {entry.name for entry in catalogue.entries}):
        told.append(f"{name}: no longer found; its file stays, remove it when that is right")
    return told + _dropped(catalogue, known), written


def _dropped(catalogue: Catalogue, known: Mapping[str, Mapping[str, str]]) -> List[str]:
    """What a catalogue used to say of sites and has no word for any more, such as a column that is not there."""
    places = Counter(
        place
        for entry in catalogue.entries
        for place in known.get(entry.name, ())
        if tuple(place.split("/", 1)) not in entry.values
    )
    return [
        "[{}] {}: the catalogue has no such word any more; it stays in {}, take it out when that is right".format(
            *place.split("/", 1), counted(number, "site file")
        )
        for place, number in sorted(places.items())
    ]


def _one(
    entry: Entry, path: str, ours: Optional[Dict[str, str]], source: str, defaults: Values
) -> Tuple[List[str], str, Optional[Dict[str, str]]]:
    """What there is to tell of an entry, the text that its file shall have, '' if it stays, and what then is ours in it.

    A file that is as it would be made is ours: a run that was cut off had no time to remember it.
    """
    wanted = {f"{section}/{key}": text for (section, key), text in entry.values.items()}
    said = {place: text for place, text in wanted.items() if text}
    content = _read(path)
    if content is None:
        if ours is not None:
            return ["its file was removed by somebody, and stays so"], "", ours
        return ["added"], _new(entry, source, defaults), said
    if ours is None:
        if content == _new(entry, source, defaults).encode():
            return [], "", said
        return ["is there already, written by somebody else; it stays as it is"], "", None
    try:
        text = before = content.decode()
    except UnicodeDecodeError:
        raise ClientError(f"{os.path.basename(path)}: is not UTF-8 text") from None

    told, ours = [], dict(ours)
    for place, value in sorted(wanted.items()):
        section, key = place.split("/", 1)
        old = ours.get(place)
        if old is not None and not value:
            value = defaults.get(section, {}).get(key, "")  # what a new file would have
        if value == (old or ""):
            continue
        changed = _changed(text, section, key, old, value)
        if changed is None:
            told.append(
                f"[{section}] {key} is a person's now; "
                + (f"not changed to {value}" if value else "not taken out")
            )
            continue
        told += (
            [f"[{section}] {key} is " + (f"now {value}" if value else f"taken out; it was {old}")]
            if changed != text
            else []
        )
        text = changed
        ours.pop(place, None)
        ours.update({place: value} if value else {})
    return told, text if text != before else "", ours


def _read(path: str) -> Optional[bytes]:
    """A site file; None where nothing is."""
    if not os.path.lexists(path):
        return None
    try:
        with files.open_regular(path, _LARGEST) as file:
            return file.read()
    except OSError as failed:
        raise ClientError(f"{os.path.basename(path)}: {failed.strerror}") from None


def _new(entry: Entry, source: str, defaults: Values) -> str:
    """A new site file: the catalogue's values, each section completed by the defaults."""
    sections: Values = {"site": {}, "endpoint": {}, "test vm": {}}
    for section, values in defaults.items():
        sections.setdefault(section, {}).update(values)
    for (section, key), text in entry.values.items():
        sections.setdefault(section, {}).update({key: text} if text else {})
    lines = [f"; From {source}. What a person changes here stays as it is."]
    for section, values in sections.items():
        if values:
            lines += [
                f"[{section}]",
                *(_line(section, key, text) for key, text in values.items()),
                "",
            ]
    return "\n".join(lines)


def _line(section: str, key: str, text: str) -> str:
    """A key with its value, each of which has to stay what it is when the file is read."""
    if not re.fullmatch(r"[^\s\[\];#=:%s](?:[^\]=:%s]*[^\s\]=:%s])?" % (3 * (_CONTROL,)), key):
        raise ClientError(f"[{section}] '{one_line(key, 60)}' cannot be a key in a site file")
    if re.search(r"[%s]|(^|\s);" % _CONTROL, text):
        raise ClientError(f"[{section}] {key}: {one_line(ascii(text))} cannot stand in a site file")
    return f"{key} = {text}"


_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"


def _defaults(path: str) -> Values:
    """The sections of the file of defaults, and the test image."""
    import configparser

    found: Values = {}
    if path:
        parser = configparser.ConfigParser(
            interpolation=None, inline_comment_prefixes=(";",), default_section="\0"
        )
        parser.optionxform = str
        try:
            with files.open_regular(path, _LARGEST) as file:
                parser.read_string(file.read().decode("utf-8-sig"))
        except OSError as failed:
            raise ClientError(f"--defaults {path}: {failed.strerror}") from None
        except UnicodeDecodeError:
            raise ClientError(f"--defaults {path}: is not UTF-8 text") from None
        except configparser.Error as wrong:
            raise ClientError(
                f"--defaults {path}: {one_line(str(wrong).splitlines()[0])}"
            ) from None
        found = {section: dict(parser.items(section)) for section in parser.sections()}
    found.setdefault("test vm", {}).setdefault("image", "vmprobe-test")
    return found


def _changed(text: str, section: str, key: str, old: Optional[str], new: str) -> Optional[str]:
    """The text with a key's value exchanged, or with the key where it had none (``old`` is None), or without it (``new`` is
    ''), all else to the letter as it is; None where the value is not ``old`` any more.
    """
    line, eol = _line(section, key, new), "\r\n" if "\r\n" in text else "\n"
    lines, last = re.findall(r"[^\n]*\n|[^\n]+", text), None
    for pair in _pairs(lines):
        if (pair.section, pair.key) == (section, key):
            if pair.end > pair.line or pair.value not in (old, new):
                return None
            lines[pair.line] = pair.before + new + pair.behind if new else ""
            return "".join(lines)
        last = pair.end if pair.section == section else last
    if old is not None:
        return None
    if last is None:
        return text + ("" if text.endswith("\n") else eol) + f"{eol}[{section}]{eol}{line}{eol}"
    lines[last] += ("" if lines[last].endswith("\n") else eol) + line + eol
    return "".join(lines)


class _Pair(NamedTuple):
    """A key of a site file, or with '' for a key the head of a section."""

    section: str
    key: str
    value: str
    before: str  # the value
    behind: str  # the value: a comment, the end of the line
    line: int
    end: int  # the last line; beyond the first it is indented, as configparser reads it


def _pairs(lines: List[str]) -> Iterator[_Pair]:
    """The keys in these lines, in their order."""
    section, indent, pair = "", 0, None
    for number, found in enumerate(lines):
        found = found.lstrip("\ufeff") if number == 0 else found
        bare = found.strip()
        if not bare or bare[0] in ";#":
            continue
        depth = len(found) - len(found.lstrip())
        if pair and pair.key and depth > indent:
            pair = pair._replace(end=number)
            continue
        if pair:
            yield pair
        pair, indent = None, depth
        head = re.match(r"\[(.+)\]", bare)
        parts = re.match(r"(\s*([^=:]+?)\s*[=:]\s*)(.*?)((?:\s+;.*|\s*)\Z)", found, re.S)
        if head:
            section = head[1]
            pair = _Pair(section, "", "", "", "", number, number)
        elif parts:
            pair = _Pair(section, parts[2], parts[3], parts[1], parts[4], number, number)
    if pair:
        yield pair


def _put(path: str, text: str) -> None:
    """Write a site file, which the monitoring user, another one, has to be able to read; mode and owner of an old one stay,
    and a link stays one. OSError names it.
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
    except OSError as failed:
        raise OSError(failed.errno, failed.strerror, path) from None


def _check(text: str, path: str) -> None:
    """ClientError where the text is no whole site file; nothing has been written then."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)  # a umask can take even that from them
        draft = os.path.join(directory, os.path.basename(path))
        with open(draft, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        sites.load(draft)


def _memory(memory: Mapping[str, Any]) -> str:
    return json.dumps(memory, indent=1, sort_keys=True) + "\n"


def _remembered(directory: str) -> Dict[str, Any]:
    path = os.path.join(directory, _MEMORY)
    try:
        with files.open_regular(path, _LARGEST_MEMORY) as file:
            held: Mapping[str, Any] = json.load(file)
        return {source: dict(names) for source, names in held.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        raise ClientError(
            f"{path}: is damaged; without it nobody can tell what a person wrote"
        ) from None
