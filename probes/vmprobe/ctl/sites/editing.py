"""Make a new site file, and change single values of one, leaving everything else as it is."""

from __future__ import annotations

import re
from typing import Iterator, List, NamedTuple, Optional

from vmprobe.core.errors import ClientError
from vmprobe.core.ini import Sections
from vmprobe.core.text import one_line
from vmprobe.ctl.sites.entries import Entry

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"  # in a regular expression's brackets


def new_file(entry: Entry, form: str, defaults: Sections) -> str:
    """The text of a new site file: the catalogue's values, completed by the defaults."""
    sections: Sections = {"site": {}, "endpoint": {}, "test vm": {}}
    for section, values in defaults.items():
        sections.setdefault(section, {}).update(values)
    for (section, key), text in entry.values.items():
        if text:
            sections.setdefault(section, {})[key] = text
    lines = [f"; From {form}. What a person changes here stays as it is."]
    for section, values in sections.items():
        if values:
            lines += [f"[{section}]", *(_line(section, *pair) for pair in values.items()), ""]
    return "\n".join(lines)


def _line(section: str, key: str, text: str) -> str:
    """``key = text``; ClientError unless both are read back exactly as they are."""
    if not re.fullmatch(r"[^\s\[\];#=:%s](?:[^\]=:%s]*[^\s\]=:%s])?" % (3 * (_CONTROL,)), key):
        raise ClientError(f"[{section}] '{one_line(key, 60)}' cannot be a key in a site file")
    if re.search(r"[%s]|(^|\s);" % _CONTROL, text):
        raise ClientError(f"[{section}] {key}: {one_line(ascii(text))} cannot stand in a site file")
    return f"{key} = {text}"


def replace_value(text: str, section: str, key: str, old: Optional[str], new: str) -> Optional[str]:
    """The text with a key's value replaced, and not a character more.

    With ``old`` None the key is added; with ``new`` '' it is removed. None if the value in the text
    is no longer ``old``.
    """
    line, line_end = _line(section, key, new), "\r\n" if "\r\n" in text else "\n"
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    last_of_section = None
    for pair in _pairs(lines):
        if (pair.section, pair.key) == (section, key):
            if pair.last > pair.first or pair.value not in (old, new):
                return None
            lines[pair.first] = pair.before + new + pair.after if new else ""
            return "".join(lines)
        if pair.section == section:
            last_of_section = pair.last
    if old is not None:
        return None
    if last_of_section is None:
        separator = "" if text.endswith("\n") else line_end
        return f"{text}{separator}{line_end}[{section}]{line_end}{line}{line_end}"
    separator = "" if lines[last_of_section].endswith("\n") else line_end
    lines[last_of_section] += separator + line + line_end
    return "".join(lines)


class _Pair(NamedTuple):
    """A key with its value, or, with the key '', the head of a section."""

    section: str
    key: str
    value: str
    before: str  # the text before the value
    after: str  # the text after the value: a comment, the line end
    first: int  # line
    last: int  # line; the lines after the first are indented: configparser adds them to the value


def _pairs(lines: List[str]) -> Iterator[_Pair]:
    """The keys and section heads in these lines, in their order."""
    section, indent = "", 0
    pair: Optional[_Pair] = None
    for number, line in enumerate(lines):
        line = line.lstrip("\ufeff") if number == 0 else line
        bare = line.strip()
        if not bare or bare[0] in ";#":
            continue
        depth = len(line) - len(line.lstrip())
        if pair and pair.key and depth > indent:
            pair = pair._replace(last=number)
            continue
        if pair:
            yield pair
        pair, indent = None, depth
        head = re.match(r"\[(.+)\]", bare)
        parts = re.match(r"(\s*([^=:]+?)\s*[=:]\s*)(.*?)((?:\s+;.*|\s*)\Z)", line, re.S)
        if head:
            section = head[1]
            pair = _Pair(section, "", "", "", "", number, number)
        elif parts:
            pair = _Pair(section, parts[2], parts[3], parts[1], parts[4], number, number)
    if pair:
        yield pair
