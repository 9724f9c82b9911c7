"""What a test VM on Hyper-V is made of: the keys of its section, and what the host says of them."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, TypedDict, cast

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.model import Plan
from vmprobe.core.values import one_of
from vmprobe.transport.json import field, short_text

HypervTestVM = TypedDict(
    "HypervTestVM",
    {
        "image": str,
        "flavor": int,  # bytes of memory
        "network": str,
        "vcpus": int,
        "generation": Optional[int],
        "secure boot": str,
    },
)


class HypervDetails(TypedDict):
    """What ``create`` has to know."""

    image: str  # the path of the parent disk
    folder: str
    suffix: str  # .vhd or .vhdx, as the parent's
    generation: int
    template: str  # of secure boot; '' without it


TEMPLATES = {
    "off": "",
    "windows": "MicrosoftWindows",
    "linux": "MicrosoftUEFICertificateAuthority",
}
secure_boot = one_of(*TEMPLATES)


def generation(text: str) -> int:
    """Parse the key ``generation``."""
    return int(one_of("1", "2")(text))


def of_reply(reply: Mapping[str, Any], test_vm: HypervTestVM) -> Plan:
    """The plan of a test VM; NotFound or ClientError says what the host does not have."""
    folder = short_text(reply, "folder")
    if not field(reply, "folder_exists", bool):
        raise ClientError(f"[endpoint] folder: there is no {folder} on the host")
    disk: Dict[str, Any] = field(reply, "disk", dict, default={})
    if not disk:
        raise NotFound(f"no image named {test_vm['image']!r}", cause="image")
    details = _details(disk, folder, test_vm)
    network = _switch(reply, test_vm["network"])
    memory = test_vm["flavor"]
    return Plan(
        test_vm["image"],
        f"{memory / 2**20:g} MiB",
        network,
        cast("Mapping[str, object]", details),
        vcpus=test_vm["vcpus"],
        memory=memory,
    )


def _details(disk: Mapping[str, Any], folder: str, test_vm: HypervTestVM) -> HypervDetails:
    """A VHD boots a VM of generation 1 only; a VHDX one of either, and by default of 2."""
    form = short_text(disk, "format").upper()
    if form not in ("VHD", "VHDX"):
        raise ClientError(f"image {test_vm['image']!r} is a {form}, which cannot be a parent disk")
    number = test_vm["generation"] or (2 if form == "VHDX" else 1)
    if number == 2 and form == "VHD":
        raise ClientError(f"image {test_vm['image']!r} is a VHD: it needs generation = 1")
    if number == 1 and test_vm["secure boot"] != "off":
        raise ClientError("secure boot needs generation = 2")
    return {
        "image": short_text(disk, "path"),
        "folder": folder,
        "suffix": f".{form.lower()}",
        "generation": number,
        "template": TEMPLATES[test_vm["secure boot"]],
    }


def _switch(reply: Mapping[str, Any], wanted: str) -> str:
    """The virtual switch of this name, or the only one that there is."""
    names = [str(name) for name in field(reply, "switches", list)]
    if wanted:
        for name in names:
            if name.lower() == wanted.lower():
                return name
        raise NotFound(f"no virtual switch named {wanted!r}", cause="network")
    if not names:
        raise NotFound("the host has no virtual switch", cause="network")
    if len(names) > 1:
        shown = ", ".join(sorted(names)[:5])
        raise ClientError(
            f"[test vm] network: name one of the host's {len(names)} switches: {shown}"
        )
    return names[0]
