"""StratusLab: OpenNebula 2.x or 3.x behind a proxy, with a disk service and a Marketplace.

A server is a VM of oned; a volume a persistent disk of the disk service; a flavor an instance type,
which only StratusLab's clients know; an image an identifier in the Marketplace, whose metadata tell
where its content is. All of it is taken from the source (StratusLab/client, /storage and /authn),
the only documentation.

The proxy knows users by name and password (``/pswd``) or by certificate (``/cert``), and tells oned
who the user is.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Sequence, cast
from urllib.parse import urlsplit

from vmprobe.core import urls
from vmprobe.core.driver import Key
from vmprobe.core.errors import AuthRejected, ClientError, CloudError, Conflict, NotFound
from vmprobe.core.model import (
    Capability,
    Image,
    Kind,
    Plan,
    Ref,
    Resource,
    Sample,
    ServerSpec,
    Spec,
    TestVM,
)
from vmprobe.core.values import http_url
from vmprobe.drivers.opennebula import disks, marketplace, readings
from vmprobe.drivers.opennebula.disks import Disks
from vmprobe.drivers.opennebula.driver import Opennebula
from vmprobe.drivers.opennebula.marketplace import Source
from vmprobe.drivers.opennebula.oned import Oned
from vmprobe.drivers.opennebula.readings import MIB
from vmprobe.transport.http import Http
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from vmprobe.drivers.opennebula.plan import StratusLabDetails, StratusLabTestVM

_PROXY_PORT = 2634
_DISK_UUID = re.compile(r"^[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}$")


class InstanceType(NamedTuple):
    """Number of CPUs; memory and swap in MiB."""

    cpus: int
    memory: int
    swap: int


INSTANCE_TYPES = {  # of the client, vm_manager.py
    "t1.micro": InstanceType(1, 512, 512),
    "m1.small": InstanceType(1, 1536, 1536),
    "m1.medium": InstanceType(1, 3072, 3072),
    "m1.large": InstanceType(2, 6144, 6144),
    "m1.xlarge": InstanceType(4, 8192, 8192),
    "c1.medium": InstanceType(2, 1536, 1536),
    "c1.xlarge": InstanceType(4, 6144, 6144),
}
NETWORKS = ("public", "local", "private")  # networks of oneadmin that the client offers


class Proxied(Oned):
    """oned behind StratusLab's proxy.

    The proxy puts the user that it knows from HTTP or TLS in the place of the session.
    """

    has_pages = False

    @property
    def has_password(self) -> bool:
        """Whether username and password are given: then a certificate is not used.

        StratusLab's own client decides the same.
        """
        return bool(self.credentials.get("username") and self.credentials.get("password"))

    @property
    def login(self) -> str:
        """The part of a URL's path that names the kind of login."""
        return "pswd" if self.has_password else "cert"

    def new_http(self, endpoint: Mapping[str, Any]) -> Http:
        """The HTTP session, with the proof of identity.

        ``https://HOST:2634/xmlrpc`` becomes ``.../pswd/xmlrpc`` or ``.../cert/xmlrpc``.
        """
        parts, credentials = urlsplit(endpoint["url"]), self.credentials
        proxy = urls.with_port(endpoint["url"], parts.port or _PROXY_PORT)
        above, _, last = parts.path.rpartition("/")
        http = Http(
            f"{proxy}{above}/{self.login}/{last or 'xmlrpc'}",
            self.deadline,
            self.evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
            certificate="" if self.has_password else credentials.get("certificate", ""),
            key="" if self.has_password else credentials.get("key", ""),
        )
        if self.has_password:
            http.add_basic_auth(credentials["username"], credentials["password"])
        return http

    def sessions(self) -> List[str]:
        """As in ``Oned``. With a certificate, the session is only a placeholder."""
        if self.has_password:
            return [f"{self.credentials['username']}:{self.credentials['password']}"]
        if not self.credentials.get("certificate"):
            raise ClientError("neither username and password nor certificate among the credentials")
        return ["dummy:pass"]


