"""Files of this suite's own: written whole or not at all, in directories where nobody else can put something in their place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import tempfile
from typing import Any, BinaryIO, Callable, Tuple

from vmprobe.core.clock import Deadline

_LARGEST = 16 * 2**20
_LOCK_PAUSE = 0.1  # seconds between two attempts at a lock


def replace(path: str, text: str, mode: int = 0o600) -> str:
    """Put ``text`` in the place of what is at ``path``, and return the path; OSError as it comes.

    Who reads meanwhile has the old text or the new one. A symbolic link is replaced and not followed.
    """
    directory = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".vmprobe-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def replace_regular(path: str, text: str) -> str:
    """As ``replace``, at a place that a person named: a device, a pipe or a link that is there stays what it is; OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
    return replace(path, text)


def open_regular(path: str, most: int) -> BinaryIO:
    """A regular file of up to ``most`` bytes, to be read; OSError as it comes. Never waits for whoever writes into a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    wrong = (
        "is not a regular file"
        if not stat.S_ISREG(found.st_mode)
        else f"is larger than {most} bytes"
        if found.st_size > most
        else ""
    )
    if wrong:
        os.close(descriptor)
        raise OSError(errno.EINVAL, wrong)
    return open(descriptor, "rb")


def read(path: str, most: int) -> bytes:
    """What a regular file of up to ``most`` bytes holds; OSError as it comes, and nothing is ever waited for."""
    with open_regular(path, most) as file:
        return _all_of(file, most)


class Exposed(PermissionError):
    """A file with a secret that another user can read, or that another user has written."""


def read_secret(
    path: str,
    most: int,
    holds_secret: Callable[[bytes], bool] = lambda held: True,
    searched: bool = False,
) -> bytes:
    """As ``read``, of a file that holds a secret: Exposed where another user can read it or has put it there.

    ``holds_secret`` is asked about the content of a file that may hold one or not, such as a certificate with or
    without its key. Without a secret in it everybody may read the file, but nobody else may have written it.
    ``searched``: nobody named the file, it was found at a usual place; then root reads no other user's either.
    """
    with open_regular(path, most) as file:
        held = _all_of(file, most)
        wrong = _exposed(path, os.fstat(file.fileno()), holds_secret(held), searched)
    if wrong:
        raise Exposed(errno.EPERM, wrong)
    return held


def _exposed(path: str, found: os.stat_result, holds_secret: bool, searched: bool) -> str:
    """Why what is in a file may be known to other users or be of their making; '' where only its owner has access."""
    mode = stat.S_IMODE(found.st_mode)
    if holds_secret and mode & 0o077:
        return f"has mode {mode:04o}: others than its owner have access; chmod 0600 it"
    if mode & 0o022:
        return f"has mode {mode:04o}: others than its owner can write into it; chmod go-w it"
    owners = ((found, os.path.realpath(path)), (os.lstat(path), os.path.abspath(path)))
    if not all(_is_trusted(owner.st_uid, where, searched) for owner, where in owners):
        return "belongs to another user"
    return ""


def _is_trusted(user: int, path: str, searched: bool) -> bool:
    """Whether a file or link may be this user's.

    Root may also read what belongs to another user, such as the monitoring user's own credentials, but not in a
    directory where everybody can put something.
    """
    if user in (0, os.geteuid()):
        return True
    return (
        os.geteuid() == 0
        and not searched
        and not os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    )


def _all_of(file: BinaryIO, most: int) -> bytes:
    held = file.read(most + 1) or b""  # a file of the kernel's may have nothing to say now
    if len(held) > most:
        raise OSError(errno.EINVAL, f"is larger than {most} bytes")
    return held


def lock(descriptor: int, deadline: Deadline) -> None:
    """Take the lock of an open file, waiting for others no longer than ``deadline`` allows; raises as its ``sleep``, and OSError."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            deadline.sleep(_LOCK_PAUSE)


# --- what a probe remembers from one run to the next ----------------------------------------------------------------


def save_json(path: str, document: Any) -> None:
    """Keep ``document`` for the next run; OSError where it cannot be kept. No lock: the last of two runs is remembered."""
    directory = os.path.dirname(path)
    make_own_directory(directory)
    text = json.dumps(document, allow_nan=False) + "\n"
    try:
        replace(path, text)
    except IsADirectoryError:  # not ours, and it would be in the way for ever
        os.rename(path, f"{path}.damaged")
        replace(path, text)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        match_owner(descriptor, directory)
    finally:
        os.close(descriptor)


def load_json(path: str, parse: Callable[[Any], Any], nothing: Any) -> Tuple[Any, str]:
    """What ``parse`` makes of the document that was remembered, and what was wrong with it, '' if nothing.

    ``nothing`` before the first run. What cannot be understood is set aside for people, and nothing is remembered.
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
            os.replace(path, f"{path}.damaged")
        return nothing, f"{path} was damaged and is set aside"
    except OSError as failed:
        return nothing, f"{path} cannot be read: {failed.strerror}"


# --- directories ----------------------------------------------------------------------------------------------------


def make_public_directory(path: str) -> None:
    """Make a directory that anybody may enter, and those above it, whatever the caller's umask is; OSError as it comes.

    One that is there stays as it is; what a directory hands down, such as its group, stays, too.
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
    """Make the directory if need be; OSError when it is another user's, or others can write there.

    Below a directory that a group shares (its mode is 2770, as the packages make the state directory), the members of the
    group share it, too.
    """
    _make(path)
    found, above = os.lstat(path), os.stat(os.path.dirname(os.path.abspath(path)))
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, f"{path} is not a directory")
    if found.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, f"everybody can write in {path}")
    if _is_shared(above) and not _is_shared(found) and os.geteuid() in (0, found.st_uid):
        _share(path)  # made before the directory above was shared
        return
    is_shared = _is_shared(above) and _is_shared(found) and found.st_gid == above.st_gid
    if os.geteuid() not in (0, found.st_uid) and found.st_uid != 0 and not is_shared:
        raise OSError(errno.EPERM, f"{path} is another user's")


def _make(path: str) -> None:
    """A directory for this user only, or for the group that shares the one above.

    Made by root, it is its parent's owner's: the next run may be the scheduler's.
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
    """A file made by root is its directory's owner's, too; one in a directory that a group shares is the group's."""
    where = os.lstat(directory)
    if os.geteuid() == 0:
        os.fchown(descriptor, where.st_uid, where.st_gid)
    if _is_shared(where) and os.geteuid() in (0, os.fstat(descriptor).st_uid):
        os.fchmod(descriptor, 0o660)


def _is_shared(directory: os.stat_result) -> bool:
    """Whether the members of a group keep what is theirs together in a directory: mode 2770 or 2775."""
    mode = directory.st_mode
    return bool(mode & stat.S_ISGID and mode & stat.S_IWGRP) and not mode & stat.S_IWOTH


def _share(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, -1, os.stat(os.path.dirname(os.path.abspath(path))).st_gid)
        os.fchmod(descriptor, 0o2770)
    finally:
        os.close(descriptor)
