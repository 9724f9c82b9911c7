"""VMs as servers: show one, list them, end one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List

from vmprobe.core.errors import Conflict, Ended, NotFound, NotPermitted
from vmprobe.core.model import Ref, Resource, State
from vmprobe.drivers.opennebula import readings, states
from vmprobe.drivers.opennebula.oned import ALL, MINE, Oned, id_number
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SHOWN_ALONE = 20  # VMs of everybody's that one list asks for one by one
_RECOVER_BY_DELETE = 3  # operation of one.vm.recover


def vm(oned: Oned, ref: Ref) -> Element:
    """The VM of a server.

    Ended if it is DONE, although oned can show it for as long as its database keeps it.
    """
    document = oned.xml("one.vm.info", id_number(ref))
    if readings.vm_state(document) == "DONE":
        raise Ended(f"{ref} is DONE", cause="scheduler")
    return document


def show(oned: Oned, ref: Ref) -> Resource:
    """The server; NotFound once it is gone."""
    return readings.server(vm(oned, ref))


def list_own(oned: Oned, name: str) -> List[Resource]:
    """The user's own servers whose name begins with ``name``, in one request.

    One more for each running server without an address: where a network leases none, only the VM
    itself, not the pool, has the address that the guest reports.
    """
    vms = [each for each in oned.vms(MINE) if text(each, "NAME", "").startswith(name)]
    return [_with_guest_address(oned, readings.server(each)) for each in vms]


def list_all(oned: Oned) -> List[Resource]:
    """Everybody's servers, page by page.

    Those between two states, unless just created, have the time when that began. oned stamps only
    the phases on a host, and tells the stamps only of a single VM. So a few are asked for alone; of
    the others it is only known that they are in that state now.
    """
    servers, shown_alone = [], 0
    for each in oned.vms(ALL):
        server = readings.server(each)
        if _is_between_states(server, each):
            since = 0.0
            if server.provider_state in states.STAMPED and shown_alone < _SHOWN_ALONE:
                shown_alone += 1
                since = _last_phase_change(oned, server.ref)
            server = server._replace(state_since=since or oned.deadline.clock.utc())
        servers.append(server)
    return servers


def terminate(oned: Oned, ref: Ref, action: str) -> None:
    """Ask for the VM's end by ``action`` of one.vm.action; NotFound if it is gone.

    A VM that ends already is left alone. A failed one that 5.0 does not let its user end is
    deleted.
    """
    try:
        oned.call("one.vm.action", action, id_number(ref))
    except Conflict as conflict:
        state = (re.findall(r"wrong state (\w+)", str(conflict)) or [""])[0]
        if state in states.ENDS:
            return
        if not state.endswith("_FAILURE"):
            raise
        try:
            oned.call("one.vm.recover", id_number(ref), _RECOVER_BY_DELETE)
        except NotPermitted:  # only administrators may
            raise conflict from None


def _with_guest_address(oned: Oned, server: Resource) -> Resource:
    if server.addresses or server.provider_state != "RUNNING":
        return server
    try:
        return show(oned, server.ref)
    except NotFound:
        return server


def _is_between_states(server: Resource, vm: Element) -> bool:
    """Whether the server changes its state, and not for the first time."""
    return (
        server.state is State.PENDING
        and server.provider_state not in states.RESTS
        and not states.is_first(server.provider_state, readings.last_host(vm))
    )


def _last_phase_change(oned: Oned, ref: Ref) -> float:
    """Seconds since the epoch; 0 if oned does not say."""
    try:
        return readings.last_phase_change(oned.xml("one.vm.info", id_number(ref)))
    except (NotFound, NotPermitted):
        return 0.0
