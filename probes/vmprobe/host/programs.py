"""Run other programs, with a time limit that holds whatever they do and whatever they start."""

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
_PAUSE = 0.02  # seconds between two checks whether the program has ended


class TooSlow(Exception):
    """The program did not end in time; it was killed, with everything that it started."""


class Done(NamedTuple):
    """How a program ended, and what it wrote."""

    code: int
    output: bytes
    errors: bytes
    is_whole: bool  # False: it wrote more than is kept

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
    **options: Any,
) -> Done:
    """Run a program to its end.

    ``stdin`` is its input, less than a pipe holds (64 KiB). ``largest`` is how many bytes of its
    output are kept. ``options`` are passed to Popen. TooSlow after ``seconds``; DeadlinePassed and
    Interrupted as ``deadline.check``; OSError when it cannot be started. A process that it leaves
    running is neither waited for nor ended, unless the program itself was too slow.
    """
    until = time.monotonic() + seconds
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    )
    assert process.stdin and process.stdout and process.stderr
    with process.stdout, process.stderr:
        try:
            # A program that does not read its input may end first; its exit code says why.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(stdin)
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
            # An ended process is not killed: its number may be another process's by now.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class _Output:
    """What comes out of a pipe. It is read while the program runs, because a pipe is soon full."""

    def __init__(self, descriptor: int, largest: int):
        self.descriptor = descriptor
        self.kept = bytearray()
        self.is_over, self.is_whole = False, True
        self._largest = largest
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Read a piece; False when there is none now."""
        try:
            piece = os.read(self.descriptor, _PIECE)
        except BlockingIOError:
            return False
        room = self._largest - len(self.kept)
        self.kept += piece[:room]
        self.is_whole, self.is_over = self.is_whole and len(piece) <= room, not piece
        return bool(piece)

    def read_rest(self) -> None:
        """Read what an ended program has left in the pipe.

        Another process may still write into it, and is not waited for.
        """
        while self.is_whole and self.read():
            pass


def _read(outputs: List[_Output], process: "subprocess.Popen[bytes]") -> None:
    """Read what the pipes hold, or wait a moment."""
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
