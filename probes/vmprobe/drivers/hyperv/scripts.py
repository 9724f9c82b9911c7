"""The PowerShell that runs on a Hyper-V host: one script for each verb.

Values reach a script as its parameters; no script is ever put together from values. Each writes one
JSON object of named fields; when it fails, of ``error_id`` and ``error``. Enums and ids are written
as text, sizes in bytes, times in seconds, so nothing depends on the language of Windows or on the
version of PowerShell (5.1 writes enums as numbers and dates as ``/Date()/``).

Servers, checkpoints and files are looked up by listing them: whether one exists then does not
depend on the text of an error. ``Get-VMHost`` comes first, because it fails where the account has
no rights, while ``Get-VM`` may then show an empty list.

Cmdlets: the Hyper-V module of Windows Server 2016 to 2025, ``Get-CimInstance``, ``Get-Volume``,
``Get-ChildItem``, ``Remove-Item``, ``Test-Path``, ``Join-Path``, ``ForEach-Object``,
``Where-Object``, ``ConvertTo-Json``.
"""

from __future__ import annotations

_BEGIN = r"""
$ErrorActionPreference = 'Stop'
$ConfirmPreference = 'None'
$ProgressPreference = 'SilentlyContinue'
try {
$vmHost = Get-VMHost
"""

# In a catch block the error is the cmdlet's own. What reaches the client of a script that stops at
# an error is another, whose text begins with PowerShell's words for that.
_END = r"""} catch {
[pscustomobject]@{
    error_id = $_.FullyQualifiedErrorId
    error = $_.Exception.Message
} | ConvertTo-Json -Compress -Depth 4
}
"""

_FOLDER = r"""
if (-not $Folder) { $Folder = $vmHost.VirtualHardDiskPath }
"""

# $files: one line for each virtual disk in the folder. A checkpoint lets a disk go on in a file
# NAME_GUID.avhdx beside it; it counts as part of that disk.
_FILES = r"""
$files = @(Get-ChildItem -LiteralPath $Folder |
    Where-Object { $_.Extension -match '^\.a?vhdx?$' } | ForEach-Object {
    [pscustomobject]@{
        file = $_.FullName
        disk = $_.FullName -replace '_[0-9A-Fa-f-]{36}\.a(vhdx?)$', '.$1'
        name = $_.BaseName -replace '_[0-9A-Fa-f-]{36}$', ''
    }
})
"""

_SERVER = r"""
$vm = $null
foreach ($candidate in @(Get-VM)) { if ($candidate.Id.ToString() -eq $Id) { $vm = $candidate } }
"""

_SHOW_SERVERS = r"""
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

DESCRIBE = (
    _BEGIN
    + r"""
$system = Get-CimInstance -ClassName Win32_OperatingSystem
[pscustomobject]@{
    version = $system.Version
    system = $system.Caption
    host = $vmHost.Name
} | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

