"""Standard output and standard error that never end the work of a command."""

from __future__ import annotations

import io
import os
import string
import sys
from typing import Callable, Optional, TextIO, Tuple


class Stream(io.TextIOBase):
    """A stream that survives a full disk, a reader that is gone, and an encoding without a letter.

    After a failure it writes to /dev/null.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.failure: Optional[OSError] = None
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if _contains_ascii(stream.encoding) else "ascii"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.failure, self._stream = error, _null()


def wrap() -> Tuple[Stream, Stream]:
    """Make standard output and standard error safe, and return them.

    Closed streams, standard input included, are reopened on /dev/null. Each gets the lowest free
    descriptor, so the order matters.
    """
    sys.stdin = sys.stdin or open(os.devnull, encoding="ascii")
    stdout = Stream(sys.stdout or _null())
    stderr = Stream(sys.stderr or _null())
    sys.stdout, sys.stderr = stdout, stderr
    return stdout, stderr


def _contains_ascii(encoding: str) -> bool:
    """Whether ASCII text stays readable in this encoding, and other letters can be escaped."""
    try:
        return (
            string.printable.encode(encoding) == string.printable.encode()
            and "\u00e9".encode(encoding, "backslashreplace") != b""
        )
    except UnicodeError:  # such as idna, which has no escapes
        return False


def _null() -> TextIO:
    stream = open(os.devnull, "w", encoding="utf-8")
    # It replaces a closed stream, also for the command of --reload.
    os.set_inheritable(stream.fileno(), True)
    return stream
