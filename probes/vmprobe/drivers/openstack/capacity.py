"""What OpenStack has room for, by quota, host and network, and what a test VM takes of which of them.

Each service has quotas of its own, and Cinder more for each type of volume; hosts and networks are the administrators' to see.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from vmprobe.core.errors import AuthRejected, CloudError, NotFound, NotPermitted
from vmprobe.core.model import ONE_FOR_ALL, Limit, Plan
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import Http, path
from vmprobe.transport.json import field, items

_MIB, _GIB = 2**20, 2**30
_WITH_ROOM = {"resources": "MEMORY_MB:1,VCPU:1"}
_PLACEMENT = (
    (
        "1.27",
        {**_WITH_ROOM, "required": "!COMPUTE_STATUS_DISABLED"},
    ),  # as Nova itself asks since Train
    ("1.27", _WITH_ROOM),
    ("1.10", _WITH_ROOM),
)  # the first whose summaries are of all resources, the first with summaries
_ASKED = 5  # hosts, for whether hosts have vCPUs at all
_OF_NOVA = (
    ("servers", "totalInstancesUsed", "maxTotalInstances", 1),
    ("vcpus", "totalCoresUsed", "maxTotalCores", 1),
    ("memory", "totalRAMUsed", "maxTotalRAMSize", _MIB),
)
_OF_CINDER = (
    ("volumes", "totalVolumesUsed", "maxTotalVolumes", 1),
    ("storage", "totalGigabytesUsed", "maxTotalVolumeGigabytes", _GIB),
    ("snapshots", "totalSnapshotsUsed", "maxTotalSnapshots", 1),
)
_OF_TYPES = (
    ("volumes", "volumes_", 1),
    ("storage", "gigabytes_", _GIB),
    ("snapshots", "snapshots_", 1),
)
_OF_NEUTRON = (
    ("ports", "port"),
    ("addresses", "floatingip"),
    ("security groups", "security_group"),
)
_OF_HOSTS = (("vcpus", "VCPU", 1), ("memory", "MEMORY_MB", _MIB), ("disk", "DISK_GB", _GIB))


def limits(services: Services) -> List[Limit]:
    """The project's quotas and what is used of them; for an administrator also the hosts and networks."""
    found = of_nova(services.nova())
    if services.has_cinder():
        found += of_cinder(services.cinder(), services.project)
    found += of_neutron(services.neutron(), services.project)
    found += of_glance(services.glance())
    if services.is_admin():
        found += of_networks(services.neutron())
        if services.has_placement():  # others often cannot even reach it
            found += of_hosts(services.placement())
    return found


# --- what there is ------------------------------------------------------------------------------------------------


def of_nova(nova: Http) -> List[Limit]:
    said = nova.get("limits").field("limits", "absolute", dict)
    return [_limit(name, said, used, most, unit) for name, used, most, unit in _OF_NOVA]


def of_cinder(cinder: Http, project: str) -> List[Limit]:
    """The quotas of all volumes, and of each type of volume that has one of its own."""
    said = cinder.get("limits").field("limits", "absolute", dict)
    found = [_limit(name, said, used, most, unit) for name, used, most, unit in _OF_CINDER]
    quotas = (
        _extra(
            lambda: cinder.get(path("os-quota-sets", project), query={"usage": "True"}).field(
                "quota_set", dict
            )
        )
        or {}
    )
    for key in sorted(quotas):
        for name, begins, unit in _OF_TYPES:
            if key.startswith(begins):
                kind = f"volume type {key[len(begins) :]}"
                limit = _limit(
                    name,
                    field(quotas, key, dict),
                    "in_use",
                    "limit",
                    unit,
                    f"quota of {kind}",
                    kind,
                )
                found += [limit] if limit.total is not None else []
    return found


def of_glance(glance: Http) -> List[Limit]:
    """How many images there may be, where Glance goes by Keystone's limits; how large a snapshot gets nobody knows before."""
    said = _extra(lambda: glance.get("info/usage").field("usage", dict)) or {}
    return (
        [_limit("images", field(said, "image_count_total", dict), "usage", "limit")]
        if "image_count_total" in said
        else []
    )


def of_neutron(neutron: Http, project: str) -> List[Limit]:
    """Nothing where the quota is the administrators' by Neutron's policy."""
    try:
        said = neutron.get(path("quotas", project, "details.json")).field("quota", dict)
    except (NotPermitted, NotFound):
        return []
    return [
        _limit(name, field(said, key, dict), "used", "limit")
        for name, key in _OF_NEUTRON
        if key in said
    ]


