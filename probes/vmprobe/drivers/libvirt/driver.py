"""KVM as production sites run it: QEMU under libvirt, on this host or another, with libvirt's
library.

What the suite's nouns are here:
    server      a domain, defined under its name and then started; the name is its id
    volume      a raw volume of the storage pool; its id is ``pool/name``
    image       ``vmprobe-test``: the suite's kernel and initrd, copied into the pool while the
                server exists; else a volume of the pool, or of any pool by its path, which becomes
                the backing store of an overlay
    flavor      memory, and ``vcpus``
    network     a libvirt network by its name, ``bridge:NAME``, or ``user`` (QEMU's own, which has
                no counters)
    address     by DHCP lease, ARP or guest agent; if none of them knows it, what the suite's
                reporter writes on the console
    console     a file in the pool, read as a volume: so it can be read over any connection,
                whichever user runs QEMU

Why a domain is defined and not transient: it can be found by its name before its QEMU starts, and
one that has died can still be asked why. Its definition is deleted last, so whatever a kill leaves,
the next run finds. It is not destroyed together with our connection (libvirt's autodestroy),
because a restart of the daemon must not look like a VM that died. Source: libvirt's API and XML
format reference, 9.0.
"""

from __future__ import annotations

import contextlib
import os
import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, cast
from urllib.parse import urlsplit

from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import ClientError, Conflict, NotFound, ResourceFailed
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
    Spec,
    State,
    TestVM,
)
from vmprobe.core.values import one_of, size, whole
from vmprobe.drivers.libvirt import domains, readings
from vmprobe.drivers.libvirt.connection import Connection, session_home
from vmprobe.drivers.libvirt.pool import OWN_IMAGE, Pool, is_block, own_image
from vmprobe.drivers.libvirt.readings import active_network, source_of, tree_of
from vmprobe.guest import console
from vmprobe.host import checksums, paths

if TYPE_CHECKING:
    from vmprobe.drivers.libvirt.plan import LibvirtDetails, LibvirtTestVM

LIVE = 1  # virDomainModificationImpact: the running domain
_WRITTEN = 2.0**19  # bytes that a test VM writes, at most


def _uri(text: str) -> str:
    parts = urlsplit(text)
    if (
        not re.match(r"^[a-z]+(\+[a-z0-9]+)?$", parts.scheme)
        or not parts.path
        or re.search(r"\s", text)
    ):
        raise ValueError(
            "is not a connection URI of libvirt's like 'qemu:///system' "
            "or 'qemu+ssh://user@host/system'"
        )
    if parts.password or re.search(r"//[^@\[]*:.*@", text):
        raise ValueError("carries a password; it belongs into the credentials file")
    return text


