"""What others know about sites: GOCDB's XML, GLUE 2.0 from a dump or a server, a CSV; each as plain entries.

A catalogue that says of itself that it is a part of one, or was cut off, is refused: its other half would count as gone.
Sources: GOCDB's programmatic interface, method get_service; OGF GFD.147 (GLUE 2.0) and its LDAP rendering; RFC 2849 (LDIF).
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
import shutil
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import urlsplit

from vmprobe.core import urls
from vmprobe.core.errors import ClientError, GatewayFailed
from vmprobe.core.text import one_line
from vmprobe.drivers import DRIVERS
from vmprobe.host import programs

_HEAD = 200  # letters of a dump in which ldapsearch says what it is
_LARGEST = 2**28  # bytes of a catalogue
_MAX_ELEMENTS = 10_000_000  # of a catalogue in XML
_PATIENCE = 120.0  # seconds for a server's answer

MANAGERS = {  # service type at GOCDB, interface name in GLUE 2.0: our word for the manager
    "org.openstack.nova": "openstack",
    "org.openstack.keystone": "openstack",
    "OpenStack": "openstack",
    "eu.egi.cloud.vm-management.openstack": "openstack",
    "eu.egi.cloud.vm-management.occi": "occi",
    "OCCI": "occi",
    "org.opennebula": "opennebula",
    "OpenNebula": "opennebula",
}


class Entry(NamedTuple):
    """An endpoint as a catalogue has it: what a site file says of it, by section and key; '' where the catalogue could say
    something, and says nothing.
    """

    name: str
    values: Mapping[Tuple[str, str], str]


class Catalogue(NamedTuple):
    entries: List[Entry]  # by name, each name once
    passed_over: int  # of services that no driver is for, or that are not in production
    doubles: List[
        str
    ] = []  # a line for each entry that has the name of another and says something else, or that may be cut off


Read = Tuple[
    List[Entry], int, List[str]
]  # entries, services that were passed over, lines that somebody has to look at


def read(form: str, place: str) -> Catalogue:
    """What is at a place: ``gocdb`` FILE, ``glue`` FILE or ldap://HOST:PORT/BASE, ``csv`` FILE. ClientError names what is wrong."""
    try:
        entries, passed_over, notes = READERS[form](place)
    except OSError as failed:
        raise ClientError(f"{place}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{place}: is not UTF-8 text") from None
    seen: Dict[str, Entry] = {}
    doubles = list(notes)
    for entry in entries:
        first = seen.setdefault(entry.name, entry).values
        for section, key in sorted(set(first) | set(entry.values)):
            taken, left = (
                values.get((section, key)) or "nothing" for values in (first, entry.values)
            )
            if taken != left:
                doubles.append(
                    f"{entry.name}: is there twice; [{section}] {key} is {taken} by the first, which is taken, and {left}"
                )
                break
    return Catalogue([seen[name] for name in sorted(seen)], passed_over, doubles)


def _bytes(place: str) -> bytes:
    """All that is in a file, or comes through a pipe."""
    with open(place, "rb") as file:
        body = file.read(_LARGEST + 1)
    if len(body) > _LARGEST:
        raise ClientError(f"{place}: is larger than {_LARGEST // 2**20} MiB")
    return body


def _gocdb(place: str) -> Read:
    root = _xml(place)
    if root.tag != "results":
        raise ClientError(
            f"{place}: begins with <{one_line(root.tag, 60)}>, and what GOCDB exports with <results>"
        )
    services = root.findall(".//{*}SERVICE_ENDPOINT")
    _whole_page(place, root, len(services))
    found, passed_over = [], 0
    for service in services:
        words = _texts(service)
        endpoints = [_texts(each) for each in service.iterfind("{*}ENDPOINTS/{*}ENDPOINT")]
        urls = [
            each["URL"]
            for each in endpoints
            if each.get("URL") and each.get("ENDPOINT_MONITORED", "").upper() != "N"
        ]
        urls = [words["URL"]] if words.get("URL") else urls
        manager = _manager(words.get("SERVICE_TYPE", ""))
        if (
            not manager
            or not urls
            or "N"
            in (words.get("IN_PRODUCTION", "").upper(), words.get("NODE_MONITORED", "").upper())
        ):
            passed_over += 1
            continue
        labels = {
            "country": words.get("COUNTRY_CODE", "").lower(),
            "ngi": words.get("ROC_NAME", ""),
        }
        found += [_entry(words.get("SITENAME", ""), manager, url, labels) for url in urls]
    return found, passed_over, []


