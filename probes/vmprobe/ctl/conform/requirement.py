"""What a requirement is: an id, a sentence, and a function that tries it on a cloud.

A requirement is a function with the decorator ``requirement``. It fails by ``check`` or by any
exception, does not apply by ``Inapplicable``, and else has passed.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core.model import Capability
from vmprobe.ctl.conform.world import World


class Failed(Exception):
    """The cloud broke the requirement. The text says how."""


class Inapplicable(Exception):
    """The requirement says nothing about this cloud. The text says why."""


class Requirement(NamedTuple):
    """One promise of the contract.

    ``after``: ids of requirements that have to pass before, because this one uses what they made.
    """

    id: str
    sentence: str
    group: str  # a heading of the page
    test: Callable[[World], Optional[str]]  # returns a note, such as how long something took
    after: Tuple[str, ...] = ()
    capabilities: Tuple[Capability, ...] = ()  # what it needs


class Group:
    """The requirements of one module, in order."""

    def __init__(self, title: str):
        self.title = title
        self.requirements: List[Requirement] = []

    def __call__(
        self, id: str, sentence: str, *, after: Sequence[str] = (), needs: Sequence[Capability] = ()
    ) -> Callable[[Callable[[World], Optional[str]]], Callable[[World], Optional[str]]]:
        """Add the decorated function as the requirement ``id``."""

        def add(test: Callable[[World], Optional[str]]) -> Callable[[World], Optional[str]]:
            self.requirements.append(
                Requirement(id, sentence, self.title, test, tuple(after), tuple(needs))
            )
            return test

        return add


def check(holds: object, message: str) -> None:
    """Fail with this message unless ``holds`` is true."""
    if not holds:
        raise Failed(message)
