"""StratusLab: OpenNebula 2.x or 3.x behind a proxy of its own, with its own disks and images from its Marketplace.

Its words: a server is a VM of oned; a volume a persistent disk, of the disk service (REST, port 8445), whose ``tag`` is its
name; a flavor an instance type, which only its clients know; an image an identifier in the Marketplace, whose metadata say
where its content is. All of it is of the source, StratusLab/client, /storage and /authn: nothing else was written down.

The proxy knows users by name and password (``/pswd``) or by certificate (``/cert``), and tells oned who it is itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence, Tuple, cast
from urllib.parse import urlencode, urlsplit

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
    Spec,
    State,
    TestVM,
)
from vmprobe.core.values import http_url
from vmprobe.drivers.opennebula.driver import Opennebula
from vmprobe.drivers.opennebula.oned import Oned
from vmprobe.transport.http import Http, Reply, path
from vmprobe.transport.json import items, short_text
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from vmprobe.drivers.opennebula.plan import StratusLabDetails, StratusLabTestVM

INSTANCE_TYPES: Dict[
    str, Tuple[int, int, int]
] = {  # CPUs, memory and swap in MiB: vm_manager.py of the client
    "t1.micro": (1, 512, 512),
    "m1.small": (1, 1536, 1536),
    "m1.medium": (1, 3072, 3072),
    "m1.large": (2, 6144, 6144),
    "m1.xlarge": (4, 8192, 8192),
    "c1.medium": (2, 1536, 1536),
    "c1.xlarge": (4, 6144, 6144),
}
NETWORKS = ("public", "local", "private")  # what the client asks for, of oneadmin's
_BUSES = {"ide": "hd", "scsi": "sd", "virtio": "vd"}
_PORT, _DISKS_PORT = 2634, 8445
_IMAGE = re.compile(r"^[A-Za-z0-9_-]{27}$")
_DISK = re.compile(r"^[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}$")
_GIB, _MIB = 2**30, 2**20
_OLD_FIGURES = {
    "NETRX": "NET_RX",
    "NETTX": "NET_TX",
    "CPU": "CPU",
    "MEMORY": "MEMORY",
}  # of a VM itself, before 4.14


class Proxied(Oned):
    """oned behind StratusLab's proxy: the session in each procedure is replaced there by what HTTP or TLS proved."""

    def wire(self, endpoint: Mapping[str, Any]) -> Http:
        """``https://HOST:2634/xmlrpc`` becomes ``.../pswd/xmlrpc`` or ``.../cert/xmlrpc``, with what proves who we are."""
        parts, known = urlsplit(endpoint["url"]), self.credentials
        above, _, last = parts.path.rpartition("/")
        proof = (
            {}
            if self.way() == "pswd"
            else {"certificate": known.get("certificate", ""), "key": known.get("key", "")}
        )
        found = Http(
            f"{urls.with_port(endpoint['url'], parts.port or _PORT)}{above}/{self.way()}/{last or 'xmlrpc'}",
            self.deadline,
            self.evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
            **proof,
        )
        if self.way() == "pswd":
            found.add_basic_auth(known["username"], known["password"])
        return found

    def way(self) -> str:
        """``pswd`` or ``cert``, by what is given; as in its own client the password counts first."""
        return (
            "pswd"
            if self.credentials.get("username") and self.credentials.get("password")
            else "cert"
        )

    def sessions(self) -> List[str]:
        known = self.credentials
        if self.way() == "cert" and not known.get("certificate"):
            raise ClientError("neither username and password nor certificate among the credentials")
        return [
            f"{known['username']}:{known['password']}" if self.way() == "pswd" else "dummy:pass"
        ]


