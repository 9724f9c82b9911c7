"""What OpenStack has room for, by quotas, hosts and networks, and what a test VM takes of each.

Each service has quotas of its own, and Cinder more for each volume type. Only administrators see
hosts and networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar, cast

from vmprobe.core.errors import AuthRejected, CloudError, NotFound, NotPermitted
from vmprobe.core.model import ONE_FOR_ALL, Limit, Plan, TestVM
from vmprobe.drivers.openstack.readings import GIB, MIB, Record
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import Http, path
from vmprobe.transport.json import field, items

if TYPE_CHECKING:
    from vmprobe.drivers.openstack.plan import OpenStackDetails

T = TypeVar("T")
_NOVA_LIMITS = (  # limit, Nova's key of what is used, of the maximum, unit
    ("servers", "totalInstancesUsed", "maxTotalInstances", 1),
    ("vcpus", "totalCoresUsed", "maxTotalCores", 1),
    ("memory", "totalRAMUsed", "maxTotalRAMSize", MIB),
)
_CINDER_LIMITS = (
    ("volumes", "totalVolumesUsed", "maxTotalVolumes", 1),
    ("storage", "totalGigabytesUsed", "maxTotalVolumeGigabytes", GIB),
    ("snapshots", "totalSnapshotsUsed", "maxTotalSnapshots", 1),
)
_VOLUME_TYPE_LIMITS = (  # limit, Cinder's key before the name of the type, unit
    ("volumes", "volumes_", 1),
    ("storage", "gigabytes_", GIB),
    ("snapshots", "snapshots_", 1),
)
_NEUTRON_LIMITS = (
    ("ports", "port"),
    ("addresses", "floatingip"),
    ("security groups", "security_group"),
)
_HOST_LIMITS = (("vcpus", "VCPU", 1), ("memory", "MEMORY_MB", MIB), ("disk", "DISK_GB", GIB))

_SMALLEST_SERVER = {"resources": "MEMORY_MB:1,VCPU:1"}
_PLACEMENT_QUERIES = (  # the microversion and what is asked, the best first
    # as Nova itself asks since Train
    ("1.27", {**_SMALLEST_SERVER, "required": "!COMPUTE_STATUS_DISABLED"}),
    # the first whose summaries have all resources
    ("1.27", _SMALLEST_SERVER),
    # the first with summaries
    ("1.10", _SMALLEST_SERVER),
)
_PROVIDERS_ASKED = 5  # at most, to find out whether any provider has vCPUs at all


def limits(services: Services) -> List[Limit]:
    """The project's quotas and what is used of them.

    For an administrator also the hosts and networks.
    """
    found = _nova_quotas(services.nova())
    if services.has_cinder():
        found += _cinder_quotas(services.cinder(), services.project)
    found += _neutron_quotas(services.neutron(), services.project)
    found += _glance_quotas(services.glance())
    if services.is_admin():
        found += _networks(services.neutron())
        if services.has_placement():  # others often cannot even reach it
            found += _hosts(services.placement())
    return found


def needs(
    services: Services,
    counted: Mapping[Tuple[str, str], float],
    plan: Plan,
    test_vm: TestVM,
) -> Dict[Tuple[str, str], float]:
    """What one test VM takes of each limit: what every manager counts (``counted``), and more."""
    details, root = cast("OpenStackDetails", plan.details), plan.root_volume or 0
    # of a server with a boot volume a snapshot is one of Cinder's, of a local disk it is an image
    volume_snapshots = 1 if root and test_vm["snapshot"] else 0
    sizes = (test_vm["volume"], root, root * volume_snapshots)
    storage = sum(-(-size // GIB) * GIB for size in sizes if size)
    found: Dict[Tuple[str, str], float] = {
        **counted,
        ("images", ""): 1 if test_vm["snapshot"] else 0,
        ("snapshots", ""): volume_snapshots,
        ("storage", ""): storage,
        ("disk", ""): 0 if root else details["local disk"],
    }
    volumes = counted.get(("volumes", ""), 0)
    volume_type = details["volume type"]
    if volumes and not volume_type:
        volume_type = _default_volume_type(services.cinder())
    if volume_type:
        where = f"volume type {volume_type}"
        found["volumes", where] = volumes
        found["storage", where] = storage
        found["snapshots", where] = volume_snapshots
    found["leases", f"network {details['network']}"] = 1
    if test_vm["depth"] == "reach":
        found["security groups", ""] = ONE_FOR_ALL
        if plan.external:
            found["leases", f"network {plan.external}"] = 1
    return {key: float(amount) for key, amount in found.items() if amount}


# --- quotas ---------------------------------------------------------------------------------------


def _nova_quotas(nova: Http) -> List[Limit]:
    record = nova.get("limits").field("limits", "absolute", dict)
    return [_limit(name, record, used, most, unit) for name, used, most, unit in _NOVA_LIMITS]


def _cinder_quotas(cinder: Http, project: str) -> List[Limit]:
    """The quotas of all volumes, and of each volume type that has its own."""
    record = cinder.get("limits").field("limits", "absolute", dict)
    found = [_limit(name, record, used, most, unit) for name, used, most, unit in _CINDER_LIMITS]

    def quota_set() -> Dict[str, Any]:
        reply = cinder.get(path("os-quota-sets", project), query={"usage": "True"})
        quotas: Dict[str, Any] = reply.field("quota_set", dict)
        return quotas

    quotas = _optional(quota_set) or {}
    for key in sorted(quotas):
        for name, prefix, unit in _VOLUME_TYPE_LIMITS:
            if key.startswith(prefix):
                of = f"volume type {key[len(prefix) :]}"
                quota = field(quotas, key, dict)
                limit = _limit(name, quota, "in_use", "limit", unit, f"quota of {of}", of)
                found += [limit] if limit.total is not None else []
    return found


def _default_volume_type(cinder: Http) -> Optional[str]:
    """The type of a volume that is created without one; None if Cinder does not say."""
    return _optional(lambda: cinder.get("types/default").short_text("volume_type", "name"))


def _glance_quotas(glance: Http) -> List[Limit]:
    """How many images there may be, where Glance uses Keystone's limits.

    A snapshot's size is not known before.
    """
    usage = _optional(lambda: glance.get("info/usage").field("usage", dict)) or {}
    if "image_count_total" not in usage:
        return []
    return [_limit("images", field(usage, "image_count_total", dict), "usage", "limit")]


def _neutron_quotas(neutron: Http, project: str) -> List[Limit]:
    """Nothing where Neutron's policy reserves the quota for administrators."""
    try:
        quota = neutron.get(path("quotas", project, "details.json")).field("quota", dict)
    except (NotPermitted, NotFound):
        return []
    return [
        _limit(name, field(quota, key, dict), "used", "limit")
        for name, key in _NEUTRON_LIMITS
        if key in quota
    ]


