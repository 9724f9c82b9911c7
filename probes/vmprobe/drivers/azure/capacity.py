"""Quotas of a subscription in a region: the usages of Microsoft.Compute and Microsoft.Network."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence, Tuple, cast

from vmprobe.core.model import Limit, Plan, TestVM
from vmprobe.drivers.azure import names
from vmprobe.drivers.azure.arm import Record, Session
from vmprobe.drivers.azure.plan import AzureDetails
from vmprobe.transport.http import path
from vmprobe.transport.json import field

# Azure's name of a usage: ours.
COMPUTE = {"virtualMachines": "servers", "cores": "vcpus"}
NETWORK = {"NetworkInterfaces": "ports", "PublicIPAddresses": "addresses"}
_DISKS = {  # the kind of a disk: the usage that counts it
    "Standard_LRS": "StandardDiskCount",
    "StandardSSD_LRS": "StandardSSDDiskCount",
    "StandardSSD_ZRS": "StandardSSDDiskCount",
    "Premium_LRS": "PremiumDiskCount",
    "Premium_ZRS": "PremiumDiskCount",
}
_UNLIMITED = 2**31 - 1  # what a usage without a limit says


def limits(session: Session) -> List[Limit]:
    """The limits of servers, vCPUs (all, and of each family), disks by kind, and interfaces."""
    region = session.endpoint["region"]
    found = []
    for usage in _usages(session, names.COMPUTE, region, "compute"):
        name = _name(usage)
        if name in COMPUTE:
            found.append(_limit(COMPUTE[name], usage))
        elif name.endswith("Family"):
            found.append(_limit("vcpus", usage, name))
        elif name.endswith("DiskCount"):
            found.append(_limit("volumes", usage, name))
    for usage in _usages(session, names.NETWORK, region, "network"):
        if _name(usage) in NETWORK:
            found.append(_limit(NETWORK[_name(usage)], usage))
    return found


def needs(
    plan: Plan, test_vm: TestVM, usual: Mapping[Tuple[str, str], float]
) -> Mapping[Tuple[str, str], float]:
    """What one test VM takes: its vCPUs count for its family, too, and its own disk is a volume."""
    details = cast(AzureDetails, plan.details)
    amounts: Dict[Tuple[str, str], float] = {
        key: amount
        for key, amount in usual.items()
        if key[0] in ("servers", "vcpus", "ports", "addresses")
    }
    if details["family"] and plan.vcpus:
        amounts["vcpus", details["family"]] = float(plan.vcpus)
    kind = _DISKS.get(details["disk type"])
    if kind:
        amounts["volumes", kind] = 1.0 + (1.0 if test_vm["volume"] else 0.0)
    return amounts


def _usages(session: Session, provider: str, region: str, part: str) -> Sequence[Record]:
    where = session.below("providers", provider, "locations")
    return session.pages(f"{where}/{path(region, 'usages')}", part, f"usages of {provider}")


def _limit(name: str, usage: Record, of: str = "") -> Limit:
    total = field(usage, "limit", float)
    return Limit(
        name,
        max(0.0, field(usage, "currentValue", float)),
        None if total >= _UNLIMITED or total < 0 else total,
        f"quota {of}".strip(),
        of=of,
        binding=bool(of),
    )


def _name(usage: Record) -> str:
    return str(field(usage, "name", "value", str, default=""))
