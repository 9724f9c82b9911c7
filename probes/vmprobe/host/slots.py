"""Limit how many runs of this host use one endpoint at once. A later run waits for a slot.

A slot is a locked file below the state directory. However the run ends, the kernel releases it.
"""

from __future__ import annotations

import contextlib
import os
from typing import Callable, Iterator, Optional

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError, DeadlinePassed
from vmprobe.host import locks, paths


@contextlib.contextmanager
def hold(
    endpoint: str, parallel: Optional[int], deadline: Deadline, warn: Callable[[str], None]
) -> Iterator[None]:
    """Hold one of the ``parallel`` slots of an endpoint; None or 0: there is no limit.

    ``endpoint`` is any name of the endpoint, such as its URL; sites with the same name share the
    slots. Waiting counts against the deadline. ClientError when no slot is free within half of the
    time that is left. Where slots cannot be kept, because of the state directory or its file
    system, the run goes on without one, and ``warn`` is called with the reason.
    """
    with contextlib.ExitStack() as held:
        if parallel:
            try:
                held.callback(os.close, _wait(endpoint, parallel, deadline))
            except OSError as failed:
                warn(f"[schedule] parallel cannot be kept: {failed.strerror}: {failed.filename}")
        yield


def _wait(endpoint: str, parallel: int, deadline: Deadline) -> int:
    """Wait for a slot and return its descriptor; OSError when slots cannot be kept."""
    longest = deadline.left() / 2
    try:
        for _ in deadline.polls(deadline.clock.now(), first=0.0):
            slot = _free_slot(endpoint, parallel)
            if slot is not None:
                return slot
            if deadline.elapsed() >= longest:
                break
    except DeadlinePassed:
        pass
    raise ClientError(
        f"{parallel} {'run is' if parallel == 1 else 'runs are'} at this endpoint already, and "
        f"none ended within {longest:g} s; [schedule] parallel allows no more"
    )


def _free_slot(endpoint: str, parallel: int) -> Optional[int]:
    """Lock a free slot and return its descriptor; None when all are in use.

    OSError, with the path of the slot, when a slot cannot be opened or locked.
    """
    import hashlib  # not at the top: it loads OpenSSL, and most sites have no limit

    name = hashlib.sha256(endpoint.encode()).hexdigest()[:16]
    stem = os.path.join(paths.state_directory(), "turn", name)
    for number in range(parallel):
        path = f"{stem}-{number}"
        slot = -1
        try:
            slot = locks.open_lock(path)
            if locks.try_lock(slot):
                return slot
            os.close(slot)
        except OSError as failed:
            if slot >= 0:
                os.close(slot)
            failed.filename = path
            raise
    return None