class Libvirt(Driver):
    """The verbs, over domains and volumes.

    Above 250 lines: all verbs of the contract, each of a few lines.
    """

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
    # A daemon finishes what a killed client has sent, and lists it from its first moment.
    consistency_window = 1.0
    endpoint_keys = {"url": Key(_uri, "qemu:///session"), "user": Key(), "pool": Key()}
    test_vm_keys = {
        "domain type": Key(one_of("qemu", "kvm"), "qemu"),
        "flavor": Key(size, 128 * 2**20),
        "vcpus": Key(whole(1), 1),
        "network": Key(default="user"),
    }
    credential_keys = ("username", "password")

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
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
        self._pool = Pool(self._libvirt, self.endpoint["pool"] or "", self._user, self._is_session)

    @property
    def identity(self) -> str:
        return f"{super().identity} {self._user}".strip()

    def connect(self) -> None:
        if self._is_session and os.geteuid() == 0 and not self._user:
            raise ClientError(
                "root has no session with libvirt: [endpoint] url = qemu:///system, or a user "
                "whose session it is"
            )
        if not self.endpoint["pool"] and not self._is_local:
            raise ClientError(f"[endpoint] pool: has to be named for {self.endpoint['url']}")
        self._libvirt.open()

    def resolve(self, section: TestVM) -> Plan:
        test_vm = cast("LibvirtTestVM", section)
        kind, network, image = test_vm["domain type"], test_vm["network"], test_vm["image"]
        if kind not in self._ask("guest types", readings.guest_types):
            raise ResourceFailed(f"the host offers no domains of type {kind}", cause="scheduler")
        if self.endpoint["pool"]:
            self._ask(f"find pool {self._pool.name}", self._pool.open)
        if network != "user" and not network.startswith("bridge:"):
            self._ask(
                f"find network {network}",
                lambda host: active_network(host, network),
                cause="network",
            )
        if image == OWN_IMAGE:
            details = own_image()
        else:
            details = self._ask(f"find image {image}", lambda host: self._pool.image(host, image))
        memory = test_vm["flavor"]
        return Plan(
            image,
            f"{memory / 2**20:g} MiB",
            network,
            {**details, "domain type": kind, "pool": self._pool.name},
            vcpus=test_vm["vcpus"],
            memory=memory,
        )

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            self._pool.create_volume(spec.name, spec.size)
            return Ref(Kind.VOLUME, f"{self._pool.name}/{spec.name}", spec.name)

        assert spec.kind is Kind.SERVER
        details = cast("LibvirtDetails", spec.plan.details)
        files = {"console": self._pool.create_volume(f"{spec.name}-console", 0)}
        if "kernel" in details:
            files["kernel"] = self._pool.upload(f"{spec.name}-kernel", details["kernel"])
            files["initrd"] = self._pool.upload(f"{spec.name}-initrd", details["initrd"])
        else:
            files["disk"] = self._pool.create_volume(f"{spec.name}-disk", details["size"], details)
        text = domains.server(spec, files)
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
        def volume(host: Any) -> Resource:
            return self._pool.volume(self._pool.find(host, ref), self._pool.holders(host))

        def server(host: Any) -> Resource:
            return self._server(host.lookupByName(ref.id))

        return self._ask(f"show {ref}", volume if ref.kind is Kind.VOLUME else server)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """A server's own files count as volumes once it is gone, so that none can be overlooked."""

        def volumes(host: Any) -> List[Resource]:
            return self._pool.volumes(host, name)

        def server(domain: Any) -> Optional[Resource]:
            return self._leniently(lambda: self._server(domain), None, "VIR_ERR_NO_DOMAIN")

        def servers(host: Any) -> List[Resource]:
            found = [domain for domain in host.listAllDomains() if domain.name().startswith(name)]
            return [each for each in map(server, found) if each]

        return self._ask(f"list {kind.value} {name}", volumes if kind is Kind.VOLUME else servers)

    def delete(self, ref: Ref) -> None:
        """A server's definition is deleted last: it exists as long as anything of it is left."""

        def volume(host: Any) -> None:
            found = self._pool.find(host, ref)
            holder = self._pool.holders(host).get(found.path())
            if holder:
                raise Conflict(f"{ref} is in use by server {holder}")
            found.delete()

        def server(host: Any) -> None:
            domain, library = host.lookupByName(ref.id), self._libvirt.library
            if domain.isActive():
                domain.destroy()
            self._pool.delete_files(host, ref.id)
            self._delete_log(ref.id)
            # A definition may include a state that its host saved when it was shut down.
            domain.undefineFlags(
                library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | library.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            )

        with contextlib.suppress(NotFound):
            self._ask(f"delete {ref}", volume if ref.kind is Kind.VOLUME else server)

    def describe(self) -> Dict[str, Any]:
        library = self._libvirt.library
        return self._ask("describe", lambda host: readings.gateway(host, library))

    def attach(self, server: Ref, volume: Ref) -> None:
        def act(host: Any) -> None:
            disk, domain = self._pool.find(host, volume), host.lookupByName(server.id)
            targets = tree_of(domain).iterfind("devices/disk/target")
            used = {target.get("dev") for target in targets}
            free = next(
                f"vd{letter}" for letter in "bcdefghijklmnopqrstuvwxyz" if f"vd{letter}" not in used
            )
            text = domains.disk(disk.path(), is_block(disk), free)
            domain.attachDeviceFlags(text, LIVE)

        self._ask(f"attach {volume} to {server}", act, failed=ResourceFailed, cause="storage")

    def detach(self, server: Ref, volume: Ref) -> None:
        def act(host: Any) -> None:
            path, domain = self._pool.find(host, volume).path(), host.lookupByName(server.id)
            for disk in tree_of(domain).iterfind("devices/disk"):
                if source_of(disk) == path and domain.isActive():
                    domain.detachDeviceFlags(ElementTree.tostring(disk, encoding="unicode"), LIVE)

        with contextlib.suppress(NotFound):
            self._ask(f"detach {volume} from {server}", act, cause="storage")

    def console(self, server: Ref) -> str:
        return self._ask(f"console {server}", lambda host: self._pool.console(host, server.id))

    def is_at_rest(self, server: Resource) -> bool:
        return readings.is_at_rest(server)

    def metrics(self, server: Ref) -> List[Sample]:
        library = self._libvirt.library
        wanted = (
            library.VIR_DOMAIN_STATS_CPU_TOTAL
            | library.VIR_DOMAIN_STATS_VCPU
            | library.VIR_DOMAIN_STATS_BLOCK
            | library.VIR_DOMAIN_STATS_INTERFACE
            | library.VIR_DOMAIN_STATS_BALLOON
        )
        stats = self._ask(
            f"metrics {server}",
            lambda host: [
                counters
                for _, counters in host.domainListGetStats([host.lookupByName(server.id)], wanted)
            ],
        )
        return readings.samples(stats[0] if stats else {}, self.deadline.clock.now())

    def capacity(self) -> List[Limit]:
        """All that runs on the host, and how full the pool is.

        There may be more vCPUs than CPUs.
        """

        library, pool = self._libvirt.library, self._pool

        def limits(host: Any) -> List[Limit]:
            _, total, used, _ = pool.open(host).info()
            storage = Limit("storage", used, total, f"pool {pool.name}")
            return [*readings.limits(host, library), storage]

        return self._ask("capacity", limits)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """Volumes are sparse: a test VM takes what it writes, and its own kernel and initrd."""
        details = cast("LibvirtDetails", plan.details)
        boots = [details["kernel"], details["initrd"]] if "kernel" in details else []
        return {
            **super().needs(plan, test_vm),
            ("storage", ""): _WRITTEN + sum(map(os.path.getsize, boots)),
        }

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The pool's volumes, without those of test VMs; or the volume of this name or path.

        The suite's own image lies on this host.

        libvirt knows no checksums: a volume is read for them, through its daemon.
        """
        if name == OWN_IMAGE:
            try:
                own_image()
            except ClientError:
                return []
            return [Image(name, name, State.READY, "present")]

        try:
            volumes = self._ask(
                f"list images {name}",
                lambda host: [
                    (volume.path(), volume.name()) for volume in self._pool.images(host, name)
                ],
            )
        except NotFound:
            return []
        return [
            Image(
                path,
                path if name.startswith("/") else called,
                State.READY,
                "present",
                checksums.of_blocks(self._pool.blocks(path), algorithms),
            )
            for path, called in volumes
        ]

    def close(self) -> None:
        self._libvirt.close()

    # --- servers ----------------------------------------------------------------------------------

    def _server(self, domain: Any) -> Resource:
        """What libvirt says of a domain; its addresses only while it runs."""
        server = readings.server(domain)
        if server.state is not State.READY:
            return server
        return server._replace(addresses=self._addresses(domain))

    def _addresses(self, domain: Any) -> Tuple[str, ...]:
        """A server's addresses, from the first source that has any; the last is its console."""
        tree = tree_of(domain)
        for source in readings.address_sources(tree):
            if found := readings.addresses(self._interfaces(domain, source)):
                return found
        nonce = readings.nonce_of(tree)
        if not nonce:
            return ()
        text = self._leniently(lambda: self._pool.console(domain.connect(), domain.name()), "")
        facts = console.facts(text, nonce)
        told = {fact.values.get("address", "") for fact in facts if fact.fact == "network"}
        return tuple(sorted(told - {""}))

    def _interfaces(self, domain: Any, source: int) -> Mapping[str, Any]:
        nothing: Mapping[str, Any] = {}
        return self._leniently(lambda: domain.interfaceAddresses(source), nothing)

    def _delete_log(self, server: str) -> None:
        """Delete a server's log: libvirt keeps one for every name, and ours are new in each run."""
        if not self._is_local:
            return
        directory = "/var/log/libvirt/qemu"
        if self._is_session:
            cache = paths.user_directory("XDG_CACHE_HOME", ".cache")
            if self._user:
                cache = os.path.join(session_home(self._user), ".cache")
            directory = os.path.join(cache, "libvirt", "qemu", "log")
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, f"{server}.log"))
