"""OCCI over HTTP: what an endpoint says of itself, its entities, and how both are written.

GFD.185 and GFD.223 (HTTP protocol), GFD.226 (JSON rendering), GFD.229 and before it GFD.185 (text renderings, in a body as
text/plain, in headers as text/occi). What is sent is by the book; what is received may be quoted, ordered and grouped
as servers do: several categories in one header, blanks, a semicolon at the end, quotes within quotes, numbers in quotes.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from vmprobe.core.errors import ClientError, CloudError, GatewayFailed, NotFound
from vmprobe.core.text import cut
from vmprobe.transport.http import Http, Reply
from vmprobe.transport.json import field as field_of
from vmprobe.transport.json import short_text

JSON, TEXT, HEADERS = "application/occi+json", "text/plain", "text/occi"
RENDERINGS = (JSON, TEXT, HEADERS)
QUERY = ("-/", ".well-known/org/ogf/occi/-/")  # where an endpoint describes itself: GFD.223, 5.3
CORE = "http://schemas.ogf.org/occi/core#"

_VERSION = "OCCI/1.1"  # to servers of 1.2 as well: they have to know it, and those of 1.1 may refuse a later one
_HEAVIEST = 20 * 2**20  # bytes that reading a text may cost


class Category(NamedTuple):
    """A kind, mixin or action that an endpoint knows; ``rel`` is what it derives from or depends on."""

    term: str
    scheme: str
    title: str = ""
    location: str = ""
    rel: Tuple[str, ...] = ()
    attributes: Tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The full identifier."""
        return self.scheme + self.term


class Entity(NamedTuple):
    """A resource or a link. What a rendering does not say is empty; a location alone is an entity that must be asked for."""

    kind: str
    mixins: Tuple[str, ...] = ()
    attributes: Mapping[str, Any] = {}
    links: Tuple["Entity", ...] = ()
    id: str = ""
    location: str = ""
    title: str = ""
    source: str = ""
    target: str = ""
    target_kind: str = ""


