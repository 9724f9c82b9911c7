"""Read the lists of OpenStack's services: whole, or Incomplete is raised.

Nova, Cinder, Neutron and Glance page alike, by ``limit`` and ``marker``. A list is never held as it
came: each record is read when it arrives, and what is not wanted goes away with its page.
"""

from __future__ import annotations

from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
    TypeVar,
)
from urllib.parse import parse_qsl, urlencode

from vmprobe.core.errors import GatewayFailed, Incomplete, TooLarge
from vmprobe.transport.http import Http, Reply

T = TypeVar("T")
Record = Dict[str, Any]
Query = List[Tuple[str, str]]

_PAGE = 200  # records in a page; a thousand servers with long records do not fit into one answer
_SMALLEST_PAGE = 3  # records; the user data of one server can have 64 KiB
_MAX_PAGES = 1000
_MAX_RECORDS = 100_000
_MAX_BYTES = 2**30  # of all pages together
_ATTEMPTS = 3  # how often a list that changes while it is read is begun


def read(
    service: Http,
    where: str,
    key: str,
    query: Mapping[str, Any],
    keep: Callable[[Record], Optional[T]],
) -> List[T]:
    """What ``keep`` makes of each record in the list, except None.

    ``where`` is the list's path, ``key`` the key of its records in an answer. Incomplete, with what
    was read so far, when a page repeats an earlier one, when the next page cannot be had, or when
    there are too many pages.
    """
    kept: List[T] = []
    for _ in range(_ATTEMPTS):
        pages = _Pages(service, where, key, query)
        kept = []
        for records in pages:
            try:
                results = [keep(record) for record in records]
            except GatewayFailed as failed:
                raise GatewayFailed(f"list {key}: {failed}") from None
            kept += [result for result in results if result is not None]
        if not pages.problem:
            return kept
        if not pages.has_changed:
            break
    raise Incomplete(f"list {key}: {pages.problem}", kept, pages.request)


class _Pages:
    """The pages of a list, each as the records that no earlier page had.

    Afterwards ``problem`` says why the list is not whole, and ``has_changed`` whether beginning it
    anew may help. ``request`` is the service's id of the last request.
    """

    def __init__(self, service: Http, where: str, key: str, query: Mapping[str, Any]):
        self._service, self._where, self._key = service, where, key
        self._query: Query = [
            (name, str(value))
            for name, values in query.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        self._size = _PAGE
        self._seen: Set[str] = set()  # ids
        self.problem, self.has_changed, self.request = "", False, ""

    def __iter__(self) -> Iterator[List[Record]]:
        query, size = self._query, 0
        asked = {tuple(query)}
        for number in range(_MAX_PAGES):
            reply = self._ask(query, accept=(400, 404) if number else ())
            self.request, size = reply.request_id, size + len(reply.body)
            if reply.status in (400, 404):  # the page's marker was removed in the meantime
                self.problem = f"its next page cannot be had: {reply.status} {reply.message}"
                self.has_changed = True
                return
            records = self._new_records(reply)
            link = _next_link(reply, self._key)
            reply.forget()
            yield records
            if link is None:
                return
            query = self._next_query(link)
            if tuple(query) in asked or number and not records:
                self.problem = "its pages repeat themselves"
                return
            if size > _MAX_BYTES or len(self._seen) > _MAX_RECORDS:
                break
            asked.add(tuple(query))
        self.problem = "there is no end of it"

    def _ask(self, query: Query, accept: Collection[int]) -> Reply:
        """One page; if it is too large to be read, a smaller one."""
        while True:
            text = urlencode([*query, ("limit", str(self._size))])
            try:
                reply = self._service.get(
                    self._where, query=text, accept=accept, asked=f"list {self._key}"
                )
                if reply.status < 400:
                    reply.items(self._key)  # TooLarge if it cannot be parsed
                return reply
            except TooLarge:
                if self._size <= _SMALLEST_PAGE:
                    raise
                self._size = max(_SMALLEST_PAGE, self._size // 4)

    def _new_records(self, reply: Reply) -> List[Record]:
        """The records that no earlier page had: they may move to the next page meanwhile."""
        records = [
            record
            for record in reply.items(self._key)
            if record.get("id") is None or str(record.get("id")) not in self._seen
        ]
        self._seen.update(str(record.get("id")) for record in records)
        return records

    def _next_query(self, link: str) -> Query:
        """The query of the next page: the link's, completed by ours.

        Only the link's query is used. Its host is the service's own view of itself, which behind a
        proxy leads nowhere.
        """
        text = link.partition("#")[0].partition("?")[2]
        pairs = [pair for pair in parse_qsl(text, keep_blank_values=True) if pair[0] != "limit"]
        names = {name for name, _ in pairs}
        return [pair for pair in self._query if pair[0] not in names] + pairs


def _next_link(reply: Reply, key: str) -> Optional[str]:
    """The link to the next page; None on the last page."""
    if key == "images":  # Glance's form
        return reply.field("next", str, default="") or None
    links = reply.items(f"{key}_links", default=[])
    return next((str(link.get("href") or "") for link in links if link.get("rel") == "next"), None)
