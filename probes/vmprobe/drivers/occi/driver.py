"""OCCI endpoints: compute, storage and network over OCCI 1.1 and 1.2 (GFD.184 and GFD.224).

Its words: server: compute, volume: storage, port: networkinterface, image: a mixin of os_tpl,
flavor: a mixin of resource_tpl; the attachment of a volume is a storagelink. What an endpoint has,
it says in its query interface; it speaks JSON or text, whatever manager is behind it.
Plain OCCI has no metrics, no console, no quotas, and cannot remove what the action ``save`` makes:
none of these are offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, cast

from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import AuthRejected, GatewayFailed, NotFound
from vmprobe.core.model import Capability, Kind, Plan, Ref, Resource, Spec, TestVM
from vmprobe.core.values import http_url, one_of, yes_or_no
from vmprobe.drivers.occi import authentication, plan, readings
from vmprobe.drivers.occi.entities import HEADERS, JSON, TEXT, Entity
from vmprobe.drivers.occi.protocol import INFRASTRUCTURE, Occi
from vmprobe.drivers.occi.readings import COMPUTE, GIB, INTERFACE, NETWORK, STORAGE, STORAGELINK
from vmprobe.drivers.openstack.keystone import Keystone
from vmprobe.transport.http import Http

if TYPE_CHECKING:
    from vmprobe.drivers.occi.plan import OcciDetails, OcciTestVM

KINDS = {Kind.SERVER: COMPUTE, Kind.VOLUME: STORAGE, Kind.PORT: INTERFACE}
START = "http://schemas.ogf.org/occi/infrastructure/compute/action#start"

_RENDERINGS = {"auto": "", "json": JSON, "text/plain": TEXT, "text/occi": HEADERS}


class OcciEndpoint(Driver):
    """The verbs, over the kinds of one endpoint."""

    system = "OCCI"
    proved_against = "PyPI's ooi in front of a real Nova, and pyssf, started by the tests"
    capabilities = frozenset({Capability.VOLUMES, Capability.PORTS})
    kinds = (Kind.SERVER, Kind.VOLUME)
    endpoint_keys = {
        "url": Key(http_url, required=True),
        "keystone": Key(http_url),
        "region": Key(),
        "project": Key(),
        "project domain": Key(),
        "rendering": Key(one_of(*_RENDERINGS), "auto"),
    }
    test_vm_keys = {"start": Key(yes_or_no, False), "user data": Key(), "ssh key": Key()}
    credential_keys = Keystone.CREDENTIAL_KEYS

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.http = Http(
            self.endpoint["url"],
            self.deadline,
            self.evidence,
            timeout=self.endpoint["timeout"],
            ca=self.endpoint["ca"],
            certificate=self.credentials.get("certificate", ""),
            key=self.credentials.get("key", ""),
            classify=readings.refusal,
        )
        self.occi = Occi(self.http, _RENDERINGS[self.endpoint["rendering"]])
        self.keystone: Optional[Keystone] = None  # once the endpoint has asked for its token
        self._starts = False  # [test vm] says that a new server has to be started

    def connect(self) -> None:
        """Read the query interface; where it refuses, answer its challenge first."""
        self.occi.categories = {}
        reply = self.occi.query()
        if reply.status == 401:
            self.keystone = authentication.find_keystone(
                reply, self.http, self.endpoint, self.credentials
            )
            if self.keystone:
                is_configured = bool(self.endpoint["keystone"])
                authentication.use_keystone(self.keystone, self.http, is_configured)
            else:
                authentication.use_password(reply, self.http, self.credentials)
            reply = self.occi.query()
        if reply.status == 401:
            raise reply.error(AuthRejected)
        self.occi.read_categories(reply)

    def resolve(self, section: TestVM) -> Plan:
        test_vm = cast("OcciTestVM", section)
        chosen = plan.plan(self.occi, test_vm)
        self._starts = bool(test_vm.get("start"))
        return chosen

    def create(self, spec: Spec) -> Ref:
        category = KINDS[spec.kind]
        if spec.kind is Kind.VOLUME:
            size = -(-spec.size // GIB)  # rounded up
            entity = Entity(category, title=spec.name, attributes={"occi.storage.size": size})
        else:
            assert spec.kind is Kind.SERVER
            details = cast("OcciDetails", spec.plan.details)
            network = details["network"]
            links = (Entity(INTERFACE, target=network, target_kind=NETWORK),) if network else ()
            entity = Entity(
                category,
                tuple(details["mixins"]),
                details["attributes"],
                links,
                title=spec.name,
            )
        identity = self.occi.create(entity, f"create {spec.kind.value}")
        return Ref(spec.kind, identity, spec.name)

    def show(self, ref: Ref) -> Resource:
        """A 404 alone is not NotFound: it may mean something behind the entity.

        It is believed when the collection does not have the entity either.
        """
        category = KINDS[ref.kind]
        try:
            entity = self.occi.get(self.occi.location(category, ref.id), f"show {ref}")
        except NotFound as error:
            listed = self.occi.collection(category, f"list {ref.kind.value}s")
            if ref.id in [self.occi.id_of(category, each) for each in listed]:
                raise GatewayFailed(
                    f"{error}; it is listed all the same", request=error.request
                ) from None
            raise
        links = self.occi.links(STORAGELINK) if ref.kind is Kind.VOLUME else []
        return self._resource(ref.kind, entity, links)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """The collection; an entity that it does not render whole is asked for by itself."""
        self.occi.check_session()
        has_no_storage = COMPUTE in self.occi.categories and STORAGE not in self.occi.categories
        if kind not in self.kinds or kind is Kind.VOLUME and has_no_storage:
            return []
        entities = []
        for entity in self.occi.collection(KINDS[kind], f"list {kind.value}s"):
            if entity.title and not _begins(entity.title, name):
                continue
            if not entity.title or not readings.provider_state(entity):
                entity = self._whole(kind, entity)
            if _begins(entity.title, name):
                entities.append(entity)
        links = self.occi.links(STORAGELINK) if kind is Kind.VOLUME and entities else []
        return [self._resource(kind, entity, links) for entity in entities]

    def delete(self, ref: Ref) -> None:
        try:
            self.occi.delete(self.occi.location(KINDS[ref.kind], ref.id), f"delete {ref}")
        except NotFound:
            return

    def describe(self) -> Dict[str, Any]:
        """The server's own name and versions, the rendering in use, and how many templates it has.

        All of it was learned by ``connect``.
        """
        self.occi.check_session()
        kinds = sorted(
            category.term
            for category in self.occi.categories.values()
            if category.scheme == INFRASTRUCTURE and category.term not in ("os_tpl", "resource_tpl")
        )
        return {
            "version": self.occi.server or "of no name",
            "rendering": self.occi.rendering,
            "kinds": kinds,
            "images": len(self.occi.templates("os_tpl")),
            "flavors": len(self.occi.templates("resource_tpl")),
            "hypervisors": "not said",
        }

    def close(self) -> None:
        self.http.close()

    # --- optional verbs ---------------------------------------------------------------------------

    def needs_start(self, resource: Resource) -> bool:
        """Some managers leave a new server at rest, where [test vm] says ``start``."""
        return self._starts and resource.provider_state in readings.AT_REST

    def start(self, server: Ref) -> None:
        self.occi.act(self.occi.location(COMPUTE, server.id), START, f"start {server}")

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in readings.AT_REST

    def endpoints(self) -> List[str]:
        """Its own URL, and that of the Keystone whose token it has asked for."""
        return [self.http.url] + ([self.keystone.url] if self.keystone else [])

    def credential_expiry(self, certificate_expiry: Callable[[str], float]) -> Optional[float]:
        if self.keystone:
            return self.keystone.credential_expiry()
        return super().credential_expiry(certificate_expiry)

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """The networkinterfaces of these servers."""
        ports = []
        for server in servers:
            entity = self.occi.get(self.occi.location(COMPUTE, server.id), f"show {server}")
            ports += [
                readings.port(self.occi, link, server.id)
                for link in entity.links
                if link.kind == INTERFACE
            ]
        return ports

    def attach(self, server: Ref, volume: Ref) -> None:
        link = Entity(
            STORAGELINK,
            source=self.occi.location(COMPUTE, server.id),
            target=self.occi.location(STORAGE, volume.id),
            target_kind=STORAGE,
        )
        self.occi.create(link, f"attach {volume} to {server}")

    def detach(self, server: Ref, volume: Ref) -> None:
        for link in self.occi.links(STORAGELINK):
            ends = self.occi.id_at(COMPUTE, link.source), self.occi.id_at(STORAGE, link.target)
            if ends != (server.id, volume.id):
                continue
            location = self.occi.location(STORAGELINK, self.occi.id_of(STORAGELINK, link))
            try:
                self.occi.delete(location, f"detach {volume} from {server}")
            except NotFound:
                continue

    def _whole(self, kind: Kind, entity: Entity) -> Entity:
        """An entity that was listed, as the endpoint shows it.

        As it was listed where the answer is 404: it has gone in between, or something behind it
        has.
        """
        identity = self.occi.id_of(KINDS[kind], entity)
        try:
            return self.occi.get(
                self.occi.location(KINDS[kind], identity), f"show {kind.value} {identity}"
            )
        except NotFound:
            return entity

    def _resource(self, kind: Kind, entity: Entity, links: Sequence[Entity]) -> Resource:
        ref = Ref(kind, self.occi.id_of(KINDS[kind], entity), entity.title[:255])
        if kind is Kind.VOLUME:
            return readings.volume(self.occi, entity, ref, links)
        return readings.server(self.occi, entity, ref)


def _begins(title: str, name: str) -> bool:
    return title.lower().startswith(name.lower())