class Occi:
    """One endpoint: its query interface, its entities, in the one rendering that it and we understand best."""

    def __init__(self, http: Http, rendering: str = ""):
        """``rendering``: one of RENDERINGS; '' leaves the choice to the endpoint's query interface."""
        self.http, self.rendering = http, rendering
        self._wanted = rendering
        self.categories: Dict[
            str, Category
        ] = {}  # by their full identifiers; empty until the endpoint was asked
        self.server = ""
        http.headers["User-Agent"] += f" {_VERSION}"

    # --- the query interface ----------------------------------------------------------------------------------

    def knock(self) -> Reply:
        """What the query interface answers, be it 401; the place for a challenge to be found."""
        accept = f"{JSON}, {TEXT};q=0.8, {HEADERS};q=0.5"
        for where in QUERY:
            headers = {"Accept": self._wanted or accept}
            reply = self.http.get(
                where, accept=(401, 404), headers=headers, asked="query interface"
            )
            if reply.status != 404:
                return reply
        raise reply.error(
            CloudError,
            f"no OCCI at {' or at '.join('/' + where for where in QUERY)}",
            cause="gateway",
        )

    def learn(self, reply: Reply) -> None:
        """Take what the query interface said; where its JSON is another than GFD.226's, in text it is asked again."""
        self.server = reply.headers.get("Server", "")
        media = _media(reply)
        if not self._wanted and media == JSON and not _is_ours(reply):
            reply = self.http.get(
                reply.url, headers={"Accept": f"{TEXT}, {HEADERS};q=0.5"}, asked="query interface"
            )
            media = _media(reply)
        self.rendering = self._wanted or (media if media in RENDERINGS else TEXT)
        self.categories = {found.id: found for found in reply.parse(lambda: _categories(reply))}
        if not self.categories:
            raise reply.malformed("no kind and no mixin is in the answer")

    # --- entities ---------------------------------------------------------------------------------------------

    def get(self, location: str, asked: str) -> Entity:
        """One entity by its location."""
        reply = self.http.get(self.way(location), headers={"Accept": self.rendering}, asked=asked)
        return reply.parse(lambda: _entity(reply, location))

    def collection(self, location: str, asked: str) -> List[Entity]:
        """What is below a kind's location: whole entities, their titles, or only where they are, as the server renders it.

        GatewayFailed where there is no collection: that is not an empty one.
        """
        try:
            reply = self.http.get(
                self.way(location), headers={"Accept": self.rendering}, asked=asked
            )
        except NotFound as missing:
            raise GatewayFailed(str(missing), request=missing.request) from None
        return reply.parse(lambda: _collection(reply))

    def create(self, location: str, entity: Entity, asked: str) -> Entity:
        """Ask for an entity; what is known of it afterwards is its location or its id."""
        reply = self._post(location, *rendered(entity, self.rendering), asked=asked)
        return reply.parse(lambda: _created(reply))

    def act(self, location: str, action: str, asked: str) -> None:
        """Ask for an action, such as ``...compute/action#start``, on what is at a location."""
        scheme, _, term = action.rpartition("#")
        if self.rendering == JSON:
            headers, body = {}, json.dumps({"action": action}).encode()
        else:
            headers, body = _written(
                [("Category", _category(f"{scheme}#", term, "action"))], self.rendering
            )
        self._post(f"{location}?action={term}", headers, body, asked)

    def delete(self, location: str, asked: str) -> None:
        self.http.delete(self.way(location), headers={"Accept": self._plainly()}, asked=asked)

    def way(self, location: str) -> str:
        """Where to ask for a location: always at this endpoint, whatever it calls itself from behind a proxy."""
        ours = urlsplit(self.http.url)
        try:
            parts = urlsplit(location)
        except ValueError:
            raise GatewayFailed(f"{cut(location, 120)!r} is no location") from None
        dotted = {".", ".."} & set(parts.path.split("/"))
        if (
            dotted
            or not re.fullmatch(r"[!-~]{1,1000}", location)
            or not re.fullmatch(r"(action=[\w-]+)?", parts.query)
        ):
            raise GatewayFailed(f"{cut(location, 120)!r} is no location")
        return f"{ours.scheme}://{ours.netloc}/{parts.path.lstrip('/')}" + (
            f"?{parts.query}" if parts.query else ""
        )

    def _plainly(self) -> str:
        """What may be refused is answered in a body where that can be had: headers have no room for the reason."""
        return f"{TEXT}, {HEADERS};q=0.5" if self.rendering == HEADERS else self.rendering

    def _post(self, location: str, headers: Mapping[str, str], body: bytes, asked: str) -> Reply:
        kind = {"Content-Type": self.rendering, "Accept": self._plainly()}
        return self.http.request(
            "POST", self.way(location), body=body, headers={**headers, **kind}, asked=asked
        )


# --- writing ------------------------------------------------------------------------------------------------------


def rendered(entity: Entity, rendering: str) -> Tuple[Dict[str, str], bytes]:
    """(headers, body) of a request for ``entity``; ClientError for a value that no rendering can carry."""
    attributes = {**entity.attributes}
    for name, value in (
        ("title", entity.title),
        ("source", entity.source),
        ("target", entity.target),
    ):
        if value:
            attributes[f"occi.core.{name}"] = value
    if rendering == JSON:
        return {}, json.dumps(_as_json(entity, attributes)).encode()

    lines = [("Category", _category(*_split(entity.kind), "kind"))]
    lines += [("Category", _category(*_split(mixin), "mixin")) for mixin in entity.mixins]
    lines += [("X-OCCI-Attribute", f"{name}={_value(value)}") for name, value in attributes.items()]
    # the target stands in the link twice: some servers look for it in the brackets, others among the attributes
    lines += [
        (
            "Link",
            f'<{link.target}>; rel="{link.target_kind}"; category="{link.kind}"; '
            f"occi.core.target={_value(link.target)}",
        )
        for link in entity.links
    ]
    return _written(lines, rendering)


