"""Where files are: the same functions answer in a checkout, a wheel and an RPM."""

from __future__ import annotations

import os
import sys
from typing import List

from vmprobe.core.errors import ClientError
from vmprobe.host import files

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_CHECKOUT = os.path.dirname(os.path.dirname(_PACKAGE))


def in_checkout() -> bool:
    """Whether this package runs from a checkout."""
    return os.path.isfile(os.path.join(_CHECKOUT, "setup.cfg")) and os.path.isdir(
        os.path.join(_CHECKOUT, "etc", "sites")
    )


def newest_module() -> int:
    """When the newest module of this package was written: nanoseconds since the epoch."""
    return max(
        os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, _, names in os.walk(_PACKAGE)
        for name in names
        if name.endswith(".py")
    )


def site_directories() -> List[str]:
    """Where site names are looked up, in this order: the operator's sites, then shipped ones."""
    return ["/etc/vmprobe/sites"] + [os.path.join(root, "etc", "sites") for root in _roots()]


def data(*parts: str) -> str:
    """The path of a shipped file or folder, such as ``data("templates", "nagios")``.

    ClientError if it is not installed.
    """
    for root in _roots():
        path = os.path.join(root, *parts)
        if os.path.exists(path):
            return path
    raise ClientError(f"{os.path.join(*parts)} is not installed with vmprobe in {_PACKAGE}")


def probes_directory() -> str:
    """The folder of the executables: beside the package, or the running one's; else ClientError."""
    for directory in (os.path.dirname(_PACKAGE), os.path.dirname(os.path.realpath(sys.argv[0]))):
        if os.path.exists(os.path.join(directory, "check_vm_lifecycle")):
            return directory
    raise ClientError(f"there is no check_vm_lifecycle in {directory}")


def _roots() -> List[str]:
    """The directories that have ``templates`` and ``etc`` in them.

    That is the checkout, or share/vmprobe below the prefix of the installation: /usr for an RPM, a
    virtual environment, /usr/local or ~/.local for pip.
    """
    if in_checkout():
        return [_CHECKOUT]
    roots, above = [], _PACKAGE
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        roots.append(os.path.join(above, "share", "vmprobe"))
    return [root for root in roots if os.path.isdir(root)]


def home() -> str:
    """This user's home directory; '' where there is none.

    There is none without an account and HOME, and for a daemon whose home is ``/`` or missing.
    """
    path = os.path.expanduser("~")
    return path if os.path.isabs(path) and path.strip("/") and os.path.isdir(path) else ""


def user_directory(variable: str, *below_home: str) -> str:
    """The directory that an XDG variable names, else one below this user's home.

    '' where there is neither.
    """
    named = os.environ.get(variable, "")
    if os.path.isabs(named):
        return named
    return os.path.join(home(), *below_home) if home() else ""


def state_directory() -> str:
    """Where this user's ledgers and state files are; whoever writes there creates it.

    ``$VMPROBE_STATE``; else /var/lib/vmprobe where it is writable; else vmprobe below
    ``$XDG_STATE_HOME``, or .local/state/vmprobe below the home; else a directory in /var/tmp with
    this user's number. ClientError where somebody else has created that one.
    """
    if os.environ.get("VMPROBE_STATE"):
        return os.environ["VMPROBE_STATE"]
    system = "/var/lib/vmprobe"
    if os.path.isdir(system) and os.access(system, os.W_OK | os.X_OK):
        return system
    state = user_directory("XDG_STATE_HOME", ".local", "state")
    return os.path.join(state, "vmprobe") if state else _of_nobody()


def _of_nobody() -> str:
    """The state directory of a user without a home.

    Its name can be guessed, so its owner and mode are checked before it is used.
    """
    path = f"/var/tmp/vmprobe-{os.geteuid()}"
    try:
        files.make_own_directory(path)
    except OSError as failed:
        wrong = f"{path}: {failed.strerror}" if failed.filename else failed.strerror
        raise ClientError(
            f"{wrong}; this user has no home, so name a directory for the state in VMPROBE_STATE"
        ) from None
    return path
