"""Files of the driver on this host: volumes, the directories of servers, and where they all lie."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from typing import Iterator, Sequence, Tuple

from vmprobe.core.errors import ClientError, CloudError, Conflict, GatewayFailed


def default_directory(state: str) -> str:
    """Where this user's servers and volumes lie below the state directory.

    A directory of the user's own if other users can write to the state directory.
    """
    state_path = os.path.abspath(state)
    existing = next(path for path in _upwards(state_path) if os.path.isdir(path))
    status = os.stat(existing)
    if existing == state_path:
        is_own = status.st_uid == os.geteuid() and not status.st_mode & 0o022
    else:  # when root makes it, it will belong to the owner of its parent
        is_own = os.geteuid() != 0 or status.st_uid == 0
    return os.path.join(state, "qemu" if is_own else f"qemu-{os.geteuid()}")


def absolute(text: str) -> str:
    """An absolute path, ``~`` expanded; ValueError for any other."""
    path = os.path.expanduser(text)
    if not os.path.isabs(path):
        raise ValueError("is not an absolute path")
    return path


def check_directory(base: str, kinds: Sequence[str]) -> None:
    """ClientError unless only this user can write to ``base``: others could make us delete their
    files.
    """
    existing = next(path for path in _upwards(base) if os.path.lexists(path))
    if not os.access(existing, os.W_OK | os.X_OK) or not os.path.isdir(existing):
        raise ClientError(
            f"{existing} cannot be written to, and servers and volumes have to lie in {base}"
        )
    status = os.stat(existing)
    if existing == base and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise ClientError(f"{base} is not a directory that only this user can write to")
    for kind in kinds:
        below = os.path.join(base, kind)
        if os.path.lexists(below) and not stat.S_ISDIR(os.lstat(below).st_mode):
            raise ClientError(
                f"{below} is not a directory; servers and volumes have to lie in {base}"
            )


def create_sparse(path: str, size: int) -> None:
    """Create a file of ``size`` bytes that takes no space yet; FileExistsError if it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Remove a file or directory.

    Conflict if its QEMU creates files in it meanwhile: the next try removes them.
    """
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


def read_end(path: str, limit: int = 2**20) -> str:
    """The last ``limit`` bytes of a regular file as text; '' if there is no such file.

    Never waits for a pipe or a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return ""
            if status.st_size > limit:
                file.seek(status.st_size - limit)
            return file.read(limit).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return ""
    except OSError as failed:
        if failed.errno == errno.ENXIO:  # a socket
            return ""
        raise


def space(path: str) -> Tuple[int, int]:
    """(used, total) bytes of the file system that ``path`` lies on or will lie on."""
    status = os.statvfs(next(above for above in _upwards(path) if os.path.isdir(above)))
    used = status.f_blocks - status.f_bfree
    return used * status.f_frsize, (used + status.f_bavail) * status.f_frsize


def memory() -> Tuple[int, int]:
    """(used, total) bytes of this host's memory; what could be freed at once counts as free."""
    sizes = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in read_end("/proc/meminfo").splitlines()
    }
    if not {"MemTotal", "MemAvailable"} <= set(sizes):
        raise GatewayFailed("/proc/meminfo does not say how much memory there is")
    return sizes["MemTotal"] - sizes["MemAvailable"], sizes["MemTotal"]


def last_message(server: str) -> str:
    """Why the QEMU of this directory ended: its last error, else its last line, else the end of the
    guest's console.
    """
    lines = [line.strip() for line in read_end(os.path.join(server, "stderr")).splitlines()]
    lines = [line for line in lines if line]
    errors = [
        line.partition(": ")[2] for line in lines if re.match(r"\S*qemu\S*: (?!warning: )", line)
    ]
    if errors or lines:
        return (errors or lines)[-1]
    console = [
        line.strip() for line in read_end(os.path.join(server, "console"), 4096).splitlines()
    ]
    console = [line for line in console if line]
    return f"its console ends with: {console[-1]}" if console else "it ended without any message"


@contextlib.contextmanager
def errors_of(what: str, cause: str = "") -> Iterator[None]:
    """Turn the operating system's errors into CloudError; ``what`` is the object they are about."""
    try:
        yield
    except FileExistsError:
        raise CloudError(f"{what} exists already", cause) from None
    except OSError as failed:
        parts = filter(None, (what, failed.strerror, failed.filename))
        raise CloudError(": ".join(parts), cause) from None


def _upwards(path: str) -> Iterator[str]:
    while True:
        yield path
        path = os.path.dirname(path)
