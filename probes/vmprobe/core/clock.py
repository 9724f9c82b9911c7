"""The clock, the deadline that every wait obeys, and the intervals of polling."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from typing import Iterator, NamedTuple, Optional

from vmprobe.core.errors import DeadlinePassed, Interrupted, StageOverrun

_LONGEST_SLEEP = 86400.0  # seconds


class Clock:
    """The machine's clock. A signal ends a sleep early, so that the caller notices it at once."""

    def __init__(self) -> None:
        self._wake: Optional[int] = None  # the two ends of a pipe that signals write to
        self._waker: Optional[int] = None

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def utc(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, duration: float) -> None:
        """Wait ``duration`` seconds, at most a day, or until a signal comes."""
        if self._wake is None:
            time.sleep(max(0.0, duration))
            return
        # poll takes descriptors from 1024 on, which a scheduler may have left open; select does not
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if poller.poll(math.ceil(1000 * min(max(0.0, duration), _LONGEST_SLEEP))):
            os.read(self._wake, 512)

    def wake_on_signals(self) -> None:
        """Let every signal that has a handler end a sleep, from now on."""
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)


def clock_skew(date: str, now: float) -> Optional[float]:
    """Seconds by which ``now`` (epoch) is ahead of an HTTP date; negative: behind.

    None if ``date`` is not a date. A date has whole seconds, so half a second does not count.
    """
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(date[:60])
        difference = now - mktime_tz(parsed) - 0.5 if parsed else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return None if difference is None else difference - max(-0.5, min(0.5, difference))


class Polling(NamedTuple):
    """When to poll: ``first`` seconds after the request, then by ``fraction`` of the time elapsed.

    The pauses are between ``shortest`` and ``longest`` seconds.
    """

    first: float = 3.0
    fraction: float = 0.08
    shortest: float = 1.5
    longest: float = 5.0

    def pause(self, elapsed: float) -> float:
        """Seconds until the next poll, ``elapsed`` seconds after the request."""
        return min(self.longest, max(self.shortest, self.fraction * elapsed))


_POLLING = Polling()


class Deadline:
    """The end of the whole run. Only the clean-up may use the reserve before it.

    A signal handler marks the deadline and does not raise, so that no request is cut in half. The
    next wait raises Interrupted.
    """

    def __init__(
        self,
        total: float,
        reserve: float,
        clock: Optional[Clock] = None,
        polling: Polling = _POLLING,
    ):
        self.clock = clock or Clock()
        self.total, self.reserve, self.polling = total, reserve, polling
        self.started = self.clock.now()
        self.signal: Optional[int] = None
        self._cleaning_until: Optional[float] = None
        self._part_until = math.inf

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock.now() - self.started

    def left(self) -> float:
        """Seconds until the reserve, or, once the clean-up has begun, until the end."""
        end = (
            self.started + self.total - self.reserve
            if self._cleaning_until is None
            else self._cleaning_until
        )
        return min(end, self._part_until) - self.clock.now()

    @contextlib.contextmanager
    def within(self, until: Optional[float]) -> Iterator[None]:
        """Inside this context the deadline is ``until`` (on the clock), if that is earlier."""
        before = self._part_until
        self._part_until = before if until is None else min(before, until)
        try:
            yield
        finally:
            self._part_until = before

    def interrupt(self, signum: int, frame: object = None) -> None:
        """Mark the deadline. To be set as a signal's handler."""
        self.signal = self.signal or signum

    def clean_up(self) -> None:
        """Let the clean-up use the reserve, from now on; signals no longer raise.

        After a signal the reserve is all the time that is left.
        """
        if self._cleaning_until is not None:
            return
        end = self.started + self.total
        if self.signal is not None:
            end = min(end, self.clock.now() + self.reserve)
        self._cleaning_until = end

    def check(self) -> None:
        """Raise Interrupted after a signal, DeadlinePassed when the time is over."""
        if self.signal is not None and self._cleaning_until is None:
            raise Interrupted(f"interrupted by {signal.Signals(self.signal).name}")
        if self.left() <= 0:
            raise DeadlinePassed(f"the deadline of {self.total:g} s passed")

    def sleep(self, duration: float) -> None:
        """Sleep, but not beyond the deadline. Raises as ``check`` does, before and after."""
        self.check()
        self.clock.sleep(min(duration, max(0.0, self.left())))
        self.check()

    def polls(
        self, since: float, first: Optional[float] = None, budget: Optional[float] = None
    ) -> Iterator[float]:
        """Yield the seconds elapsed since the request at ``since``, once for each poll.

        The first poll is ``first`` seconds after the request, or at once when that is past. Raises
        StageOverrun after ``budget`` seconds, and as ``check`` does.
        """
        wait = since + (self.polling.first if first is None else first) - self.clock.now()
        if wait > 0:
            self.sleep(wait)
        while True:
            self.check()
            elapsed = self.clock.now() - since
            yield elapsed
            elapsed = self.clock.now() - since
            pause = self.polling.pause(elapsed)
            if budget is not None:
                if elapsed >= budget:
                    raise StageOverrun(f"not done within {budget:g} s")
                pause = min(pause, budget - elapsed)
            self.sleep(pause)
