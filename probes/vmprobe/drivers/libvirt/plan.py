"""What the driver reads of the section [test vm], and what it adds to a Plan."""

from __future__ import annotations

from typing import TypedDict

LibvirtTestVM = TypedDict(
    "LibvirtTestVM",
    {
        "image": str,
        "flavor": int,  # bytes of memory
        "network": str,
        "domain type": str,
        "vcpus": int,
    },
)

LibvirtDetails = TypedDict(
    "LibvirtDetails",
    {
        "kernel": str,  # path; with ``initrd``, of the suite's own image
        "initrd": str,  # path
        "base": str,  # path of a volume; with ``format`` and ``size``, of any other image
        "format": str,
        "size": int,  # bytes
        "domain type": str,
        "pool": str,
    },
    total=False,
)
