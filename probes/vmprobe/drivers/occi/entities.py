"""OCCI's core model (GFD.183, GFD.221): categories, and entities: resources and links."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Tuple

JSON, TEXT, HEADERS = "application/occi+json", "text/plain", "text/occi"
RENDERINGS = (JSON, TEXT, HEADERS)  # best first


class Category(NamedTuple):
    """A kind, mixin or action that an endpoint knows."""

    term: str
    scheme: str
    title: str = ""
    location: str = ""
    rel: Tuple[str, ...] = ()  # identifiers of what it derives from or depends on
    attributes: Tuple[str, ...] = ()  # names

    @property
    def id(self) -> str:
        """The full identifier."""
        return self.scheme + self.term


class Entity(NamedTuple):
    """A resource or a link. What a rendering leaves out is empty.

    An entity that has a location only was listed, and has to be asked for.
    """

    kind: str
    mixins: Tuple[str, ...] = ()
    attributes: Mapping[str, Any] = {}
    links: Tuple[Entity, ...] = ()
    id: str = ""
    location: str = ""
    title: str = ""
    source: str = ""  # of a link: the location of where it begins
    target: str = ""  # of a link: the location of where it leads
    target_kind: str = ""
