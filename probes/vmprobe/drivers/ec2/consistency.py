"""Decide what "not found" means while EC2 is eventually consistent.

For a while, a part of the service may not know a new instance or volume. So what this session asked
for counts as gone only if it is no longer new, and was not found twice in a row. Everything else is
gone when it is not found.
"""

from __future__ import annotations

import contextlib
from typing import Dict, Iterable, Iterator

from vmprobe.core.clock import Clock
from vmprobe.core.errors import Conflict, NotFound
from vmprobe.core.model import Ref

_NEW = 60.0  # seconds after the request, during which EC2 may not know what it made
_MISSES = 2  # times in a row that an older resource has to be missed


class Requested:
    """The resources that this session asked for and has not asked to remove, by id."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._since: Dict[str, float] = {}  # when it was asked for, on the run's clock
        self._misses: Dict[str, int] = {}  # how often in a row it was not found

    def add(self, ids: Iterable[str]) -> None:
        """Note that these were asked for just now."""
        self._since.update(dict.fromkeys(ids, self._clock.now()))

    def __contains__(self, identity: object) -> bool:
        return identity in self._since

    def forget(self, identity: str) -> None:
        """Its removal was asked for: from now on "not found" means gone."""
        self._since.pop(identity, None)
        self._misses.pop(identity, None)

    def found(self, ref: Ref) -> None:
        """EC2 has shown it, or has accepted a request about it."""
        self._misses.pop(ref.id, None)

    def missed(self, ref: Ref, message: str = "") -> None:
        """EC2 did not find it. Conflict if it may be there all the same.

        ``message``: the manager's answer, put in front of the error's text.
        """
        if ref.id not in self._since:
            return
        self._misses[ref.id] = self._misses.get(ref.id, 0) + 1
        if self._clock.now() - self._since[ref.id] < _NEW:
            text = f"{message}{ref} was asked for just now and is not shown yet"
        elif self._misses[ref.id] < _MISSES:
            text = f"{message}{ref} was there, and is not shown just now"
        else:
            return
        raise Conflict(text) from None

    @contextlib.contextmanager
    def expecting(self, *refs: Ref) -> Iterator[None]:
        """Turn NotFound into Conflict if one of these may be there all the same."""
        try:
            yield
        except NotFound as unknown:
            for ref in refs:
                self.missed(ref, f"{unknown}; ")
            raise
        for ref in refs:
            self.found(ref)
