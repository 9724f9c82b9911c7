"""Other programs, run with a limit that holds whatever they do and whatever they start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Sequence, Tuple

from vmprobe.clock import Deadline

_MOST = 2 ** 20  # bytes of output that are kept


class TooSlow(Exception):
    """The program did not end in time; it and what it started were killed."""


def run(command: Sequence[str], seconds: float, deadline: Deadline, words: bytes = b"") -> Tuple[int, str]:
    """Exit code and output, stderr included; ``words``, less than a pipe holds, are its input.

    TooSlow after ``seconds``, and as ``deadline.check`` raises. OSError when it cannot be started. What it leaves running
    is neither waited for nor ended, unless it was too slow itself.
    """
    until = time.monotonic() + seconds
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    assert process.stdin and process.stdout
    with process.stdout as output:
        try:
            os.set_blocking(output.fileno(), False)
            with contextlib.suppress(BrokenPipeError), process.stdin as given:  # its exit code says why
                given.write(words)
            said = b""
            while process.returncode is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
                said += (output.read() or b"")[:_MOST - len(said)]  # read meanwhile, because a pipe holds 64 KiB
                if process.returncode is None:
                    deadline.check()
                    if time.monotonic() >= until:
                        raise TooSlow
            return process.returncode, said.decode("utf-8", "replace")
        finally:
            if process.returncode is None:  # else its number may be another process's by now
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
