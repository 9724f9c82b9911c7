"""The inventory: find datacenter, folder, cluster or host, pool, datastore, network and templates.

Each is named in the site file by its name, or by its inventory path where a name stands twice. In
vSphere's own names ``/`` is ``%2f``; both are understood. What is not named is the only one there
is, or an error that lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import unquote

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.text import cut
from vmprobe.drivers.vsphere import soap
from vmprobe.drivers.vsphere.properties import Collector, Thing
from vmprobe.drivers.vsphere.soap import Moref

if TYPE_CHECKING:
    from vmprobe.drivers.vsphere.session import Session

NETWORKS = ("Network", "DistributedVirtualPortgroup", "OpaqueNetwork")
COMPUTE = ("ComputeResource", "ClusterComputeResource")
_UPLINKS = "SYSTEM/DVS.UPLINKPG"  # the tag of port groups that no machine may use
_DEEPEST = 20  # folders in one another
_SHOWN = 8  # names in an error text


class Found(NamedTuple):
    """An object of the inventory, with its name as people read it."""

    ref: Moref
    name: str


class Place(NamedTuple):
    """Where test VMs are created."""

    datacenter: Found
    folder: Moref
    compute: Found
    pool: Moref
    datastore: Found
    host: Optional[Moref]  # where the site names a host of a cluster


class Inventory:
    """Names of one site, looked up once in a session."""

    def __init__(self, session: Session, collector: Collector, endpoint: Mapping[str, Any]):
        self.session, self.collector, self.endpoint = session, collector, endpoint
        self._known: Dict[str, Any] = {}

    def forget(self) -> None:
        """Look everything up again: the session is a new one."""
        self._known.clear()

    # --- where -----------------------------------------------------------------------------------

    def place(self) -> Place:
        """Everything that a create has to know."""
        datacenter = self.datacenter()
        compute, host = self._compute()
        return Place(
            datacenter, self.folder(), compute, self._pool(compute), self.datastore(), host
        )

    def datacenter(self) -> Found:
        """The site's datacenter. A single host has one, too."""
        found: Found = self._once(
            "datacenter",
            lambda: self._choose(self._root(), ("Datacenter",), "datacenter"),
        )
        return found

    def datacenter_path(self) -> str:
        """The datacenter's inventory path, as its datastores' HTTP access wants it.

        A single host's is fixed; folders of datacenters are followed up to the root.
        """
        found: str = self._once("datacenter path", self._datacenter_path)
        return found

    def _datacenter_path(self) -> str:
        asked, root = "find the path of the datacenter", self._root()
        ref, names = self.datacenter().ref, []
        for _ in range(_DEEPEST):
            if ref == root:
                break
            thing = self.collector.get(ref, ["name", "parent"], asked)
            names.append(thing.text("name"))
            ref = soap.moref(thing.values.get("parent"))
        return "/".join(reversed(names))

    def folder(self) -> Moref:
        """The folder of the site's machines: the one that it names, or the datacenter's own."""
        found: Moref = self._once("folder", self._folder)
        return found

    def datastore(self) -> Found:
        """The datastore for machines and volumes."""
        found: Found = self._once(
            "datastore",
            lambda: self._choose(self.datacenter().ref, ("Datastore",), "datastore"),
        )
        return found

    def browser(self) -> Moref:
        """What lists the files of the datastore."""
        found: Moref = self._once("browser", self._browser)
        return found

    def _browser(self) -> Moref:
        datastore = self.datastore()
        asked = f"find the files of {datastore.name}"
        return soap.moref(
            self.collector.get(datastore.ref, ["browser"], asked).values.get("browser")
        )

    def _folder(self) -> Moref:
        datacenter = self.datacenter().ref
        named = self.endpoint.get("folder")
        if not named:
            asked = "find the folder of the virtual machines"
            thing = self.collector.get(datacenter, ["vmFolder"], asked)
            return soap.moref(thing.values.get("vmFolder"))
        return self._named(datacenter, ("Folder",), "folder", named, "vm").ref

    def compute(self) -> Found:
        """The cluster or single host that runs the machines."""
        return self._compute()[0]

    def _compute(self) -> Tuple[Found, Optional[Moref]]:
        """The cluster or single host; and the host, where the site names one of a cluster."""
        datacenter, named = self.datacenter().ref, self.endpoint.get("cluster") or ""
        found = self._choose(datacenter, COMPUTE, "cluster")
        wanted = self.endpoint.get("host")
        if not wanted:
            return found, None
        hosts = self.collector.list(found.ref, ("HostSystem",), ["name"], f"list hosts of {named}")
        for host in hosts:
            if _readable(host.text("name")) == wanted:
                return found, host.ref
        raise NotFound(
            f"no host named {wanted!r} in {found.name}{_choices(hosts)}", cause="scheduler"
        )

    def _pool(self, compute: Found) -> Moref:
        """The resource pool that the site names in its cluster, or the root of the cluster's."""
        named = self.endpoint.get("resource pool")
        if named:
            return self._named(compute.ref, ("ResourcePool",), "resource pool", named, "host").ref
        asked = f"find the resource pool of {compute.name}"
        thing = self.collector.get(compute.ref, ["resourcePool"], asked)
        return soap.moref(thing.values.get("resourcePool"))

    # --- what ------------------------------------------------------------------------------------

    def network(self, named: str) -> Thing:
        """The network of this name, with what a network card has to know of it."""
        found = self._named(self.datacenter().ref, NETWORKS, "network", named, "network")
        names = {
            "Network": ["name"],
            "DistributedVirtualPortgroup": ["name", "key", "config.distributedVirtualSwitch"],
            "OpaqueNetwork": ["name", "summary"],
        }
        return self.collector.get(found.ref, names[found.ref.type], f"find network {named}")

    def template(self, named: str) -> Found:
        """The template or machine of this name."""
        return self._named(self._scope(), ("VirtualMachine",), "image", named, "vm")

    def machines(self, container: Moref, asked: str) -> List[Thing]:
        """All machines and templates below a folder or datacenter, with their names."""
        return self.collector.list(container, ("VirtualMachine",), ["name"], asked)

    def _scope(self) -> Moref:
        """Where images are looked for: templates are often kept apart from machines."""
        return self.datacenter().ref

    def _root(self) -> Moref:
        return self.session.manager("rootFolder")

    # --- by name or path -------------------------------------------------------------------------

    def _choose(self, container: Moref, types: Sequence[str], key: str) -> Found:
        """The one that the site file names, or the only one there is."""
        named = self.endpoint.get(key)
        if named:
            folder = {"cluster": "host"}.get(key, key)
            return self._named(container, types, key, named, folder)
        things = self.collector.list(container, types, ["name"], f"list {key}s")
        if len(things) == 1:
            return Found(things[0].ref, _readable(things[0].text("name")))
        if not things:
            raise NotFound(f"there is no {key} that the user may see", cause=_cause(key))
        raise ClientError(f"[endpoint] {key}: name one{_choices(things)}")

    def _named(
        self, container: Moref, types: Sequence[str], key: str, named: str, folder: str
    ) -> Found:
        """The object of this name; by its inventory path where the name has a slash."""
        asked = f"find {key} {cut(named, 60)}"
        things = self.collector.list(container, types, ["name", "tag"], asked)
        usable = [thing for thing in things if not _is_uplink(thing)]
        matching = [thing for thing in usable if _readable(thing.text("name")) == _readable(named)]
        if len(matching) == 1:
            return Found(matching[0].ref, _readable(named))
        if len(matching) > 1:
            raise ClientError(
                f"{len(matching)} {key}s are named {named!r}: give the inventory path of one"
            )
        if "/" in named:
            ref = self._by_path(named, folder, asked)
            for thing in usable:
                if thing.ref == ref:
                    return Found(ref, _readable(thing.text("name")))
        raise NotFound(f"no {key} named {named!r}{_choices(usable)}", cause=_cause(key))

    def _by_path(self, named: str, folder: str, asked: str) -> Optional[Moref]:
        """What an inventory path leads to: from the root, or from the datacenter's folder."""
        paths = [named.strip("/")]
        if folder != "datacenter":
            paths.append(f"{self.datacenter().name}/{folder}/{named.strip('/')}")
        for path in paths:
            answer = self.session.call(
                "FindByInventoryPath",
                self.session.manager("searchIndex"),
                {"inventoryPath": path},
                asked,
            )
            returned = answer.find("returnval")
            if returned is not None and returned.text:
                return soap.moref(returned)
        return None

    def _once(self, key: str, find: Any) -> Any:
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]


def _readable(name: str) -> str:
    """A name as people read it: vSphere escapes ``/``, ``\\`` and ``%`` in its own."""
    return unquote(name)


def _is_uplink(thing: Thing) -> bool:
    return any((tag.findtext("key") or "") == _UPLINKS for tag in thing.items("tag"))


def _choices(things: Sequence[Thing]) -> str:
    names = sorted({_readable(thing.text("name")) for thing in things})
    if not names:
        return "; there is none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; there are {', '.join(cut(name, 60) for name in names[:_SHOWN])}{more}"


def _cause(key: str) -> str:
    return {
        "image": "image",
        "network": "network",
        "datastore": "storage",
        "cluster": "scheduler",
        "resource pool": "scheduler",
    }.get(key, "client")
