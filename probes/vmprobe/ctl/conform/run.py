"""Try the requirements on a cloud, one after the other, and leave nothing behind."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from vmprobe.core.errors import DeadlinePassed, Interrupted, VmprobeError
from vmprobe.core.text import one_line
from vmprobe.ctl.conform import before, ending, figures, server, volume
from vmprobe.ctl.conform.requirement import Failed, Inapplicable, Requirement
from vmprobe.ctl.conform.subject import Subject
from vmprobe.ctl.conform.world import Overdue, World

REQUIREMENTS: Sequence[Requirement] = [
    requirement
    for group in (
        before.requirement,
        server.requirement,
        volume.requirement,
        figures.requirement,
        volume.detaching,
        ending.requirement,
    )
    for requirement in group.requirements
]
BY_ID: Dict[str, Requirement] = {requirement.id: requirement for requirement in REQUIREMENTS}
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Outcome(NamedTuple):
    """What became of one requirement. The message says why, where it did not simply pass."""

    requirement: Requirement
    result: str
    message: str = ""
    seconds: float = 0.0
    requests: range = range(0)  # which of the evidence's exchanges were made for it


class Run:
    """One run over one cloud: each requirement is tried once, after those that it needs."""

    def __init__(self, subject: Subject):
        self.subject = subject
        self.world = World(subject)
        self.outcomes: Dict[str, Outcome] = {}

    def all(self) -> Iterator[Outcome]:
        """Try everything, in order."""
        for requirement in REQUIREMENTS:
            yield self.outcome(requirement.id)

    def outcome(self, id: str) -> Outcome:
        """What became of a requirement; it is tried now unless it was before."""
        if id not in self.outcomes:
            requirement = BY_ID[id]
            reason = self._reason_to_skip(requirement)
            self.outcomes[id] = (
                Outcome(requirement, SKIPPED, reason) if reason else self._try(requirement)
            )
        return self.outcomes[id]

    def _reason_to_skip(self, requirement: Requirement) -> str:
        subject, driver = self.subject, self.subject.driver
        if requirement.id in subject.skip:
            return subject.skip[requirement.id]
        for capability in requirement.capabilities:
            if capability in subject.lacks:
                return f"{capability.value}: {subject.lacks[capability]}"
            if capability not in driver.capabilities:
                return f"{driver.system} has no {capability.value}"
        for earlier in requirement.after:
            if self.outcome(earlier).result != PASSED:
                return f"needs {earlier}, which {_past(self.outcome(earlier))}"
        return ""

    def _try(self, requirement: Requirement) -> Outcome:
        clock, evidence = self.subject.deadline.clock, self.world.evidence
        began, first = clock.now(), evidence.requests
        result, message = _judged(lambda: requirement.test(self.world) or "")
        message = evidence.redactor.redact(message)
        return Outcome(
            requirement,
            result,
            message,
            clock.now() - began,
            range(first, evidence.requests),
        )

    def close(self) -> str:
        """Remove what is left, and close the session; returns what is left, '' for nothing.

        Does nothing where the last requirements did it already.
        """
        world = self.world
        world.deadline.clean_up()
        trouble = ""
        try:
            if not world.connected:
                return ""
            if self.outcomes.get("nothing-left", _NOT_TRIED).result != PASSED:
                ending.clean_up(world)
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            try:
                world.cloud.close()
            except Exception as error:
                trouble = trouble or f"close raised {type(error).__name__}: {error}"
        return world.evidence.redactor.redact(one_line(trouble))


_NOT_TRIED = Outcome(BY_ID["nothing-left"], SKIPPED)


def _past(outcome: Outcome) -> str:
    return "failed" if outcome.result == FAILED else "was skipped"


def _judged(test: Callable[[], str]) -> Tuple[str, str]:
    """The result of a test, and its message."""
    try:
        return PASSED, test()
    except Inapplicable as reason:
        return SKIPPED, str(reason)
    except (Failed, Overdue) as failed:
        return FAILED, str(failed)
    except (DeadlinePassed, Interrupted):
        raise
    except VmprobeError as error:
        return FAILED, f"unexpected {type(error).__name__}: {error}"
    except Exception as error:
        return FAILED, f"raised {type(error).__name__}, no error of the suite: {error}"


def failures(outcomes: Sequence[Outcome]) -> List[Outcome]:
    """Those that failed."""
    return [outcome for outcome in outcomes if outcome.result == FAILED]


def try_all(subject: Subject) -> List[Outcome]:
    """The outcomes of everything; nothing is left behind."""
    run = Run(subject)
    try:
        return list(run.all())
    finally:
        run.close()
