"""Read what an OCCI endpoint answers, in whichever rendering: GFD.226 (JSON), GFD.229 (text).

Each function reads a Reply and raises GatewayFailed for what it cannot be.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

from vmprobe.core.errors import GatewayFailed
from vmprobe.drivers.occi.entities import HEADERS, JSON, TEXT, Category, Entity
from vmprobe.drivers.occi.text import Element, elements
from vmprobe.transport.http import Reply
from vmprobe.transport.json import field, short_text

_URI_LIST = "text/uri-list"
_MAX_NESTED = 8  # attributes within attributes


def media(reply: Reply) -> str:
    """The rendering of an answer; '' for a type that is not OCCI's."""
    content_type = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type.endswith("json") or not content_type and reply.body[:1] in (b"{", b"["):
        return JSON
    if not content_type:
        return TEXT
    return content_type if content_type in (TEXT, HEADERS, _URI_LIST) else ""


def is_standard_json(reply: Reply) -> bool:
    """Whether a query interface answers JSON as in GFD.226, and not as in one of its drafts."""
    document = reply.json()
    return isinstance(document, dict) and any(
        isinstance(document.get(key), list) for key in ("kinds", "mixins", "actions")
    )


def categories(reply: Reply) -> List[Category]:
    """What a query interface says that the endpoint has."""
    if media(reply) != JSON:
        return [
            _text_category(element)
            for name, element in elements(reply, media(reply))
            if name == "category"
        ]
    if not is_standard_json(reply):
        raise GatewayFailed("its JSON is not as GFD.226 has it; 'rendering' can be text/plain")
    document = reply.json()
    return [
        _json_category(category)
        for key in ("kinds", "mixins", "actions")
        for category in field(document, key, list, default=[])
        if isinstance(category, dict)
    ]


def entity(reply: Reply, location: str) -> Entity:
    """The one entity in an answer."""
    if media(reply) == JSON:
        entities = collection(reply)
        if len(entities) != 1 or not entities[0].kind:
            raise GatewayFailed("the answer renders no entity")
        return entities[0]._replace(location=location)
    by_name: Dict[str, List[Element]] = {
        "category": [],
        "x-occi-attribute": [],
        "link": [],
        "x-occi-location": [],
    }
    for name, element in elements(reply, media(reply)):
        by_name[name].append(element)
    known = [_text_category(element) for element in by_name["category"]]
    if not known:
        raise GatewayFailed("the answer renders no entity: it has no Category")
    kinds = [
        category.id
        for category, element in zip(known, by_name["category"])
        if element.get("class") in ("kind", "")
    ]
    kind = kinds[0] if kinds else known[0].id
    attributes = {
        name: value
        for element in by_name["x-occi-attribute"]
        for name, value in element.values.items()
    }
    return Entity(
        kind,
        tuple(category.id for category in known if category.id != kind),
        attributes,
        tuple(link for link in map(_text_link, by_name["link"]) if link),
        _text(attributes.get("occi.core.id")),
        location,
        _text(attributes.get("occi.core.title")),
        _text(attributes.get("occi.core.source")),
        _text(attributes.get("occi.core.target")),
    )


def collection(reply: Reply) -> List[Entity]:
    """The entities of a collection, whole or by their locations only, as the server lists them."""
    if media(reply) == JSON:
        return _json_collection(reply)
    if media(reply) == _URI_LIST:
        lines = [line.strip() for line in reply.text.splitlines()]
        return [Entity("", location=line) for line in lines if line and not line.startswith("#")]
    return [
        Entity("", location=element.head)
        for name, element in elements(reply, media(reply))
        if name == "x-occi-location"
    ]


def created(reply: Reply) -> Entity:
    """Where a new entity is: in the body, in X-OCCI-Location, or in Location alone."""
    if reply.body.strip() and media(reply) == JSON:
        entities = collection(reply)
        if len(entities) == 1 and (entities[0].location or entities[0].id):
            return entities[0]
    else:
        for name, element in elements(reply, media(reply), strict=False):
            if name == "x-occi-location":
                return Entity("", location=element.head)
    location = reply.headers.get("X-OCCI-Location", "") or reply.headers.get("Location", "")
    if not location:
        raise GatewayFailed("it was accepted, and where it is, is not in the answer")
    return Entity("", location=location.split(",")[0].strip())