def _manager(word: str) -> str:
    """Our word for what a catalogue calls a manager, in whatever letters."""
    return _MANAGERS.get(word.lower(), "")


_MANAGERS = {word.lower(): manager for word, manager in MANAGERS.items()}


def _whole_page(place: str, root: Any, services: int) -> None:
    """ClientError where GOCDB says in <meta> that there are more pages, or more services, than there are here.

    Every page that is not empty has a link to a next one, also the last: it is the last when it is not full.
    """
    meta = root.find("{*}meta")
    if meta is None:
        return
    told = _texts(meta)
    count, most = (
        int(told[word]) if re.fullmatch("[0-9]{1,9}", told.get(word, "")) else None
        for word in ("count", "max_page_size")
    )
    links = {each.get("rel", ""): each.get("href", "") for each in meta.iterfind("{*}link")}
    later = re.search(
        r"[?&](next_cursor=0*[1-9]|prev_cursor=|page=0*([2-9]|1[0-9]))", links.get("self", "")
    )
    if later or "next" in links and (count is None or most is None or count >= most):
        raise ClientError(
            f"{place}: is one page of several; have GOCDB export all services at once, without next_cursor, or narrow the request"
        )
    if count is not None and count > services:
        raise ClientError(
            f"{place}: is cut off: it says that it has {count} services, and has {services}"
        )


def _xml(place: str) -> Any:
    """The root element of a file."""
    from vmprobe.transport import xml

    try:
        return xml.parse(_bytes(place), subject=f"{place}:", max_elements=_MAX_ELEMENTS)
    except xml.DocumentType as error:
        raise ClientError(f"{error}; GOCDB's exports have none") from None
    except GatewayFailed as error:
        raise ClientError(str(error)) from None


def _texts(element: Any) -> Dict[str, str]:
    return {child.tag: (child.text or "").strip() for child in element}


def _glue(place: str) -> Read:
    text = (
        _search(place) if re.match(r"ldaps?://", place, re.I) else _bytes(place).decode("utf-8-sig")
    )
    _whole_dump(place, text)
    found, passed_over = [], 0
    record: Dict[str, List[str]] = {}
    for record in _records(place, text):
        if not _is_endpoint(record):
            continue
        manager = _manager(record.get("glue2endpointinterfacename", [""])[0])
        url = record.get("glue2endpointurl", [""])[0]
        site = re.search(r"GLUE2DomainID=([^,]+)", record["dn"][0], re.I)
        serving = record.get("glue2endpointservingstate", [""])[0].lower()
        if not manager or not url or not site or serving in ("closed", "draining"):
            passed_over += 1
            continue
        found.append(_entry(site[1].strip(), manager, url, {}))
    return found, passed_over, _open_end(place, text, record)


def _open_end(place: str, text: str, last: Mapping[str, List[str]]) -> List[str]:
    """A line to look at where the last record may go on: ldapsearch writes a blank line behind each one, or a result."""
    line = text.rstrip("\n").rpartition("\n")[2]
    if (
        re.search(r"\n\r?\n\Z|^#? ?result:", text, re.M)
        or line.startswith("#")
        or "objectclass" in last
        and not _is_endpoint(last)
    ):
        return []
    return [
        f"{place}: its last entry has no blank line behind it; look whether it is whole: {one_line(line, 80)}"
    ]


def _is_endpoint(record: Mapping[str, List[str]]) -> bool:
    return bool(
        {"glue2endpoint", "glue2computingendpoint"}
        & {word.lower() for word in record.get("objectclass", [])}
    )


