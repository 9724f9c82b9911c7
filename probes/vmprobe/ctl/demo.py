"""The demonstration: one run on this machine, on a real VM in QEMU or on the in-memory cloud."""

from __future__ import annotations

import os
import shutil
import sys

from vmprobe.core.errors import VmprobeError
from vmprobe.host import paths


def run() -> int:
    """Print the check's command, so that people can repeat it, and replace this process by it."""
    missing = _missing()
    if missing:
        print(f"No real VM: {missing}. This uses the in-memory cloud, and starts nothing.")
    site = paths.data("etc", "sites", "memory.ini" if missing else "demo.ini")
    check = os.path.join(paths.probes_directory(), "check_vm_lifecycle")
    command = [_short(sys.executable), _short(check), "--site", _short(site), "-v"]
    print("$ " + " ".join(command), flush=True)
    os.execv(sys.executable, [sys.executable] + command[1:])


def _missing() -> str:
    """Why there can be no real VM here, '' if there can. Builds the test image if necessary."""
    from vmprobe.guest import image

    if not shutil.which("qemu-system-x86_64"):
        return "qemu-system-x86_64 is not installed"
    try:
        import qemu.qmp  # noqa: F401
    except ImportError:
        return "Python's qemu.qmp is not installed"
    try:
        image.build(image.directory())
    except (VmprobeError, OSError) as error:
        return f"the test image cannot be built: {error}"
    return ""


def _short(path: str) -> str:
    """A path as a person would type it: relative if it is below the current directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
