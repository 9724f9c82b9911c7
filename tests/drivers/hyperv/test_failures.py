"""Errors of PowerShell, and faults of real Windows servers, as errors of the suite."""

import json
import re

import pytest

from running import CHECKOUT
from vmprobe.core.errors import (
    ClientError,
    Conflict,
    GatewayFailed,
    NotPermitted,
    ResourceFailed,
    Unreachable,
)
from vmprobe.drivers.hyperv import failures

RECORDINGS = CHECKOUT.parent / "shared" / "data" / "hyperv" / "recordings"


ERRORS = {  # name: (PowerShell's id, its text, the error of the suite, its cause)
    "memory": (
        "OutOfMemory,Microsoft.HyperV.PowerShell.Commands.StartVM",
        "Nicht genügend Arbeitsspeicher im System, um den virtuellen Computer 'x' zu starten.",
        ResourceFailed,
        "scheduler",
    ),
    "rights": (
        "AccessDenied,Microsoft.HyperV.PowerShell.Commands.SetVMDvdDrive",
        "User account does not have permission required to open attachment",
        NotPermitted,
        "auth",
    ),
    "no module": (
        "CommandNotFoundException",
        "The term 'Get-VMHost' is not recognized as the name of a cmdlet",
        ClientError,
        "client",
    ),
    "file in use": (
        "RemoveFileSystemItemIOError,Microsoft.PowerShell.Commands.RemoveItemCommand",
        "Cannot remove item x: it is being used by another process.",
        Conflict,
        "",
    ),
    "number of the disk's end": (
        "OperationFailed,Microsoft.Vhd.PowerShell.Cmdlets.NewVhd",
        "Espace insuffisant sur le disque. (0x80070070)",
        ResourceFailed,
        "storage",
    ),
    "number of a file in use": (
        "OperationFailed,Microsoft.HyperV.PowerShell.Commands.StartVM",
        "The process cannot access the file (0X80070020).",
        Conflict,
        "",
    ),
    "any other": (
        "OperationFailed,Microsoft.HyperV.PowerShell.Commands.StartVM",
        "'x' failed to start worker process: %%3228369022 (0xC06D007E).",
        ResourceFailed,
        "network",
    ),
    "without a text": ("Unspecified,X", "", ResourceFailed, "network"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_known_by_its_id_or_number_and_not_by_its_language(name):
    number, text, kind, cause = ERRORS[name]

    error = failures.of_script("create server x", number, text, ResourceFailed, "network")

    assert (type(error), error.cause) == (kind, cause)
    assert str(error) == f"create server x: {text or 'Unspecified'}"


def fault_of(name):
    """The first fault in a recording of a real Windows server, as pypsrp reads it."""
    wsman = pytest.importorskip("pypsrp.wsman", reason="pypsrp is not installed")
    path = RECORDINGS / f"{name}.json"
    if not path.exists():
        pytest.skip("there are no recordings in ../shared/data/hyperv beside the checkout")
    for exchange in json.loads(path.read_text(encoding="utf-8")):
        if re.search(r"WSManFault", exchange.get("response") or ""):
            return wsman.WSMan._parse_wsman_fault(exchange["response"])
    raise AssertionError("no fault in it")


def test_the_fault_of_a_session_that_is_gone():
    fault = fault_of("psrp-is-alive-invalid-selectors")
    error = failures.of_transport("describe", fault, "hv1", "probe", True)

    assert fault.code == failures.NO_SESSION
    assert (type(error), error.sent) == (Unreachable, True)
    assert str(error).startswith(
        "describe: the session has ended: The WS-Management service cannot"
    )


def test_any_other_fault_is_the_gateways():
    fault = fault_of("psrp-is-alive-other-wsman-error")
    error = failures.of_transport("describe", fault, "hv1", "probe", True)

    assert type(error) is GatewayFailed
    assert str(error).endswith(
        "invalid timeout field in the SOAP header: PT-1S. (WS-Management 2150858767)"
    )
