"""Read the command's answers. What is not what ``command.schema.json`` says is GatewayFailed."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

from vmprobe.core.errors import CAUSES, GatewayFailed
from vmprobe.core.model import (
    RESOURCES,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    State,
)
from vmprobe.core.text import cut
from vmprobe.drivers.command.keys import ALL_METRICS
from vmprobe.transport.json import field, items, short_text

T = TypeVar("T", int, float)

STATE = {state.value: state for state in State}
_LONGEST_FAULT = 500  # characters
_LONGEST_NUMBER = 2**63
_CHECKSUM = re.compile(r"[0-9a-f]{32,128}")


class AtRest(Resource):
    """A server that its owner has stopped: the command says ``at_rest``."""


def session(answer: Mapping[str, Any]) -> str:
    """What the answer to ``connect`` has for the requests that follow; '' if nothing."""
    return _text(answer, "session")


def plan(answer: Mapping[str, Any], image: str) -> Plan:
    """The answer to ``resolve``; ``image`` where it names none."""
    return Plan(
        _text(answer, "image") or image,
        _text(answer, "flavor"),
        _text(answer, "network"),
        field(answer, "details", dict, default={}),
        vcpus=_count(answer, "vcpus"),
        memory=_count(answer, "memory"),
        root_volume=_count(answer, "root_volume"),
    )


def new(answer: Mapping[str, Any], kind: Kind, name: str) -> Ref:
    """The answer to ``create`` and ``snapshot``."""
    return Ref(kind, short_text(answer, "id"), name)


def shown(answer: Mapping[str, Any], ref: Ref) -> Resource:
    """The answer to ``show``, which has to be about ``ref``."""
    found = resource(field(answer, "resource", dict), ref.kind)
    if found.ref.id != ref.id:
        raise GatewayFailed(f"the answer is about {found.ref}, and {ref} was asked for")
    return found


def resources(answer: Mapping[str, Any], kind: Kind, name: str) -> List[Resource]:
    """The answer to ``list``, without what does not begin with ``name``."""
    found = [resource(item, kind) for item in items(answer, "resources")]
    return [each for each in found if each.ref.name.lower().startswith(name.lower())]


def resource(item: Mapping[str, Any], kind: Kind) -> Resource:
    """A server, volume or snapshot."""
    ref = Ref(kind, short_text(item, "id"), _text(item, "name"))
    word = short_text(item, "state")
    if word not in STATE:
        raise GatewayFailed(f"state in the answer is none of {', '.join(STATE)}")
    cause = _text(item, "cause")
    type_ = AtRest if field(item, "at_rest", bool, default=False) else Resource
    return type_(
        ref,
        STATE[word],
        _text(item, "provider_state") or word,
        fault=cut(field(item, "fault", str, default=""), _LONGEST_FAULT),
        cause=cause if cause in CAUSES else "",
        addresses=_addresses(field(item, "addresses", list, default=[])),
        server=_text(item, "server"),
        created=_number(item, "created"),
        launched=_number(item, "launched"),
        vcpus=_count(item, "vcpus"),
        memory=_count(item, "memory"),
        size=_count(item, "size"),
        image=_text(item, "image"),
        owner=_text(item, "owner"),
        project=_text(item, "project"),
        state_since=_number(item, "state_since"),
    )


def console(answer: Mapping[str, Any]) -> str:
    """The answer to ``console``: ``text``, or ``base64``, which is easier for a shell."""
    encoded = field(answer, "base64", str, default="")
    if not encoded:
        text: str = field(answer, "text", str, default="")
        return text
    try:
        return base64.b64decode(encoded).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise GatewayFailed("base64 in the answer is not base64") from None


def samples(answer: Mapping[str, Any], now: float, offered: Sequence[str]) -> List[Sample]:
    """The answer to ``metrics``; ``now`` is the time of a sample that says none."""
    found = []
    for item in items(answer, "samples"):
        metric = short_text(item, "metric")
        if metric not in ALL_METRICS:
            raise GatewayFailed(f"metric in the answer is none of {', '.join(ALL_METRICS)}")
        at, value = _number(item, "at"), _number(item, "value")
        if value is None:
            raise GatewayFailed(f"{metric} in the answer has no value")
        counter = field(item, "counter", bool, default=metric != "memory")
        if metric in offered:
            found.append(Sample(metric, value, now if at is None else at, counter))
    return found


def limits(answer: Mapping[str, Any]) -> List[Limit]:
    """The answer to ``capacity``."""
    found = []
    for item in items(answer, "limits"):
        name, used = short_text(item, "name"), _number(item, "used")
        if name not in RESOURCES:
            raise GatewayFailed(f"name in the answer is none of {', '.join(RESOURCES)}")
        if used is None:
            raise GatewayFailed(f"{name} in the answer has no used")
        found.append(
            Limit(
                name,
                used,
                _number(item, "total"),
                _text(item, "source") or "quota",
                of=_text(item, "of"),
            )
        )
    return found


def images(answer: Mapping[str, Any], name: str) -> List[Image]:
    """The answer to ``images``, without those of another name and id."""
    found = []
    for item in items(answer, "images"):
        word = short_text(item, "state")
        if word not in STATE:
            raise GatewayFailed(f"state in the answer is none of {', '.join(STATE)}")
        image = Image(
            short_text(item, "id"),
            short_text(item, "name"),
            STATE[word],
            _text(item, "provider_state") or word,
            _checksums(field(item, "checksums", dict, default={})),
            _properties(field(item, "properties", dict, default={})),
        )
        if name in ("", image.id, image.name):
            found.append(image)
    return found


def description(answer: Mapping[str, Any]) -> Dict[str, object]:
    """The answer to ``describe``: ``version``, and whatever else is a text or number."""
    found: Dict[str, object] = {"version": short_text(answer, "version")}
    for key, value in list(answer.items())[:50]:
        if isinstance(value, (str, int)) and key.isprintable() and len(key) <= 50:
            found.setdefault(key, cut(str(value), _LONGEST_FAULT))
    return found


def _addresses(values: Sequence[Any]) -> Tuple[str, ...]:
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_address(value if isinstance(value, str) else "")))
        except ValueError:
            raise GatewayFailed("addresses in the answer has what is no IP address") from None
    return tuple(found)


def _checksums(values: Mapping[str, Any]) -> Dict[str, str]:
    for value in values.values():
        if not isinstance(value, str) or not _CHECKSUM.fullmatch(value):
            raise GatewayFailed("checksums in the answer has what is no checksum in hexadecimal")
    return dict(values)


def _properties(values: Mapping[str, Any]) -> Dict[str, str]:
    return {
        key: cut(value, _LONGEST_FAULT) for key, value in values.items() if isinstance(value, str)
    }


def _text(document: Mapping[str, Any], key: str) -> str:
    """A short text; '' where the command does not know it."""
    text: str = short_text(document, key, default="") if document.get(key) != "" else ""
    return text


def _count(document: Mapping[str, Any], key: str) -> Optional[int]:
    return _within(key, field(document, key, int, default=None))


def _number(document: Mapping[str, Any], key: str) -> Optional[float]:
    return _within(key, field(document, key, float, default=None))


def _within(key: str, number: Optional[T]) -> Optional[T]:
    if number is not None and not 0 <= number < _LONGEST_NUMBER:
        raise GatewayFailed(f"{key} in the answer is negative or too large")
    return number
