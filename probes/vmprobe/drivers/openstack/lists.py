"""The lists of OpenStack's services: whole, or Incomplete. Nova, Cinder, Neutron and Glance page alike: by limit and marker.

A list is never held as it came: each thing is read as it is seen, and what is not wanted is let go with its page.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from vmprobe.core.errors import GatewayFailed, Incomplete, TooLarge
from vmprobe.transport.http import Http, Reply

T = TypeVar("T")

_PAGE = 200  # things that one answer is asked for: a thousand servers with long records are more than an answer may hold
_SMALLEST = 3  # things; the user data of one server can have 64 KiB
_MOST_PAGES = 1000
_MOST_THINGS = 100_000
_MOST_BYTES = 2**30  # of all pages together
_STARTS = 3  # a list that changes while it is read is begun anew so often


def read(
    service: Http,
    where: str,
    key: str,
    query: Mapping[str, Any],
    keep: Callable[[Dict[str, Any]], Optional[T]],
) -> List[T]:
    """What ``keep`` makes of each thing in the list, without those of which it makes None.

    Incomplete, with what was read so far, when a page repeats what came before, names no next one that can be asked
    for, or when there is no end of them.
    """
    found: List[T] = []
    for _ in range(_STARTS):
        pages = _Pages(service, where, key, query)
        found = []
        for records in pages:
            found += [thing for thing in _kept(key, records, keep) if thing is not None]
        if not pages.trouble:
            return found
        if not pages.moved:
            break
    raise Incomplete(f"list {key}: {pages.trouble}", found, pages.request)


def _kept(
    key: str, records: List[Dict[str, Any]], keep: Callable[[Dict[str, Any]], Optional[T]]
) -> List[Optional[T]]:
    try:
        return [keep(record) for record in records]
    except GatewayFailed as wrong:
        raise GatewayFailed(f"list {key}: {wrong}") from None


class _Pages:
    """The pages of a list, each as its new records. ``trouble`` says afterwards why it is not whole; ``moved``: begin anew."""

    def __init__(self, service: Http, where: str, key: str, query: Mapping[str, Any]):
        self.service, self.where, self.key = service, where, key
        self.query = [
            (name, one)
            for name, value in query.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        self.size = _PAGE
        self.trouble, self.moved, self.request = "", False, ""
        self._seen: set = set()  # ids

    def __iter__(self) -> Any:
        query = self.query
        asked, size = {tuple(query)}, 0
        for number in range(_MOST_PAGES):
            reply = self._ask(query, accept=(400, 404) if number else ())
            self.request, size = reply.request_id, size + len(reply.body)
            if reply.status in (
                400,
                404,
            ):  # the thing that this page begins after was removed meanwhile
                self.trouble, self.moved = (
                    f"its next page cannot be had: {reply.status} {reply.message}",
                    True,
                )
                return
            records = self._new(reply)
            following = _following(reply, self.key)
            reply.forget()
            yield records
            if following is None:
                return
            query = self._merged(following)
            if tuple(query) in asked or number and not records:
                self.trouble = "its pages repeat themselves"
                return
            if size > _MOST_BYTES or len(self._seen) > _MOST_THINGS:
                break
            asked.add(tuple(query))
        self.trouble = "there is no end of it"

    def _ask(self, query: List[Tuple[str, str]], accept: Tuple[int, ...]) -> Reply:
        """One page; where it is too large to be read, as much less of it as it takes."""
        while True:
            try:
                text = urlencode([*query, ("limit", str(self.size))])
                reply = self.service.get(
                    self.where, query=text, accept=accept, asked=f"list {self.key}"
                )
                if reply.status < 400:
                    reply.items(self.key)
                return reply
            except TooLarge:
                if self.size <= _SMALLEST:
                    raise
                self.size = max(_SMALLEST, self.size // 4)

    def _new(self, reply: Reply) -> List[Dict[str, Any]]:
        """The records that no page before had: things may move from one page to the next while a list is read."""
        records = [
            record
            for record in reply.items(self.key)
            if record.get("id") is None or str(record.get("id")) not in self._seen
        ]
        self._seen.update(str(record.get("id")) for record in records)
        return records

    def _merged(self, following: str) -> List[Tuple[str, str]]:
        """The query of the next page: the link's own, and of ours what it leaves out. Only its query is used.

        Where the link leads is how the service sees itself, which behind a proxy is nowhere.
        """
        named = [
            pair
            for pair in parse_qsl(
                following.partition("#")[0].partition("?")[2], keep_blank_values=True
            )
            if pair[0] != "limit"
        ]
        names = {name for name, _ in named}
        return [pair for pair in self.query if pair[0] not in names] + named


def _following(reply: Reply, key: str) -> Optional[str]:
    """The link to the next page; None on the last one."""
    if key == "images":  # Glance's form
        return reply.field("next", str, default="") or None
    links = reply.items(f"{key}_links", default=[])
    return next((str(link.get("href") or "") for link in links if link.get("rel") == "next"), None)
