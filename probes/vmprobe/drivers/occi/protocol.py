"""OCCI over HTTP (GFD.185, GFD.223): the query interface, the entities and their locations."""

from __future__ import annotations

import re
from typing import Dict, List, Mapping
from urllib.parse import urlsplit

from vmprobe.core.errors import AuthRejected, CloudError, GatewayFailed, NotFound
from vmprobe.core.text import cut
from vmprobe.drivers.occi import answers, writing
from vmprobe.drivers.occi.entities import HEADERS, JSON, RENDERINGS, TEXT, Category, Entity
from vmprobe.transport.http import Http, Reply
from vmprobe.transport.json import short_text

QUERY = ("-/", ".well-known/org/ogf/occi/-/")  # where an endpoint describes itself: GFD.223, 5.3
INFRASTRUCTURE = "http://schemas.ogf.org/occi/infrastructure#"

# Also sent to servers of 1.2: they have to know it, and those of 1.1 may refuse a later version
_VERSION = "OCCI/1.1"


class Occi:
    """One endpoint, in the one rendering that it and we understand best."""

    def __init__(self, http: Http, rendering: str = ""):
        """``rendering``: one of RENDERINGS; '' leaves the choice to the endpoint."""
        self.http, self.rendering = http, rendering
        self._configured = rendering
        # By their identifiers; empty until the query interface has been read
        self.categories: Dict[str, Category] = {}
        self.server = ""  # what the server calls itself
        http.headers["User-Agent"] += f" {_VERSION}"

    # --- the query interface ----------------------------------------------------------------------

    def query(self) -> Reply:
        """Ask the query interface. The answer may be a 401, for its challenge."""
        accept = f"{JSON}, {TEXT};q=0.8, {HEADERS};q=0.5"
        for place in QUERY:
            reply = self.http.get(
                place,
                accept=(401, 404),
                headers={"Accept": self._configured or accept},
                asked="query interface",
            )
            if reply.status != 404:
                return reply
        raise reply.error(
            CloudError,
            f"no OCCI at {' or at '.join('/' + place for place in QUERY)}",
            cause="gateway",
        )

    def read_categories(self, reply: Reply) -> None:
        """Take over what the query interface answered.

        JSON of a draft is asked for again, as text.
        """
        self.server = reply.headers.get("Server", "")
        media = answers.media(reply)
        if not self._configured and media == JSON and not answers.is_standard_json(reply):
            reply = self.http.get(
                reply.url, headers={"Accept": f"{TEXT}, {HEADERS};q=0.5"}, asked="query interface"
            )
            media = answers.media(reply)
        self.rendering = self._configured or (media if media in RENDERINGS else TEXT)
        categories = reply.parse(lambda: answers.categories(reply))
        self.categories = {category.id: category for category in categories}
        if not self.categories:
            raise reply.malformed("no kind and no mixin is in the answer")

    def check_session(self) -> None:
        """AuthRejected before the query interface has been read."""
        if not self.categories:
            raise AuthRejected("no session: the query interface has not been asked")

    def templates(self, root: str) -> List[Category]:
        """The mixins of ``os_tpl`` or ``resource_tpl``."""
        return [
            category
            for category in self.categories.values()
            if INFRASTRUCTURE + root in category.rel
        ]

    # --- entities ---------------------------------------------------------------------------------

    def get(self, location: str, asked: str) -> Entity:
        """The entity at a location; ``asked`` is what error texts call the request, also below."""
        reply = self.http.get(
            self.url_of(location), headers={"Accept": self.rendering}, asked=asked
        )
        return reply.parse(lambda: answers.entity(reply, location))

    def collection(self, kind: str, asked: str) -> List[Entity]:
        """All entities of a kind: whole, with their titles, or by their locations only.

        GatewayFailed where there is no collection: that is not an empty one.
        """
        url = self.url_of(self.kind_location(kind))
        try:
            reply = self.http.get(url, headers={"Accept": self.rendering}, asked=asked)
        except NotFound as error:
            raise GatewayFailed(str(error), request=error.request) from None
        return reply.parse(lambda: answers.collection(reply))

    def links(self, kind: str) -> List[Entity]:
        """All links of a kind that have both ends.

        A link that was listed by location is asked for.
        """
        term = kind.rpartition("#")[2]
        links = []
        for link in self.collection(kind, f"list {term}s"):
            if not (link.source and link.target):
                try:
                    link = self.get(self.location(kind, self.id_of(kind, link)), f"show {term}")
                except NotFound:
                    continue
            links.append(link)
        return [link for link in links if link.source and link.target]

    def create(self, entity: Entity, asked: str) -> str:
        """Ask for an entity, and return its id."""
        headers, body = writing.entity_request(entity, self.rendering)
        reply = self._post(self.kind_location(entity.kind), headers, body, asked)
        return self.id_of(entity.kind, reply.parse(lambda: answers.created(reply)))

    def act(self, location: str, action: str, asked: str) -> None:
        """Ask for an action, such as ``...compute/action#start``, on the entity at a location."""
        headers, body = writing.action_request(action, self.rendering)
        self._post(f"{location}?action={action.rpartition('#')[2]}", headers, body, asked)

    def delete(self, location: str, asked: str) -> None:
        """Ask for the removal of the entity at a location."""
        headers = {"Accept": self._accept_with_body()}
        self.http.delete(self.url_of(location), headers=headers, asked=asked)

    def _post(self, location: str, headers: Mapping[str, str], body: bytes, asked: str) -> Reply:
        types = {"Content-Type": self.rendering, "Accept": self._accept_with_body()}
        return self.http.request(
            "POST", self.url_of(location), body=body, headers={**headers, **types}, asked=asked
        )

    def _accept_with_body(self) -> str:
        """The Accept header of a request that may be refused: only a body can hold the reason."""
        return f"{TEXT}, {HEADERS};q=0.5" if self.rendering == HEADERS else self.rendering

    # --- where they are ---------------------------------------------------------------------------

    def url_of(self, location: str) -> str:
        """The URL of a location: always at this endpoint, whatever host the location names."""
        own = urlsplit(self.http.url)
        try:
            parts = urlsplit(location)
        except ValueError:
            raise GatewayFailed(f"{cut(location, 120)!r} is no location") from None
        if (
            {".", ".."} & set(parts.path.split("/"))
            or not re.fullmatch(r"[!-~]{1,1000}", location)
            or not re.fullmatch(r"(action=[\w-]+)?", parts.query)
        ):
            raise GatewayFailed(f"{cut(location, 120)!r} is no location")
        query = f"?{parts.query}" if parts.query else ""
        return f"{own.scheme}://{own.netloc}/{parts.path.lstrip('/')}{query}"

    def kind_location(self, kind: str) -> str:
        """A kind's location, as the server writes it: links' ends have to be sent like that."""
        self.check_session()
        category = self.categories.get(kind)
        if not category or not category.location:
            # Not NotFound: it does not say that an entity is gone
            raise CloudError(f"the endpoint has no kind {kind}", cause="gateway")
        location = category.location
        location = location if location.endswith("/") else location + "/"
        return location if "://" in location else self.url_of(location)

    def location(self, kind: str, identity: str) -> str:
        """The location of an entity by its id. An id that is a path is its own location."""
        root = self.kind_location(kind)
        if not identity.startswith("/"):
            return root + identity
        parts = urlsplit(root)
        return f"{parts.scheme}://{parts.netloc}{identity}"

    def id_of(self, kind: str, entity: Entity) -> str:
        """The id of an entity, by its location; without one, the id in its rendering."""
        if entity.location:
            return self.id_at(kind, entity.location)
        identity = entity.id.rstrip("/").rpartition("/")[2].rpartition(":")[2]
        return short_text({"id": identity}, "id")

    def id_at(self, kind: str, location: str) -> str:
        """The part of a location below its kind's, else its whole path, whatever host it names."""
        root, path = urlsplit(self.kind_location(kind)).path, urlsplit(self.url_of(location)).path
        below = path[len(root) :] if path.startswith(root) and path != root else path
        return short_text({"id": below}, "id")
