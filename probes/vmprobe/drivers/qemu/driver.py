"""A local QEMU, through its monitor: no daemon and no root are needed, and nothing is remembered
but what exists.

What the suite's nouns are here, below ``directory``:
    server      ``server/<name>/``, and the QEMU that runs in it under this name; it outlives
                whoever started it
    volume      ``volume/<name>``, a sparse file; attached while a QEMU of the same run has it open
    image       a kernel and an initrd in a directory, or a disk, whose changes are thrown away
    flavor      memory, and ``vcpus``
    network     ``user`` (QEMU's own, without root), ``tap:NAME`` (an existing tap), ``none``

Whenever the driver is killed, the server can be found and removed: its directory is made first,
QEMU starts in it, the command line carries the name, and what QEMU writes lies in the directory. So
a QEMU that runs is in the process table, and QEMU cannot start in a directory that is removed:
removal takes the directory first, then the process. Where the whole process table cannot be seen,
nothing is started, and nothing counts as gone. Source: QEMU QMP Reference Manual.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import (
    TYPE_CHECKING,
    Any,
    ContextManager,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    cast,
)

from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    Unreachable,
)
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
    VolumeSpec,
)
from vmprobe.core.text import cut
from vmprobe.core.values import duration, size, whole, yes_or_no
from vmprobe.drivers.qemu import files, processes
from vmprobe.drivers.qemu.command import check_tap, command_line, has_pcie, network
from vmprobe.drivers.qemu.images import OWN_IMAGE, blocks, files_of
from vmprobe.drivers.qemu.monitor import Ask, conversation, guest_disks, open_nodes
from vmprobe.drivers.qemu.processes import Process
from vmprobe.drivers.qemu.readings import Directory, id_of
from vmprobe.host import checksums, paths, programs

if TYPE_CHECKING:
    from vmprobe.drivers.qemu.plan import QemuTestVM

_WRITTEN = 2.0**19  # bytes that a test VM writes, at most


class Note(Protocol):
    """Adds to the record of a request what was received and sent."""

    def __call__(self, received: Any, sent: Any = "") -> None: ...


class Qemu(Driver):
    """The verbs, over directories, processes and QEMU's monitor.

    Above 250 lines: all verbs of the contract, each of a few lines.
    """

    system = "QEMU"
    proved_against = "QEMU itself, started by the tests"
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
    # A run that has ended cannot start anything later, so what is not there will not appear.
    consistency_window = 0.0
    metrics_offered = METRICS + EXTRA_METRICS
    endpoint_keys = {
        "binary": Key(default="qemu-system-x86_64"),
        "accel": Key(default="tcg"),
        "machine": Key(default="pc"),
        "sandbox": Key(yes_or_no, True),
        "directory": Key(files.absolute),
        "timeout": Key(duration, 10.0),
    }
    test_vm_keys = {
        "flavor": Key(size, 128 * 2**20),
        "vcpus": Key(whole(1), 1),
        "network": Key(network, "user"),
    }

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        directory = self.endpoint["directory"] or files.default_directory(paths.state_directory())
        self._directory = Directory(os.path.realpath(directory), self._monitor)
        self._help = ""  # the output of QEMU's -help, once connected
        self._sent: List[str] = []
        self._received: List[str] = []

    @property
    def identity(self) -> str:
        return f"qemu {self._directory.base}"

    def connect(self) -> None:
        """Check that QEMU and the library for its monitor can be used.

        ClientError if not: this host lacks them.
        """
        try:
            import qemu.qmp  # noqa: F401
        except ImportError:
            raise ClientError(
                "the driver qemu needs Python's qemu.qmp: pip install 'vmprobe[qemu]'"
            ) from None
        files.check_directory(self._directory.base, [kind.value for kind in self.kinds])
        processes.check_visible()
        binary = self.endpoint["binary"]
        with self._verb(f"{binary} -help", needs_session=False) as note:
            try:
                done = programs.run([binary, "-help"], self._limit(), self.deadline)
            except OSError as failed:
                raise ClientError(f"{binary} cannot be run: {failed.strerror}") from None
            except programs.TooSlow:
                raise Unreachable(f"{binary} -help does not answer") from None
            note(done.text.partition("\n")[0])
        if "QEMU" not in done.text:
            raise ClientError(
                f"{binary} is no QEMU: {cut(done.text.strip(), 100) or f'exit code {done.code}'}"
            )
        self._help = done.text

    def resolve(self, section: TestVM) -> Plan:
        test_vm = cast("QemuTestVM", section)
        with self._verb(f"resolve image {test_vm['image']}") as note:
            image = files_of(test_vm["image"])
            check_tap(test_vm["network"])
            note(image)
        memory = test_vm["flavor"]
        return Plan(
            test_vm["image"],
            f"{memory / 2**20:g} MiB",
            test_vm["network"],
            image,
            vcpus=test_vm["vcpus"],
            memory=memory,
        )

    def create(self, spec: Spec) -> Ref:
        ref = Ref(spec.kind, id_of(spec.kind, spec.name), spec.name)
        what = f"{spec.kind.value} {spec.name}"
        path = self._directory.path(spec.kind, spec.name)
        if isinstance(spec, VolumeSpec):
            with self._verb(f"create {what}"), files.errors_of(what, "storage"):
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                files.create_sparse(path, spec.size)
        elif isinstance(spec, ServerSpec):
            with self._verb(f"create {what}") as note, files.errors_of(what, "scheduler"):
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                command = command_line(self.endpoint, spec)
                note("", " ".join(command))
                self._directory.start(spec.name, command)
        else:
            raise NotImplementedError
        return ref

    def show(self, ref: Ref) -> Resource:
        with self._verb(f"show {ref}") as note:
            names = self._directory.names(ref.kind)
            name = next((name for name in names if id_of(ref.kind, name) == ref.id), "")
            if not name:
                raise NotFound(f"there is no {ref}")
            resource = self._read(ref.kind, name, names[name])
            note(f"{resource.provider_state} {resource.fault}")
            return resource

    def list(self, kind: Kind, name: str) -> List[Resource]:
        with self._verb(f"list {kind.value} {name}") as note:
            resources = []
            for known, process in sorted(self._directory.names(kind).items()):
                if not known.startswith(name):
                    continue
                try:
                    resources.append(self._read(kind, known, process))
                except NotFound:  # removed meanwhile
                    continue
                except GatewayFailed:  # this host does not say what exists
                    raise
                except CloudError:  # its QEMU does not answer, but it exists and can be removed
                    ref = Ref(kind, id_of(kind, known), known)
                    resources.append(Resource(ref, State.PENDING, "silent"))
            note([f"{each.ref.name} {each.provider_state}" for each in resources])
            return resources

    def delete(self, ref: Ref) -> None:
        with self._verb(f"delete {ref}"), files.errors_of(str(ref)):
            for name in self._directory.names(ref.kind):
                if id_of(ref.kind, name) != ref.id:
                    continue
                holder = self._directory.holder(name) if ref.kind is Kind.VOLUME else ""
                if holder:
                    raise Conflict(f"{ref} is attached to server {id_of(Kind.SERVER, holder)}")
                files.remove(self._directory.path(ref.kind, name))
                if ref.kind is Kind.SERVER:
                    self._directory.kill(name)

    def describe(self) -> Dict[str, Any]:
        with self._verb("describe"):
            match = re.search(r"version (\S+)", self._help)
            return {
                "version": match[1] if match else "unknown",
                "accelerator": self.endpoint["accel"],
                "machine": self.endpoint["machine"],
                "directory": self._directory.base,
            }

    def attach(self, server: Ref, volume: Ref) -> None:
        """Conflict while QEMU does not run the server yet."""
        node, path = volume.id, self._directory.path(Kind.VOLUME, volume.name)
        disk = {"driver": "virtio-blk-pci", "drive": node, "id": node, "serial": volume.id[:20]}
        if has_pcie(self.endpoint["machine"]):
            disk["bus"] = "plug"
        file = {"driver": "file", "filename": path}
        with self._verb(f"attach {volume} to {server}"), self._monitor_of(server) as ask:
            if ask("query-status")["status"] != "running":
                raise Conflict(f"{server} is not running yet")
            if node in guest_disks(ask):
                return
            if node not in open_nodes(ask):
                ask("blockdev-add", {"driver": "raw", "node-name": node, "file": file})
            try:
                ask("device_add", disk)
            except CloudError:
                ask("blockdev-del", {"node-name": node})
                raise

    def detach(self, server: Ref, volume: Ref) -> None:
        """Ask the guest to let go of the volume; whether it has, ``show`` of the volume tells."""
        with self._verb(f"detach {volume} from {server}"), contextlib.suppress(NotFound, Conflict):
            with self._monitor_of(server) as ask:
                if volume.id in guest_disks(ask):
                    ask("device_del", {"id": volume.id})

    def console(self, server: Ref) -> str:
        """What the first serial port has written; of more than 4 MiB only the end."""
        with self._verb(f"console {server}"):
            return self._directory.console(self._directory.name_of(server))

    def metrics(self, server: Ref) -> List[Sample]:
        """CPU and memory as the kernel counts them for QEMU's vCPU threads and process, disks as
        QEMU counts them.

        Network traffic is counted at a tap only; QEMU's user network has no counters.
        """
        with self._verb(f"metrics {server}") as note:
            process = self._directory.running(server)
            with self._monitor(process) as ask:
                threads = {vcpu["thread-id"] for vcpu in ask("query-cpus-fast")}
                disks = [disk["stats"] for disk in ask("query-blockstats")]
            per_vcpu = max(1, len(threads))
            values: Dict[str, float] = {
                "cpu": sum(processes.cpu_time(process.pid, thread) for thread in threads)
                / per_vcpu,
                "ready": sum(processes.wait_time(process.pid, each) for each in threads) / per_vcpu,
                "memory": processes.resident_memory(process.pid),
            }
            if disks:
                values["disk_read"] = sum(disk["rd_bytes"] for disk in disks)
                values["disk_write"] = sum(disk["wr_bytes"] for disk in disks)
            values.update(processes.tap_traffic(process))
            note(values)
            now = self.deadline.clock.now()
            return [
                Sample(metric, value, now, counter=metric != "memory")
                for metric, value in values.items()
            ]

    def capacity(self) -> List[Limit]:
        """This host's memory and CPUs, and the file system that the volumes lie on."""
        with self._verb("capacity"), files.errors_of("capacity"):
            running = self._directory.processes().values()
            vcpus = sum(process.number("-smp") or 1 for process in running)
            return [
                Limit("servers", len(running), None),
                Limit("load", os.getloadavg()[0], os.cpu_count(), "host"),
                # There may be more vCPUs than CPUs; what that means for the guests, the load says.
                Limit("vcpus", vcpus, None, "host"),
                Limit("memory", *files.memory(), "host"),
                Limit("storage", *files.space(self._directory.base), "host"),
            ]

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """Volumes are sparse: whatever their size, a test VM takes the space that it writes."""
        return {**super().needs(plan, test_vm), ("storage", ""): _WRITTEN}

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The image of this name as its file is now; without a name the suite's own, as there is no
        list of all.

        An image of kernel and initrd has no checksum.
        """
        name = name or OWN_IMAGE
        with self._verb(f"image {name}") as note, files.errors_of(f"image {name}"):
            try:
                image = files_of(name)
            except NotFound:
                return []
            sums: Dict[str, str] = {}
            if "disk" in image:
                read = blocks(image["disk"], self.deadline.check)
                sums = checksums.of_blocks(read, algorithms)
            note(sums)
            return [Image(name, name, State.READY, "present", sums)]

    # --- helpers ----------------------------------------------------------------------------------

    def _read(self, kind: Kind, name: str, process: Optional[Process]) -> Resource:
        if kind is Kind.VOLUME:
            return self._directory.volume(name)
        return self._directory.server(name, process)

    def _monitor_of(self, server: Ref) -> ContextManager[Ask]:
        return self._monitor(self._directory.running(server))

    def _monitor(self, process: Process) -> ContextManager[Ask]:
        def record(sent: str, received: str) -> None:
            self._sent += [sent] if sent else []
            self._received += [received] if received else []

        return conversation(process, self._limit, record)

    def _limit(self) -> float:
        """Seconds that one exchange may take."""
        limit: float = self.endpoint["timeout"]
        return max(0.1, min(limit, self.deadline.left()))

    @contextlib.contextmanager
    def _verb(self, request: str, needs_session: bool = True) -> Iterator[Note]:
        """Record one request with all that was sent and received, also when it fails."""
        if needs_session and not self._help:
            raise AuthRejected("not connected")
        began, status = self.deadline.clock.now(), "ok"
        self._sent, self._received = [], []

        def note(received: Any, sent: Any = "") -> None:
            for message, where in ((sent, self._sent), (received, self._received)):
                if message not in ("", {}):
                    where.append(message if isinstance(message, str) else json.dumps(message))

        try:
            yield note
        except OSError as failed:
            # This host lacks descriptors, memory or rights: that is no answer, and never "nothing
            # there".
            parts = filter(None, (request, failed.strerror or str(failed), failed.filename))
            status = ": ".join(parts)
            raise GatewayFailed(status) from None
        except Exception as failed:
            status = str(failed)
            raise
        finally:
            self.evidence.record(
                request,
                "\n".join(self._sent),
                status,
                "\n".join(self._received),
                self.deadline.clock.now() - began,
            )
