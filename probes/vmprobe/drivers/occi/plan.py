"""The types of what OCCI's driver reads of the section [test vm], and of what it writes into a Plan."""

from __future__ import annotations

from typing import Dict, List, Optional, TypedDict

OcciTestVM = TypedDict(
    "OcciTestVM",
    {
        "image": str,
        "flavor": str,
        "network": str,
        "start": bool,
        "user data": Optional[str],  # path of a file
        "ssh key": Optional[str],  # path of a file
    },
)


class OcciDetails(TypedDict):
    mixins: List[str]
    attributes: Dict[str, str]
    network: str  # location; '' for none
