"""OpenStack: Keystone, Nova, Neutron, Cinder and Glance over their REST interfaces (api-ref of each, docs.openstack.org).

Its words are the suite's own: server, flavor, image, port, volume. The volume's attachment is Nova's matter, its state
Cinder's; a server's ports are made and removed by Nova, and their state is Neutron's.
"""

from __future__ import annotations

import base64
import json
import re
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
)

from vmprobe.core import reasons
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    Ended,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotMeasured,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Transient,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.model import Capability, Image, Kind, Limit, Plan, Ref, Resource, Sample, State
from vmprobe.core.text import cut
from vmprobe.core.values import http_url, yes_or_no
from vmprobe.drivers.openstack import lists
from vmprobe.drivers.openstack.keystone import CREDENTIALS, Keystone
from vmprobe.transport.http import Http, Reply, path
from vmprobe.transport.json import field, items, moment, word

HIDDEN = "SOFT_DELETED"  # removed, and kept for a while with all that it holds (reclaim_instance_interval)
SERVER = {
    "ACTIVE": State.READY,
    "ERROR": State.FAILED,
    "SHUTOFF": State.FAILED,
    "DELETED": State.FAILED,
    HIDDEN: State.FAILED,
}
PORT = {"ACTIVE": State.READY, "ERROR": State.FAILED}
VOLUME = {
    "available": State.READY,
    "in-use": State.READY,
    "error": State.FAILED,
    "error_deleting": State.FAILED,
    "error_extending": State.FAILED,
    "error_restoring": State.FAILED,
    "error_managing": State.FAILED,
}
IMAGE = {"active": State.READY, "killed": State.FAILED, "deactivated": State.FAILED}
RESTS = {
    "SHUTOFF",
    "PAUSED",
    "SUSPENDED",
    "SHELVED",
    "SHELVED_OFFLOADED",
    "RESCUE",
    HIDDEN,
}  # by their owner's wish
GONE = {"DELETED", "deleted", "pending_delete"}  # still shown, and gone all the same

_MICROVERSION = (2, 72)  # the newest Nova that this driver was written for
_TYPED_DISKS = (2, 67)  # from here on the volume that a server boots from can be of a type
_DIAGNOSTICS = (2, 48)  # from here on diagnostics have one form for all hypervisors
_DOWN_CELLS = (2, 69)  # from here on a list says which servers are in a cell that does not answer
_ATTACHMENTS = "3.27"  # the first Cinder that has attachments of its own
_NOT_NOW = r"status|currently in|attach(?:ed|ing)|detaching|in use|snapshot|dependent|migrating|state"  # of a volume that is "invalid"
_SPECIAL = r"pci_passthrough:|accel:|resources\d*:(?!(?:VCPU|PCPU|MEMORY_MB|DISK_GB)$)"  # a flavor's extra specs
_ID = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_GIB, _MIB = 2**30, 2**20
_PORTS_OF = 150  # servers
_GNOCCHI_FAILURES = 3  # of so many servers: then it is not asked of any more
_DELETED_FOR = 10.0  # seconds after which a server that is still shown DELETED is gone all the same
_CLOCKS = 300.0  # seconds by which the clocks of two services may be apart
_CELLS_FOR = 30.0  # seconds for which it is believed that all cells answer
_ATTRIBUTES = "APPLIANCE_ATTRIBUTES"  # the image property in which cloudkeeper writes down what EGI says of an image


