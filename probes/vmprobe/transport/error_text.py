"""Find the message of an error: in the bodies where servers hide it, and in system errors."""

from __future__ import annotations

import json
import re

from vmprobe.core.text import cut

LONGEST = 500  # characters of a message
_READ = 64 * 1024  # bytes of a body that are looked at
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
_HTML_BEGIN = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|<\?xml[^>]{0,200}>|<!--[^>]{0,500}-->)*"
    rb"<(?:!doctype html|html|head|body|title|h1|center)\b",
    re.I,
)
_HTML_MARKUP = re.compile(r"<(?:!doctype|html|head|body)\b", re.I)
_HTML_TITLE = re.compile(r"<(?:title|h1)\b[^<>]{0,200}>([^<]{1,2000})<", re.I)


def message(body: bytes) -> str:
    """The server's message in the body of an error: at most 500 characters, secrets redacted; ''
    where there is none.

    Reads JSON in the shapes of the managers that we know, XML, HTML and plain text.
    """
    text = body[:_READ].decode("utf-8", "replace").strip()
    if text[:1] in ("{", "["):
        try:
            text = _in_json(json.loads(text)).strip()
        except (ValueError, RecursionError):
            return ""
        # The message may itself be the page of a proxy, and is then read as one
        if not is_html_page(text.encode("utf-8", "replace")):
            return cut(text, LONGEST).strip()
    text = cut(text, _READ)  # redact before looking for markup: a secret may have some in it
    element = _XML.search(text) or _HTML_TITLE.search(text)
    if element:
        import html  # its table of entities is large, and most runs never need it

        return cut(html.unescape(element[1]).strip(), LONGEST)
    text = _HTML_MARKUP.split(text, maxsplit=1)[0].lstrip("\ufeff")
    return "" if text.startswith("<") else cut(text, LONGEST).strip()


def is_html_page(body: bytes) -> bool:
    """Whether this is a page for people: a web server or a proxy sent it, not the manager."""
    return bool(_HTML_BEGIN.match(body[:2000]))


def of_system(error: OSError) -> str:
    """The system's message for an error, in lower case and without its number."""
    return cut(error.strerror or str(error) or type(error).__name__, 200).lower()


def _in_json(value: object, depth: int = 4) -> str:
    """The message in the shapes in which OpenStack, Azure, Google and others report an error."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _in_json(value[0], depth - 1) if value and depth else ""
    if not isinstance(value, dict) or not depth:
        return ""
    for key in _KEYS:
        if isinstance(value.get(key), str) and value[key]:
            return str(value[key])
    for member in list(value.values())[:8]:
        if isinstance(member, (dict, list)) or len(value) == 1:
            text = _in_json(member, depth - 1)
            if text:
                return text
    error = value.get("error")
    return error if isinstance(error, str) else ""
