"""Where things lie: the same question has one answer in a checkout, a wheel and an RPM."""

from __future__ import annotations

import os
import sys
from typing import List

from vmprobe.errors import ClientError

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_CHECKOUT = os.path.dirname(os.path.dirname(_PACKAGE))


def in_checkout() -> bool:
    """Whether this package runs from a checkout."""
    return os.path.isfile(os.path.join(_CHECKOUT, "setup.cfg")) and os.path.isdir(os.path.join(_CHECKOUT, "etc", "sites"))


def site_directories() -> List[str]:
    """Where site names are looked up, in this order: the operator's sites, then those that the suite ships."""
    return ["/etc/vmprobe/sites"] + [os.path.join(root, "etc", "sites") for root in _roots()]


def data(*parts: str) -> str:
    """A file or folder that the suite ships: ``data("templates", "nagios")``, ``data("etc", "sites")``; ClientError if it
    is not installed."""
    for root in _roots():
        path = os.path.join(root, *parts)
        if os.path.exists(path):
            return path
    raise ClientError(f"{os.path.join(*parts)} is not installed with vmprobe in {_PACKAGE}")


def probes_directory() -> str:
    """Where the executables lie: beside the package, or beside the one that runs; ClientError if neither."""
    for directory in (os.path.dirname(_PACKAGE), os.path.dirname(os.path.realpath(sys.argv[0]))):
        if os.path.exists(os.path.join(directory, "check_vm_lifecycle")):
            return directory
    raise ClientError(f"there is no check_vm_lifecycle in {directory}")


def _roots() -> List[str]:
    """What has ``templates`` and ``etc`` in it: the checkout, or share/vmprobe below whatever the package was installed
    under: /usr by an RPM, a virtual environment, /usr/local or ~/.local by pip."""
    if in_checkout():
        return [_CHECKOUT]
    found, above = [], _PACKAGE
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        found.append(os.path.join(above, "share", "vmprobe"))
    return [root for root in found if os.path.isdir(root)]


def state_directory() -> str:
    """Where this user's ledgers and state files are; who writes there makes it.

    ``$VMPROBE_STATE``; else /var/lib/vmprobe where it is writable; else ``$XDG_STATE_HOME``/vmprobe.
    """
    if os.environ.get("VMPROBE_STATE"):
        return os.environ["VMPROBE_STATE"]
    system = "/var/lib/vmprobe"
    if os.path.isdir(system) and os.access(system, os.W_OK | os.X_OK):
        return system
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "vmprobe")
