"""Time for tests: it passes when somebody sleeps, and not otherwise."""

from vmprobe.clock import Clock


class VirtualClock(Clock):
    """A clock that moves only by ``sleep``; ``at`` runs things at their moment, such as a signal's arrival."""

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
        """Call ``act`` when the clock comes to ``moment``; a sleep that holds it ends there, as with a signal."""
        self._appointments.append((moment, act))
