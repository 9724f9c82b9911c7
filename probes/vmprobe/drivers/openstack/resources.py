"""Where each service keeps its resources, and how they are shown, listed and deleted.

Servers are shown and listed by ``servers``, ports by ``ports``.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, NamedTuple, Optional

from vmprobe.core.errors import Ended
from vmprobe.core.model import Kind, Ref, Resource
from vmprobe.drivers.openstack import lists, readings
from vmprobe.drivers.openstack.readings import Record
from vmprobe.drivers.openstack.services import Services
from vmprobe.transport.http import Http, path


class Collection(NamedTuple):
    """Where one kind of resource is kept, and how its records are read."""

    service: Callable[[Services], Http]
    path: str  # below it is each resource, by its id
    list_path: str
    record: str  # the key of a single record in an answer; "": the answer is the record itself
    read: Callable[[Record], Resource]
    name: str = "name"  # the key of a record that has the resource's name


_VOLUMES = Collection(Services.cinder, "volumes", "volumes/detail", "volume", readings.volume)
_IMAGES = Collection(Services.glance, "images", "images", "", readings.snapshot)
_ADDRESSES = Collection(
    Services.neutron,
    "floatingips",
    "floatingips",
    "floatingip",
    readings.floating_ip,
    name="description",
)
_SECURITY_GROUPS = Collection(
    Services.neutron,
    "security-groups",
    "security-groups",
    "security_group",
    readings.security_group,
)
COLLECTIONS = {
    Kind.VOLUME: _VOLUMES,
    Kind.SNAPSHOT: _IMAGES,
    Kind.ADDRESS: _ADDRESSES,
    Kind.SECURITY_GROUP: _SECURITY_GROUPS,
}


def show(services: Services, ref: Ref) -> Resource:
    """One resource; Ended if it is shown, but gone all the same."""
    where = COLLECTIONS[ref.kind]
    reply = where.service(services).get(path(where.path, ref.id), asked=f"show {ref}")
    record = reply.field(where.record, dict) if where.record else reply.field(dict)
    resource = where.read(record)
    if resource.provider_state in readings.GONE:
        raise Ended(f"{ref} is {resource.provider_state}")
    return resource


def find(services: Services, kind: Kind, name: str, all_projects: bool) -> List[Resource]:
    """The project's resources whose name starts with ``name``.

    ``all_projects`` counts for volumes only. Records with other names are not read, because they
    may be odd.
    """
    where = COLLECTIONS[kind]

    def read(record: Record) -> Optional[Resource]:
        if not str(record.get(where.name) or "").startswith(name):
            return None
        resource = where.read(record)
        return None if resource.provider_state in readings.GONE else resource

    query: Mapping[str, Any] = {"all_tenants": "1"} if all_projects else {}
    if kind is Kind.SNAPSHOT:
        query = {"visibility": "private", "owner": services.project}
    if kind is Kind.ADDRESS:
        query = {"project_id": services.project}
    if kind is Kind.SECURITY_GROUP:  # without their rules, which can be many
        query = {"project_id": services.project, "fields": ["id", "name"]}
    key = where.path.replace("-", "_")
    return lists.read(where.service(services), where.list_path, key, query, read)


def delete(services: Services, ref: Ref) -> None:
    """Ask for the removal of a server, a port or one of COLLECTIONS."""
    if ref.kind is Kind.SERVER:
        service, collection = services.nova(), "servers"
    elif ref.kind is Kind.PORT:
        service, collection = services.neutron(), "ports"
    else:
        where = COLLECTIONS[ref.kind]
        service, collection = where.service(services), where.path
    service.delete(path(collection, ref.id), asked=f"delete {ref}")
