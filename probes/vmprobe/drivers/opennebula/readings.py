"""What oned's XML documents mean: VMs, images and their templates as this suite's resources.

The elements are those of OpenNebula's XSD schemas (share/doc/xsd); the states are in ``states``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, Iterable, List, Mapping, Optional, Tuple

from vmprobe.core.model import Image, Kind, Ref, Resource, State
from vmprobe.core.text import whole_number
from vmprobe.drivers.opennebula import states
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MIB = 2**20
SNAPSHOT_SUFFIX = "-snapshot"
_DATABLOCK = 2  # type of an image
_DATE = re.compile(  # in front of each ERROR and SCHED_MESSAGE
    r"^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4} *: *"
)
_EXIT_CODE = re.compile(  # after each failure on a host, mostly without a space in front
    r"(?<=[^:\s])\s*ExitCode: -?\d+\s*$"
)
_CAUSES = (
    (r"^(PROLOG|EPILOG|CLONING)|image transfer|\bdatastores?\b(?!/)", "storage"),
    (r"network|bridge|\bnic\b|\bvnm\b|lease", "network"),
)


# --- VMs ------------------------------------------------------------------------------------------


def server(vm: Element) -> Resource:
    """The server that a VM element describes, with the reason of a failure in ``fault``."""
    provider_state = vm_state(vm)
    state = states.meaning(provider_state)
    fault = _message(vm, "ERROR")
    if not fault and provider_state == "PENDING":
        # SCHED_MESSAGE stays in the VM after PENDING: only now is it the reason for waiting.
        fault = _message(vm, "SCHED_MESSAGE")
    cause = _cause(provider_state, fault)
    if state is State.FAILED:
        host = last_host(vm)
        place = "" if host is None else f"on {text(host, 'HOSTNAME', '')}"
        fault = ": ".join(part for part in (place, fault) if part)
    disk = vm.find("TEMPLATE/DISK")
    memory, created = number(vm, "TEMPLATE/MEMORY", 0), number(vm, "STIME", 0)
    return Resource(
        Ref(Kind.SERVER, text(vm, "ID"), text(vm, "NAME", "")),
        state,
        provider_state,
        fault,
        cause,
        addresses=_addresses(vm),
        created=float(created) if created else None,
        vcpus=_vcpus(vm, memory),
        memory=memory * MIB or None,
        image=text(disk, "IMAGE", "") if disk is not None else "",
        owner=text(vm, "UNAME", ""),
        project=text(vm, "GNAME", ""),
    )


def vm_state(vm: Element) -> str:
    """OpenNebula's own name of a VM's state."""
    return states.name(number(vm, "STATE"), number(vm, "LCM_STATE", 0))


def last_host(vm: Element) -> Optional[Element]:
    """The newest record of a VM's history; None before it was on any host."""
    records = vm.findall("HISTORY_RECORDS/HISTORY")
    return records[-1] if records else None


def last_phase_change(vm: Element) -> float:
    """When the newest phase on the VM's last host began or ended.

    In seconds since the epoch; 0 if not stated.
    """
    host = last_host(vm)
    if host is None:
        return 0.0
    stamps = ("PSTIME", "RSTIME", "RETIME", "ESTIME", "EETIME")
    return float(max(number(host, stamp, 0) for stamp in stamps))


def error_message(resource: Element, path: str) -> str:
    """The manager's message at ``path``, without the date in front and the exit code at the end."""
    message = _EXIT_CODE.sub("", _DATE.sub("", text(resource, path, "")))
    return re.sub(r"\s+", " ", message).strip()


def _message(vm: Element, name: str) -> str:
    return error_message(vm, f"USER_TEMPLATE/{name}") or error_message(vm, f"TEMPLATE/{name}")


def _cause(provider_state: str, fault: str) -> str:
    for pattern, cause in _CAUSES:
        if re.search(pattern, f"{provider_state} {fault}", re.I):
            return cause
    return ""


def _vcpus(vm: Element, memory: int) -> Optional[int]:
    """VCPU, or oned's default of 1. None if the element is not complete.

    The pools of 5.8 to 6.6 leave VCPU out.
    """
    is_complete = vm.find("PERMISSIONS") is not None or vm.find("TEMPLATE/VCPU") is not None
    return number(vm, "TEMPLATE/VCPU", 0) or (1 if memory and is_complete else None)


