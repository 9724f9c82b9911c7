"""Names of OpenNebula's state numbers (VirtualMachine.h, Image.h), and what they mean.

A VM has STATE and, while that is ACTIVE, LCM_STATE; an image has STATE. The tables are those of
7.x; they also have the numbers that older versions had and newer ones dropped, so they serve 3.x to
7.x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional

from vmprobe.core.model import State

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ACTIVE = 3

STATE: Dict[int, str] = {
    0: "INIT",
    1: "PENDING",
    2: "HOLD",
    3: "ACTIVE",
    4: "STOPPED",
    5: "SUSPENDED",
    6: "DONE",
    7: "FAILED",
    8: "POWEROFF",
    9: "UNDEPLOYED",
    10: "CLONING",
    11: "CLONING_FAILURE",
}

LCM_STATE: Dict[int, str] = {  # of a VM that is ACTIVE
    0: "LCM_INIT",
    1: "PROLOG",
    2: "BOOT",
    3: "RUNNING",
    4: "MIGRATE",
    5: "SAVE_STOP",
    6: "SAVE_SUSPEND",
    7: "SAVE_MIGRATE",
    8: "PROLOG_MIGRATE",
    9: "PROLOG_RESUME",
    10: "EPILOG_STOP",
    11: "EPILOG",
    12: "SHUTDOWN",
    13: "CANCEL",
    14: "FAILURE",
    15: "CLEANUP_RESUBMIT",
    16: "UNKNOWN",
    17: "HOTPLUG",
    18: "SHUTDOWN_POWEROFF",
    19: "BOOT_UNKNOWN",
    20: "BOOT_POWEROFF",
    21: "BOOT_SUSPENDED",
    22: "BOOT_STOPPED",
    23: "CLEANUP_DELETE",
    24: "HOTPLUG_SNAPSHOT",
    25: "HOTPLUG_NIC",
    26: "HOTPLUG_SAVEAS",
    27: "HOTPLUG_SAVEAS_POWEROFF",
    28: "HOTPLUG_SAVEAS_SUSPENDED",
    29: "SHUTDOWN_UNDEPLOY",
    30: "EPILOG_UNDEPLOY",
    31: "PROLOG_UNDEPLOY",
    32: "BOOT_UNDEPLOY",
    33: "HOTPLUG_PROLOG_POWEROFF",
    34: "HOTPLUG_EPILOG_POWEROFF",
    35: "BOOT_MIGRATE",
    36: "BOOT_FAILURE",
    37: "BOOT_MIGRATE_FAILURE",
    38: "PROLOG_MIGRATE_FAILURE",
    39: "PROLOG_FAILURE",
    40: "EPILOG_FAILURE",
    41: "EPILOG_STOP_FAILURE",
    42: "EPILOG_UNDEPLOY_FAILURE",
    43: "PROLOG_MIGRATE_POWEROFF",
    44: "PROLOG_MIGRATE_POWEROFF_FAILURE",
    45: "PROLOG_MIGRATE_SUSPEND",
    46: "PROLOG_MIGRATE_SUSPEND_FAILURE",
    47: "BOOT_UNDEPLOY_FAILURE",
    48: "BOOT_STOPPED_FAILURE",
    49: "PROLOG_RESUME_FAILURE",
    50: "PROLOG_UNDEPLOY_FAILURE",
    51: "DISK_SNAPSHOT_POWEROFF",
    52: "DISK_SNAPSHOT_REVERT_POWEROFF",
    53: "DISK_SNAPSHOT_DELETE_POWEROFF",
    54: "DISK_SNAPSHOT_SUSPENDED",
    55: "DISK_SNAPSHOT_REVERT_SUSPENDED",
    56: "DISK_SNAPSHOT_DELETE_SUSPENDED",
    57: "DISK_SNAPSHOT",
    58: "DISK_SNAPSHOT_REVERT",
    59: "DISK_SNAPSHOT_DELETE",
    60: "PROLOG_MIGRATE_UNKNOWN",
    61: "PROLOG_MIGRATE_UNKNOWN_FAILURE",
    62: "DISK_RESIZE",
    63: "DISK_RESIZE_POWEROFF",
    64: "DISK_RESIZE_UNDEPLOYED",
    65: "HOTPLUG_NIC_POWEROFF",
    66: "HOTPLUG_RESIZE",
    67: "HOTPLUG_SAVEAS_UNDEPLOYED",
    68: "HOTPLUG_SAVEAS_STOPPED",
    69: "BACKUP",
    70: "BACKUP_POWEROFF",
    71: "RESTORE",
}

RUNS = {  # the guest keeps running
    "RUNNING",
    "MIGRATE",
    "HOTPLUG",
    "HOTPLUG_SNAPSHOT",
    "HOTPLUG_NIC",
    "HOTPLUG_SAVEAS",
    "HOTPLUG_RESIZE",
    "DISK_SNAPSHOT",
    "DISK_SNAPSHOT_DELETE",
    "DISK_RESIZE",
    "BACKUP",
}
RESTS = {"HOLD", "STOPPED", "SUSPENDED", "POWEROFF", "UNDEPLOYED"}  # stopped by the owner
_FAILED = {"POWEROFF", "FAILED", "FAILURE", "UNKNOWN"}  # for a test VM, which nobody stops
ENDS = {"EPILOG", "SHUTDOWN", "CANCEL", "CLEANUP_DELETE"}  # will be DONE soon
STAMPED = {  # their begin is in the history of the VM
    word
    for word in LCM_STATE.values()
    if word.startswith(("PROLOG", "EPILOG")) and not word.endswith("_FAILURE")
}
_FIRST = {"INIT", "PENDING", "LCM_INIT", "PROLOG", "BOOT", "CLONING"}
MOVES_A_DISK = {  # attaches or detaches one
    "HOTPLUG",
    "HOTPLUG_PROLOG_POWEROFF",
    "HOTPLUG_EPILOG_POWEROFF",
}

IMAGE: Dict[int, str] = {
    0: "INIT",
    1: "READY",
    2: "USED",
    3: "DISABLED",
    4: "LOCKED",
    5: "ERROR",
    6: "CLONE",
    7: "DELETE",
    8: "USED_PERS",
    9: "LOCKED_USED",
    10: "LOCKED_USED_PERS",
}
_IMAGE_MEANING = {
    "READY": State.READY,
    "USED": State.READY,
    "USED_PERS": State.READY,
    "DISABLED": State.FAILED,
    "ERROR": State.FAILED,
}


def name(state: int, lcm_state: int) -> str:
    """OpenNebula's own name of a VM's state: the LCM_STATE while it is ACTIVE, else the STATE.

    An unknown number becomes ``STATE 42``.
    """
    if state == _ACTIVE:
        return LCM_STATE.get(lcm_state, f"LCM_STATE {lcm_state}")
    return STATE.get(state, f"STATE {state}")


def image_name(state: int) -> str:
    """OpenNebula's own name of an image's state; an unknown number becomes ``STATE 42``."""
    return IMAGE.get(state, f"STATE {state}")


def meaning(provider_state: str) -> State:
    """What a VM's state means. Every ``_FAILURE`` waits for somebody to recover the VM."""
    if provider_state in RUNS:
        return State.READY
    if provider_state.endswith("_FAILURE") or provider_state in _FAILED:
        return State.FAILED
    return State.PENDING


def image_meaning(provider_state: str) -> State:
    """What an image's state means."""
    return _IMAGE_MEANING.get(provider_state, State.PENDING)


def is_first(provider_state: str, last_host: Optional[Element]) -> bool:
    """Whether a VM has been in this state, or in those before it, since its creation.

    ``last_host``: the newest record of its history, None if it has none.
    """
    if provider_state not in _FIRST:
        return False
    if last_host is None:
        return True
    return provider_state != "PENDING" and (last_host.findtext("SEQ") or "0") == "0"
