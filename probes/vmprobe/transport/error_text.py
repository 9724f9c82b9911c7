"""The server's own words for what went wrong, out of the bodies in which servers hide them."""

from __future__ import annotations

import json
import re
from typing import Any

from vmprobe.core.text import cut

LONGEST = 500
_PEEK = 64 * 1024
_KEYS = (
    "message",
    "Message",
    "faultstring",
    "detail",
    "error_description",
    "explanation",
    "description",
    "title",
    "reason",
)
_XML = re.compile(
    r"<(?:\w{1,20}:)?(?:Message|message|faultstring|explanation)\b[^<>]{0,200}>([^<]{1,2000})<"
)
_BEGINS_A_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|<\?xml[^>]{0,200}>|<!--[^>]{0,500}-->)*<(?:!doctype html|html|head|body|title|h1|center)\b",
    re.I,
)
_MARKUP = re.compile(r"<(?:!doctype|html|head|body)\b", re.I)
_PAGE = re.compile(r"<(title|h1)\b[^<>]{0,200}>([^<]{1,2000})<", re.I)


def message(body: bytes) -> str:
    """At most 500 characters of plain text, secrets redacted; '' when the body says nothing."""
    text = body[:_PEEK].decode("utf-8", "replace").strip()
    if text[:1] in ("{", "["):
        try:
            text = _said(json.loads(text)).strip()
        except (ValueError, RecursionError):
            return ""
        if not is_html_page(
            text.encode("utf-8", "replace")
        ):  # a proxy's page may stand within the manager's answer
            return cut(text, LONGEST).strip()
    text = cut(text, _PEEK)  # before the marks are looked for: a secret may have one in it
    found = _XML.search(text) or _PAGE.search(text)
    if found:
        import html  # its table of entities is large, and most runs meet no such answer

        return cut(html.unescape(found[found.lastindex]).strip(), LONGEST)
    text = _MARKUP.split(text, maxsplit=1)[0].lstrip("\ufeff")
    return "" if text.startswith("<") else cut(text, LONGEST).strip()


def is_html_page(body: bytes) -> bool:
    """Whether this is a page for people: then a web server or a proxy speaks, and not the manager behind it."""
    return bool(_BEGINS_A_PAGE.match(body[:2000]))


def _said(thing: Any, depth: int = 4) -> str:
    """The message in OpenStack's, Azure's, Google's, Placement's and others' shapes of an error."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, list):
        thing = thing[0] if thing else None
        return _said(thing, depth - 1) if depth else ""
    if not isinstance(thing, dict) or not depth:
        return ""
    for key in _KEYS:
        if isinstance(thing.get(key), str) and thing[key]:
            return thing[key]
    for value in list(thing.values())[:8]:
        if isinstance(value, (dict, list)) or len(thing) == 1:
            said = _said(value, depth - 1)
            if said:
                return said
    return thing["error"] if isinstance(thing.get("error"), str) else ""
