"""Requests of the clean-up: one that fails must not keep the others from being sent."""

from __future__ import annotations

import enum
from typing import Callable, Optional, TypeVar, Union

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import DeadlinePassed

T = TypeVar("T")


class Failed(enum.Enum):
    """What ``Attempts.attempt`` returns in place of an answer."""

    FAILED = "failed"


FAILED = Failed.FAILED


class Attempts:
    """Send requests, whatever goes wrong with one of them; remember why the last one failed."""

    def __init__(self, deadline: Deadline):
        self.deadline = deadline
        self.last_failure: Optional[BaseException] = None

    def attempt(self, request: Callable[[], T], half: bool = False) -> Union[T, Failed]:
        """Return what ``request()`` returns, or FAILED; then ``last_failure`` says why.

        ``half``: the request may take half of the time that is left. For questions that take many
        requests, such as a list of many pages. DeadlinePassed when the whole time is over,
        Interrupted when a signal came before the clean-up has begun.
        """
        self.deadline.check()
        try:
            return self._in_half_the_time(request) if half else request()
        except BaseException as error:  # also what a driver's library raises to end the process
            if self.deadline.left() <= 0:
                if isinstance(error, DeadlinePassed):
                    raise error from error  # its cause is the reason that the round gives
                raise DeadlinePassed("the time to clean up is over") from error
            self.deadline.check()
            self.last_failure = error
            # Wait as long as the manager asks for, but do not spend all the remaining time on it.
            wait = min(getattr(error, "wait", 0.0), self.deadline.left() / 4)
            if wait > 0:
                self.deadline.sleep(wait)
            return FAILED

    def _in_half_the_time(self, request: Callable[[], T]) -> T:
        with self.deadline.within(self.deadline.clock.now() + self.deadline.left() / 2):
            return request()
