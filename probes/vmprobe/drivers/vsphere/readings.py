"""What vSphere says of machines, in the suite's words."""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import TYPE_CHECKING, List, Mapping, Optional, Tuple

from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.core.text import cut
from vmprobe.drivers.vsphere import devices, faults
from vmprobe.drivers.vsphere.properties import Thing
from vmprobe.drivers.vsphere.tasks import Job
from vmprobe.transport.json import parse_time

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# VirtualMachinePowerState and VirtualMachineConnectionState: a state that is not here is PENDING.
POWER = {"poweredOn": State.READY}
BROKEN = ("inaccessible", "invalid", "orphaned")
AT_REST = ("poweredOff", "suspended")
SERVER = (  # the properties that ``server`` reads
    "name",
    "config.instanceUuid",
    "config.template",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.bootTime",
    "runtime.question",
    "summary.config.numCpu",
    "summary.config.memorySizeMB",
    "guest.net",
    "guest.ipAddress",
)
_NAMESPACE = uuid.UUID("6b2f5c0e-5d6f-4f0e-9a43-0d1b1c7a6f55")  # of our instance UUIDs


def server_id(name: str) -> str:
    """The instance UUID of a server of this name: every host derives the same one."""
    return str(uuid.uuid5(_NAMESPACE, name))


def is_template(thing: Thing) -> bool:
    """Whether this is a template: no server, and never to be started."""
    return thing.text("config.template") == "true"


def server(thing: Thing) -> Resource:
    """A machine. While it is made it may not tell its id: then that follows from its name."""
    name = thing.text("name")
    identity = thing.text("config.instanceUuid").lower()
    power, connection = thing.text("runtime.powerState"), thing.text("runtime.connectionState")
    state = POWER.get(power, State.PENDING)
    words = power or "unknown"
    if connection and connection != "connected":
        words = f"{words}, {connection}"
        state = State.FAILED if connection in BROKEN else State.PENDING
    question = _question(thing.values.get("runtime.question"))
    if question:
        state = State.PENDING
    megabytes = _number(thing.text("summary.config.memorySizeMB"))
    return Resource(
        Ref(Kind.SERVER, identity or server_id(name), name),
        state,
        words,
        fault=question,
        addresses=addresses(thing),
        vcpus=_number(thing.text("summary.config.numCpu")),
        memory=None if megabytes is None else megabytes * 2**20,
        state_since=parse_time(thing.text("runtime.bootTime")) if power == "poweredOn" else None,
    )


def pending(job: Job) -> Resource:
    """A resource that is still being made, or could not be made, by what its task says."""
    info = job.info
    if info.fault is None:
        return Resource(job.ref, State.PENDING, f"{job.verb} {info.words}", created=info.queued)
    return Resource(
        job.ref,
        State.FAILED,
        f"{job.verb} error",
        fault=faults.words(info.fault),
        cause=faults.cause(info.fault),
        created=info.queued,
    )


def with_job(resource: Resource, job: Job) -> Resource:
    """A resource while one of its tasks goes on, or after it failed."""
    shown = pending(job)
    return resource._replace(
        state=shown.state,
        provider_state=f"{resource.provider_state}, {shown.provider_state}",
        fault=shown.fault or resource.fault,
        cause=shown.cause,
    )


def addresses(thing: Thing) -> Tuple[str, ...]:
    """The addresses that VMware Tools report; none where the guest has no tools."""
    found = [address for nic in thing.items("guest.net") for address in _addresses(nic)]
    single = usable_address(thing.text("guest.ipAddress"))
    if single and single not in found:
        found.append(single)
    return tuple(found)


def ports(server: Ref, thing: Thing) -> List[Resource]:
    """The network cards of a server: READY once they are connected."""
    told: Mapping[str, Tuple[str, ...]] = {
        (nic.findtext("deviceConfigId") or "").strip(): _addresses(nic)
        for nic in thing.items("guest.net")
    }
    cards = devices.nics(thing.items("config.hardware.device"))
    found = []
    for card in cards:
        own = told.get(str(card.key), ())
        if len(cards) == 1 and not own:
            own = addresses(thing)
        found.append(
            Resource(
                Ref(Kind.PORT, f"{server.id}/{card.key}"),
                State.READY if card.is_connected else State.PENDING,
                "connected" if card.is_connected else "not connected",
                addresses=own,
                server=server.id,
            )
        )
    return found


def _addresses(nic: Element) -> Tuple[str, ...]:
    told = [usable_address(item.text or "") for item in nic.iterfind("ipAddress")]
    return tuple(address for address in told if address)


def usable_address(text: str) -> str:
    """An address that a network gave; '' for none, and for one that a machine makes up itself."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    return "" if address.is_link_local or address.is_unspecified else str(address)


def _question(value: Optional[Element]) -> str:
    """What the machine asks its operator before it goes on; '' where it asks nothing."""
    text = "" if value is None else (value.findtext("text") or "").strip()
    return f"it waits for an answer: {cut(text, 300)}" if text else ""


def _number(text: str) -> Optional[int]:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None
