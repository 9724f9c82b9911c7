"""Faults of vSphere, translated once into the suite's errors and causes.

Source: the faults of the vSphere Web Services API reference. The wire names a fault's type, but not
what that type is derived from, so the families stand here.
"""

from __future__ import annotations

import re
from typing import Type

from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.core.text import cut
from vmprobe.drivers.vsphere.soap import Fault

_REJECTED = {"InvalidLogin", "NotAuthenticated", "InvalidLocale", "PasswordExpired", "NoSubject"}
_FORBIDDEN = {"NoPermission", "RestrictedVersion", "RestrictedByAdministrator", "SecurityError"}
_GONE = {"ManagedObjectNotFound", "FileNotFound", "NotFound"}
_NOT_NOW = {
    "ConcurrentAccess",
    "FileLocked",
    "InvalidPowerState",
    "InvalidState",
    "InvalidVmState",
    "ResourceInUse",
    "TaskInProgress",
    "VAppTaskInProgress",
    "VmPowerOnDisabled",
}
_FULL = {"NotEnoughLicenses", "VmLimitLicense"}  # of the licence: the cloud itself may be fine
_FAILED = {"HostCommunication", "RequestCanceled", "RuntimeFault", "SystemError", "Timedout"}

_CAUSES = (
    (r"NoPermission|RestrictedVersion|RestrictedByAdministrator|SecurityError", "auth"),
    (r"NotEnoughLicenses|VmLimitLicense", "quota"),
    (r"License|Licensed$", "scheduler"),
    (
        r"NoDiskSpace|InsufficientStorage|Datastore|Disk|Datacenter|^File|FileFault|CreateFile"
        r"|AccessFile|DeleteFile|StorageDrs|Storage|VmConfigFile|Snapshot",
        "storage",
    ),
    (r"Network|^Dvs|^Nic|MacAddress|Ethernet|Opaque", "network"),
    (r"^Ovf|Customization|^Template|GuestOS|UnsupportedGuest", "image"),
    (
        r"^Insufficient|NoCompatibleHost|NoHost|NoActiveHost|NoAvailableIp|^Host|^Drs|InCluster"
        r"|NotSupportedHost|CpuIncompatible|HardAffinity|MaintenanceMode|^Memory|^NumVirtualCpus"
        r"|^Ha|^EVC|^Timedout",
        "scheduler",
    ),
)


def cause(fault: Fault) -> str:
    """One of the suite's causes; '' where the stage has to decide."""
    return next((word for pattern, word in _CAUSES if re.search(pattern, fault.type)), "")


def words(fault: Fault) -> str:
    """The server's own words with the fault's type, as an operator can look it up."""
    message = cut(fault.message, 400).strip().rstrip(".")
    if not message or re.fullmatch(r"\*?types\.\w+", message):
        return fault.type or "a fault without a name"
    about = cut(fault.about, 100) if fault.about and fault.about not in message else ""
    kind = f"{fault.type}: {about}" if about else fault.type
    return f"{message} ({kind})" if kind else message


def error(asked: str, fault: Fault) -> CloudError:
    """The error for the fault that a call or a task ended with."""
    kind = kind_of(fault)
    found = cause(fault) or ("" if kind is not GatewayFailed else "gateway")
    return kind(f"{asked}: {words(fault)}", cause=found)


def kind_of(fault: Fault) -> Type[CloudError]:
    """The type of the error."""
    for names, kind in (
        (_REJECTED, AuthRejected),
        (_FORBIDDEN, NotPermitted),
        (_GONE, NotFound),
        (_NOT_NOW, Conflict),
        (_FULL, QuotaExceeded),
        (_FAILED, GatewayFailed),
    ):
        if fault.type in names:
            return kind
    return CloudError if fault.type else GatewayFailed