def _whole_dump(place: str, text: str) -> None:
    """ClientError where ldapsearch says beside the entries that they are not all, or was cut off before it could say anything.

    It says so in lines of their own behind each page; with -L it only counts, and with -LL it says nothing.
    """
    result = re.search(r"(?m)^(?:# ?)?result: *(0*[1-9][0-9]*\b[^\r\n]*)", text)
    if result:
        raise ClientError(
            f"{place}: is a part of the catalogue: the server ended it with '{one_line(result[1], 60)}'"
        )
    if re.search(r"(?m)^# ?(search reference|refldaps?:)", text):
        raise ClientError(
            f"{place}: is a part of the catalogue: the server says that the rest is on another one (search reference)"
        )
    cookies = re.findall(r"(?m)^(?:# ?)?pagedresults:.*?cookie=(\S*)", text)
    if cookies and cookies[-1]:
        raise ClientError(
            f"{place}: is one page of several: ldapsearch stopped before the last one; use -E pr=200/noprompt"
        )
    entries = max(map(int, re.findall(r"(?m)^# numEntries: *([0-9]{1,9})", text)), default=0)
    there = len(re.findall(r"(?mi)^dn:", text))
    if not there:
        raise ClientError(f"{place}: has no entry, so that it is no catalogue")
    if entries > there:
        raise ClientError(
            f"{place}: is cut off: it says that it has {entries} entries, and has {there}"
        )
    if text and not text.endswith("\n"):
        raise ClientError(f"{place}: is cut off in the middle of its last line")
    begins = text[:_HEAD]
    ends = (
        "\nresult:"
        if begins.startswith("# extended LDIF")
        else "\n# search result"
        if "\n# LDAPv3" in begins
        else ""
    )
    if ends not in text:
        raise ClientError(
            f"{place}: is cut off: there is no result at its end, as ldapsearch writes it"
        )


def _search(place: str) -> str:
    """All endpoints of an LDAP server, in pages: servers cut a page of more than 500 entries, and some the sum of pages."""
    program = shutil.which("ldapsearch")
    if not program:
        raise ClientError(
            f"{place}: ldapsearch is not installed (Debian: ldap-utils; EL: openldap-clients)"
        )
    parts = urlsplit(place)
    base = parts.path.strip("/") or "o=glue"
    command = [
        program,
        "-x",
        "-LLL",
        "-o",
        "ldif-wrap=no",
        "-o",
        "nettimeout=10",
        "-l",
        "60",
        "-E",
        "pr=200/noprompt",
        "-H",
        f"{parts.scheme}://{parts.netloc}",
        "-b",
        base,
        "(objectClass=GLUE2Endpoint)",
    ]
    try:
        done = programs.run(command, _PATIENCE, largest=_LARGEST)
    except programs.TooSlow:
        raise ClientError(f"{place}: did not answer in {_PATIENCE:g} s") from None
    if not done.is_whole:
        raise ClientError(f"{place}: is larger than {_LARGEST // 2**20} MiB")
    if (
        done.code == 4
    ):  # sizeLimitExceeded: half a catalogue would make the other half "no longer found"
        raise ClientError(
            f"{place}: the server cuts the answer; ask below a narrower base, or let it give more (size.prtotal)"
        )
    if done.code:
        raise ClientError(
            f"{place}: {one_line(done.errors.decode('utf-8', 'replace')) or f'exit code {done.code}'}"
        )
    return done.output.decode("utf-8", "replace")


def _records(place: str, text: str) -> Iterator[Dict[str, List[str]]]:
    """The records of an LDIF text: attribute in small letters to its values."""
    record: Dict[str, List[str]] = {}
    for line in re.sub(r"\r?\n ", "", text).split("\n") + [""]:
        line = line.rstrip("\r")
        if not line:
            if "dn" in record:
                yield record
            record = {}
        elif not line.startswith("#"):
            name, mark, value = line.partition(":")
            if not mark:
                raise ClientError(f"{place}: '{one_line(line, 60)}' is no line of LDIF")
            if value.startswith(":"):
                try:
                    value = base64.b64decode(value[1:].strip(), validate=True).decode(
                        "utf-8", "replace"
                    )
                except binascii.Error:
                    raise ClientError(f"{place}: '{one_line(line, 60)}' is no base64") from None
            record.setdefault(name.lower(), []).append(value.strip())


