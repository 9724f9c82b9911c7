"""Read and write files safely: replaced as a whole or not at all, in directories of our own.

Nobody else can put something in the place of a file that is written here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from typing import Any, BinaryIO, Callable, Tuple, TypeVar, Union

from vmprobe.core.clock import Deadline

T = TypeVar("T")
_LARGEST = 16 * 2**20  # bytes of a JSON document
_LOCK_PAUSE = 0.1  # seconds between two attempts at a lock


# --- write ---


def replace(
    path: str,
    content: Union[str, bytes],
    mode: int = 0o600,
    sync: bool = True,
    temporary: str = "",
) -> str:
    """Replace a file as a whole, and return its path. OSError is passed on.

    Whoever reads meanwhile gets the old content or the new one. A symbolic link is replaced, not
    followed. The umask does not change ``mode``. Text is written as UTF-8. Without ``sync`` the new
    content may be lost when the machine crashes.

    ``temporary``: the path of the new file until it is complete, for callers that hold a lock. What
    a killed run has left there is removed. By default the path is a new one each time.
    """
    data = content.encode() if isinstance(content, str) else content
    if temporary:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    else:
        directory = os.path.dirname(os.path.abspath(path))
        temporary = os.path.join(directory, f".vmprobe-{os.urandom(8).hex()}")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        try:
            os.fchmod(descriptor, mode)
            while data:
                data = data[os.write(descriptor, data) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def replace_regular(path: str, text: str) -> str:
    """As ``replace``, for a path that a person gave: OSError where a device or a link is there."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
    return replace(path, text)


def move(source: str, target: str) -> None:
    """Move a complete file to its place, in the same file system. What is there is replaced."""
    os.replace(source, target)


# --- read ---


