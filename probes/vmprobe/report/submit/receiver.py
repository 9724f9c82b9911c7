"""The interface of a receiver of check results, and the errors it raises."""

from __future__ import annotations

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import VmprobeError
from vmprobe.report.submit.spool import PassiveResult
from vmprobe.site.targets import Target


class Receiver:
    """One kind of target. An object serves one delivery attempt."""

    keeps_all = False  # True for a log: it wants every result, not only the newest per service

    def __init__(self, target: Target, deadline: Deadline):
        self.target, self.where, self.deadline = target, target.where, deadline

    def send(self, result: PassiveResult) -> None:
        """Hand over one result; raises why it was not accepted, mostly one of the errors below."""
        raise NotImplementedError


class Undelivered(VmprobeError):
    """The target did not accept a result; the text says why."""


class Rejected(Undelivered):
    """The target answers, but rejects this result; it may accept another one."""


class Superseded(Rejected):
    """The target already has a newer result of this service, and does not want this one."""


class UnclearReply(Undelivered):
    """The target accepted the request, but its reply cannot be parsed.

    It may or may not have stored the result.
    """
