"""At most so many runs of this host at once against one endpoint: whoever comes later waits for its turn.

A turn is a locked file below the state directory; the kernel lets go of it however its holder ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import Iterator, List

from vmprobe import files, paths
from vmprobe.clock import Deadline
from vmprobe.errors import ClientError, DeadlinePassed
from vmprobe.site import Site


@contextlib.contextmanager
def taken(site: Site, deadline: Deadline) -> Iterator[None]:
    """Hold one of the endpoint's turns, which are ``[schedule] parallel``; waiting counts against the deadline.

    Sites at the same endpoint share them. ClientError when no turn came in half of the time there is.
    """
    many = site.schedule.get("parallel")
    if not many:
        yield
        return
    patience = deadline.left() / 2
    with contextlib.ExitStack() as held:
        turns = [_open(site, number, held) for number in range(many)]
        try:
            for _ in deadline.polls(deadline.clock.now(), first=0.0):
                if _locked(turns):
                    break
                if deadline.elapsed() >= patience:
                    raise DeadlinePassed("")
        except DeadlinePassed:
            raise ClientError(f"{many} {'run is' if many == 1 else 'runs are'} at this endpoint already, and none ended within "
                              f"{patience:g} s; [schedule] parallel allows no more") from None
        yield


def _open(site: Site, number: int, held: contextlib.ExitStack) -> int:
    endpoint = site.endpoint.get("url") or site.driver.__module__
    folder = os.path.join(paths.state_directory(), "turn")
    path = os.path.join(folder, f"{hashlib.sha256(str(endpoint).encode()).hexdigest()[:16]}-{number}")
    try:
        files.own(folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        held.callback(os.close, descriptor)
        files.belong(descriptor, folder)
    except OSError as failed:
        raise ClientError(f"[schedule] parallel: {path}: {failed.strerror}") from None
    return descriptor


def _locked(turns: List[int]) -> bool:
    for descriptor in turns:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False
