"""Time: the clock that can be replaced, the deadline that every wait obeys, and the rhythm of polling."""

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
    """The machine's clock. A signal ends a sleep early, so that whoever sleeps can see that it came."""

    def __init__(self):
        self._wake, self._waker = None, None

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def utc(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, duration: float) -> None:
        """Let ``duration`` seconds pass, at most a day, or fewer when a signal comes."""
        if self._wake is None:
            time.sleep(max(0.0, duration))
            return
        waiting = (
            select.poll()
        )  # unlike select, it takes descriptors from 1024 on, which a scheduler may have left open
        waiting.register(self._wake, select.POLLIN)
        if waiting.poll(math.ceil(1000 * min(max(0.0, duration), _LONGEST_SLEEP))):
            os.read(self._wake, 512)

    def wake_on_signals(self) -> None:
        """From now on a signal with a handler ends a sleep."""
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)


def clock_skew(date: str, now: float) -> Optional[float]:
    """How far ``now`` (epoch) is ahead of an HTTP date, which shows whole seconds; negative: behind. None where it is none."""
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(date[:60])
        difference = now - mktime_tz(parsed) - 0.5 if parsed else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return None if difference is None else difference - max(-0.5, min(0.5, difference))


class Polling(NamedTuple):
    """When to look again: ``first`` after the submission, then at ``fraction`` of the time elapsed, within bounds."""

    first: float = 3.0
    fraction: float = 0.08
    shortest: float = 1.5
    longest: float = 5.0

    def pause(self, elapsed: float) -> float:
        """Seconds until the next look, ``elapsed`` seconds after the request."""
        return min(self.longest, max(self.shortest, self.fraction * elapsed))


class Deadline:
    """The end of the whole run, with a reserve at its end that only the clean-up may use.

    A signal marks the deadline and does not raise: no request is cut in half. Who waits next finds the mark.
    """

    def __init__(
        self,
        total: float,
        reserve: float,
        clock: Optional[Clock] = None,
        polling: Polling = Polling(),
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
        """Seconds that may still be used: to the reserve, or once the clean-up has begun, to the end."""
        end = (
            self.started + self.total - self.reserve
            if self._cleaning_until is None
            else self._cleaning_until
        )
        return min(end, self._part_until) - self.clock.now()

    @contextlib.contextmanager
    def within(self, until: Optional[float]) -> Iterator[None]:
        """Inside, everything that obeys the deadline ends at ``until`` (on the clock) at the latest."""
        before = self._part_until
        self._part_until = before if until is None else min(before, until)
        try:
            yield
        finally:
            self._part_until = before

    def interrupt(self, signum: int, frame: object = None) -> None:
        """A signal's handler."""
        self.signal = self.signal or signum

    def clean_up(self) -> None:
        """From now on the reserve may be used, and signals are only remembered. After a signal it is all there is."""
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
        """Sleep, but never beyond what is left; raises as ``check`` does, before and after."""
        self.check()
        self.clock.sleep(min(duration, max(0.0, self.left())))
        self.check()

    def polls(
        self, since: float, first: Optional[float] = None, budget: Optional[float] = None
    ) -> Iterator[float]:
        """Come round for each look at something that was asked for at ``since``; yields the seconds elapsed.

        The first look is ``first`` seconds after the request, or at once when that is past. Raises StageOverrun when
        ``budget`` seconds have gone by, and as ``check`` does.
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
                    raise StageOverrun(f"not within its budget of {budget:g} s")
                pause = min(pause, budget - elapsed)
            self.sleep(pause)
