"""Check results for Nagios Core: through its command pipe or its check-result directory.

Sources: Nagios Core 4, "External Commands" and "Check Result Files".
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import string
import time
from typing import List, Optional

from vmprobe.host import files
from vmprobe.report.submit.receiver import Receiver, Undelivered
from vmprobe.report.submit.spool import PassiveResult

_PIPE_MOST = 4096  # bytes that Linux writes into a pipe in one piece (PIPE_BUF)
_LARGEST = 65536  # bytes of a check-result file that this suite may have written
_ABANDONED = 3600.0  # seconds after which nobody still writes an incomplete file
_CLOCK_ERROR = 60.0  # seconds; a result further in the future has a wrong time


class CommandPipe(Receiver):
    """Nagios' command pipe: one command in one write, so that other writers cannot cut into it."""

    def send(self, result: PassiveResult) -> None:
        command = f"[{int(result.ended)}] PROCESS_SERVICE_CHECK_RESULT;{result.host};"
        command += f"{result.service};{result.state};"
        line = (command + _escaped(result.output)).encode()
        if len(line) >= _PIPE_MOST:  # leave out the details, keep line 1
            line = (command + _escaped(result.line)).encode()[: _PIPE_MOST - 1]
        try:
            descriptor = os.open(self.where, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            has_no_reader = error.errno == errno.ENXIO
            reason = "nobody reads it: is Nagios running?" if has_no_reader else error.strerror
            raise Undelivered(f"{self.where}: {reason}") from None
        try:
            if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                raise Undelivered(f"{self.where} is not a pipe: is Nagios running?")
            if os.write(descriptor, line + b"\n") != len(line) + 1:
                raise Undelivered(f"{self.where}: only part of the command was written")
        except BlockingIOError:
            raise Undelivered(f"{self.where} is full") from None
        finally:
            os.close(descriptor)


class CheckResultDirectory(Receiver):
    """Nagios' check-result directory.

    A result is a file named ``c`` and six more characters. Nagios reads it once there is also an
    empty file of the same name with ``.ok`` appended.

    Nagios reads these files in no particular order. So before a result is written, an older result
    of the same service that Nagios has not read yet is removed. To find it, all results of one
    service have file names that differ only in the last character.
    """

    _CHARACTERS = string.ascii_letters + string.digits

    def send(self, result: PassiveResult) -> None:
        paths = self._paths(result)
        try:
            used = [
                path for path in paths if os.path.lexists(path) or os.path.lexists(path + ".ok")
            ]
            for path in used:
                ended = self._end_time(path, result)
                if ended is None:
                    continue
                if result.ended < ended < time.time() + _CLOCK_ERROR:
                    return  # a newer result of this service is already there
                self._remove(path)
            # A path just freed is not reused: Nagios may be about to remove the file it has read.
            free = [path for path in paths if path not in used]
            if not free:
                raise Undelivered(f"{self.where}: all file names for this service are in use")
            self._write(free[0], result)
        except OSError as error:
            raise Undelivered(f"{error.filename or self.where}: {error.strerror}") from None

    def _paths(self, result: PassiveResult) -> List[str]:
        """The paths that results of this service may have."""
        digest = hashlib.sha256(f"{result.host}\0{result.service}".encode()).digest()
        characters = self._CHARACTERS
        stem = "c" + "".join(characters[byte % len(characters)] for byte in digest[:5])
        return [os.path.join(self.where, stem + last) for last in characters]

    def _end_time(self, path: str, result: PassiveResult) -> Optional[float]:
        """When the result in a file ended, if this suite wrote it for the same service.

        0.0 for an incomplete file that a killed run left long ago. None for everything else.
        """
        try:
            with files.open_regular(path, _LARGEST) as file:
                changed = os.fstat(file.fileno()).st_mtime
                text = file.read(_LARGEST).decode("utf-8", "replace")
        except OSError:
            return None
        if not text or text.startswith(_MARK) and not os.path.lexists(path + ".ok"):
            return 0.0 if time.time() - changed > _ABANDONED else None
        host, service, ended = (
            _field(name, text) for name in ("host_name", "service_description", "finish_time")
        )
        if not text.startswith(_MARK) or (host, service) != (result.host, result.service):
            return None
        return _number(ended)

    @staticmethod
    def _remove(path: str) -> None:
        for name in (path + ".ok", path):  # in this order: Nagios reads what has an .ok
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    @staticmethod
    def _write(path: str, result: PassiveResult) -> None:
        text = _FORM.format(**{**result._asdict(), "output": _escaped(result.output)})
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)  # Nagios runs as another user
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.close(os.open(path + ".ok", flags, 0o644))
        except OSError:
            os.unlink(path)
            raise


_MARK = "### vmprobe\n"  # the first line of a file that this suite wrote
_FORM = (
    _MARK
    + """\
file_time={ended:.0f}

host_name={host}
service_description={service}
check_type=1
check_options=0
scheduled_check=0
reschedule_check=0
latency=0
start_time={began:.6f}
finish_time={ended:.6f}
early_timeout=0
exited_ok=1
return_code={state}
output={output}
"""
)


def _field(name: str, text: str) -> str:
    """The value of a ``name=value`` line, '' if there is none."""
    match = re.search(rf"^{name}=(.*)$", text, re.M)
    return match[1] if match else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _escaped(output: str) -> str:
    """Several lines as one, as Nagios expects them."""
    return output.replace("\\", "\\\\").replace("\n", "\\n")