# --- hosts and networks, for administrators -------------------------------------------------------


def _hosts(placement: Http) -> List[Limit]:
    """What Placement has for servers on each host that is neither full nor disabled.

    Placement has counted reserves and overcommit in.
    """
    try:
        for version, query in _PLACEMENT_QUERIES:
            placement.headers = {
                **placement.headers,
                "OpenStack-API-Version": f"placement {version}",
            }
            reply = placement.get(
                "allocation_candidates", query=query, accept=(400, 406), asked="what hosts have"
            )
            if reply.status not in (400, 406):
                break
        else:  # before Pike Placement has no such query
            return []
        providers = placement.get("resource_providers").items("resource_providers")
    except (NotPermitted, NotFound):
        return []
    names = {provider.get("uuid"): provider.get("name") for provider in providers}
    hosts = reply.field("provider_summaries", dict)
    if not hosts:
        asked = sorted(map(str, names))[:_PROVIDERS_ASKED]
        if any(_has_vcpus(placement, identity) for identity in asked):
            return [Limit(name, 0, 0, "all hosts") for name in ("vcpus", "memory")]
        return []
    return [
        _limit(
            name,
            field(host, "resources", resource, dict),
            "used",
            "capacity",
            unit,
            str(names.get(identity) or identity),
        )
        for identity, host in sorted(hosts.items())
        for name, resource, unit in _HOST_LIMITS
        if field(host, "resources", resource, dict, default=None)
    ]


def _has_vcpus(placement: Http, provider: str) -> bool:
    """Whether a resource provider is a host of VMs, and not of bare metal or storage."""
    where = path("resource_providers", provider, "inventories")
    inventories = _optional(lambda: placement.get(where).field("inventories", dict))
    return "VCPU" in (inventories or {})


def _networks(neutron: Http) -> List[Limit]:
    """The IPv4 addresses of each network; IPv6 addresses do not run out."""
    where = "network-ip-availabilities"
    networks = _optional(lambda: neutron.get(where).items("network_ip_availabilities")) or []
    found = []
    for network in networks:
        subnets = [
            subnet
            for subnet in items(network, "subnet_ip_availability", default=[])
            if subnet.get("ip_version") == 4
        ]
        if subnets:
            found.append(
                Limit(
                    "leases",
                    sum(field(subnet, "used_ips", int, default=0) for subnet in subnets),
                    sum(field(subnet, "total_ips", int, default=0) for subnet in subnets),
                    f"network {network.get('network_name')}",
                    of=f"network {network.get('network_id')}",
                    binding=True,
                )
            )
    return found


# --- reading --------------------------------------------------------------------------------------


def _limit(
    name: str,
    record: Record,
    used: str,
    most: str,
    unit: int = 1,
    source: str = "quota",
    of: str = "",
) -> Limit:
    """A limit from the keys ``used`` and ``most`` of a record; a negative maximum is unlimited."""
    total: int = field(record, most, int, default=-1)
    return Limit(
        name,
        field(record, used, int, default=0) * unit,
        None if total < 0 else total * unit,
        source,
        of=of,
    )


def _optional(ask: Callable[[], T]) -> Optional[T]:
    """What a run can do without: None if it is refused or fails.

    A session that ended is raised all the same.
    """
    try:
        return ask()
    except AuthRejected:
        raise
    except CloudError:
        return None
