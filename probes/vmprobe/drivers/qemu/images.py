"""Images on this host: the suite's own, a directory with kernel and initrd, or a disk."""

from __future__ import annotations

import os
from typing import Callable, Dict, Iterator

from vmprobe.core.errors import NotFound

OWN_IMAGE = "vmprobe-test"
_FORMATS = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"conectix": "vpc", b"vhdxfile": "vhdx"}


def files_of(name: str) -> Dict[str, str]:
    """The files of an image: ``disk``, or ``kernel`` and ``initrd``.

    NotFound names what is missing.
    """
    from vmprobe.guest import image

    path = image.directory() if name == OWN_IMAGE else os.path.abspath(os.path.expanduser(name))
    if os.path.isfile(path):
        return {"disk": path}
    files = {file: os.path.join(path, file) for file in image.FORMATS["kernel"]}
    missing = [file for file in files.values() if not os.path.isfile(file)]
    if missing and name == OWN_IMAGE:
        raise NotFound(f"no image {name} in {path}: vmprobectl image build makes it")
    if missing:
        raise NotFound(
            f"no image {name}: it is neither a disk nor a directory with kernel and initrd"
        )
    return files


def disk_format(disk: str) -> str:
    """The format of a disk by its first bytes.

    QEMU's own guess is not used: it would trust what the guest of a raw disk wrote there.
    """
    with open(disk, "rb") as file:
        start = file.read(8)
    known = (name for magic, name in _FORMATS.items() if start.startswith(magic))
    return next(known, "raw")


def blocks(path: str, check_deadline: Callable[[], None]) -> Iterator[bytes]:
    """The content of a file, block by block."""
    with open(path, "rb") as file:
        while block := file.read(2**20):
            check_deadline()
            yield block
