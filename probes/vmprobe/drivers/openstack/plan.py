"""The types of what this driver reads of the section [test vm], and of what it adds to a Plan."""

from __future__ import annotations

from typing import Optional, TypedDict

OpenStackTestVM = TypedDict(
    "OpenStackTestVM",
    {
        "image": str,
        "flavor": str,
        "network": str,
        "volume": Optional[int],
        "depth": str,
        "snapshot": bool,
        "external network": Optional[str],
        "availability zone": Optional[str],
        "security group": Optional[str],
        "volume type": Optional[str],
        "boot from volume": bool,
        "config drive": bool,
    },
)

OpenStackDetails = TypedDict(
    "OpenStackDetails",
    {
        "image": str,  # id
        "flavor": str,  # id
        "network": str,  # id
        "port security": bool,  # of the network: whether security groups can be used
        "disk": int,  # GiB of the volume to boot from
        "local disk": int,  # bytes of the host's disk
        "availability zone": Optional[str],
        "security group": Optional[str],
        "volume type": Optional[str],
        "boot from volume": Optional[bool],
        "config drive": Optional[bool],
    },
)
