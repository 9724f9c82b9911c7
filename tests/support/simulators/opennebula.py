"""oned as its clients see it: XML-RPC on a socket, states that go on by themselves, refusals in its own words.

Written from OpenNebula's source: the order of elements from ``to_xml`` of each object, positions of parameters and texts
from ``src/rm``, ways of the states from ``src/dm`` and ``src/lcm``. ``version`` chooses the form: up to 5.6 a pool has the
whole of each VM, up to 5.10 a reading is the VM as it was, from 5.12 (monitord) on it is an element of its own.
"""

from __future__ import annotations

import itertools
import re
import socketserver
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, Dict, List, Optional, Set, Tuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape
from xmlrpc.client import Fault, dumps, loads

AUTHENTICATION, AUTHORIZATION, NO_EXISTS, ACTION, XML_RPC_API, INTERNAL, ALLOCATE, LOCKED = (
    0x100 << bit for bit in range(8)
)
DATED = "Mon Nov 23 00:10:13 2026 : "
STATES = {
    "PENDING": (1, 0),
    "HOLD": (2, 0),
    "LCM_INIT": (3, 0),
    "PROLOG": (3, 1),
    "BOOT": (3, 2),
    "RUNNING": (3, 3),
    "EPILOG": (3, 11),
    "SHUTDOWN": (3, 12),
    "UNKNOWN": (3, 16),
    "HOTPLUG": (3, 17),
    "CLEANUP_DELETE": (3, 23),
    "HOTPLUG_SAVEAS": (3, 26),
    "BOOT_FAILURE": (3, 36),
    "PROLOG_FAILURE": (3, 39),
    "EPILOG_FAILURE": (3, 40),
    "DONE": (6, 0),
    "FAILED": (7, 0),
    "POWEROFF": (8, 0),
    "CLONING_FAILURE": (11, 0),
}
READY, USED, DISABLED, LOCKED_IMAGE, ERROR, DELETING, USED_PERS = 1, 2, 3, 4, 5, 7, 8
FAULTS = {
    "boot-failure": "the hypervisor does not start a VM",
    "prolog-failure": "a disk cannot be brought to the host",
    "epilog-failure": "a disk cannot be taken away from the host",
    "no-room": "what fits nowhere stays PENDING",
    "never-running": "a VM stays in BOOT",
    "slow-prolog": "a VM stays in PROLOG",
    "system-full": "no system datastore has room",
    "dies": "a guest powers itself off at once",
    "no-address": "a NIC has no lease",
    "guest-address": "a NIC has none, and the guest's agent says its own",
    "attach-failure": "a disk is not attached",
    "attach-hangs": "a VM stays in HOTPLUG",
    "datablock-error": "no image is made",
    "no-metrics": "monitord never came",
    "delete-ignored": "terminate-hard is answered, and nothing happens",
    "not-owner": "VMs belong to somebody else",
    "election": "the leader is being elected",
    "full": "a datastore has no room",
    "detach-failure": "a disk is not let go",
    "cancel-failure": "a guest cannot be ended",
    "rm-failure": "nor an image removed",
    "no-file": "an image has no file that could be removed",
    "no-lease": "a network has no lease left",
    "clusters": "a network is in no cluster",
    "saveas-error": "a disk cannot be saved",
    "away": "nobody answers",
}


class Refused(Exception):
    """(code, words) of a call that oned answers with false."""


@dataclass
class User:
    id: int
    name: str
    password: str
    driver: str = "core"
    group: int = 100
    limits: Dict[str, float] = field(
        default_factory=dict
    )  # of VMS, CPU, ...; IMAGES, SIZE; LEASES; RVMS


@dataclass
class Vm:
    id: int
    owner: User
    name: str
    template: ElementTree.Element
    state: str = "PENDING"
    made: float = 0.0
    runs: float = 0.0
    disks: List[Dict[str, str]] = field(default_factory=list)
    nics: List[Dict[str, str]] = field(default_factory=list)
    said: Dict[str, str] = field(default_factory=dict)  # USER_TEMPLATE
    host: str = ""
    seq: int = 0  # of its history's last record
    stamps: Dict[str, float] = field(
        default_factory=dict
    )  # of that record, where they are not those of its creation


@dataclass
class Stored:
    """An image."""

    id: int
    owner: User
    name: str
    type: int = 0
    state: int = READY
    size: int = 16
    persistent: bool = False
    vms: List[int] = field(default_factory=list)
    said: Dict[str, str] = field(default_factory=dict)
    made: float = 0.0


