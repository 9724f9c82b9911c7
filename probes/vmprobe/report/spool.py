"""Check results that still have to be delivered: one directory for each target, one file for each result.

A result is written here before its target is asked and removed once the target has it, so neither a target that is away
nor a SIGKILL loses it. Only one run sends to a target at a time, and delivers what the others have put here, too.
A monitoring server has one state for each service, so a newer result of a service replaces an older one; a log keeps all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
from typing import Iterator, List, NamedTuple, Optional, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import DeadlinePassed, VmprobeError
from vmprobe.host import files, locks

MOST = 1000  # results of one target
_OLDEST = 86400.0  # seconds
_AHEAD = 60.0  # seconds in the future; beyond that, a wrong clock dated the result
_LARGEST = 2**20  # bytes of one file
_LEFT_OVER = 3600.0  # seconds after which nobody writes a temporary file any more
_NAME = re.compile(r"([0-9]{1,12}\.[0-9]{6})(?:-([0-9a-f]{16}))?\.json")


class Result(NamedTuple):
    """What a probe said, as a monitoring server takes it. Times are seconds since the epoch."""

    host: str
    service: str
    state: int
    output: str  # the whole: line 1 with its perfdata, further lines
    began: float
    ended: float

    @property
    def line(self) -> str:
        return self.output.split("\n", 1)[0]


class Busy(VmprobeError):
    """Another run sends to this target, and did so for all the time there was."""


class Spool:
    """The results that wait for one target. ``keeps_all``: it is a log, which gets older results of a service, too."""

    def __init__(self, folder: str, keeps_all: bool = False):
        self.folder, self._keeps_all = folder, keeps_all

    def put(self, result: Result) -> str:
        """Write a result down and return its name here; OSError where that cannot be."""
        name = f"{result.ended:.6f}-{_key(result)}.json"
        files.make_own_directory(os.path.dirname(self.folder))
        files.save_json(os.path.join(self.folder, name), result)
        return name

    def waiting(self, own: str) -> List[str]:
        """The names of all that waits, newest first, and what is not worth delivering any more is removed:

        results that a newer one replaces, too many, of more than a day ago, or dated in the future; but ``own`` has just
        been put here, whatever the clock says now.
        """
        now, kept, services = time.time(), [], set()
        for ended, key, name in sorted(self._entries(now), reverse=True):
            replaced = key in services and not self._keeps_all
            is_of_now = -_AHEAD < now - ended < _OLDEST or name == own
            if replaced or len(kept) >= MOST or not is_of_now:
                self.forget(name)
            else:
                kept.append(name)
                services.update({key} - {""})
        return kept

    def read(self, name: str) -> Optional[Result]:
        """The result in a file; None when it is gone or is no result. What is no result is removed."""
        try:
            with files.open_regular(os.path.join(self.folder, name), _LARGEST) as file:
                return _result(json.loads(file.read(_LARGEST)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, OverflowError, RecursionError):
            self.forget(name)
            return None

    def has(self, name: str) -> bool:
        """Whether this result still waits. Only its absence from a spool that is there means that it does not."""
        try:
            os.lstat(os.path.join(self.folder, name))
        except FileNotFoundError:
            return not os.path.isdir(self.folder)
        except OSError:
            return True
        return True

    def forget(self, name: str) -> None:
        """Remove a result, if it is still there and can be removed."""
        with contextlib.suppress(OSError):  # another run was quicker, or its day will come
            os.unlink(os.path.join(self.folder, name))

    @contextlib.contextmanager
    def only_sender(self, deadline: Deadline) -> Iterator[None]:
        """Be the only run that sends to this target; Busy when that takes all the time there is.

        Where no lock can be had, because of the state directory or its file system, every run sends.
        """
        with contextlib.ExitStack() as held:
            descriptor = self._lock_file()
            if descriptor is not None:
                held.callback(os.close, descriptor)
                _wait(descriptor, deadline)
            yield

    def _lock_file(self) -> Optional[int]:
        try:
            return (
                locks.open_lock(os.path.join(self.folder, "lock"))
                if os.path.isdir(self.folder)
                else None
            )
        except OSError:
            return None

    def _entries(self, now: float) -> Iterator[Tuple[float, str, str]]:
        """(time, service, name) of each file that a run has written here. Whatever else lies here is passed over."""
        try:
            listing = os.scandir(self.folder)
        except OSError:
            return
        with listing:
            for entry in listing:
                match = _NAME.fullmatch(entry.name)
                try:
                    if not (match or entry.name.startswith(".vmprobe-")) or not entry.is_file(
                        follow_symlinks=False
                    ):
                        continue
                    if match:
                        yield float(match[1]), match[2] or "", entry.name
                    elif now - entry.stat(follow_symlinks=False).st_mtime > _LEFT_OVER:
                        self.forget(entry.name)  # of a run that was killed while it wrote
                except OSError:  # gone in between
                    continue


def _wait(descriptor: int, deadline: Deadline) -> None:
    try:
        files.lock(descriptor, deadline)
    except DeadlinePassed:
        raise Busy("another run is sending to it") from None
    except OSError:  # a file system without locks
        return


def _key(result: Result) -> str:
    """One word for the host's service."""
    return hashlib.sha256(f"{result.host}\0{result.service}".encode()).hexdigest()[:16]


def _result(document: object) -> Result:
    """A file's content as a result; ValueError or TypeError when it is none that a run would have written."""
    host, service, state, output, began, ended = document  # type: ignore[misc]
    for word in (host, service):
        if not isinstance(word, str) or not word or not word.isprintable() or ";" in word:
            raise ValueError("no name")
    if type(state) is not int or state not in range(4) or not isinstance(output, str):
        raise ValueError("no state with its output")
    output.encode()  # UnicodeEncodeError, a ValueError: what JSON can say and no text can hold
    for moment in (began, ended):
        if type(moment) not in (int, float) or not math.isfinite(moment):
            raise ValueError("no time")
    return Result(host, service, state, output, float(began), float(ended))
