"""SOAP as vSphere speaks it: write a call, read its answer or its fault.

Source: vSphere Web Services API reference (``vim25``). Everything is in that one namespace; a field
whose type is not the declared one names its type in ``xsi:type``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, Mapping, NamedTuple, Optional, Sequence, Union

from vmprobe.core.errors import ClientError, GatewayFailed
from vmprobe.transport import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TEXT = ""  # the field of a Data that is its own text
TYPE = "xsi:type"  # the attribute that has an element's type, whatever prefix the server gives it
_ABOUT = ("privilegeId", "missingPrivileges/privilegeIds", "invalidProperty", "file", "name")
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
    "<soapenv:Body>%s</soapenv:Body></soapenv:Envelope>"
)


class Moref(NamedTuple):
    """A reference to a managed object: its type, and its id on this server."""

    type: str
    value: str


class Data(NamedTuple):
    """A data object. ``type`` is written as ``xsi:type``; '' where it is the declared type.

    The fields are in the order of the schema; None and empty sequences are left out.
    """

    fields: Mapping[str, "Value"]
    type: str = ""


Value = Union[None, bool, int, str, Moref, Data, Sequence["Value"]]


class Fault(NamedTuple):
    """What a call or a task failed with: the type of the fault, and the server's own words.

    ``about``: the privilege that is missing, or the name or file that the fault is about.
    """

    type: str
    message: str
    about: str = ""


def envelope(method: str, this: Moref, arguments: Mapping[str, Value]) -> bytes:
    """A call of ``method`` on the object ``this``."""
    parts = [f'<{method} xmlns="urn:vim25">']
    _write("_this", this, parts)
    for name, value in arguments.items():
        _write(name, value, parts)
    parts.append(f"</{method}>")
    return (_ENVELOPE % "".join(parts)).encode()


def _write(name: str, value: Value, parts: List[str]) -> None:
    if value is None:
        return
    if isinstance(value, Moref):
        parts.append(f'<{name} type="{_escaped(value.type)}">{_escaped(value.value)}</{name}>')
    elif isinstance(value, Data):
        parts.append(f'<{name} xsi:type="{value.type}">' if value.type else f"<{name}>")
        for field, content in value.fields.items():
            if field == TEXT and isinstance(content, str):
                parts.append(_escaped(content))
            else:
                _write(field, content, parts)
        parts.append(f"</{name}>")
    elif isinstance(value, bool):
        parts.append(f"<{name}>{'true' if value else 'false'}</{name}>")
    elif isinstance(value, int):
        parts.append(f"<{name}>{value}</{name}>")
    elif isinstance(value, str):
        parts.append(f"<{name}>{_escaped(value)}</{name}>")
    else:
        for item in value:
            _write(name, item, parts)


def text_value(text: str) -> Data:
    """A text where the schema declares any type: it has to say that it is one."""
    return Data({TEXT: text}, "xsd:string")


def _escaped(text: str) -> str:
    if NOT_IN_XML.search(text):
        raise ClientError(f"{text[:60]!r} has a character that cannot be sent")
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


# --- read ----------------------------------------------------------------------------------------


def parse(body: bytes) -> Element:
    """What is in the SOAP body of an answer: a response or a Fault; GatewayFailed otherwise."""
    from xml.etree.ElementTree import TreeBuilder

    root = xml.parse_into(body, TreeBuilder(), rename=_local_name)
    content = root.find("Body/*") if root.tag == "Envelope" else None
    if content is None:
        raise GatewayFailed("the answer is no SOAP")
    return content


def _local_name(name: str) -> str:
    """The name without its prefix. ``xsi:type`` keeps one: a reference has a ``type``, too."""
    prefix, _, local = name.rpartition(":")
    return TYPE if prefix and local == "type" else local


def fault(body: bytes) -> Optional[Fault]:
    """The fault in the answer to a call; None where there is none, or it is no SOAP."""
    try:
        content = parse(body)
    except GatewayFailed:
        return None
    if content.tag != "Fault":
        return None
    detail = content.find("detail/*")
    kind = "" if detail is None else type_of(detail) or detail.tag.rpartition("Fault")[0]
    return Fault(kind, xml.text(content, "faultstring", ""), _about(detail))


def localized_fault(element: Element) -> Fault:
    """A LocalizedMethodFault: a task's error, or why a property is missing."""
    inner = element.find("fault")
    kind = "" if inner is None else type_of(inner)
    return Fault(kind, xml.text(element, "localizedMessage", ""), _about(inner))


def _about(detail: Optional[Element]) -> str:
    names = () if detail is None else _ABOUT
    found = (detail.findtext(name) or "" for name in names if detail is not None)
    return next((text.strip() for text in found if text.strip()), "")


def type_of(element: Element) -> str:
    """The type that an element names, without its namespace; '' where it names none."""
    return element.get(TYPE, "").rpartition(":")[2]


def moref(element: Optional[Element]) -> Moref:
    """The reference in an element; GatewayFailed where there is none that can be used."""
    if element is None:
        raise GatewayFailed("the answer lacks a reference to an object")
    found = Moref(element.get("type", ""), (element.text or "").strip())
    if not found.type.isalnum() or not 0 < len(found.value) <= 255 or not found.value.isprintable():
        raise GatewayFailed("the answer has a reference that is none")
    return found
