"""Records of the simulated oned (users, VMs, images), and helpers for their XML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List
from xml.etree import ElementTree
from xml.sax.saxutils import escape

AUTHENTICATION, AUTHORIZATION, NO_EXISTS, ACTION, XML_RPC_API, INTERNAL, ALLOCATE, LOCKED = (
    0x100 << bit for bit in range(8)
)
DATED = "Mon Nov 23 00:10:13 2026 : "
STATES = {
    "PENDING": (1, 0),
    "HOLD": (2, 0),
    "LCM_INIT": (3, 0),
    "PROLOG": (3, 1),
    "BOOT": (3, 2),
    "RUNNING": (3, 3),
    "EPILOG": (3, 11),
    "SHUTDOWN": (3, 12),
    "UNKNOWN": (3, 16),
    "HOTPLUG": (3, 17),
    "CLEANUP_DELETE": (3, 23),
    "HOTPLUG_SAVEAS": (3, 26),
    "BOOT_FAILURE": (3, 36),
    "PROLOG_FAILURE": (3, 39),
    "EPILOG_FAILURE": (3, 40),
    "DONE": (6, 0),
    "FAILED": (7, 0),
    "POWEROFF": (8, 0),
    "CLONING_FAILURE": (11, 0),
}
READY, USED, DISABLED, LOCKED_IMAGE, ERROR, DELETING, USED_PERS = 1, 2, 3, 4, 5, 7, 8
FAULTS = {
    "boot-failure": "the hypervisor does not start a VM",
    "prolog-failure": "a disk cannot be copied to the host",
    "epilog-failure": "a disk cannot be removed from the host",
    "no-room": "no host has room: VMs stay PENDING",
    "never-running": "a VM stays in BOOT",
    "slow-prolog": "a VM stays in PROLOG",
    "system-full": "no system datastore has room",
    "dies": "a guest powers itself off at once",
    "no-address": "a NIC has no lease",
    "guest-address": "a NIC has no lease, and the guest's agent reports an address",
    "attach-failure": "a disk is not attached",
    "attach-hangs": "a VM stays in HOTPLUG",
    "datablock-error": "an image cannot be created",
    "no-metrics": "monitord has no reading",
    "delete-ignored": "terminate-hard is accepted, but nothing happens",
    "not-owner": "VMs belong to somebody else",
    "election": "the leader is being elected",
    "full": "a datastore has no room",
    "detach-failure": "a disk cannot be detached",
    "cancel-failure": "a guest cannot be ended",
    "rm-failure": "an image cannot be removed",
    "no-file": "an image has no file that could be removed",
    "no-lease": "a network has no lease left",
    "clusters": "a network is in no cluster",
    "saveas-error": "a disk cannot be saved",
    "away": "oned does not answer",
}


class Refused(Exception):
    """(code, message) of a call that oned refuses."""


@dataclass
class User:
    id: int
    name: str
    password: str
    driver: str = "core"
    group: int = 100
    limits: Dict[str, float] = field(
        default_factory=dict
    )  # of VMS, CPU, ...; IMAGES, SIZE; LEASES; RVMS


@dataclass
class Vm:
    id: int
    owner: User
    name: str
    template: ElementTree.Element
    state: str = "PENDING"
    made: float = 0.0
    runs: float = 0.0
    disks: List[Dict[str, str]] = field(default_factory=list)
    nics: List[Dict[str, str]] = field(default_factory=list)
    said: Dict[str, str] = field(default_factory=dict)  # USER_TEMPLATE
    host: str = ""
    seq: int = 0  # of its history's last record
    stamps: Dict[str, float] = field(
        default_factory=dict
    )  # of that record, where they are not those of its creation


@dataclass
class Stored:
    """An image."""

    id: int
    owner: User
    name: str
    type: int = 0
    state: int = READY
    size: int = 16
    persistent: bool = False
    vms: List[int] = field(default_factory=list)
    said: Dict[str, str] = field(default_factory=dict)
    made: float = 0.0


# --- XML -------------------------------------------------------------------------------------------


def permissions() -> str:
    return (
        "<PERMISSIONS>"
        + "".join(
            f"<{who}_{right}>{who == 'OWNER' and right != 'A':d}</{who}_{right}>"
            for who in ("OWNER", "GROUP", "OTHER")
            for right in "UMA"
        )
        + "</PERMISSIONS>"
    )


def owned(user: User) -> str:
    return f"<UID>{user.id}</UID><GID>100</GID><UNAME>{user.name}</UNAME><GNAME>users</GNAME>"


def vector(tag: str, said: Dict[str, str]) -> str:
    return (
        f"<{tag}>{''.join(f'<{key}>{escape(value)}</{key}>' for key, value in said.items())}</{tag}>"
        if said
        else f"<{tag}/>"
    )


def pool(tag: str, things: List[str], start: int, end: int) -> str:
    """All things; if ``end`` is below -1, ``-end`` of them, beginning with number ``start``."""
    if end < -1:
        things = things[start : start - end]
    return f"<{tag}>{''.join(things)}</{tag}>"


def old_name(procedure: str) -> str:
    """A procedure's name in refusals before 5.4: the name of its class."""
    noun, verb = procedure.split(".")[1:]
    nouns = {
        "vm": "VirtualMachine",
        "vmpool": "VirtualMachinePool",
        "imagepool": "ImagePool",
        "vnpool": "VirtualNetworkPool",
    }
    return f"{nouns.get(noun) or noun.title()}{verb.title()}"


def parsed(text: str) -> ElementTree.Element:
    """A template in OpenNebula's own syntax, as XML."""
    root = ElementTree.Element("TEMPLATE")
    for key, vector, value in re.findall(r'(?m)^(\w+) = (?:\[ (.*) \]|"((?:[^"\\]|\\.)*)")$', text):
        child = ElementTree.SubElement(root, key.upper())
        child.text = re.sub(r"\\(.)", r"\1", value)
        for name, inner in re.findall(r'(\w+) = "((?:[^"\\]|\\.)*)"', vector):
            ElementTree.SubElement(child, name.upper()).text = re.sub(r"\\(.)", r"\1", inner)
    return root
