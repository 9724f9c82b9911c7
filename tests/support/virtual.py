"""Clocks for tests: time passes only when the code under test sleeps."""

import threading

from vmprobe.core.clock import Clock


class VirtualClock(Clock):
    """A clock that only ``sleep`` moves on. ``at`` schedules events, such as the arrival of a signal."""

    def __init__(self, utc: float = 1_800_000_000.0):
        super().__init__()
        self._now, self._utc = 0.0, utc
        self._appointments = []

    def now(self) -> float:
        return self._now

    def utc(self) -> float:
        return self._utc + self._now

    def sleep(self, duration: float) -> None:
        end = self._now + max(0.0, duration)
        for moment, act in sorted(self._appointments, key=lambda pair: pair[0]):
            if moment <= end:
                self._appointments.remove((moment, act))
                self._now = max(self._now, moment)
                act()
                return
        self._now = end

    def at(self, moment: float, act) -> None:
        """Call ``act`` at ``moment``. A sleep across that moment ends there, as it does with a signal."""
        self._appointments.append((moment, act))


class SharedClock(Clock):
    """Virtual time for several threads. One runs at a time; time passes when all of them sleep."""

    def __init__(self, utc: float = 1_800_000_000.0):
        super().__init__()
        self._now, self._utc = 0.0, utc
        self._turn = threading.Condition()
        self._running, self._wakes = 0, {}

    def thread(self, moment: float, act, *words) -> threading.Thread:
        """A thread that calls ``act`` at ``moment``. Make all of them before the first is started."""
        self._running += 1

        def live():
            try:
                self.sleep(moment)
                act(*words)
            finally:
                with self._turn:
                    self._running -= 1
                    self._turn.notify_all()

        return threading.Thread(target=live, daemon=True)

    def now(self) -> float:
        return self._now

    def utc(self) -> float:
        return self._utc + self._now

    def sleep(self, duration: float) -> None:
        me = threading.get_ident()
        with self._turn:
            self._wakes[me] = self._now + max(0.0, duration)
            self._turn.notify_all()
            self._turn.wait_for(
                lambda: (
                    len(self._wakes) == self._running
                    and me == min(self._wakes, key=self._wakes.get)
                )
            )
            self._now = max(self._now, self._wakes.pop(me))
