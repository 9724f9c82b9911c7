"""Other programs, run with a limit that holds whatever they do and whatever they start."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import Any, List, NamedTuple, Optional, Sequence

from vmprobe.core.clock import Deadline

_LARGEST = 2**20  # bytes of output that are kept
_PIECE = 2**16  # bytes that a pipe holds
_PAUSE = 0.02  # seconds between two looks whether it has ended


class TooSlow(Exception):
    """The program did not end in time; it and what it started were killed."""


class Done(NamedTuple):
    """How a program ended, and what it wrote. ``is_whole``: it did not write more than is kept."""

    code: int
    output: bytes
    errors: bytes
    is_whole: bool

    @property
    def text(self) -> str:
        """All that it wrote, for people."""
        return (self.output + self.errors).decode("utf-8", "replace")


def run(
    command: Sequence[str],
    seconds: float,
    deadline: Optional[Deadline] = None,
    stdin: bytes = b"",
    largest: int = _LARGEST,
    **started: Any,
) -> Done:
    """Run a program to its end; ``stdin``, less than a pipe holds, are its input, ``started`` is Popen's.

    TooSlow after ``seconds``, and as ``deadline.check`` raises. OSError when it cannot be started. What it leaves running
    is neither waited for nor ended, unless it was too slow itself.
    """
    until = time.monotonic() + seconds
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **started,
    )
    assert process.stdin and process.stdout and process.stderr
    with process.stdout, process.stderr:
        try:
            with (
                contextlib.suppress(BrokenPipeError),
                process.stdin as given,
            ):  # its exit code says why
                given.write(stdin)
            output, errors = (
                _Output(process.stdout.fileno(), largest),
                _Output(process.stderr.fileno(), largest),
            )
            while process.poll() is None:
                if deadline:
                    deadline.check()
                if time.monotonic() >= until:
                    raise TooSlow
                _read([each for each in (output, errors) if not each.is_over], process)
            output.read_rest()
            errors.read_rest()
            return Done(
                process.returncode,
                bytes(output.kept),
                bytes(errors.kept),
                output.is_whole and errors.is_whole,
            )
        finally:
            if process.returncode is None:  # else its number may be another process's by now
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class _Output:
    """What comes out of a pipe, which is read meanwhile, because a pipe is soon full."""

    def __init__(self, descriptor: int, largest: int):
        self.descriptor, self.kept, self.is_over, self.is_whole = (
            descriptor,
            bytearray(),
            False,
            True,
        )
        self._largest = largest
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Read a piece; whether there was one."""
        try:
            piece = os.read(self.descriptor, _PIECE)
        except BlockingIOError:
            return False
        room = self._largest - len(self.kept)
        self.kept += piece[:room]
        self.is_whole, self.is_over = self.is_whole and len(piece) <= room, not piece
        return bool(piece)

    def read_rest(self) -> None:
        """What an ended program has left in the pipe. Somebody else may still write into it, and is not waited for."""
        while self.is_whole and self.read():
            pass


def _read(outputs: List[_Output], process: "subprocess.Popen[bytes]") -> None:
    """Read what there is, or wait a moment."""
    if not outputs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PAUSE)
        return
    waiting = select.poll()
    for each in outputs:
        waiting.register(each.descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in waiting.poll(1000 * _PAUSE)}
    for each in outputs:
        if each.descriptor in ready:
            each.read()
