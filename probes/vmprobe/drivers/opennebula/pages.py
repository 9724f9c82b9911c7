"""What a list of XML may hold in all when it comes in pages: each page is small enough, and all of them have to be."""

from __future__ import annotations

from typing import Any, List, Sequence, Set

from vmprobe.core.errors import Incomplete

_MOST_PAGES = 1000
_HEAVIEST = 256 * 2**20  # bytes that the pages of one list may take together
_ELEMENT, _ATTRIBUTE, _TEXT = (
    250,
    300,
    60,
)  # bytes of an element, of an attribute, and of a text without its letters


class Pages:
    """One list while it is read: ``things`` has what its pages had, and ``len`` is how many pages there were."""

    def __init__(self, asked: str):
        self._asked, self._weight = asked, 0
        self._places: Set[Any] = set()
        self.things: List[Any] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, page: Any, things: Sequence[Any], place: Any) -> None:
        """Keep ``things`` of a page, the root of an XML document, that begins at ``place``: a token or an id.

        Incomplete when the list has been there before, or holds more than a list may; then all of it is let go, because
        an error is remembered with the frames that it passed.
        """
        self._weight += sum(map(_weight, page.iter()))
        trouble = ""
        if place in self._places:
            trouble = "its pages repeat themselves"
        elif len(self) >= _MOST_PAGES or self._weight > _HEAVIEST:
            trouble = f"there is no end of it after {len(self)} pages"
        if trouble:
            self.things.clear()
            page.clear()
            raise Incomplete(f"{self._asked}: {trouble}")
        self._places.add(place)
        self.things += things


def _weight(element: Any) -> int:
    """About the bytes that an element takes; one rare character makes a whole text wide."""
    texts = [text for text in (element.text, element.tail) if text]
    return (
        _ELEMENT
        + _ATTRIBUTE * len(element.attrib)
        + sum(_TEXT + len(text) * (1 if text.isascii() else 4) for text in texts)
    )
