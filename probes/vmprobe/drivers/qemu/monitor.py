"""A conversation with QEMU through its monitor. Source: QEMU QMP Reference Manual."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol

from vmprobe.core.errors import CloudError, Unreachable
from vmprobe.drivers.qemu.processes import Process

_DISCONNECT = 1.0  # seconds


class Ask(Protocol):
    """Sends one QMP command and returns what QEMU answers; CloudError with its words when it
    refuses.
    """

    def __call__(self, command: str, arguments: Optional[Dict[str, Any]] = None) -> Any: ...


@contextlib.contextmanager
def conversation(
    process: Process,
    limit: Callable[[], float],
    record: Callable[[str, str], None],
) -> Iterator[Ask]:
    """Connect to the monitor of a QEMU, yield the function that asks it, and disconnect.

    ``limit`` returns the seconds that each exchange may take now; ``record`` is told each command
    and answer. Unreachable when QEMU does not answer in time; its ``sent`` is False when nobody
    listens yet.
    """
    import asyncio

    from qemu.qmp import ConnectError, ExecuteError, QMPClient

    try:
        # The socket is reached through a descriptor: a socket's path may have 107 bytes only.
        directory = os.open(f"/proc/{process.pid}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise Unreachable(f"QEMU {process.pid} is gone", sent=False) from None
    try:
        loop = asyncio.new_event_loop()
    except OSError:
        os.close(directory)
        raise
    client = QMPClient()

    def wait_for(what: str, exchange: Any) -> Any:
        try:
            return loop.run_until_complete(asyncio.wait_for(exchange, limit()))
        except asyncio.TimeoutError:
            raise Unreachable(f"QEMU {process.pid} does not answer: {what}") from None
        except ConnectError as failed:
            nobody_listens = isinstance(failed.exc, (FileNotFoundError, ConnectionRefusedError))
            raise Unreachable(
                f"QEMU {process.pid}: {what}: {failed.exc}", sent=not nobody_listens
            ) from None
        except ExecuteError as refused:
            raise CloudError(f"{what}: {refused}") from None
        except Exception as failed:
            # When an answer is hostile, the library also raises errors that are no QMPError.
            reason = failed or type(failed).__name__
            raise Unreachable(f"QEMU {process.pid}: {what}: {reason}") from None

    def ask(command: str, arguments: Optional[Dict[str, Any]] = None) -> Any:
        sent = f"{command} {json.dumps(arguments) if arguments else ''}".rstrip()
        record(sent, "")
        answer = wait_for(command, client.execute(command, arguments))
        record("", f"{command}: {json.dumps(answer)[:1000]}")
        return answer

    try:
        wait_for("connect", client.connect(f"/proc/self/fd/{directory}/monitor"))
        yield ask
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as malformed:
        raise Unreachable(
            f"QEMU {process.pid} sends an answer that cannot be understood: "
            f"{type(malformed).__name__}: {malformed}"
        ) from None
    finally:
        try:
            # A QEMU that has ended meanwhile cannot be disconnected from, and need not be.
            with contextlib.suppress(Exception):
                loop.run_until_complete(asyncio.wait_for(client.disconnect(), _DISCONNECT))
        finally:
            os.close(directory)
            loop.close()


def open_nodes(ask: Ask) -> List[str]:
    """The names of the block nodes that QEMU has open."""
    return [node["node-name"] for node in ask("query-named-block-nodes", {"flat": True})]


def guest_disks(ask: Ask) -> List[str]:
    """The ids of the disks that the guest has (``qdev`` is the id, or a path that contains it)."""
    return [part for disk in ask("query-block") for part in disk.get("qdev", "").split("/")]