def open_regular(path: str, limit: int) -> BinaryIO:
    """Open a regular file of up to ``limit`` bytes for reading.

    OSError is passed on; its ``strerror`` says what is wrong where the file is something else, or
    larger. This never waits for a process that writes into a pipe.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    wrong = ""
    if not stat.S_ISREG(status.st_mode):
        wrong = "is not a regular file"
    elif status.st_size > limit:
        wrong = f"is larger than {limit} bytes"
    if wrong:
        os.close(descriptor)
        raise OSError(errno.EINVAL, wrong)
    return open(descriptor, "rb")


def read(path: str, limit: int) -> bytes:
    """Return the content of a regular file of up to ``limit`` bytes; errors as ``open_regular``."""
    with open_regular(path, limit) as file:
        return _read_all(file, limit)


class Exposed(PermissionError):
    """A file with a secret that another user can read, or that another user has written."""


def read_secret(
    path: str,
    limit: int,
    holds_secret: Callable[[bytes], bool] = lambda content: True,
    searched: bool = False,
) -> bytes:
    """As ``read``, for a secret; Exposed where another user can read the file or has written it.

    ``holds_secret`` is asked about the content of a file that may have a secret in it or not, such
    as a certificate with or without its key. Without a secret everybody may read the file, but
    nobody else may have written it. ``searched``: nobody named the file, it was found at a usual
    place; then even root reads no other user's file.
    """
    with open_regular(path, limit) as file:
        content = _read_all(file, limit)
        status = os.fstat(file.fileno())
        wrong = _exposure(path, status, holds_secret(content), searched)
    if wrong:
        raise Exposed(errno.EPERM, wrong)
    return content


def _exposure(path: str, status: os.stat_result, holds_secret: bool, searched: bool) -> str:
    """Say why other users may know or have written the content; '' where they may not."""
    mode = stat.S_IMODE(status.st_mode)
    if holds_secret and mode & 0o077:
        return f"has mode {mode:04o}: others than its owner have access; chmod 0600 it"
    if mode & 0o022:
        return f"has mode {mode:04o}: others than its owner can write into it; chmod go-w it"
    # The file itself, and the link to it where the path is one.
    owners = ((status, os.path.realpath(path)), (os.lstat(path), os.path.abspath(path)))
    if not all(_is_trusted(owner.st_uid, where, searched) for owner, where in owners):
        return "belongs to another user"
    return ""


def _is_trusted(user: int, path: str, searched: bool) -> bool:
    """Whether a file or link of this user can be relied on.

    Root may also read the file of another user, such as the monitoring user's own credentials, but
    not in a directory where everybody can create files.
    """
    if user in (0, os.geteuid()):
        return True
    return (
        os.geteuid() == 0
        and not searched
        and not os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    )


def _read_all(file: BinaryIO, limit: int) -> bytes:
    content = file.read(limit + 1) or b""  # a file below /proc may return None
    if len(content) > limit:
        raise OSError(errno.EINVAL, f"is larger than {limit} bytes")
    return content


def lock(descriptor: int, deadline: Deadline) -> None:
    """Lock an open file, and wait for other holders within the deadline.

    DeadlinePassed and Interrupted as ``Deadline.sleep``; OSError is passed on.
    """
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            deadline.sleep(_LOCK_PAUSE)


# --- JSON documents that a check keeps from one run to the next ---


def set_aside(path: str, suffix: str = "") -> str:
    """Rename a damaged file, so that people see it and no run reads it again; return the new path.

    Its name then ends in ``.damaged``, instead of ``suffix``.
    """
    aside = f"{path[: -len(suffix)] if suffix else path}.damaged"
    os.rename(path, aside)
    return aside


def save_json(path: str, document: object) -> None:
    """Keep ``document`` for the next run; OSError where it cannot be kept.

    There is no lock: of two runs at the same time, the later one's document stays.
    """
    directory = os.path.dirname(path)
    make_own_directory(directory)
    text = json.dumps(document, allow_nan=False) + "\n"
    try:
        replace(path, text)
    except IsADirectoryError:  # not ours, and it would be in the way for ever
        set_aside(path)
        replace(path, text)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        match_owner(descriptor, directory)
    finally:
        os.close(descriptor)


def load_json(path: str, parse: Callable[[Any], T], nothing: T) -> Tuple[T, str]:
    """Return what ``parse`` makes of the saved document, and what is wrong with it ('': nothing).

    ``nothing`` is returned before the first run, and where the document cannot be read. A document
    that cannot be parsed is set aside for people.
    """
    try:
        make_own_directory(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return nothing, ""
    except OSError as failed:
        return nothing, f"{path} cannot be read: {failed.strerror}"
    try:
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return nothing, f"{path} cannot be read: it is no file"
            return parse(json.loads(file.read(_LARGEST))), ""
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        with contextlib.suppress(OSError):
            set_aside(path)
        return nothing, f"{path} was damaged and is set aside"
    except OSError as failed:
        return nothing, f"{path} cannot be read: {failed.strerror}"


# --- directories ---


def make_public_directory(path: str) -> None:
    """Create a directory that every user may enter, and those above it; OSError is passed on.

    The umask does not matter. A directory that is there stays as it is. What a directory hands
    down, such as its group, is kept.
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above and not os.path.lexists(above):
        make_public_directory(above)
    try:
        os.mkdir(path)
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & 0o7000 | 0o755)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def make_own_directory(path: str) -> None:
    """Create a directory for this user if it is not there.

    OSError when it belongs to another user, or others can write in it. Below a directory that a
    group shares (mode 2770, as the packages create the state directory) the members of the group
    share it, too.
    """
    _make(path)
    status, above = os.lstat(path), os.stat(os.path.dirname(os.path.abspath(path)))
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, f"{path} is not a directory")
    if status.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, f"everybody can write in {path}")
    if _is_shared(above) and not _is_shared(status) and os.geteuid() in (0, status.st_uid):
        _share(path)  # it was created before the directory above was shared
        return
    is_shared = _is_shared(above) and _is_shared(status) and status.st_gid == above.st_gid
    if os.geteuid() not in (0, status.st_uid) and status.st_uid != 0 and not is_shared:
        raise OSError(errno.EPERM, f"{path} is another user's")


def _make(path: str) -> None:
    """Create a directory for this user only, or for the group that shares the one above.

    If root creates it, it gets the owner of the directory above: the next run may be the
    scheduler's.
    """
    if os.path.lexists(path):
        return
    above = os.path.dirname(os.path.abspath(path))
    _make(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    parent = os.stat(above)
    if os.geteuid() == 0:
        os.chown(path, parent.st_uid, parent.st_gid, follow_symlinks=False)
    if _is_shared(parent):
        _share(path)


def match_owner(descriptor: int, directory: str) -> None:
    """Give a file that root has created to the owner of its directory.

    In a directory that a group shares, the group gets access to the file.
    """
    status = os.lstat(directory)
    if os.geteuid() == 0:
        os.fchown(descriptor, status.st_uid, status.st_gid)
    if _is_shared(status) and os.geteuid() in (0, os.fstat(descriptor).st_uid):
        os.fchmod(descriptor, 0o660)


def _is_shared(directory: os.stat_result) -> bool:
    """Whether the members of a group share a directory: its mode is 2770 or 2775."""
    mode = directory.st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP) and not mode & stat.S_IWOTH


def _share(path: str) -> None:
    """Let the group of the directory above share this directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, -1, os.stat(os.path.dirname(os.path.abspath(path))).st_gid)
        os.fchmod(descriptor, 0o2770)
    finally:
        os.close(descriptor)
