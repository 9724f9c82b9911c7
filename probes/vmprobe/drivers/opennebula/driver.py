"""OpenNebula 5.x to 7.x over oned's XML-RPC (docs.opennebula.io, "XML-RPC API"; the exact forms are of its source, src/rm).

Its words: a server is a VM, a volume an image of the type DATABLOCK, a snapshot an image that a VM's disk was saved as, a
flavor a VM template (without one the VM is described inline), a network a virtual network, a project a group.

Two images of one owner never have the same name, and a run's volume and snapshot both would: in the manager a snapshot's
name has an end of its own. The manager's own time stamps are whole seconds, and none of them says when a VM began to run.
"""

from __future__ import annotations

import re
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    cast,
)

from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    ClientError,
    Conflict,
    Ended,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    ResourceFailed,
)
from vmprobe.core.model import (
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
from vmprobe.core.text import cut, whole_number
from vmprobe.core.values import http_url, size, whole, yes_or_no
from vmprobe.drivers.opennebula import states
from vmprobe.drivers.opennebula.oned import CREDENTIALS, Oned
from vmprobe.drivers.opennebula.pages import Pages
from vmprobe.transport.xml import number, text

if TYPE_CHECKING:
    from vmprobe.drivers.opennebula.plan import OpenNebulaDetails, OpenNebulaTestVM

_ALL, _MINE = -2, -3  # whose things a pool is asked for: all that may be seen, or this user's own
_NOT_DONE = -1  # of all states of a VM
_PAGE = 200  # things of a pool by one request
_TRIES = 3  # to read one's own pool while it changes
_ASKED_BY_ONE = 20  # VMs of everybody's that are asked for by themselves in one look
_SNAPSHOT = "-snapshot"
_DATABLOCK, _BOOTS = 2, (0, 1, 2)  # types of images; those that can be a VM's disk
_IMAGES = 0  # type of a datastore
_MIB = 2**20
_DATED = re.compile(
    r"^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4} *: *"
)  # before each ERROR and SCHED_MESSAGE
_EXIT_CODE = re.compile(
    r"(?<=[^:\s])\s*ExitCode: -?\d+\s*$"
)  # after each failure on a host, mostly without a space before it
_COUNTERS = (
    ("disk_read", "DISKRDBYTES"),
    ("disk_write", "DISKWRBYTES"),
    ("net_in", "NETRX"),
    ("net_out", "NETTX"),
)
_UNREMOVED = re.compile(r"Error removing image|unavailable Image source", re.I)
_FAULTS = (
    (r"^(PROLOG|EPILOG|CLONING)|image transfer|\bdatastores?\b(?!/)", "storage"),
    (r"network|bridge|\bnic\b|\bvnm\b|lease", "network"),
)


def _share(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or float(text) <= 0:
        raise ValueError("is not a share of a CPU like '0.1' or '2'")
    return float(text)


def _memory(text: str) -> int:
    if size(text) < _MIB:
        raise ValueError("is less than 1 MiB")
    return size(text)


def _prefix(text: str) -> str:
    if text not in ("vd", "sd", "hd", "xvd"):
        raise ValueError("is not one of vd, sd, hd, xvd")
    return text


class Opennebula(Driver):
    """The verbs, over one oned as one user."""

    system = "OpenNebula"
    proved_against = "a simulator written from oned's source, each of its answers judged by pyone and its schemas"
    capabilities = frozenset(
        {
            Capability.VOLUMES,
            Capability.METRICS,
            Capability.SNAPSHOTS,
            Capability.CAPACITY,
            Capability.IMAGES,
        }
    )
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = (*METRICS, "memory")
    metrics_period = 30.0  # PROBES_PERIOD/MONITOR_VM of monitord.conf as it is delivered
    endpoint_keys = {"url": Key(http_url, required=True)}
    test_vm_keys = {
        "vcpu": Key(whole(1)),
        "cpu": Key(_share),
        "memory": Key(_memory),
        "datastore": Key(),
        "requirements": Key(),
        "device prefix": Key(_prefix),
        "reporter": Key(yes_or_no, False),
    }
    credential_keys = CREDENTIALS
    speaks: Type[Oned] = Oned
    terminate = "terminate-hard"
    pages = True  # whether a pool can be asked for in parts

    def __init__(self, *words: Any):
        super().__init__(*words)
        self.oned = self.speaks(self.endpoint, self.credentials, self.deadline, self.evidence)

    def connect(self) -> None:
        self.oned.connect()

    def resolve(self, section: TestVM) -> Plan:
        """The image, the template if one is named, the network, and the datastore for volumes: the image's own if none is."""
        test_vm = cast("OpenNebulaTestVM", section)
        template = self._template(test_vm["flavor"]) if test_vm["flavor"] else None
        image = self._image(test_vm["image"])
        network = self._network(test_vm["network"], template)
        datastore = self._datastore(test_vm["datastore"], image) if test_vm["volume"] else ""
        vcpus, memory = test_vm["vcpu"], test_vm["memory"]
        if template is not None:
            vcpus = vcpus or number(template, "TEMPLATE/VCPU", 1)
            memory = memory or number(template, "TEMPLATE/MEMORY", 0) * _MIB
        given = _given(test_vm, template, image, network[0])
        details: OpenNebulaDetails = {
            "image": text(image, "ID"),
            "network": network[0],
            "datastore": datastore,
            "template": None if template is None else text(template, "ID"),
            "given": given,
            "CPU": _made_with("CPU", given, template),
            "DISK": _made_with("DISK", given, template),
            "NIC": _made_with("NIC", given, template),
            "SCHED_REQUIREMENTS": _made_with("SCHED_REQUIREMENTS", given, template),
        }
        return Plan(
            text(image, "NAME"),
            "" if template is None else text(template, "NAME"),
            network[1],
            details,
            vcpus=vcpus or 1,
            memory=memory or 256 * _MIB,
        )

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            plan = cast("OpenNebulaDetails", spec.plan.details)
            datablock = {
                "NAME": spec.name,
                "TYPE": "DATABLOCK",
                "SIZE": -(-spec.size // _MIB),
                "PERSISTENT": "YES",
                "DEV_PREFIX": plan["given"].get("DEV_PREFIX"),
            }
            made = self.oned.number(
                "one.image.allocate", _document(datablock), int(plan["datastore"])
            )
            return Ref(Kind.VOLUME, made, spec.name)

        assert spec.kind is Kind.SERVER
        plan = cast("OpenNebulaDetails", spec.plan.details)
        wanted: Dict[str, Any] = {
            "NAME": spec.name,
            "VMPROBE": spec.name,
            **plan["given"],
            "DEV_PREFIX": None,
        }
        if "CONTEXT" in wanted and spec.nonce and wanted["CONTEXT"].get("START_SCRIPT_BASE64"):
            wanted["CONTEXT"] = {**wanted["CONTEXT"], "START_SCRIPT_BASE64": _reporter(spec.nonce)}
        if plan["template"] is None:
            return Ref(
                Kind.SERVER,
                self.oned.number("one.vm.allocate", _document(wanted), False),
                spec.name,
            )
        made = self.oned.number(
            "one.template.instantiate", int(plan["template"]), spec.name, False, _document(wanted)
        )
        return Ref(Kind.SERVER, made, spec.name)

    def show(self, ref: Ref) -> Resource:
        if ref.kind is Kind.SERVER:
            return _server(self._vm(ref))
        image = self.oned.xml("one.image.info", _id(ref))
        if ref.kind is Kind.VOLUME:
            return _volume(image, self._hosts_of(image))
        found = _snapshot(image)
        if found.state is State.FAILED and not found.fault:  # then the VM says why
            found = found._replace(fault=self._fault_of(text(image, "TEMPLATE/SAVED_VM_ID", "")))
        return found

    def list(self, kind: Kind, name: str) -> List[Resource]:
        """With a name this user's own, by one request; what is everybody's by pages.

        A user can have thousands of other VMs: only one of this name is ever asked for by itself.
        """
        if kind is Kind.SERVER:
            named = [vm for vm in self._vms(name) if text(vm, "NAME", "").startswith(name)]
            found = (
                [self._with_address(_server(vm)) for vm in named]
                if name
                else self._with_changes(named)
            )
        else:
            whose = _MINE if name else _ALL
            images = [
                image
                for image in self._pool("one.imagepool.info", "IMAGE", whose)
                if text(image, "NAME", "").startswith(name) and _is(kind, image)
            ]
            if kind is Kind.VOLUME:
                hosts = (
                    {text(vm, "ID"): _word(vm) for vm in self._vms(name)}
                    if any(map(_users, images))
                    else {}
                )
                found = [_volume(image, hosts) for image in images]
            else:
                found = [_snapshot(image) for image in images]
        return [
            thing
            for thing in found
            if thing.ref.name.startswith(name) and thing.provider_state != "DONE"
        ]

    def delete(self, ref: Ref) -> None:
        try:
            if ref.kind is Kind.SERVER:
                self._terminate(ref)
            else:
                self._delete_image(ref)
        except NotFound:
            return

    def describe(self) -> Dict[str, Any]:
        return {"version": self.oned.version}

    def offers(self) -> Dict[str, Any]:
        """The hypervisors of oned's hosts as far as they may be seen, and the drivers that it has."""
        said: Dict[str, Any] = {}
        hosts = self._allowed("one.hostpool.info")
        found = (
            {text(host, "VM_MAD", "") for host in hosts.iter("HOST")}
            if hosts is not None
            else set()
        )
        said["hypervisors"] = sorted(found - {""}) or "not permitted"
        settings = self._allowed("one.system.config")
        if settings is not None:
            drivers = {text(one, "NAME", "") for one in settings.iter("VM_MAD")} - {""}
            said.update({"drivers": sorted(drivers)} if drivers else {})
        return said

    def close(self) -> None:
        self.oned.close()

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in states.RESTS

    def endpoints(self) -> List[str]:
        return [self.oned.http.url]

    # --- by capability ----------------------------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        self.oned.call("one.vm.attach", _id(server), _document({"DISK": {"IMAGE_ID": _id(volume)}}))

    def detach(self, server: Ref, volume: Ref) -> None:
        try:
            disks = self.oned.xml("one.vm.info", _id(server)).findall("TEMPLATE/DISK")
            mine = next((disk for disk in disks if text(disk, "IMAGE_ID", "") == volume.id), None)
            if mine is not None:
                self.oned.call("one.vm.detach", _id(server), number(mine, "DISK_ID"))
        except NotFound:
            return

    def metrics(self, server: Ref) -> List[Sample]:
        """The newest that monitord took; none while it has not come to this VM. CPU is said in percent of one core."""
        vm = self._vm(server)
        now = _server(vm)
        if now.state is State.FAILED:  # the last reading is of a guest that is no more
            raise ResourceFailed(
                f"{server} is {now.provider_state}" + (f": {now.fault}" if now.fault else ""),
                now.cause or "scheduler",
            )
        found = _samples(vm, vm.find("MONITORING"), vm)
        if not found:
            readings = self.oned.xml("one.vm.monitoring", _id(server))
            last = (
                readings[-1] if len(readings) else None
            )  # 6.x: MONITORING with its TIMESTAMP; 5.x: the VM as it was
            if last is not None:
                inner = last.find("MONITORING")
                found = _samples(vm, last if inner is None else inner, last)
        return found

    def snapshot(self, server: Ref, name: str) -> Ref:
        """The disk that the VM was made with, saved as an image while it runs."""
        disks = self.oned.xml("one.vm.info", _id(server)).findall("TEMPLATE/DISK")
        saved = [
            number(disk, "DISK_ID")
            for disk in disks
            if text(disk, "IMAGE_ID", "") and text(disk, "TYPE", "") != "CDROM"
        ]
        if not saved:
            raise NotFound(f"{server} has no disk of an image that could be saved", cause="image")
        made = self.oned.number(
            "one.vm.disksaveas", _id(server), min(saved), f"{name}{_SNAPSHOT}", "", -1
        )
        return Ref(Kind.SNAPSHOT, made, name)

    def capacity(self) -> List[Limit]:
        """The user's quotas and its group's, whichever leaves less, and the hosts, datastores and networks that may be seen."""
        from vmprobe.drivers.opennebula import quotas, room

        user, group = self.oned.xml("one.user.info", -1), self._allowed("one.group.info", -1)
        found = quotas.limits(user, group)
        hosts, stores = self._allowed("one.hostpool.info"), self._allowed("one.datastorepool.info")
        for host in hosts.findall("HOST") if hosts is not None else ():
            found += room.host(host)
        for store in stores.findall("DATASTORE") if stores is not None else ():
            found += room.datastore(store)
        for network in self._pool("one.vnpool.info", "VNET", _ALL):
            found += room.network(network)
        return found

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """CPU is a share of a physical CPU, and no number of VCPUs; a disk counts where its datastore's drivers copy it to."""
        from vmprobe.drivers.opennebula import room

        hosts, stores = self._allowed("one.hostpool.info"), self._allowed("one.datastorepool.info")
        cloud = room.Cloud(
            hosts.findall("HOST") if hosts is not None else [],
            stores.findall("DATASTORE") if stores is not None else [],
            self._pool("one.vnpool.info", "VNET", _ALL),
            self._pool("one.imagepool.info", "IMAGE", _ALL),
        )
        return room.needs(cloud, plan, test_vm["volume"], test_vm["snapshot"])

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The checksums are those that were given when the image was registered."""
        found = []
        for image in self._pool("one.imagepool.info", "IMAGE", _ALL):
            if name in ("", text(image, "NAME"), text(image, "ID")):
                native = _image_word(image)
                said = _texts(image, "TEMPLATE")
                sums = {
                    word: said[word.upper()].lower()
                    for word in ("md5", "sha1")
                    if said.get(word.upper())
                }
                found.append(
                    Image(
                        text(image, "ID"),
                        text(image, "NAME"),
                        states.of_image(native),
                        native,
                        sums,
                        said,
                    )
                )
        return found

    # --- asking -----------------------------------------------------------------------------------------------

    def _vm(self, ref: Ref) -> Any:
        """A VM; one that is DONE is gone, though it can be read for as long as the database has it."""
        vm = self.oned.xml("one.vm.info", _id(ref))
        if _word(vm) == "DONE":
            raise Ended(f"{ref} is DONE", cause="scheduler")
        return vm

    def _vms(self, name: str) -> List[Any]:
        return self._pool("one.vmpool.info", "VM", _MINE if name else _ALL, _NOT_DONE)

    def _pool(self, procedure: str, tag: str, whose: int, *more: int) -> List[Any]:
        """All of a pool, by pages: a user can have more VMs than one answer may hold.

        While it is read something can go, and what follows moves to a page that was read already. So one's own pages overlap,
        and are read anew when they do not fit: Incomplete when they never do. Of everybody's a view may lack one.
        """
        if not self.pages:
            return self.oned.xml(procedure, whose, -1, -1, *more).findall(tag)
        for _ in range(_TRIES if whose == _MINE else 1):
            found = self._by_pages(procedure, tag, whose, *more)
            if found is not None:
                return found
        raise Incomplete(f"{procedure}: things go while it is read, each of {_TRIES} times")

    def _by_pages(self, procedure: str, tag: str, whose: int, *more: int) -> Optional[List[Any]]:
        """A pool as its pages have it; None when those of one's own do not fit."""
        overlap = 1 if whose == _MINE else 0
        pages = Pages(procedure)
        while True:
            document = self.oned.xml(
                procedure, whose, len(pages) * (_PAGE - overlap), -_PAGE, *more
            )
            things = document.findall(tag)
            first = text(things[0], "ID") if things else ""
            if overlap and len(pages) and first != text(pages.things[-1], "ID"):
                return None
            pages.add(document, things, first)
            if (
                len(things) < _PAGE or len(things) > _PAGE and len(pages) == 1
            ):  # more than was asked for is all there is
                return list({text(thing, "ID"): thing for thing in pages.things}.values())
            del document, things  # an error on the next page is remembered with this frame

    def _allowed(self, procedure: str, *words: int) -> Any:
        """The answer to what is not everybody's to ask; None where it is refused."""
        try:
            return self.oned.xml(procedure, *words)
        except (NotPermitted, NotFound):
            return None

    def _with_address(self, seen: Resource) -> Resource:
        """What a guest has by itself, where its network leases nothing, is said of each VM and not in the pool."""
        if seen.addresses or seen.provider_state != "RUNNING":
            return seen
        try:
            return self.show(seen.ref)
        except NotFound:
            return seen

    def _with_changes(self, vms: Sequence[Any]) -> List[Resource]:
        """These VMs, and of those between two states when they came there, if that was not at their creation.

        oned stamps the phases on a host alone, and says that of each VM by itself, which a few are asked for. Of the others no
        more is known than that it is so now.
        """
        found, asked = [], 0
        for vm in vms:
            seen = _server(vm)
            if (
                seen.state is State.PENDING
                and seen.provider_state not in states.RESTS
                and not states.is_first(seen.provider_state, _last_host(vm))
            ):
                ask = seen.provider_state in states.STAMPED and asked < _ASKED_BY_ONE
                asked += ask
                seen = seen._replace(
                    state_since=(self._stamped(seen.ref) if ask else 0.0)
                    or self.deadline.clock.utc()
                )
            found.append(seen)
        return found

    def _stamped(self, ref: Ref) -> float:
        """When the newest phase on its last host began or ended; 0 where that is not said."""
        try:
            last = _last_host(self.oned.xml("one.vm.info", _id(ref)))
        except (NotFound, NotPermitted):
            return 0.0
        return (
            float(
                max(
                    number(last, key, 0)
                    for key in ("PSTIME", "RSTIME", "RETIME", "ESTIME", "EETIME")
                )
            )
            if last is not None
            else 0.0
        )

    def _hosts_of(self, image: Any) -> Dict[str, str]:
        """The states of the VMs that use an image, by id; one that cannot be seen is not in it."""
        found = {}
        for user in _users(image)[:1]:
            try:
                found[user] = _word(self.oned.xml("one.vm.info", int(user)))
            except (NotFound, NotPermitted):
                continue
        return found

    def _fault_of(self, vm: str) -> str:
        try:
            return (
                _said(self.oned.xml("one.vm.info", int(vm)), "USER_TEMPLATE/ERROR")
                if whole_number(vm, 9) is not None
                else ""
            )
        except (NotFound, NotPermitted):
            return ""

    def _terminate(self, ref: Ref) -> None:
        """terminate-hard. What is on its way out is asked nothing more; a failure that 5.0 lets no user end is deleted."""
        try:
            self.oned.call("one.vm.action", self.terminate, _id(ref))
        except Conflict as wrong:
            state = (re.findall(r"wrong state (\w+)", str(wrong)) or [""])[0]
            if state in states.LEAVES:
                return
            if not state.endswith("_FAILURE"):
                raise
            try:
                self.oned.call("one.vm.recover", _id(ref), 3)  # delete
            except NotPermitted:  # that is the administrators'
                raise wrong from None

    def _delete_image(self, ref: Ref) -> None:
        """An image whose file could not be removed is in ERROR: there oned 6.6 and later drops it by ``force`` alone."""
        image = self.oned.xml("one.image.info", _id(ref))
        failed = _image_word(image) == "ERROR" and _UNREMOVED.search(_said(image, "TEMPLATE/ERROR"))
        self.oned.call(
            "one.image.delete", _id(ref), *([True] if failed and self.oned.since(6, 6) else [])
        )

    # --- what a test VM is made of ----------------------------------------------------------------------------

    def _template(self, wanted: str) -> Any:
        found = _named(
            self._pool("one.templatepool.info", "VMTEMPLATE", _ALL), wanted, self.credentials
        )
        if found is None:
            raise NotFound(f"no VM template {wanted!r}", cause="image")
        return found

    def _image(self, wanted: str) -> Any:
        found = _named(self._pool("one.imagepool.info", "IMAGE", _ALL), wanted, self.credentials)
        if found is None:
            raise NotFound(f"no image {wanted!r}", cause="image")
        native, kind = _image_word(found), number(found, "TYPE", 0)
        if native not in ("READY", "USED"):
            fault = _said(found, "TEMPLATE/ERROR")
            raise NotFound(
                f"image {wanted!r} is {native}" + (f": {fault}" if fault else ""), cause="image"
            )
        if kind not in _BOOTS:
            raise NotFound(
                f"image {wanted!r} is of type {kind}: no VM can have it as a disk", cause="image"
            )
        return found

    def _network(self, wanted: str, template: Any) -> Tuple[str, str]:
        """(id, name) by name or id; else ('', what the template has), else the only one there is."""
        nic = template.find("TEMPLATE/NIC") if template is not None else None
        if not wanted and nic is not None:
            return "", text(nic, "NETWORK", "") or text(nic, "NETWORK_ID", "") or "the template's"
        networks = self._pool("one.vnpool.info", "VNET", _ALL)
        found = (
            _named(networks, wanted, self.credentials)
            if wanted
            else networks[0]
            if len(networks) == 1
            else None
        )
        if found is None and not wanted and networks:
            names = cut(
                ", ".join(f"{text(one, 'NAME')} ({text(one, 'ID')})" for one in networks), 200
            )
            raise ClientError(f"[test vm] network: there are {names}: name one")
        if found is None:
            raise NotFound(
                f"no network {wanted!r}" if wanted else "there is no network for a VM",
                cause="network",
            )
        return text(found, "ID"), text(found, "NAME")

    def _datastore(self, wanted: Optional[str], image: Any) -> str:
        if not wanted:
            return text(image, "DATASTORE_ID")
        found = _named(
            self.oned.xml("one.datastorepool.info").findall("DATASTORE"), wanted, self.credentials
        )
        if found is None:
            raise NotFound(f"no datastore {wanted!r}", cause="storage")
        if number(found, "TYPE", 0) != _IMAGES:
            raise NotFound(f"datastore {wanted!r} is not for images", cause="storage")
        return text(found, "ID")


# --- what is asked for --------------------------------------------------------------------------------------------


def _given(test_vm: OpenNebulaTestVM, template: Any, image: Any, network: str) -> Dict[str, Any]:
    """The attributes of the VM. Of a template only what the site says otherwise, because a list in it is replaced whole."""
    named = template is not None
    vcpus, memory = (
        test_vm["vcpu"] or (None if named else 1),
        test_vm["memory"] or (None if named else 256 * _MIB),
    )
    found: Dict[str, Any] = {
        "CPU": test_vm["cpu"] or (None if named else 0.1),
        "VCPU": vcpus,
        "MEMORY": memory and memory // _MIB,
        "SCHED_REQUIREMENTS": test_vm["requirements"],
        "DEV_PREFIX": test_vm["device prefix"],
    }
    if not named or not _has_disk(template, image):
        found["DISK"] = {"IMAGE_ID": text(image, "ID")}
    if network:
        found["NIC"] = {"NETWORK_ID": network}
    if not named or test_vm["reporter"]:
        context = _texts(template, "TEMPLATE/CONTEXT") if named else {"NETWORK": "YES"}
        found["CONTEXT"] = {
            **context,
            **({"START_SCRIPT_BASE64": "reporter"} if test_vm["reporter"] else {}),
        }
    return found


def _made_with(key: str, given: Mapping[str, Any], template: Any) -> Any:
    """What a VM is made with: as the site gives it, else as the template has it. Disks and NICs are lists of their texts."""
    wanted = given.get(key)
    if key in ("DISK", "NIC"):
        if wanted is not None or template is None:
            return [wanted] if wanted else []
        return [_texts(one, ".") for one in template.findall(f"TEMPLATE/{key}")]
    return (
        wanted if wanted is not None or template is None else text(template, f"TEMPLATE/{key}", "")
    )


def _texts(thing: Any, path: str) -> Dict[str, str]:
    """What stands in the element at ``path``: text by name."""
    return {child.tag: (child.text or "").strip() for child in thing.findall(f"{path}/*")}


def _has_disk(template: Any, image: Any) -> bool:
    return any(
        text(disk, "IMAGE_ID", "") == text(image, "ID")
        or text(disk, "IMAGE", "") == text(image, "NAME")
        for disk in template.findall("TEMPLATE/DISK")
    )


def _reporter(nonce: str) -> str:
    """The reporter for one-context, which waits for the end of a start script.

    In base64, because oned replaces each ``$NAME`` in a CONTEXT.
    """
    from vmprobe.guest import user_data

    return user_data.encoded(user_data.reporter(nonce, background=True))


def _document(wanted: Mapping[str, Any]) -> str:
    """A template as XML, which needs no quoting of its own; oned takes it wherever it takes its own syntax."""
    from xml.etree.ElementTree import Element, SubElement, tostring

    root = Element("TEMPLATE")
    for key, value in wanted.items():
        if isinstance(value, Mapping):
            vector = SubElement(root, key)
            for name, inner in value.items():
                SubElement(vector, name).text = str(inner or "")
        elif value is not None:
            SubElement(root, key).text = str(value)
    return tostring(root, encoding="unicode")


def _id(ref: Ref) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", ref.id):
        raise GatewayFailed(f"{cut(ref.id, 60)!r} is no id that can be asked for")
    return int(ref.id)


# --- what is answered ---------------------------------------------------------------------------------------------


def _server(vm: Any) -> Resource:
    native = _word(vm)
    fault = _said(vm, "USER_TEMPLATE/ERROR") or _said(vm, "TEMPLATE/ERROR")
    state = states.of(native)
    if (
        not fault and native == "PENDING"
    ):  # later it is still there, and says why the VM had to wait
        fault = _said(vm, "USER_TEMPLATE/SCHED_MESSAGE") or _said(vm, "TEMPLATE/SCHED_MESSAGE")
    cause = next(
        (cause for pattern, cause in _FAULTS if re.search(pattern, f"{native} {fault}", re.I)), ""
    )
    if state is State.FAILED:
        hosts = vm.findall("HISTORY_RECORDS/HISTORY")
        fault = ": ".join(
            word
            for word in (f"on {text(hosts[-1], 'HOSTNAME', '')}" if hosts else "", fault)
            if word
        )
    disk = vm.find("TEMPLATE/DISK")
    memory, created = number(vm, "TEMPLATE/MEMORY", 0), number(vm, "STIME", 0)
    whole = (
        vm.find("PERMISSIONS") is not None or vm.find("TEMPLATE/VCPU") is not None
    )  # pools of 5.8 to 6.6 leave VCPU out
    return Resource(
        Ref(Kind.SERVER, text(vm, "ID"), text(vm, "NAME", "")),
        state,
        native,
        fault,
        cause,
        addresses=_addresses(vm),
        created=float(created) if created else None,
        vcpus=number(vm, "TEMPLATE/VCPU", 0) or (1 if memory and whole else None),
        memory=memory * _MIB or None,
        image=text(disk, "IMAGE", "") if disk is not None else "",
        owner=text(vm, "UNAME", ""),
        project=text(vm, "GNAME", ""),
    )


def _last_host(vm: Any) -> Any:
    """The last element of a VM's history, None before it was on any host."""
    found = vm.findall("HISTORY_RECORDS/HISTORY")
    return found[-1] if found else None


def _word(vm: Any) -> str:
    return states.word(number(vm, "STATE"), number(vm, "LCM_STATE", 0))


def _said(thing: Any, path: str) -> str:
    """The manager's own words, without the date before them and the number after them."""
    return re.sub(r"\s+", " ", _EXIT_CODE.sub("", _DATED.sub("", text(thing, path, "")))).strip()


def _addresses(vm: Any) -> Tuple[str, ...]:
    """Of the NICs, as they were leased; and what the hypervisor sees in the guest, where nothing is leased."""
    nics = vm.findall("TEMPLATE/NIC") + vm.findall("TEMPLATE/NIC_ALIAS")
    found = [
        text(nic, key, "")
        for nic in nics
        if text(nic, "ATTACH", "") != "YES"
        for key in ("EXTERNAL_IP", "IP", "IP6_GLOBAL", "IP6_ULA", "IP6")
    ]
    for key in ("GUEST_IP", "GUEST_IP_ADDRESSES"):
        found += [one.strip() for one in text(vm, f"MONITORING/{key}", "").split(",")]
    return tuple(dict.fromkeys(address for address in found if address))


def _volume(image: Any, hosts: Mapping[str, str]) -> Resource:
    """An image is a VM's from the moment of the request; attached it is once the VM is not at it any more."""
    native = _image_word(image)
    state, users = states.of_image(native), _users(image)
    moving = hosts.get(users[0], "") if users else ""
    if moving in states.MOVES_A_DISK:
        state, native = State.PENDING, f"{native} ({moving})"
    return Resource(
        Ref(Kind.VOLUME, text(image, "ID"), text(image, "NAME", "")),
        state,
        native,
        _said(image, "TEMPLATE/ERROR"),
        server=users[0] if users else "",
        **_about(image),
    )


def _snapshot(image: Any) -> Resource:
    native, name = _image_word(image), text(image, "NAME", "")
    name = name[: -len(_SNAPSHOT)] if name.endswith(_SNAPSHOT) else name
    return Resource(
        Ref(Kind.SNAPSHOT, text(image, "ID"), name),
        states.of_image(native),
        native,
        _said(image, "TEMPLATE/ERROR"),
        **_about(image),
    )


def _about(image: Any) -> Dict[str, Any]:
    created = number(image, "REGTIME", 0)
    return {
        "created": float(created) if created else None,
        "size": number(image, "SIZE", 0) * _MIB,
        "owner": text(image, "UNAME", ""),
        "project": text(image, "GNAME", ""),
    }


def _is(kind: Kind, image: Any) -> bool:
    is_snapshot = text(image, "NAME").endswith(_SNAPSHOT)
    return (
        is_snapshot
        if kind is Kind.SNAPSHOT
        else kind is Kind.VOLUME and not is_snapshot and number(image, "TYPE", 0) == _DATABLOCK
    )


def _image_word(image: Any) -> str:
    state = number(image, "STATE")
    return states.IMAGE.get(state, f"STATE {state}")


def _users(image: Any) -> List[str]:
    said = ((one.text or "").strip() for one in image.findall("VMS/ID"))
    return [user for user in said if whole_number(user, 9) is not None]


def _named(things: Iterable[Any], wanted: str, credentials: Mapping[str, str]) -> Any:
    """By id, or by name: then one's own before others', and of several the newest; None where there is none."""
    those = [thing for thing in things if wanted in (text(thing, "ID"), text(thing, "NAME", ""))]
    by_id = [thing for thing in those if text(thing, "ID") == wanted]
    own = [thing for thing in those if text(thing, "UNAME", "") == credentials.get("username")]
    return max(by_id or own or those, key=lambda thing: number(thing, "ID"), default=None)


def _samples(vm: Any, said: Any, stamped: Any) -> List[Sample]:
    """One reading: ``said`` has the figures, their moment is its own TIMESTAMP (6.x) or LAST_POLL of ``stamped`` (5.x)."""
    if said is None or not len(said):
        return []
    at = float(number(said, "TIMESTAMP", 0) or number(stamped, "LAST_POLL", 0))
    found = [
        Sample(metric, value, at)
        for metric, key in _COUNTERS
        for value in [_figure(said, key)]
        if value is not None
    ]
    cpu, memory = _figure(said, "CPU"), _figure(said, "MEMORY")
    if cpu is not None:
        found.append(Sample("cpu", cpu / max(1, number(vm, "TEMPLATE/VCPU", 1)), at, counter=False))
    if memory is not None:
        found.append(Sample("memory", memory * 1024, at, counter=False))
    return found


def _figure(said: Any, key: str) -> Optional[float]:
    """A figure that is not negative; None where there is none."""
    found = text(said, key, "")
    return (
        float(found)
        if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,2})?", found)
        else None
    )
