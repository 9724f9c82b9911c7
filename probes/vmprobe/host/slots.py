"""At most so many runs of this host at once against one endpoint: whoever comes later waits for its turn.

A turn is a locked file below the state directory; the kernel lets go of it however its holder ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Callable, Iterator, Optional

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError, DeadlinePassed
from vmprobe.host import locks, paths
from vmprobe.site.site import Site


@contextlib.contextmanager
def taken(site: Site, deadline: Deadline, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold one of the endpoint's turns, which are ``[schedule] parallel``; waiting counts against the deadline.

    Sites at the same endpoint share them. ClientError when no turn came in half of the time there is. Where turns cannot
    be kept, because of the state directory or its file system, the run goes on without one, and ``tell`` is called with why.
    """
    many = site.schedule.get("parallel")
    with contextlib.ExitStack() as held:
        if many:
            try:
                held.callback(os.close, _wait(site, many, deadline))
            except OSError as failed:
                tell(f"[schedule] parallel cannot be kept: {failed.strerror}: {failed.filename}")
        yield


def _wait(site: Site, many: int, deadline: Deadline) -> int:
    """The descriptor of a turn, once there is one; OSError when there can be none."""
    patience = deadline.left() / 2
    try:
        for _ in deadline.polls(deadline.clock.now(), first=0.0):
            turn = _free(site, many)
            if turn is not None:
                return turn
            if deadline.elapsed() >= patience:
                break
    except DeadlinePassed:
        pass
    raise ClientError(
        f"{many} {'run is' if many == 1 else 'runs are'} at this endpoint already, and none ended within "
        f"{patience:g} s; [schedule] parallel allows no more"
    )


def _free(site: Site, many: int) -> Optional[int]:
    """The descriptor of a turn that nobody has; None when all are taken, OSError when one that is not cannot be had."""
    endpoint = str(site.endpoint.get("url") or site.driver.__module__)
    stem = os.path.join(
        paths.state_directory(), "turn", hashlib.sha256(endpoint.encode()).hexdigest()[:16]
    )
    for number in range(many):
        path = f"{stem}-{number}"
        turn = -1
        try:
            turn = locks.open_lock(path)
            if locks.try_lock(turn):
                return turn
            os.close(turn)
        except OSError as failed:
            if turn >= 0:
                os.close(turn)
            failed.filename = path
            raise
    return None
