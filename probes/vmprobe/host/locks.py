"""Lock files. One process holds the lock of a file; however it ends, the kernel releases the lock.

Nothing here waits. A caller that has to wait tries again, within its deadline.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from vmprobe.host import files

_FOREIGN = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a link, a directory, a socket


def open_lock(path: str) -> int:
    """Open the lock file at ``path`` and return its descriptor; OSError is passed on.

    The file and its directory are created if they are not there. A link, a pipe or an empty
    directory in the place of the file is replaced.
    """
    directory = os.path.dirname(path)
    files.make_own_directory(directory)
    try:
        descriptor = _open(path)
    except OSError as failed:
        if failed.errno not in _FOREIGN:
            raise
        _remove(path)
        descriptor = _open(path)
    files.match_owner(descriptor, directory)
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Take the lock; False when another process holds it. OSError where locks do not work."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: str) -> int:
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
    )
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.ENXIO, "is not a regular file", path)


def _remove(path: str) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)
