"""Check results that still have to be delivered: a folder for each target, a file for each result.

A result is written here before its target is asked, and removed once the target has it. So neither
an unavailable target nor a SIGKILL loses it. Only one run sends to a target at a time; it also
delivers what other runs have spooled. A monitoring server has one state per service, so a newer
result of a service replaces an older one. A log keeps all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import time
from typing import Iterator, List, NamedTuple, Optional, Set, Tuple

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import DeadlinePassed, VmprobeError
from vmprobe.host import files, locks

MOST = 1000  # results of one target
_OLDEST = 86400.0  # seconds
_CLOCK_ERROR = 60.0  # seconds; a result further in the future has a wrong time
_LARGEST = 2**20  # bytes of one file
_ABANDONED = 3600.0  # seconds after which nobody still writes a temporary file
_NAME = re.compile(r"([0-9]{1,12}\.[0-9]{6})(?:-([0-9a-f]{16}))?\.json")


class PassiveResult(NamedTuple):
    """The result of one check, as a monitoring server takes it. Times are seconds since 1970."""

    host: str
    service: str
    state: int
    output: str  # everything: line 1 with its perfdata, and the lines below it
    began: float
    ended: float

    @property
    def line(self) -> str:
        """Line 1, with its perfdata."""
        return self.output.split("\n", 1)[0]


class Busy(VmprobeError):
    """Another run has been sending to this target for all the time that there was."""


class Spool:
    """The results that wait for one target.

    ``keeps_all``: the target is a log, which also gets older results of a service.
    """

    def __init__(self, folder: str, keeps_all: bool = False):
        self.folder, self._keeps_all = folder, keeps_all

    def put(self, result: PassiveResult) -> str:
        """Write a result and return its name in the spool; OSError if that fails."""
        name = f"{result.ended:.6f}-{_key(result)}.json"
        files.make_own_directory(os.path.dirname(self.folder))
        files.save_json(os.path.join(self.folder, name), result)
        return name

    def waiting(self, own: str) -> List[str]:
        """The names of all waiting results, newest first.

        Removes the results that are not worth delivering: replaced by a newer one, too many, older
        than a day, or dated in the future. ``own`` was just spooled by this run and stays, whatever
        the clock says now.
        """
        now = time.time()
        names: List[str] = []
        services: Set[str] = set()
        for ended, service, name in sorted(self._entries(now), reverse=True):
            is_replaced = service in services and not self._keeps_all
            is_current = -_CLOCK_ERROR < now - ended < _OLDEST or name == own
            if is_replaced or len(names) >= MOST or not is_current:
                self.forget(name)
            else:
                names.append(name)
                services.update({service} - {""})
        return names

    def read(self, name: str) -> Optional[PassiveResult]:
        """The result in a file, None if it is gone. A file that is no check result is removed."""
        try:
            with files.open_regular(os.path.join(self.folder, name), _LARGEST) as file:
                return _result(json.loads(file.read(_LARGEST)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, OverflowError, RecursionError):
            self.forget(name)
            return None

    def has(self, name: str) -> bool:
        """Whether this result still waits: it does unless an existing spool does not have it."""
        try:
            os.lstat(os.path.join(self.folder, name))
        except FileNotFoundError:
            return not os.path.isdir(self.folder)
        except OSError:
            return True
        return True

    def forget(self, name: str) -> None:
        """Remove a result, if it is still there and can be removed."""
        with contextlib.suppress(OSError):  # another run removed it, or a later run will
            os.unlink(os.path.join(self.folder, name))

    @contextlib.contextmanager
    def only_sender(self, deadline: Deadline) -> Iterator[None]:
        """Be the only run that sends to this target; Busy if another run does until the deadline.

        Without a usable state directory, or on a file system without locks, every run sends.
        """
        with contextlib.ExitStack() as stack:
            descriptor = self._lock_file()
            if descriptor is not None:
                stack.callback(os.close, descriptor)
                _wait(descriptor, deadline)
            yield

    def _lock_file(self) -> Optional[int]:
        """The open lock file; None where there can be none."""
        if not os.path.isdir(self.folder):
            return None
        try:
            return locks.open_lock(os.path.join(self.folder, "lock"))
        except OSError:
            return None

    def _entries(self, now: float) -> Iterator[Tuple[float, str, str]]:
        """(end time, service, name) of each result. Files that are not this suite's are ignored."""
        try:
            listing = os.scandir(self.folder)
        except OSError:
            return
        with listing:
            for entry in listing:
                match = _NAME.fullmatch(entry.name)
                is_ours = bool(match) or entry.name.startswith(".vmprobe-")
                try:
                    if not is_ours or not entry.is_file(follow_symlinks=False):
                        continue
                    if match:
                        yield float(match[1]), match[2] or "", entry.name
                    elif now - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED:
                        self.forget(entry.name)  # a run was killed while it wrote this
                except OSError:  # removed in the meantime
                    continue


def _wait(descriptor: int, deadline: Deadline) -> None:
    try:
        files.lock(descriptor, deadline)
    except DeadlinePassed:
        raise Busy("another run is sending to it") from None
    except OSError:  # a file system without locks
        return


def _key(result: PassiveResult) -> str:
    """One word for the host's service."""
    return hashlib.sha256(f"{result.host}\0{result.service}".encode()).hexdigest()[:16]


def _result(document: object) -> PassiveResult:
    """A file's content as a result; ValueError or TypeError if no run can have written it."""
    if not isinstance(document, list):
        raise TypeError("not a list")
    host, service, state, output, began, ended = document
    for name in (host, service):
        if not isinstance(name, str) or not name or not name.isprintable() or ";" in name:
            raise ValueError("not a name")
    if type(state) is not int or state not in range(4) or not isinstance(output, str):
        raise ValueError("not a state with its output")
    output.encode()  # UnicodeEncodeError, a ValueError: JSON allows half a surrogate pair
    for moment in (began, ended):
        if type(moment) not in (int, float) or not math.isfinite(moment):
            raise ValueError("not a time")
    return PassiveResult(host, service, state, output, float(began), float(ended))
