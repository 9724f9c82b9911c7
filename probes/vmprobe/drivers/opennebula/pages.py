"""Bounds on a list that comes in pages of XML: a page is small, all of them may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Sequence, Set

from vmprobe.core.errors import Incomplete

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_PAGES = 1000
_HEAVIEST = 256 * 2**20  # bytes that the pages of one list may take together
_ELEMENT, _ATTRIBUTE = 250, 300  # bytes of one
_TEXT = 60  # bytes of a text without its letters


class Pages:
    """One list while it is read. ``resources`` are those of all pages; ``len`` counts the pages."""

    def __init__(self, subject: str):
        self._subject, self._weight = subject, 0
        self._places: Set[object] = set()
        self.resources: List[Element] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, page: Element, resources: Sequence[Element], place: object) -> None:
        """Keep ``resources`` of a page, the root of an XML document.

        ``place`` is where the page begins: a token or an id. Incomplete when the list has been
        there before, or when it holds more than a list may. Then everything is released, because an
        error is remembered with the frames that it passed.
        """
        self._weight += sum(map(_weight, page.iter()))
        problem = ""
        if place in self._places:
            problem = "its pages repeat themselves"
        elif len(self) >= _MOST_PAGES or self._weight > _HEAVIEST:
            problem = f"it does not end after {len(self)} pages"
        if problem:
            self.resources.clear()
            page.clear()
            raise Incomplete(f"{self._subject}: {problem}")
        self._places.add(place)
        self.resources += resources


def _weight(element: Element) -> int:
    """About the bytes that an element takes; one rare character makes a whole text wide."""
    texts = [text for text in (element.text, element.tail) if text]
    return (
        _ELEMENT
        + _ATTRIBUTE * len(element.attrib)
        + sum(_TEXT + len(text) * (1 if text.isascii() else 4) for text in texts)
    )
