"""QEMU processes on this host: how they are found, measured and ended.

A process is found through /proc and ended through a pidfd where there is one, so that a process ID
that the kernel has given to another process is never signalled.
"""

from __future__ import annotations

import os
import re
import signal
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core.errors import ClientError, GatewayFailed
from vmprobe.drivers.qemu.files import read_end


class Process(NamedTuple):
    """A running QEMU that this driver has started, now or in an earlier run."""

    pid: int
    arguments: Sequence[str]

    def option(self, name: str) -> str:
        """The argument that follows the option ``name``; '' if there is none."""
        following = (
            self.arguments[self.arguments.index(name) + 1 :] if name in self.arguments else []
        )
        return following[0] if following else ""

    def number(self, name: str) -> int:
        """The digits at the beginning of an option's argument; 0 if there are none."""
        match = re.match(r"[0-9]{1,15}", self.option(name))
        return int(match[0]) if match else 0


def running(servers: str) -> Dict[str, Process]:
    """The QEMUs whose working directory is in the directory ``servers``, by the name of that
    directory.

    The directory may be deleted already. GatewayFailed where this host's processes cannot be seen.
    """
    found = {}
    for pid in _pids():
        name, process = _server(pid, servers)
        if process is not None:
            found[name] = process
    return found


def kill(name: str, servers: str) -> None:
    """End the QEMU of this name and nothing else: just before the signal, the process is checked
    again.

    A pidfd keeps the process ID from being reused. Where there is none (Linux before 5.3, a
    container's filter, no file descriptor left), another process could get the ID in the
    microseconds between the check and the signal.
    """
    process = running(servers).get(name)
    if process is None:
        return
    pidfd = None
    try:
        pidfd = _open_pidfd(process.pid)
        found, process = _server(process.pid, servers)
        if process is not None and found == name and any(process.arguments):
            _send_kill(process.pid, pidfd)
    except ProcessLookupError:
        return
    finally:
        if pidfd is not None:
            os.close(pidfd)


def check_visible() -> None:
    """ClientError if this host's processes cannot be seen: a QEMU started then could never be seen
    to end.
    """
    try:
        _pids()
    except GatewayFailed as hidden:
        raise ClientError(
            f"{hidden}; QEMU could not be found or ended, so nothing is started"
        ) from None


def cpu_time(pid: int, thread: int) -> float:
    """Seconds of CPU time that a thread has used (utime and stime in proc(5))."""
    fields = read_end(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def wait_time(pid: int, thread: int) -> float:
    """Seconds that a thread was ready to run and waited for a CPU.

    This is run_delay in Linux' Documentation/scheduler/sched-stats.
    """
    fields = read_end(f"/proc/{pid}/task/{thread}/schedstat").split()
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0


def resident_memory(pid: int) -> int:
    """Bytes of this host's memory that a process occupies (statm in proc(5))."""
    fields = read_end(f"/proc/{pid}/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def tap_traffic(process: Process) -> Dict[str, float]:
    """Bytes counted by the kernel at the tap of a QEMU; empty without a tap.

    The directions are the guest's: what this host received from the tap, the guest has sent.
    """
    match = re.search(r"^tap,.*\bifname=([^,]+)", process.option("-netdev"))
    if not match:
        return {}
    counters = {
        metric: read_end(f"/sys/class/net/{match[1]}/statistics/{counter}")
        for metric, counter in (("net_in", "tx_bytes"), ("net_out", "rx_bytes"))
    }
    return {metric: float(text) for metric, text in counters.items() if text}


def _pids() -> List[int]:
    """This host's process IDs; GatewayFailed if they cannot be seen, which must not look like
    "none".
    """
    try:
        entries, own = os.listdir("/proc"), os.readlink("/proc/self")
    except OSError as failed:
        raise GatewayFailed(f"/proc cannot be read: {failed.strerror}") from None
    if own != str(os.getpid()) or own not in entries:
        # It belongs to another PID namespace, where our numbers are other processes.
        raise GatewayFailed("/proc does not show the processes of this host")
    return [int(entry) for entry in entries if re.fullmatch("[0-9]+", entry)]


def _server(pid: int, servers: str) -> Tuple[str, Optional[Process]]:
    """Name and process of a QEMU below ``servers``; ('', None) for any other process, also one that
    has ended.
    """
    try:
        place = os.readlink(f"/proc/{pid}/cwd")
        arguments = _arguments(pid) if place.startswith(servers + os.sep) else []
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return "", None  # it has ended, or belongs to another user
    if not place.startswith(servers + os.sep):
        return "", None
    deleted = " (deleted)"
    name = os.path.basename(place[: -len(deleted)] if place.endswith(deleted) else place)
    is_ending = not any(arguments)
    if f"guest={name}" in arguments or is_ending:
        return name, Process(pid, arguments)
    return "", None


def _arguments(pid: int) -> List[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().decode("utf-8", "surrogateescape").split("\0")


def _open_pidfd(pid: int) -> Optional[int]:
    """A file descriptor for this very process; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (OSError, AttributeError):  # AttributeError: a Python built for older kernels
        return None


def _send_kill(pid: int, pidfd: Optional[int]) -> None:
    if pidfd is not None:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return
        except ProcessLookupError:
            raise
        except OSError:
            pass  # a seccomp filter that allows only one of the two calls: kill below
    os.kill(pid, signal.SIGKILL)
