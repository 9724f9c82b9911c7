"""What an endpoint's entities mean in the suite's words: states, addresses, amounts, refusals."""

from __future__ import annotations

import re
from typing import Any, List, Optional, Sequence

from vmprobe.core.errors import Conflict, QuotaExceeded, VmprobeError
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.core.text import cut
from vmprobe.drivers.occi.entities import Entity
from vmprobe.drivers.occi.protocol import INFRASTRUCTURE, Occi
from vmprobe.transport.http import Reply

SERVER = {"active": State.READY, "error": State.FAILED}
VOLUME = {"online": State.READY, "error": State.FAILED, "degraded": State.FAILED}
LINK = {
    "active": State.READY,
    "": State.READY,  # some servers say no more than that the link exists
    "error": State.FAILED,
}
AT_REST = {"inactive", "suspended"}

COMPUTE, STORAGE, NETWORK = (INFRASTRUCTURE + term for term in ("compute", "storage", "network"))
INTERFACE, STORAGELINK = INFRASTRUCTURE + "networkinterface", INFRASTRUCTURE + "storagelink"
GIB, MIB = 2**30, 2**20


def server(occi: Occi, entity: Entity, ref: Ref) -> Resource:
    """A compute as a server."""
    addresses = [
        address for link in entity.links if link.kind == INTERFACE for address in _addresses(link)
    ]
    # GFD.224 has GiB; ooi passes on Nova's MiB
    unit = MIB if occi.server.startswith("ooi/") else GIB
    state = provider_state(entity) or "without a state"
    return Resource(
        ref,
        SERVER.get(state, State.PENDING),
        state,
        _fault(entity),
        addresses=tuple(addresses),
        memory=_amount(entity.attributes.get("occi.compute.memory"), unit),
        vcpus=_amount(entity.attributes.get("occi.compute.cores"), 1),
        image=_image(occi, entity),
    )


def volume(occi: Occi, entity: Entity, ref: Ref, links: Sequence[Entity]) -> Resource:
    """A storage as a volume; ``links`` are all storagelinks of the endpoint."""
    own = [link for link in links if occi.id_at(STORAGE, link.target) == ref.id]
    servers = [
        occi.id_at(COMPUTE, link.source)
        for link in own
        if LINK.get(provider_state(link)) is State.READY
    ]
    has_failed = any(LINK.get(provider_state(link)) is State.FAILED for link in own)
    state = provider_state(entity) or "without a state"
    return Resource(
        ref,
        State.FAILED if has_failed else VOLUME.get(state, State.PENDING),
        "storagelink error" if has_failed else state,
        _fault(entity),
        server=servers[0] if servers else "",
        size=_amount(entity.attributes.get("occi.storage.size"), GIB),
    )


def port(occi: Occi, link: Entity, server_id: str) -> Resource:
    """A networkinterface as a port; what its compute does not say of it is asked for."""
    identity = occi.id_of(INTERFACE, link)
    if "occi.networkinterface.state" not in link.attributes or not _addresses(link):
        link = occi.get(occi.location(INTERFACE, identity), f"show networkinterface {identity}")
    state = provider_state(link)
    return Resource(
        Ref(Kind.PORT, identity),
        LINK.get(state, State.PENDING),
        state or "linked",
        addresses=tuple(_addresses(link)),
        server=server_id,
    )


def provider_state(entity: Entity) -> str:
    """The state of an entity, in the endpoint's word; '' where it says none."""
    state = entity.attributes.get(f"{_prefix(entity)}.state")
    return state if isinstance(state, str) and len(state) <= 60 and state.isprintable() else ""


def refusal(reply: Reply) -> Optional[VmprobeError]:
    """A better error than that of the status: managers behind OCCI say most with 400 and 403."""
    if not reply.body.strip():
        # With text/occi, the message is in a header
        reply.body = cut(reply.headers.get("X-OCCI-Error", ""), 500).encode()
    if reply.status in (400, 403, 409, 413) and re.search(
        r"quota|limit ?exceeded|limit of \d+ reached", reply.message, re.I
    ):
        return reply.error(QuotaExceeded)
    if reply.status == 400 and re.search(
        r"invalid volume|status must be|invalid status|in use|still attached|is attached|"
        r"not applicable|no applicable",
        reply.message,
        re.I,
    ):
        return reply.error(Conflict)
    return None


def _prefix(entity: Entity) -> str:
    """What the attributes of an entity's kind begin with, such as ``occi.compute``."""
    return f"occi.{entity.kind.rpartition('#')[2]}"


def _fault(entity: Entity) -> str:
    return cut(str(entity.attributes.get(f"{_prefix(entity)}.state.message") or ""), 500)


def _image(occi: Occi, entity: Entity) -> str:
    """The term of the os_tpl that a server was made of; '' where it does not say."""
    templates = {category.id: category.term for category in occi.templates("os_tpl")}
    return next((templates[mixin] for mixin in entity.mixins if mixin in templates), "")


def _addresses(link: Entity) -> List[str]:
    address = link.attributes.get("occi.networkinterface.address")
    is_address = isinstance(address, str) and re.fullmatch(
        r"[0-9a-fA-F.:]{2,45}(?:/\d{1,3})?", address
    )
    return [str(address)] if is_address else []


def _amount(value: Any, unit: int) -> Optional[int]:
    """A number, in quotes or not, times ``unit``; None for what is none."""
    try:
        number = float(value) * unit
        return int(number) if 0 <= number < 2**63 else None
    except (TypeError, ValueError):
        return None
