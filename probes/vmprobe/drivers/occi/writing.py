"""Write OCCI's requests: GFD.226 (JSON), GFD.229 and before it GFD.185 (text)."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.core.text import cut
from vmprobe.drivers.occi.entities import JSON, TEXT, Entity


def entity_request(entity: Entity, rendering: str) -> Tuple[Dict[str, str], bytes]:
    """(headers, body) of a request for ``entity``.

    ClientError for a value that the rendering cannot carry.
    """
    attributes = {**entity.attributes}
    for name in ("title", "source", "target"):
        if getattr(entity, name):
            attributes[f"occi.core.{name}"] = getattr(entity, name)
    if rendering == JSON:
        return {}, json.dumps(_json(entity, attributes)).encode()
    lines = [("Category", _category(*_split(entity.kind), "kind"))]
    lines += [("Category", _category(*_split(mixin), "mixin")) for mixin in entity.mixins]
    lines += [("X-OCCI-Attribute", f"{name}={_value(value)}") for name, value in attributes.items()]
    # A link has its target twice: some servers read the brackets, others the attributes
    lines += [
        (
            "Link",
            f'<{link.target}>; rel="{link.target_kind}"; category="{link.kind}"; '
            f"occi.core.target={_value(link.target)}",
        )
        for link in entity.links
    ]
    return _text(lines, rendering)


def action_request(action: str, rendering: str) -> Tuple[Dict[str, str], bytes]:
    """(headers, body) of a request for an action such as ``http://...compute/action#start``."""
    if rendering == JSON:
        return {}, json.dumps({"action": action}).encode()
    return _text([("Category", _category(*_split(action), "action"))], rendering)


def _json(entity: Entity, attributes: Mapping[str, Any]) -> Dict[str, Any]:
    """GFD.226, 5.

    Title, source and target are among the attributes, too: some servers read them there.
    """
    document: Dict[str, Any] = {"kind": entity.kind, "attributes": attributes}
    if entity.mixins:
        document["mixins"] = list(entity.mixins)
    if entity.title:
        document["title"] = entity.title
    if entity.links:
        document["links"] = [
            {"kind": link.kind, "target": {"location": link.target, "kind": link.target_kind}}
            for link in entity.links
        ]
    if entity.source:
        document["source"] = {"location": entity.source}
        document["target"] = {"location": entity.target, "kind": entity.target_kind}
    return document


def _text(lines: Sequence[Tuple[str, str]], rendering: str) -> Tuple[Dict[str, str], bytes]:
    """Lines as a body, or as headers, with all values of a name in one header."""
    if rendering == TEXT:
        return {}, "".join(f"{name}: {value}\n" for name, value in lines).encode()
    values: Dict[str, List[str]] = {}
    for name, value in lines:
        values.setdefault(name, []).append(value)
    return {name: ", ".join(several) for name, several in values.items()}, b""


def _category(scheme: str, term: str, kind: str) -> str:
    return f'{term}; scheme="{scheme}"; class="{kind}"'


def _split(identifier: str) -> Tuple[str, str]:
    """(scheme, term) of a category's identifier."""
    scheme, _, term = identifier.rpartition("#")
    return f"{scheme}#", term


def _value(value: Any) -> str:
    """A number bare, a text in quotes (GFD.185, 3.4)."""
    if isinstance(value, (int, float)):
        return str(value)
    if not value.isprintable() or not value.isascii():
        raise ClientError(f"{cut(value, 60)!r} cannot be written in OCCI's text rendering")
    quoted: str = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'
