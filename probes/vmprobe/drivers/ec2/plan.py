"""What a test VM is made of: the site's image, flavor, network and security group, looked up."""

from __future__ import annotations

import fnmatch
import re
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    TypeVar,
)

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.model import Plan, State
from vmprobe.core.text import cut
from vmprobe.drivers.ec2 import answers, lists
from vmprobe.drivers.ec2.answers import GIB, Flavor
from vmprobe.drivers.ec2.query import Value, rows
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

# The keys of [test vm] that this driver reads.
Ec2TestVM = TypedDict(
    "Ec2TestVM",
    {
        "image": str,
        "flavor": str,
        "network": str,
        "volume": Optional[int],  # bytes
        "depth": str,
        "availability zone": Optional[str],
        "security group": Optional[str],
        "volume zone": Optional[str],
        "volume type": Optional[str],
    },
)
# What the plan tells ``create`` and ``needs``.
Ec2Details = TypedDict(
    "Ec2Details",
    {
        "image": str,  # its id
        "flavor": str,
        "subnet": Optional[str],
        "zone": Optional[str],  # of the server
        "group": Dict[str, List[str]],  # the security group, as RunInstances takes it
        "kept": List[Tuple[str, str]],  # (device, snapshot) of volumes that EC2 would keep
        "volume zone": str,
        "volume type": Optional[str],
        "gp3 of image": int,  # bytes
    },
)

_MEMORIES = (512, 1024, 2048, 4096, 8192)  # MiB that the smallest fitting type may have


def resolve(session: Session, test_vm: Ec2TestVM, owner: str) -> Plan:
    """The plan of a test VM; NotFound says what the cloud does not have.

    ``owner``: whose images to search; '' searches all owners'.
    """
    image = _image(session, test_vm["image"], owner)
    subnet = _subnet(session, test_vm["network"]) if test_vm["network"] else None
    zone = test_vm.get("availability zone") or (
        text(subnet, "availabilityZone", "") if subnet is not None else ""
    )
    flavor, flavor_zones = _flavor(session, test_vm["flavor"], image, zone)
    usable = [name for name in session.zones if name in flavor_zones or not flavor_zones]
    volume_zone = test_vm.get("volume zone") or zone or (usable[0] if usable else "")
    if not zone and subnet is None and not test_vm.get("volume zone"):
        zone = volume_zone  # a volume can be attached only within its zone
    image_id = text(image, "imageId")
    subnet_id = text(subnet, "subnetId") if subnet is not None else None
    details: Ec2Details = {
        "image": image_id,
        "flavor": flavor.name,
        "subnet": subnet_id,
        "zone": zone or None,
        "group": security_group(session, test_vm.get("security group"), subnet),
        "kept": _kept_volumes(image),
        "volume zone": volume_zone,
        "volume type": test_vm.get("volume type"),
        "gp3 of image": _gp3_bytes(image),
    }
    return Plan(
        text(image, "name", "") or image_id,
        flavor.name,
        subnet_id or "",
        details,
        vcpus=flavor.vcpus or None,
        memory=flavor.memory or None,
    )


# --- the image ----------------------------------------------------------------------------------


def images(session: Session, name: str, owner: str, parse: Callable[[Element], T]) -> List[T]:
    """``parse`` of each image of this id or name; ``*`` is any text, '' finds every image."""

    def matching(element: Element) -> List[T]:
        names = [text(element, tag, "") for tag in ("imageId", "name", "imageLocation")]
        matches = not name or any(fnmatch.fnmatchcase(one, name) for one in names)
        return [parse(element)] if matches else []

    parameters: Dict[str, Value] = {}
    if session.dialect.filters and re.match(r"[ae]mi-", name):
        parameters = {"ImageId": [name]}
    elif session.dialect.filters:
        parameters["Owner"] = [owner] if owner not in ("", "anybody") else None
        if name:
            parameters["Filter"] = [{"Name": "name", "Value": [name]}]
    return session.each(
        "DescribeImages", parameters, f"image {name}".strip(), matching, limit=lists.WHOLE
    )


def _image(session: Session, name: str, owner: str) -> Element:
    """The image of this id, or the newest one of this name that is ready."""
    found = images(session, name, owner, lambda element: element)
    if not found:
        of_owner = f" of owner {owner}" if owner else ""
        raise NotFound(f"no image {name!r}{of_owner}", cause="image")
    ready = [
        image
        for image in found
        if answers.IMAGE.get(text(image, "imageState", "available").lower()) is State.READY
    ]
    if not ready:
        raise NotFound(f"image {name!r} is {text(found[0], 'imageState', '')}", cause="image")
    return max(ready, key=lambda image: text(image, "creationDate", ""))


def _kept_volumes(image: Element) -> List[Tuple[str, str]]:
    """(device, snapshot) of the image's volumes that EC2 would keep when it deletes the server."""
    return [
        (text(mapping, "deviceName"), text(mapping, "ebs/snapshotId", ""))
        for mapping in rows(image, "blockDeviceMapping")
        if text(mapping, "ebs/deleteOnTermination", "true") == "false"
    ]