_COLUMNS = {
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


def _csv(place: str) -> Read:
    """Columns ``name``, ``manager`` and ``url``; more of a site file's keys; what is none of them is a label.

    Between columns is a comma, a semicolon or a tab, as the first line has it.
    """
    text = _bytes(place).decode("utf-8-sig")
    first = text.partition("\n")[0]
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True
    )
    found: List[Entry] = []
    try:
        columns = _columns(place, next(rows, []))
        for row in rows:
            if any(text.strip() for text in row):
                found.append(_row(f"{place} line {rows.line_num}", columns, row))
    except csv.Error as wrong:
        raise ClientError(f"{place} line {rows.line_num}: {wrong}") from None
    cut = (
        []
        if text.endswith(("\n", "\r")) or not found
        else [
            f"{place}: its last line has no line end; look whether it is whole: {one_line(text.splitlines()[-1], 80)}"
        ]
    )
    return found, 0, cut


def _columns(place: str, words: Sequence[str]) -> List[str]:
    """The names of the columns, in small letters; each is a key of a site file, or can be one of its labels."""
    columns = [word.strip().lower() for word in words]
    missing = [word for word in ("name", "manager", "url") if word not in columns]
    if missing:
        raise ClientError(f"{place}: has no column {missing[0]}; name, manager and url are needed")
    for column in filter(None, columns):
        if (
            column != "name"
            and column not in _COLUMNS
            and not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", column)
        ):
            raise ClientError(
                f"{place}: column '{one_line(column, 40)}' is not a word of small letters, digits and '_'"
            )
        if columns.count(column) > 1:
            raise ClientError(f"{place}: column {column} is there twice")
    return columns


def _row(where: str, columns: Sequence[str], row: Sequence[str]) -> Entry:
    if len(row) != len(columns):
        raise ClientError(f"{where}: has another number of columns than the first line")
    if any(text.strip() for column, text in zip(columns, row) if not column):
        raise ClientError(f"{where}: has a value in a column without a name")
    texts = {column: text.strip() for column, text in zip(columns, row) if column}
    if not texts["name"]:
        raise ClientError(f"{where}: has no name")
    name = _name(texts.pop("name"))
    texts["url"] = _folded(texts["url"])
    manager = texts["manager"].lower()
    texts["manager"] = manager if manager in DRIVERS else texts["manager"]
    return Entry(
        name,
        {
            ("site", "name"): name,
            **{(_COLUMNS.get(column, "labels"), column): text for column, text in texts.items()},
        },
    )


def _entry(site: str, manager: str, url: str, labels: Mapping[str, str]) -> Entry:
    url = _folded(url.partition("?")[0])  # at GOCDB some have the test's image and flavor behind it
    host = urls.host(url) or "nowhere"  # a malformed URL is refused when the site file is read
    name = _name(f"{site}-{host}")
    values = {
        ("site", "name"): name,
        ("endpoint", "manager"): manager,
        ("endpoint", "url"): url,
        ("labels", "site"): _name(site),
    }
    values.update({("labels", key): text for key, text in labels.items()})
    return Entry(name, values)


def _folded(url: str) -> str:
    """A URL with scheme and host in small letters: in capitals, as many a catalogue has them, they mean the same."""
    found = re.match(r"(https?://)([^/?#]*@)?([^/?#@]*)", url, re.I)
    return (
        found[1].lower() + (found[2] or "") + found[3].lower() + url[found.end() :]
        if found
        else url
    )


def _name(text: str) -> str:
    """As a site may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63] or "unnamed"


READERS = {"gocdb": _gocdb, "glue": _glue, "csv": _csv}
