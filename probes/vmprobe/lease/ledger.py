"""The ledger: what one run owes. Each resource is on disk before it is asked for.

There is one file for each lease, named after its handle; ``entries`` has the format of its lines.
The file is append-only, fsynced, and locked as long as its run lives. So a ledger that can be
locked belongs to a run that has ended, and its lines that are not settled are debts. It holds no
secret.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
from typing import Iterable, List, Optional

from vmprobe.core import handle as handles
from vmprobe.core.handle import Handle
from vmprobe.core.model import Kind, Ref
from vmprobe.host import files
from vmprobe.lease import entries
from vmprobe.lease.entries import Debt, Entry, Owed

_SUFFIX = ".ledger"
_NEW = ".new"  # of a ledger whose lease has not begun: nothing is owed yet
_LARGEST = 4 * 2**20  # bytes
# With these errors nobody can tell whether the run of a ledger lives.
_CANNOT_TELL = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Ledger:
    """What is owed, in memory and in a locked file.

    What cannot be written to the file stays in memory; then ``warning`` says why.
    """

    def __init__(self, path: str = "", descriptor: Optional[int] = None):
        self.path, self.warning = path, ""
        self.damaged = False  # some lines are missing or cannot be understood
        self.denied = False  # another user's file, or too many files are open: it cannot be opened
        self._descriptor = descriptor
        self._size, self._unwritten = 0, b""
        self._owed = Owed(self._name)

    # --- open and close ---

    @classmethod
    def begin(cls, directory: str, handle: Handle, **about: object) -> "Ledger":
        """Create the ledger of a new lease; ``about`` says which site and endpoint.

        Where there can be no file the ledger is in memory only, and ``warning`` says so: the handle
        in the cloud still finds everything.
        """
        ledger = cls(os.path.join(directory, str(handle) + _SUFFIX))
        try:
            files.make_own_directory(directory)
            ledger._descriptor = _open(ledger.path + _NEW, os.O_CREAT | os.O_EXCL)
            files.match_owner(ledger._descriptor, directory)
            fcntl.flock(ledger._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ledger._record({"event": "lease", "handle": str(handle), "pid": os.getpid(), **about})
            if not ledger.warning:
                # Only now others see it: locked, and with its first line.
                os.rename(ledger.path + _NEW, ledger.path)
        except OSError as failed:
            ledger._give_up(failed)
        if ledger.warning:
            ledger.close(settled=False)
            with contextlib.suppress(OSError):
                os.unlink(ledger.path + _NEW)
            return ledger
        try:
            _sync(directory)
        except OSError as failed:
            ledger._give_up(failed)  # and go on: the file is there, and must stay locked
        return ledger

    @classmethod
    def of_ended_run(cls, path: str) -> Optional["Ledger"]:
        """Lock and read the ledger in a file; None when its run lives, or has just ended.

        A ledger that cannot be read is empty, and its ``warning`` says why.
        """
        ledger = cls(path)
        try:
            ledger._descriptor = descriptor = _open(path)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            ledger._load(descriptor)
        except (BlockingIOError, FileNotFoundError):
            ledger.close(settled=False)
            return None
        except OSError as failed:
            ledger.close(settled=False)
            ledger.denied = failed.errno in _CANNOT_TELL
            ledger.warning = f"a ledger cannot be read: {failed.strerror}: {path}"
        return ledger

    @classmethod
    def lock(cls, state: str, handle: Handle) -> Optional["Ledger"]:
        """Lock the ledger of this handle below a state directory, of whichever site.

        Where there is no file, the ledger is empty and in memory. None when the run lives: another
        process holds the lock, or may hold it, because the ledger cannot be opened.
        """
        try:
            paths = _paths(state, handle)
        except OSError:
            return None
        for path in paths:
            ledger = cls.of_ended_run(path)
            if ledger is None and os.path.lexists(path) or ledger is not None and ledger.denied:
                return None
            if ledger is not None and not ledger.warning:
                return ledger
        return cls()

    def close(self, settled: bool) -> None:
        """Release the file. A settled one is removed, another one stays for the next run."""
        if self._descriptor is None:
            return
        if settled:
            with contextlib.suppress(OSError):  # the next run settles it once more
                os.unlink(self.path)
        os.close(self._descriptor)
        self._descriptor = None

    def postpone(self) -> None:
        """Put this ledger behind the others: it was read, and still has debts."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # then it comes first once more
                os.utime(self._descriptor)

    def set_aside(self) -> str:
        """Rename a damaged ledger, so that people see it and runs do not; return the new path."""
        self.path = files.set_aside(self.path, _SUFFIX)
        return self.path

    # --- write ---

    def intent(self, kind: Kind, names: Iterable[str], at: float) -> None:
        """Note that these are requested next. ``at``, here and below: seconds since the epoch."""
        self._record(*entries.entries_by_name("intent", kind, names, at=at))

    def created(self, refs: Iterable[Ref], at: float) -> None:
        """The manager has given these ids, in a reply or a list."""
        self._record(*(entries.entry("created", ref, at=at) for ref in refs))

    def belongs(self, refs: Iterable[Ref], server: str, at: float) -> None:
        """The manager made these by itself for the server of this id."""
        self._record(
            *(
                entries.entry(
                    "belongs",
                    ref,
                    server=server,
                    at=at,
                    sum=entries.checksum(self._name, ref, server),
                )
                for ref in refs
            )
        )

    def refused(self, kind: Kind, names: Iterable[str]) -> None:
        """Note that these were not created, or never appeared."""
        self._record(*entries.entries_by_name("refused", kind, names))

    def gone(self, refs: Iterable[Ref]) -> None:
        """Note that these do not exist any more, or are not ours."""
        self._record(*(entries.entry("gone", ref) for ref in refs))

    # --- read ---

    @property
    def about(self) -> Entry:
        """The first line: site, endpoint, process."""
        return self._owed.about

    @property
    def handle(self) -> Optional[Handle]:
        """Whose lease this is; None when the file is not named after a handle.

        The name of the file counts, not the first line: the lock that tells whether the run has
        ended is the file's.
        """
        return handles.parse(self._name)

    def owed(self) -> List[Debt]:
        """What was created and not yet seen gone, and what may have been created, newest first."""
        return self._owed.debts()

    def remaining(self) -> List[Ref]:
        """What was created and not yet seen gone, newest first.

        What the manager made for a server that is owed itself is left out: it goes with the server.
        """
        owed = [debt for debt in self.owed() if not debt.is_intent]
        servers = {debt.ref.id for debt in owed if debt.ref.kind is Kind.SERVER}
        return [debt.ref for debt in owed if debt.server not in servers]

    def holds(self, ref: Ref) -> bool:
        """Whether the resource of this kind and id is owed."""
        return self._owed.holds(ref)

    # --- the file ---

    @property
    def _name(self) -> str:
        return os.path.basename(self.path).partition(".")[0]

    def _load(self, descriptor: int) -> None:
        """Read the file.

        What follows the last line end was cut off by a kill, before its request left. That is no
        damage, and it is dropped.
        """
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, _LARGEST, 0)
        self._size = text.rfind(b"\n") + 1
        for line in text[: self._size].splitlines():
            try:
                understood = self._owed.apply(json.loads(line))
            except (ValueError, RecursionError):
                understood = False
            self.damaged = self.damaged or not understood
        self.damaged = self.damaged or not self.about or size > _LARGEST
        if self._size < size <= _LARGEST:
            os.ftruncate(descriptor, self._size)

    def _record(self, *lines: Entry) -> None:
        """Apply these lines in memory, and append them to the file by one write.

        What could not be written before is written with them.
        """
        for line in lines:
            self._owed.apply(line)
        if self._descriptor is None or not lines:
            return
        text = b"".join(map(entries.encode, lines))
        if self._size + len(self._unwritten) + len(text) > _LARGEST:
            # The handle finds what is not in the ledger.
            self._give_up(OSError(errno.EFBIG, os.strerror(errno.EFBIG)))
            return
        self._unwritten += text
        try:
            if os.write(self._descriptor, self._unwritten) != len(self._unwritten):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as failed:
            self._give_up(failed)
            with contextlib.suppress(OSError):  # half a line would spoil the next one
                os.ftruncate(self._descriptor, self._size)
        else:
            self._size += len(self._unwritten)
            self._unwritten = b""

    def _give_up(self, failed: OSError) -> None:
        self.warning = (
            self.warning
            or f"the ledger cannot be written: {failed.strerror}: {os.path.dirname(self.path)}"
        )


