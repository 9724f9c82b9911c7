"""What an account uses, and its limits: account attributes, Service Quotas and subnets."""

from __future__ import annotations

import re
from typing import (
    TYPE_CHECKING,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    cast,
)

from vmprobe.core.errors import AuthRejected, CloudError, Transient
from vmprobe.core.model import Limit, Plan, TestVM
from vmprobe.core.text import whole_number
from vmprobe.drivers.ec2 import answers
from vmprobe.drivers.ec2.answers import GIB
from vmprobe.drivers.ec2.query import rows
from vmprobe.drivers.ec2.quotas import Quotas
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from vmprobe.drivers.ec2.plan import Ec2Details

QUOTAS = {  # of Service Quotas: (service, code, our units per unit of the quota)
    "vcpus": ("ec2", "L-1216C47A", 1),  # of running on-demand instances of standard families
    "storage": ("ebs", "L-7A658B76", 2**40),  # of gp3 volumes
    "addresses": ("ec2", "L-0263D0A3", 1),  # elastic ones
}
# How the names of the instance types of the standard families begin.
STANDARD = re.compile(r"(?!inf|hpc|dl|trn|mac)[acdhimrtz]")
_MOST = 100  # instance types in one request
_RESERVED = 5  # addresses of each subnet that EC2 keeps for itself


def limits(session: Session) -> List[Limit]:
    """What is used, and the limits that account attributes and Service Quotas set.

    Each type of volume has its own quota: with Service Quotas, storage means gp3 volumes only.
    """
    totals = _attributes(session)
    instances = session.instances({}, "list servers", _instance)
    volumes = session.all(
        "DescribeVolumes",
        {},
        "list volumes",
        lambda item: (text(item, "volumeType", ""), number(item, "size", 0) * GIB),
    )
    used: Dict[str, float] = {
        "servers": len(instances),
        "volumes": len(volumes),
        "storage": sum(size for _, size in volumes),
    }
    unknown: Dict[str, str] = {}  # by name: why Service Quotas do not tell this limit
    if session.quotas is not None:
        quotas, unknown = _quotas(session.quotas)
        totals.update(quotas)
        used["vcpus"] = _standard_vcpus(session, instances)
        used["storage"] = sum(size for kind, size in volumes if kind == "gp3")
    if totals["addresses"] is not None:
        reply = session.call("DescribeAddresses", asked="list addresses")
        used["addresses"] = len(rows(reply.xml(), "addressesSet"))
    return [
        *(
            Limit(
                name,
                count,
                totals.get(name),
                unknown=unknown.get(name, "") if totals.get(name) is None else "",
            )
            for name, count in used.items()
        ),
        *_subnets(session),
    ]


