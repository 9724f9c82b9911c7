"""What a signal does to a check: it ends one that has not begun, and marks the deadline of one that
runs.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import List, Optional

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import Interrupted

# SIGALRM is a caller's own alarm, which outlives exec.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


class _Early:
    """Signals that arrive before any deadline listens."""

    received: List[int] = []
    raises = True  # the first one raises Interrupted at once
    ignored = False  # none is raised or kept any more


_deadlines: List[Deadline] = []  # those that a signal marks, or has marked


def handle_early(raises: bool) -> None:
    """Handle signals from now on, also those that the executable or its caller held back.

    Until ``listen`` is called, the first one raises Interrupted. With ``raises`` false it is only
    kept, because an import that is cut short would stay half done: ``stop_if_interrupted`` or
    ``listen`` raises it.
    """
    sys.unraisablehook = _hide_interrupted
    _Early.raises = raises
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # A caller may have passed SIGCHLD on as ignored: then every program's exit code would be 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def stop_if_interrupted() -> None:
    """Raise Interrupted for a signal that arrived before any deadline listened."""
    if _Early.received and not _Early.ignored:
        raise Interrupted(
            f"interrupted by {signal.Signals(_Early.received[0]).name} before anything was started"
        )


def listen(deadline: Deadline) -> None:
    """From now on a signal marks the deadline and ends its sleeps; Interrupted where one arrived
    before.
    """
    deadline.clock.wake_on_signals()
    _deadlines.append(deadline)
    for number in SIGNALS:
        signal.signal(number, deadline.interrupt)
    stop_if_interrupted()


def ignore_early() -> None:
    """The check has returned: from now on an early signal raises nothing."""
    _Early.ignored = True


def ignore() -> None:
    """From now on no signal does anything: the result is being printed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def is_interrupted() -> bool:
    """Whether a signal has arrived: whoever sent it will soon send SIGKILL."""
    return bool(_Early.received) or any(deadline.signal is not None for deadline in _deadlines)


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    """Raise for the first signal only: nothing would catch a second one while the first is being
    reported.
    """
    if _Early.received or _Early.ignored:
        return
    _Early.received.append(number)
    if _Early.raises:
        stop_if_interrupted()


def _hide_interrupted(unraisable: sys.UnraisableHookArgs) -> None:
    """Print nothing for a signal that arrived in a destructor, where nothing can be raised; it is
    raised later.
    """
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)