class Stratuslab(Opennebula):
    """The verbs: servers are oned's, volumes the disk service's, images the Marketplace's."""

    system = "StratusLab"
    proved_against = (
        "not proved; tested with our simulator behind a proxy, a disk service and a Marketplace, "
        "written from StratusLab's source"
    )
    capabilities = frozenset({Capability.VOLUMES, Capability.METRICS, Capability.IMAGES})
    kinds = (Kind.SERVER, Kind.VOLUME)
    metrics_offered = ("cpu", "net_in", "net_out", "memory")
    endpoint_keys = {
        "url": Key(http_url, required=True),
        "disks": Key(http_url),
        "marketplace": Key(http_url, "https://marketplace.stratuslab.eu"),
    }
    test_vm_keys = {"requirements": Key()}
    credential_keys = ("username", "password", "certificate", "key")
    session = Proxied
    terminate = "finalize"
    oned: Proxied

    def resolve(self, section: TestVM) -> Plan:
        test_vm = cast("StratusLabTestVM", section)
        flavor = test_vm["flavor"] or "t1.micro"
        if flavor not in INSTANCE_TYPES:
            raise NotFound(
                f"no instance type {flavor!r} among {', '.join(INSTANCE_TYPES)}", cause="client"
            )
        network = test_vm["network"] or NETWORKS[0]
        if network not in NETWORKS:
            raise NotFound(f"no network {network!r} among {', '.join(NETWORKS)}", cause="client")
        source, instance_type = self._source(test_vm["image"]), INSTANCE_TYPES[flavor]
        details: StratusLabDetails = {
            "source": source.url,
            "driver": source.image_format,
            "prefix": source.device_prefix,
            "swap": instance_type.swap,
            "requirements": test_vm["requirements"],
        }
        return Plan(
            source.title,
            flavor,
            network,
            details,
            vcpus=instance_type.cpus,
            memory=instance_type.memory * MIB,
        )

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            return self._disks().create(spec.name, spec.size)
        assert spec.kind is Kind.SERVER
        server = self.oned.create("one.vm.allocate", _template(_attributes(spec)))
        return Ref(Kind.SERVER, server, spec.name)

    def show(self, ref: Ref) -> Resource:
        return super().show(ref) if ref.kind is Kind.SERVER else self._disks().show(ref)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        return self._disks().list(name) if kind is Kind.VOLUME else super().list(kind, name)

    def delete(self, ref: Ref) -> None:
        if ref.kind is Kind.SERVER:
            return super().delete(ref)
        try:
            self._disks().delete(ref)
        except NotFound:
            return
        except Conflict:
            self._unmount_from_gone_servers(ref)
            raise

    def describe(self) -> Dict[str, object]:
        return {
            "version": self.oned.version,
            "disks": self._disks_url(),
            "marketplace": self.endpoint["marketplace"],
        }

    def offers(self) -> Dict[str, object]:
        """The hypervisors of the hosts that the user may see."""
        return {"hypervisors": self._hypervisors() or "not permitted"}

    def endpoints(self) -> List[str]:
        return [self.oned.http.url, self._disks_url()]

    # --- verbs: by capability ---------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        """The service attaches the disk on the VM's host before it answers."""
        vm = self.oned.xml("one.vm.info", int(server.id))
        host = readings.last_host(vm)
        if host is None:
            raise Conflict(f"{server} is on no host yet")
        self._disks().mount(volume, server, text(host, "HOSTNAME"))

    def detach(self, server: Ref, volume: Ref) -> None:
        if server.id in self._disks().mounts(volume.id):
            self._disks().unmount(volume.id, server.id)

    def metrics(self, server: Ref) -> List[Sample]:
        """The metrics in the VM itself: before 4.14 oned has none of disks."""
        from vmprobe.drivers.opennebula import metrics

        return metrics.samples_in_vm(self.oned.xml("one.vm.info", int(server.id)))

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """Every endorsement of one identifier; the Marketplace cannot list all images."""
        if not marketplace.is_identifier(name):
            return []
        with closing(self._marketplace()) as market:
            return marketplace.images(market, name)

    # --- the other services -----------------------------------------------------------------------

    def _disks(self) -> Disks:
        if not self.oned.version:
            raise AuthRejected("there is no session")
        return Disks(self.oned.http.at(f"{self._disks_url()}/{self.oned.login}"))

    def _disks_url(self) -> str:
        """The URL of the disk service: the site's, by default port 8445 of oned's host."""
        if self.endpoint["disks"]:
            return str(self.endpoint["disks"])
        return urls.with_port(self.endpoint["url"], disks.PORT)

    def _unmount_from_gone_servers(self, ref: Ref) -> None:
        """End the mounts that outlived their VM: nobody else does."""
        service = self._disks()
        for server in service.mounts(ref.id):
            try:
                super().show(Ref(Kind.SERVER, server))
            except NotFound:
                service.unmount(ref.id, server)
            except CloudError:
                continue

    def _source(self, image: str) -> Source:
        """The source of a VM's first disk.

        ``image`` is the uuid of a disk, or an identifier in the Marketplace.
        """
        if _DISK_UUID.match(image):
            self._disks().check_exists(image)
            _, host, port = urls.origin(self._disks_url())
            return Source(f"pdisk:{host}:{port}/{image}", image)
        if not marketplace.is_identifier(image):
            raise NotFound(
                f"no image {image!r}: neither an identifier of the Marketplace nor of a disk",
                cause="image",
            )
        with closing(self._marketplace()) as market:
            return marketplace.source(market, image)

    def _marketplace(self) -> Http:
        """A session without any credential."""
        return Http(
            self.endpoint["marketplace"],
            self.deadline,
            self.evidence,
            timeout=self.endpoint["timeout"],
            ca=self.endpoint["ca"],
        )


# --- the template of a VM -------------------------------------------------------------------------


def _attributes(spec: ServerSpec) -> Dict[str, object]:
    """The attributes that StratusLab's client gives a VM (vm_manager.py)."""
    details = cast("StratusLabDetails", spec.plan.details)
    boot_disk = {
        "source": details["source"],
        "target": f"{details['prefix']}a",
        "save": "no",
        "readonly": "no",
        "driver": details["driver"],
    }
    swap_disk = {
        "type": "swap",
        "size": details["swap"],
        "target": f"{details['prefix']}b",
        "readonly": "no",
    }
    return {
        "CPU": spec.plan.vcpus,
        "VCPU": spec.plan.vcpus,
        "MEMORY": (spec.plan.memory or 0) // MIB,
        "RANK": "- RUNNING_VMS",
        "REQUIREMENTS": details["requirements"],
        "NAME": spec.name,
        "DISK": [boot_disk, swap_disk],
        "NIC": [{"network_uname": "oneadmin", "network": spec.plan.network}],
        "GRAPHICS": [{"port": "-1", "keymap": "en-us", "type": "vnc"}],
        "CONTEXT": [{"target": "hdd"}],
    }


def _template(attributes: Mapping[str, object]) -> str:
    """The attributes in OpenNebula's own syntax, which the oldest versions need.

    NAME = "text"
    NAME = [ key = "text", ... ]
    """
    lines = []
    for key, value in attributes.items():
        if isinstance(value, list):
            for vector in value:
                pairs = ", ".join(f"{name} = {_quoted(each)}" for name, each in vector.items())
                lines.append(f"{key} = [ {pairs} ]")
        elif value is not None:
            lines.append(f"{key} = {_quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
