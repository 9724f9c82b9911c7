"""Check results in a file, one JSON object per line."""

from __future__ import annotations

import errno
import json
import os
import stat

from vmprobe.report.submit.receiver import Receiver, Undelivered
from vmprobe.report.submit.spool import PassiveResult


class File(Receiver):
    """A file of JSON lines. A line that was written only in part is removed again."""

    keeps_all = True

    def send(self, result: PassiveResult) -> None:
        try:
            descriptor = self._open()
            try:
                self._append(descriptor, (json.dumps(result._asdict()) + "\n").encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Undelivered(f"{self.where}: {error.strerror}") from None

    def _open(self) -> int:
        """Open the file. A new one is readable by everybody: who forwards it is another user."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self.where, flags | os.O_EXCL, 0o644)
        except FileExistsError:
            return os.open(self.where, flags, 0o644)
        os.fchmod(descriptor, 0o644)  # whatever the umask is
        return descriptor

    def _append(self, descriptor: int, line: bytes) -> None:
        """Write one line in one write, after a line end."""
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if is_file and self._ends_within_a_line():
            line = b"\n" + line
        written = os.write(descriptor, line)
        if written != len(line):
            end = os.lseek(descriptor, 0, os.SEEK_CUR) if is_file else 0
            is_last = is_file and os.fstat(descriptor).st_size == end  # nobody wrote after it
            if is_last:
                os.ftruncate(descriptor, end - written)
            raise OSError(errno.ENOSPC, "only part of the line was written")
        if is_file:
            os.fsync(descriptor)

    def _ends_within_a_line(self) -> bool:
        """Whether the last line is incomplete; False if the file may not be read."""
        try:
            reader = os.open(self.where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            size = os.fstat(reader).st_size
            return size > 0 and os.pread(reader, 1, size - 1) not in (b"\n", b"")
        finally:
            os.close(reader)