def _as_json(entity: Entity, attributes: Mapping[str, Any]) -> Dict[str, Any]:
    """GFD.226, 5; title, source and target also among the attributes, where some servers look for them."""
    said: Dict[str, Any] = {"kind": entity.kind, "attributes": attributes}
    if entity.mixins:
        said["mixins"] = list(entity.mixins)
    if entity.title:
        said["title"] = entity.title
    if entity.links:
        said["links"] = [
            {"kind": link.kind, "target": {"location": link.target, "kind": link.target_kind}}
            for link in entity.links
        ]
    if entity.source:
        said["source"] = {"location": entity.source}
        said["target"] = {"location": entity.target, "kind": entity.target_kind}
    return said


def _written(lines: Sequence[Tuple[str, str]], rendering: str) -> Tuple[Dict[str, str], bytes]:
    """Lines of a body, or headers with all values of a name in one."""
    if rendering == TEXT:
        return {}, "".join(f"{name}: {value}\n" for name, value in lines).encode()
    headers: Dict[str, str] = {}
    for name, value in lines:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, b""


def _category(scheme: str, term: str, kind: str) -> str:
    return f'{term}; scheme="{scheme}"; class="{kind}"'


def _split(identifier: str) -> Tuple[str, str]:
    scheme, _, term = identifier.rpartition("#")
    return f"{scheme}#", term


def _value(value: Any) -> str:
    """A number bare, a text in quotes (GFD.185, 3.4)."""
    if isinstance(value, (int, float)):
        return str(value)
    if not value.isprintable() or not value.isascii():
        raise ClientError(f"{cut(value, 60)!r} cannot be written in OCCI's text rendering")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- reading ------------------------------------------------------------------------------------------------------


def _media(reply: Reply) -> str:
    """The rendering of an answer, '' for one that is none."""
    said = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if said.endswith("json") or not said and reply.body[:1] in (b"{", b"["):
        return JSON
    return said if said in (TEXT, HEADERS, "text/uri-list") else "" if said else TEXT


def _is_ours(reply: Reply) -> bool:
    """Whether this is JSON as GFD.226 has it, and not one of the drafts before it."""
    said = reply.json()
    return isinstance(said, dict) and any(
        isinstance(said.get(key), list) for key in ("kinds", "mixins", "actions")
    )


def _categories(reply: Reply) -> List[Category]:
    if _media(reply) != JSON:
        return [_read_category(found) for name, found in _elements(reply) if name == "category"]
    if not _is_ours(reply):
        raise GatewayFailed("its JSON is not as GFD.226 has it; 'rendering' can be text/plain")
    said = reply.json()
    return [
        Category(
            short_text(one, "term"),
            short_text(one, "scheme"),
            _text(one.get("title")),
            _text(one.get("location")),
            tuple(
                text
                for key in ("depends", "parent", "rel", "related")
                for text in _texts(one.get(key))
            ),
            tuple(field_of(one, "attributes", dict, default={})),
        )
        for key in ("kinds", "mixins", "actions")
        for one in field_of(said, key, list, default=[])
        if isinstance(one, dict)
    ]


def _entity(reply: Reply, location: str) -> Entity:
    """The entity that an answer renders; GatewayFailed when it renders none."""
    if _media(reply) == JSON:
        entities = _collection(reply)
        if len(entities) != 1 or not entities[0].kind:
            raise GatewayFailed("the answer renders no entity")
        return entities[0]._replace(location=location)

    found: Dict[str, List["_Element"]] = {
        "category": [],
        "x-occi-attribute": [],
        "link": [],
        "x-occi-location": [],
    }
    for name, element in _elements(reply):
        found[name].append(element)
    categories = [_read_category(element) for element in found["category"]]
    if not categories:
        raise GatewayFailed("the answer renders no entity: it has no Category")
    kinds = [
        category.id
        for category, element in zip(categories, found["category"])
        if element.get("class") in ("kind", "")
    ]
    kind = kinds[0] if kinds else categories[0].id
    attributes = {
        name: value
        for element in found["x-occi-attribute"]
        for name, value in element.values.items()
    }
    links = tuple(link for link in map(_read_link, found["link"]) if link)
    return Entity(
        kind,
        tuple(category.id for category in categories if category.id != kind),
        attributes,
        links,
        _text(attributes.get("occi.core.id")),
        location,
        _text(attributes.get("occi.core.title")),
        _text(attributes.get("occi.core.source")),
        _text(attributes.get("occi.core.target")),
    )


