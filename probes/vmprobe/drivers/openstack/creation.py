"""The requests that create resources: servers, volumes, floating IPs, security groups.

A create is one request, with two exceptions: a volume is asked for again where Cinder does not have
the server's availability zone, and the port of a floating IP is looked up first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, Mapping, Tuple, cast

from vmprobe.core.errors import AuthRejected, CloudError, NotFound, QuotaExceeded, Transient
from vmprobe.core.model import (
    AddressSpec,
    Kind,
    Ref,
    SecurityGroupSpec,
    ServerSpec,
    VolumeSpec,
)
from vmprobe.drivers.openstack import ports
from vmprobe.drivers.openstack.readings import GIB
from vmprobe.drivers.openstack.services import TYPED_BOOT_VOLUMES, Services
from vmprobe.transport.http import Http

if TYPE_CHECKING:
    from vmprobe.drivers.openstack.plan import OpenStackDetails


def server(services: Services, spec: ServerSpec) -> Tuple[Ref, str]:
    """Create ``spec.servers`` servers. Returns the first one, and the id of the request."""
    from vmprobe.guest import user_data

    plan = cast("OpenStackDetails", spec.plan.details)
    groups = [group for group in (plan["security group"], spec.security_group) if group]
    body: Dict[str, Any] = {
        "name": spec.name,
        "flavorRef": plan["flavor"],
        "networks": [{"uuid": plan["network"]}],
        "metadata": {"vmprobe": spec.name},
        "availability_zone": plan["availability zone"],
        "config_drive": plan["config drive"] or None,
        "user_data": user_data.for_server(spec),
        "security_groups": [{"name": group} for group in groups if plan["port security"]] or None,
    }
    if plan["boot from volume"]:
        body["block_device_mapping_v2"] = [_boot_volume(plan, services.nova_version())]
    else:
        body["imageRef"] = plan["image"]
    if spec.servers > 1:
        body.update(min_count=spec.servers, max_count=spec.servers)
    reply = services.nova().post(
        "servers", json={"server": _without_none(body)}, asked="create server"
    )
    return Ref(Kind.SERVER, reply.short_text("server", "id"), spec.name), reply.request_id


def _boot_volume(plan: OpenStackDetails, nova_version: Tuple[int, int]) -> Dict[str, Any]:
    """A volume that Nova makes of the image, and removes with the server."""
    return _without_none(
        {
            "boot_index": 0,
            "uuid": plan["image"],
            "source_type": "image",
            "destination_type": "volume",
            "volume_size": plan["disk"],
            "delete_on_termination": True,
            "volume_type": plan["volume type"] if nova_version >= TYPED_BOOT_VOLUMES else None,
        }
    )


def volume(cinder: Http, spec: VolumeSpec) -> Ref:
    """Create a volume in the server's availability zone, because Nova may attach no other.

    Where Cinder has no zone of that name, the volume is created in Cinder's default zone.
    """
    plan = cast("OpenStackDetails", spec.plan.details)
    body = {
        "name": spec.name,
        "size": -(-spec.size // GIB),
        "metadata": {"vmprobe": spec.name},
        "volume_type": plan["volume type"],
        "availability_zone": plan.get("availability zone"),
    }
    try:
        identity = _create_volume(cinder, body)
    except (Transient, AuthRejected, QuotaExceeded):
        raise
    except CloudError as refused:
        names_zone = re.search(r"availability.?zone", str(refused), re.I)
        if not body["availability_zone"] or not names_zone:
            raise
        identity = _create_volume(cinder, {**body, "availability_zone": None})
    return Ref(Kind.VOLUME, identity, spec.name)


def _create_volume(cinder: Http, body: Mapping[str, Any]) -> str:
    reply = cinder.post("volumes", json={"volume": _without_none(body)}, asked="create volume")
    return reply.short_text("volume", "id")


def floating_ip(neutron: Http, spec: AddressSpec) -> Ref:
    """Create a floating IP for the server's first port.

    It has no name: its description is the handle.
    """
    server_ports = ports.of_servers(neutron, [spec.server.id])
    if not server_ports:
        raise NotFound(f"{spec.server} has no port for a floating IP", cause="network")
    body = {
        "floating_network_id": spec.plan.external,
        "port_id": server_ports[0].ref.id,
        "description": spec.name,
    }
    reply = neutron.post("floatingips", json={"floatingip": body}, asked="create floating IP")
    return Ref(Kind.ADDRESS, reply.short_text("floatingip", "id"), spec.name)


def security_group(neutron: Http, spec: SecurityGroupSpec) -> Ref:
    """Create an empty security group."""
    body = {"name": spec.name, "description": "lets a test VM be reached"}
    reply = neutron.post(
        "security-groups", json={"security_group": body}, asked="create security group"
    )
    return Ref(Kind.SECURITY_GROUP, reply.short_text("security_group", "id"), spec.name)


def open_port(neutron: Http, group: Ref, port: int) -> None:
    """Let TCP connections to ``port`` in, over IPv4 and IPv6.

    A rule that is already there is success.
    """
    for family in ("IPv4", "IPv6"):
        rule = {
            "security_group_id": group.id,
            "direction": "ingress",
            "ethertype": family,
            "protocol": "tcp",
            "port_range_min": port,
            "port_range_max": port,
        }
        try:
            neutron.post(
                "security-group-rules",
                json={"security_group_rule": rule},
                asked="create security group rule",
            )
        except CloudError as refused:
            if "already exists" not in str(refused):  # as when this is repeated after a rate limit
                raise


def _without_none(body: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