class Openstack(Driver):
    """The verbs, over the services of one project in one region."""

    system = "OpenStack"
    proved_against = "OpenStack Zed from Debian's packages, real, started by the tests"
    capabilities = frozenset(Capability)
    kinds = (Kind.SERVER, Kind.ADDRESS, Kind.VOLUME, Kind.SNAPSHOT, Kind.SECURITY_GROUP)
    metrics_offered = ("cpu", "disk_read", "disk_write", "net_in", "net_out")
    endpoint_keys = {
        "url": Key(http_url),
        "region": Key(),
        "project": Key(),
        "project domain": Key(),
        "interface": Key(),
        "cloud": Key(),
        "all projects": Key(yes_or_no, False),
    }
    test_vm_keys = {
        "external network": Key(),
        "availability zone": Key(),
        "security group": Key(),
        "volume type": Key(),
        "boot from volume": Key(yes_or_no, False),
        "config drive": Key(yes_or_no, False),
    }
    credential_keys = CREDENTIALS

    def __init__(self, *words: Any):
        super().__init__(*words)
        self.keystone = Keystone(self.endpoint, self.credentials, self.deadline, self.evidence)
        self._nova_version: Optional[Dict[str, Any]] = None
        self._gnocchi_failed: Dict[
            str, str
        ] = {}  # by server, "" for all: why it is not asked again
        self._requests: Dict[
            Tuple[str, str], str
        ] = {}  # by server and stage: the id of the request that is Nova's action
        self._hidden: Set[str] = set()  # ids of servers that were shown SOFT_DELETED
        self._deleted: Dict[str, float] = {}  # since when a server is shown DELETED
        self._boots: Dict[str, _Boots] = {}  # of servers that were shown ACTIVE
        self._ports: Dict[
            str, List[Ref]
        ] = {}  # the ports of servers that are to be removed, asked for many at once
        self._asked_for: Set[Kind] = set()  # what a create was sent for in this session
        self._cells: Tuple[float, bool, List[str]] = (
            0.0,
            False,
            [],
        )  # when, for all projects, and which servers no cell answered for
        self._short_list = True  # Nova's list without details may be asked for

    @property
    def identity(self) -> str:
        """As every driver's, also where clouds.yaml or the environment say what the site file leaves out."""
        words = [
            self.endpoint["manager"],
            *(self.keystone.settings[word] for word in ("url", "region", "project")),
        ]
        return " ".join(word for word in words if word)

    def connect(self) -> None:
        self.keystone.authenticate()

    def resolve(self, test_vm: Mapping[str, Any]) -> Plan:
        """The newest image of the name (or id, or property=value), the flavor, and the network."""
        image = self._image(test_vm["image"])
        if test_vm["volume"] and not self._has_volumes():
            raise ClientError(
                "[test vm] volume: the catalog has no service block-storage; 'none' goes without"
            )
        flavor = self._flavor(test_vm["flavor"], image, test_vm["boot from volume"])
        network = self._network(test_vm["network"])
        external = (
            self._network(test_vm["external network"])["id"] if test_vm["external network"] else ""
        )
        keys = (
            "availability zone",
            "security group",
            "volume type",
            "boot from volume",
            "config drive",
            "depth",
        )
        details = {
            "image": image["id"],
            "flavor": flavor["id"],
            "network": network["id"],
            "port security": field(network, "port_security_enabled", bool, default=True),
            "disk": max(field(flavor, "disk", int, default=1), _disk(image)),
            "vcpus": field(flavor, "vcpus", int, default=0),
            "memory": field(flavor, "ram", int, default=0) * _MIB,
            "local disk": _local_disk(flavor),
            **{key: test_vm.get(key) for key in keys},
        }
        return Plan(
            _name(image) or image["id"],
            _name(flavor),
            _name(network) or network["id"],
            details,
            external,
        )

    def create(self, spec: Any) -> Ref:
        self._asked_for.add(spec.kind)
        return {
            Kind.SERVER: self._create_server,
            Kind.VOLUME: self._create_volume,
            Kind.ADDRESS: self._create_address,
            Kind.SECURITY_GROUP: self._create_security_group,
        }[spec.kind](spec)

    def _create_volume(self, spec: Any) -> Ref:
        """In the server's zone, as Nova may attach no other; where Cinder has no such zone, in Cinder's own."""
        wanted = {
            "name": spec.name,
            "size": -(-spec.size // _GIB),
            "metadata": {"vmprobe": spec.name},
            "volume_type": spec.plan.details["volume type"],
            "availability_zone": spec.plan.details.get("availability zone"),
        }
        try:
            reply = self._cinder().post(
                "volumes", json={"volume": _given(wanted)}, asked="create volume"
            )
        except (Transient, AuthRejected, QuotaExceeded):
            raise
        except CloudError as refused:
            if not wanted["availability_zone"] or not re.search(
                r"availability.?zone", str(refused), re.I
            ):
                raise
            wanted["availability_zone"] = None
            reply = self._cinder().post(
                "volumes", json={"volume": _given(wanted)}, asked="create volume"
            )
        return Ref(Kind.VOLUME, reply.word("volume", "id"), spec.name)

    def _create_security_group(self, spec: Any) -> Ref:
        wanted = {"name": spec.name, "description": "lets a test VM be reached"}
        reply = self._neutron().post(
            "security-groups", json={"security_group": wanted}, asked="create security group"
        )
        return Ref(Kind.SECURITY_GROUP, reply.word("security_group", "id"), spec.name)

    def open_port(self, group: Ref, port: int) -> None:
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
                self._neutron().post(
                    "security-group-rules",
                    json={"security_group_rule": rule},
                    asked="create security group rule",
                )
            except CloudError as refused:
                if "already exists" not in str(refused):  # asked once more after a rate limit
                    raise

    def _create_address(self, spec: Any) -> Ref:
        """A floating IP for the server's first port; it has no name, and its description is ours."""
        [port, *_] = self.ports([spec.server]) or [None]
        if port is None:
            raise NotFound(
                f"{spec.server} has no port that a floating IP could be for", cause="network"
            )
        wanted = {
            "floating_network_id": spec.plan.external,
            "port_id": port.ref.id,
            "description": spec.name,
        }
        reply = self._neutron().post(
            "floatingips", json={"floatingip": wanted}, asked="create floating IP"
        )
        return Ref(Kind.ADDRESS, reply.word("floatingip", "id"), spec.name)

    def _create_server(self, spec: Any) -> Ref:
        plan = spec.plan.details
        groups = [
            group
            for group in (plan["security group"], spec.security_group)
            if group and plan["port security"]
        ]
        server: Dict[str, Any] = {
            "name": spec.name,
            "flavorRef": plan["flavor"],
            "networks": [{"uuid": plan["network"]}],
            "metadata": {"vmprobe": spec.name},
            "availability_zone": plan["availability zone"],
            "config_drive": plan["config drive"] or None,
            "user_data": _user_data(spec),
            "security_groups": [{"name": group} for group in groups] or None,
        }
        if plan["boot from volume"]:
            disk = {
                "boot_index": 0,
                "uuid": plan["image"],
                "source_type": "image",
                "destination_type": "volume",
                "volume_size": plan["disk"],
                "delete_on_termination": True,
                "volume_type": plan["volume type"] if self._version() >= _TYPED_DISKS else None,
            }
            server["block_device_mapping_v2"] = [_given(disk)]
        else:
            server["imageRef"] = plan["image"]
        if spec.count > 1:
            server.update(min_count=spec.count, max_count=spec.count)
        reply = self._nova().post("servers", json={"server": _given(server)}, asked="create server")
        made = Ref(Kind.SERVER, reply.word("server", "id"), spec.name)
        self._requests[made.id, "active"] = reply.request
        return made

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.SERVER:
            found = self._shown_server(ref)
        elif ref.kind is Kind.VOLUME:
            found = _volume(
                self._cinder()
                .get(path("volumes", ref.id), asked=f"show {ref}")
                .field("volume", dict)
            )
        elif ref.kind is Kind.SNAPSHOT:
            found = _snapshot(
                self._glance().get(path("images", ref.id), asked=f"show {ref}").field(dict)
            )
        elif ref.kind is Kind.PORT:
            found = self._shown_port(ref)
        else:
            where, key, read = _OF_NEUTRON[ref.kind]
            found = read(
                self._neutron().get(path(where, ref.id), asked=f"show {ref}").field(key, dict)
            )
        if self._is_gone(found):
            raise Ended(f"{ref} is {found.provider_state}")
        return found

    def _is_gone(self, thing: Resource) -> bool:
        """Nova says DELETED a moment before it lets go of a server; where it says so for long, that is all that comes."""
        if thing.provider_state not in GONE:
            return False
        now = self.deadline.clock.now()
        return (
            thing.ref.kind is not Kind.SERVER
            or now - self._deleted.setdefault(thing.ref.id, now) >= _DELETED_FOR
        )

    def _shown_server(self, ref: Ref) -> Resource:
        said = self._nova().get(path("servers", ref.id), asked=f"show {ref}").field("server", dict)
        if _is_out_of_sight(said):
            raise GatewayFailed(f"show {ref}: it is in a cell of Nova that does not answer")
        found = self._known(said)
        return found._replace(request=self._failed_request(ref)) if found.fault else found

    def _known(self, said: Mapping[str, Any]) -> Resource:
        """A server, of which is kept what its removal will need."""
        server = _server(said)
        self._boots.pop(server.ref.id, None)
        if server.provider_state == "ACTIVE":
            self._boots[server.ref.id] = _boot_volumes(said)
        if server.provider_state == HIDDEN:
            self._hidden.add(server.ref.id)
        return server

    def _shown_port(self, ref: Ref) -> Resource:
        """By a list, which a credential that is limited to what a run needs may ask for."""
        ports = lists.read(
            self._neutron(),
            "ports",
            "ports",
            {"id": ref.id},
            lambda port: _port(port) if port.get("id") == ref.id else None,
        )
        if not ports:
            raise NotFound(f"show {ref}: there is no such port")
        return ports[0]

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """Those of the project; without a name, where ``all projects`` says so, those of all that the credential can see."""
        everywhere = {"all_tenants": "1"} if self.endpoint["all projects"] and not name else {}
        if kind is Kind.SERVER:
            return self._servers(name, everywhere)
        if kind is Kind.VOLUME:
            return (
                self._listed(self._cinder(), "volumes/detail", "volumes", everywhere, name, _volume)
                if self._has_volumes()
                else []
            )
        if kind is Kind.SNAPSHOT:
            query = {"visibility": "private", "owner": self.keystone.project}
            return self._listed(self._glance(), "images", "images", query, name, _snapshot)
        return self._of_neutron(kind, name) if kind in _OF_NEUTRON else []

    def _listed(
        self,
        service: Http,
        where: str,
        key: str,
        query: Mapping[str, Any],
        name: str,
        read: Callable[[Mapping[str, Any]], Resource],
        called: str = "name",
    ) -> List[Resource]:
        """Only what is called so is read any further: what else there is may be as odd as it likes."""

        def keep(said: Mapping[str, Any]) -> Optional[Resource]:
            return (
                self._if_there(read(said), name)
                if str(said.get(called) or "").startswith(name)
                else None
            )

        return lists.read(service, where, key, query, keep)

    def _if_there(self, thing: Resource, name: str) -> Optional[Resource]:
        gone = self._is_gone(thing) if name else thing.provider_state in GONE
        return None if gone else thing

    def _servers(self, name: str, everywhere: Mapping[str, str]) -> List[Resource]:
        """Incomplete while there are servers in a cell that does not answer: whose they are, and how they are called, is not known."""
        unseen: Set[str] = set()

        def keep(said: Mapping[str, Any]) -> Optional[Resource]:
            if _is_out_of_sight(said):
                unseen.add(word(said, "id"))
                return None
            if not _name(said).startswith(name):
                return None
            return self._if_there(self._known(said) if name else _server(said), name)

        query = {"name": f"^{name}"} if name else everywhere
        found = lists.read(self._nova(), "servers/detail", "servers", query, keep)
        unseen.update(self._servers_out_of_sight(everywhere))
        if unseen:
            silent = [
                Resource(Ref(Kind.SERVER, one), State.PENDING, "UNKNOWN") for one in sorted(unseen)
            ]
            raise Incomplete(
                f"list servers: a cell of Nova does not answer, {len(unseen)} of its servers cannot be seen",
                found + silent,
            )
        return found

    def _servers_out_of_sight(self, everywhere: Mapping[str, str]) -> List[str]:
        """The ids of servers whose cell does not answer.

        Nova leaves them out of each list that has a filter or a page: only the whole list has them, as far as it fits
        into one answer. It is asked for now and then, without details where that is allowed.
        """
        at, whose, found = self._cells
        now = self.deadline.clock.now()
        if (
            self._version() < _DOWN_CELLS
            or at
            and not found
            and whose == bool(everywhere)
            and now - at < _CELLS_FOR
        ):
            return found
        try:
            records = self._whole_list(everywhere).items("servers")
        except TooLarge:
            records = []  # so many that Nova would not say it anyway
        found = [word(record, "id") for record in records if _is_out_of_sight(record)]
        self._cells = now, bool(everywhere), found
        return found

    def _whole_list(self, everywhere: Mapping[str, str]) -> Reply:
        """Without details, unless the credential's access rules or a gateway do not know that path."""
        if self._short_list:
            try:
                return self._nova().get("servers", query=everywhere, asked="list servers")
            except (NotFound, NotPermitted, AuthRejected):
                self._short_list = False
        return self._nova().get("servers/detail", query=everywhere, asked="list servers")

    def delete(self, ref: Ref) -> None:
        if ref.kind is Kind.SERVER and ref.id in self._hidden:
            self._remove_for_good(ref)
            return
        if ref.kind is Kind.SNAPSHOT and self._has_volumes():
            self._remove_volumes_of(ref)
        service, where = {
            Kind.SERVER: (self._nova, "servers"),
            Kind.VOLUME: (self._cinder, "volumes"),
            Kind.SNAPSHOT: (self._glance, "images"),
            Kind.ADDRESS: (self._neutron, "floatingips"),
            Kind.PORT: (self._neutron, "ports"),
            Kind.SECURITY_GROUP: (self._neutron, "security-groups"),
        }[ref.kind]
        try:
            try:
                service().delete(path(where, ref.id), asked=f"delete {ref}")
            except Conflict:
                if ref.kind is not Kind.VOLUME or not self._freed(ref):
                    raise
                service().delete(path(where, ref.id), asked=f"delete {ref}")
        except NotFound:
            return

    def _remove_for_good(self, server: Ref) -> None:
        """A server that is kept after its removal holds its ports, addresses and volumes until it is removed by force."""
        try:
            self._nova().post(
                path("servers", server.id, "action"),
                json={"forceDelete": None},
                asked=f"delete {server}, which is {HIDDEN}",
            )
        except NotFound:
            return

    def _remove_volumes_of(self, image: Ref) -> None:
        """The snapshots in Cinder of which a snapshot of a server that boots from a volume consists.

        Conflict until they are gone: only the image says which they are.
        """
        try:
            said = self._glance().get(path("images", image.id), asked=f"show {image}").field(dict)
        except NotFound:
            return
        if said.get("id") != image.id or _name(said) != image.name:
            return  # an answer about something else
        for one in _volume_snapshots(said):
            where = path("snapshots", one)
            reply = self._cinder().get(
                where, accept=(404,), asked=f"show snapshot {one} of {image}"
            )
            if reply.status == 404 or (
                reply.word("snapshot", "id"),
                reply.field("snapshot", "name", str, default=""),
            ) != (one, f"snapshot for {image.name}"):
                continue
            if reply.word("snapshot", "status") != "deleting":
                self._cinder().delete(
                    where, accept=(404,), asked=f"delete snapshot {one} of {image}"
                )
            raise Conflict(f"delete {image}: its snapshot {one} in Cinder is not gone yet")

    def _freed(self, volume: Ref) -> bool:
        """Whether a volume that hangs between two states was let go of: by Cinder's attachments whose server is no more.

        So it stays where Cinder or Nova died while it was being attached, until somebody says that nothing will come.
        """
        if self.show(volume).provider_state not in ("attaching", "reserved", "detaching"):
            return False
        cinder = self._cinder()
        cinder.headers = {**cinder.headers, "OpenStack-API-Version": f"volume {_ATTACHMENTS}"}
        try:
            said = cinder.get(
                "attachments",
                query={"volume_id": volume.id},
                accept=(404, 406),
                asked=f"attachments of {volume}",
            )
            attachments = (
                said.items("attachments") if said.status == 200 else []
            )  # before Ocata there are none
            found = [one for one in attachments if one.get("volume_id") == volume.id]
            if not found or any(self._has_server(str(one.get("instance") or "")) for one in found):
                return False
            for one in found:
                cinder.delete(
                    path("attachments", word(one, "id")), accept=(404,), asked=f"free {volume}"
                )
        except CloudError:
            return False  # the volume's own refusal says more
        return True

    def _has_server(self, server: str) -> bool:
        if not server:
            return False
        try:
            self._nova().get(path("servers", server), asked=f"show server {server}")
        except NotFound:
            return False
        return True

    def belongings(self, server: Ref) -> List[Ref]:
        """The ports that Nova made for it, and the volume that Nova made for it to boot from.

        What has a name was made by somebody, who may want it back; a volume also has to say itself that it is this server's.
        Of a fleet that was shown ACTIVE this takes one request for all.
        """
        boots = self._boots.pop(server.id, None)
        if boots is None:
            said = (
                self._nova()
                .get(path("servers", server.id), asked=f"what belongs to {server}")
                .field("server", dict)
            )
            if said.get("id") != server.id:
                raise GatewayFailed(f"what belongs to {server}: the answer is about another one")
            boots = _boot_volumes(said)
        if server.id not in self._ports:
            self._take_ports(
                [server.id, *(one for one in self._boots if one not in self._ports)][:_PORTS_OF]
            )
        volumes = [self._made_for(server, volume, boots.created) for volume in boots.volumes]
        return self._ports.pop(server.id) + [volume for volume in volumes if volume is not None]

    def orphans(self, servers: Sequence[Ref]) -> Dict[str, List[Ref]]:
        """The ports that Nova made for them: Neutron knows them by a server's id also when Nova does not know that any more."""
        wanted = [server.id for server in servers]
        for start in range(0, len(wanted), _PORTS_OF):
            self._take_ports(wanted[start : start + _PORTS_OF])
        return {server: self._ports.pop(server) for server in wanted}

    def _take_ports(self, servers: Sequence[str]) -> None:
        made = lists.read(
            self._neutron(), "ports", "ports", {"device_id": list(servers)}, _made_by_nova
        )
        self._ports.update(
            {server: [port for device, port in made if device == server] for server in servers}
        )

    def _made_for(self, server: Ref, volume: str, created: Optional[float]) -> Optional[Ref]:
        """The volume, if Cinder says that it is this server's; one that is attached to none has to be as young as the server."""
        try:
            seen = self.show(Ref(Kind.VOLUME, volume))
        except NotFound:
            return None
        young = (
            created is not None and seen.created is not None and seen.created >= created - _CLOCKS
        )
        ours = seen.ref.id == volume and (seen.server == server.id or not seen.server and young)
        return seen.ref if ours and seen.ref.name in ("", seen.ref.id) else None

    def _of_neutron(self, kind: Kind, name: str) -> List[Resource]:
        """Security groups without their rules. What policy hides, and this session has not asked for, it cannot have made.

        A Neutron without routers has no floating IPs, and says that there is no such path.
        """
        where, _, read = _OF_NEUTRON[kind]
        query = {
            "project_id": self.keystone.project,
            **({"fields": ["id", "name"]} if kind is Kind.SECURITY_GROUP else {}),
        }
        called = "description" if kind is Kind.ADDRESS else "name"
        try:
            return self._listed(
                self._neutron(), where, where.replace("-", "_"), query, name, read, called
            )
        except (NotFound, NotPermitted):
            if kind in self._asked_for:
                raise
            return []

    def describe(self) -> Dict[str, Any]:
        """Nova's version, and the services of the catalog."""
        services = sorted(
            {str(entry.get("type")) for entry in items(self.keystone.token, "catalog")}
        )
        return {
            "version": f"Nova {cut(str(self._said_of_nova().get('version') or '2.0'), 20)}",
            "services": services,
            "project": self.keystone.project,
        }

    def offers(self) -> Dict[str, Any]:
        """The other services' versions and extensions, the hypervisors, and Gnocchi's metrics; why not, where it is not told."""
        asked = {
            "identity": self.keystone.version,
            "block storage": self._version_of_cinder,
            "network extensions": self._extensions,
            "hypervisors": self._hypervisors,
            "metrics by Gnocchi": self._said_of_gnocchi,
        }
        if not self._has_volumes():
            del asked["block storage"]
        if not self.keystone.has("metric"):
            del asked["metrics by Gnocchi"]
        return {what: _told(ask) for what, ask in asked.items()}

    def _version_of_cinder(self) -> str:
        cinder = self._cinder()
        return cinder.get(
            re.sub(r"(/v3)(?:/.*)?$", r"\1/", cinder.url), asked="Cinder's version"
        ).word("versions", 0, "version")

    def _extensions(self) -> List[str]:
        return sorted(
            str(one.get("alias"))
            for one in self._neutron()
            .get("extensions", asked="Neutron's extensions")
            .items("extensions")
        )

    def _hypervisors(self) -> List[str]:
        found = self._nova().get("os-hypervisors/detail", asked="hypervisors").items("hypervisors")
        return sorted({str(one["hypervisor_type"]) for one in found if one.get("hypervisor_type")})

    def _said_of_gnocchi(self) -> Dict[str, str]:
        """How often it has which metric of this project's servers."""
        from vmprobe.drivers.openstack import gnocchi

        return {
            metric: f"every {period:g} s"
            for metric, period in gnocchi.periods(self._gnocchi()).items()
        }

    # --- by capability ----------------------------------------------------------------------------------------

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """The ports of all these servers by one request, up to as many as a URL of 8 KiB can name."""
        wanted = [server.id for server in servers]
        return [
            port
            for start in range(0, len(wanted), _PORTS_OF)
            for port in lists.read(
                self._neutron(),
                "ports",
                "ports",
                {"device_id": wanted[start : start + _PORTS_OF]},
                lambda port: _port(port) if port.get("device_id") in wanted else None,
            )
        ]

    def attach(self, server: Ref, volume: Ref) -> None:
        reply = self._nova().post(
            path("servers", server.id, "os-volume_attachments"),
            asked=f"attach {volume} to {server}",
            json={"volumeAttachment": {"volumeId": volume.id}},
        )
        self._requests[server.id, "storage"] = reply.request

    def detach(self, server: Ref, volume: Ref) -> None:
        try:
            self._nova().delete(
                path("servers", server.id, "os-volume_attachments", volume.id),
                asked=f"detach {volume} from {server}",
            )
        except NotFound:
            return

    def console(self, server: Ref) -> str:
        reply = self._nova().post(
            path("servers", server.id, "action"),
            json={"os-getConsoleOutput": {}},
            asked=f"console of {server}",
        )
        return reply.field("output", str, default="")

    def endpoints(self) -> List[str]:
        """Keystone's, and once there is a token those of the services that a test VM needs."""
        services = [
            types
            for types in (("compute",), ("network",), ("image",), _CINDER)
            if self.keystone.token and self.keystone.has(*types)
        ]
        return [self.keystone.url] + [self.keystone.service(*types).url for types in services]

    def credential_expiry(self) -> Optional[float]:
        return self.keystone.credential_expires()

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in RESTS

    def is_soft_deleted(self, seen: Resource) -> bool:
        return seen.ref.kind is Kind.SERVER and seen.provider_state == HIDDEN

    def finished_at(self, server: Ref, stage: str) -> Optional[float]:
        """By the events of the action that the stage's request began; a member sees them from microversion 2.51 on."""
        request = self._requests.get((server.id, stage))
        if not request:
            return None
        reply = self._nova().get(
            path("servers", server.id, "os-instance-actions", request), asked=f"action of {server}"
        )
        events = reply.items("instanceAction", "events", default=[])
        ends = [
            moment(event.get("finish_time")) for event in events if event.get("result") == "Success"
        ]
        return max(ends) if ends and len(ends) == len(events) and None not in ends else None

    def metrics(self, server: Ref) -> List[Sample]:
        """Nova's diagnostics, which are of this very moment; what they may not or do not say is Gnocchi's, if there is one.

        They are the administrators' where policy does not say otherwise.
        """
        forbidden, found = "", []
        try:
            found = self._diagnosed(server)
        except (NotPermitted, NotMeasured) as refusal:
            if not self.keystone.has("metric"):
                raise
            forbidden = str(refusal)
        missing = [
            metric
            for metric in self.metrics_offered
            if metric not in {sample.metric for sample in found}
        ]
        if missing and self.keystone.has("metric"):
            found += self._kept(server, missing)
        if forbidden and not found and self._gnocchi_failed_for(server):
            raise NotPermitted(f"{forbidden}; {self._gnocchi_failed_for(server)}")
        if forbidden and not found:
            raise NotMeasured(f"{forbidden}; Gnocchi has no measures of it yet")
        return found

    def _diagnosed(self, server: Ref) -> List[Sample]:
        """By Nova's diagnostics; nothing where the hypervisor has none.

        Of a server that is not running Nova has none (409), and of one that its hypervisor does not know well enough (500).
        """
        reply = self._nova().get(
            path("servers", server.id, "diagnostics"),
            accept=(409, 500, 501),
            asked=f"diagnostics of {server}",
        )
        if reply.status == 501:
            return []
        if reply.status == 500 and b"computeFault" not in reply.body:
            raise reply.error(GatewayFailed)
        if reply.status in (409, 500):
            raise reply.error(NotMeasured)
        said = reply.field(dict)
        counters = _diagnostics(said) if self._version() >= _DIAGNOSTICS else _old_diagnostics(said)
        now = self.deadline.clock.now()
        return [
            Sample(metric, value, now, source="Nova's diagnostics")
            for metric, value in counters.items()
        ]

    def _kept(self, server: Ref, wanted: Sequence[str]) -> List[Sample]:
        """By Gnocchi; one that fails is no failure of the cloud that it watches, and is not asked again.

        What it has of one server may be broken, which says nothing of the others; broken thrice, it is broken.
        """
        from vmprobe.drivers.openstack import gnocchi

        if self._gnocchi_failed_for(server):
            return []
        try:
            found = gnocchi.measured(self._gnocchi(), server, wanted)
        except (Unreachable, NotPermitted, AuthRejected) as failed:
            self._gnocchi_failed[""] = str(failed)
            return []
        except CloudError as failed:
            self._gnocchi_failed[
                "" if len(self._gnocchi_failed) >= _GNOCCHI_FAILURES - 1 else server.id
            ] = str(failed)
            return []
        vcpus = self.show(server).vcpus if any(sample.metric == "cpu" for sample in found) else None
        return [
            sample if sample.metric != "cpu" else sample._replace(value=sample.value / vcpus)
            for sample in found
            if sample.metric != "cpu" or vcpus
        ]

    def _gnocchi_failed_for(self, server: Ref) -> str:
        return self._gnocchi_failed.get("") or self._gnocchi_failed.get(server.id, "")

    def snapshot(self, server: Ref, name: str) -> Ref:
        reply = self._nova().post(
            path("servers", server.id, "action"),
            json={"createImage": {"name": name}},
            asked=f"snapshot of {server}",
        )
        made = reply.word("image_id", default="") if reply.body.strip() else ""
        made = made or reply.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not made:
            raise reply.error(GatewayFailed, "no id of the snapshot in the answer")
        return Ref(Kind.SNAPSHOT, made, name)

    def capacity(self) -> List[Limit]:
        """The project's quotas and what is used of them, -1 is unlimited; for an administrator also the hosts and networks."""
        from vmprobe.drivers.openstack import room

        found = room.of_nova(self._nova())
        if self._has_volumes():
            found += room.of_cinder(self._cinder(), self.keystone.project)
        found += room.of_neutron(self._neutron(), self.keystone.project) + room.of_glance(
            self._glance()
        )
        if "admin" in [
            role.get("name") for role in items(self.keystone.token, "roles", default=[])
        ]:
            found += room.of_networks(self._neutron())
            if self.keystone.has("placement"):  # by others it often cannot even be reached
                found += room.of_hosts(self.keystone.service("placement"))
        return found

    def needs(self, plan: Plan, test_vm: Mapping[str, Any]) -> Mapping[Tuple[str, str], float]:
        """A server that boots from a volume takes one more; volumes meet the quotas of their type, too."""
        from vmprobe.drivers.openstack import room

        root = plan.details["disk"] * _GIB if plan.details["boot from volume"] else None
        found = super().needs(plan._replace(details={**plan.details, "root volume": root}), test_vm)
        unsaid = found.get(("volumes", "")) and not plan.details["volume type"]
        return room.needs(
            found, plan, test_vm, room.default_type(self._cinder()) if unsaid else None
        )

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """Glance's checksum is by MD5, and since 2.7 also by the algorithm that the operator chose."""
        return [_glance_image(said) for said in self._images(name)]

    # --- services ---------------------------------------------------------------------------------------------

    def _nova(self) -> Http:
        nova = self._service(("compute",), "/v2.1")
        version = ".".join(map(str, self._version()))
        nova.headers = {
            **nova.headers,
            "OpenStack-API-Version": f"compute {version}",
            "X-OpenStack-Nova-API-Version": version,
        }
        return nova

    def _version(self) -> tuple:
        """The microversion to speak: what Nova has, up to what this driver was written for."""
        match = re.fullmatch(
            r"(\d{1,3})\.(\d{1,4})", field(self._said_of_nova(), "version", str, default="")
        )
        return min((int(match[1]), int(match[2])), _MICROVERSION) if match else (2, 1)

    def _said_of_nova(self) -> Dict[str, Any]:
        """Nova's document of its version. Asked once, and not below a project's id, where older releases have none.

        Without the slash at the end Nova redirects, behind a proxy often to an address of its own; a gateway may know the
        path without it only. One that has no such document at all is spoken to as the first of its kind.
        """
        if self._nova_version is None:
            nova = self._service(("compute",), "/v2.1")
            root = re.sub(r"(/v\d[\d.]*)(?:/.*)?$", r"\1", nova.url)
            said: Dict[str, Any] = {}
            for where in (root + "/", root):
                reply = nova.get(where, accept=(404,), asked="Nova's version")
                if reply.status != 404:
                    said = reply.field("version", dict, default={})
                    break
            self._nova_version = said
        return self._nova_version

    def _neutron(self) -> Http:
        return self._service(("network",), "/v2.0")

    def _gnocchi(self) -> Http:
        """With a third of the patience: what telemetry lacks must not cost a run its time."""
        found = self._service(("metric",), "/v1")
        found.timeout = self.endpoint["timeout"] / 3
        return found

    def _glance(self) -> Http:
        return self._service(("image",), "/v2")

    def _cinder(self) -> Http:
        """Below the project's id, which a catalog may leave out since Cinder does without (3.67)."""
        cinder = self._service(_CINDER, "/v3")
        return (
            cinder.at(f"{cinder.url}/{self.keystone.project}")
            if cinder.url.endswith("/v3")
            else cinder
        )

    def _has_volumes(self) -> bool:
        return not self.keystone.lacks(*_CINDER)

    def _service(self, types: Sequence[str], version: str) -> Http:
        """A service of the catalog, whose URL may or may not have the version in it."""
        service = self.keystone.service(*types)
        if not re.search(r"/v\d[\d.]*(?:/|$)", service.url):
            service = service.at(service.url + version)
        service.classify = _classify
        return service

    # --- what a test VM is made of ----------------------------------------------------------------------------

    def _images(self, wanted: str) -> List[Dict[str, Any]]:
        """By id, by ``property=value``, or by name; '' is all."""
        if _ID.match(wanted):
            try:
                return [self._glance().get(path("images", wanted)).field(dict)]
            except NotFound:
                return []
        name, _, value = wanted.partition("=")
        if not value:
            return self._glance_images(
                {"name": wanted} if wanted else {},
                lambda image: not wanted or image.get("name") == wanted,
            )
        found = self._glance_images({name: value}, lambda image: _has(image, name, value))
        return found or self._glance_images({}, lambda image: _has(image, name, value))

    def _glance_images(
        self, query: Mapping[str, Any], wanted: Callable[[Mapping[str, Any]], bool]
    ) -> List[Dict[str, Any]]:
        return lists.read(
            self._glance(),
            "images",
            "images",
            query,
            lambda image: image if wanted(image) else None,
        )

    def _image(self, wanted: str) -> Dict[str, Any]:
        """Of several that are active the newest."""
        found = self._images(wanted)
        if not found:
            raise NotFound(f"no image {wanted!r}", cause="image")
        ready = [image for image in found if image.get("status") == "active"]
        if not ready:
            raise NotFound(
                f"image {wanted!r} is {word(found[0], 'status', default='without a status')}",
                cause="image",
            )
        newest = max(ready, key=lambda image: str(image.get("created_at")))
        word(newest, "id")
        return newest

    def _flavor(self, wanted: str, image: Mapping[str, Any], from_volume: bool) -> Dict[str, Any]:
        """By name or id, or the smallest that holds the image; one without disk only where the VM boots from a volume."""
        flavors = lists.read(self._nova(), "flavors/detail", "flavors", {}, lambda flavor: flavor)
        if not flavors:
            raise NotFound("Nova shows no flavor to this project", cause="image")
        if wanted:
            found = [
                flavor for flavor in flavors if wanted in (flavor.get("name"), flavor.get("id"))
            ]
            if not found:
                names = cut(", ".join(sorted(str(flavor.get("name")) for flavor in flavors)), 100)
                raise NotFound(f"no flavor {wanted!r} among {names}", cause="image")
            return found[0]
        disk = _disk(image)
        fit = [
            flavor
            for flavor in flavors
            if field(flavor, "ram", int, default=0) >= field(image, "min_ram", int, default=0)
            and not _is_special(flavor)
            and (from_volume or field(flavor, "disk", int, default=0) >= disk)
        ]
        if not fit:
            raise NotFound(
                f"no flavor holds the image: {disk} GiB of disk, {image.get('min_ram', 0)} MiB of memory",
                cause="image",
            )
        return min(
            fit,
            key=lambda flavor: tuple(
                field(flavor, key, int, default=0) for key in ("ram", "vcpus", "disk")
            ),
        )

    def _network(self, wanted: str) -> Dict[str, Any]:
        """By name or id, or the only one there is; of several that work the project's own goes first."""
        query: Dict[str, Any] = (
            {"id" if _ID.match(wanted) else "name": wanted}
            if wanted
            else {"router:external": "false"}
        )
        found = lists.read(
            self._neutron(),
            "networks",
            "networks",
            query,
            lambda network: network if wanted or network.get("subnets") else None,
        )
        if not found:
            raise NotFound(
                f"no network {wanted!r}" if wanted else "there is no network for a VM",
                cause="network",
            )
        if len(found) > 1:
            works = [
                network
                for network in found
                if network.get("admin_state_up") is not False and network.get("status") != "DOWN"
            ]
            own = [
                network
                for network in works
                if self.keystone.project in (network.get("project_id"), network.get("tenant_id"))
            ]
            found = own or works or found
        if len(found) > 1:
            names = cut(
                ", ".join(f"{network.get('name')} ({network.get('id')})" for network in found), 200
            )
            raise ClientError(f"[test vm] network: there are {names}: name one")
        word(found[0], "id")
        return found[0]

    def _failed_request(self, server: Ref) -> str:
        """The request that a server failed in, by its actions; '' where these cannot be read."""
        try:
            actions = (
                self._nova()
                .get(path("servers", server.id, "os-instance-actions"))
                .items("instanceActions")
            )
        except CloudError:
            return ""
        return next(
            (
                str(action.get("request_id"))
                for action in actions
                if action.get("action") == "create"
            ),
            "",
        )


_CINDER = ("block-storage", "volumev3", "block-store")
_CREATES = re.compile(r"/(?:servers|volumes|floatingips|security-groups|security-group-rules)$")
_KINDS: Dict[int, Type[CloudError]] = {404: NotFound}


def _told(ask: Callable[[], Any]) -> Any:
    """What is told to who asks, or why it is not."""
    try:
        return ask()
    except NotPermitted:
        return "not permitted"
    except CloudError as unknown:
        return str(unknown)


# --- what the services say ----------------------------------------------------------------------------------------


def _name(said: Mapping[str, Any]) -> str:
    """What its owner calls it, which may be nothing, and anything: no other's thing may keep us from seeing ours."""
    return str(said.get("name") or "")


def _server(said: Mapping[str, Any]) -> Resource:
    native = word(said, "status", default="without a status")
    addresses = [
        word(address, "addr")
        for network in field(said, "addresses", dict, default={}).values()
        if isinstance(network, list)
        for address in network
        if isinstance(address, dict)
    ]
    fault = field(said, "fault", "message", str, default="")
    flavor = field(said, "flavor", dict, default={})
    image = said.get("image")
    return Resource(
        Ref(Kind.SERVER, word(said, "id"), _name(said)),
        SERVER.get(native, State.PENDING),
        native,
        fault,
        reasons.cause(fault),
        addresses=tuple(addresses),
        created=moment(said.get("created")),
        launched=moment(said.get("OS-SRV-USG:launched_at")),
        vcpus=field(flavor, "vcpus", int, default=None),
        memory=_times(field(flavor, "ram", int, default=None), _MIB),
        image=str(image.get("id", "")) if isinstance(image, dict) else "",
        owner=str(said.get("user_id") or ""),
        project=str(said.get("tenant_id") or ""),
        state_since=moment(said.get("updated")),
    )


def _is_out_of_sight(said: Mapping[str, Any]) -> bool:
    """Whether this is a server of a cell that does not answer: Nova knows its id then, and not its name."""
    return said.get("status") == "UNKNOWN" and "name" not in said


def _volume(said: Mapping[str, Any]) -> Resource:
    """Attached is what is in use, and by whom; on its way in or out it is neither."""
    native = word(said, "status")
    attached = [str(one.get("server_id") or "") for one in items(said, "attachments", default=[])]
    server = next((server for server in attached if server), "")
    return Resource(
        Ref(Kind.VOLUME, word(said, "id"), _name(said)),
        VOLUME.get(native, State.PENDING),
        native,
        server=server,
        created=moment(said.get("created_at")),
        size=_times(field(said, "size", int, default=None), _GIB),
    )


def _port(said: Mapping[str, Any]) -> Resource:
    """A port is attached when Neutron says ACTIVE; a binding that failed never will be."""
    native = word(said, "status")
    failed = said.get("binding:vif_type") == "binding_failed"
    addresses = tuple(
        word(address, "ip_address") for address in items(said, "fixed_ips", default=[])
    )
    return Resource(
        Ref(Kind.PORT, word(said, "id"), _name(said)),
        State.FAILED if failed else PORT.get(native, State.PENDING),
        native,
        "its binding failed" if failed else "",
        "network" if failed else "",
        addresses=addresses,
        server=str(said.get("device_id") or ""),
    )


def _made_by_nova(said: Mapping[str, Any]) -> Optional[Tuple[str, Ref]]:
    """The server and the port, if Nova made it: such a one has no name, or its id for one."""
    identity, name = word(said, "id"), _name(said)
    if not str(said.get("device_owner") or "compute:").startswith("compute:") or name not in (
        "",
        identity,
    ):
        return None
    return str(said.get("device_id") or ""), Ref(Kind.PORT, identity, name)


class _Boots(NamedTuple):
    """When a server was created, and the volumes that Nova removes with it."""

    created: Optional[float]
    volumes: List[str]


def _boot_volumes(said: Mapping[str, Any]) -> _Boots:
    """Before 2.3 Nova does not say which volumes it removes: it is one that stands for an image."""
    return _Boots(
        moment(said.get("created")),
        [
            word(one, "id")
            for one in items(said, "os-extended-volumes:volumes_attached", default=[])
            if one.get("delete_on_termination", not said.get("image")) is True
        ],
    )


def _snapshot(said: Mapping[str, Any]) -> Resource:
    native = word(said, "status")
    return Resource(
        Ref(Kind.SNAPSHOT, word(said, "id"), _name(said)),
        IMAGE.get(native, State.PENDING),
        native,
        created=moment(said.get("created_at")),
        size=field(said, "size", int, default=None),
    )


def _volume_snapshots(image: Mapping[str, Any]) -> List[str]:
    """The ids of the snapshots in Cinder that an image stands for, by the property that Nova gives it."""
    text = image.get("block_device_mapping")
    try:
        said = json.loads(text) if isinstance(text, str) and len(text) <= 65536 else []
        return (
            [
                word(one, "snapshot_id")
                for one in said
                if isinstance(one, dict) and one.get("snapshot_id")
            ]
            if isinstance(said, list)
            else []
        )
    except (ValueError, RecursionError, GatewayFailed):
        return []


def _address(said: Mapping[str, Any]) -> Resource:
    """Whether it is routed shows by a connection: without one, Neutron's word for it stays DOWN."""
    return Resource(
        Ref(Kind.ADDRESS, word(said, "id"), str(said.get("description") or "")),
        State.READY,
        word(said, "status", default="without a status"),
        addresses=(word(said, "floating_ip_address"),),
    )


def _security_group(said: Mapping[str, Any]) -> Resource:
    return Resource(Ref(Kind.SECURITY_GROUP, word(said, "id"), _name(said)), State.READY, "there")


_OF_NEUTRON = {
    Kind.ADDRESS: ("floatingips", "floatingip", _address),
    Kind.SECURITY_GROUP: ("security-groups", "security_group", _security_group),
}


def _attributes(image: Mapping[str, Any]) -> Dict[str, str]:
    """What EGI says of an image, which cloudkeeper writes down as JSON in one property; nothing where that is none."""
    text = image.get(_ATTRIBUTES)
    try:
        said = json.loads(text) if isinstance(text, str) and len(text) <= 65536 else {}
    except (ValueError, RecursionError):
        return {}
    return (
        {key: str(value) for key, value in said.items() if isinstance(value, (str, int))}
        if isinstance(said, dict)
        else {}
    )


def _has(image: Mapping[str, Any], name: str, value: str) -> bool:
    """Whether an image has this value of a property, of its own or among what EGI says of it."""
    own = image.get(name)
    if name == "tag":
        return value in (image.get("tags") or [])
    return (
        own == value
        or isinstance(own, (bool, int))
        and str(own).lower() == value.lower()
        or _attributes(image).get(name) == value
    )


def _disk(image: Mapping[str, Any]) -> int:
    """GiB of the smallest disk that holds an image."""
    size = field(image, "virtual_size", int, default=0) or field(image, "size", int, default=0)
    return max(1, field(image, "min_disk", int, default=0), -(-size // _GIB))


def _glance_image(said: Mapping[str, Any]) -> Image:
    sums = {
        "md5": said.get("checksum"),
        str(said.get("os_hash_algo") or ""): said.get("os_hash_value"),
    }
    native = word(said, "status")
    return Image(
        word(said, "id"),
        _name(said),
        IMAGE.get(native, State.PENDING),
        native,
        {
            algorithm: str(digits).lower()
            for algorithm, digits in sums.items()
            if algorithm and digits
        },
        {
            **_attributes(said),
            **{key: value for key, value in said.items() if isinstance(value, str)},
        },
    )


def _diagnostics(said: Mapping[str, Any]) -> Dict[str, float]:
    """Counters of the form that all hypervisors share from 2.48 on; null is what a hypervisor does not say."""
    cpus = [
        field(cpu, "time", float, default=None) for cpu in items(said, "cpu_details", default=[])
    ]
    found = {"cpu": _sum(cpus, 1e9 * max(1, len(cpus)))}
    for metric, details, key in (
        ("disk_read", "disk_details", "read_bytes"),
        ("disk_write", "disk_details", "write_bytes"),
        ("net_in", "nic_details", "rx_octets"),
        ("net_out", "nic_details", "tx_octets"),
    ):
        found[metric] = _sum(
            [field(one, key, float, default=None) for one in items(said, details, default=[])]
        )
    return {metric: value for metric, value in found.items() if value is not None}


def _old_diagnostics(said: Mapping[str, Any]) -> Dict[str, float]:
    """Counters of libvirt's own form before 2.48: cpu0_time, vda_read, vda_write, tap1_rx, tap1_tx."""

    def those(pattern: str) -> List[Optional[float]]:
        return [field(said, key, float, default=None) for key in said if re.fullmatch(pattern, key)]

    cpus = those(r"cpu\d+_time")
    found = {
        "cpu": _sum(cpus, 1e9 * max(1, len(cpus))),
        "disk_read": _sum(those(r"(?!tap).+_read")),
        "disk_write": _sum(those(r"(?!tap).+_write")),
        "net_in": _sum(those(r".+_rx")),
        "net_out": _sum(those(r".+_tx")),
    }
    return {metric: value for metric, value in found.items() if value is not None}


def _sum(values: Sequence[Optional[float]], divisor: float = 1.0) -> Optional[float]:
    known = [value for value in values if value is not None and value >= 0]
    return sum(known) / divisor if known else None


def _is_special(flavor: Mapping[str, Any]) -> bool:
    """Whether it is for other hardware than a test VM needs, a GPU or a whole machine, or out of use."""
    wants = field(flavor, "extra_specs", dict, default={})
    return flavor.get("OS-FLV-DISABLED:disabled") is True or any(
        re.match(_SPECIAL, str(spec)) for spec in wants
    )


def _times(value: Optional[int], unit: int) -> Optional[int]:
    return None if value is None else value * unit


def _local_disk(flavor: Mapping[str, Any]) -> int:
    """The bytes that a server of this flavor takes of its host's disk, where it does not boot from a volume."""
    swap = flavor.get("swap") or 0  # in MiB, an empty text before 2.75
    parts = [field(flavor, key, int, default=0) for key in ("disk", "OS-FLV-EXT-DATA:ephemeral")]
    return (sum(parts) + (-(-swap // 1024) if isinstance(swap, int) else 0)) * _GIB


def _classify(reply: Reply) -> Optional[VmprobeError]:
    """Where the services' status is not what it means: quotas are 403, 409 or 413, a volume's state is a 400."""
    words = reply.words
    if reply.status in (400, 403, 409, 413) and reasons.cause(words) == "quota":
        return reply.error(QuotaExceeded)
    if reply.status == 400 and re.search(
        r"invalid (?:volume|snapshot)|volume status must be|invalid status", words, re.I
    ):
        return (
            reply.error(Conflict)
            if re.search(_NOT_NOW, words, re.I)
            else reply.error(CloudError, cause="storage")
        )
    if reply.status == 503 and "Keystone service is temporarily unavailable" in reply.text:
        return reply.error(
            GatewayFailed, "Keystone is temporarily unavailable"
        )  # short, as ids are long
    if reply.method == "POST" and reply.status == 503 and reply.headers.get("Retry-After"):
        return reply.error(RateLimited)
    if (
        reply.method == "POST"
        and reply.status in (400, 403, 404, 409)
        and _CREATES.search(reply.url)
    ):
        return _refused(reply)
    return None


def _refused(reply: Reply) -> Optional[VmprobeError]:
    """Why a create was refused, where the words say more than the status: not each 403 is policy's, and no 409 will pass."""
    cause = "image" if "zero disk" in reply.words else reasons.cause(reply.words)
    if reply.status == 403 and (
        not cause or re.search(r"policy|not authori[sz]ed|permission", reply.words, re.I)
    ):
        return None
    return reply.error(_KINDS.get(reply.status, CloudError), cause=cause)


def _user_data(spec: Any) -> Optional[str]:
    """The reporter for a cloud-init image, which the suite's own image takes the nonce from."""
    if spec.plan.details.get("depth") != "console" or not spec.nonce:
        return None
    from vmprobe.guest.image import reporter

    return base64.b64encode(reporter(spec.nonce).encode("ascii")).decode("ascii")


def _given(wanted: Mapping[str, Any]) -> Dict[str, Any]:
    """What was asked for, without what was not."""
    return {key: value for key, value in wanted.items() if value is not None}
