"""The ledger: what one run owes, on disk before it is asked for. The first of the three nets.

One file for one lease, named after its handle; one JSON object for one line: the lease itself; *intent* before a request
leaves, *created* with the id after its reply, *belongs* for what the manager made for a server by itself, *refused* when
nothing was made, *gone* once the absence was seen. It is append-only, fsynced, and locked as long as its run lives, so a
file that can be locked is a debt. It holds no secret.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import stat
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from vmprobe.core import handle as handles
from vmprobe.core.handle import Handle
from vmprobe.core.model import Kind, Ref
from vmprobe.core.redact import current
from vmprobe.host import files

_SUFFIX = ".ledger"
_NEW = ".new"  # of a ledger whose lease has not begun: nothing is owed yet
_LARGEST = 4 * 2**20
_CANNOT_TELL = (
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)  # whether a run lives
_EVENTS = ("intent", "created", "belongs", "refused", "gone")


class Debt(NamedTuple):
    """A thing to be seen gone. Without an id it was asked for, and whether it was made is not known."""

    ref: Ref
    at: float  # when it was asked for or made, epoch
    server: str = (
        ""  # id of the server that the manager made it for by itself; '' for what the run asked for
    )

    @property
    def is_intent(self) -> bool:
        return not self.ref.id


class Ledger:
    """What is owed, in memory and in a locked file. What the disk does not take stays in memory; ``trouble`` says why."""

    def __init__(self, path: str = "", descriptor: Optional[int] = None):
        self.path, self.trouble, self.damaged = path, "", False
        self.denied = (
            False  # the file cannot be opened: another user's, or there are too many open files
        )
        self.about: Dict[str, Any] = {}  # the first line: site, endpoint, process
        self._descriptor = descriptor
        self._size, self._unwritten = 0, b""
        self._debts: Dict[Tuple[str, ...], Debt] = {}  # oldest first

    # --- the file ---------------------------------------------------------------------------------------------

    @classmethod
    def begin(cls, directory: str, handle: Handle, **about: Any) -> "Ledger":
        """A new ledger for a lease; ``about`` says which site and endpoint.

        Where there can be no file the ledger is in memory only, and says so in ``trouble``: the handle in the cloud
        still finds everything.
        """
        ledger = cls(os.path.join(directory, str(handle) + _SUFFIX))
        try:
            files.make_own_directory(directory)
            ledger._descriptor = _open(ledger.path + _NEW, os.O_CREAT | os.O_EXCL)
            files.match_owner(ledger._descriptor, directory)
            fcntl.flock(ledger._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ledger._record({"event": "lease", "handle": str(handle), "pid": os.getpid(), **about})
            if not ledger.trouble:
                os.rename(
                    ledger.path + _NEW, ledger.path
                )  # nobody sees it before it is locked and has its first line
        except OSError as failed:
            ledger._give_up(failed)
        if ledger.trouble:
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
    def files(cls, directory: str, now: float) -> List[str]:
        """The paths of a directory's ledgers, of runs that live and of those that do not: first what was not looked at longest.

        OSError when the directory cannot be read.
        """
        if not os.path.lexists(directory):
            return []
        files.make_own_directory(directory)
        found = []
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if name.endswith(_SUFFIX + _NEW):
                _forget(path, now)
            elif name.endswith(_SUFFIX):
                found.append(path)
        return sorted(found, key=_changed)

    @classmethod
    def debts(cls, directory: str, now: float) -> Iterator["Ledger"]:
        """The ledgers that runs left behind, as ``of_ended_run`` has them. OSError when the directory cannot be read."""
        for path in cls.files(directory, now):
            found = cls.of_ended_run(path)
            if found is not None:
                yield found

    @classmethod
    def of_ended_run(cls, path: str) -> Optional["Ledger"]:
        """The ledger in a file, locked by us; None when its run lives, or has just ended.

        One that cannot be read has its ``trouble`` and nothing in it.
        """
        ledger = cls(path)
        try:
            ledger._descriptor = _open(path)
            if not stat.S_ISREG(os.fstat(ledger._descriptor).st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            fcntl.flock(ledger._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(ledger._descriptor), os.lstat(path)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            ledger._load()
        except (BlockingIOError, FileNotFoundError):
            ledger.close(settled=False)
            return None
        except OSError as failed:
            ledger.close(settled=False)
            ledger.denied = failed.errno in _CANNOT_TELL
            ledger.trouble = f"a ledger cannot be read: {failed.strerror}: {path}"
        return ledger

    @classmethod
    def lock(cls, state: str, handle: Handle) -> Optional["Ledger"]:
        """The ledger of this handle below a state directory, of whichever site, locked by us; in memory where there is none.

        None when its run lives: another process holds the lock, or may hold it, since the ledger cannot be opened.
        """
        try:
            found = _paths(state, handle)
        except OSError:
            return None
        for path in found:
            ledger = cls.of_ended_run(path)
            if ledger is None and os.path.lexists(path) or ledger is not None and ledger.denied:
                return None
            if ledger is not None and not ledger.trouble:
                return ledger
        return cls()

    def close(self, settled: bool) -> None:
        """Let go of the file; a settled one is removed, another one stays for the next run."""
        if self._descriptor is None:
            return
        if settled:
            with contextlib.suppress(OSError):  # the next run settles it once more
                os.unlink(self.path)
        os.close(self._descriptor)
        self._descriptor = None

    def postpone(self) -> None:
        """It was looked at, and is owed still: others come first the next time."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # then it comes first once more
                os.utime(self._descriptor)

    def set_aside(self) -> str:
        """Rename a damaged ledger, so that it is seen by people and no longer by runs; returns the new path."""
        aside = self.path[: -len(_SUFFIX)] + ".damaged"
        os.rename(self.path, aside)
        self.path = aside
        return aside

    # --- what it records --------------------------------------------------------------------------------------

    def intent(self, kind: Kind, names: Iterable[str], at: float) -> None:
        """These will be asked for now."""
        self._record(
            *({"event": "intent", "kind": kind.value, "name": name, "at": at} for name in names)
        )

    def created(self, refs: Iterable[Ref], at: float) -> None:
        """The manager has given these ids, in a reply or a list."""
        self._record(*({"event": "created", **_words(ref), "at": at} for ref in refs))

    def belongs(self, refs: Iterable[Ref], server: str, at: float) -> None:
        """The manager made these by itself for the server of this id."""
        self._record(
            *(
                {
                    "event": "belongs",
                    **_words(ref),
                    "server": server,
                    "at": at,
                    "sum": self._sum(ref, server),
                }
                for ref in refs
            )
        )

    def refused(self, kind: Kind, names: Iterable[str]) -> None:
        """These were not made, or never appeared."""
        self._record(*({"event": "refused", "kind": kind.value, "name": name} for name in names))

    def gone(self, refs: Iterable[Ref]) -> None:
        """These are not there any more, or are not ours."""
        self._record(*({"event": "gone", **_words(ref)} for ref in refs))

    # --- what it says -----------------------------------------------------------------------------------------

    @property
    def handle(self) -> Optional[Handle]:
        """Whose lease this is: by the file's name, because the lock that says that its run is over is the file's."""
        return handles.parse(self._name)

    def owed(self) -> List[Debt]:
        """What was created and not yet seen gone, and what may have been, newest first."""
        return list(reversed(list(self._debts.values())))

    def remaining(self) -> List[Ref]:
        """What was made and not yet seen gone, newest first; what goes with a server that is owed itself is not one more."""
        owed = [debt for debt in self.owed() if not debt.is_intent]
        servers = {debt.ref.id for debt in owed if debt.ref.kind is Kind.SERVER}
        return [debt.ref for debt in owed if debt.server not in servers]

    def holds(self, ref: Ref) -> bool:
        """Whether this very thing is owed."""
        return (ref.kind.value, "id", ref.id) in self._debts

    # ----------------------------------------------------------------------------------------------------------

    def _apply(self, entry: Any) -> bool:
        """What an entry does to the debts; False when it is none."""
        if not isinstance(entry, dict):
            return False
        if entry.get("event") == "lease":
            self.about = entry
            return True
        kind, event = str(entry.get("kind")), entry.get("event")
        if event not in _EVENTS or kind not in (known.value for known in Kind):
            return False
        ref, server = (
            Ref(Kind(kind), entry.get("id", ""), entry.get("name", "")),
            entry.get("server", ""),
        )
        if not all(isinstance(word, str) for word in (ref.id, ref.name, server)):
            return False
        if event == "intent":
            self._debts[kind, "name", ref.name] = Debt(ref, _number(entry.get("at")))
            return True
        if event == "belongs":
            if entry.get("sum") != self._sum(ref, server):
                return False
            self._debts[kind, "id", ref.id] = Debt(ref, _number(entry.get("at")), server)
            return True
        self._debts.pop((kind, "name", ref.name), None)
        if event == "created":
            self._debts[kind, "id", ref.id] = Debt(ref, _number(entry.get("at")))
        elif event == "gone":
            self._debts.pop((kind, "id", ref.id), None)
        return True

    def _load(self) -> None:
        """Read the file. What follows its last line end was cut by a kill, before its request left: no damage, dropped."""
        size = os.fstat(self._descriptor).st_size
        text = os.pread(self._descriptor, _LARGEST, 0)
        self._size = text.rfind(b"\n") + 1
        for line in text[: self._size].splitlines():
            try:
                read = self._apply(json.loads(line))
            except (ValueError, RecursionError):
                read = False
            self.damaged = self.damaged or not read
        self.damaged = self.damaged or not self.about or size > _LARGEST
        if self._size < size <= _LARGEST:
            os.ftruncate(self._descriptor, self._size)

    @property
    def _name(self) -> str:
        return os.path.basename(self.path).partition(".")[0]

    def _sum(self, ref: Ref, server: str) -> str:
        """What makes a line of a thing without a name one of this very ledger's: no manager will confirm it by a name."""
        return hashlib.sha256(
            "\0".join([self._name, ref.kind.value, ref.id, ref.name, server]).encode()
        ).hexdigest()[:16]

    def _record(self, *entries: Any) -> None:
        """Into memory, and with what the disk has not taken yet, to the disk: as one write, however many they are."""
        for entry in entries:
            self._apply(entry)
        if self._descriptor is None or not entries:
            return
        lines = b"".join(
            json.dumps(_without_secrets(entry), sort_keys=True).encode() + b"\n"
            for entry in entries
        )
        if self._size + len(self._unwritten) + len(lines) > _LARGEST:
            self._give_up(
                OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            )  # the handle finds what is not in here
            return
        self._unwritten += lines
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
        self.trouble = (
            self.trouble
            or f"the ledger cannot be written: {failed.strerror}: {os.path.dirname(self.path)}"
        )


