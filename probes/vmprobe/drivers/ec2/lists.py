"""The lists of EC2's Query API: whole, or Incomplete. They page by MaxResults and NextToken, where a manager pages at all.

A list is never held as it came: each thing is read as it is seen, and let go with its page.
"""

from __future__ import annotations

from typing import Any, Callable, Hashable, Iterable, List, Mapping, Optional, Set, Tuple, TypeVar

from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Incomplete,
    NotPermitted,
    TooLarge,
    Transient,
)
from vmprobe.drivers.ec2.query import rows
from vmprobe.transport.http import Reply
from vmprobe.transport.xml import text

T = TypeVar("T")

WHOLE = 2**25  # bytes of all pages together, where the things themselves are kept
_READ = 2**30  # the same, where what is kept of a thing is small
_MOST_PAGES = 1000
_MOST_THINGS = 100_000
_SMALLEST = 5  # things on a page, by EC2's own rule
_STARTS = 3  # a list whose next page is not known any more is begun anew so often
_IDENTITIES = {
    "volumeSet": "volumeId",
    "snapshotSet": "snapshotId",
    "imagesSet": "imageId",
    "networkInterfaceSet": "networkInterfaceId",
}


def read(
    ask: Callable[[Mapping[str, Any]], Reply],
    where: str,
    keep: Callable[[Any], Iterable[T]],
    page: int = 0,
    most: int = _READ,
    ids: int = 0,
) -> List[T]:
    """What ``keep`` makes of each ``item`` in the list, which is at ``where`` in the answers.

    ``ask`` sends one request with more words; ``page``: so many things are asked for at once, 0 where that cannot be;
    ``ids``: so many things are asked for by their ids, 0 for all that there are.
    Incomplete, with what was read so far, when pages repeat themselves or there is no end of them.
    """
    found: List[T] = []
    pages = _Pages(ask, where, page, most, ids)
    for _ in range(_STARTS):
        found = []
        for reply, things in pages.all():
            found += reply.understood(lambda: [made for thing in things for made in keep(thing)])
            reply.forget()
        if not pages.trouble:
            return found
        if not pages.lost:
            break
    raise Incomplete(f"{pages.asked}: {pages.trouble}", found, pages.request)


class _Pages:
    """``trouble`` says after ``all`` why the list is not whole; ``lost``: its next page is not known, begin anew."""

    def __init__(
        self, ask: Callable[[Mapping[str, Any]], Reply], where: str, page: int, most: int, ids: int
    ):
        self._ask, self._where, self._page, self._most, self._ids = ask, where, page, most, ids
        self.trouble, self.lost, self.asked, self.request = "", False, "", ""

    def all(self) -> Iterable[Tuple[Reply, List[Any]]]:
        """Each answer, with the things in it that no page before had."""
        self.trouble, self.lost = "", False
        tokens: Set[str] = set()
        seen: Set[Hashable] = set()
        token: Optional[str] = None
        size = things = 0
        for _ in range(
            self._ids or _MOST_PAGES
        ):  # at the worst each of them is on a page of its own
            answer = self._next(token)
            if answer is None:
                return
            reply, document = answer
            self.asked, self.request, size = reply.asked, reply.request, size + len(reply.body)
            token = text(document, "nextToken", "") or None
            every = rows(document, self._where)
            new = [row for row in every if _identity(self._where, row) not in seen]
            seen.update(one for one in (_identity(self._where, row) for row in new) if one)
            things += len(new)
            yield reply, new
            if token is None or self._ids and things >= self._ids:
                return
            if token in tokens or every and not new:
                self.trouble = "its pages repeat themselves"
                return
            if size > self._most or things > _MOST_THINGS:
                break
            tokens.add(token)
        self.trouble = "there is no end of it"

    def _next(self, token: Optional[str]) -> Optional[Tuple[Reply, Any]]:
        """One page; where it is too large to be read, as much less of it as it takes. None when nobody knows it any more."""
        while True:
            try:
                reply = self._ask({"MaxResults": self._page or None, "NextToken": token})
                return reply, reply.xml()
            except TooLarge:
                if self._page <= _SMALLEST:
                    raise
                self._page = max(_SMALLEST, self._page // 4)
            except (Transient, AuthRejected, NotPermitted):
                raise
            except CloudError as refusal:
                if token is None:
                    raise
                self.trouble, self.lost = f"its next page cannot be had: {refusal}", True
                return None


def _identity(where: str, row: Any) -> Hashable:
    """What tells a thing of a list from all others; nothing where that is not known.

    A reservation of many instances may be on two pages, each with a part of them.
    """
    if where == "reservationSet":
        return tuple(text(one, "instanceId", "") for one in rows(row, "instancesSet"))
    return text(row, _IDENTITIES[where], "") if where in _IDENTITIES else ""
