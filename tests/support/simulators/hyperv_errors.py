"""Errors of PowerShell on a Hyper-V host: (id, text), as people report them from real hosts."""

from __future__ import annotations

from typing import Any

NO_MEMORY = (
    "OutOfMemory,Microsoft.HyperV.PowerShell.Commands.StartVM",
    "'%s' could not initialize. (Virtual machine ID %s) Not enough memory in the system to start the virtual machine %s.",
)
NO_RIGHTS = (
    "AccessDenied,Microsoft.HyperV.PowerShell.Commands.GetVMHost",
    "You do not have the required permission to complete this task. Contact the administrator of the authorization "
    "policy for the computer 'HV1'.",
)
DISK_FULL = (
    "OperationFailed,Microsoft.Vhd.PowerShell.Cmdlets.NewVhd",
    "Failed to create the virtual hard disk. There is not enough space on the disk. (0x80070070)",
)
IN_USE = (
    "RemoveFileSystemItemIOError,Microsoft.PowerShell.Commands.RemoveItemCommand",
    "Cannot remove item %s: The process cannot access the file because it is being used by another process.",
)
NOT_ADDED = (
    "OperationFailed,Microsoft.HyperV.PowerShell.Commands.AddVMHardDiskDrive",
    "Failed to add device 'Virtual Hard Disk'.",
)
NOT_NOW = (
    "OperationFailed,Microsoft.HyperV.PowerShell.Commands.RemoveVM",
    "The operation cannot be performed while the virtual machine is in its current state.",
)
EXISTS = (
    "OperationFailed,Microsoft.Vhd.PowerShell.Cmdlets.NewVhd",
    "Failed to create the virtual hard disk. The file exists. (0x80070050)",
)


class PowerShellError(Exception):
    """A terminating error: its id, and its text."""

    def __init__(self, known: Any, *words: str):
        super().__init__(known[1] % words if words else known[1])
        self.id = known[0]
