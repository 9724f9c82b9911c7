"""Where things lie: the same question has one answer in a checkout, a wheel and an RPM."""

from __future__ import annotations

import os
from typing import List

from vmprobe.errors import ClientError

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_CHECKOUT = os.path.dirname(os.path.dirname(_PACKAGE))


def in_checkout() -> bool:
    """Whether this package runs from a checkout."""
    return os.path.isfile(os.path.join(_CHECKOUT, "setup.cfg")) and os.path.isdir(os.path.join(_CHECKOUT, "etc", "sites"))


def site_directories() -> List[str]:
    """Where site names are looked up, in this order."""
    found = ["/etc/vmprobe/sites"]
    if in_checkout():
        found.append(os.path.join(_CHECKOUT, "etc", "sites"))
    return found


def data(*parts: str) -> str:
    """A file or folder that the suite ships: ``data("templates", "nagios")``, ``data("etc", "sites")``."""
    import sys

    roots = [_CHECKOUT] if in_checkout() else []
    roots += [os.path.join(sys.prefix, "share", "vmprobe"), "/usr/share/vmprobe"]
    for root in roots:
        path = os.path.join(root, *parts)
        if os.path.exists(path):
            return path
    raise ClientError(f"{os.path.join(*parts)} is not in {' or '.join(roots)}")


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
