"""Types of the section [test vm] as OpenNebula's drivers read it, and of a Plan's details."""

from __future__ import annotations

from typing import Dict, List, Optional, TypedDict, Union

Attribute = Union[str, int, float, Dict[str, str], None]  # of a VM; None: not given

OpenNebulaTestVM = TypedDict(
    "OpenNebulaTestVM",
    {
        "image": str,
        "flavor": str,
        "network": str,
        "volume": Optional[int],
        "snapshot": bool,
        "vcpu": Optional[int],
        "cpu": Optional[float],  # share of a physical CPU
        "memory": Optional[int],  # bytes
        "datastore": Optional[str],
        "requirements": Optional[str],
        "device prefix": Optional[str],
        "reporter": bool,
    },
)

OpenNebulaDetails = TypedDict(
    "OpenNebulaDetails",
    {
        "image": str,  # id
        "network": str,  # id; '' if the template's network is used
        "datastore": str,  # id; '' without a volume
        "template": Optional[str],  # id
        "given": Dict[str, Attribute],  # attributes of the VM, beside those of the template
        "CPU": Union[str, float, None],
        "DISK": List[Dict[str, str]],
        "NIC": List[Dict[str, str]],
        "SCHED_REQUIREMENTS": Optional[str],
    },
)


class StratusLabTestVM(TypedDict):
    """The keys of [test vm] that the driver reads."""

    image: str
    flavor: str
    network: str
    requirements: Optional[str]


class StratusLabDetails(TypedDict):
    """The ``details`` of a plan."""

    source: str  # URL or id of the image
    driver: str  # format of the image
    prefix: str  # of the disks' devices
    swap: int  # MiB
    requirements: Optional[str]