def of_hosts(placement: Http) -> List[Limit]:
    """What Placement has for servers on each host that is not full or disabled: reserves and overcommit are counted in."""
    try:
        for version, query in _PLACEMENT:
            placement.headers = {
                **placement.headers,
                "OpenStack-API-Version": f"placement {version}",
            }
            said = placement.get(
                "allocation_candidates", query=query, accept=(400, 406), asked="what hosts have"
            )
            if said.status not in (400, 406):
                break
        else:  # before Pike it cannot be asked this
            return []
        names = {
            one.get("uuid"): one.get("name")
            for one in placement.get("resource_providers").items("resource_providers")
        }
    except (NotPermitted, NotFound):
        return []
    hosts = said.field("provider_summaries", dict)
    if not hosts and any(
        _has_vcpus(placement, identity) for identity in sorted(map(str, names))[:_ASKED]
    ):
        return [Limit(name, 0, 0, "all hosts") for name in ("vcpus", "memory")]
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
        for name, resource, unit in _OF_HOSTS
        if field(host, "resources", resource, dict, default=None)
    ]


def _has_vcpus(placement: Http, identity: str) -> bool:
    """Whether a provider is a host of VMs, and not of bare metal or storage."""
    return bool(
        _extra(
            lambda: (
                "VCPU"
                in placement.get(path("resource_providers", identity, "inventories")).field(
                    "inventories", dict
                )
            )
        )
    )


def of_networks(neutron: Http) -> List[Limit]:
    """The IPv4 addresses of each network; nobody runs out of those of IPv6."""
    said = (
        _extra(lambda: neutron.get("network-ip-availabilities").items("network_ip_availabilities"))
        or []
    )
    found = []
    for network in said:
        subnets = [
            one
            for one in items(network, "subnet_ip_availability", default=[])
            if one.get("ip_version") == 4
        ]
        if subnets:
            used, total = (
                sum(field(one, key, int, default=0) for one in subnets)
                for key in ("used_ips", "total_ips")
            )
            found.append(
                Limit(
                    "leases",
                    used,
                    total,
                    f"network {network.get('network_name')}",
                    of=f"network {network.get('network_id')}",
                    binding=True,
                )
            )
    return found


# --- what a VM takes ----------------------------------------------------------------------------------------------


def boot_volume(plan: Plan) -> Optional[int]:
    """The bytes of the volume that the server boots from; None if it boots from its host's disk."""
    return plan.details["disk"] * _GIB if plan.details["boot from volume"] else None


def needs(
    services: Services,
    found: Mapping[Tuple[str, str], float],
    plan: Plan,
    test_vm: Mapping[str, Any],
) -> Dict[Tuple[str, str], float]:
    """``found``, which every manager counts, and what is OpenStack's own. ``default``: the type of a volume for which none is asked."""
    details = plan.details
    root = boot_volume(plan) or 0
    unsaid = found.get(("volumes", "")) and not details["volume type"]
    default = default_type(services.cinder()) if unsaid else None
    saved = 1 if root and test_vm["snapshot"] else 0  # Cinder's: of a local disk it is an image
    sizes = [-(-size // _GIB) * _GIB for size in (test_vm["volume"], root, root * saved) if size]
    more: Dict[Tuple[str, str], float] = {
        ("images", ""): 1 if test_vm["snapshot"] else 0,
        ("snapshots", ""): saved,
        ("storage", ""): sum(sizes),
        ("disk", ""): 0 if root else details["local disk"],
    }
    kind = details["volume type"] or default
    if kind:
        more.update(
            {
                ("volumes", f"volume type {kind}"): found.get(("volumes", ""), 0),
                ("storage", f"volume type {kind}"): sum(sizes),
                ("snapshots", f"volume type {kind}"): saved,
            }
        )
    more["leases", f"network {details['network']}"] = 1
    if test_vm["depth"] == "reach":
        more["security groups", ""] = ONE_FOR_ALL
        if plan.external:
            more["leases", f"network {plan.external}"] = 1
    return {key: float(amount) for key, amount in {**found, **more}.items() if amount}


def default_type(cinder: Http) -> Optional[str]:
    """The type of a volume for which none is asked."""
    return _extra(lambda: cinder.get("types/default").short_text("volume_type", "name"))


def _limit(
    name: str,
    said: Mapping[str, Any],
    used: str,
    total: str,
    unit: int = 1,
    source: str = "quota",
    of: str = "",
) -> Limit:
    most = field(said, total, int, default=-1)
    return Limit(
        name,
        field(said, used, int, default=0) * unit,
        None if most < 0 else most * unit,
        source,
        of=of,
    )


def _extra(ask: Any) -> Any:
    """What a run can do without: None where it is not answered. A rejected session is no matter of one request."""
    try:
        return ask()
    except AuthRejected:
        raise
    except CloudError:
        return None
