"""Whether a TCP connection to a server can be made from here: many addresses at once, and never beyond the deadline."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from typing import Dict, List, Mapping, NamedTuple, Sequence, Set

from vmprobe.core.clock import Deadline

_PATIENCE = 3.0  # seconds that all connections that are tried at once have together
_AT_ONCE = 200  # connections; a process has 1024 descriptors where nobody said otherwise
_OF_ONE = 16  # addresses of a server that are tried: a list of hundreds is not one that a person would use
_SLICE = 0.2  # seconds after which the deadline is asked again, and a signal is heard


class _Target(NamedTuple):
    server: str
    address: str


def unreached(
    addresses: Mapping[str, Sequence[str]], port: int, deadline: Deadline
) -> Dict[str, str]:
    """For each server '' if one of its addresses takes a connection, else the reason of the last address that does not.

    Raises as ``deadline.check`` does as soon as the time is over or a signal came. Names are not looked up: what a
    manager shows is an address, and a look-up knows no deadline.
    """
    reasons: Dict[str, str] = {
        server: "" if found else "has no address" for server, found in addresses.items()
    }
    targets = [
        _Target(server, address)
        for server, found in addresses.items()
        for address in found[:_OF_ONE]
    ]
    reached: Set[str] = set()
    for start in range(0, len(targets), _AT_ONCE):
        batch = [
            target for target in targets[start : start + _AT_ONCE] if target.server not in reached
        ]
        _connect(batch, port, deadline, reached, reasons)
    return {server: "" if server in reached else reason for server, reason in reasons.items()}


def _connect(
    batch: Sequence[_Target],
    port: int,
    deadline: Deadline,
    reached: Set[str],
    reasons: Dict[str, str],
) -> None:
    """Try all of these at once; who answers first is reached, and of the others the reason is noted."""
    deadline.check()
    end = time.monotonic() + min(_PATIENCE, deadline.left())
    sockets: List[socket.socket] = []
    with selectors.DefaultSelector() as waiting:
        try:
            for target in batch:
                _begin(target, port, sockets, waiting, reached, reasons)
            while waiting.get_map() and time.monotonic() < end:
                for key, _ in waiting.select(min(_SLICE, max(0.0, end - time.monotonic()))):
                    waiting.unregister(key.fileobj)
                    _note(
                        key.data,
                        port,
                        key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
                        reached,
                        reasons,
                    )
                deadline.check()
                if all(target.server in reached for target in batch):
                    break
        finally:
            for opened in sockets:
                opened.close()


def _begin(
    target: _Target,
    port: int,
    sockets: List[socket.socket],
    waiting: selectors.BaseSelector,
    reached: Set[str],
    reasons: Dict[str, str],
) -> None:
    """Begin one connection; what fails at once is noted at once."""
    try:
        [(family, kind, number, _, place), *_] = socket.getaddrinfo(
            target.address,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        opened = socket.socket(family, kind, number)
    except socket.gaierror:
        reasons[target.server] = f"{target.address} is not an IP address"
        return
    except (OSError, UnicodeError, ValueError) as failed:
        reasons[target.server] = (
            f"{target.address} port {port}: {getattr(failed, 'strerror', '') or 'cannot be asked'}"
        )
        return
    sockets.append(opened)
    opened.setblocking(False)
    begun = opened.connect_ex(place)
    if begun == errno.EINPROGRESS:
        reasons[target.server] = f"{target.address} port {port}: no answer"
        waiting.register(opened, selectors.EVENT_WRITE, target)
    else:
        _note(target, port, begun, reached, reasons)


def _note(
    target: _Target, port: int, failed: int, reached: Set[str], reasons: Dict[str, str]
) -> None:
    if failed:
        reasons[target.server] = f"{target.address} port {port}: {os.strerror(failed)}"
    else:
        reached.add(target.server)