RESOLVE = (
    r"param([string]$Folder, [string]$Image)"
    + _BEGIN
    + _FOLDER
    + r"""
if (-not [System.IO.Path]::IsPathRooted($Image)) {
    $Image = Join-Path -Path $Folder -ChildPath $Image
}
$disk = $null
if (Test-Path -LiteralPath $Image) {
    $vhd = Get-VHD -Path $Image
    $disk = [pscustomobject]@{
        path = $vhd.Path
        format = $vhd.VhdFormat.ToString()
        size = [long]$vhd.Size
    }
}
[pscustomobject]@{
    folder = $Folder
    folder_exists = [bool](Test-Path -LiteralPath $Folder)
    disk = $disk
    switches = @(Get-VMSwitch | ForEach-Object { $_.Name })
} | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

CREATE_SERVER = (
    r"param([string]$Name, [string]$Image, [string]$Disk, [long]$Memory, [int]$Processors, "
    r"[int]$Generation, [string]$SwitchName, [string]$Template)"
    + _BEGIN
    + r"""
$null = New-VHD -Path $Disk -ParentPath $Image -Differencing
$vm = New-VM -Name $Name -MemoryStartupBytes $Memory -Generation $Generation `
    -VHDPath $Disk -SwitchName $SwitchName
Set-VM -VM $vm -ProcessorCount $Processors -StaticMemory -Notes $Name
Set-VM -VM $vm -AutomaticStartAction Nothing -AutomaticStopAction TurnOff -CheckpointType Standard
if ($Generation -eq 2) {
    if ($Template) { Set-VMFirmware -VM $vm -EnableSecureBoot On -SecureBootTemplate $Template }
    else { Set-VMFirmware -VM $vm -EnableSecureBoot Off }
}
Enable-VMResourceMetering -VM $vm
Start-VM -VM $vm
[pscustomobject]@{ id = $vm.Id.ToString(); name = $vm.Name } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

LIST_SERVERS = (
    r"param([string]$Prefix)"
    + _BEGIN
    + r"""
$found = @(Get-VM | Where-Object {
    $_.Name.StartsWith($Prefix, [System.StringComparison]::OrdinalIgnoreCase)
})
"""
    + _SHOW_SERVERS
    + _END
)

SHOW_SERVER = (
    r"param([string]$Id)"
    + _BEGIN
    + r"""
$found = @(Get-VM | Where-Object { $_.Id.ToString() -eq $Id })
"""
    + _SHOW_SERVERS
    + _END
)

# What cannot be deleted yet, because a checkpoint is being merged, is listed as a volume from then
# on: the clean-up finds it by its name.
DELETE_SERVER = (
    r"param([string]$Folder, [string]$Id)"
    + _BEGIN
    + _FOLDER
    + _SERVER
    + r"""
if ($vm) {
    $name = $vm.Name
    if ($vm.State.ToString() -notmatch '^(Off|Saved|FastSaved)') {
        Stop-VM -VM $vm -TurnOff -Force
    }
    Remove-VM -VM $vm -Force
"""
    + _FILES
    + r"""
    $files | Where-Object { $_.name -eq "$name-boot" } | ForEach-Object {
        Remove-Item -LiteralPath $_.file -Force -ErrorAction SilentlyContinue
    }
}
[pscustomobject]@{ existed = [bool]$vm } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

CREATE_VOLUME = (
    r"param([string]$Folder, [string]$Name, [long]$Size)"
    + _BEGIN
    + _FOLDER
    + r"""
$vhd = New-VHD -Path (Join-Path -Path $Folder -ChildPath "$Name.vhdx") -SizeBytes $Size -Dynamic
[pscustomobject]@{ path = $vhd.Path } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

# A boot disk is part of its server, and is listed only once that server is gone.
LIST_VOLUMES = (
    r"param([string]$Folder, [string]$Prefix, [string]$Path)"
    + _BEGIN
    + _FOLDER
    + _FILES
    + r"""
$boot = @{}
$holders = @{}
foreach ($vm in @(Get-VM)) {
    $boot["$($vm.Name)-boot"] = $true
    foreach ($drive in @($vm.HardDrives)) {
        if ($drive.Path) {
            $disk = $drive.Path -replace '_[0-9A-Fa-f-]{36}\.a(vhdx?)$', '.$1'
            $holders[$disk] = $vm.Id.ToString()
        }
    }
}
$seen = @{}
$volumes = @($files | Where-Object {
    -not $boot[$_.name] -and (
        ($Path -and $_.disk -eq $Path) -or
        (-not $Path -and $_.name.StartsWith($Prefix, [System.StringComparison]::OrdinalIgnoreCase)))
} | ForEach-Object {
    if (-not $seen[$_.disk]) {
        $seen[$_.disk] = $true
        $size = $null
        try { $size = [long](Get-VHD -Path $_.file).Size } catch { $size = $null }
        [pscustomobject]@{
            path = $_.disk
            name = $_.name
            size = $size
            server = $holders[$_.disk]
        }
    }
})
[pscustomobject]@{ volumes = $volumes } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

_HOLDER = r"""
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

DELETE_VOLUME = (
    r"param([string]$Folder, [string]$Path)"
    + _BEGIN
    + _FOLDER
    + _FILES
    + _HOLDER
    + r"""
if (-not $holder) {
    $files | Where-Object { $_.disk -eq $Path } | ForEach-Object {
        Remove-Item -LiteralPath $_.file -Force
    }
}
[pscustomobject]@{ holder = $holder } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

ATTACH = (
    r"param([string]$Id, [string]$Path)"
    + _BEGIN
    + _SERVER
    + _HOLDER
    + r"""
$exists = [bool](Test-Path -LiteralPath $Path)
if ($vm -and $exists -and -not $holder) {
    Add-VMHardDiskDrive -VM $vm -ControllerType SCSI -Path $Path
    $holder = $vm.Id.ToString()
}
[pscustomobject]@{
    server = [bool]$vm
    volume = $exists
    holder = $holder
} | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

DETACH = (
    r"param([string]$Id, [string]$Path)"
    + _BEGIN
    + _HOLDER
    + r"""
if ($holder -eq $Id) {
    foreach ($drive in $drives) { Remove-VMHardDiskDrive -VMHardDiskDrive $drive }
}
[pscustomobject]@{ holder = $holder } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

CREATE_SNAPSHOT = (
    r"param([string]$Id, [string]$Name)"
    + _BEGIN
    + _SERVER
    + r"""
$checkpoint = $null
if ($vm) { $checkpoint = (Checkpoint-VM -VM $vm -SnapshotName $Name -Passthru).Id.ToString() }
[pscustomobject]@{ id = $checkpoint } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

LIST_SNAPSHOTS = (
    r"param([string]$Prefix, [string]$Id)"
    + _BEGIN
    + r"""
$all = @()
foreach ($vm in @(Get-VM)) { $all += @(Get-VMSnapshot -VM $vm) }
$snapshots = @($all | Where-Object {
    ($Id -and $_.Id.ToString() -eq $Id) -or
    (-not $Id -and $_.Name.StartsWith($Prefix, [System.StringComparison]::OrdinalIgnoreCase))
} | ForEach-Object {
    [pscustomobject]@{
        id = $_.Id.ToString()
        name = $_.Name
        kind = $_.SnapshotType.ToString()
        server = $_.VMId.ToString()
        created = [long]($_.CreationTime.ToUniversalTime() - [datetime]'1970-01-01').TotalSeconds
    }
})
[pscustomobject]@{ snapshots = $snapshots } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

DELETE_SNAPSHOT = (
    r"param([string]$Id)"
    + _BEGIN
    + r"""
foreach ($vm in @(Get-VM)) {
    foreach ($snapshot in @(Get-VMSnapshot -VM $vm)) {
        if ($snapshot.Id.ToString() -eq $Id) { Remove-VMSnapshot -VMSnapshot $snapshot }
    }
}
[pscustomobject]@{ done = $true } | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)

# Measure-VM: MHz and MB since the metering of this server began.
MEASURE = (
    r"param([string]$Id)"
    + _BEGIN
    + _SERVER
    + r"""
$measured = $null
if ($vm -and $vm.ResourceMeteringEnabled) {
    $report = Measure-VM -VM $vm
    $duration = $null
    if ($null -ne $report.MeteringDuration) {
        $duration = [double]$report.MeteringDuration.TotalSeconds
    }
    $processor = @(Get-CimInstance -ClassName Win32_Processor)[0]
    $traffic = @($report.NetworkMeteredTrafficReport | Where-Object { $_ } | ForEach-Object {
        [pscustomobject]@{ direction = $_.Direction.ToString(); megabytes = $_.TotalTraffic }
    })
    $measured = [pscustomobject]@{
        duration = $duration
        megahertz = $report.AverageProcessorUsage
        processor_megahertz = $processor.MaxClockSpeed
        processors = [int]$vm.ProcessorCount
        memory = [long]$vm.MemoryAssigned
        read_megabytes = $report.AggregatedDiskDataRead
        written_megabytes = $report.AggregatedDiskDataWritten
        traffic = $traffic
    }
}
[pscustomobject]@{
    now = [long]([datetime]::UtcNow - [datetime]'1970-01-01').TotalMilliseconds
    server = [bool]$vm
    measured = $measured
} | ConvertTo-Json -Compress -Depth 5
"""
    + _END
)

CAPACITY = (
    r"param([string]$Folder)"
    + _BEGIN
    + _FOLDER
    + r"""
$system = Get-CimInstance -ClassName Win32_OperatingSystem
$volume = Get-Volume -FilePath $Folder
$running = @(Get-VM | Where-Object { $_.State.ToString() -eq 'Running' })
$processors = 0
foreach ($vm in $running) { $processors += $vm.ProcessorCount }
[pscustomobject]@{
    host = $vmHost.Name
    servers = $running.Count
    processors = $processors
    memory = [long]$vmHost.MemoryCapacity
    memory_free = [long]$system.FreePhysicalMemory * 1024
    storage = [long]$volume.Size
    storage_free = [long]$volume.SizeRemaining
} | ConvertTo-Json -Compress -Depth 4
"""
    + _END
)
