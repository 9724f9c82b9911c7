"""Read a table of sites, in CSV."""

from __future__ import annotations

import csv
import io
import re
from typing import List, Sequence

from vmprobe.core.errors import ClientError
from vmprobe.core.text import one_line
from vmprobe.ctl.sites.entries import Content, Entry, read_file, site_name, with_lower_case_host
from vmprobe.drivers import DRIVERS

_REQUIRED = ("name", "manager", "url")
_SECTIONS = {  # column: section of the site file; a column that is not here is a label
    "manager": "endpoint",
    "url": "endpoint",
    "region": "endpoint",
    "project": "endpoint",
    "credentials": "endpoint",
    "image": "test vm",
    "flavor": "test vm",
    "network": "test vm",
    "contact": "site",
    "notes": "site",
}


def read(place: str) -> Content:
    """One entry per row. Columns are separated by commas, semicolons or tabs, as in the first line.

    There are the columns ``name``, ``manager`` and ``url``, more keys of a site file, and labels.
    """
    text = read_file(place).decode("utf-8-sig")
    first = text.partition("\n")[0]
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True
    )
    entries: List[Entry] = []
    try:
        columns = _columns(place, next(rows, []))
        for row in rows:
            if any(cell.strip() for cell in row):
                entries.append(_entry(f"{place} line {rows.line_num}", columns, row))
    except csv.Error as error:
        raise ClientError(f"{place} line {rows.line_num}: {error}") from None
    notes = []
    if entries and not text.endswith(("\n", "\r")):
        last = one_line(text.splitlines()[-1], 80)
        notes = [f"{place}: its last line has no line end; check that it is complete: {last}"]
    return Content(entries, 0, notes)


def _columns(place: str, cells: Sequence[str]) -> List[str]:
    """The names of the columns, in lower case: keys of a site file, or labels."""
    columns = [cell.strip().lower() for cell in cells]
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise ClientError(f"{place}: has no column {missing[0]}; name, manager and url are needed")
    for column in filter(None, columns):
        is_key = column == "name" or column in _SECTIONS
        if not is_key and not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", column):
            raise ClientError(
                f"{place}: column '{one_line(column, 40)}' is not a word of lower-case letters, "
                "digits and '_'"
            )
        if columns.count(column) > 1:
            raise ClientError(f"{place}: column {column} appears twice")
    return columns


def _entry(where: str, columns: Sequence[str], row: Sequence[str]) -> Entry:
    if len(row) != len(columns):
        raise ClientError(f"{where}: has {len(row)} columns, the first line has {len(columns)}")
    if any(cell.strip() for column, cell in zip(columns, row) if not column):
        raise ClientError(f"{where}: has a value in a column without a name")
    texts = {column: cell.strip() for column, cell in zip(columns, row) if column}
    if not texts["name"]:
        raise ClientError(f"{where}: has no name")
    name = site_name(texts.pop("name"))
    texts["url"] = with_lower_case_host(texts["url"])
    if texts["manager"].lower() in DRIVERS:
        texts["manager"] = texts["manager"].lower()
    values = {(_SECTIONS.get(column, "labels"), column): text for column, text in texts.items()}
    return Entry(name, {("site", "name"): name, **values})