def directory(state: str, site: str) -> str:
    """Return the directory of a site's ledgers, below the state directory."""
    return os.path.join(state, "ledger", re.sub(r"[^A-Za-z0-9._-]", "_", site))


def ledgers_in(directory: str, now: float) -> List[str]:
    """Return the paths of a directory's ledgers, of runs that live and of runs that have ended.

    The one that was written or postponed longest ago comes first. ``now``, in seconds since the
    epoch, decides which unfinished files are removed. OSError when the directory cannot be read.
    """
    if not os.path.lexists(directory):
        return []
    files.make_own_directory(directory)
    paths = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if name.endswith(_SUFFIX + _NEW):
            _remove_unfinished(path, now)
        elif name.endswith(_SUFFIX):
            paths.append(path)
    return sorted(paths, key=_modified)


def is_running(state: str, handle: Handle) -> bool:
    """Whether a process of this host holds the ledger of this handle below this state directory."""
    try:
        _paths(state, handle)
    except OSError:  # nobody can tell: it is shown as left over, and not removed
        return False
    ledger = Ledger.lock(state, handle)
    if ledger is not None:
        ledger.close(settled=False)
    return ledger is None


def _paths(state: str, handle: Handle) -> List[str]:
    """Return where the ledger of a handle may be, as each site has its own directory.

    OSError when that cannot be found out.
    """
    above = os.path.join(state, "ledger")
    try:
        sites = sorted(os.listdir(above))
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = (os.path.join(above, site, str(handle) + _SUFFIX) for site in sites)
    return [path for path in paths if os.path.lexists(path)]


def _open(path: str, flags: int = 0) -> int:
    """Return a descriptor that appends, follows no link and never waits; no child inherits it."""
    flags |= os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as failed:
        if failed.errno == errno.ELOOP:
            raise OSError(failed.errno, "is a symbolic link") from None
        raise


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _modified(path: str) -> float:
    """When a ledger was written or postponed last, in seconds since the epoch."""
    try:
        return os.lstat(path).st_mtime
    except OSError:  # it has just been settled
        return 0.0


def _remove_unfinished(path: str, now: float) -> None:
    """Remove a ledger whose run was killed before the lease began, once the lease is over."""
    handle = handles.parse(os.path.basename(path).partition(".")[0])
    if handle is not None and handle.expires < now:
        with contextlib.suppress(OSError):
            os.unlink(path)
