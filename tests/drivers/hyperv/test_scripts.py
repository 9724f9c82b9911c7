"""The scripts, held against PowerShell's grammar and Microsoft's reference of Windows Server 2016 to 2025.

This shows that they parse, and that what they call exists; what they do on Windows, no test here can say.
"""

import re

import pytest

import powershell
from vmprobe.drivers.hyperv import scripts

SCRIPTS = {name: text for name, text in vars(scripts).items() if name.isupper() and name[0] != "_"}
OTHERS = {  # cmdlets of PowerShell itself, and of the modules Storage and CimCmdlets
    "ConvertTo-Json",
    "ForEach-Object",
    "Get-ChildItem",
    "Get-CimInstance",
    "Get-FileHash",
    "Get-Volume",
    "Join-Path",
    "Remove-Item",
    "Test-Path",
    "Where-Object",
}
each_script = pytest.mark.parametrize("name", SCRIPTS)


@each_script
def test_a_script_parses(name):
    assert not powershell.tree(SCRIPTS[name]).has_error


@each_script
@pytest.mark.parametrize("release", ["2016", "2019", "2022", "2025"])
def test_a_script_calls_only_cmdlets_and_parameters_that_the_release_has(name, release):
    assert powershell.mistakes(SCRIPTS[name], powershell.reference()[release]) == []


@each_script
def test_a_script_calls_nothing_else(name):
    cmdlets = powershell.reference()["2016"]
    called = {command.name for command in powershell.commands(SCRIPTS[name])}

    assert called - set(cmdlets) <= OTHERS


@each_script
def test_a_script_stops_at_its_first_error_and_asks_for_the_host_before_all_else(name):
    begin = re.sub(r"^param\([^)]*\)", "", SCRIPTS[name]).split("\n")

    assert begin[1:6] == [
        "$ErrorActionPreference = 'Stop'",
        "$ConfirmPreference = 'None'",
        "$ProgressPreference = 'SilentlyContinue'",
        "try {",
        "$vmHost = Get-VMHost",
    ]


@each_script
def test_a_script_writes_one_json_object_of_named_fields(name):
    script = SCRIPTS[name]
    ends = re.findall(r"(?m)^(.*)\| ConvertTo-Json -Compress -Depth \d$", script)

    assert script.count("ConvertTo-Json") == len(ends) == 2  # the answer, and an error
    assert re.search(r"Depth \d\n\} catch \{\n\[pscustomobject\]@\{\n    error_id = ", script)


@each_script
def test_a_parameter_is_used_and_is_never_part_of_a_command(name):
    declared = re.match(r"param\(([^)]*)\)", SCRIPTS[name])
    for parameter in re.findall(r"\$(\w+)", declared[1] if declared else ""):
        assert SCRIPTS[name].count(f"${parameter}") > 1
    assert not re.search(r"Invoke-Expression|\biex\b|ScriptBlock|& ", SCRIPTS[name])


MISTAKES = {  # name: (a script, what is wrong with it)
    "parameter": ("Start-VM -Id $id", "Start-VM: no parameter -Id"),
    "set": ("Get-VM -Id $id -Name x", "Get-VM: no parameter set has all of Id, Name"),
    "mandatory": ("New-VHD -Path $p -Dynamic", "New-VHD: a mandatory parameter is missing"),
    "switch": ("Stop-VM -VM $vm -TurnOff $true", "Stop-VM: -TurnOff takes no value"),
    "position": ("Remove-VM $vm", "Remove-VM: an argument has no name"),
    "value": (
        "Set-VM -VM $vm -AutomaticStopAction Kill",
        "Set-VM: -AutomaticStopAction Kill is none of TurnOff, Save, ShutDown",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_judge_finds_what_is_wrong(name):
    script, wrong = MISTAKES[name]

    assert wrong in powershell.mistakes(script, powershell.reference()["2022"])


def test_the_judge_finds_what_does_not_parse():
    assert powershell.tree("Get-VM | Where-Object {").has_error