# --- JSON: GFD.226 ------------------------------------------------------------------------------


def _json_category(category: Dict[str, Any]) -> Category:
    return Category(
        short_text(category, "term"),
        short_text(category, "scheme"),
        _text(category.get("title")),
        _text(category.get("location")),
        tuple(
            identifier
            for key in ("depends", "parent", "rel", "related")
            for identifier in _texts(category.get(key))
        ),
        tuple(field(category, "attributes", dict, default={})),
    )


def _json_collection(reply: Reply) -> List[Entity]:
    document = reply.json() if reply.body.strip() else []
    if isinstance(document, dict) and "kind" not in document:
        parts = [document[key] for key in ("resources", "links") if key in document]
        if not parts and document:
            raise GatewayFailed("the answer is no collection")
        if not all(isinstance(part, list) for part in parts):
            raise GatewayFailed("a collection in the answer is no list")
        document = [item for part in parts for item in part]
    elif isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise GatewayFailed("the answer is no collection")
    return [
        Entity("", location=item) if isinstance(item, str) else _json_entity(item)
        for item in document
    ]


def _json_entity(document: Any, has_links: bool = True) -> Entity:
    """GFD.226, 5.2 and 5.3.

    Attributes may be nested by the parts of their names, as in its drafts.
    """
    if not isinstance(document, dict):
        raise GatewayFailed("an entity in the answer is no object")
    attributes = dict(_flat(document.get("attributes"), "", _MAX_NESTED))
    links = document.get("links")
    if not has_links or not isinstance(links, list):
        links = []
    return Entity(
        _text(document.get("kind")),
        tuple(_texts(document.get("mixins"))),
        attributes,
        tuple(
            _json_entity(link, has_links=False)
            for link in links
            if isinstance(link, dict) and "target" in link
        ),
        _text(document.get("id")) or _text(attributes.get("occi.core.id")),
        _text(document.get("location")),
        _text(document.get("title")) or _text(attributes.get("occi.core.title")),
        _end(document.get("source")) or _text(attributes.get("occi.core.source")),
        _end(document.get("target")) or _text(attributes.get("occi.core.target")),
    )


def _flat(value: Any, name: str, depth: int) -> Iterator[Tuple[str, Any]]:
    """(dotted name, value) of all texts and numbers in nested attributes."""
    if isinstance(value, dict) and depth:
        for key, member in value.items():
            yield from _flat(member, f"{name}.{key}" if name else key, depth - 1)
    elif isinstance(value, (str, int, float)) and name:
        yield name, value


def _end(value: Any) -> str:
    """The location of a link's end, which is an object or a text."""
    return _text(value.get("location") if isinstance(value, dict) else value)


def _text(value: Any) -> str:
    return value[:1000] if isinstance(value, str) else ""


def _texts(value: Any) -> List[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


# --- text: GFD.229 ------------------------------------------------------------------------------


def _text_category(element: Element) -> Category:
    if not element.head or not element.get("scheme"):
        missing = "scheme" if element.head else "term"
        raise GatewayFailed(f"a category in the answer has no {missing}")
    return Category(
        element.head,
        element.get("scheme"),
        element.get("title"),
        element.get("location"),
        tuple(element.get("rel").split()),
        tuple(name.partition("{")[0] for name in element.get("attributes").split()),
    )


def _text_link(element: Element) -> Optional[Entity]:
    """A link within an entity; None for an action.

    The brackets hold the link's target, or in some servers the link's own location.
    """
    kind, *mixins = element.get("category").split() or [""]
    if not kind:
        return None
    attributes = {name: value for name, value in element.values.items() if "." in name}
    identity, source, target = (
        _text(attributes.get(f"occi.core.{name}")) for name in ("id", "source", "target")
    )
    return Entity(
        kind,
        tuple(mixins),
        attributes,
        (),
        identity,
        element.get("self"),
        "",
        source,
        target or element.head,
        element.get("rel"),
    )
