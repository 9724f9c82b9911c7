"""Connect to servers by TCP from here: to many addresses at once, and never beyond the deadline."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from typing import Dict, List, Mapping, NamedTuple, Sequence, Set

from vmprobe.core.clock import Deadline

_PATIENCE = 3.0  # seconds for all connections that are tried at once
_AT_ONCE = 200  # connections; by default a process may have 1024 open files
_MOST_ADDRESSES = 16  # of one server
_SLICE = 0.2  # seconds between two checks of the deadline and of signals


class _Target(NamedTuple):
    server: str
    address: str


def unreached(
    addresses: Mapping[str, Sequence[str]], port: int, deadline: Deadline
) -> Dict[str, str]:
    """Return for each server '' if one of its addresses accepts a connection, else the reason why
    the last one does not.

    Raises as ``deadline.check`` does when the time is over or a signal arrived. Host names are not
    resolved: managers show addresses, and resolving obeys no deadline.
    """
    reasons: Dict[str, str] = {
        server: "" if own else "has no address" for server, own in addresses.items()
    }
    targets = [
        _Target(server, address)
        for server, own in addresses.items()
        for address in own[:_MOST_ADDRESSES]
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
    """Try all of these at once; adds servers to ``reached``, and failures to ``reasons``."""
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
                    target, connection = key.data
                    failure = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    _note(target, port, failure, reached, reasons)
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
    """Begin one connection, which may fail or succeed at once."""
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
    except (OSError, UnicodeError, ValueError) as error:
        reasons[target.server] = (
            f"{target.address} port {port}: {getattr(error, 'strerror', '') or 'cannot be asked'}"
        )
        return
    sockets.append(opened)
    opened.setblocking(False)
    begun = opened.connect_ex(place)
    if begun == errno.EINPROGRESS:
        reasons[target.server] = f"{target.address} port {port}: no answer"
        waiting.register(opened, selectors.EVENT_WRITE, (target, opened))
    else:
        _note(target, port, begun, reached, reasons)


def _note(
    target: _Target, port: int, failure: int, reached: Set[str], reasons: Dict[str, str]
) -> None:
    if failure:
        reasons[target.server] = f"{target.address} port {port}: {os.strerror(failure)}"
    else:
        reached.add(target.server)
