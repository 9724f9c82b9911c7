"""XML as hostile servers may send it: no document type, no entities but XML's own five, bounded depth and size."""

from __future__ import annotations

import re
from typing import Any, Callable, Optional

from vmprobe.core.errors import GatewayFailed, TooLarge

DEEPEST = 100
MOST = 100_000  # elements, attributes included


def parse(body: bytes):
    """The root element (``xml.etree.ElementTree``), names without their namespaces; GatewayFailed when it is no XML."""
    from xml.etree.ElementTree import TreeBuilder

    return parse_into(body, TreeBuilder())


def parse_into(
    body: bytes, target: Any, parser: Any = None, named: Optional[Callable[[str], str]] = None
) -> Any:
    """Drive ``target`` (start, data, end, close: a TreeBuilder, an XML-RPC Unmarshaller) through ``body``.

    ``parser``: an expat parser that was set up otherwise; ``named``: what becomes of names, instead of losing their namespace.
    """
    from xml.parsers import expat

    parser, named = parser or expat.ParserCreate(), named or _local
    parser.buffer_text = True
    depth = count = 0

    def start(name: str, attributes: dict) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1 + len(attributes)
        if depth > DEEPEST or count > MOST:
            raise (
                GatewayFailed(f"the XML of the answer is nested more than {DEEPEST} deep")
                if depth > DEEPEST
                else TooLarge(f"the XML of the answer has more than {MOST} elements")
            )
        target.start(named(name), {named(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        target.end(named(name))

    def refuse(*words: Any) -> None:
        raise GatewayFailed(
            "the XML of the answer has a document type, which could expand entities"
        )

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = (
        start,
        end,
        target.data,
    )
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(body, True)
        return target.close()
    except (
        expat.ExpatError,
        ValueError,
        LookupError,
    ) as wrong:  # the last two: encodings that Python cannot serve
        raise GatewayFailed(f"the answer is no XML: {wrong}") from None


def text(element: Any, path: str, default: Any = None) -> str:
    """The text of the element at ``path`` below ``element``, stripped; without a default GatewayFailed names it."""
    found = element.find(path)
    if found is None and default is None:
        raise GatewayFailed(f"the answer has no {path} in {element.tag}")
    return default if found is None else (found.text or "").strip()


def number(element: Any, path: str, default: Any = None) -> int:
    """The whole number in the element at ``path``; GatewayFailed when there is something else."""
    found = text(element, path, "" if default is not None else None)
    if not found and default is not None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,30}", found):
        raise GatewayFailed(f"{path} in the answer is no whole number")
    return int(found)


def _local(name: str) -> str:
    return name.rpartition(":")[2]
