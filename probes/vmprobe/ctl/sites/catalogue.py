"""What others know about sites: GOCDB's XML, GLUE 2.0, or a table in CSV.

A catalogue that says of itself that it is only a part, or was cut off, is refused: the sites in its
missing half would count as no longer found.
"""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple

from vmprobe.core.errors import ClientError
from vmprobe.ctl.sites import glue, gocdb, table
from vmprobe.ctl.sites.entries import Content, Entry

READERS: Dict[str, Callable[[str], Content]] = {
    "gocdb": gocdb.read,
    "glue": glue.read,
    "csv": table.read,
}


class Catalogue(NamedTuple):
    """The endpoints of a catalogue."""

    entries: List[Entry]  # by name, each name once
    skipped: int  # services without a driver, or not in production
    notes: List[str] = []  # about entries of the same name, or an end that may be cut off


def read(form: str, place: str) -> Catalogue:
    """The catalogue at a place; ClientError says what is wrong with it.

    Forms and places: ``gocdb`` FILE; ``glue`` FILE or ldap://HOST:PORT/BASE; ``csv`` FILE.
    """
    try:
        content = READERS[form](place)
    except OSError as error:
        raise ClientError(f"{place}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{place}: is not UTF-8 text") from None
    entries: Dict[str, Entry] = {}
    notes = list(content.notes)
    for entry in content.entries:
        first = entries.setdefault(entry.name, entry)
        notes += _difference(first, entry)
    return Catalogue([entries[name] for name in sorted(entries)], content.skipped, notes)


def _difference(first: Entry, second: Entry) -> List[str]:
    """A note about the first value in which two entries of the same name differ."""
    for section, key in sorted(set(first.values) | set(second.values)):
        used, ignored = (entry.values.get((section, key)) or "nothing" for entry in (first, second))
        if used != ignored:
            return [
                f"{second.name}: appears twice; [{section}] {key} is {used} in the first entry, "
                f"which is used, and {ignored} in another"
            ]
    return []
