"""Look up what a test VM is made of: image, size and subnet."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, TypedDict, cast

from vmprobe.core.errors import ClientError, NotFound, TooLarge
from vmprobe.core.model import Image, Plan, State, TestVM
from vmprobe.drivers.azure import names
from vmprobe.drivers.azure.arm import Record, Session, properties
from vmprobe.drivers.azure.readings import STATE
from vmprobe.transport.http import path
from vmprobe.transport.json import field, items, short_text

AzureTestVM = TypedDict(
    "AzureTestVM",
    {
        "image": str,
        "flavor": str,
        "network": str,
        "depth": str,
        "zone": Optional[str],
        "disk type": str,
        "admin": str,
    },
)
AzureDetails = TypedDict(
    "AzureDetails",
    {
        "image": Record,  # the imageReference
        "purchase": Record,  # the plan of a marketplace image; empty where it has none
        "size": str,
        "family": str,  # of the size: the quota that it counts for
        "subnet": str,  # Azure's id
        "zone": str,
        "disk type": str,
        "admin": str,
    },
)

_LEAST = 2**29  # bytes of memory that the smallest size may have
# Subnets that belong to services of Azure: no server can be in them.
_SERVICES = ("gatewaysubnet", "azurebastionsubnet", "azurefirewallsubnet", "routeserversubnet")


class Size(NamedTuple):
    """A size of servers, as offered to this subscription in this region."""

    name: str
    vcpus: int
    memory: int  # bytes
    family: str = ""
    generations: Tuple[str, ...] = ()  # of Hyper-V; empty: not known
    architecture: str = "x64"
    refusal: str = ""  # why it cannot be used here

    @property
    def order(self) -> Tuple[int, int, str]:
        """By this, the smallest size comes first."""
        return self.vcpus, self.memory, self.name


class _Image(NamedTuple):
    name: str
    reference: Record
    generation: str = ""
    purchase: Record = {}


def resolve(session: Session, test_vm: TestVM) -> Plan:
    """The plan of a test VM; NotFound says what does not exist."""
    wanted = cast(AzureTestVM, test_vm)
    image = _image(session, wanted["image"])
    zone = wanted.get("zone") or ""
    size = _size(sizes(session, zone), wanted["flavor"], image, session.endpoint["region"])
    network, subnet = _subnet(session, wanted["network"])
    details: AzureDetails = {
        "image": image.reference,
        "purchase": image.purchase,
        "size": size.name,
        "family": size.family,
        "subnet": subnet,
        "zone": zone,
        "disk type": wanted["disk type"],
        "admin": wanted["admin"],
    }
    return Plan(
        image.name,
        size.name,
        network,
        cast(Dict[str, object], details),
        vcpus=size.vcpus,
        memory=size.memory,
    )


# --- the image ----------------------------------------------------------------------------------


def _image(session: Session, name: str) -> _Image:
    """An image by URN (``publisher:offer:sku:version``), by Azure's id (of a managed image, or of
    one in a gallery), or a managed image by its name or ``GROUP/NAME``.
    """
    if name.count(":") == 3 and not name.startswith("/"):
        return _of_market(session, name)
    if name.startswith("/"):
        return _by_id(session, name)
    asked = f"image {name}"
    group, _, short = name.rpartition("/")
    kind = f"{names.COMPUTE}/images"
    found = session.in_group(kind, group, asked) if group else session.everywhere(kind, asked)
    region = session.endpoint["region"]
    images = [
        one
        for one in found
        if short_text(one, "name", default="").lower() == short.lower()
        and location(short_text(one, "location", default="")) == location(region)
    ]
    if not images:
        raise NotFound(f"no image named {name!r} in {region}", cause="image")
    if len(images) > 1:
        places = sorted(names.required(one.get("id")).id for one in images)
        raise ClientError(f"image {name!r} is in several groups: {', '.join(places)}")
    return _managed(images[0])


def _of_market(session: Session, urn: str) -> _Image:
    publisher, offer, sku, version = urn.split(":")
    region = session.endpoint["region"]
    asked = f"image {urn}"
    missing = NotFound(f"no image {urn!r} in {region}", cause="image")
    below = session.below(
        "providers", names.COMPUTE, "locations", region, "publishers", publisher,
        "artifacttypes", "vmimage", "offers", offer, "skus", sku, "versions",
    )  # fmt: skip
    try:
        if version.lower() == "latest":
            newest = session.get(
                below, "compute", asked, **{"$top": "1", "$orderby": "name desc"}
            ).items()
            if not newest:
                raise missing
            version = short_text(newest[0], "name")
        record = session.get(f"{below}/{path(version)}", "compute", asked).field(dict)
    except NotFound:
        raise missing from None
    bought = field(properties(record), "plan", dict, default={})
    return _Image(
        f"{publisher}:{offer}:{sku}:{version}",
        {"publisher": publisher, "offer": offer, "sku": sku, "version": version},
        field(properties(record), "hyperVGeneration", str, default=""),
        {part: short_text(bought, part) for part in ("name", "publisher", "product")}
        if bought
        else {},
    )


def _by_id(session: Session, identity: str) -> _Image:
    segments = identity.strip("/").split("/")
    part = "galleries" if "galleries" in identity.lower() else "compute"
    try:
        record = session.get(path(*segments), part, f"image {segments[-1]}").field(dict)
    except NotFound:
        raise NotFound(f"no image {identity!r}", cause="image") from None
    if part == "compute":
        return _managed(record)
    generation = field(properties(record), "hyperVGeneration", str, default="")
    return _Image("/".join(segments[8::2]) or segments[-1], {"id": identity}, generation)


def _managed(record: Record) -> _Image:
    where = names.required(record.get("id"))
    state = short_text(properties(record), "provisioningState", default="Succeeded")
    if state.lower() != "succeeded":
        raise NotFound(f"image {where.name!r} is {state}", cause="image")
    generation = field(properties(record), "hyperVGeneration", str, default="")
    return _Image(where.name, {"id": str(record["id"])}, generation)


def images(session: Session, name: str) -> List[Image]:
    """The managed images of this name, or the marketplace's image of this URN, in any state.

    '' finds all managed images. Azure knows no checksums.
    """
    if name.count(":") == 3:
        try:
            found = _of_market(session, name)
        except NotFound:
            return []
        return [Image(found.name, found.name, State.READY, "Succeeded")]
    listed = []
    for record in session.everywhere(f"{names.COMPUTE}/images", f"images {name}".strip()):
        where = names.required(record.get("id"))
        word = short_text(properties(record), "provisioningState", default="unknown")
        if name.lower() in ("", where.name.lower(), where.id.lower()):
            state = STATE.get(word.lower(), State.PENDING)
            listed.append(Image(where.id, where.name, state, word))
    return listed


# --- the size -----------------------------------------------------------------------------------


def sizes(session: Session, zone: str = "") -> List[Size]:
    """All sizes of the region, with the reason why one cannot be used here."""
    region = session.endpoint["region"]
    where = session.below("providers", names.COMPUTE, "skus")
    try:
        records = session.pages(
            where, "skus", "sizes", **{"$filter": f"location eq '{location(region)}'"}
        )
    except TooLarge:  # the short list knows neither families nor restrictions
        where = session.below("providers", names.COMPUTE, "locations", region, "vmSizes")
        return [
            Size(
                short_text(record, "name"),
                field(record, "numberOfCores", int),
                field(record, "memoryInMB", int) * 2**20,
            )
            for record in session.pages(where, "compute", "sizes")
        ]
    return [
        _read_size(record, region, zone)
        for record in records
        if record.get("resourceType") == "virtualMachines"
    ]


def _read_size(record: Record, region: str, zone: str) -> Size:
    able = {
        short_text(one, "name", default=""): field(one, "value", str, default="")
        for one in items(record, "capabilities", default=[])
    }
    refusals = [
        short_text(one, "reasonCode", default="restricted")
        for one in items(record, "restrictions", default=[])
        if _applies(one, region, zone)
    ]
    return Size(
        short_text(record, "name"),
        int(_number(able.get("vCPUsAvailable") or able.get("vCPUs"))),
        int(_number(able.get("MemoryGB")) * 2**30),
        short_text(record, "family", default=""),
        tuple(word for word in able.get("HyperVGenerations", "").split(",") if word),
        able.get("CpuArchitectureType", "x64"),
        refusals[0] if refusals else "",
    )


def _applies(restriction: Record, region: str, zone: str) -> bool:
    """Whether a restriction is one of the whole region, or of the zone that is wanted."""
    info = field(restriction, "restrictionInfo", dict, default={})
    if restriction.get("type") == "Zone":
        return bool(zone) and zone in field(info, "zones", list, default=[])
    regions = field(info, "locations", list, default=[]) or field(
        restriction, "values", list, default=[]
    )
    return not regions or location(region) in [location(str(one)) for one in regions]


def _size(offered: Sequence[Size], name: str, image: _Image, region: str) -> Size:
    """The size of this name, or the smallest that fits the image and is not restricted."""
    if name:
        found = next((size for size in offered if size.name.lower() == name.lower()), None)
        if found is None:
            raise NotFound(f"no size named {name!r} in {region}", cause="image")
        if found.refusal:
            raise NotFound(
                f"size {found.name} cannot be used in {region}: {found.refusal}", cause="scheduler"
            )
        return found
    fitting = [
        size
        for size in offered
        if not size.refusal
        and size.vcpus >= 1
        and size.memory >= _LEAST
        and size.architecture.lower() == "x64"
        and (not image.generation or not size.generations or image.generation in size.generations)
    ]
    if not fitting:
        raise NotFound(
            f"no size in {region} fits image {image.name} and is not restricted", cause="scheduler"
        )
    return min(fitting, key=lambda size: size.order)


# --- the network --------------------------------------------------------------------------------


def _subnet(session: Session, name: str) -> Tuple[str, str]:
    """(``NETWORK/SUBNET``, Azure's id of the subnet): by ``NETWORK/SUBNET``, by either name, by
    Azure's id; else the only one of the region.
    """
    if name.startswith("/"):
        return _subnet_by_id(session, name)
    region = session.endpoint["region"]
    found: Dict[str, str] = {}
    for record in session.everywhere(f"{names.NETWORK}/virtualNetworks", "list networks"):
        if location(short_text(record, "location", default="")) != location(region):
            continue
        network = short_text(record, "name")
        for subnet in items(properties(record), "subnets", default=[]):
            own, identity = short_text(subnet, "name"), field(subnet, "id", str)
            words = (f"{network}/{own}", network, own)
            wanted = name.lower() in [word.lower() for word in words]
            usable = own.lower() not in _SERVICES and not properties(subnet).get("delegations")
            if wanted or not name and usable:
                found[f"{network}/{own}"] = identity
    if not found and name:
        raise NotFound(f"no network named {name!r} in {region}", cause="network")
    if not found:
        raise NotFound(f"no network in {region}", cause="network")
    if len(found) > 1:
        raise ClientError(
            f"[test vm] network: has to name one of {', '.join(sorted(found)[:5])}"
            + (", ..." if len(found) > 5 else "")
        )
    return next(iter(found.items()))


def _subnet_by_id(session: Session, identity: str) -> Tuple[str, str]:
    """As ``_subnet``: without a list, for a credential that may not list networks."""
    segments = identity.strip("/").split("/")
    if len(segments) != 10 or segments[8].lower() != "subnets":
        raise ClientError(f"[test vm] network: {identity!r} is no Azure id of a subnet")
    try:
        reply = session.get(path(*segments), "network", f"subnet {segments[-1]}")
    except NotFound:
        raise NotFound(f"no network {identity!r}", cause="network") from None
    return f"{segments[7]}/{reply.short_text('name')}", reply.field("id", str)


def location(name: str) -> str:
    """A region's name as it is compared: ``East US`` is ``eastus``."""
    return name.replace(" ", "").lower()


def _number(text: Any) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if 0 <= number < 1e6 else 0.0
