"""The simulated oned: what its clients see over XML-RPC, with states that change by themselves.

Written from OpenNebula's source: the order of elements from ``to_xml`` of each object, positions of
parameters and messages from ``src/rm``, sequences of states from ``src/dm`` and ``src/lcm``.
``version`` decides the form: up to 5.6 a pool has the whole of each VM, up to 5.10 a reading is the
VM as it was, from 5.12 (monitord) on it is an element of its own.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Set, Tuple
from xmlrpc.client import Fault

from simulators.opennebula_accounts import Accounts
from simulators.opennebula_actions import VmActions
from simulators.opennebula_documents import VmDocuments
from simulators.opennebula_images import Images
from simulators.opennebula_pools import Pools
from simulators.opennebula_records import (
    AUTHENTICATION,
    AUTHORIZATION,
    INTERNAL,
    NO_EXISTS,
    Refused,
    Stored,
    User,
    Vm,
    old_name,
)
from simulators.opennebula_vms import Vms


class Oned(Accounts, Pools, Images, Vms, VmActions, VmDocuments):
    """The state of oned.

    ``step``: seconds that each state lasts. ``plot``: what goes wrong once, by the number of the request or its procedure.
    """

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
        self.speaks = threading.Event()  # ends the waiting of requests with the fault "silent"
        # ``judge`` gets every XML document that is answered.
        self.judge: Callable[[str, str], None] = lambda procedure, answer: None
        self.authenticate: Callable[[str], Optional[User]] = self._by_password
        self.rejected: List[str] = []  # the judge's objections
        self.calls: List[str] = []
        self.hosts = ["node1", "node2"]
        self.host_clusters: Dict[str, int] = {}  # by host; 0 otherwise
        # The clusters of ("datastore", 1), ("network", 0), ...; others are in cluster 0.
        self.clusters: Dict[Tuple[str, int], List[int]] = {}
        self.group_limits: Dict[str, float] = {"VMS": 50, "CPU": -2}
        self.default_limits: Dict[str, float] = {}  # of all users
        self.networks = {0: "private"}
        self.leases = {0: 254}  # by network; 254 otherwise
        self.store_says: Dict[int, Dict[str, str]] = {
            0: {"SHARED": "YES", "TYPE": "SYSTEM_DS"},
            1: {"CLONE_TARGET": "SYSTEM", "LN_TARGET": "NONE", "TYPE": "IMAGE_DS"},
        }
        self.disabled_stores: Set[int] = set()
        self.store_free: Dict[int, int] = {}  # FREE_MB, where it is not total - used
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
        """Whether this oned has at least this version."""
        return tuple(int(part) for part in self.version.split(".")) >= version

    def call(self, procedure: str, words: tuple) -> list:
        """oned's answer: [True, result, 0], or [False, message, code, id of what is missing, replication index]."""
        with self.lock:
            self._go_on()
            self.calls.append(procedure)
            verb = getattr(self, "_" + procedure.replace(".", "_"), None)
            if verb is None:
                raise Fault(-506, f"Method '{procedure}' not defined")
            prefix = f"[{procedure}]" if self.since(5, 4) else f"[{old_name(procedure)}]"
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
                return [False, f"{prefix} {text}", code, int(about[1]) if about else -1, -1]
            if isinstance(result, str) and result.startswith("<"):
                try:
                    self.judge(procedure, result)
                except Exception as wrong:  # pyone's parser may raise anything: the test reports it
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

    def _later(self, steps: float, act: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + steps * self.step, next(self._order), act))

    def _go_on(self) -> None:
        """Do everything that has become due since the last request."""
        while self._due and min(self._due)[0] <= time.monotonic():
            due = min(self._due)
            self._due.remove(due)
            due[2]()

    def context(self, number: int) -> str:
        """``context.sh`` of the VM's CD-ROM (generate_context of VirtualMachineContext.cc), without network."""
        said = sorted(
            (child.tag, child.text or "") for child in self.vms[number].template.find("CONTEXT")
        )
        quoted = [(name, value.replace("'", "'\\''")) for name, value in said]
        return "# Context variables generated by OpenNebula\n" + "".join(
            f"{name}='{value}'\n" for name, value in quoted
        )

    def left(self) -> List[str]:
        """What the check has left: VMs that are not DONE, and images."""
        with self.lock:
            self._go_on()
            return [
                f"VM {vm.id} {vm.name} {vm.state}" for vm in self.vms.values() if vm.state != "DONE"
            ] + [
                f"image {image.id} {image.name}"
                for image in self.images.values()
                if image.owner is not self.oneadmin
            ]
