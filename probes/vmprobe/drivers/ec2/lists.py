"""The lists of EC2's Query API: complete, or the error Incomplete.

Where a manager pages its lists, it does so by MaxResults and NextToken. A list is never kept as it
came: each item is parsed when its page arrives, and the page is dropped.
"""

from __future__ import annotations

from functools import partial
from typing import (
    TYPE_CHECKING,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
)

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

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")
Paging = Mapping[str, Union[int, str, None]]

LIMIT = 2**30  # bytes of all pages together, where little is kept of each item
WHOLE = 2**25  # the same, where the items themselves are kept
_MOST_PAGES = 1000
_MOST_ITEMS = 100_000
_SMALLEST_PAGE = 5  # items, by EC2's own rule
_ATTEMPTS = 3  # at a list whose next page the manager has forgotten
_IDS = {  # the element that has an item's id, by list
    "volumeSet": "volumeId",
    "snapshotSet": "snapshotId",
    "imagesSet": "imageId",
    "networkInterfaceSet": "networkInterfaceId",
}


def read(
    ask: Callable[[Paging], Reply],
    items_in: str,
    parse: Callable[[Element], Iterable[T]],
    page: int = 0,
    limit: int = LIMIT,
    ids: int = 0,
) -> List[T]:
    """All that ``parse`` makes of each item in the element ``items_in`` of the answers.

    ``ask`` sends one request with these paging parameters. ``page``: how many items to ask for at
    once, 0 where the manager does not page. ``limit``: bytes of all pages together. ``ids``: how
    many items were asked for by id, 0 where all were.
    Incomplete, with what was read so far, when pages repeat themselves or do not end.
    """
    pages = _Pages(ask, items_in, page, limit, ids)
    for _ in range(_ATTEMPTS):
        parsed: List[T] = []
        for reply, items in pages.all():
            parsed += reply.parse(partial(_parse, items, parse))
            reply.forget()
        if not pages.trouble:
            return parsed
        if not pages.forgotten:
            break
    raise Incomplete(f"{pages.asked}: {pages.trouble}", parsed, pages.request)


class _Pages:
    """The pages of one list.

    After ``all``, ``trouble`` says why the list is not complete ('': it is). ``forgotten``: the
    manager does not know the next page any more, so the list has to be begun again.
    """

    def __init__(
        self,
        ask: Callable[[Paging], Reply],
        items_in: str,
        page: int,
        limit: int,
        ids: int,
    ):
        self._ask, self._items_in, self._page = ask, items_in, page
        self._limit, self._ids = limit, ids
        self.trouble, self.forgotten, self.asked, self.request = "", False, "", ""

    def all(self) -> Iterator[Tuple[Reply, List[Element]]]:
        """Each answer, with those of its items that were on no page before."""
        self.trouble, self.forgotten = "", False
        tokens: Set[str] = set()
        known: Set[Hashable] = set()
        token: Optional[str] = None
        size = count = 0
        # Asked for by id, at worst each item is on a page of its own.
        for _ in range(self._ids or _MOST_PAGES):
            page = self._next(token)
            if page is None:
                return
            reply, document = page
            self.asked, self.request, size = reply.asked, reply.request_id, size + len(reply.body)
            token = text(document, "nextToken", "") or None
            items = rows(document, self._items_in)
            new = [item for item in items if _identity(self._items_in, item) not in known]
            known.update(filter(None, (_identity(self._items_in, item) for item in new)))
            count += len(new)
            yield reply, new
            if token is None or self._ids and count >= self._ids:
                return
            if token in tokens or items and not new:
                self.trouble = "its pages repeat themselves"
                return
            if size > self._limit or count > _MOST_ITEMS:
                break
            tokens.add(token)
        self.trouble = "there is no end of it"

    def _next(self, token: Optional[str]) -> Optional[Tuple[Reply, Element]]:
        """One page, smaller where it is too large to be read; None when it is forgotten."""
        while True:
            try:
                reply = self._ask({"MaxResults": self._page or None, "NextToken": token})
                return reply, reply.xml()
            except TooLarge:
                if self._page <= _SMALLEST_PAGE:
                    raise
                self._page = max(_SMALLEST_PAGE, self._page // 4)
            except (Transient, AuthRejected, NotPermitted):
                raise
            except CloudError as refusal:
                if token is None:
                    raise
                self.trouble = f"its next page cannot be had: {refusal}"
                self.forgotten = True
                return None


def _parse(items: Iterable[Element], parse: Callable[[Element], Iterable[T]]) -> List[T]:
    return [made for item in items for made in parse(item)]


def _identity(items_in: str, item: Element) -> Hashable:
    """What tells an item from all others of its list; '' or () where that is not known.

    A reservation of many instances may be on two pages, each with a part of them.
    """
    if items_in == "reservationSet":
        return tuple(text(instance, "instanceId", "") for instance in rows(item, "instancesSet"))
    return text(item, _IDS[items_in], "") if items_in in _IDS else ""
