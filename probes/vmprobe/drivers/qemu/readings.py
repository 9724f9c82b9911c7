"""What exists below the driver's directory: its servers and volumes, and what QEMU says of them.

States are QEMU's RunState. ``starting``, ``silent``, ``ending`` and ``dead`` are this driver's
words for a QEMU that cannot say its state.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
from typing import Callable, ContextManager, Dict, List, Optional, Sequence, Tuple

from vmprobe.core import handle
from vmprobe.core.errors import CloudError, Conflict, GatewayFailed, NotFound, Unreachable
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.drivers.qemu import files, processes
from vmprobe.drivers.qemu.command import GUEST_ADDRESS, mac
from vmprobe.drivers.qemu.monitor import Ask, guest_disks, open_nodes
from vmprobe.drivers.qemu.processes import Process
from vmprobe.guest import console

STATE = {
    "running": State.READY,
    "shutdown": State.FAILED,
    "guest-panicked": State.FAILED,
    "io-error": State.FAILED,
    "internal-error": State.FAILED,
    "dead": State.FAILED,
}
_CONSOLE = 4 * 2**20  # bytes that are read of a console
Monitor = Callable[[Process], ContextManager[Ask]]


class Directory:
    """The directory with all servers and volumes of one user."""

    def __init__(self, base: str, monitor: Monitor):
        self.base, self._monitor = base, monitor
        self._servers = os.path.join(base, Kind.SERVER.value)
        self._children: List[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start QEMU in a new directory of this name; it outlives us.

        Whether it keeps running, ``server`` tells.
        """
        path = self.path(Kind.SERVER, name)
        os.mkdir(path, 0o700)
        with open(os.path.join(path, "stderr"), "wb") as messages:
            self._children.append(
                subprocess.Popen(
                    command,
                    cwd=path,
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=messages,
                    start_new_session=True,
                    env={**os.environ, "TMPDIR": path, "LC_ALL": "C"},
                )
            )

    def kill(self, name: str) -> None:
        """End the QEMU of this name."""
        self._reap()
        processes.kill(name, self._servers)

    def processes(self) -> Dict[str, Process]:
        """The QEMUs that run, by name."""
        self._reap()
        return processes.running(self._servers)

    def _reap(self) -> None:
        """Collect the exit codes of QEMUs that we started: until then, one that has ended looks
        like a process.
        """
        for child in self._children:
            child.poll()

    def path(self, kind: Kind, name: str) -> str:
        """Where a server's directory or a volume's file lies."""
        return os.path.join(self.base, kind.value, os.path.basename(name))

    def names(self, kind: Kind) -> Dict[str, Optional[Process]]:
        """The names of all servers or volumes; for a server that runs, also its process.

        A server that runs is listed even when its directory is gone. GatewayFailed when they cannot
        be read.
        """
        try:
            names = os.listdir(os.path.join(self.base, kind.value))
        except FileNotFoundError:
            names = []
        except OSError as failed:
            raise GatewayFailed(f"{failed.filename}: {failed.strerror}") from None
        found: Dict[str, Optional[Process]] = dict.fromkeys(names)
        if kind is Kind.SERVER:
            found.update(self.processes())
        return found

    def name_of(self, ref: Ref) -> str:
        """The name under which something lies here. NotFound if it does not."""
        for name in self.names(ref.kind):
            if id_of(ref.kind, name) == ref.id:
                return name
        raise NotFound(f"there is no {ref}")

    def running(self, server: Ref) -> Process:
        """The process of a server.

        NotFound if there is no such server, Conflict if it does not run.
        """
        process = self.names(Kind.SERVER)[self.name_of(server)]
        if process is None:
            raise Conflict(f"{server} does not run")
        return process

    def server(self, name: str, process: Optional[Process]) -> Resource:
        """What QEMU says of a server. Unreachable when it listens and does not answer."""
        ref, path = Ref(Kind.SERVER, id_of(Kind.SERVER, name), name), self.path(Kind.SERVER, name)
        if process is None:
            return Resource(ref, State.FAILED, "dead", files.last_message(path))
        if not os.path.isdir(path) or not any(process.arguments):
            return Resource(ref, State.PENDING, "ending")
        addresses: Tuple[str, ...] = ()
        try:
            with self._monitor(process) as ask:
                status = ask("query-status")["status"]
                if status == "running":
                    addresses = self._addresses(ask, name, process)
        except Unreachable as silent:
            if silent.sent:
                raise
            status = "starting"  # its monitor does not listen yet
        state = STATE.get(status, State.PENDING)
        return Resource(
            ref,
            state,
            status,
            files.last_message(path) if state is State.FAILED else "",
            addresses=addresses,
            vcpus=process.number("-smp"),
            memory=process.number("-m") * 1024,
            image=process.option("-kernel") or process.option("-drive"),
        )

    def volume(self, name: str) -> Resource:
        """A volume and the server that it is attached to. NotFound if it is gone."""
        try:
            size = os.lstat(self.path(Kind.VOLUME, name)).st_size
        except FileNotFoundError:
            raise NotFound(f"there is no volume {id_of(Kind.VOLUME, name)}") from None
        holder = self.holder(name)
        return Resource(
            Ref(Kind.VOLUME, id_of(Kind.VOLUME, name), name),
            State.READY,
            "attached" if holder else "free",
            server=id_of(Kind.SERVER, holder) if holder else "",
            size=size,
        )

    def holder(self, volume: str) -> str:
        """The name of the server that this volume is attached to; '' if none.

        When the guest has let go of the volume and QEMU still has it open, it is closed.
        """
        node, run = id_of(Kind.VOLUME, volume), handle.parse(volume)
        for name, process in self.processes().items():
            if handle.parse(name) != run:
                continue
            try:
                with self._monitor(process) as ask:
                    if node not in open_nodes(ask):
                        continue
                    if node in guest_disks(ask):
                        return name
                    ask("blockdev-del", {"node-name": node})
            except Unreachable as silent:
                if silent.sent:
                    raise
            except CloudError:  # QEMU itself still uses it
                return name
        return ""

    def console(self, name: str) -> str:
        """What a server's first serial port has written; of more than 4 MiB only the end."""
        return files.read_end(os.path.join(self.path(Kind.SERVER, name), "console"), _CONSOLE)

    def _addresses(self, ask: Ask, name: str, process: Process) -> Tuple[str, ...]:
        """The guest's addresses, from the first source that has any.

        1. The guest's own console. 2. With QEMU's user network: the address that its DHCP server
        reserves, once the guest has brought its interface up. 3. With a tap: this host's ARP table.
        """
        facts = console.facts(self.console(name), _nonce(process))
        told = [fact.values.get("address", "") for fact in facts if fact.fact == "network"]
        told = [address for address in dict.fromkeys(told) if _is_address(address)]
        if told:
            return tuple(told)
        if process.option("-netdev").startswith("user"):
            cards = ask("query-rx-filter")
            is_up = any(card["multicast-table"] or card["multicast-overflow"] for card in cards)
            return (GUEST_ADDRESS,) if is_up else ()
        rows = [line.split() for line in files.read_end("/proc/net/arp").splitlines()[1:]]
        return tuple(row[0] for row in rows if row[3] == mac(name) and row[2] != "0x0")


def id_of(kind: Kind, name: str) -> str:
    """The id of a server or volume: the random end of its handle, and the number of the fleet's
    member.
    """
    run = handle.parse(name)
    part = name[len(str(run)) - len(run.random) :] if run else name
    return f"vol-{part}" if kind is Kind.VOLUME else part


def _nonce(process: Process) -> str:
    return process.option("-smbios").rpartition("=")[2]


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
