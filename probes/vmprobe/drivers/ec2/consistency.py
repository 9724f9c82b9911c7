"""What to make of "not found" while EC2 is eventually consistent.

A new instance or volume may be unknown to a part of the service for a while. So a thing that this
session asked for is believed to be gone only when it is not young any more, and was missed twice.
Others' things are believed to be gone at once.
"""

from __future__ import annotations

import contextlib
from typing import Dict, Iterable, Iterator

from vmprobe.core.clock import Clock
from vmprobe.core.errors import Conflict, NotFound
from vmprobe.core.model import Ref

_YOUNG = 60.0  # seconds during which a new thing may be unknown
_MISSES = 2  # times in a row that an older thing has to be missed


class Requested:
    """The things that this session asked for and has not asked to remove, by id."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._since: Dict[str, float] = {}  # when it was asked for, on the run's clock
        self._misses: Dict[str, int] = {}  # how often in a row it was not found

    def add(self, ids: Iterable[str]) -> None:
        self._since.update(dict.fromkeys(ids, self._clock.now()))

    def __contains__(self, identity: object) -> bool:
        return identity in self._since

    def forget(self, identity: str) -> None:
        """Its removal was asked for, or it is nothing of ours."""
        self._since.pop(identity, None)
        self._misses.pop(identity, None)

    def found(self, ref: Ref) -> None:
        self._misses.pop(ref.id, None)

    def missed(self, ref: Ref, message: str = "") -> None:
        """Conflict while the thing may still be there; ``message`` is what the manager answered."""
        if ref.id not in self._since:
            return
        self._misses[ref.id] = self._misses.get(ref.id, 0) + 1
        if self._clock.now() - self._since[ref.id] < _YOUNG:
            text = f"{message}{ref} was asked for just now and is not shown yet"
        elif self._misses[ref.id] < _MISSES:
            text = f"{message}{ref} was there, and is not shown just now"
        else:
            return
        raise Conflict(text) from None

    @contextlib.contextmanager
    def expecting(self, *refs: Ref) -> Iterator[None]:
        """NotFound inside becomes Conflict while one of these things may still be there."""
        try:
            yield
        except NotFound as unknown:
            for ref in refs:
                self.missed(ref, f"{unknown}; ")
            raise
        for ref in refs:
            self.found(ref)