def _gp3_bytes(image: Element) -> int:
    """The size of the gp3 volumes that a server of this image gets, in bytes."""
    return sum(
        number(mapping, "ebs/volumeSize", 0) * GIB
        for mapping in rows(image, "blockDeviceMapping")
        if text(mapping, "ebs/volumeType", "") == "gp3"
    )


# --- the flavor ---------------------------------------------------------------------------------


def _flavor(session: Session, name: str, image: Element, zone: str) -> Tuple[Flavor, Sequence[str]]:
    """(the flavor of this name, or the smallest that fits the image; the zones that offer it).

    The zones are empty if the manager does not tell them.
    """
    types = session.dialect.types
    if not types:  # no list: without a name, the manager uses its default
        return Flavor(name, 0, 0), ()
    parameters: Dict[str, Value] = {"InstanceType": [name]} if name else {}
    if not name and types == "offered":
        parameters["Filter"] = _fitting(image)
    flavors = session.each(
        "DescribeInstanceTypes",
        parameters,
        f"flavor {name}".strip(),
        lambda element: [answers.flavor(element)],
        items_in="" if types == "offered" else "instanceTypeDetails",
    )
    found = [flavor for flavor in flavors if name in ("", flavor.name)]
    offered: Dict[str, List[str]] = {}
    if types == "offered":
        offered = _offers(session, name, zone)
        found = [flavor for flavor in found if flavor.name in offered]
    if not found:
        place = f" in {zone}" if zone else ""
        message = f"no flavor {name!r}{place}" if name else f"no flavor holds the image{place}"
        raise NotFound(message, cause="image")
    flavor = min(found, key=lambda one: (one.memory, one.vcpus, one.name))
    return flavor, offered.get(flavor.name, ())


def _fitting(image: Element) -> List[Dict[str, Value]]:
    """The filters for instance types that an image can run on."""
    is_ebs = text(image, "rootDeviceType", "ebs") == "ebs"
    required = {
        "current-generation": "true",
        "bare-metal": "false",
        "supported-root-device-type": "ebs" if is_ebs else "instance-store",
        "processor-info.supported-architecture": text(image, "architecture", "") or "x86_64",
        "supported-virtualization-type": text(image, "virtualizationType", "") or "hvm",
    }
    filters: List[Dict[str, Value]] = [
        {"Name": name, "Value": [value]} for name, value in required.items()
    ]
    return [*filters, {"Name": "memory-info.size-in-mib", "Value": list(_MEMORIES)}]


def _offers(session: Session, name: str, zone: str) -> Dict[str, List[str]]:
    """The zones that offer each instance type, by its name."""
    filters = [{"Name": "location", "Value": [zone]}] if zone else []
    filters += [{"Name": "instance-type", "Value": [name]}] if name else []
    offers = session.all(
        "DescribeInstanceTypeOfferings",
        {"LocationType": "availability-zone", "Filter": filters},
        "flavors on offer",
        lambda element: (text(element, "instanceType"), text(element, "location")),
    )
    zones: Dict[str, List[str]] = {}
    for flavor, location in offers:
        zones.setdefault(flavor, []).append(location)
    return zones


# --- the network --------------------------------------------------------------------------------


def _subnet(session: Session, name: str) -> Element:
    """The subnet of this id or tag ``Name``; ClientError if several have this name."""
    by_name = {"Filter": [{"Name": "tag:Name", "Value": [name]}]}
    found = session.elements(
        "DescribeSubnets",
        {"SubnetId": [name]} if name.startswith("subnet-") else by_name,
        f"network {name}",
        lambda subnet: name in (text(subnet, "subnetId", ""), answers.tags(subnet).get("Name")),
    )
    if not found:
        raise NotFound(f"no subnet {name!r}", cause="network")
    if len(found) > 1:
        ids = cut(", ".join(text(subnet, "subnetId") for subnet in found), 200)
        raise ClientError(f"[test vm] network: several subnets have this name: {ids}; use one id")
    return found[0]


def security_group(
    session: Session, name: Optional[str], subnet: Optional[Element]
) -> Dict[str, List[str]]:
    """The parameter of RunInstances for a security group: its id.

    A name is looked up in the subnet's VPC. Without a subnet, several VPCs may have this name: then
    RunInstances gets the name, and looks it up in the default VPC.
    """
    if not name:
        return {}
    parameters: Dict[str, Value] = {"GroupId": [name]}
    if not name.startswith("sg-"):
        filters = [{"Name": "group-name", "Value": [name]}]
        if subnet is not None:
            filters.append({"Name": "vpc-id", "Value": [text(subnet, "vpcId")]})
        parameters = {"Filter": filters}
    found = session.elements(
        "DescribeSecurityGroups",
        parameters,
        f"security group {name}",
        lambda group: name in (text(group, "groupId", ""), text(group, "groupName", name)),
    )
    if not found:
        raise NotFound(f"no security group {name!r}", cause="network")
    group_id = text(found[0], "groupId", "") if len(found) == 1 else ""
    return {"SecurityGroupId": [group_id]} if group_id else {"SecurityGroup": [name]}
