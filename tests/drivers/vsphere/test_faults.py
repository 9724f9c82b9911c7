"""What a fault means: the error that it becomes, its cause, and its words."""

import pytest

from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.drivers.vsphere import faults
from vmprobe.drivers.vsphere.soap import Fault


@pytest.mark.parametrize(
    "name, kind, cause",
    [
        ("InvalidLogin", AuthRejected, "auth"),
        ("NotAuthenticated", AuthRejected, "auth"),
        ("NoPermission", NotPermitted, "auth"),
        ("RestrictedVersion", NotPermitted, "auth"),
        ("ManagedObjectNotFound", NotFound, ""),
        ("FileNotFound", NotFound, "storage"),
        ("InvalidPowerState", Conflict, ""),
        ("TaskInProgress", Conflict, ""),
        ("FileLocked", Conflict, "storage"),
        ("DuplicateName", CloudError, ""),
        ("NoDiskSpace", CloudError, "storage"),
        ("InsufficientStorageSpace", CloudError, "storage"),
        ("CannotAccessVmDisk", CloudError, "storage"),
        ("DatastoreNotWritableOnHost", CloudError, "storage"),
        ("NoCompatibleHost", CloudError, "scheduler"),
        ("InsufficientMemoryResourcesFault", CloudError, "scheduler"),
        ("InsufficientFailoverResourcesFault", CloudError, "scheduler"),
        ("HostNotConnected", CloudError, "scheduler"),
        ("NoActiveHostInCluster", CloudError, "scheduler"),
        ("CannotAccessNetwork", CloudError, "network"),
        ("DvsFault", CloudError, "network"),
        ("NicSettingMismatch", CloudError, "network"),
        ("OvfImportFailed", CloudError, "image"),
        ("CustomizationFault", CloudError, "image"),
        ("LicenseExpired", CloudError, "scheduler"),
        ("NotEnoughLicenses", QuotaExceeded, "quota"),
        ("VmLimitLicense", QuotaExceeded, "quota"),
        ("Timedout", GatewayFailed, "scheduler"),
        ("HostCommunication", GatewayFailed, "scheduler"),
        ("RuntimeFault", GatewayFailed, "gateway"),
        ("SystemError", GatewayFailed, "gateway"),
        ("", GatewayFailed, "gateway"),
        ("SomethingNew", CloudError, ""),
    ],
)
def test_a_fault_is_translated_once(name, kind, cause):
    error = faults.error("create server a", Fault(name, "Words."))

    assert (type(error), error.cause) == (kind, cause or kind.cause)


@pytest.mark.parametrize(
    "fault, expected",
    [
        (Fault("NoDiskSpace", "Insufficient disk space."), "Insufficient disk space (NoDiskSpace)"),
        (Fault("InvalidState", "*types.InvalidState"), "InvalidState"),
        (Fault("InvalidState", ""), "InvalidState"),
        (Fault("", "Words."), "Words"),
        (Fault("", ""), "a fault without a name"),
        (
            Fault("NoPermission", "Permission was denied.", "Network.Assign"),
            "Permission was denied (NoPermission: Network.Assign)",
        ),
        (
            Fault("DuplicateName", "The name 'a' already exists.", "a"),
            "The name 'a' already exists (DuplicateName)",
        ),
    ],
)
def test_its_words_are_the_managers_own_with_the_type(fault, expected):
    assert faults.words(fault) == expected