class Oned:
    """The daemon's mind. ``step``: seconds that each state takes; ``plot``: what befalls a request, once, by its number or procedure."""

    def __init__(self, version: str = "6.10.0", step: float = 0.02):
        self.version, self.step = version, step
        self.oneadmin, self.probe = (
            User(0, "oneadmin", "opennebula", group=0),
            User(2, "probe", "a-good-password"),
        )
        self.users = {user.name: user for user in (self.oneadmin, self.probe)}
        self.faults: set = set()
        self.plot: Dict[Any, str] = {}
        self.killer: Callable[[], None] = lambda: None
        self.speaks = threading.Event()  # ends the silence of those that are "silent"
        self.judge: Callable[[str, str], None] = lambda procedure, answer: (
            None
        )  # is shown every XML document
        self.authenticate: Callable[[str], Optional[User]] = self._by_password
        self.rejected: List[str] = []  # what the judge says against answers
        self.calls: List[str] = []
        self.hosts = ["node1", "node2"]
        self.host_clusters: Dict[str, int] = {}  # by host; 0 otherwise
        self.clusters: Dict[
            Tuple[str, int], List[int]
        ] = {}  # of ("datastore", 1), ("network", 0), ...; cluster 0 otherwise
        self.group_limits: Dict[str, float] = {"VMS": 50, "CPU": -2}
        self.default_limits: Dict[str, float] = {}  # of all users
        self.networks = {0: "private"}
        self.leases = {0: 254}  # by network; 254 otherwise
        self.store_says: Dict[int, Dict[str, str]] = {
            0: {"SHARED": "YES", "TYPE": "SYSTEM_DS"},
            1: {"CLONE_TARGET": "SYSTEM", "LN_TARGET": "NONE", "TYPE": "IMAGE_DS"},
        }
        self.disabled_stores: Set[int] = set()
        self.store_free: Dict[int, int] = {}  # FREE_MB, where it is not what is not used
        self.datastores = {
            0: ("system", 1, 0, 0),
            1: ("default", 0, 20480, 4096),
            2: ("files", 2, 20480, 4096),
        }
        self.templates: Dict[int, Tuple[str, str]] = {
            5: (
                "tiny",
                "<TEMPLATE><CPU>0.2</CPU><VCPU>2</VCPU><MEMORY>128</MEMORY><DISK><IMAGE>vmprobe-test</IMAGE></DISK>"
                "<NIC><NETWORK>private</NETWORK></NIC><CONTEXT><NETWORK>YES</NETWORK></CONTEXT></TEMPLATE>",
            )
        }
        self.images = {
            7: Stored(
                7, self.oneadmin, "vmprobe-test", said={"MD5": "D41D8CD98F00B204E9800998ECF8427E"}
            )
        }
        self.vms: Dict[int, Vm] = {}
        self._ids = {"vm": itertools.count(40), "image": itertools.count(8)}
        self._due: List[Tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.lock = threading.Lock()

    def since(self, *version: int) -> bool:
        """Whether this is at least that version."""
        return tuple(int(part) for part in self.version.split(".")) >= version

    # --- calls ------------------------------------------------------------------------------------------------

    def call(self, procedure: str, words: tuple) -> list:
        """What oned answers: [True, result, 0], or [False, text, code, id of what is not there, index of replication]."""
        with self.lock:
            self._go_on()
            self.calls.append(procedure)
            verb = getattr(self, "_" + procedure.replace(".", "_"), None)
            if verb is None:
                raise Fault(-506, f"Method '{procedure}' not defined")
            said = f"[{procedure}]" if self.since(5, 4) else f"[{_old_name(procedure)}]"
            try:
                user = self.authenticate(words[0])
                if user is None:
                    raise Refused(AUTHENTICATION, "User couldn't be authenticated, aborting call.")
                if "election" in self.faults:
                    raise Refused(INTERNAL, "Cannot process request, oned cluster in election mode")
                result = verb(user, *words[1:])
            except Refused as refused:
                code, text = refused.args
                about = re.search(r"\[(\d+)\]\.$", text) if code == NO_EXISTS else None
                return [False, f"{said} {text}", code, int(about[1]) if about else -1, -1]
            if isinstance(result, str) and result.startswith("<"):
                try:
                    self.judge(procedure, result)
                except Exception as wrong:  # whatever a foreign parser raises is said by the test, and not by this thread
                    self.rejected.append(f"{procedure}: {type(wrong).__name__}: {wrong}")
            return [True, result, 0]

    def _by_password(self, session: str) -> Optional[User]:
        name, _, password = session.partition(":")
        user = self.users.get(name)
        return user if user and user.password == password else None

    def _one_system_version(self, user: User) -> str:
        if not self.since(3, 6):
            raise Fault(-506, "Method 'one.system.version' not defined")
        return self.version

    def _one_system_config(self, user: User) -> str:
        if not self.since(5, 12) and user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION, f"User [{user.id}] : Not authorized to perform ADMIN SYSTEM."
            )
        return (
            "<OPENNEBULA_CONFIGURATION><DB><BACKEND>sqlite</BACKEND></DB>"
            "<VM_MAD><EXECUTABLE>one_vmm_exec</EXECUTABLE><NAME>kvm</NAME></VM_MAD></OPENNEBULA_CONFIGURATION>"
        )

    # --- accounts ---------------------------------------------------------------------------------------------

    def _one_user_info(self, user: User, identity: int) -> str:
        return (
            f"<USER><ID>{user.id}</ID><GID>{user.group}</GID><GROUPS><ID>{user.group}</ID></GROUPS><GNAME>users</GNAME><NAME>{user.name}</NAME>"
            f"<PASSWORD>5f4dcc3b5aa765d61d8327deb882cf99</PASSWORD><AUTH_DRIVER>{user.driver}</AUTH_DRIVER>"
            f"<ENABLED>1</ENABLED><TEMPLATE/>{self._quotas(user, user.limits)}"
            f"<DEFAULT_USER_QUOTAS>{self._quotas(user, self.default_limits, used=False)}</DEFAULT_USER_QUOTAS></USER>"
        )

    def _one_group_info(self, user: User, identity: int) -> str:
        empty = "<DATASTORE_QUOTA/><NETWORK_QUOTA/><VM_QUOTA/><IMAGE_QUOTA/>"
        return (
            f"<GROUP><ID>{user.group}</ID><NAME>users</NAME><TEMPLATE/><USERS><ID>2</ID></USERS><ADMINS/>"
            f"{self._quotas(user, self.group_limits)}<DEFAULT_GROUP_QUOTAS>{empty}</DEFAULT_GROUP_QUOTAS></GROUP>"
        )

    def _quotas(self, user: User, limits: Dict[str, float], used: bool = True) -> str:
        """The four quotas of an account; those of defaults have nothing that is used."""
        now = self._used(user) if used else {}

        def rows(*keys: str) -> str:
            return "".join(
                f"<{key}>{limits.get(key, -1):g}</{key}><{key}_USED>{now.get(key, 0):g}</{key}_USED>"
                for key in keys
            )

        vms = rows(
            "CPU",
            "MEMORY",
            "RUNNING_CPU",
            "RUNNING_MEMORY",
            "RUNNING_VMS",
            "SYSTEM_DISK_SIZE",
            "VMS",
        )
        of_a_cluster = (
            f"<VM><CLUSTER_IDS>100</CLUSTER_IDS>{vms.replace('>50<', '>1<')}</VM>"
            if self.since(7) and used
            else ""
        )
        network = f"<NETWORK><ID>0</ID>{rows('LEASES')}</NETWORK>" if "LEASES" in limits else ""
        image = f"<IMAGE><ID>7</ID>{rows('RVMS')}</IMAGE>" if "RVMS" in limits else ""
        return (
            f"<DATASTORE_QUOTA><DATASTORE><ID>1</ID>{rows('IMAGES', 'SIZE')}</DATASTORE></DATASTORE_QUOTA>"
            f"<NETWORK_QUOTA>{network}</NETWORK_QUOTA><VM_QUOTA>{of_a_cluster}<VM>{vms}</VM></VM_QUOTA><IMAGE_QUOTA>{image}</IMAGE_QUOTA>"
        )

    def _used(self, user: User) -> Dict[str, float]:
        """What counts against an account's quotas (QuotaVirtualMachine::check and its neighbours)."""
        vms = [vm for vm in self.vms.values() if vm.owner is user and vm.state != "DONE"]
        mine = [image for image in self.images.values() if image.owner is user]
        used: Dict[str, float] = {"IMAGES": len(mine), "SIZE": sum(image.size for image in mine)}
        for vm in vms:
            for key, more in self._wanted(vm.template).items():
                used[key] = used.get(key, 0) + more
        if self.store_says[1].get("LN_TARGET") == "SYSTEM":
            used["SYSTEM_DISK_SIZE"] = used.get("SYSTEM_DISK_SIZE", 0) + sum(
                image.size for image in mine if image.state == USED_PERS
            )
        return used

    def _wanted(self, template: ElementTree.Element) -> Dict[str, float]:
        """What a VM of this template takes of the quotas of its owner."""
        cpu, memory = float(template.findtext("CPU") or 0), float(template.findtext("MEMORY") or 0)
        disks = [
            self._image_of(self.probe, disk)
            for disk in template.findall("DISK")
            if disk.find("IMAGE") is not None or disk.find("IMAGE_ID") is not None
        ]
        copied = self.store_says[1].get("CLONE_TARGET") == "SYSTEM"
        volatile = sum(
            float(disk.findtext("SIZE") or 0)
            for disk in template.findall("DISK")
            if disk.findtext("TYPE") == "fs"
        )
        return {
            "VMS": 1,
            "RUNNING_VMS": 1,
            "CPU": cpu,
            "RUNNING_CPU": cpu,
            "MEMORY": memory,
            "RUNNING_MEMORY": memory,
            "SYSTEM_DISK_SIZE": volatile + sum(image.size for image in disks if copied),
            "LEASES": len(template.findall("NIC")),
            "RVMS": sum(1 for image in disks if image.id == 7),
        }

    def _check_quota(self, user: User, wanted: Dict[str, float]) -> None:
        used = self._used(user)
        if user is self.oneadmin:
            return
        for account, limits in (("user", user.limits), ("group", self.group_limits)):
            for key, more in wanted.items():
                most = limits.get(key, -1)
                if most == -1:
                    most = self.default_limits.get(key, -2) if account == "user" else -2
                if most >= 0 and used.get(key, 0) + more > most + 1e-6:
                    thing = {
                        "LEASES": "NETWORK with ID: 0",
                        "RVMS": "IMAGE with ID: 7",
                        "IMAGES": "DATASTORE with ID: 1",
                        "SIZE": "DATASTORE with ID: 1",
                    }.get(key, "VM")
                    number = user.id if account == "user" else user.group
                    raise Refused(
                        AUTHORIZATION,
                        f"User [{user.id}] : {account} [{number}] limit of {most:g} reached for {key} quota in {thing}.",
                    )

    # --- pools that do not change -----------------------------------------------------------------------------

    def _one_hostpool_info(self, user: User) -> str:
        return f"<HOST_POOL>{''.join(self._host(number, name) for number, name in enumerate(self.hosts))}</HOST_POOL>"

    def _host(self, number: int, name: str) -> str:
        vms = [
            vm
            for vm in self.vms.values()
            if vm.host == name and vm.state not in ("DONE", "PENDING")
        ]
        cpu = sum(float(vm.template.findtext("CPU") or 0) for vm in vms) * 100
        memory = sum(int(vm.template.findtext("MEMORY") or 0) for vm in vms) * 1024
        return (
            f"<HOST><ID>{number}</ID><NAME>{name}</NAME><STATE>2</STATE><PREV_STATE>2</PREV_STATE><IM_MAD>kvm</IM_MAD>"
            f"<VM_MAD>kvm</VM_MAD><CLUSTER_ID>{self.host_clusters.get(name, 0)}</CLUSTER_ID><CLUSTER>default</CLUSTER><HOST_SHARE>"
            f"<MEM_USAGE>{memory}</MEM_USAGE><CPU_USAGE>{cpu:.0f}</CPU_USAGE><TOTAL_MEM>8388608</TOTAL_MEM>"
            f"<TOTAL_CPU>800</TOTAL_CPU><MAX_MEM>8388608</MAX_MEM><MAX_CPU>800</MAX_CPU>"
            f"<RUNNING_VMS>{len(vms)}</RUNNING_VMS><VMS_THREAD>1</VMS_THREAD><DATASTORES><DISK_USAGE>0</DISK_USAGE>"
            f"<FREE_DISK>0</FREE_DISK><MAX_DISK>0</MAX_DISK><USED_DISK>0</USED_DISK></DATASTORES><PCI_DEVICES/><NUMA_NODES/>"
            f"</HOST_SHARE><VMS>{''.join(f'<ID>{vm.id}</ID>' for vm in vms)}</VMS><TEMPLATE/><MONITORING/></HOST>"
        )

    def _one_datastorepool_info(self, user: User) -> str:
        return (
            "<DATASTORE_POOL>"
            + "".join(
                f"<DATASTORE><ID>{number}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>{name}</NAME>"
                f"{_permissions()}<DS_MAD>fs</DS_MAD><TM_MAD>ssh</TM_MAD><BASE_PATH>/var/lib/one/datastores/{number}</BASE_PATH>"
                f"<TYPE>{kind}</TYPE><DISK_TYPE>0</DISK_TYPE><STATE>{int(number in self.disabled_stores)}</STATE>{self._in_clusters('datastore', number)}<TOTAL_MB>{total}</TOTAL_MB>"
                f"<FREE_MB>{self.store_free.get(number, total - used)}</FREE_MB><USED_MB>{used}</USED_MB><IMAGES/>"
                f"{_vector('TEMPLATE', self.store_says.get(number, {}))}</DATASTORE>"
                for number, (name, kind, total, used) in self.datastores.items()
            )
            + "</DATASTORE_POOL>"
        )

    def _one_vnpool_info(self, user: User, whose: int, start: int, end: int) -> str:
        return _pool(
            "VNET_POOL",
            [
                f"<VNET><ID>{number}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>{name}</NAME>"
                f"{_permissions()}{self._in_clusters('network', number)}<BRIDGE>br0</BRIDGE><BRIDGE_TYPE>linux</BRIDGE_TYPE><STATE>1</STATE>"
                f"<PREV_STATE>1</PREV_STATE><PARENT_NETWORK_ID/><VN_MAD>bridge</VN_MAD><PHYDEV/><VLAN_ID/><OUTER_VLAN_ID/>"
                f"<VLAN_ID_AUTOMATIC>0</VLAN_ID_AUTOMATIC><OUTER_VLAN_ID_AUTOMATIC>0</OUTER_VLAN_ID_AUTOMATIC>"
                f"<USED_LEASES>{self._leased(number)}</USED_LEASES><VROUTERS/><UPDATED_VMS/><OUTDATED_VMS/><UPDATING_VMS/><ERROR_VMS/><TEMPLATE/>"
                f"<AR_POOL><AR><AR_ID>0</AR_ID><IP>10.0.0.2</IP><MAC>02:00:0a:00:00:02</MAC><SIZE>{self.leases.get(number, 254)}</SIZE>"
                f"<TYPE>IP4</TYPE></AR></AR_POOL></VNET>"
                for number, name in self.networks.items()
            ],
            start,
            end,
        )

    def _in_clusters(self, kind: str, number: int) -> str:
        return f"<CLUSTERS>{''.join(f'<ID>{one}</ID>' for one in self.clusters.get((kind, number), [0]))}</CLUSTERS>"

    def _leased(self, network: int) -> int:
        return sum(
            1
            for vm in self.vms.values()
            if vm.state != "DONE"
            for nic in vm.nics
            if nic["NETWORK_ID"] == str(network)
        )

    def _one_templatepool_info(self, user: User, whose: int, start: int, end: int) -> str:
        return _pool(
            "VMTEMPLATE_POOL",
            [
                f"<VMTEMPLATE><ID>{number}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>{name}</NAME>"
                f"{_permissions()}<REGTIME>1</REGTIME>{template}</VMTEMPLATE>"
                for number, (name, template) in self.templates.items()
            ],
            start,
            end,
        )

    # --- images -----------------------------------------------------------------------------------------------

    def _one_imagepool_info(self, user: User, whose: int, start: int, end: int) -> str:
        seen = [
            image
            for image in self.images.values()
            if image.owner is user or whose == -2 and image.owner is self.oneadmin
        ]
        return _pool("IMAGE_POOL", [self._image(image) for image in seen], start, end)

    def _one_image_info(self, user: User, number: int) -> str:
        return self._image(self._found_image(number))

    def _found_image(self, number: int) -> Stored:
        if number not in self.images:
            raise Refused(NO_EXISTS, f"Error getting image [{number}].")
        return self.images[number]

    def _one_image_allocate(self, user: User, text: str, store: int) -> int:
        wanted = ElementTree.fromstring(text)
        name, size = wanted.findtext("NAME"), int(wanted.findtext("SIZE"))
        if store not in self.datastores:
            raise Refused(NO_EXISTS, f"Error getting datastore [{store}].")
        if self.datastores[store][1] != 0:
            raise Refused(
                ALLOCATE,
                "Error allocating a new image. New images can only be allocated in a files or image datastore.",
            )
        total, used = self.datastores[store][2:]
        limit, free = (
            self.store_says.get(store, {}).get("LIMIT_MB"),
            self.store_free.get(store, total - used),
        )
        if "full" in self.faults or size > (int(limit) - used if limit else free):
            raise Refused(ACTION, "Not enough space in datastore")
        self._check_quota(user, {"IMAGES": 1, "SIZE": size})
        self._check_name(user, name)
        made = self._keep(user, name, 2, size, wanted.findtext("PERSISTENT") == "YES")
        self._later(
            1,
            lambda: self._settle(
                made,
                "datablock-error",
                "Error creating datablock: mkfs failed: No space left on device",
            ),
        )
        return made.id

    def _check_name(self, user: User, name: str) -> None:
        for image in self.images.values():
            if image.owner is user and image.name == name:
                raise Refused(
                    ALLOCATE,
                    f"Error allocating a new image. NAME is already taken by IMAGE {image.id}.",
                )

    def _keep(self, user: User, name: str, kind: int, size: int, persistent: bool) -> Stored:
        made = Stored(
            next(self._ids["image"]),
            user,
            name,
            kind,
            LOCKED_IMAGE,
            size,
            persistent,
            made=time.time(),
        )
        self.images[made.id] = made
        return made

    def _settle(self, image: Stored, fault: str, said: str) -> None:
        """An image that was being made is."""
        if image.state == LOCKED_IMAGE:
            image.state = ERROR if fault in self.faults else READY
            if image.state == ERROR:
                image.said["ERROR"] = DATED + said

    def _one_image_delete(self, user: User, number: int, force: bool = False) -> int:
        image = self._found_image(number)
        if image.owner is not user and user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION,
                f"User [{user.id}] : Not authorized to perform MANAGE IMAGE [{number}].",
            )
        if image.state == LOCKED_IMAGE and self.since(6, 6):
            raise Refused(
                INTERNAL,
                "Image locked, use --force flag to remove the image. Force delete may leave some files on Datastore",
            )
        if image.vms:
            raise Refused(ACTION, f"Cannot delete image. There are {len(image.vms)} VMs using it.")
        image.state = DELETING
        if force:
            image.said["FORCE_DELETE"] = "YES"
        self._later(1, lambda: self._removed(image))
        return number

    def _removed(self, image: Stored) -> None:
        if not self.faults & {"rm-failure", "no-file"} or "FORCE_DELETE" in image.said:
            self.images.pop(image.id, None)
            return
        image.state = ERROR
        image.said["ERROR"] = (
            DATED
            + "Error removing image from datastore. Retry the operation or manually remove image source"
        )

    def _image(self, image: Stored) -> str:
        return (
            f"<IMAGE><ID>{image.id}</ID>{_owned(image.owner)}<NAME>{escape(image.name)}</NAME>{_permissions()}"
            f"<TYPE>{image.type}</TYPE><DISK_TYPE>0</DISK_TYPE><PERSISTENT>{image.persistent:d}</PERSISTENT>"
            f"<REGTIME>{image.made:.0f}</REGTIME>{f'<MODTIME>{image.made:.0f}</MODTIME>' if self.since(7) else ''}<SOURCE>/var/lib/one/datastores/1/{image.id}</SOURCE><PATH/>"
            f"<FORMAT>raw</FORMAT><FS/><SIZE>{image.size}</SIZE><STATE>{image.state}</STATE><PREV_STATE>{image.state}</PREV_STATE>"
            f"<RUNNING_VMS>{len(image.vms)}</RUNNING_VMS><CLONING_OPS>0</CLONING_OPS><CLONING_ID>-1</CLONING_ID>"
            f"<TARGET_SNAPSHOT>-1</TARGET_SNAPSHOT><DATASTORE_ID>1</DATASTORE_ID><DATASTORE>default</DATASTORE>"
            f"<VMS>{''.join(f'<ID>{vm}</ID>' for vm in image.vms)}</VMS><CLONES/><APP_CLONES/>"
            f"{_vector('TEMPLATE', {'DEV_PREFIX': 'vd', **image.said})}<SNAPSHOTS><ALLOW_ORPHANS>NO</ALLOW_ORPHANS>"
            f"<CURRENT_BASE>-1</CURRENT_BASE><NEXT_SNAPSHOT>0</NEXT_SNAPSHOT></SNAPSHOTS>{'<BACKUP_INCREMENTS/>' if self.since(6, 6) else ''}"
            f"{'<BACKUP_DISK_IDS/>' if self.since(6, 10) else ''}</IMAGE>"
        )

    # --- VMs --------------------------------------------------------------------------------------------------

    def _one_vm_allocate(self, user: User, text: str, hold: bool = False) -> int:
        return self._start(
            user,
            ElementTree.fromstring(text) if text.startswith("<") else _parsed(text),
            refusal=INTERNAL,
        )

    def _one_template_instantiate(
        self, user: User, number: int, name: str, hold: bool, text: str
    ) -> int:
        if number not in self.templates:
            raise Refused(NO_EXISTS, f"Error getting virtual machine template [{number}].")
        template, more = (
            ElementTree.fromstring(self.templates[number][1]),
            ElementTree.fromstring(text),
        )
        for tag in {child.tag for child in more}:
            for child in template.findall(tag):
                template.remove(child)
        template.extend(more)
        return self._start(user, template, name)

    def _start(
        self, user: User, template: ElementTree.Element, name: str = "", refusal: int = ALLOCATE
    ) -> int:
        """``refusal``: the code of what is not to be had; INTERNAL by itself (RequestManagerAllocate.cc), ALLOCATE by a template."""
        preamble = "" if refusal == INTERNAL else "Error allocating a new virtual machine. "
        self._check_quota(user, self._wanted(template))
        if (
            "no-lease" in self.faults
            or template.find("NIC") is not None
            and self._leased(0) >= self.leases.get(0, 254)
        ):
            raise Refused(refusal, f"{preamble}Cannot get IP/MAC lease from virtual network 0.")
        if "clusters" in self.faults:
            raise Refused(
                refusal, f"{preamble}Missing clusters. Network for NIC 0 is not in any cluster"
            )
        number = next(self._ids["vm"])
        vm = Vm(
            number,
            self.oneadmin if "not-owner" in self.faults else user,
            name or template.findtext("NAME"),
            template,
            made=time.time(),
        )
        for disk in template.findall("DISK"):
            if disk.find("SOURCE") is not None or disk.findtext("TYPE") == "swap":
                vm.disks.append(
                    {"DISK_ID": str(len(vm.disks)), **{child.tag: child.text for child in disk}}
                )
                continue
            image = self._image_of(user, disk)
            image.vms.append(number)
            image.state = USED_PERS if image.persistent else USED
            vm.disks.append(
                {
                    "DISK_ID": str(len(vm.disks)),
                    "IMAGE": image.name,
                    "IMAGE_ID": str(image.id),
                    "TYPE": "FILE",
                }
            )
        for nic in template.findall("NIC"):
            network = self._network_of(nic)
            lease = (
                {}
                if self.faults & {"no-address", "guest-address"}
                else {"IP": f"10.0.0.{number % 250}"}
            )
            vm.nics.append(
                {
                    **lease,
                    "MAC": "02:00:0a:00:00:01",
                    "NETWORK": self.networks[network],
                    "NETWORK_ID": str(network),
                    "NIC_ID": str(len(vm.nics)),
                }
            )
        vm.said = {
            child.tag: child.text or ""
            for child in template
            if child.tag in ("VMPROBE", "SCHED_REQUIREMENTS")
        }
        self.vms[number] = vm
        self._later(1, lambda: self._placed(vm))
        return number

    def _image_of(self, user: User, disk: ElementTree.Element) -> Stored:
        number = disk.findtext("IMAGE_ID")
        if number is None:
            number = next(
                (i.id for i in self.images.values() if i.name == disk.findtext("IMAGE")), -1
            )
        if int(number) not in self.images:
            raise Refused(
                ALLOCATE,
                "Error allocating a new virtual machine. User 2 does not own an image with name: "
                f"{disk.findtext('IMAGE')} . Set IMAGE_UNAME or IMAGE_UID of owner in DISK.",
            )
        return self.images[int(number)]

    def _network_of(self, nic: ElementTree.Element) -> int:
        number = nic.findtext("NETWORK_ID")
        return (
            int(number)
            if number is not None
            else next(n for n, name in self.networks.items() if name == nic.findtext("NETWORK"))
        )

    def _placed(self, vm: Vm) -> None:
        if vm.state != "PENDING":
            return
        if self.faults & {"no-room", "system-full"} or vm.said.get("SCHED_REQUIREMENTS"):
            wanted = vm.said.get("SCHED_REQUIREMENTS")
            if not self.since(4):  # that stands in its log alone
                return
            vm.said["SCHED_MESSAGE"] = (
                DATED
                + "Cannot dispatch VM: "
                + (
                    f"No host meets capacity and SCHED_REQUIREMENTS: {wanted}"
                    if wanted
                    else "No system datastore with enough capacity for the VM"
                    if "system-full" in self.faults
                    else "No host with enough capacity to deploy the VM"
                )
            )
            return
        vm.host = self.hosts[vm.id % len(self.hosts)]
        ends = {
            "boot-failure": ["BOOT", "BOOT_FAILURE"],
            "prolog-failure": ["PROLOG_FAILURE"],
            "never-running": ["BOOT"],
            "dies": ["BOOT", "POWEROFF"],
        }
        if not self.since(
            4
        ):  # whatever fails ends in FAILED, and a guest that is off is one that is not found
            ends.update(
                {
                    "boot-failure": ["BOOT", "FAILED"],
                    "prolog-failure": ["FAILED"],
                    "dies": ["BOOT", "UNKNOWN"],
                }
            )
        if "slow-prolog" in self.faults:
            return self._walk(vm, ["LCM_INIT", "PROLOG"])
        way = next((ends[fault] for fault in self.faults if fault in ends), ["BOOT", "RUNNING"])
        self._walk(vm, ["LCM_INIT", "PROLOG", *way])

    def _walk(self, vm: Vm, way: List[str], then: Callable[[], None] = lambda: None) -> None:
        """Through these states, each for a step; ended by whatever else happens to the VM."""
        vm.state, rest = way[0], way[1:]
        if vm.state == "RUNNING":
            vm.runs = vm.runs or time.time()
        said = {
            "BOOT_FAILURE": self._on_host(
                "DEPLOY", "Could not create domain from /var/lib/one//datastores/0/40/deployment.0"
            ),
            "PROLOG_FAILURE": "Error executing image transfer script: Error copying node1:/var/lib/one/datastores/1/7",
            "EPILOG_FAILURE": "Error executing image transfer script: Error deleting /var/lib/one/datastores/0/40",
        }
        said["FAILED"] = said[
            "PROLOG_FAILURE" if "prolog-failure" in self.faults else "BOOT_FAILURE"
        ]
        if vm.state in said:
            self._failed(vm, said[vm.state])
        here = vm.state
        if rest:
            self._later(1, lambda: self._walk(vm, rest, then) if vm.state == here else None)
        else:
            then()

    def _on_host(self, action: str, words: str) -> str:
        """What oned says of an action that failed on a host: since 6.0 its own word for it, and the number that it ended with."""
        old = {
            "DEPLOY": "Error deploying virtual machine",
            "ATTACHDISK": "Error attaching new VM Disk",
            "DETACHDISK": "Error detaching VM Disk",
            "CANCEL": "Error canceling VM",
        }
        return f"{action}: {words}ExitCode: 1" if self.since(6) else f"{old[action]}: {words}"

    def _failed(self, vm: Vm, words: str) -> None:
        """The date has a space after it up to 5.12, and images' always."""
        vm.said["ERROR"] = (DATED.replace(" : ", ": ") if self.since(6) else DATED) + words

    def _one_vm_info(self, user: User, number: int) -> str:
        return self._whole(self._found_vm(user, number, "USE"))

    def _found_vm(self, user: User, number: int, right: str) -> Vm:
        if number not in self.vms:
            raise Refused(NO_EXISTS, f"Error getting virtual machine [{number}].")
        if self.vms[number].owner is not user and user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION,
                f"User [{user.id}] : Not authorized to perform {right} VM [{number}].",
            )
        return self.vms[number]

    def _one_vmpool_info(self, user: User, whose: int, start: int, end: int, state: int) -> str:
        seen = [
            vm
            for vm in self.vms.values()
            if (vm.owner is user or user is self.oneadmin and whose == -2)
            and (state == -2 or vm.state != "DONE")
        ]
        short = self.since(5, 8)
        return _pool(
            "VM_POOL", [self._short(vm) if short else self._whole(vm) for vm in seen], start, end
        )

    def _one_vm_action(self, user: User, action: str, number: int) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if action not in (
            ("finalize", "shutdown") if not self.since(4) else ("terminate-hard", "terminate")
        ):
            raise Refused(ACTION, f'Action "{action}" is not supported')
        if "delete-ignored" in self.faults:
            return number
        if vm.state in ("PENDING", "HOLD", "CLONING_FAILURE", "FAILED"):
            self._free(vm)
        elif action == "finalize" and vm.state not in ("EPILOG", "DONE"):
            self._walk(vm, ["EPILOG", "DONE"], lambda: self._free(vm))
        elif vm.state == "RUNNING" and "cancel-failure" in self.faults:
            self._walk(
                vm,
                ["SHUTDOWN", "RUNNING"],
                lambda: self._failed(vm, self._on_host("CANCEL", "Could not destroy one-40")),
            )
        elif vm.state in ("RUNNING", "UNKNOWN", "SHUTDOWN", "POWEROFF"):
            if "epilog-failure" in self.faults:
                self._walk(vm, ["SHUTDOWN", "EPILOG", "EPILOG_FAILURE"])
            else:
                self._walk(vm, ["SHUTDOWN", "EPILOG", "DONE"], lambda: self._free(vm))
        elif vm.state.endswith("_FAILURE") and self.since(5, 4):
            self._walk(vm, ["CLEANUP_DELETE", "DONE"], lambda: self._free(vm))
        elif vm.state != "DONE":
            raise Refused(
                ACTION,
                f'Error performing action "{action}": Could not terminate VM {number}, wrong state {vm.state}.',
            )
        return number

    def _one_vm_recover(self, user: User, number: int, operation: int) -> int:
        if user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION, f"User [{user.id}] : Not authorized to perform ADMIN VM [{number}]."
            )
        vm = self._found_vm(user, number, "ADMIN")
        self._walk(vm, ["CLEANUP_DELETE", "DONE"], lambda: self._free(vm))
        return number

    def _free(self, vm: Vm) -> None:
        vm.state = "DONE"
        for disk in vm.disks:
            self._release(vm, disk)

    def _release(self, vm: Vm, disk: Dict[str, str]) -> None:
        image = self.images.get(int(disk.get("IMAGE_ID", -1)))
        if image and vm.id in image.vms:
            image.vms.remove(vm.id)
            image.state = image.state if image.vms else READY

    def _one_vm_attach(self, user: User, number: int, text: str) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if vm.state != "RUNNING":
            raise Refused(
                ACTION, f"Could not attach a new disk to VM {number}, wrong state {vm.state}."
            )
        wanted = int(ElementTree.fromstring(text).findtext("DISK/IMAGE_ID"))
        if wanted not in self.images:
            raise Refused(ACTION, f"Image with ID: {wanted} does not exist")
        image = self.images[wanted]
        if image.state == LOCKED_IMAGE:
            raise Refused(ACTION, f"Cannot acquire image {image.id}, it is locked")
        if image.state == USED_PERS:
            raise Refused(
                ACTION, f"Cannot acquire image {image.id}, it is persistent and already in use"
            )
        if self.store_says[1].get("LN_TARGET") == "SYSTEM":
            self._check_quota(user, {"SYSTEM_DISK_SIZE": image.size})
        image.vms.append(number)
        image.state = USED_PERS if image.persistent else USED
        disk = {
            "ATTACH": "YES",
            "DISK_ID": str(len(vm.disks) + 1),
            "IMAGE": image.name,
            "IMAGE_ID": str(image.id),
            "TYPE": "FILE",
        }
        vm.disks.append(disk)  # the number before is the context's

        def attached() -> None:
            disk.pop("ATTACH")
            if "attach-failure" in self.faults:
                vm.disks.remove(disk)
                self._release(vm, disk)
                self._failed(vm, self._on_host("ATTACHDISK", "Could not attach vdb: target busy"))

        self._walk(
            vm,
            ["HOTPLUG"] if "attach-hangs" in self.faults else ["HOTPLUG", "RUNNING"],
            (lambda: None) if "attach-hangs" in self.faults else attached,
        )
        return number

    def _one_vm_detach(self, user: User, number: int, disk_id: int) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if vm.state not in ("RUNNING", "POWEROFF"):
            raise Refused(
                ACTION, f"Could not detach disk from VM {number}, wrong state {vm.state}."
            )
        disk = next((disk for disk in vm.disks if disk["DISK_ID"] == str(disk_id)), None)
        if disk is None:
            raise Refused(
                ACTION, f"Could not detach disk with DISK_ID {disk_id}, it does not exist."
            )
        disk["ATTACH"] = "YES"

        def detached() -> None:
            if "detach-failure" in self.faults:
                disk.pop("ATTACH")
                return self._failed(vm, self._on_host("DETACHDISK", "Could not detach vdb"))
            vm.disks.remove(disk)
            self._release(vm, disk)

        self._walk(vm, ["HOTPLUG", "RUNNING"], detached)
        return number

    def _one_vm_disksaveas(
        self, user: User, number: int, disk_id: int, name: str, kind: str, snapshot: int
    ) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if vm.state not in ("RUNNING", "POWEROFF"):
            raise Refused(INTERNAL, "VM has to be RUNNING, POWEROFF or SUSPENDED to save disks.")
        if not any(disk["DISK_ID"] == str(disk_id) for disk in vm.disks):
            raise Refused(INTERNAL, "Cannot use DISK. Disk not found")
        self._check_name(user, name)
        made = self._keep(user, name, 0, 16, False)
        made.said.update(SAVED_DISK_ID=str(disk_id), SAVED_IMAGE_ID="7", SAVED_VM_ID=str(number))

        def saved() -> None:  # of a failure the image says nothing, and the VM why
            made.state = ERROR if "saveas-error" in self.faults else READY
            if made.state == ERROR:
                self._failed(
                    vm,
                    "Error executing image transfer script: Error dumping /var/lib/one/datastores/0/40/disk.0",
                )

        self._walk(vm, ["HOTPLUG_SAVEAS", "RUNNING"], saved)
        return made.id

    def _one_vm_monitoring(self, user: User, number: int) -> str:
        if not self.since(3, 6):
            raise Fault(-506, "Method 'one.vm.monitoring' not defined")
        vm = self._found_vm(user, number, "USE")
        reading = self._reading(vm)
        if not reading:
            return "<MONITORING_DATA/>"
        return f"<MONITORING_DATA>{_vector('MONITORING', reading) if self.since(5, 12) else self._whole(vm)}</MONITORING_DATA>"

    def _reading(self, vm: Vm) -> Dict[str, str]:
        """The last of the readings that monitord takes, ten steps apart, from a step after the VM began to run."""
        age = time.time() - vm.runs
        if not vm.runs or age < self.step or "no-metrics" in self.faults:
            return {}
        taken = int(age / (10 * self.step)) + 1
        said = {
            "CPU": "50.0",
            "DISKRDBYTES": str(1000 * taken),
            "DISKRDIOPS": "10",
            "DISKWRBYTES": str(2000 * taken),
            "DISKWRIOPS": "20",
            **({"ID": str(vm.id)} if self.since(5, 12) else {}),
            "MEMORY": "65536",
            "NETRX": str(300 * taken),
            "NETTX": str(400 * taken),
        }
        if "guest-address" in self.faults:
            said["GUEST_IP"] = f"192.168.1.{vm.id}"
        if self.since(5, 12):
            said["TIMESTAMP"] = str(int(vm.runs) + taken)
        return said

    def _short(self, vm: Vm) -> str:
        state, lcm = STATES[vm.state]
        reading = self._reading(vm)
        monitored = _vector(
            "MONITORING",
            {**{key: reading[key] for key in ("CPU", "MEMORY")}, "STATE": "a"} if reading else {},
        )
        keys = ("ERROR", "SCHED_MESSAGE", "SCHED_REQUIREMENTS")
        said = {key: vm.said[key] for key in keys if key in vm.said}
        rows = "".join(
            f"<{key}>{vm.template.findtext(key) or ''}</{key}>"
            for key in (("CPU", "MEMORY", "VCPU") if self.since(6, 8) else ("CPU", "MEMORY"))
        )
        disks = "".join(
            _vector("DISK", {key: value for key, value in disk.items() if key != "ATTACH"})
            for disk in vm.disks
        )
        host = (
            (
                f"<HISTORY><OID>{vm.id}</OID><SEQ>{vm.seq}</SEQ><HOSTNAME>{vm.host}</HOSTNAME><HID>0</HID><CID>0</CID><DS_ID>0</DS_ID>"
                f"<VM_MAD>kvm</VM_MAD><TM_MAD>ssh</TM_MAD><ACTION>0</ACTION></HISTORY>"
            )
            if vm.host
            else ""
        )
        return (
            f"<VM><ID>{vm.id}</ID>{_owned(vm.owner)}<NAME>{escape(vm.name)}</NAME><LAST_POLL>{self._polled(vm)}</LAST_POLL>"
            f"<STATE>{state}</STATE><LCM_STATE>{lcm}</LCM_STATE><RESCHED>0</RESCHED><STIME>{vm.made:.0f}</STIME><ETIME>0</ETIME>"
            f"<DEPLOY_ID/><TEMPLATE>{rows}{disks}{''.join(_vector('NIC', nic) for nic in vm.nics)}</TEMPLATE>{monitored}"
            f"{_vector('USER_TEMPLATE', said)}<HISTORY_RECORDS>{host}</HISTORY_RECORDS></VM>"
        )

    def _whole(self, vm: Vm) -> str:
        state, lcm = STATES[vm.state]
        template = "".join(
            f"<{key}>{vm.template.findtext(key)}</{key}>"
            for key in ("CPU", "MEMORY", "VCPU")
            if vm.template.findtext(key)
        )
        disks, nics = (
            "".join(_vector(tag, one) for one in those)
            for tag, those in (("DISK", vm.disks), ("NIC", vm.nics))
        )
        context = vm.template.find("CONTEXT")
        shown = "" if context is None else ElementTree.tostring(context, encoding="unicode")
        history = "".join(
            f"<{key}>{int(vm.stamps[key]) if key in vm.stamps else value}</{key}>"
            for key, value in (
                ("OID", vm.id),
                ("SEQ", vm.seq),
                ("HOSTNAME", vm.host),
                ("HID", 0),
                ("CID", 0),
                ("STIME", int(vm.made)),
                ("ETIME", 0),
                ("VM_MAD", "kvm"),
                ("TM_MAD", "ssh"),
                ("DS_ID", 0),
                ("PSTIME", int(vm.made)),
                ("PETIME", int(vm.made)),
                ("RSTIME", int(vm.made)),
                ("RETIME", 0),
                ("ESTIME", 0),
                ("EETIME", 0),
                ("ACTION", 0),
                ("UID", -1),
                ("GID", -1),
                ("REQUEST_ID", -1),
            )
        )
        reading = self._reading(vm)
        if not self.since(4):  # figures of the VM itself
            old = {"MEMORY": "MEMORY", "CPU": "CPU", "NET_TX": "NETTX", "NET_RX": "NETRX"}
            error = f"<ERROR>{escape(vm.said['ERROR'])}</ERROR>" if "ERROR" in vm.said else ""
            shown, figures = (
                error,
                "".join(f"<{key}>{reading.get(name, 0)}</{key}>" for key, name in old.items()),
            )
        else:
            figures = _vector("MONITORING", reading)
        return (
            f"<VM><ID>{vm.id}</ID>{_owned(vm.owner)}<NAME>{escape(vm.name)}</NAME>{_permissions()}"
            f"<LAST_POLL>{self._polled(vm)}</LAST_POLL><STATE>{state}</STATE><LCM_STATE>{lcm}</LCM_STATE>"
            f"<PREV_STATE>{state}</PREV_STATE><PREV_LCM_STATE>{lcm}</PREV_LCM_STATE><RESCHED>0</RESCHED>"
            f"<STIME>{vm.made:.0f}</STIME><ETIME>0</ETIME><DEPLOY_ID/>{figures}"
            f"{'<SCHED_ACTIONS/>' if self.since(6, 8) else ''}<TEMPLATE>{shown}{template}{disks}{nics}<TM_MAD_SYSTEM>ssh</TM_MAD_SYSTEM>"
            f"<VMID>{vm.id}</VMID></TEMPLATE>{_vector('USER_TEMPLATE', vm.said)}"
            f"<HISTORY_RECORDS>{f'<HISTORY>{history}</HISTORY>' if vm.host else ''}</HISTORY_RECORDS>"
            f"{'<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS/></BACKUPS>' if self.since(6, 6) else ''}</VM>"
        )

    def _polled(self, vm: Vm) -> int:
        reading = self._reading(vm)
        return int(vm.runs) + int(reading["DISKRDBYTES"]) // 1000 if reading else 0

    # --- time -------------------------------------------------------------------------------------------------

    def _later(self, steps: float, act: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + steps * self.step, next(self._order), act))

    def _go_on(self) -> None:
        """What has become due since the last request happens now."""
        while self._due and min(self._due)[0] <= time.monotonic():
            due = min(self._due)
            self._due.remove(due)
            due[2]()

    def context(self, number: int) -> str:
        """``context.sh`` of the CD-ROM that a VM gets (generate_context of VirtualMachineContext.cc), without its network's part."""
        said = sorted(
            (child.tag, child.text or "") for child in self.vms[number].template.find("CONTEXT")
        )
        quoted = [(name, value.replace("'", "'\\''")) for name, value in said]
        return "# Context variables generated by OpenNebula\n" + "".join(
            f"{name}='{value}'\n" for name, value in quoted
        )

    def left(self) -> List[str]:
        """What there is of the probe's: VMs that are not DONE, and images."""
        with self.lock:
            self._go_on()
            return [
                f"VM {vm.id} {vm.name} {vm.state}" for vm in self.vms.values() if vm.state != "DONE"
            ] + [
                f"image {image.id} {image.name}"
                for image in self.images.values()
                if image.owner is not self.oneadmin
            ]