class Stratuslab(Opennebula):
    """The verbs: servers are oned's, volumes the disk service's, images the Marketplace's."""

    system = "StratusLab"
    proved_against = "the same simulator behind a proxy, a disk service and a Marketplace, written from StratusLab's source"
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
    speaks = Proxied
    terminate = "finalize"
    pages = False

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
        source, title, driver, prefix = self._source(test_vm["image"])
        cpus, memory, swap = INSTANCE_TYPES[flavor]
        details: StratusLabDetails = {
            "source": source,
            "driver": driver,
            "prefix": prefix,
            "swap": swap,
            "requirements": test_vm["requirements"],
        }
        return Plan(title, flavor, network, details, vcpus=cpus, memory=memory * _MIB)

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            form = urlencode(
                {"size": -(-spec.size // _GIB), "tag": spec.name, "visibility": "private"}
            ).encode("ascii")
            reply = self._disks().post("disks/", body=form, headers=_FORM, asked="create disk")
            return Ref(Kind.VOLUME, reply.short_text("uuid"), spec.name)

        assert spec.kind is Kind.SERVER
        plan = cast("StratusLabDetails", spec.plan.details)
        prefix, cpus, memory = plan["prefix"], spec.plan.vcpus, spec.plan.memory or 0
        wanted = {
            "CPU": cpus,
            "VCPU": cpus,
            "MEMORY": memory // _MIB,
            "RANK": "- RUNNING_VMS",
            "REQUIREMENTS": plan["requirements"],
            "NAME": spec.name,
            "DISK": [
                {
                    "source": plan["source"],
                    "target": f"{prefix}a",
                    "save": "no",
                    "readonly": "no",
                    "driver": plan["driver"],
                },
                {"type": "swap", "size": plan["swap"], "target": f"{prefix}b", "readonly": "no"},
            ],
            "NIC": [{"network_uname": "oneadmin", "network": spec.plan.network}],
            "GRAPHICS": [{"port": "-1", "keymap": "en-us", "type": "vnc"}],
            "CONTEXT": [{"target": "hdd"}],
        }
        return Ref(Kind.SERVER, self.oned.number("one.vm.allocate", _template(wanted)), spec.name)

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.SERVER:
            return super().show(ref)
        return self._volume(
            self._disks().get(path("disks", ref.id), asked=f"show {ref}").field(dict)
        )

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """The disk service lists all of a user's disks, and says of each by itself which VM it is mounted in."""
        if kind is not Kind.VOLUME:
            return super().list(kind, name)
        disks = self._objects("disks/", "list disks")
        return [self._volume(disk) for disk in disks if str(disk.get("tag") or "").startswith(name)]

    def delete(self, ref: Ref) -> None:
        if ref.kind is Kind.SERVER:
            return super().delete(ref)
        try:
            self._disks().delete(f"{path('disks', ref.id)}/", asked=f"delete {ref}")
        except NotFound:
            return
        except Conflict:
            self._unmount_from_the_dead(ref)
            raise

    def describe(self) -> Dict[str, Any]:
        return {
            "version": self.oned.version,
            "disks": self._disks_url(),
            "marketplace": self.endpoint["marketplace"],
        }

    def offers(self) -> Dict[str, Any]:
        """The hypervisors of oned's hosts, as far as they may be seen."""
        hosts = self._allowed("one.hostpool.info")
        found = (
            {text(host, "VM_MAD", "") for host in hosts.iter("HOST")} - {""}
            if hosts is not None
            else set()
        )
        return {"hypervisors": sorted(found) or "not permitted"}

    def endpoints(self) -> List[str]:
        return [self.oned.http.url, self._disks_url()]

    # --- by capability ----------------------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        """The service plugs the disk in on the host where the VM runs, before it answers."""
        vm = self.oned.xml("one.vm.info", int(server.id))
        hosts = vm.findall("HISTORY_RECORDS/HISTORY")
        if not hosts:
            raise Conflict(f"{server} is on no host yet")
        form = urlencode({"node": text(hosts[-1], "HOSTNAME"), "vm_id": server.id}).encode("ascii")
        where = f"{path('disks', volume.id, 'mounts')}/"
        self._disks().post(where, body=form, headers=_FORM, asked=f"attach {volume} to {server}")

    def detach(self, server: Ref, volume: Ref) -> None:
        if server.id in self._mounts(volume.id):
            self._unmount(volume.id, server.id)

    def metrics(self, server: Ref) -> List[Sample]:
        """What stands in the VM itself: before 4.14 there is no reading of the disks."""
        vm = self.oned.xml("one.vm.info", int(server.id))
        values = {
            new: text(vm, old, "") or text(vm, f"MONITORING/{new}", "")
            for new, old in _OLD_FIGURES.items()
        }
        known = {
            key: float(value)
            for key, value in values.items()
            if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,9})?", value)
        }
        at = float(number(vm, "LAST_POLL", 0))
        if not at:
            return []
        found = [
            Sample(metric, known[key], at)
            for metric, key in (("net_in", "NETRX"), ("net_out", "NETTX"))
            if key in known
        ]
        if "CPU" in known:
            found.append(
                Sample(
                    "cpu", known["CPU"] / max(1, number(vm, "TEMPLATE/VCPU", 1)), at, counter=False
                )
            )
        if "MEMORY" in known:
            found.append(Sample("memory", known["MEMORY"] * 1024, at, counter=False))
        return found

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """What the Marketplace has of one identifier, each endorsement of it; it cannot be asked for all."""
        if not _IMAGE.match(name.partition("/")[0]):
            return []
        try:
            entries = self._metadata(name)
        except NotFound:
            return []
        found = []
        for entry in entries:
            retired = entry.find("deprecated") is not None
            sums = {
                text(one, "algorithm", "").replace("-", "").lower(): text(one, "value", "").lower()
                for one in entry.findall("checksum")
            }
            found.append(
                Image(
                    text(entry, "identifier"),
                    text(entry, "title", "") or text(entry, "identifier"),
                    State.FAILED if retired else State.READY,
                    "deprecated" if retired else "endorsed",
                    {
                        key: value
                        for key, value in sums.items()
                        if re.fullmatch(r"[0-9a-f]{32,128}", value)
                    },
                    {child.tag: (child.text or "").strip() for child in entry if not len(child)},
                )
            )
        return found

    # --- the other services -----------------------------------------------------------------------------------

    def _disks(self) -> Http:
        if not self.oned.version:
            raise AuthRejected("there is no session")
        found = self.oned.http.at(f"{self._disks_url()}/{self.oned.way()}")
        found.classify = _classify
        return found

    def _objects(self, where: str, asked: str) -> List[Dict[str, Any]]:
        """The list of objects that the disk service answers."""
        reply = self._disks().get(where, asked=asked)
        return reply.parse(lambda: items({"said": reply.json()}, "said", default=[]))

    def _disks_url(self) -> str:
        return self.endpoint["disks"] or urls.with_port(self.endpoint["url"], _DISKS_PORT)

    def _volume(self, disk: Mapping[str, Any]) -> Resource:
        """A disk is there once the service has answered; only a mount says where."""
        mounts = (
            self._mounts(short_text(disk, "uuid"))
            if short_text(disk, "count", default="0") != "0"
            else []
        )
        native = "mounted" if mounts else "available"
        ref = Ref(
            Kind.VOLUME,
            short_text(disk, "uuid"),
            short_text(disk, "tag") if disk.get("tag") else "",
        )
        size = short_text(disk, "size", default="")
        return Resource(
            ref,
            State.READY,
            native,
            server=mounts[0] if mounts else "",
            owner=short_text(disk, "owner", default=""),
            size=int(size) * _GIB if re.fullmatch(r"[0-9]{1,8}", size) else None,
        )

    def _mounts(self, disk: str) -> List[str]:
        """The VMs that a disk is mounted in."""
        try:
            return [
                short_text(mount, "vmId")
                for mount in self._objects(path("disks", disk, "mounts"), f"mounts of {disk}")
            ]
        except NotFound:
            return []

    def _unmount(self, disk: str, server: str) -> None:
        try:
            self._disks().delete(
                path("disks", disk, "mounts", f"{disk}_{server}"),
                asked=f"detach {disk} from {server}",
            )
        except NotFound:
            return

    def _unmount_from_the_dead(self, ref: Ref) -> None:
        """A mount can outlive its VM; then nobody else ends it."""
        for server in self._mounts(ref.id):
            try:
                super().show(Ref(Kind.SERVER, server))
            except NotFound:
                self._unmount(ref.id, server)
            except CloudError:
                continue

    def _source(self, wanted: str) -> Tuple[str, str, str, str]:
        """(what DISK/source is, a name for it, format, prefix of devices) of an identifier, a disk or a URL."""
        if _DISK.match(wanted):
            self._disks().get(path("disks", wanted), asked=f"disk {wanted}")
            _, host, port = urls.origin(self._disks_url())
            return f"pdisk:{host}:{port}/{wanted}", wanted, "raw", "vd"
        if not _IMAGE.match(wanted.partition("/")[0]):
            raise NotFound(
                f"no image {wanted!r}: neither an identifier of the Marketplace nor of a disk",
                cause="image",
            )
        entries = self._metadata(wanted)
        good = [entry for entry in entries if entry.find("deprecated") is None]
        if not good:
            why = text(entries[0], "deprecated", "")
            raise NotFound(
                f"image {wanted!r} is deprecated" + (f": {why}" if why else ""), cause="image"
            )
        driver = text(good[0], "format", "") or "raw"
        return (
            f"{self.endpoint['marketplace']}/metadata/{wanted}",
            text(good[0], "title", "") or wanted,
            driver if driver in ("raw", "qcow2") else "raw",
            _BUSES.get(text(good[0], "disks-bus", ""), "hd"),
        )

    def _metadata(self, wanted: str) -> List[Any]:
        """The entries of an identifier, one for each endorsement; asked without any credential."""
        where = "/".join(path(part) for part in ["metadata", *wanted.split("/")])
        market = Http(
            self.endpoint["marketplace"],
            self.deadline,
            self.evidence,
            timeout=self.endpoint["timeout"],
            ca=self.endpoint["ca"],
        )
        try:
            reply = market.get(
                where,
                headers={"Accept": "application/xml"},
                accept=(404,),
                asked=f"Marketplace: {wanted}",
            )
        finally:
            market.close()
        found = [] if reply.status == 404 else list(reply.xml().iter("Description"))
        if not found:
            raise NotFound(
                f"no image {wanted!r} in the Marketplace {self.endpoint['marketplace']}",
                cause="image",
            )
        return found


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _classify(reply: Reply) -> Any:
    """What is mounted already is forbidden, by the disk service, and no matter of permission."""
    return (
        reply.error(Conflict) if reply.status == 403 and "already exists" in reply.message else None
    )


def _template(wanted: Mapping[str, Any]) -> str:
    """OpenNebula's own syntax, which the oldest understand: NAME = "text" and NAME = [ key = "text", ... ]."""
    lines = []
    for key, value in wanted.items():
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            inner = (
                ", ".join(f"{name} = {_quoted(text)}" for name, text in one.items())
                if isinstance(one, dict)
                else ""
            )
            lines.append(f"{key} = [ {inner} ]" if inner else f"{key} = {_quoted(one)}")
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