def _addresses(vm: Element) -> Tuple[str, ...]:
    """The addresses leased to the NICs, then those that the hypervisor sees in the guest."""
    nics = vm.findall("TEMPLATE/NIC") + vm.findall("TEMPLATE/NIC_ALIAS")
    addresses = [
        text(nic, key, "")
        for nic in nics
        if text(nic, "ATTACH", "") != "YES"
        for key in ("EXTERNAL_IP", "IP", "IP6_GLOBAL", "IP6_ULA", "IP6")
    ]
    for key in ("GUEST_IP", "GUEST_IP_ADDRESSES"):
        addresses += [part.strip() for part in text(vm, f"MONITORING/{key}", "").split(",")]
    return tuple(dict.fromkeys(address for address in addresses if address))


# --- images: volumes, snapshots, and what VMs boot from -------------------------------------------


def volume(image: Element, vm_states: Mapping[str, str]) -> Resource:
    """The volume that a DATABLOCK image is. ``vm_states``: the states of VMs by id.

    An image belongs to a VM from the moment of the request. The volume is attached, or detached,
    once the VM has finished the hot-plug.
    """
    provider_state, users = image_state(image), image_users(image)
    state = states.image_meaning(provider_state)
    user_state = vm_states.get(users[0], "") if users else ""
    if user_state in states.MOVES_A_DISK:
        state, provider_state = State.PENDING, f"{provider_state} ({user_state})"
    server = users[0] if users else ""
    name = text(image, "NAME", "")
    return _resource(Kind.VOLUME, name, image, state, provider_state, server)


def snapshot(image: Element) -> Resource:
    """The snapshot that a saved disk is, under the name that was asked for."""
    provider_state, name = image_state(image), text(image, "NAME", "")
    if name.endswith(SNAPSHOT_SUFFIX):
        name = name[: -len(SNAPSHOT_SUFFIX)]
    state = states.image_meaning(provider_state)
    return _resource(Kind.SNAPSHOT, name, image, state, provider_state)


def image(element: Element) -> Image:
    """An image with all its properties; its checksums are those given at its registration."""
    provider_state, properties = image_state(element), texts(element, "TEMPLATE")
    checksums = {
        algorithm: properties[algorithm.upper()].lower()
        for algorithm in ("md5", "sha1")
        if properties.get(algorithm.upper())
    }
    return Image(
        text(element, "ID"),
        text(element, "NAME"),
        states.image_meaning(provider_state),
        provider_state,
        checksums,
        properties,
    )


def is_kind(kind: Kind, image: Element) -> bool:
    """Whether an image is a snapshot, or a volume: the suffix of its name and its type tell."""
    is_snapshot = text(image, "NAME").endswith(SNAPSHOT_SUFFIX)
    if kind is Kind.SNAPSHOT:
        return is_snapshot
    return kind is Kind.VOLUME and not is_snapshot and number(image, "TYPE", 0) == _DATABLOCK


def image_state(image: Element) -> str:
    """OpenNebula's own name of an image's state."""
    return states.image_name(number(image, "STATE"))


def image_users(image: Element) -> List[str]:
    """The ids of the VMs that use an image."""
    ids = ((element.text or "").strip() for element in image.findall("VMS/ID"))
    return [identity for identity in ids if whole_number(identity, 9) is not None]


def _resource(
    kind: Kind, name: str, image: Element, state: State, provider_state: str, server: str = ""
) -> Resource:
    created = number(image, "REGTIME", 0)
    return Resource(
        Ref(kind, text(image, "ID"), name),
        state,
        provider_state,
        error_message(image, "TEMPLATE/ERROR"),
        server=server,
        created=float(created) if created else None,
        size=number(image, "SIZE", 0) * MIB,
        owner=text(image, "UNAME", ""),
        project=text(image, "GNAME", ""),
    )


# --- all elements ---------------------------------------------------------------------------------


def texts(resource: Element, path: str) -> Dict[str, str]:
    """The texts of the elements below ``path``, by name."""
    return {child.tag: (child.text or "").strip() for child in resource.findall(f"{path}/*")}


def named(resources: Iterable[Element], wanted: str, username: Optional[str]) -> Optional[Element]:
    """The resource with this id, else with this name; None if there is none.

    Several can have one name: the user's own come before those of others, newer ones before older.
    """
    matches = [
        resource
        for resource in resources
        if wanted in (text(resource, "ID"), text(resource, "NAME", ""))
    ]
    by_id = [resource for resource in matches if text(resource, "ID") == wanted]
    own = [resource for resource in matches if text(resource, "UNAME", "") == username]
    return max(by_id or own or matches, key=lambda resource: number(resource, "ID"), default=None)