def needs(
    session: Session,
    plan: Plan,
    test_vm: TestVM,
    common: Mapping[Tuple[str, str], float],
) -> Mapping[Tuple[str, str], float]:
    """What a test VM takes of these limits; ``common`` is what it takes with any manager.

    Service Quotas count only standard instances and gp3 volumes; others are not limited by them.
    """
    details = cast("Ec2Details", plan.details)
    needed = dict(common)
    if session.quotas is not None:
        if not STANDARD.match(plan.flavor):
            needed.pop(("vcpus", ""), None)
        volume = test_vm["volume"] if details["volume type"] == "gp3" else None
        own_volume = -(-volume // GIB) * GIB if volume else 0
        needed["storage", ""] = float(own_volume + details["gp3 of image"])
    subnet = details["subnet"] or _default_subnet(session, details["zone"])
    if subnet:
        needed["leases", f"subnet {subnet}"] = 1.0
    return needed


# --- limits -------------------------------------------------------------------------------------


def _attributes(session: Session) -> Dict[str, Optional[float]]:
    """The limits among the account's attributes; None if it has no such limit."""
    reply = session.call("DescribeAccountAttributes", asked="account attributes")
    attributes = {
        text(item, "attributeName", ""): text(item, ".//attributeValue", "")
        for item in rows(reply.xml(), "accountAttributeSet")
    }
    servers = attributes.get("max-instances") if session.dialect.max_instances else None
    addresses = attributes.get("vpc-max-elastic-ips") or attributes.get("max-elastic-ips")
    return {"servers": whole_number(servers, 9), "addresses": whole_number(addresses, 9)}


def _quotas(quotas: Quotas) -> Tuple[Dict[str, float], Dict[str, str]]:
    """(by name: the quotas that can be read, why the others cannot).

    Quotas are an extra: if the service does not answer once, it is not asked again.
    """
    values: Dict[str, float] = {}
    unknown: Dict[str, str] = {}
    for name, (service, code, unit) in QUOTAS.items():
        try:
            values[name] = max(0.0, quotas(service, code)) * unit
        except Transient as silence:
            return values, {**dict.fromkeys(QUOTAS, str(silence)), **unknown}
        except CloudError as refusal:
            unknown[name] = str(refusal)
    return values, unknown


# --- usage --------------------------------------------------------------------------------------


class _Instance(NamedTuple):
    """What decides whether a quota counts an instance."""

    flavor: str
    state: str
    lifecycle: str


def _instance(element: Element) -> List[_Instance]:
    instance = _Instance(
        text(element, "instanceType", ""),
        text(element, "instanceState/name"),
        text(element, "instanceLifecycle", ""),
    )
    return [] if instance.state in answers.GONE else [instance]


def _standard_vcpus(session: Session, instances: Sequence[_Instance]) -> int:
    """The vCPUs of all running on-demand instances of the standard families, by their types."""
    counted = [
        instance.flavor
        for instance in instances
        if instance.state in ("pending", "running")
        and instance.lifecycle != "spot"
        and STANDARD.match(instance.flavor)
    ]
    names = sorted(set(counted))
    vcpus: Dict[str, int] = {}
    for first in range(0, len(names), _MOST):
        flavors = session.all(
            "DescribeInstanceTypes",
            {"InstanceType": names[first : first + _MOST]},
            "flavors in use",
            answers.flavor,
        )
        vcpus.update({name: cores for name, cores, _ in flavors})
    return sum(vcpus.get(name, 0) for name in counted)


# --- subnets ------------------------------------------------------------------------------------


def _subnets(session: Session) -> List[Limit]:
    """The addresses of each subnet; no limits if the manager or the policy does not list them."""
    try:
        found = session.all("DescribeSubnets", {}, "list subnets", _addresses_of)
    except AuthRejected:
        raise
    except CloudError:
        return []
    return [limit for limit in found if limit is not None]


def _addresses_of(subnet: Element) -> Optional[Limit]:
    """How many of a subnet's IPv4 addresses are in use; None if it has no IPv4."""
    cidr = text(subnet, "cidrBlock", "")
    prefix = re.fullmatch(r"[0-9.]{7,15}/([0-9]|[12][0-9]|3[0-2])", cidr)
    if not prefix or text(subnet, "ipv6Native", "") == "true":
        return None
    name = f"subnet {text(subnet, 'subnetId', '')}"
    free = number(subnet, "availableIpAddressCount", 0)
    total = max(free, 2 ** (32 - int(prefix[1])) - _RESERVED)
    return Limit("leases", total - free, total, name, of=name, binding=True)


def _default_subnet(session: Session, zone: Optional[str]) -> str:
    """The subnet of a server that names none, in a zone; '' if there is none."""
    try:
        found = session.elements(
            "DescribeSubnets",
            {"Filter": [{"Name": "default-for-az", "Value": ["true"]}]},
            "default subnets",
            lambda subnet: (
                text(subnet, "defaultForAz", "") == "true"
                and text(subnet, "availabilityZone", "") == zone
            ),
        )
    except AuthRejected:
        raise
    except CloudError:
        return ""
    return text(found[0], "subnetId", "") if found else ""
