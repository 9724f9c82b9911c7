"""What the requirements are tried on: a driver that is not connected yet, with its site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List, Mapping, Optional, Tuple

from vmprobe.core.clock import Clock, Deadline, Polling
from vmprobe.core.driver import Driver
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Capability, TestVM
from vmprobe.core.redact import Redactor
from vmprobe.site.credentials import secrets
from vmprobe.site.site import Site

TOTAL, RESERVE = 1800.0, 120.0  # seconds: of a whole run, and of those for its clean-up
_POLLING = Polling(first=0.2, shortest=0.2, longest=1.0)


class WatchedClock(Clock):
    """The clock that a driver is given: it counts the waits, because a driver never waits."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock
        self.waits: List[float] = []

    def now(self) -> float:
        return self.clock.now()

    def utc(self) -> float:
        return self.clock.utc()

    def sleep(self, duration: float) -> None:
        self.waits.append(duration)
        self.clock.sleep(duration)


@dataclass
class Subject:
    """A driver that is not connected yet, and what the requirements have to know of its server."""

    driver: Driver
    test_vm: TestVM
    deadline: Deadline
    reports: bool = True  # whether the console of the image has the suite's facts
    secrets: Tuple[str, ...] = ()
    # Capabilities that the driver has and this server has not, and why.
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    # Keys of [test vm] with which no server can be created.
    impossible: Optional[Mapping[str, Any]] = None
    # An id that the manager never gives to anything.
    impossible_id: str = "00000000-0000-4000-8000-000000000000"
    # Requirements that are not to be tried, by id, and why.
    skip: Mapping[str, str] = field(default_factory=dict)
    patience: float = 240.0  # seconds that a server, a volume or a removal may take
    owner: str = "conformance"
    name: str = ""  # for the report

    @property
    def waits(self) -> List[float]:
        """The waits of the driver so far, in seconds."""
        clock = self.driver.deadline.clock
        return clock.waits if isinstance(clock, WatchedClock) else []


def of_site(
    site: Site, clock: Clock, total: float = TOTAL, redactor: Optional[Redactor] = None, **more: Any
) -> Subject:
    """The cloud of a site: with short intervals of polling, and ``total`` seconds for everything.

    ``more``: fields of Subject.
    """
    credentials = site.credentials()
    known = tuple(secrets(credentials))
    evidence = Evidence(redactor or Redactor(known), keep=True)
    reserve = min(RESERVE, total / 3)
    # Two deadlines of the same end: by the driver's, its waits are seen.
    deadline = Deadline(total, reserve, clock, _POLLING)
    watched = Deadline(total, 0.0, WatchedClock(clock), _POLLING)
    return Subject(
        site.driver(site.endpoint, credentials, watched, evidence),
        site.test_vm,
        deadline,
        **{
            "reports": site.test_vm["depth"] != "api",
            "secrets": known,
            "patience": max(240.0, site.deadline),
            "owner": site.owner,
            "name": site.name,
            **more,
        },
    )
