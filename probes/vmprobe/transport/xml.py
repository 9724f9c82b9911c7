"""Parse XML as hostile servers may send it.

The one parser for all XML from outside. It refuses a document type, so no entity but XML's own five
is ever expanded and nothing external is ever loaded, and it bounds depth and size.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, TypeVar

from vmprobe.core.errors import GatewayFailed, TooLarge

if TYPE_CHECKING:  # loaded only when there is XML to parse
    from typing import Protocol
    from xml.etree.ElementTree import Element
    from xml.parsers.expat import XMLParserType

    T_co = TypeVar("T_co", covariant=True)

    class Target(Protocol[T_co]):
        """What builds something of a document: a TreeBuilder, an XML-RPC Unmarshaller."""

        def start(self, __name: str, __attributes: Dict[str, str]) -> object: ...
        def data(self, __text: str) -> object: ...
        def end(self, __name: str) -> object: ...
        def close(self) -> T_co: ...


T = TypeVar("T")

MAX_DEPTH = 100
MAX_ELEMENTS = 100_000  # attributes count as elements


class DocumentType(GatewayFailed):
    """The document has a document type, which could define entities."""


def parse(body: bytes, *, subject: str = "the answer", max_elements: int = MAX_ELEMENTS) -> Element:
    """The root element, with all names without their namespaces; errors as from ``parse_into``."""
    from xml.etree.ElementTree import TreeBuilder

    return parse_into(body, TreeBuilder(), subject=subject, max_elements=max_elements)


def parse_into(
    body: bytes,
    target: Target[T],
    *,
    parser: Optional[XMLParserType] = None,
    rename: Optional[Callable[[str], str]] = None,
    subject: str = "the answer",
    max_elements: int = MAX_ELEMENTS,
) -> T:
    """Drive ``target`` through a document, and return what its ``close`` returns.

    ``parser`` is an expat parser that the caller has set up, for instance to be told of namespaces;
    ``rename`` is applied to the names of elements and attributes, and by default removes their
    prefix. GatewayFailed, its text beginning with ``subject``, for what is not XML or is too deep;
    DocumentType and TooLarge (both GatewayFailed) where they say more.
    """
    from xml.parsers import expat

    parser, rename = parser or expat.ParserCreate(), rename or _without_prefix
    parser.buffer_text = True
    depth = count = 0

    def start(name: str, attributes: Dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1 + len(attributes)
        if depth > MAX_DEPTH:
            raise GatewayFailed(f"{subject} is XML nested more than {MAX_DEPTH} deep")
        if count > max_elements:
            raise TooLarge(f"{subject} is XML of more than {max_elements} elements")
        target.start(rename(name), {rename(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        target.end(rename(name))

    def refuse(*_: Any) -> None:
        raise DocumentType(f"{subject} has a document type, which could expand entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = target.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(body, True)
        return target.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        # ValueError and LookupError: an encoding that Python does not support
        raise GatewayFailed(f"{subject} is no XML: {error}") from None


def text(element: Element, path: str, default: Optional[str] = None) -> str:
    """The text of the element at ``path`` below ``element``, without blanks around it.

    ``default`` where there is no such element; without a default GatewayFailed names it.
    """
    child = element.find(path)
    if child is not None:
        return (child.text or "").strip()
    if default is None:
        raise GatewayFailed(f"the answer has no {path} in {element.tag}")
    return default


def number(element: Element, path: str, default: Optional[int] = None) -> int:
    """The whole number in the element at ``path`` below ``element``; GatewayFailed where there is
    something else.

    ``default`` where there is no such element, or it is empty.
    """
    digits = text(element, path, None if default is None else "")
    if not digits and default is not None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,30}", digits):
        raise GatewayFailed(f"{path} in the answer is no whole number")
    return int(digits)


def _without_prefix(name: str) -> str:
    return name.rpartition(":")[2]