def _collection(reply: Reply) -> List[Entity]:
    media = _media(reply)
    if media == JSON:
        said = reply.json() if reply.body.strip() else []
        if isinstance(said, dict) and "kind" not in said:
            parts = [said[key] for key in ("resources", "links") if key in said]
            if not parts and said:
                raise GatewayFailed("the answer is no collection")
            if not all(isinstance(part, list) for part in parts):
                raise GatewayFailed("a collection in the answer is no list")
            said = [one for part in parts for one in part]
        elif isinstance(said, dict):
            said = [said]
        if not isinstance(said, list):
            raise GatewayFailed("the answer is no collection")
        return [
            Entity("", location=one) if isinstance(one, str) else _from_json(one) for one in said
        ]
    if media == "text/uri-list":
        lines = [line.strip() for line in reply.text.splitlines()]
        return [Entity("", location=line) for line in lines if line and not line.startswith("#")]
    return [
        Entity("", location=element.head)
        for name, element in _elements(reply)
        if name == "x-occi-location"
    ]


def _created(reply: Reply) -> Entity:
    """Where a new entity is: in the body, in X-OCCI-Location, or in Location alone."""
    if reply.body.strip() and _media(reply) == JSON:
        found = _collection(reply)
        if len(found) == 1 and (found[0].location or found[0].id):
            return found[0]
    else:
        for name, element in _elements(reply, strictly=False):
            if name == "x-occi-location":
                return Entity("", location=element.head)
    location = reply.headers.get("X-OCCI-Location", "") or reply.headers.get("Location", "")
    if not location:
        raise GatewayFailed("it was accepted, and where it is, is not in the answer")
    return Entity("", location=location.split(",")[0].strip())


def _from_json(said: Any, whole: bool = True) -> Entity:
    """GFD.226, 5.2 and 5.3; attributes may be nested by the words of their names, as drafts had it."""
    if not isinstance(said, dict):
        raise GatewayFailed("an entity in the answer is no object")
    attributes = dict(_flat(said.get("attributes"), "", 8))
    links = (
        said.get("links") if whole and isinstance(said.get("links"), list) else []
    )  # a link has none
    return Entity(
        _text(said.get("kind")),
        tuple(_texts(said.get("mixins"))),
        attributes,
        tuple(
            _from_json(link, False) for link in links if isinstance(link, dict) and "target" in link
        ),
        _text(said.get("id")) or _text(attributes.get("occi.core.id")),
        _text(said.get("location")),
        _text(said.get("title")) or _text(attributes.get("occi.core.title")),
        _place(said.get("source")) or _text(attributes.get("occi.core.source")),
        _place(said.get("target")) or _text(attributes.get("occi.core.target")),
    )


def _flat(said: Any, name: str, depth: int) -> Iterator[Tuple[str, Any]]:
    if isinstance(said, dict) and depth:
        for key, value in said.items():
            yield from _flat(value, f"{name}.{key}" if name else key, depth - 1)
    elif isinstance(said, (str, int, float)) and name:
        yield name, said


def _place(said: Any) -> str:
    """The location of a link's end, which is an object or a text."""
    return _text(said.get("location") if isinstance(said, dict) else said)


def _text(said: Any) -> str:
    return said[:1000] if isinstance(said, str) else ""


def _texts(said: Any) -> List[str]:
    return [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str)]


# --- reading text -------------------------------------------------------------------------------------------------

