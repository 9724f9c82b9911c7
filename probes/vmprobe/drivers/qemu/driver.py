"""A local QEMU over its monitor: no daemon, no root, and no memory of its own but what lies on the disk and runs.

Its words, below ``directory``:
    server      ``server/<name>/``, and the QEMU that runs in it under this name; it outlives whoever started it
    volume      ``volume/<name>``, a sparse file; attached while a QEMU of the same run has it open
    image       a kernel and an initrd in a directory, or a disk, whose changes are thrown away
    flavor      memory; ``vcpus`` beside it
    network     ``user`` (QEMU's own, no root), ``tap:NAME`` (a tap that is there already), ``none``
States are QEMU's RunState; ``starting``, ``silent``, ``ending`` and ``dead`` are ours, for a QEMU that cannot say it.

Whenever its starter is killed, a server can be found and removed: its directory is made first, QEMU begins in it, its
command line carries the name, and what it writes lies in the directory. So a QEMU that runs is in the process table,
and one that would begin after its directory was removed cannot: removal is "first the directory, then the process".
Where the process table cannot be seen whole, nothing is started, and nothing is taken for gone.
Source: QEMU QMP Reference Manual.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    cast,
)

from vmprobe.core import handle
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
)
from vmprobe.core.text import cut
from vmprobe.core.values import duration, size, whole, yes_or_no
from vmprobe.guest import console
from vmprobe.host import paths, programs

if TYPE_CHECKING:
    from vmprobe.drivers.qemu.plan import QemuDetails, QemuTestVM

STATE = {
    "running": State.READY,
    "shutdown": State.FAILED,
    "guest-panicked": State.FAILED,
    "io-error": State.FAILED,
    "internal-error": State.FAILED,
    "dead": State.FAILED,
}

OWN_IMAGE = "vmprobe-test"
GUEST_ADDRESS = "10.0.2.15"  # what QEMU's own DHCP server has to hand out
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_CONSOLE = 4 * 2**20
_WRITTEN = 2.0**19  # bytes that a test VM writes, at most


def _network(text: str) -> str:
    if not re.match(r"^(user|none|tap:[^\s,/]{1,15})$", text):
        raise ValueError("is neither 'user', 'none' nor 'tap:NAME'")
    return text


def _folder(text: str) -> str:
    path = os.path.expanduser(text)
    if not os.path.isabs(path):
        raise ValueError("is not an absolute path")
    return path


class Process(NamedTuple):
    """A QEMU of ours that runs."""

    pid: int
    arguments: Sequence[str]

    def option(self, name: str) -> str:
        following = (
            self.arguments[self.arguments.index(name) + 1 :] if name in self.arguments else []
        )
        return following[0] if following else ""

    def number(self, name: str) -> int:
        """What begins with digits; 0 where it does not."""
        match = re.match(r"[0-9]{1,15}", self.option(name))
        return int(match[0]) if match else 0


class Qemu(Driver):
    """The verbs, over directories, processes and QEMU's monitor."""

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
    consistency_window = (
        0.0  # a debt's maker has ended, and what it had not made by then nobody makes
    )
    metrics_offered = METRICS + EXTRA_METRICS
    endpoint_keys = {
        "binary": Key(default="qemu-system-x86_64"),
        "accel": Key(default="tcg"),
        "machine": Key(default="pc"),
        "sandbox": Key(yes_or_no, True),
        "directory": Key(_folder),
        "timeout": Key(duration, 10.0),
    }
    test_vm_keys = {
        "flavor": Key(size, 128 * 2**20),
        "vcpus": Key(whole(1), 1),
        "network": Key(_network, "user"),
    }

    def __init__(self, *words: Any):
        super().__init__(*words)
        self._base = os.path.realpath(
            self.endpoint["directory"] or _own_place(paths.state_directory())
        )
        self._children: List[subprocess.Popen] = []  # to be reaped: a zombie is a process, too
        self._help = ""  # what the binary says it can, once connected
        self._sent: List[str] = []
        self._received: List[str] = []

    @property
    def identity(self) -> str:
        return f"qemu {self._base}"

    def connect(self) -> None:
        """See that QEMU, and what speaks to it, can be used. ClientError when not: it is this host that lacks it."""
        try:
            import qemu.qmp  # noqa: F401
        except ImportError:
            raise ClientError(
                "the driver qemu needs Python's qemu.qmp: pip install 'vmprobe[qemu]'"
            ) from None
        self._own_directory()
        _see_processes()
        binary = self.endpoint["binary"]
        with self._verb(f"{binary} -help", session=False) as note:
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
            image = _image(test_vm["image"])
            _check_tap(test_vm["network"])
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
        ref = Ref(spec.kind, _id(spec.kind, spec.name), spec.name)
        path = self._path(spec.kind, spec.name)
        made = "server" if spec.kind is Kind.SERVER else "volume"
        cause = "scheduler" if spec.kind is Kind.SERVER else "storage"
        with (
            self._verb(f"create {made} {spec.name}") as note,
            _translated(f"{made} {spec.name}", cause),
        ):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            if spec.kind is Kind.VOLUME:
                _sparse(path, spec.size)
            else:
                assert spec.kind is Kind.SERVER
                command = self._command(spec)
                note("", " ".join(command))
                os.mkdir(path, 0o700)
                self._start(command, path)
        return ref

    def show(self, ref: Ref) -> Resource:
        with self._verb(f"show {ref}") as note:
            names = self._names(ref.kind)
            name = next((name for name in names if _id(ref.kind, name) == ref.id), "")
            if not name:
                raise NotFound(f"there is no {ref}")
            found = (
                self._volume(name) if ref.kind is Kind.VOLUME else self._server(name, names[name])
            )
            note(f"{found.provider_state} {found.fault}")
            return found

    def list(self, kind: Kind, name: str) -> List[Resource]:
        with self._verb(f"list {kind.value} {name}") as note:
            found = []
            for known, process in sorted(self._names(kind).items()):
                if not known.startswith(name):
                    continue
                try:
                    found.append(
                        self._volume(known) if kind is Kind.VOLUME else self._server(known, process)
                    )
                except NotFound:  # removed between two looks
                    continue
                except GatewayFailed:  # this host does not say what is there
                    raise
                except (
                    CloudError
                ):  # its QEMU does not say how it is; it is there all the same, and can be removed
                    found.append(
                        Resource(Ref(kind, _id(kind, known), known), State.PENDING, "silent")
                    )
            note([f"{thing.ref.name} {thing.provider_state}" for thing in found])
            return found

    def delete(self, ref: Ref) -> None:
        with self._verb(f"delete {ref}"), _translated(str(ref)):
            for name in [name for name in self._names(ref.kind) if _id(ref.kind, name) == ref.id]:
                if ref.kind is Kind.VOLUME:
                    holder = self._holder(name)
                    if holder:
                        raise Conflict(f"{ref} is attached to server {_id(Kind.SERVER, holder)}")
                    _remove_tree(self._path(ref.kind, name))
                else:
                    _remove_tree(self._path(ref.kind, name))
                    self._kill(name)

    def describe(self) -> Dict[str, Any]:
        with self._verb("describe"):
            match = re.search(r"version (\S+)", self._help)
            return {
                "version": match[1] if match else "unknown",
                "accelerator": self.endpoint["accel"],
                "machine": self.endpoint["machine"],
                "directory": self._base,
            }

    def attach(self, server: Ref, volume: Ref) -> None:
        """Conflict while QEMU does not run the server yet."""
        node, path = volume.id, self._path(Kind.VOLUME, volume.name)
        bus = (
            {"bus": "plug"} if "q35" in self.endpoint["machine"] else {}
        )  # pc takes devices on its only bus
        with (
            self._verb(f"attach {volume} to {server}"),
            self._monitor(self._running(server)) as ask,
        ):
            if ask("query-status")["status"] != "running":
                raise Conflict(f"{server} is not running yet")
            if node in _devices(ask):
                return
            if node not in _nodes(ask):
                ask(
                    "blockdev-add",
                    {
                        "driver": "raw",
                        "node-name": node,
                        "file": {"driver": "file", "filename": path},
                    },
                )
            try:
                ask(
                    "device_add",
                    {
                        "driver": "virtio-blk-pci",
                        "drive": node,
                        "id": node,
                        "serial": volume.id[:20],
                        **bus,
                    },
                )
            except CloudError:
                ask("blockdev-del", {"node-name": node})
                raise

    def detach(self, server: Ref, volume: Ref) -> None:
        """Asks the guest to let go; whoever looks at the volume after that sees whether it has."""
        with self._verb(f"detach {volume} from {server}"), contextlib.suppress(NotFound, Conflict):
            with self._monitor(self._running(server)) as ask:
                if volume.id in _devices(ask):
                    ask("device_del", {"id": volume.id})

    def console(self, server: Ref) -> str:
        """What the first serial port has said; of more than 4 MiB the newest."""
        with self._verb(f"console {server}"):
            return _text(
                os.path.join(self._path(Kind.SERVER, self._name(server)), "console"), _CONSOLE
            )

    def metrics(self, server: Ref) -> List[Sample]:
        """CPU and memory by the kernel's account of QEMU's vCPU threads and process, disks by QEMU, network by the tap: without
        one, none."""
        with self._verb(f"metrics {server}") as note:
            process = self._running(server)
            with self._monitor(process) as ask:
                threads = [vcpu["thread-id"] for vcpu in ask("query-cpus-fast")]
                disks = [disk["stats"] for disk in ask("query-blockstats")]
            found = {
                metric: sum(seconds(process.pid, thread) for thread in set(threads))
                / max(1, len(threads))
                for metric, seconds in (("cpu", _cpu_time), ("ready", _wait_time))
            }
            found["memory"] = _resident(process.pid)
            if disks:
                found["disk_read"] = sum(disk["rd_bytes"] for disk in disks)
                found["disk_write"] = sum(disk["wr_bytes"] for disk in disks)
            found.update(_tap_traffic(process))
            note(found)
            now = self.deadline.clock.now()
            return [
                Sample(metric, value, now, counter=metric != "memory")
                for metric, value in found.items()
            ]

    def capacity(self) -> List[Limit]:
        """This host's memory and CPUs, and the file system that the volumes lie on."""
        with self._verb("capacity"), _translated("capacity"):
            processes = self._processes().values()
            memory = {
                line.split(":")[0]: int(line.split()[1]) * 1024
                for line in _text("/proc/meminfo").splitlines()
            }
            if not {"MemTotal", "MemAvailable"} <= set(memory):
                raise GatewayFailed("/proc/meminfo does not say how much memory there is")
            disk = os.statvfs(next(path for path in _upwards(self._base) if os.path.isdir(path)))
            vcpus = sum(process.number("-smp") or 1 for process in processes)
            return [
                Limit("servers", len(processes), None),
                Limit("load", os.getloadavg()[0], os.cpu_count(), "host"),
                Limit(
                    "vcpus", vcpus, None, "host"
                ),  # may be more than the host has: load says what that means
                Limit(
                    "memory",
                    memory["MemTotal"] - memory["MemAvailable"],
                    memory["MemTotal"],
                    "host",
                ),
                Limit(
                    "storage",
                    (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
                    (disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize,
                    "host",
                ),
            ]

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """Volumes are sparse, however large: what a test VM takes of the file system is what it writes."""
        return {**super().needs(plan, test_vm), ("storage", ""): _WRITTEN}

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The image's file as it is now; one of kernel and initrd has no checksum of its own. There is no list of all."""
        with self._verb(f"image {name or OWN_IMAGE}") as note, _translated(f"image {name}"):
            try:
                found = _image(name or OWN_IMAGE)
            except NotFound:
                return []
            sums = self._checksums(found["disk"], algorithms) if "disk" in found else {}
            note(sums)
            return [Image(name or OWN_IMAGE, name or OWN_IMAGE, State.READY, "present", sums)]

    def _checksums(self, path: str, algorithms: Sequence[str]) -> Dict[str, str]:
        sums = {
            algorithm: hashlib.new(algorithm)
            for algorithm in algorithms
            if algorithm in hashlib.algorithms_guaranteed
        }
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(2**20) if sums else b"", b""):
                self.deadline.check()
                for one in sums.values():
                    one.update(piece)
        return {algorithm: one.hexdigest() for algorithm, one in sums.items()}

    # --- what is there ----------------------------------------------------------------------------------------

    def _path(self, kind: Kind, name: str) -> str:
        return os.path.join(self._base, kind.value, os.path.basename(name))

    def _names(self, kind: Kind) -> Dict[str, Optional[Process]]:
        """What there is of a kind, by name: what lies on the disk, and the servers that run."""
        try:
            names = os.listdir(os.path.join(self._base, kind.value))
        except FileNotFoundError:
            names = []
        except OSError as failed:
            raise GatewayFailed(f"{failed.filename}: {failed.strerror}") from None
        found: Dict[str, Optional[Process]] = dict.fromkeys(names)
        if kind is Kind.SERVER:
            found.update(self._processes())
        return found

    def _processes(self) -> Dict[str, Process]:
        """The QEMUs that began in a directory of ours under its name, whether it is there still or not."""
        for child in self._children:
            child.poll()
        found = {}
        for pid in _pids():
            name, process = self._process(pid)
            if process is not None:
                found[name] = process
        return found

    def _process(self, pid: int) -> Tuple[str, Optional[Process]]:
        """The name and process of a QEMU that is ours; None for any other process, and one that has ended."""
        servers = os.path.join(self._base, Kind.SERVER.value) + os.sep
        try:
            place = os.readlink(f"/proc/{pid}/cwd")
            arguments = _arguments(pid) if place.startswith(servers) else []
        except (
            FileNotFoundError,
            ProcessLookupError,
            PermissionError,
        ):  # gone in between, or another user's
            return "", None
        name = os.path.basename(
            place[: -len(" (deleted)")] if place.endswith(" (deleted)") else place
        )
        if place.startswith(servers) and (
            f"guest={name}" in arguments or not any(arguments)
        ):  # one that is ending has none
            return name, Process(pid, arguments)
        return "", None

    def _name(self, server: Ref) -> str:
        names = [name for name in self._names(Kind.SERVER) if _id(Kind.SERVER, name) == server.id]
        if not names:
            raise NotFound(f"there is no {server}")
        return names[0]

    def _running(self, server: Ref) -> Process:
        process = self._names(Kind.SERVER)[self._name(server)]
        if process is None:
            raise Conflict(f"{server} does not run")
        return process

    def _server(self, name: str, process: Optional[Process]) -> Resource:
        ref, path = Ref(Kind.SERVER, _id(Kind.SERVER, name), name), self._path(Kind.SERVER, name)
        if process is None:
            return Resource(ref, State.FAILED, "dead", _last_words(path))
        if not os.path.isdir(path) or not any(process.arguments):
            return Resource(ref, State.PENDING, "ending")
        addresses: Tuple[str, ...] = ()
        try:
            with self._monitor(process) as ask:
                word = ask("query-status")["status"]
                if word == "running":
                    addresses = self._addresses(ask, name, process)
        except Unreachable as silent:
            if silent.sent:
                raise
            word = "starting"  # its monitor is not there yet
        state = STATE.get(word, State.PENDING)
        return Resource(
            ref,
            state,
            word,
            _last_words(path) if state is State.FAILED else "",
            addresses=addresses,
            vcpus=process.number("-smp"),
            memory=process.number("-m") * 1024,
            image=process.option("-kernel") or process.option("-drive"),
        )

    def _addresses(self, ask: Callable[..., Any], name: str, process: Process) -> Tuple[str, ...]:
        """The guest's addresses: by its own console; else the one that QEMU's DHCP server keeps for it, once the guest
        has its interface up; behind a tap the one that this host's ARP table knows."""
        said = console.facts(
            _text(os.path.join(self._path(Kind.SERVER, name), "console"), _CONSOLE), _nonce(process)
        )
        told = [fact.values.get("address", "") for fact in said if fact.fact == "network"]
        told = [address for address in dict.fromkeys(told) if _is_address(address)]
        if told:
            return tuple(told)
        if process.option("-netdev").startswith("user"):
            filters = ask("query-rx-filter")
            return (
                (GUEST_ADDRESS,)
                if any(nic["multicast-table"] or nic["multicast-overflow"] for nic in filters)
                else ()
            )
        rows = [line.split() for line in _text("/proc/net/arp").splitlines()[1:]]
        return tuple(row[0] for row in rows if row[3] == _mac(name) and row[2] != "0x0")

    def _volume(self, name: str) -> Resource:
        path = self._path(Kind.VOLUME, name)
        try:
            length = os.lstat(path).st_size
        except FileNotFoundError:
            raise NotFound(f"there is no volume {_id(Kind.VOLUME, name)}") from None
        holder = self._holder(name)
        return Resource(
            Ref(Kind.VOLUME, _id(Kind.VOLUME, name), name),
            State.READY,
            "attached" if holder else "free",
            server=_id(Kind.SERVER, holder) if holder else "",
            size=length,
        )

    def _holder(self, volume: str) -> str:
        """The name of the server that has this volume open, '' if none. What its guest has let go of is closed."""
        node, run = _id(Kind.VOLUME, volume), handle.parse(volume)
        for name, process in self._processes().items():
            if handle.parse(name) != run:
                continue
            try:
                with self._monitor(process) as ask:
                    if node not in _nodes(ask):
                        continue
                    if node in _devices(ask):
                        return name
                    ask("blockdev-del", {"node-name": node})
            except Unreachable as silent:
                if silent.sent:
                    raise
            except CloudError:  # QEMU itself has not quite let go yet
                return name
        return ""

    # --- processes --------------------------------------------------------------------------------------------

    def _command(self, spec: ServerSpec) -> List[str]:
        """QEMU's command line. All that it makes has a short name in its working directory."""
        from vmprobe.guest import user_data

        plan, accel = cast("QemuDetails", spec.plan.details), self.endpoint["accel"]
        command = [
            self.endpoint["binary"],
            "-name",
            f"guest={spec.name}",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-no-shutdown",  # a guest that ends leaves a QEMU that says so
            "-machine",
            self.endpoint["machine"],
            "-accel",
            accel,
            "-cpu",
            "qemu64" if accel.startswith("tcg") else "max",
            "-m",
            f"{(spec.plan.memory or 0) // 1024}K",
            "-smp",
            str(spec.plan.vcpus),
            "-serial",
            "file:console",
            "-qmp",
            "unix:monitor,server=on,wait=off",
            "-smbios",
            f"type=11,value={user_data.firmware_string(spec.nonce)}",
        ]
        if self.endpoint["sandbox"]:
            command += ["-sandbox", SANDBOX]
        if "q35" in self.endpoint["machine"]:
            command += ["-device", "pcie-root-port,id=plug,chassis=1"]
        if "disk" in plan:
            file = plan["disk"].replace(",", ",,")
            command += [
                "-drive",
                f"file={file},format={_format(plan['disk'])},if=virtio,snapshot=on",
            ]
        else:
            words = user_data.kernel_command_line(spec.nonce)
            command += ["-kernel", plan["kernel"], "-initrd", plan["initrd"], "-append", words]
        kind, _, tap = spec.plan.network.partition(":")
        if kind != "none":
            netdev = (
                f"tap,id=net,ifname={tap},script=no,downscript=no"
                if tap
                else f"user,id=net,dhcpstart={GUEST_ADDRESS}"
            )
            command += [
                "-netdev",
                netdev,
                "-device",
                f"virtio-net-pci,netdev=net,mac={_mac(spec.name)},romfile=",
            ]
        return command

    def _start(self, command: Sequence[str], path: str) -> None:
        """Begin a QEMU that does not end with us. Whether it can go on is seen by looking at it."""
        with open(os.path.join(path, "stderr"), "wb") as words:
            self._children.append(
                subprocess.Popen(
                    command,
                    cwd=path,
                    stdin=subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    start_new_session=True,
                    env={**os.environ, "TMPDIR": path, "LC_ALL": "C"},
                )
            )

    def _kill(self, name: str) -> None:
        """End the QEMU of this name, and nothing else: what has its number now is looked at again before the signal.

        A pidfd holds the number meanwhile. Where there is none (Linux before 5.3, a container's filter, no descriptor
        left) another process could get it in the microseconds between the second look and the signal.
        """
        process = self._processes().get(name)
        if process is None:
            return
        held = None
        try:
            held = _pidfd(process.pid)
            found, process = self._process(process.pid)
            if process is not None and found == name and any(process.arguments):
                _end(process.pid, held)
        except ProcessLookupError:
            return
        finally:
            if held is not None:
                os.close(held)

    # --- the monitor ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _monitor(self, process: Process) -> Iterator[Callable[..., Any]]:
        """A conversation with a QEMU: ``ask(command, arguments)`` returns its answer.

        Unreachable when there is none within the limit; with ``sent`` False when nobody listens, as while it begins.
        """
        import asyncio

        from qemu.qmp import ConnectError, ExecuteError, QMPClient

        try:  # by way of a descriptor, because a socket's path may have 107 bytes only
            place = os.open(f"/proc/{process.pid}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            raise Unreachable(f"QEMU {process.pid} is gone", sent=False) from None
        try:
            loop = asyncio.new_event_loop()
        except OSError:
            os.close(place)
            raise
        client = QMPClient()

        def talk(words: str, exchange: Any) -> Any:
            try:
                return loop.run_until_complete(asyncio.wait_for(exchange, self._limit()))
            except asyncio.TimeoutError:
                raise Unreachable(f"QEMU {process.pid} does not answer: {words}") from None
            except ConnectError as failed:
                refused = isinstance(failed.exc, (FileNotFoundError, ConnectionRefusedError))
                raise Unreachable(
                    f"QEMU {process.pid}: {words}: {failed.exc}", sent=not refused
                ) from None
            except ExecuteError as refused:
                raise CloudError(f"{words}: {refused}") from None
            except Exception as failed:  # of the library's own errors not all are QMPErrors, when the answer is hostile
                raise Unreachable(
                    f"QEMU {process.pid}: {words}: {failed or type(failed).__name__}"
                ) from None

        def ask(command: str, arguments: Optional[Dict[str, Any]] = None) -> Any:
            self._sent.append(f"{command} {json.dumps(arguments) if arguments else ''}".rstrip())
            answer = talk(command, client.execute(command, arguments))
            self._received.append(f"{command}: {json.dumps(answer)[:1000]}")
            return answer

        try:
            talk("connect", client.connect(f"/proc/self/fd/{place}/monitor"))
            yield ask
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as nonsense:
            raise Unreachable(
                f"QEMU {process.pid} answers what cannot be understood: {type(nonsense).__name__}: {nonsense}"
            ) from None
        finally:
            try:
                with contextlib.suppress(
                    Exception
                ):  # a QEMU that has gone meanwhile; there is nothing left to close
                    loop.run_until_complete(asyncio.wait_for(client.disconnect(), 1.0))
            finally:
                os.close(place)
                loop.close()

    # ----------------------------------------------------------------------------------------------------------

    def _limit(self) -> float:
        return max(0.1, min(self.endpoint["timeout"], self.deadline.left()))

    def _own_directory(self) -> None:
        """Where others can write, they could make us remove what is theirs."""
        there = next(path for path in _upwards(self._base) if os.path.lexists(path))
        if not os.access(there, os.W_OK | os.X_OK) or not os.path.isdir(there):
            raise ClientError(
                f"{there} cannot be written to, and servers and volumes have to lie in {self._base}"
            )
        found = os.stat(there)
        if there == self._base and (found.st_uid != os.geteuid() or found.st_mode & 0o022):
            raise ClientError(f"{self._base} is not a directory that only this user can write to")
        for kind in self.kinds:
            below = os.path.join(self._base, kind.value)
            if os.path.lexists(below) and not stat.S_ISDIR(os.lstat(below).st_mode):
                raise ClientError(
                    f"{below} is not a directory; servers and volumes have to lie in {self._base}"
                )

    @contextlib.contextmanager
    def _verb(self, words: str, session: bool = True) -> Iterator[Callable[..., None]]:
        """One request as evidence, with all that was said on the monitor, whatever becomes of it."""
        if session and not self._help:
            raise AuthRejected("not connected")
        began, status = self.deadline.clock.now(), "ok"
        self._sent, self._received = [], []

        def note(received: Any, sent: Any = "") -> None:
            for said, where in ((sent, self._sent), (received, self._received)):
                if said not in ("", {}):
                    where.append(said if isinstance(said, str) else json.dumps(said))

        try:
            yield note
        except OSError as failed:  # this host's, for lack of descriptors, memory or rights: no answer, and never "nothing there"
            status = ": ".join(
                filter(None, (words, failed.strerror or str(failed), failed.filename))
            )
            raise GatewayFailed(status) from None
        except Exception as failed:
            status = str(failed)
            raise
        finally:
            self.evidence.record(
                words,
                "\n".join(self._sent),
                status,
                "\n".join(self._received),
                self.deadline.clock.now() - began,
            )


# --- names --------------------------------------------------------------------------------------------------------


def _id(kind: Kind, name: str) -> str:
    """What sets a run's things apart from another's: the random end of the handle, and the number of the member."""
    run = handle.parse(name)
    part = name[len(str(run)) - len(run.random) :] if run else name
    return f"vol-{part}" if kind is Kind.VOLUME else part


def _mac(name: str) -> str:
    """A hardware address for this name, among those that are QEMU's."""
    return "52:54:00:" + ":".join(
        f"{byte:02x}" for byte in hashlib.sha256(name.encode()).digest()[:3]
    )


def _nonce(process: Process) -> str:
    return process.option("-smbios").rpartition("=")[2]


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


# --- the image ----------------------------------------------------------------------------------------------------


def _image(name: str) -> Dict[str, str]:
    """The files of an image: kernel and initrd, or a disk. NotFound names what is missing."""
    from vmprobe.guest import image

    path = image.directory() if name == OWN_IMAGE else os.path.abspath(os.path.expanduser(name))
    if os.path.isfile(path):
        return {"disk": path}
    files = {file: os.path.join(path, file) for file in image.FORMATS["kernel"]}
    missing = [file for file in files.values() if not os.path.isfile(file)]
    if missing and name == OWN_IMAGE:
        raise NotFound(f"no image {name} in {path}: vmprobectl image build makes it")
    if missing:
        raise NotFound(
            f"no image {name}: it is neither a disk nor a directory with kernel and initrd"
        )
    return files


def _format(disk: str) -> str:
    """The format of a disk, by how it begins; QEMU's own guess would trust what the guest of a raw disk wrote there."""
    with open(disk, "rb") as file:
        start = file.read(8)
    known = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"conectix": "vpc", b"vhdxfile": "vhdx"}
    return next((word for mark, word in known.items() if start.startswith(mark)), "raw")


def _check_tap(network: str) -> None:
    """NotFound when there is no such tap; QEMU as root would make one that leads nowhere."""
    name = network.partition(":")[2]
    try:
        if name:
            socket.if_nametoindex(name)
    except OSError:
        raise NotFound(f"no network interface named {name!r}", cause="network") from None


# --- the monitor's answers ----------------------------------------------------------------------------------------


def _nodes(ask: Callable[..., Any]) -> List[str]:
    """What QEMU has open."""
    return [node["node-name"] for node in ask("query-named-block-nodes", {"flat": True})]


def _devices(ask: Callable[..., Any]) -> List[str]:
    """The disks that the guest has, by our ids (``qdev`` is the id, or a path that holds it)."""
    return [part for disk in ask("query-block") for part in disk.get("qdev", "").split("/")]


# --- files and processes ------------------------------------------------------------------------------------------


def _sparse(path: str, length: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, length)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _remove_tree(path: str) -> None:
    """Whatever lies there. Conflict when its QEMU was just making files in it: the next removal has it all."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise Conflict(f"{path} is changing") from None
    except OSError as failed:
        if failed.errno != errno.ENOTEMPTY:
            raise
        raise Conflict(f"{path}: {failed.strerror}") from None


def _text(path: str, limit: int = 2**20) -> str:
    """The end of a regular file, '' while there is none. A pipe that lies there is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return ""
            if found.st_size > limit:
                file.seek(found.st_size - limit)
            return file.read(limit).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return ""
    except OSError as failed:
        if failed.errno == errno.ENXIO:  # a socket
            return ""
        raise


def _last_words(path: str) -> str:
    """What a QEMU said before it ended, its own errors before advice; when it said nothing, what its guest said."""
    said = [
        line.strip() for line in _text(os.path.join(path, "stderr")).splitlines() if line.strip()
    ]
    errors = [
        line.partition(": ")[2] for line in said if re.match(r"\S*qemu\S*: (?!warning: )", line)
    ]
    shown = [
        line.strip()
        for line in _text(os.path.join(path, "console"), 4096).splitlines()
        if line.strip()
    ]
    if errors or said:
        return (errors or said)[-1]
    return f"its console ends with: {shown[-1]}" if shown else "it ended without a word"


def _see_processes() -> None:
    """ClientError where a QEMU that runs could not be seen: its end could never be seen, either."""
    try:
        _pids()
    except GatewayFailed as hidden:
        raise ClientError(
            f"{hidden}; without it no QEMU could be seen or ended, and nothing is started"
        ) from None


def _pids() -> List[int]:
    """The processes of this host; GatewayFailed where they cannot be seen, which is never read as "none"."""
    try:
        entries, shown = os.listdir("/proc"), os.readlink("/proc/self")
    except OSError as failed:
        raise GatewayFailed(f"/proc cannot be read: {failed.strerror}") from None
    if (
        shown != str(os.getpid()) or shown not in entries
    ):  # of another namespace, whose numbers are other processes' here
        raise GatewayFailed("/proc does not show the processes of this host")
    return [int(entry) for entry in entries if re.fullmatch("[0-9]+", entry)]


def _pidfd(pid: int) -> Optional[int]:
    """A descriptor that stands for this process and for no later one; None where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (OSError, AttributeError):  # the latter: a Python that was built for older kernels
        return None


def _end(pid: int, held: Optional[int]) -> None:
    if held is not None:
        try:
            signal.pidfd_send_signal(held, signal.SIGKILL)
            return
        except ProcessLookupError:
            raise
        except OSError:  # a filter that knows one of the two calls only
            pass
    os.kill(pid, signal.SIGKILL)


def _arguments(pid: int) -> List[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().decode("utf-8", "surrogateescape").split("\0")


def _cpu_time(pid: int, thread: int) -> float:
    """Seconds of CPU time that a thread has used: utime and stime of proc(5)."""
    fields = _text(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _wait_time(pid: int, thread: int) -> float:
    """Seconds for which a thread could have run and had to wait: Linux' Documentation/scheduler/sched-stats, run_delay."""
    fields = _text(f"/proc/{pid}/task/{thread}/schedstat").split()
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0


def _resident(pid: int) -> int:
    """Bytes of memory that a process takes: statm of proc(5)."""
    fields = _text(f"/proc/{pid}/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _tap_traffic(process: Process) -> Dict[str, float]:
    """Bytes by the kernel's counters of the tap. What this host received there, the guest has sent."""
    match = re.search(r"^tap,.*\bifname=([^,]+)", process.option("-netdev"))
    if not match:
        return {}
    counters = {
        metric: _text(f"/sys/class/net/{match[1]}/statistics/{counter}")
        for metric, counter in (("net_in", "tx_bytes"), ("net_out", "rx_bytes"))
    }
    return {metric: float(text) for metric, text in counters.items() if text}


def _own_place(state: str) -> str:
    """Where a user's servers and volumes lie below a state directory: beside others', where others write there, too."""
    there = next(path for path in _upwards(os.path.abspath(state)) if os.path.isdir(path))
    found = os.stat(there)
    if there != os.path.abspath(state):  # made by root, it will be its parent's owner's
        is_own = os.geteuid() != 0 or found.st_uid == 0
    else:
        is_own = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return os.path.join(state, "qemu" if is_own else f"qemu-{os.geteuid()}")


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        path = os.path.dirname(path)


@contextlib.contextmanager
def _translated(what: str, cause: str = "") -> Iterator[None]:
    """The operating system's refusals in this suite's errors."""
    try:
        yield
    except FileExistsError:
        raise CloudError(f"{what} is there already", cause) from None
    except OSError as failed:
        raise CloudError(
            ": ".join(filter(None, (what, failed.strerror, failed.filename))), cause
        ) from None
