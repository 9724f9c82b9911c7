"""Read endpoints in GLUE 2.0, from a dump in LDIF or from an LDAP server.

Sources: OGF GFD.147 (GLUE 2.0) and its LDAP rendering; RFC 2849 (LDIF); ldapsearch(1).
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
from typing import Dict, Iterator, List, Mapping
from urllib.parse import urlsplit

from vmprobe.core.errors import ClientError
from vmprobe.core.text import one_line
from vmprobe.ctl.sites.entries import (
    LARGEST,
    Content,
    Entry,
    endpoint_entry,
    manager,
    read_file,
)
from vmprobe.host import programs

_HEAD = 200  # characters at the start of a dump in which ldapsearch says which format it writes
_TIMEOUT = 120.0  # seconds for a server's answer
_SIZE_LIMIT_EXCEEDED = 4  # LDAP's result code
_Record = Dict[str, List[str]]  # attribute in lower case: its values


def read(place: str) -> Content:
    """The endpoints that a driver is for, and that are neither closed nor draining."""
    if re.match(r"ldaps?://", place, re.I):
        text = _search(place)
    else:
        text = read_file(place).decode("utf-8-sig")
    _check_complete(place, text)
    entries: List[Entry] = []
    skipped = 0
    record: _Record = {}
    for record in _records(place, text):
        if not _is_endpoint(record):
            continue
        driver = manager(record.get("glue2endpointinterfacename", [""])[0])
        url = record.get("glue2endpointurl", [""])[0]
        site = re.search(r"GLUE2DomainID=([^,]+)", record["dn"][0], re.I)
        serving_state = record.get("glue2endpointservingstate", [""])[0].lower()
        if not driver or not url or not site or serving_state in ("closed", "draining"):
            skipped += 1
            continue
        entries.append(endpoint_entry(site[1].strip(), driver, url, {}))
    return Content(entries, skipped, _note_about_the_end(place, text, record))


def _is_endpoint(record: Mapping[str, List[str]]) -> bool:
    classes = {word.lower() for word in record.get("objectclass", [])}
    return bool({"glue2endpoint", "glue2computingendpoint"} & classes)


def _check_complete(place: str, text: str) -> None:
    """ClientError if a dump says that it is only a part, or was cut off before it could say so.

    ldapsearch says it in lines of its own after each page. With -L it only counts the entries,
    with -LL it says nothing.
    """
    result = re.search(r"(?m)^(?:# ?)?result: *(0*[1-9][0-9]*\b[^\r\n]*)", text)
    if result:
        raise ClientError(
            f"{place}: is part of a catalogue: the server ended it with '{one_line(result[1], 60)}'"
        )
    if re.search(r"(?m)^# ?(search reference|refldaps?:)", text):
        raise ClientError(
            f"{place}: is part of a catalogue: the server says that the rest is on another server "
            "(search reference)"
        )
    cookies = re.findall(r"(?m)^(?:# ?)?pagedresults:.*?cookie=(\S*)", text)
    if cookies and cookies[-1]:
        raise ClientError(
            f"{place}: is one page of several: ldapsearch stopped before the last one; "
            "use -E pr=200/noprompt"
        )
    claimed = max(map(int, re.findall(r"(?m)^# numEntries: *([0-9]{1,9})", text)), default=0)
    count = len(re.findall(r"(?mi)^dn:", text))
    if not count:
        raise ClientError(f"{place}: has no entry, so it is not a catalogue")
    if claimed > count:
        raise ClientError(
            f"{place}: is cut off: it claims to have {claimed} entries, but has {count}"
        )
    if text and not text.endswith("\n"):
        raise ClientError(f"{place}: is cut off in the middle of its last line")
    if _end_mark(text[:_HEAD]) not in text:
        raise ClientError(
            f"{place}: is cut off: the result that ldapsearch writes at the end is missing"
        )


def _end_mark(head: str) -> str:
    """What ldapsearch writes at the end of a dump that begins like this; '' if nothing."""
    if head.startswith("# extended LDIF"):
        return "\nresult:"
    return "\n# search result" if "\n# LDAPv3" in head else ""


def _note_about_the_end(place: str, text: str, last: Mapping[str, List[str]]) -> List[str]:
    """A note where the last entry may be cut off.

    ldapsearch writes a blank line after each entry, or a result.
    """
    line = text.rstrip("\n").rpartition("\n")[2]
    is_whole = (
        re.search(r"\n\r?\n\Z|^#? ?result:", text, re.M)
        or line.startswith("#")
        or "objectclass" in last
        and not _is_endpoint(last)
    )
    if is_whole:
        return []
    return [
        f"{place}: there is no blank line after its last entry; check that it is complete: "
        f"{one_line(line, 80)}"
    ]


def _records(place: str, text: str) -> Iterator[_Record]:
    """The records of an LDIF text."""
    record: _Record = {}
    for line in re.sub(r"\r?\n ", "", text).split("\n") + [""]:
        line = line.rstrip("\r")
        if not line:
            if "dn" in record:
                yield record
            record = {}
        elif not line.startswith("#"):
            name, colon, value = line.partition(":")
            if not colon:
                raise ClientError(f"{place}: '{one_line(line, 60)}' is not a line of LDIF")
            if value.startswith(":"):
                try:
                    value = base64.b64decode(value[1:].strip(), validate=True).decode(
                        "utf-8", "replace"
                    )
                except binascii.Error:
                    raise ClientError(f"{place}: '{one_line(line, 60)}' is not base64") from None
            record.setdefault(name.lower(), []).append(value.strip())


def _search(place: str) -> str:
    """All endpoints of an LDAP server, as LDIF.

    Asked for in pages: servers limit a page to 500 entries, and some also the sum of all pages.
    """
    program = shutil.which("ldapsearch")
    if not program:
        raise ClientError(
            f"{place}: ldapsearch is not installed (Debian: ldap-utils; EL: openldap-clients)"
        )
    parts = urlsplit(place)
    base = parts.path.strip("/") or "o=glue"
    command = [program, "-x", "-LLL", "-o", "ldif-wrap=no", "-o", "nettimeout=10", "-l", "60"]
    command += ["-E", "pr=200/noprompt", "-H", f"{parts.scheme}://{parts.netloc}", "-b", base]
    command += ["(objectClass=GLUE2Endpoint)"]
    try:
        done = programs.run(command, _TIMEOUT, largest=LARGEST)
    except programs.TooSlow:
        raise ClientError(f"{place}: did not answer within {_TIMEOUT:g} s") from None
    if not done.is_whole:
        raise ClientError(f"{place}: is larger than {LARGEST // 2**20} MiB")
    if done.code == _SIZE_LIMIT_EXCEEDED:
        # The entries of half a catalogue would make the other half "no longer found".
        raise ClientError(
            f"{place}: the server limits the size of its answer; ask below a narrower base, or "
            "raise its limit (size.prtotal)"
        )
    if done.code:
        message = one_line(done.errors.decode("utf-8", "replace"))
        raise ClientError(f"{place}: {message or f'exit code {done.code}'}")
    return done.output.decode("utf-8", "replace")
