"""OCCI endpoints: compute, storage and network over OCCI 1.1 and 1.2 (GFD.184 and GFD.224), whatever manager is behind.

Its words: server: compute, volume: storage, port: networkinterface, image: a mixin of os_tpl, flavor: one of resource_tpl;
a volume's attachment is a storagelink. An endpoint says what it has in its query interface, and speaks JSON or text.
Plain OCCI has no metrics, no console, no quotas, and no way to remove what the action ``save`` makes: none are offered.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple, cast
from urllib.parse import urlsplit

from vmprobe.core import urls
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    QuotaExceeded,
    VmprobeError,
)
from vmprobe.core.model import Capability, Kind, Plan, Ref, Resource, Spec, State, TestVM
from vmprobe.core.text import cut
from vmprobe.core.values import http_url, one_of, yes_or_no
from vmprobe.drivers.occi import protocol
from vmprobe.drivers.openstack.keystone import Keystone
from vmprobe.host import files
from vmprobe.transport.http import Http, Reply
from vmprobe.transport.json import short_text

if TYPE_CHECKING:
    from vmprobe.drivers.occi.plan import OcciDetails, OcciTestVM

SERVER = {"active": State.READY, "error": State.FAILED}
VOLUME = {"online": State.READY, "error": State.FAILED, "degraded": State.FAILED}
LINK = {
    "active": State.READY,
    "": State.READY,
    "error": State.FAILED,
}  # '': that it is there is all that is said
RESTS = {"inactive", "suspended"}

INFRASTRUCTURE = "http://schemas.ogf.org/occi/infrastructure#"
COMPUTE, STORAGE, NETWORK = (INFRASTRUCTURE + term for term in ("compute", "storage", "network"))
INTERFACE, STORAGELINK = INFRASTRUCTURE + "networkinterface", INFRASTRUCTURE + "storagelink"
START = "http://schemas.ogf.org/occi/infrastructure/compute/action#start"
KINDS = {Kind.SERVER: COMPUTE, Kind.VOLUME: STORAGE, Kind.PORT: INTERFACE}
USER_DATA = {  # the mixins that carry it, the first that an endpoint has: the attribute; its value is base64
    "http://schemas.openstack.org/compute/instance#user_data": "org.openstack.compute.user_data",
    "http://schemas.ogf.org/occi/infrastructure/compute#user_data": "occi.compute.userdata",
}
SSH_KEY = {  # the same for a public key
    "http://schemas.openstack.org/instance/credentials#public_key": "org.openstack.credentials.publickey.data",
    "http://schemas.ogf.org/occi/infrastructure/credentials#ssh_key": "occi.credentials.ssh.publickey",
}

_RENDERINGS = {
    "auto": "",
    "json": protocol.JSON,
    "text/plain": protocol.TEXT,
    "text/occi": protocol.HEADERS,
}
_GIB, _MIB = 2**30, 2**20


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

    def __init__(self, *words: Any):
        super().__init__(*words)
        known = self.credentials
        self.http = Http(
            self.endpoint["url"],
            self.deadline,
            self.evidence,
            timeout=self.endpoint["timeout"],
            ca=self.endpoint["ca"],
            certificate=known.get("certificate", ""),
            key=known.get("key", ""),
            classify=_classify,
        )
        self.occi = protocol.Occi(self.http, _RENDERINGS[self.endpoint["rendering"]])
        self.keystone: Optional[Keystone] = None  # once the endpoint has named one
        self._starts = False  # a new server has to be told to start

    def connect(self) -> None:
        """The query interface; what it asks for, if it refuses, is shown: Keystone's token, or a password."""
        self.occi.categories = {}
        reply = self.occi.knock()
        if reply.status == 401:
            self._authenticate(reply)
            reply = self.occi.knock()
        if reply.status == 401:
            raise reply.error(AuthRejected)
        self.occi.learn(reply)

    def resolve(self, section: TestVM) -> Plan:
        """The os_tpl mixin, the resource_tpl mixin and the network where they are named, and what the VM is given."""
        test_vm = cast("OcciTestVM", section)
        image = self._mixin("os_tpl", test_vm["image"], "image")
        flavor = (
            self._mixin("resource_tpl", test_vm["flavor"], "image") if test_vm["flavor"] else None
        )
        network = self._network(test_vm["network"]) if test_vm["network"] else None
        given = self._given(test_vm)
        mixins = [image.id] + ([flavor.id] if flavor else []) + [mixin for mixin, _, _ in given]
        details: OcciDetails = {
            "mixins": mixins,
            "attributes": {name: value for _, name, value in given},
            "network": network.location if network else "",
        }
        self._starts = bool(test_vm.get("start"))
        return Plan(
            image.title or image.term,
            (flavor.title or flavor.term) if flavor else "",
            network.title if network else "",
            details,
        )

    def create(self, spec: Spec) -> Ref:
        kind = KINDS[spec.kind]
        if spec.kind is Kind.VOLUME:
            wanted = protocol.Entity(
                kind, title=spec.name, attributes={"occi.storage.size": -(-spec.size // _GIB)}
            )
        else:
            assert spec.kind is Kind.SERVER
            plan = cast("OcciDetails", spec.plan.details)
            links = (
                [protocol.Entity(INTERFACE, target=plan["network"], target_kind=NETWORK)]
                if plan["network"]
                else []
            )
            wanted = protocol.Entity(
                kind, tuple(plan["mixins"]), plan["attributes"], tuple(links), title=spec.name
            )
        made = self.occi.create(self._location(kind), wanted, f"create {spec.kind.value}")
        return Ref(spec.kind, self._id(kind, made), spec.name)

    def show(self, ref: Ref) -> Resource:
        """A 404 is believed where the collection does not have it either: behind it something else may be missing."""
        kind = KINDS[ref.kind]
        try:
            entity = self.occi.get(self._where(kind, ref.id), f"show {ref}")
        except NotFound as missing:
            listed = self.occi.collection(self._location(kind), f"list {ref.kind.value}s")
            if ref.id in [self._id(kind, one) for one in listed]:
                raise GatewayFailed(
                    f"{missing}; it is listed all the same", request=missing.request
                ) from None
            raise
        return self._resource(
            ref.kind, entity, self._links(STORAGELINK) if ref.kind is Kind.VOLUME else []
        )

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """The collection; those that the server does not render whole in it, and that may be meant, are asked for one by one."""
        self._session()
        without_storage = COMPUTE in self.occi.categories and STORAGE not in self.occi.categories
        if kind not in self.kinds or kind is Kind.VOLUME and without_storage:
            return []
        found = []
        for entity in self.occi.collection(self._location(KINDS[kind]), f"list {kind.value}s"):
            if entity.title and not entity.title.lower().startswith(name.lower()):
                continue
            if not entity.title or not _state(entity):
                identity = self._id(KINDS[kind], entity)
                try:
                    entity = self.occi.get(
                        self._where(KINDS[kind], identity), f"show {kind.value} {identity}"
                    )
                except NotFound:
                    pass  # it went away in between, or something behind it did: the list has it, with its name or without
            if entity.title.lower().startswith(name.lower()):
                found.append(entity)
        links = self._links(STORAGELINK) if kind is Kind.VOLUME and found else []
        return [self._resource(kind, entity, links) for entity in found]

    def delete(self, ref: Ref) -> None:
        try:
            self.occi.delete(self._where(KINDS[ref.kind], ref.id), f"delete {ref}")
        except NotFound:
            return

    def describe(self) -> Dict[str, Any]:
        """The server's own name and versions, the rendering that is spoken, and how many templates there are; as ``connect`` was told."""
        self._session()
        kinds = sorted(
            found.term
            for found in self.occi.categories.values()
            if found.scheme == INFRASTRUCTURE and found.term not in ("os_tpl", "resource_tpl")
        )
        return {
            "version": self.occi.server or "of no name",
            "rendering": self.occi.rendering,
            "kinds": kinds,
            "images": len(self._templates("os_tpl")),
            "flavors": len(self._templates("resource_tpl")),
            "hypervisors": "not said",
        }

    def close(self) -> None:
        self.http.close()

    # --- what more there is -----------------------------------------------------------------------------------

    def needs_start(self, seen: Resource) -> bool:
        """Some managers leave a new server at rest, where [test vm] says ``start``."""
        return self._starts and seen.provider_state in RESTS

    def start(self, server: Ref) -> None:
        self.occi.act(self._where(COMPUTE, server.id), START, f"start {server}")

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in RESTS

    def endpoints(self) -> List[str]:
        """Its own URL, and Keystone's once it has named one."""
        return [self.http.url] + ([self.keystone.url] if self.keystone else [])

    def credential_expiry(self, certificate_expiry: Callable[[str], float]) -> Optional[float]:
        if self.keystone:
            return self.keystone.credential_expiry()
        return super().credential_expiry(certificate_expiry)

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """The networkinterfaces of these servers; what a server does not say of them within the compute they are asked for."""
        found = []
        for server in servers:
            entity = self.occi.get(self._where(COMPUTE, server.id), f"show {server}")
            found += [self._port(link, server) for link in entity.links if link.kind == INTERFACE]
        return found

    def attach(self, server: Ref, volume: Ref) -> None:
        link = protocol.Entity(
            STORAGELINK,
            source=self._where(COMPUTE, server.id),
            target=self._where(STORAGE, volume.id),
            target_kind=STORAGE,
        )
        self.occi.create(self._location(STORAGELINK), link, f"attach {volume} to {server}")

    def detach(self, server: Ref, volume: Ref) -> None:
        for link in self._links(STORAGELINK):
            if (self._end(COMPUTE, link.source), self._end(STORAGE, link.target)) == (
                server.id,
                volume.id,
            ):
                try:
                    self.occi.delete(
                        self._where(STORAGELINK, self._id(STORAGELINK, link)),
                        f"detach {volume} from {server}",
                    )
                except NotFound:
                    continue

    # --- authentication ---------------------------------------------------------------------------------------

    def _authenticate(self, reply: Reply) -> None:
        """Answer the challenge of a 401: Keystone's address (keystonemiddleware, and before it rOCCI), or Basic."""
        challenge = reply.headers.get("WWW-Authenticate", "")
        keystone = re.search(r"Keystone\s+uri\s*=\s*[\"']?([^\"'\s,]{1,300})", challenge, re.I)
        known = self.credentials
        if keystone:
            url = self.endpoint["keystone"] or self._named_keystone(reply, keystone[1])
            self.keystone = Keystone(
                {**self.endpoint, "url": url}, known, self.deadline, self.evidence
            )
            self._check_keystone()
            self.keystone.authenticate()
            self._check_token()
            self.keystone.authorize(self.http)
        elif (
            re.search(r"\bBasic\b", challenge, re.I)
            and known.get("username")
            and known.get("password")
        ):
            self.http.add_basic_auth(known["username"], known["password"])
        elif known.get("certificate"):
            raise reply.error(AuthRejected)
        else:
            wanted = cut(challenge, 80) or "it does not say which"
            raise ClientError(f"the endpoint wants credentials that it was not given: {wanted}")

    def _named_keystone(self, reply: Reply, url: str) -> str:
        """Where the endpoint sends us for a token; never from https to what is not."""
        try:
            found = http_url(url)
        except ValueError as wrong:
            raise reply.error(
                GatewayFailed, f"names a Keystone {cut(url, 120)!r} that {wrong}"
            ) from None
        if urlsplit(self.http.url).scheme == "https" and urlsplit(found).scheme != "https":
            raise reply.error(
                CloudError,
                f"names the Keystone {cut(found, 120)}, which is not https as the endpoint is: not used",
                cause="auth",
            )
        return found

    def _check_keystone(self) -> None:
        """ClientError before credentials go to a host that only the endpoint's answer names."""
        if not (self._is_configured_or_near() or self.keystone.owns_credentials):
            raise ClientError(
                f"the endpoint names the Keystone {cut(self.keystone.url, 120)}, on another host than its own: no credentials "
                f"are sent there unless [endpoint] has 'keystone = {cut(self.keystone.url, 120)}'"
            )

    def _check_token(self) -> None:
        """ClientError before a token goes to this endpoint that its cloud knows nothing of: it has only named the cloud's Keystone."""
        if not (self._is_configured_or_near() or self.keystone.knows_host(self.http.url)):
            raise ClientError(
                f"the catalog of {cut(self.keystone.url, 120)} does not name this endpoint: no token of it is sent here "
                f"unless [endpoint] has 'keystone = {cut(self.keystone.url, 120)}'"
            )

    def _is_configured_or_near(self) -> bool:
        """Whether the site file names the Keystone, or it is on the endpoint's own host."""
        return bool(self.endpoint["keystone"]) or urls.host(self.keystone.url) == urls.host(
            self.http.url
        )

    # --- what a test VM is made of ----------------------------------------------------------------------------

    def _templates(self, root: str) -> List[protocol.Category]:
        return [
            found for found in self.occi.categories.values() if INFRASTRUCTURE + root in found.rel
        ]

    def _mixin(self, root: str, wanted: str, cause: str) -> protocol.Category:
        """The one template by its term, its full identifier, or its title; ``Flavor: `` before a title may be left out."""
        self._session()
        known = self._templates(root)
        found = [one for one in known if wanted in (one.term, one.id)] or [
            one for one in known if wanted in (one.title, one.title.rpartition(": ")[2])
        ]
        if not found:
            names = cut(", ".join(sorted(one.title or one.term for one in known)), 100)
            raise NotFound(f"no {root} {wanted!r} among {names or 'none'}", cause=cause)
        if len(found) > 1:
            key = "image" if root == "os_tpl" else "flavor"
            raise ClientError(
                f"[test vm] {key}: {wanted!r} are {cut(', '.join(one.term for one in found), 150)}: name one"
            )
        return found[0]

    def _given(self, test_vm: OcciTestVM) -> List[Tuple[str, str, str]]:
        """(mixin, attribute, value) of the user data and the key that a VM is to have."""
        found = []
        for key, file, table in (
            ("user data", test_vm.get("user data"), USER_DATA),
            ("ssh key", test_vm.get("ssh key"), SSH_KEY),
        ):
            if not file:
                continue
            mixin = next((mixin for mixin in table if mixin in self.occi.categories), None)
            if not mixin:
                raise ClientError(f"[test vm] {key}: the endpoint has no mixin for it")
            content = _content(file, key)
            value = (
                base64.b64encode(content).decode()
                if key == "user data"
                else content.decode().strip()
            )
            if not value or not value.isprintable():
                raise ClientError(
                    f"[test vm] {key}: {file}: is not {'one line' if value else 'there: it is empty'}"
                )
            found.append((mixin, table[mixin], value))
        return found

    def _network(self, wanted: str) -> protocol.Entity:
        """By its title, its id or its location."""
        found = []
        for one in self.occi.collection(self._location(NETWORK), "list networks"):
            identity = self._id(NETWORK, one)
            location = self._where(NETWORK, identity)
            if wanted in (identity, location, one.location):
                found = [protocol.Entity(NETWORK, title=one.title or identity, location=location)]
                break
            title = one.title or self.occi.get(location, f"show network {identity}").title
            if wanted == title:
                found.append(protocol.Entity(NETWORK, title=title, location=location))
        if not found:
            raise NotFound(f"no network {wanted!r}", cause="network")
        if len(found) > 1:
            raise ClientError(
                f"[test vm] network: {len(found)} are called {wanted!r}: name one by its id"
            )
        return found[0]

    # --- entities and where they are --------------------------------------------------------------------------

    def _session(self) -> None:
        if not self.occi.categories:
            raise AuthRejected("no session: the query interface has not been asked")

    def _location(self, kind: str) -> str:
        """A kind's location, in the server's own words: what is sent as a link's end has to be what it calls it."""
        self._session()
        known = self.occi.categories.get(kind)
        if not known or not known.location:
            raise CloudError(
                f"the endpoint has no kind {kind}", cause="gateway"
            )  # which is not that a thing is gone
        location = known.location if known.location.endswith("/") else known.location + "/"
        return location if "://" in location else self.occi.way(location)

    def _where(self, kind: str, identity: str) -> str:
        """The location of an entity; an id that is a path is one by itself."""
        location = self._location(kind)
        parts = urlsplit(location)
        return (
            f"{parts.scheme}://{parts.netloc}{identity}"
            if identity.startswith("/")
            else location + identity
        )

    def _id(self, kind: str, entity: protocol.Entity) -> str:
        """What is left of a location below its kind's, else its whole path; without a location the id in the rendering."""
        if entity.location:
            return self._end(kind, entity.location)
        return short_text({"id": entity.id.rstrip("/").rpartition("/")[2].rpartition(":")[2]}, "id")

    def _end(self, kind: str, location: str) -> str:
        """The id of what is at a location, of whichever host the server believes itself to be."""
        root, where = urlsplit(self._location(kind)).path, urlsplit(self.occi.way(location)).path
        return short_text(
            {"id": where[len(root) :] if where.startswith(root) and where != root else where}, "id"
        )

    def _links(self, kind: str) -> List[protocol.Entity]:
        """Every link of a kind, with its ends: one request, or one for each where the server lists locations only."""
        found = []
        for link in self.occi.collection(self._location(kind), f"list {kind.rpartition('#')[2]}s"):
            if not (link.source and link.target):
                where = self._where(kind, self._id(kind, link))
                try:
                    link = self.occi.get(where, f"show {kind.rpartition('#')[2]}")
                except NotFound:
                    continue
            found.append(link)
        return [link for link in found if link.source and link.target]

    def _resource(
        self, kind: Kind, entity: protocol.Entity, links: Sequence[protocol.Entity]
    ) -> Resource:
        """What an entity says, in the suite's words."""
        said, native = entity.attributes, _state(entity) or "without a state"
        ref = Ref(kind, self._id(KINDS[kind], entity), entity.title[:255])
        fault = cut(str(said.get(f"{_prefix(entity)}.state.message") or ""), 500)
        if kind is Kind.VOLUME:
            mine = [link for link in links if self._end(STORAGE, link.target) == ref.id]
            held = [
                self._end(COMPUTE, link.source)
                for link in mine
                if LINK.get(_state(link)) is State.READY
            ]
            failed = [link for link in mine if LINK.get(_state(link)) is State.FAILED]
            state = State.FAILED if failed else VOLUME.get(native, State.PENDING)
            return Resource(
                ref,
                state,
                "storagelink error" if failed else native,
                fault,
                server=held[0] if held else "",
                size=_amount(said.get("occi.storage.size"), _GIB),
            )
        addresses = [
            address
            for link in entity.links
            if link.kind == INTERFACE
            for address in _addresses(link)
        ]
        # GFD.224 has GiB, and ooi gives Nova's MiB
        memory = _amount(
            said.get("occi.compute.memory"), _MIB if self.occi.server.startswith("ooi/") else _GIB
        )
        return Resource(
            ref,
            SERVER.get(native, State.PENDING),
            native,
            fault,
            addresses=tuple(addresses),
            memory=memory,
            vcpus=_amount(said.get("occi.compute.cores"), 1),
            image=self._image(entity),
        )

    def _image(self, entity: protocol.Entity) -> str:
        """The os_tpl that a server was made of, by its term."""
        return next(
            (
                self.occi.categories[mixin].term
                for mixin in entity.mixins
                if mixin in self.occi.categories
                and INFRASTRUCTURE + "os_tpl" in self.occi.categories[mixin].rel
            ),
            "",
        )

    def _port(self, link: protocol.Entity, server: Ref) -> Resource:
        identity = self._id(INTERFACE, link)
        if "occi.networkinterface.state" not in link.attributes or not _addresses(link):
            link = self.occi.get(
                self._where(INTERFACE, identity), f"show networkinterface {identity}"
            )
        native = _state(link)
        return Resource(
            Ref(Kind.PORT, identity),
            LINK.get(native, State.PENDING),
            native or "linked",
            addresses=tuple(_addresses(link)),
            server=server.id,
        )


def _prefix(entity: protocol.Entity) -> str:
    """``occi.compute`` and its like: what the attributes of a kind begin with."""
    return f"occi.{entity.kind.rpartition('#')[2]}"


def _state(entity: protocol.Entity) -> str:
    said = entity.attributes.get(f"{_prefix(entity)}.state")
    return said if isinstance(said, str) and len(said) <= 60 and said.isprintable() else ""


def _addresses(link: protocol.Entity) -> List[str]:
    said = link.attributes.get("occi.networkinterface.address")
    return (
        [said]
        if isinstance(said, str) and re.fullmatch(r"[0-9a-fA-F.:]{2,45}(?:/\d{1,3})?", said)
        else []
    )


def _amount(said: Any, unit: int) -> Optional[int]:
    """A number, in quotes or not, in units; None for what is none."""
    try:
        number = float(said) * unit
        return int(number) if 0 <= number < 2**63 else None
    except (TypeError, ValueError):
        return None


def _content(path: str, key: str) -> bytes:
    """A file of the administrator's that the VM is given."""
    try:
        content = files.read(os.path.expanduser(path), 65536)
        content.decode("ascii")
    except OSError as failed:
        raise ClientError(f"[test vm] {key}: {path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"[test vm] {key}: {path}: is not plain text") from None
    return content


def _classify(reply: Reply) -> Optional[VmprobeError]:
    """Where a status is not what it means: what is behind an endpoint speaks through it, mostly with 400 and 403."""
    if not reply.body.strip():
        reply.body = cut(
            reply.headers.get("X-OCCI-Error", ""), 500
        ).encode()  # in text/occi what went wrong stands there
    if reply.status in (400, 403, 409, 413) and re.search(
        r"quota|limit ?exceeded|limit of \d+ reached", reply.message, re.I
    ):
        return reply.error(QuotaExceeded)
    if reply.status == 400 and re.search(
        r"invalid volume|status must be|invalid status|in use|still attached|is attached|"
        r"not applicable|no applicable",
        reply.message,
        re.I,
    ):
        return reply.error(Conflict)
    return None
