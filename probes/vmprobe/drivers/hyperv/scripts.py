"""The PowerShell that runs on a Hyper-V host: one script for each verb.

Values reach a script as its parameters; no script is ever put together from values. Each writes one
JSON object of named fields; when it fails, of ``error_id`` and ``error``. Enums and ids are written
as text, sizes in bytes, times in seconds, so nothing depends on the language of Windows or on the
version of PowerShell (5.1 writes enums as numbers and dates as ``/Date()/``).

Servers, checkpoints and files are looked up by listing them: whether one exists then does not
depend on the text of an error. ``Get-VMHost`` comes first, because it fails where the account has
no rights, while ``Get-VM`` may then show an empty list.

Cmdlets: the Hyper-V module of Windows Server 2016 to 2025, ``Get-CimInstance``, ``Get-Volume``,
``Get-ChildItem``, ``Get-FileHash``, ``Remove-Item``, ``Test-Path``, ``Join-Path``,
``ForEach-Object``, ``Where-Object``, ``ConvertTo-Json``.
"""

from __future__ import annotations

from vmprobe.drivers.hyperv import fragments

DESCRIBE = (
    fragments.BEGIN
    + r"""
$system = Get-CimInstance -ClassName Win32_OperatingSystem
[pscustomobject]@{
    version = $system.Version
    system = $system.Caption
    host = $vmHost.Name
} | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

RESOLVE = (
    r"param([string]$Folder, [string]$Image)"
    + fragments.BEGIN
    + fragments.FOLDER
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
    + fragments.END
)

CREATE_SERVER = (
    r"param([string]$Name, [string]$Image, [string]$Disk, [long]$Memory, [int]$Processors, "
    r"[int]$Generation, [string]$SwitchName, [string]$Template)"
    + fragments.BEGIN
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
    + fragments.END
)

LIST_SERVERS = (
    r"param([string]$Prefix)"
    + fragments.BEGIN
    + r"""
$found = @(Get-VM | Where-Object {
    $_.Name.StartsWith($Prefix, [System.StringComparison]::OrdinalIgnoreCase)
})
"""
    + fragments.SHOW_SERVERS
    + fragments.END
)

SHOW_SERVER = (
    r"param([string]$Id)"
    + fragments.BEGIN
    + r"""
$found = @(Get-VM | Where-Object { $_.Id.ToString() -eq $Id })
"""
    + fragments.SHOW_SERVERS
    + fragments.END
)

# What cannot be deleted yet, because a checkpoint is being merged, is listed as a volume from then
# on: the clean-up finds it by its name.
DELETE_SERVER = (
    r"param([string]$Folder, [string]$Id)"
    + fragments.BEGIN
    + fragments.FOLDER
    + fragments.SERVER
    + r"""
if ($vm) {
    $name = $vm.Name
    if ($vm.State.ToString() -notmatch '^(Off|Saved|FastSaved)') {
        Stop-VM -VM $vm -TurnOff -Force
    }
    Remove-VM -VM $vm -Force
"""
    + fragments.FILES
    + r"""
    $files | Where-Object { $_.name -eq "$name-boot" } | ForEach-Object {
        Remove-Item -LiteralPath $_.file -Force -ErrorAction SilentlyContinue
    }
}
[pscustomobject]@{ existed = [bool]$vm } | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

CREATE_VOLUME = (
    r"param([string]$Folder, [string]$Name, [long]$Size)"
    + fragments.BEGIN
    + fragments.FOLDER
    + r"""
$vhd = New-VHD -Path (Join-Path -Path $Folder -ChildPath "$Name.vhdx") -SizeBytes $Size -Dynamic
[pscustomobject]@{ path = $vhd.Path } | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

# A boot disk is part of its server, and is listed only once that server is gone.
LIST_VOLUMES = (
    r"param([string]$Folder, [string]$Prefix, [string]$Path)"
    + fragments.BEGIN
    + fragments.FOLDER
    + fragments.FILES
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
    + fragments.END
)

DELETE_VOLUME = (
    r"param([string]$Folder, [string]$Path)"
    + fragments.BEGIN
    + fragments.FOLDER
    + fragments.FILES
    + fragments.HOLDER
    + r"""
if (-not $holder) {
    $files | Where-Object { $_.disk -eq $Path } | ForEach-Object {
        Remove-Item -LiteralPath $_.file -Force
    }
}
[pscustomobject]@{ holder = $holder } | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

ATTACH = (
    r"param([string]$Id, [string]$Path)"
    + fragments.BEGIN
    + fragments.SERVER
    + fragments.HOLDER
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
    + fragments.END
)

DETACH = (
    r"param([string]$Id, [string]$Path)"
    + fragments.BEGIN
    + fragments.HOLDER
    + r"""
if ($holder -eq $Id) {
    foreach ($drive in $drives) { Remove-VMHardDiskDrive -VMHardDiskDrive $drive }
}
[pscustomobject]@{ holder = $holder } | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

CREATE_SNAPSHOT = (
    r"param([string]$Id, [string]$Name)"
    + fragments.BEGIN
    + fragments.SERVER
    + r"""
$checkpoint = $null
if ($vm) { $checkpoint = (Checkpoint-VM -VM $vm -SnapshotName $Name -Passthru).Id.ToString() }
[pscustomobject]@{ id = $checkpoint } | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

LIST_SNAPSHOTS = (
    r"param([string]$Prefix, [string]$Id)"
    + fragments.BEGIN
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
    + fragments.END
)

DELETE_SNAPSHOT = (
    r"param([string]$Id)"
    + fragments.BEGIN
    + r"""
foreach ($vm in @(Get-VM)) {
    foreach ($snapshot in @(Get-VMSnapshot -VM $vm)) {
        if ($snapshot.Id.ToString() -eq $Id) { Remove-VMSnapshot -VMSnapshot $snapshot }
    }
}
[pscustomobject]@{ done = $true } | ConvertTo-Json -Compress -Depth 4
"""
    + fragments.END
)

# Measure-VM: MHz and MB since the metering of this server began.
MEASURE = (
    r"param([string]$Id)"
    + fragments.BEGIN
    + fragments.SERVER
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
    + fragments.END
)

CAPACITY = (
    r"param([string]$Folder)"
    + fragments.BEGIN
    + fragments.FOLDER
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
    + fragments.END
)

LIST_IMAGES = (
    r"param([string]$Folder, [string]$Name, [string]$Excluded, [string]$Algorithms)"
    + fragments.BEGIN
    + fragments.FOLDER
    + r"""
if ($Name) {
    if (-not [System.IO.Path]::IsPathRooted($Name)) {
        $Name = Join-Path -Path $Folder -ChildPath $Name
    }
    $paths = @($Name | Where-Object { Test-Path -LiteralPath $_ })
} else {
    $paths = @(Get-ChildItem -LiteralPath $Folder | Where-Object {
        $_.Extension -match '^\.vhdx?$' -and $_.Name -notmatch $Excluded
    } | ForEach-Object { $_.FullName })
}
$images = @($paths | ForEach-Object {
    $path = $_
    $format = $null
    try { $format = (Get-VHD -Path $path).VhdFormat.ToString() } catch { $format = $null }
    $checksums = @($Algorithms.Split(',') | Where-Object { $_ } | ForEach-Object {
        [pscustomobject]@{
            algorithm = $_
            digest = (Get-FileHash -LiteralPath $path -Algorithm $_).Hash
        }
    })
    [pscustomobject]@{ path = $path; format = $format; checksums = $checksums }
})
[pscustomobject]@{ images = $images } | ConvertTo-Json -Compress -Depth 5
"""
    + fragments.END
)
