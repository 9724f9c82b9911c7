"""The demonstration: one whole run on this machine, over a real VM where there is QEMU, else over the cloud in memory."""

from __future__ import annotations

import os
import shutil
import sys

from vmprobe.core.errors import VmprobeError
from vmprobe.host import paths


def run() -> int:
    """Replace this process by the probe; its command is printed first, so that it can be repeated by hand."""
    missing = _missing()
    if missing:
        print(
            f"No real VM here: {missing}. This runs over the cloud in memory, and starts nothing."
        )
    site = paths.data("etc", "sites", "memory.ini" if missing else "demo.ini")
    probe = os.path.join(paths.probes_directory(), "check_vm_lifecycle")
    command = [_short(sys.executable), _short(probe), "--site", _short(site), "-v"]
    print("$ " + " ".join(command), flush=True)
    os.execv(sys.executable, [sys.executable] + command[1:])


def _missing() -> str:
    """What a real VM would need and is not here, '' if nothing; the test image is built if it has to be."""
    from vmprobe.guest import image

    if not shutil.which("qemu-system-x86_64"):
        return "qemu-system-x86_64 is not installed"
    try:
        import qemu.qmp  # noqa: F401
    except ImportError:
        return "Python's qemu.qmp is not installed"
    try:
        image.build(image.directory())
    except (VmprobeError, OSError) as failed:
        return f"the test image cannot be built: {failed}"
    return ""


def _short(path: str) -> str:
    """A path as a person here would write it."""
    near = os.path.relpath(path)
    return path if near.startswith("..") else near
