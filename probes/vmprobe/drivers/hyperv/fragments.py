"""Parts that several of the scripts have in common."""

from __future__ import annotations

BEGIN = r"""
$ErrorActionPreference = 'Stop'
$ConfirmPreference = 'None'
$ProgressPreference = 'SilentlyContinue'
try {
$vmHost = Get-VMHost
"""

# In a catch block the error is the cmdlet's own. What reaches the client of a script that stops at
# an error is another, whose text begins with PowerShell's words for that.
END = r"""} catch {
[pscustomobject]@{
    error_id = $_.FullyQualifiedErrorId
    error = $_.Exception.Message
} | ConvertTo-Json -Compress -Depth 4
}
"""

FOLDER = r"""
if (-not $Folder) { $Folder = $vmHost.VirtualHardDiskPath }
"""

# $files: one line for each virtual disk in the folder. A checkpoint lets a disk go on in a file
# NAME_GUID.avhdx beside it; it counts as part of that disk.
FILES = r"""
$files = @(Get-ChildItem -LiteralPath $Folder |
    Where-Object { $_.Extension -match '^\.a?vhdx?$' } | ForEach-Object {
    [pscustomobject]@{
        file = $_.FullName
        disk = $_.FullName -replace '_[0-9A-Fa-f-]{36}\.a(vhdx?)$', '.$1'
        name = $_.BaseName -replace '_[0-9A-Fa-f-]{36}$', ''
    }
})
"""

SERVER = r"""
$vm = $null
foreach ($candidate in @(Get-VM)) { if ($candidate.Id.ToString() -eq $Id) { $vm = $candidate } }
"""

SHOW_SERVERS = r"""
$servers = @($found | ForEach-Object {
    [pscustomobject]@{
        id = $_.Id.ToString()
        name = $_.Name
        state = $_.State.ToString()
        status = $_.Status
        created = [long]($_.CreationTime.ToUniversalTime() - [datetime]'1970-01-01').TotalSeconds
        uptime = [long]$_.Uptime.TotalSeconds
        processors = [int]$_.ProcessorCount
        memory = [long]$_.MemoryStartup
        addresses = @($_.NetworkAdapters | ForEach-Object { $_.IPAddresses })
    }
})
[pscustomobject]@{
    now = [long]([datetime]::UtcNow - [datetime]'1970-01-01').TotalSeconds
    servers = $servers
} | ConvertTo-Json -Compress -Depth 4
"""

# $holder: the id of the server that has the disk $Path, and $drives, as which it has it.
HOLDER = r"""
$holder = $null
$drives = @()
foreach ($candidate in @(Get-VM)) {
    foreach ($drive in @($candidate.HardDrives)) {
        $disk = "$($drive.Path)" -replace '_[0-9A-Fa-f-]{36}\.a(vhdx?)$', '.$1'
        if ($disk -eq $Path) {
            $holder = $candidate.Id.ToString()
            $drives += $drive
        }
    }
}
"""