def _old_name(procedure: str) -> str:
    """What a refusal calls a procedure before 5.4: the name of its class."""
    noun, verb = procedure.split(".")[1:]
    nouns = {
        "vm": "VirtualMachine",
        "vmpool": "VirtualMachinePool",
        "imagepool": "ImagePool",
        "vnpool": "VirtualNetworkPool",
    }
    return f"{nouns.get(noun) or noun.title()}{verb.title()}"


def _parsed(text: str) -> ElementTree.Element:
    """A template in OpenNebula's own syntax, as XML."""
    root = ElementTree.Element("TEMPLATE")
    for key, vector, value in re.findall(r'(?m)^(\w+) = (?:\[ (.*) \]|"((?:[^"\\]|\\.)*)")$', text):
        child = ElementTree.SubElement(root, key.upper())
        child.text = re.sub(r"\\(.)", r"\1", value)
        for name, inner in re.findall(r'(\w+) = "((?:[^"\\]|\\.)*)"', vector):
            ElementTree.SubElement(child, name.upper()).text = re.sub(r"\\(.)", r"\1", inner)
    return root


# --- XML ----------------------------------------------------------------------------------------------------------


def _permissions() -> str:
    return (
        "<PERMISSIONS>"
        + "".join(
            f"<{who}_{right}>{who == 'OWNER' and right != 'A':d}</{who}_{right}>"
            for who in ("OWNER", "GROUP", "OTHER")
            for right in "UMA"
        )
        + "</PERMISSIONS>"
    )