def directory(state: str, site: str) -> str:
    """Where a site's ledgers are, below the state directory."""
    return os.path.join(state, "ledger", re.sub(r"[^A-Za-z0-9._-]", "_", site))


def is_running(state: str, handle: Handle) -> bool:
    """Whether a process of this host that uses this state directory holds the ledger of this handle: its run is not over."""
    try:
        _paths(state, handle)
    except OSError:  # nobody can tell: it is shown as left over, and not removed
        return False
    ledger = Ledger.lock(state, handle)
    if ledger is not None:
        ledger.close(settled=False)
    return ledger is None


def _paths(state: str, handle: Handle) -> List[str]:
    """Where the ledger of a handle may be: sites have a directory each. OSError when that cannot be found out."""
    above = os.path.join(state, "ledger")
    try:
        sites = sorted(os.listdir(above))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (os.path.join(above, site, str(handle) + _SUFFIX) for site in sites)
    return [path for path in found if os.path.lexists(path)]


def _open(path: str, flags: int = 0) -> int:
    """A descriptor that appends, follows no link, never waits, and is no child's."""
    try:
        return os.open(
            path,
            os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags,
            0o600,
        )
    except OSError as failed:
        raise OSError(failed.errno, "is a symbolic link") if failed.errno == errno.ELOOP else failed


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed(path: str) -> float:
    """When a file was written to or looked at last."""
    try:
        return os.lstat(path).st_mtime
    except OSError:  # it has just been settled
        return 0.0


def _forget(path: str, now: float) -> None:
    """Remove what a kill left of a ledger before its lease began, once nobody can be at work on it any more."""
    handle = handles.parse(os.path.basename(path).partition(".")[0])
    if handle is not None and handle.expires < now:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _without_secrets(entry: Dict[str, Any]) -> Dict[str, Any]:
    """The entry as it is written: a manager may give anything as an id, and the handle finds what has another one here."""
    foreign = {"belongs": ("id", "server", "name")}.get(entry["event"], ("id",))
    return {
        word: current().redact_id(value) if word in foreign else value
        for word, value in entry.items()
    }


def _words(ref: Ref) -> Dict[str, str]:
    return {"kind": ref.kind.value, "id": ref.id, "name": ref.name}


def _number(thing: object) -> float:
    try:
        return float(thing) if isinstance(thing, (int, float)) and math.isfinite(thing) else 0.0
    except OverflowError:
        return 0.0