_NAMES = ("category", "link", "x-occi-attribute", "x-occi-location")
_HEAD = re.compile(r"\s*(?:<([^<>]*)>|([^;,=\"]*))\s*")
_VALUE = re.compile(r'\s*=\s*(?:"((?:\\.|[^"\\]|"(?!\s*(?:[;,]|\Z)))*)"|([^;,"]*))\s*', re.S)
_NEXT = re.compile(r"\s*(;|,|\Z)\s*")


class _Element:
    """One of what a line lists: ``head; name=value; name="value"``; an attribute has no head."""

    def __init__(self, head: str = ""):
        self.head = head
        self.values: Dict[str, Any] = {}

    def get(self, name: str) -> str:
        return _text(self.values.get(name))


def _elements(reply: Reply, strictly: bool = True) -> Iterator[Tuple[str, _Element]]:
    """Every element of every line; a line that is none of OCCI's is GatewayFailed, unless something else may stand there."""
    media = _media(reply)
    if media == HEADERS:
        lines = [(name, reply.headers.get(name, ""), name) for name in _NAMES]
    elif media == TEXT:
        weigh(reply.body)
        lines = [
            (name.strip().lower(), value, line)
            for line in reply.text.splitlines()
            for name, _, value in [line.partition(":")]
            if name.strip()
        ]
    else:
        if strictly:
            raise GatewayFailed(
                f"the answer is no OCCI, but {cut(reply.headers.get('Content-Type', ''), 60)}"
            )
        return
    for name, value, line in lines:
        if name in _NAMES:
            yield from (
                (name, element) for element in _parse(name, value) if element.head or element.values
            )
        elif strictly:
            begins = (
                cut(line, 1000).partition(":")[0].strip().lower()
            )  # in this order: a secret may have a colon in it
            raise GatewayFailed(f"the answer is no OCCI: {begins[:60]!r} begins a line")


def weigh(body: bytes) -> None:
    """GatewayFailed for a text whose parts would take too much room."""
    if 3 * len(body) + 150 * sum(map(body.count, (b";", b",", b"\n", b"="))) > _HEAVIEST:
        raise GatewayFailed(f"the text of the answer, {len(body)} bytes, is too much to be held")


def _parse(name: str, line: str) -> Iterator[_Element]:
    """The elements of a line, separated by commas, each a head and what follows it, separated by semicolons."""
    if name == "x-occi-location":
        yield from (_Element(part.strip().strip("<>")) for part in line.split(",") if part.strip())
        return
    at, element = 0, _Element()
    while at < len(line):
        head = _HEAD.match(line, at)
        at = head.end()
        key = (head[1] if head[1] is not None else head[2]).strip()
        value = _VALUE.match(line, at)
        if value:
            at = value.end()
            if key:
                quoted, bare = value.groups()
                element.values[key] = (
                    _number(bare.strip())
                    if quoted is None
                    else re.sub(r"\\(.)", r"\1", quoted, flags=re.S)
                )
        elif key and not element.head:
            element.head = key
        following = _NEXT.match(line, at)
        if not following:
            raise GatewayFailed(
                f"the answer is no OCCI: {line[max(0, at - 20) : at + 20]!r} in {name}"
            )
        at = following.end()
        if following[1] == ",":
            yield element
            element = _Element()
    yield element


def _number(text: str) -> Any:
    """An unquoted value: a number where it is one."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text


def _read_category(element: _Element) -> Category:
    if not element.head or not element.get("scheme"):
        raise GatewayFailed(
            f"a category in the answer has no {'scheme' if element.head else 'term'}"
        )
    attributes = tuple(name.partition("{")[0] for name in element.get("attributes").split())
    return Category(
        element.head,
        element.get("scheme"),
        element.get("title"),
        element.get("location"),
        tuple(element.get("rel").split()),
        attributes,
    )


def _read_link(element: _Element) -> Optional[Entity]:
    """A link within an entity. The brackets hold its target, or in some servers itself; an action's is none."""
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
