"""The ledger: what one run owes, on disk before it is asked for. The first of the three nets.

One file for one lease, one JSON object for one line: the lease itself; *intent* before a request leaves, *created*
with the id after its reply, *refused* when nothing was made, *gone* once the absence was seen. It is append-only,
fsynced and locked as long as its run lives, so a file that can be locked is a debt. It holds no secret.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

from vmprobe import handle as handles
from vmprobe.handle import Handle
from vmprobe.model import Kind, Ref

_SUFFIX = ".ledger"
_LARGEST = 4 * 2 ** 20


@dataclass(frozen=True)
class Debt:
    """A thing to be seen gone. Without an id it was asked for, and whether it was made is not known."""

    ref: Ref
    at: float  # when it was asked for or made, epoch

    @property
    def is_intent(self) -> bool:
        return not self.ref.id


class Ledger:
    """An open, locked ledger. What the disk does not take is kept in memory, and ``trouble`` says why."""

    def __init__(self, path: str, descriptor: Optional[int], entries: List[Dict[str, Any]]):
        self.path, self._descriptor, self._entries = path, descriptor, entries
        self.trouble = ""

    # --- the file ---------------------------------------------------------------------------------------------

    @classmethod
    def begin(cls, directory: str, handle: Handle, **about: Any) -> "Ledger":
        """A new ledger for a lease; ``about`` says which site and endpoint.

        Where there can be no file the ledger is in memory only, and says so in ``trouble``: the handle in the cloud
        still finds everything.
        """
        path = os.path.join(directory, str(handle) + _SUFFIX)
        ledger = cls(path, None, [])
        try:
            _own(directory)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            ledger._descriptor = os.open(path, flags, 0o600)
            fcntl.flock(ledger._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sync_directory(directory)
        except OSError as failed:
            ledger._give_up(failed)
        ledger._write(event="lease", handle=str(handle), pid=os.getpid(), **about)
        return ledger

    @classmethod
    def debts(cls, directory: str) -> Iterator["Ledger"]:
        """The ledgers that runs left behind, each locked by us; those of runs that live are passed over.

        A damaged file is set aside under another name and yielded with what could be read of it.
        """
        if not os.path.isdir(directory):
            return
        _own(directory)
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if not name.endswith(_SUFFIX) or not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as busy:
                os.close(descriptor)
                if busy.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    continue
                raise
            if not os.path.exists(path):  # its run closed it in this very moment
                os.close(descriptor)
                continue
            yield cls(path, descriptor, _read(descriptor))

    def close(self, settled: bool) -> None:
        """Let go of the file; a settled one is removed, another one stays for the next run."""
        if self._descriptor is None:
            return
        if settled:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        os.close(self._descriptor)
        self._descriptor = None

    def set_aside(self) -> str:
        """Rename a damaged ledger, so that it is seen by people and no longer by runs; returns the new path."""
        aside = self.path[: -len(_SUFFIX)] + ".damaged"
        os.rename(self.path, aside)
        self.path = aside
        return aside

    # --- what it records --------------------------------------------------------------------------------------

    def intent(self, kind: Kind, name: str, at: float) -> None:
        self._write(event="intent", kind=kind.value, name=name, at=at)

    def created(self, ref: Ref, at: float) -> None:
        self._write(event="created", kind=ref.kind.value, id=ref.id, name=ref.name, at=at)

    def refused(self, kind: Kind, name: str) -> None:
        self._write(event="refused", kind=kind.value, name=name)

    def gone(self, ref: Ref) -> None:
        self._write(event="gone", kind=ref.kind.value, id=ref.id, name=ref.name)

    # --- what it says -----------------------------------------------------------------------------------------

    @property
    def handle(self) -> Optional[Handle]:
        """Whose lease this is: by its first line, else by the file's name."""
        named = str(self.about.get("handle", ""))
        return handles.parse(named) or handles.parse(os.path.basename(self.path)[: -len(_SUFFIX)])

    @property
    def about(self) -> Dict[str, Any]:
        """The first line: site, endpoint, process."""
        return next((entry for entry in self._entries if entry.get("event") == "lease"), {})

    @property
    def damaged(self) -> bool:
        """Whether a line could not be read. A last line that was cut is what a kill leaves, and no damage."""
        return any(entry.get("event") == "damaged" for entry in self._entries) or not self.about

    def owed(self) -> List[Debt]:
        """What was created and not yet seen gone, and what may have been, newest first."""
        debts: Dict[Tuple[str, str], Debt] = {}  # by kind and id, of intents by kind and name
        for entry in self._entries:
            kind = _kind(entry.get("kind"))
            if kind is None:
                continue
            event, ref = entry["event"], Ref(kind, str(entry.get("id", "")), str(entry.get("name", "")))
            if event == "intent":
                debts[(kind.value, "name " + ref.name)] = Debt(ref, _number(entry.get("at")))
                continue
            debts.pop((kind.value, "name " + ref.name), None)
            if event == "created":
                debts[(kind.value, ref.id)] = Debt(ref, _number(entry.get("at")))
            elif event == "gone":
                debts.pop((kind.value, ref.id), None)
        return list(reversed(list(debts.values())))

    def _write(self, **entry: Any) -> None:
        self._entries.append(entry)
        if self._descriptor is None:
            return
        line = json.dumps(entry, sort_keys=True).encode() + b"\n"
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as failed:
            self._give_up(failed)

    def _give_up(self, failed: OSError) -> None:
        self.trouble = self.trouble or f"the ledger {self.path} cannot be written: {failed.strerror}"


def directory(state: str, site: str) -> str:
    """Where a site's ledgers are, below the state directory."""
    return os.path.join(state, "ledger", re.sub(r"[^A-Za-z0-9._-]", "_", site))


def _own(path: str) -> None:
    """Make the directory if need be; OSError when it is not ours alone to write in."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, "is not a directory", path)
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, "others can write there", path)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> List[Dict[str, Any]]:
    """The entries of a ledger. What follows its last line end was cut by a kill, before its request left: dropped."""
    text = os.pread(descriptor, _LARGEST, 0)
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.ftruncate(descriptor, whole)
    return [_entry(line) for line in text[:whole].splitlines()]


def _entry(line: bytes) -> Dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    return entry if isinstance(entry, dict) and "event" in entry else {"event": "damaged"}


def _kind(word: object) -> Optional[Kind]:
    return next((kind for kind in Kind if kind.value == word), None)


def _number(thing: object) -> float:
    return float(thing) if isinstance(thing, (int, float)) else 0.0