def _owned(user: User) -> str:
    return f"<UID>{user.id}</UID><GID>100</GID><UNAME>{user.name}</UNAME><GNAME>users</GNAME>"


def _vector(tag: str, said: Dict[str, str]) -> str:
    return (
        f"<{tag}>{''.join(f'<{key}>{escape(value)}</{key}>' for key, value in said.items())}</{tag}>"
        if said
        else f"<{tag}/>"
    )


def _pool(tag: str, things: List[str], start: int, end: int) -> str:
    """All of them; from ``end`` below -1 on, ``-end`` of them from number ``start`` on."""
    if end < -1:
        things = things[start : start - end]
    return f"<{tag}>{''.join(things)}</{tag}>"


# --- the wire -----------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        self._call(self.rfile.read(int(self.headers["Content-Length"])))

    def _call(self, body: bytes) -> None:
        """Answer a procedure's call, or fail it in the way that is set for it."""
        oned = self.server.oned
        if not body:  # who asked has gone
            self.close_connection = True
            return
        words, procedure = loads(body)
        fault = oned.plot.pop(len(oned.calls) + 1, "") or oned.plot.pop(procedure, "")
        if fault == "goes-away":
            oned.faults.add("away")
        if "away" in oned.faults:
            fault = "reset"
        if fault == "silent":
            oned.speaks.wait(60)
            fault = "reset"
        if fault == "killed-before":
            oned.killer()
        if fault == "reset":
            oned.calls.append("reset")
            self.close_connection = True
            return
        if fault == "503":
            oned.calls.append("503")
            return self._answer(
                503, b"<html><title>Service Unavailable</title></html>", "text/html"
            )
        try:
            said = dumps((oned.call(procedure, words),), methodresponse=True)
        except Fault as failed:
            said = dumps(failed, methodresponse=True)
        if fault == "killed-after":
            oned.killer()
        if fault == "reply-lost":
            self.close_connection = True
            return
        self._answer(200, b"<methodResponse><params>" if fault == "malformed" else said.encode())

    def do_GET(self) -> None:
        self._answer(405, b"<HTML><HEAD><TITLE>Error 405</TITLE></HEAD></HTML>", "text/html")

    def _answer(self, status: int, body: bytes, kind: str = "text/xml") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Says nothing on the console of the tests."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = daemon_threads = True
    oned: Oned


@contextmanager
def served(oned: Optional[Oned] = None, handler: Any = Handler, tls: Any = None):
    """(oned, its URL), on loopback for the length of a ``with`` block."""
    with _Server(("127.0.0.1", 0), handler) as server:
        server.oned = oned or Oned()
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield (
                server.oned,
                f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/RPC2",
            )
        finally:
            server.shutdown()
            thread.join()
