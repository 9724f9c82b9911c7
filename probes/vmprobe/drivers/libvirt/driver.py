"""KVM as production sites have it: QEMU under libvirt, on this host or another, by libvirt's own library.

Its words:
    server      a domain, defined under its name and then started; the name is its id
    volume      a volume of the storage pool, raw; its id is ``pool/name``
    image       ``vmprobe-test``: the suite's kernel and initrd, taken into the pool as long as the server lives; else a
                volume of the pool, or by its path one of any pool, which becomes the backing store of an overlay
    flavor      memory; ``vcpus`` beside it
    network     a libvirt network by its name, ``bridge:NAME``, or ``user`` (QEMU's own, which has no counters)
    address     by lease, ARP or guest agent; where none of them knows it, what the suite's reporter says on the console
    console     a file in the pool, read as a volume: so it can be read over any connection, whoever runs QEMU

Why a domain is defined, and not transient: it can be found by its name before its QEMU starts, and one that died can
still be asked how. Its definition is the last thing to go, so whatever a kill leaves is found by the next run. It is
not destroyed together with our connection (libvirt's autodestroy): a restart of the daemon must not look like a VM
that died. Source: libvirt's API and XML format reference, 9.0.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, cast
from urllib.parse import urlsplit
from xml.sax.saxutils import escape, quoteattr

from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import ClientError, Conflict, GatewayFailed, NotFound, ResourceFailed
from vmprobe.core.handle import PREFIX
from vmprobe.core.model import (
    EXTRA_METRICS,
    METRICS,
    Capability,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    ServerSpec,
    Spec,
    State,
    TestVM,
)
from vmprobe.core.values import one_of, size, whole
from vmprobe.drivers.libvirt.connection import Connection, session_home
from vmprobe.guest import console
from vmprobe.host import paths

if TYPE_CHECKING:
    from vmprobe.drivers.libvirt.plan import LibvirtDetails, LibvirtTestVM

DOMAIN = {  # virDomainState: libvirt's own word, ours
    0: ("no state", State.PENDING),
    1: ("running", State.READY),
    2: ("idle", State.READY),
    3: ("paused", State.PENDING),
    4: ("in shutdown", State.PENDING),
    5: ("shut off", State.FAILED),
    6: ("crashed", State.FAILED),
    7: ("pmsuspended", State.PENDING),
}
REASON = {  # of the states from which nothing comes back: by state and virDomain...Reason
    (3, 5): "I/O error",
    (3, 10): "crashed",
    (5, 1): "shutdown",
    (5, 2): "destroyed",
    (5, 3): "crashed",
    (5, 4): "migrated",
    (5, 5): "saved",
    (5, 6): "failed",
    (6, 1): "panicked",
}
FAULTS = (
    "crashed",
    "failed",
    "I/O error",
    "panicked",
)  # of the reasons, those that nobody wished for
LEASE, AGENT, ARP = range(3)  # virDomainInterfaceAddressesSource
LIVE = 1  # virDomainModificationImpact: the running domain
DISK_ERROR = {1: "unspecified error", 2: "no space"}

OWN_IMAGE = "vmprobe-test"
OWN_POOL = "vmprobe"  # where the site names none
FILES = (
    "kernel",
    "initrd",
    "console",
    "disk",
)  # what a server has in the pool, named after it, and takes with it
_CONSOLE = 4 * 2**20
_WRITTEN = 2.0**19  # bytes that a test VM writes, at most
_PIECE = 16 * 2**20  # of a volume, for one request


def _uri(text: str) -> str:
    parts = urlsplit(text)
    if (
        not re.match(r"^[a-z]+(\+[a-z0-9]+)?$", parts.scheme)
        or not parts.path
        or re.search(r"\s", text)
    ):
        raise ValueError(
            "is not a connection URI of libvirt's like 'qemu:///system' or 'qemu+ssh://user@host/system'"
        )
    if parts.password or re.search(r"//[^@\[]*:.*@", text):
        raise ValueError("carries a password; it belongs into the credentials file")
    return text


class Libvirt(Driver):
    """The verbs, over domains and volumes."""

    system = "libvirt (QEMU/KVM)"
    proved_against = "libvirtd and QEMU, real, started by the tests"
    capabilities = frozenset(
        {
            Capability.VOLUMES,
            Capability.CONSOLE,
            Capability.METRICS,
            Capability.CAPACITY,
            Capability.IMAGES,
        }
    )
    kinds = (Kind.SERVER, Kind.VOLUME)
    metrics_offered = METRICS + EXTRA_METRICS
    consistency_window = (
        1.0  # a daemon finishes what a killed asker has sent, and shows it from its first moment
    )
    endpoint_keys = {"url": Key(_uri, "qemu:///session"), "user": Key(), "pool": Key()}
    test_vm_keys = {
        "domain type": Key(one_of("qemu", "kvm"), "qemu"),
        "flavor": Key(size, 128 * 2**20),
        "vcpus": Key(whole(1), 1),
        "network": Key(default="user"),
    }
    credential_keys = ("username", "password")

    def __init__(self, *words: Any):
        super().__init__(*words)
        url = self.endpoint["url"]
        scheme, _, path = urlsplit(url)[:3]
        self._is_local = scheme == "qemu" and not urlsplit(url).netloc
        self._is_session = self._is_local and path == "/session"
        self._user = self.endpoint["user"] or "" if self._is_session and os.geteuid() == 0 else ""
        self._libvirt = Connection(
            url,
            self._user,
            self.credentials,
            self.deadline,
            self.endpoint["timeout"],
            self.evidence,
        )
        self._ask, self._leniently = self._libvirt.ask, self._libvirt.leniently

    @property
    def identity(self) -> str:
        return f"{super().identity} {self._user}".strip()

    def connect(self) -> None:
        if self._is_session and os.geteuid() == 0 and not self._user:
            raise ClientError(
                "root has no session with libvirt: [endpoint] url = qemu:///system, or a user whose "
                "session it is"
            )
        if not self.endpoint["pool"] and not self._is_local:
            raise ClientError(f"[endpoint] pool: has to be named for {self.endpoint['url']}")
        self._libvirt.open()

    def resolve(self, section: TestVM) -> Plan:
        test_vm = cast("LibvirtTestVM", section)
        kind, network, image = test_vm["domain type"], test_vm["network"], test_vm["image"]
        if kind not in self._guest_types():
            raise ResourceFailed(f"the host offers no domains of type {kind}", cause="scheduler")
        if self.endpoint["pool"]:
            self._ask(f"find pool {self._pool_name}", self._pool)
        if network != "user" and not network.startswith("bridge:"):
            self._ask(
                f"find network {network}",
                lambda host: _active_network(host, network),
                cause="network",
            )
        if image == OWN_IMAGE:
            found = _own_image()
        else:
            found = self._ask(f"find image {image}", lambda host: self._base(host, image))
        memory = test_vm["flavor"]
        return Plan(
            image,
            f"{memory / 2**20:g} MiB",
            network,
            {**found, "domain type": kind, "pool": self._pool_name},
            vcpus=test_vm["vcpus"],
            memory=memory,
        )

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            self._new_volume(spec.name, spec.size)
            return Ref(Kind.VOLUME, f"{self._pool_name}/{spec.name}", spec.name)

        assert spec.kind is Kind.SERVER
        found = cast("LibvirtDetails", spec.plan.details)
        files = {"console": self._new_volume(f"{spec.name}-console", 0)}
        if "kernel" in found:
            files.update(
                {
                    word: self._upload(f"{spec.name}-{word}", found[word])
                    for word in ("kernel", "initrd")
                }
            )
        else:
            files["disk"] = self._new_volume(f"{spec.name}-disk", found["size"], found)
        text = _domain(spec, files)
        self._ask(
            f"define server {spec.name}",
            lambda host: host.defineXML(text).name(),
            text,
            failed=ResourceFailed,
        )
        self._ask(
            f"start server {spec.name}",
            lambda host: host.lookupByName(spec.name).create(),
            failed=ResourceFailed,
        )
        return Ref(Kind.SERVER, spec.name, spec.name)

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.VOLUME:
            return self._ask(
                f"show {ref}", lambda host: self._volume(self._find(host, ref), self._holders(host))
            )
        return self._ask(f"show {ref}", lambda host: self._server(host.lookupByName(ref.id)))

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """A server's own files count as volumes once it is gone, so that no file can be overlooked."""

        def volumes(host: Any) -> List[Resource]:
            found = [
                volume
                for volume in self._pool(host).listAllVolumes()
                if volume.name().startswith(name)
            ]
            owners = {domain.name() for domain in host.listAllDomains()} if found else set()
            holders = self._holders(host) if found else {}
            return [
                self._volume(volume, holders)
                for volume in found
                if _owner(volume.name()) not in owners
            ]

        def servers(host: Any) -> List[Resource]:
            found = [domain for domain in host.listAllDomains() if domain.name().startswith(name)]
            seen = [
                self._leniently(
                    lambda domain=domain: self._server(domain), None, "VIR_ERR_NO_DOMAIN"
                )
                for domain in found
            ]
            return [server for server in seen if server]

        return self._ask(f"list {kind.value} {name}", volumes if kind is Kind.VOLUME else servers)

    def delete(self, ref: Ref) -> None:
        """A server's definition goes last: as long as something of it is left, the server is."""

        def volume(host: Any) -> None:
            found = self._find(host, ref)
            holder = self._holders(host).get(found.path())
            if holder:
                raise Conflict(f"{ref} is in use by server {holder}")
            found.delete()

        def server(host: Any) -> None:
            domain = host.lookupByName(ref.id)
            if domain.isActive():
                domain.destroy()
            for found in self._pool(host).listAllVolumes():
                if _owner(found.name()) == ref.id:
                    self._leniently(found.delete, 0, "VIR_ERR_NO_STORAGE_VOL")
            self._forget_log(ref.id)
            domain.undefineFlags(_everything(self._libvirt.library))

        with contextlib.suppress(NotFound):
            self._ask(f"delete {ref}", volume if ref.kind is Kind.VOLUME else server)

    def describe(self) -> Dict[str, Any]:
        def act(host: Any) -> Dict[str, Any]:
            guests = ElementTree.fromstring(host.getCapabilities()).findall("guest/arch")
            return {
                "version": _dotted(host.getLibVersion()),
                "binding": _dotted(self._libvirt.library.getVersion()),
                "hypervisor": f"{host.getType()} {_dotted(host.getVersion())}",
                "host": host.getHostname(),
                "uri": host.getURI(),
                "guests": sorted(
                    f"{arch.get('name')} {kind.get('type')}"
                    for arch in guests
                    for kind in arch.findall("domain")
                ),
            }

        return self._ask("describe", act)

    def attach(self, server: Ref, volume: Ref) -> None:
        def act(host: Any) -> None:
            disk, domain = self._find(host, volume), host.lookupByName(server.id)
            used = {target.get("dev") for target in _tree(domain).iterfind("devices/disk/target")}
            free = next(
                f"vd{letter}" for letter in "bcdefghijklmnopqrstuvwxyz" if f"vd{letter}" not in used
            )
            domain.attachDeviceFlags(_disk(disk.path(), _is_block(disk), free), LIVE)

        self._ask(f"attach {volume} to {server}", act, failed=ResourceFailed, cause="storage")

    def detach(self, server: Ref, volume: Ref) -> None:
        def act(host: Any) -> None:
            path, domain = self._find(host, volume).path(), host.lookupByName(server.id)
            for disk in _tree(domain).iterfind("devices/disk"):
                if _source(disk) == path and domain.isActive():
                    domain.detachDeviceFlags(ElementTree.tostring(disk, encoding="unicode"), LIVE)

        with contextlib.suppress(NotFound):
            self._ask(f"detach {volume} from {server}", act, cause="storage")

    def console(self, server: Ref) -> str:
        return self._ask(f"console {server}", lambda host: self._read(host, server.id))

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in (
            "shut off",
            "paused",
            "pmsuspended",
        ) and not server.fault.startswith(FAULTS)

    def metrics(self, server: Ref) -> List[Sample]:
        library = self._libvirt.library
        wanted = (
            library.VIR_DOMAIN_STATS_CPU_TOTAL
            | library.VIR_DOMAIN_STATS_VCPU
            | library.VIR_DOMAIN_STATS_BLOCK
            | library.VIR_DOMAIN_STATS_INTERFACE
            | library.VIR_DOMAIN_STATS_BALLOON
        )
        said = self._ask(
            f"metrics {server}",
            lambda host: [
                stats
                for _, stats in host.domainListGetStats([host.lookupByName(server.id)], wanted)
            ],
        )
        return _samples(said[0] if said else {}, self.deadline.clock.now())

    def capacity(self) -> List[Limit]:
        """What runs on the host, whosever it is, and how full the pool is. vCPUs may be more than the host has."""

        def act(host: Any) -> List[Limit]:
            name, memory = host.getHostname(), host.getInfo()[1] * 2**20
            running = host.getAllDomainStats(
                library.VIR_DOMAIN_STATS_VCPU, library.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            )
            _, total, used, _ = self._pool(host).info()
            waited = sum(sum(_of_vcpus(stats, "delay")) for _, stats in running) / 1e9
            ran = sum(sum(_of_vcpus(stats, "time")) for _, stats in running) / 1e9
            return [
                Limit("servers", len(running), None, name),
                Limit(
                    "vcpus", sum(stats.get("vcpu.current", 0) for _, stats in running), None, name
                ),
                Limit("memory", max(0, memory - _available(host, library)), memory, name),
                Limit("storage", used, total, f"pool {self._pool_name}"),
                *([Limit("ready", waited, ran + waited, name)] if waited else []),
            ]

        library = self._libvirt.library
        return self._ask("capacity", act)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """Volumes and overlays are sparse: a test VM takes what it writes, and a kernel and initrd of its own."""
        details = cast("LibvirtDetails", plan.details)
        boots = [details["kernel"], details["initrd"]] if "kernel" in details else []
        return {
            **super().needs(plan, test_vm),
            ("storage", ""): _WRITTEN + sum(map(os.path.getsize, boots)),
        }

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The pool's volumes that no test VM made, or any pool's by its path; the suite's own image lies with us.

        libvirt knows no checksums: a volume is read for them, through its daemon.
        """
        if name == OWN_IMAGE:
            try:
                _own_image()
            except ClientError:
                return []
            return [Image(name, name, State.READY, "present")]

        def act(host: Any) -> List[Any]:
            if name.startswith("/"):
                return [host.storageVolLookupByPath(name)]
            if name:
                return [self._pool(host).storageVolLookupByName(name)]
            return [
                volume
                for volume in self._pool(host).listAllVolumes()
                if not volume.name().startswith(PREFIX)
            ]

        try:
            found = self._ask(
                f"list images {name}",
                lambda host: [(volume.path(), volume.name()) for volume in act(host)],
            )
        except NotFound:
            return []
        return [
            Image(
                path,
                path if name.startswith("/") else called,
                State.READY,
                "present",
                self._checksums(path, algorithms),
            )
            for path, called in found
        ]

    def close(self) -> None:
        self._libvirt.close()

    # --- servers ----------------------------------------------------------------------------------------------

    def _guest_types(self) -> Sequence[str]:
        return self._ask(
            "guest types",
            lambda host: [
                kind.get("type", "")
                for kind in ElementTree.fromstring(host.getCapabilities()).iterfind(
                    "guest/arch[@name='x86_64']/domain"
                )
            ],
        )

    def _server(self, domain: Any) -> Resource:
        """What libvirt says of a domain; its addresses only while it runs."""
        number, reason = domain.state()
        word, state = DOMAIN.get(number, (f"state {number}", State.PENDING))
        fault, cause, addresses = REASON.get((number, reason), ""), "", ()
        if fault:
            state = State.FAILED
        if fault == "I/O error":
            disks = ", ".join(
                f"{disk}: {DISK_ERROR.get(error, error)}"
                for disk, error in domain.diskErrors().items()
            )
            fault, cause = f"{fault} on {disks}" if disks else fault, "storage"
        if state is State.READY:
            addresses = self._addresses(domain)
        _, most, _, vcpus, _ = domain.info()
        return Resource(
            Ref(Kind.SERVER, domain.name(), domain.name()),
            state,
            word,
            fault=fault,
            cause=cause,
            addresses=addresses,
            vcpus=vcpus,
            memory=most * 2**10,
        )

    def _addresses(self, domain: Any) -> Tuple[str, ...]:
        """By whoever knows: the network's DHCP server, the host's ARP table, the guest's agent, at last its console."""
        tree = _tree(domain)
        types = {interface.get("type") for interface in tree.iterfind("devices/interface")}
        sources = [LEASE] * ("network" in types) + [ARP] * (types != {"user"})
        agents = tree.iterfind("devices/channel/target[@state='connected']")
        sources += [AGENT] * any(True for _ in agents)
        for source in sources:
            found = _global(
                self._leniently(lambda source=source: domain.interfaceAddresses(source), {})
            )
            if found:
                return found
        nonce = re.search(
            r"vmprobe\.nonce=([A-Za-z0-9-]+)", ElementTree.tostring(tree, encoding="unicode")
        )
        if not nonce:
            return ()
        said = console.facts(
            self._leniently(lambda: self._read(domain.connect(), domain.name()), ""), nonce[1]
        )
        spoken = {fact.values.get("address", "") for fact in said if fact.fact == "network"}
        return tuple(sorted(spoken - {""}))

    def _forget_log(self, name: str) -> None:
        """libvirt keeps a log for each name that a domain ever had; ours are new with each run."""
        if self._is_session:
            cache = (
                os.path.join(session_home(self._user), ".cache")
                if self._user
                else paths.user_directory("XDG_CACHE_HOME", ".cache")
            )
            directory = os.path.join(cache, "libvirt", "qemu", "log")
        else:
            directory = "/var/log/libvirt/qemu"
        if self._is_local:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, f"{name}.log"))

    # --- the pool ---------------------------------------------------------------------------------------------

    @property
    def _pool_name(self) -> str:
        return self.endpoint["pool"] or OWN_POOL

    def _pool(self, host: Any, name: str = "") -> Any:
        """The site's pool. It is not NotFound when it is not there: that would be read as if no volume were."""
        name = name or self._pool_name
        pool = self._leniently(
            lambda: host.storagePoolLookupByName(name), None, "VIR_ERR_NO_STORAGE_POOL"
        )
        if pool is None and name == OWN_POOL and not self.endpoint["pool"]:
            pool = self._own_pool(host)
        if pool is None:
            raise ResourceFailed(f"no storage pool named {name!r}", cause="storage")
        if not pool.isActive():
            raise ResourceFailed(f"storage pool {name!r} is not active", cause="storage")
        return pool

    def _own_pool(self, host: Any) -> Any:
        """A pool over a directory where libvirt keeps images; transient, it is gone when the daemon ends."""
        if self._user:
            data = os.path.join(session_home(self._user), ".local", "share")
        elif self._is_session:
            data = paths.user_directory("XDG_DATA_HOME", ".local", "share")
            if not data:
                raise ClientError(
                    "[endpoint] pool: this user has no home for a pool of the suite's own; name one"
                )
        else:
            data = "/var/lib"
        path = os.path.join(data, "libvirt", "images", OWN_POOL)
        text = f"<pool type='dir'><name>{OWN_POOL}</name><target><path>{escape(path)}</path></target></pool>"
        library = self._libvirt.library
        try:
            return host.storagePoolCreateXML(text, library.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
        except library.libvirtError as failed:
            made = self._leniently(
                lambda: host.storagePoolLookupByName(OWN_POOL), None, "VIR_ERR_NO_STORAGE_POOL"
            )
            if made is None:  # and so by no other run either
                raise ResourceFailed(
                    f"storage pool {OWN_POOL!r}: {failed}", cause="storage"
                ) from None
            return made

    def _find(self, host: Any, ref: Ref) -> Any:
        """The volume with this id, in the pool that it was made in."""
        pool, _, name = ref.id.rpartition("/")
        return self._pool(host, pool).storageVolLookupByName(name)

    def _volume(self, volume: Any, holders: Mapping[str, str]) -> Resource:
        """libvirt has no states of volumes: what is there can be used."""
        name, holder = volume.name(), holders.get(volume.path(), "")
        pool = volume.storagePoolLookupByVolume().name()
        return Resource(
            Ref(Kind.VOLUME, f"{pool}/{name}", name),
            State.READY,
            "in use" if holder else "free",
            server=holder,
            size=volume.info()[1],
        )

    def _holders(self, host: Any) -> Dict[str, str]:
        """Path of a volume -> name of the domain of ours that has it as a disk."""
        found = {}
        for domain in host.listAllDomains():
            if domain.name().startswith(PREFIX):
                tree = self._leniently(
                    lambda domain=domain: _tree(domain), None, "VIR_ERR_NO_DOMAIN"
                )
                for disk in tree.iterfind("devices/disk") if tree is not None else ():
                    found[_source(disk)] = domain.name()
        return found

    def _base(self, host: Any, image: str) -> Dict[str, Any]:
        """What an overlay has to know of the volume below it."""
        if image.startswith("/"):
            volume = host.storageVolLookupByPath(image)
        else:
            volume = self._pool(host).storageVolLookupByName(image)
        kind = ElementTree.fromstring(volume.XMLDesc()).find("target/format")
        return {
            "base": volume.path(),
            "format": "raw" if kind is None else kind.get("type"),
            "size": volume.info()[1],
        }

    def _checksums(self, path: str, algorithms: Sequence[str]) -> Dict[str, str]:
        """Of a volume's file as it is, read in pieces, each a request of its own."""
        sums = {
            algorithm: hashlib.new(algorithm)
            for algorithm in algorithms
            if algorithm in hashlib.algorithms_guaranteed
        }
        if not sums:
            return {}

        def piece(host: Any, begin: int, found: List[bytes]) -> int:
            """Read from ``begin`` into ``found``; returns how long the file is."""
            volume, stream = host.storageVolLookupByPath(path), host.newStream()
            length = volume.infoFlags(self._libvirt.library.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
            if begin < length:
                volume.download(stream, begin, min(_PIECE, length - begin))
                stream.recvAll(lambda stream, data, found: found.append(data) or len(data), found)
                stream.finish()
            return length

        begin, length = 0, 1
        while begin < length:
            read: List[bytes] = []
            length = self._ask(
                f"read {path} from {begin}",
                lambda host, begin=begin, read=read: piece(host, begin, read),
            )
            if begin < length and not any(read):
                raise GatewayFailed(f"{path} has {length} bytes, and can be read to {begin} only")
            for data in read:
                begin += len(data)
                for one in sums.values():
                    one.update(data)
        return {algorithm: one.hexdigest() for algorithm, one in sums.items()}

    def _new_volume(self, name: str, size: int, base: Optional[Mapping[str, Any]] = None) -> str:
        """Make a volume that takes no room yet, raw or an overlay over ``base``; returns its path."""
        overlay = (
            ""
            if base is None
            else (
                "<target><format type='qcow2'/></target>"
                f"<backingStore><path>{escape(base['base'])}</path><format type={quoteattr(base['format'])}/>"
                "</backingStore>"
            )
        )
        text = (
            f"<volume><name>{escape(name)}</name><capacity>{size}</capacity><allocation>0</allocation>{overlay}"
            "</volume>"
        )
        return self._ask(
            f"create volume {name}",
            lambda host: self._pool(host).createXML(text).path(),
            text,
            failed=ResourceFailed,
            cause="storage",
        )

    def _upload(self, name: str, path: str) -> str:
        """Take a file of ours into the pool; returns its path there."""

        def act(host: Any) -> None:
            stream = host.newStream()
            with open(path, "rb") as file:
                self._pool(host).storageVolLookupByName(name).upload(stream, 0, 0)
                stream.sendAll(lambda stream, length, file: file.read(length), file)
            stream.finish()

        made = self._new_volume(name, os.path.getsize(path))
        self._ask(f"upload {path}", act, failed=ResourceFailed, cause="storage")
        return made

    def _read(self, host: Any, server: str) -> str:
        """The console's file."""
        volume, stream, found = (
            self._pool(host).storageVolLookupByName(f"{server}-console"),
            host.newStream(),
            [],
        )
        volume.download(stream, 0, _CONSOLE)
        stream.recvAll(lambda stream, data, found: found.append(data) or len(data), found)
        stream.finish()
        return b"".join(found).decode("utf-8", "replace")


# --- libvirt's XML: what is asked for -----------------------------------------------------------------------------


def _domain(spec: ServerSpec, files: Mapping[str, str]) -> str:
    """A server: no graphics, no USB, nothing that the suite's image has no need of."""
    from vmprobe.guest import user_data

    details = cast("LibvirtDetails", spec.plan.details)
    if "kernel" in files:
        words = escape(user_data.kernel_command_line(spec.nonce))
        boot = (
            f"<kernel>{escape(files['kernel'])}</kernel><initrd>{escape(files['initrd'])}</initrd>"
            f"<cmdline>{words}</cmdline>"
        )
        firmware = disk = agent = ""
    else:
        boot = "<boot dev='hd'/><smbios mode='sysinfo'/>"
        label = user_data.firmware_string(spec.nonce) if spec.nonce else "vmprobe"
        firmware = (
            "<sysinfo type='smbios'><oemStrings>"
            f"<entry>{escape(label)}</entry></oemStrings></sysinfo>"
        )
        disk = _disk(files["disk"], False, "vda", "qcow2")
        agent = (
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        )
    return f"""<domain type={quoteattr(details["domain type"])}>
  <name>{escape(spec.name)}</name>
  <description>a test VM of vmprobe; its name says whose it is, and until when</description>
  <memory unit='b'>{spec.plan.memory}</memory>
  <vcpu>{spec.plan.vcpus}</vcpu>
  {firmware}<os><type arch='x86_64'>hvm</type>{boot}</os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>
    {disk}{_interface(spec.plan.network)}{agent}
    <serial type='file'><source path={quoteattr(files["console"])}/></serial>
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
</domain>"""


def _interface(network: str) -> str:
    kind, _, name = (
        network.partition(":") if network.startswith("bridge:") else ("network", "", network)
    )
    source = f"<source {kind}={quoteattr(name)}/>"
    if network == "user":
        kind, source = "user", ""
    return f"<interface type='{kind}'>{source}<model type='virtio'/><rom enabled='no'/></interface>"


def _disk(path: str, is_block: bool, target: str, kind: str = "raw") -> str:
    word, attribute = ("block", "dev") if is_block else ("file", "file")
    return (
        f"<disk type='{word}' device='disk'><driver name='qemu' type='{kind}'/>"
        f"<source {attribute}={quoteattr(path)}/><target dev='{target}' bus='virtio'/></disk>"
    )


def _own_image() -> Dict[str, Any]:
    from vmprobe.guest.image import FORMATS, directory

    found = {name: os.path.join(directory(), name) for name in FORMATS["kernel"]}
    for path in found.values():
        if not os.path.isfile(path):
            raise ClientError(
                f"the test image is not built, {path} is not there: vmprobectl image build"
            )
    return found


# --- and what is answered -----------------------------------------------------------------------------------------


def _active_network(host: Any, name: str) -> str:
    network = host.networkLookupByName(name)
    if not network.isActive():
        raise NotFound(f"network {name!r} is not active", cause="network")
    return network.bridgeName()


def _tree(domain: Any) -> ElementTree.Element:
    return ElementTree.fromstring(domain.XMLDesc())


def _source(disk: ElementTree.Element) -> str:
    source = disk.find("source")
    return "" if source is None else source.get("file") or source.get("dev") or ""


def _owner(file: str) -> str:
    """The server that a volume of this name belongs to, '' if it is a volume for itself."""
    server, _, word = file.rpartition("-")
    return server if word in FILES else ""


def _is_block(volume: Any) -> bool:
    return volume.info()[0] == 1  # virStorageVolType: a block device


def _global(interfaces: Optional[Mapping[str, Any]]) -> Tuple[str, ...]:
    """The addresses that can be reached from elsewhere."""
    found = set()
    for interface in (interfaces or {}).values():
        for entry in interface["addrs"] or ():
            address = ipaddress.ip_address(entry["addr"])
            if not address.is_loopback and not address.is_link_local:
                found.add(str(address))
    return tuple(sorted(found))


def _available(host: Any, library: Any) -> int:
    """Bytes of a host's memory that a VM can have: what is free, and what the host only caches files in."""
    try:
        said = host.getMemoryStats(library.VIR_NODE_MEMORY_STATS_ALL_CELLS)  # in KiB
    except library.libvirtError:  # not every hypervisor says it
        return host.getFreeMemory()
    return sum(said.get(word, 0) for word in ("free", "buffers", "cached")) * 1024


def _of_vcpus(stats: Mapping[str, Any], word: str) -> List[int]:
    """A counter of each vCPU, in ns: ``time`` that it ran, ``delay`` for which it waited for a CPU."""
    return [value for key, value in stats.items() if re.match(rf"^vcpu\.\d+\.{word}$", key)]


def _samples(stats: Mapping[str, Any], now: float) -> List[Sample]:
    """libvirt's counters; what it does not count is not there. ``cpu`` holds QEMU's own work for the guest, too.

    The traffic of an interface is counted as the guest sees it: ``rx`` is what came in.
    """
    found = []
    if "cpu.time" in stats:
        found.append(Sample("cpu", stats["cpu.time"] / 1e9 / stats.get("vcpu.current", 1), now))
    for metric, word, ending in (
        ("disk_read", "block", "rd.bytes"),
        ("disk_write", "block", "wr.bytes"),
        ("net_in", "net", "rx.bytes"),
        ("net_out", "net", "tx.bytes"),
    ):
        counts = [
            value
            for key, value in stats.items()
            if re.match(rf"^{word}\.\d+\.{re.escape(ending)}$", key)
        ]
        if counts:
            found.append(Sample(metric, sum(counts), now))
    waits = _of_vcpus(stats, "delay")
    if waits:
        found.append(Sample("ready", sum(waits) / 1e9 / len(waits), now))
    if "balloon.rss" in stats:
        found.append(Sample("memory", stats["balloon.rss"] * 2**10, now, counter=False))
    return found


def _dotted(number: int) -> str:
    return f"{number // 10**6}.{number // 10**3 % 1000}.{number % 1000}"


def _everything(library: Any) -> int:
    """What else a definition may have by now, such as the state that a host saved when it was shut down."""
    return library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | library.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
