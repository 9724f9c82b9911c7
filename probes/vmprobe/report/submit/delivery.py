"""Deliver check results to monitoring servers (``--submit``). This never changes the verdict.

A result is written to a spool before its target is asked. What cannot be delivered in time is
delivered by the next run that has a result for the same target. So each result is delivered at
least once; only a result whose request was accepted with a reply that cannot be parsed is not sent
again. A monitoring server gets the newest result of a service first, and older ones are dropped;
a file gets all results, in order.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import Dict, List, Optional, Sequence, Type

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    ClientError,
    DeadlinePassed,
    Interrupted,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.text import one_line
from vmprobe.host import paths
from vmprobe.report.submit.file import File
from vmprobe.report.submit.icinga2 import Icinga2
from vmprobe.report.submit.nagios import CheckResultDirectory, CommandPipe
from vmprobe.report.submit.nrdp import Nrdp
from vmprobe.report.submit.nsca import Nsca
from vmprobe.report.submit.receiver import (
    Receiver,
    Rejected,
    Superseded,
    UnclearReply,
    Undelivered,
)
from vmprobe.report.submit.spool import PassiveResult, Spool
from vmprobe.site.targets import Target

RECEIVERS: Dict[str, Type[Receiver]] = {  # by the kind of a target
    "nagios": CommandPipe,
    "results": CheckResultDirectory,
    "icinga2": Icinga2,
    "nsca": Nsca,
    "nrdp": Nrdp,
    "file": File,
}
LEAST, MOST = 5.0, 30.0  # seconds for all targets, however much of the run's time is left
_PAUSES = (0.0, 0.3, 1.0, 2.0, 4.0)  # seconds before each attempt
_MOST_FAILURES = 2  # in a row; then the target counts as unavailable
_YOUNG = 60.0  # seconds in which the run that made a result may still report what became of it


def time_limit(left: float) -> Deadline:
    """The time for delivery when ``left`` seconds remain of the run's own."""
    return Deadline(min(MOST, max(LEAST, left)), 0)


def submit(targets: Sequence[Target], result: PassiveResult, deadline: Deadline) -> List[str]:
    """Deliver ``result`` to all targets, retrying while there is time.

    Each target gets its share of the time. Returns a line for each target that did not take it.
    """
    distinct = {target.text: target for target in targets}.values()
    deliveries = [Delivery(target, result) for target in distinct]
    with contextlib.suppress(DeadlinePassed, Interrupted):  # undelivered results stay spooled
        for pause in _PAUSES:
            unfinished = [delivery for delivery in deliveries if not delivery.is_finished]
            if not unfinished or deadline.left() <= pause:
                break
            deadline.sleep(pause)
            for number, delivery in enumerate(unfinished):
                share = deadline.left() / (len(unfinished) - number)
                with deadline.within(deadline.clock.now() + share):
                    delivery.attempt(deadline)
    return [message for message in (delivery.message() for delivery in deliveries) if message]


class Delivery:
    """The delivery of one result to one target. Creating it spools the result."""

    def __init__(self, target: Target, result: PassiveResult):
        self.target, self.result = target, result
        self.is_finished = False  # delivered, or left to the next run
        self._receiver = RECEIVERS[target.kind]
        self._spool = Spool("")
        self._failure: Optional[Exception] = Undelivered("no time was left")
        self._name = ""  # of the result in the spool
        self._spool_failure = ""
        try:
            self._spool = Spool(spool_folder(target), keeps_all=self._receiver.keeps_all)
            self._name = self._spool.put(result)
        except (OSError, ClientError) as error:
            self._spool_failure = f"it cannot be spooled either: {_message(error)}"

    def attempt(self, deadline: Deadline) -> None:
        """Try once to deliver this result, then what else is spooled for the target.

        Raises nothing.
        """
        try:
            with self._spool.only_sender(deadline):
                # A spool that cannot be written is not read either.
                waiting = self._spool.waiting(self._name) if self._name else []
                if self._name and not self._spool.has(self._name):
                    # Another run delivered this result, or has a newer one of the service.
                    self.is_finished, self._failure = True, None
                elif self._receiver.keeps_all:
                    self._send_all(waiting[::-1] or [""], deadline)
                else:
                    others = [name for name in waiting if name != self._name]
                    self._send_all([self._name, *others], deadline)
        except (VmprobeError, OSError) as error:
            self._failure = error
        self.is_finished = self.is_finished or _is_useless_to_retry(self._failure)

    def message(self) -> str:
        """What the operator has to know about this delivery, '' if nothing."""
        if self._failure is None:
            return ""
        name, reason = self.target.name, one_line(_message(self._failure))
        if isinstance(self._failure, UnclearReply):
            return f"submitted to {name}, but its reply cannot be parsed: {reason}; not sent again"
        if isinstance(self._failure, Superseded):
            return f"not submitted to {name}: {reason}; not sent again"
        return f"not submitted to {name}: {reason}; {self._spool_failure or 'spooled'}"

    def _send_all(self, names: Sequence[str], deadline: Deadline) -> None:
        """Send the results of these names, in this order.

        This run's own result is among them. It is not read from the spool, where it may be missing.
        """
        receiver, failures = self._receiver(self.target, deadline), 0
        for name in names:
            is_own = name == self._name
            result = self.result if is_own else self._spool.read(name)
            if result is None:
                continue
            failure = _send(receiver, result, deadline)
            if is_own or receiver.keeps_all and failure is not None:
                self._failure = failure
                self.is_finished = failure is None or isinstance(failure, UnclearReply)
            is_reported = is_own or time.time() - result.ended > _YOUNG
            if _is_settled(failure, is_reported):
                self._spool.forget(name)
            is_available = failure is None or isinstance(failure, (Rejected, UnclearReply))
            failures = 0 if is_available else failures + 1
            if failures >= (1 if receiver.keeps_all else _MOST_FAILURES):
                break


def _send(receiver: Receiver, result: PassiveResult, deadline: Deadline) -> Optional[Exception]:
    """Send one result; returns why the target did not accept it, None if it did."""
    try:
        deadline.check()
        receiver.send(result)
    except Exception as error:  # one bad result must not keep the others from being sent
        return error
    return None


def _is_settled(failure: Optional[Exception], is_reported: bool) -> bool:
    """Whether a result need not be sent again.

    A superseded one stays in the spool until its own run has reported it, or cannot any more.
    """
    if isinstance(failure, Superseded):
        return is_reported
    return failure is None or isinstance(failure, UnclearReply)


def _is_useless_to_retry(failure: Optional[Exception]) -> bool:
    """Whether this run need not try again.

    Either waiting does not help, or the request was sent and its reply was lost, so that sending
    it again could deliver it twice.
    """
    if isinstance(failure, Unreachable):
        return failure.sent
    return isinstance(failure, (Rejected, ClientError))


def spool_folder(target: Target) -> str:
    """The folder of the results for a target; a path with extra slashes is the same target."""
    name = target.name
    if os.path.isabs(target.where):
        name = re.sub("//+", "/", name).rstrip("/")
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return os.path.join(paths.state_directory(), "spool", digest)


def _message(error: Exception) -> str:
    """An error as people read it."""
    if isinstance(error, VmprobeError):
        return str(error)
    if isinstance(error, OSError):
        message, path = error.strerror or str(error), str(error.filename or "")
        return f"{message}: {path}" if path not in message else message
    return f"unforeseen: {type(error).__name__}: {error}"
