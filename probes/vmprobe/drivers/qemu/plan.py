"""What the driver reads of the section [test vm], and what it adds to a Plan."""

from __future__ import annotations

from typing import TypedDict


class QemuTestVM(TypedDict):
    """The keys of [test vm] that the driver reads."""

    image: str
    flavor: int  # bytes of memory
    network: str
    vcpus: int


class QemuDetails(TypedDict, total=False):
    """The ``details`` of a plan: ``kernel`` and ``initrd``, or else ``disk``."""

    kernel: str  # path; with ``initrd``, of the suite's own image
    initrd: str  # path
    disk: str  # path, of any other image
