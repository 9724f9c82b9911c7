"""The errors of the suite. The type decides the state of the check.

The text says what was requested, of whom, and what they answered. A driver raises nothing else.
``cause`` is shown on line 1 as ``cause=``; where it is empty, the stage decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from vmprobe.core.model import Ref

CAUSES = (
    "client",
    "auth",
    "quota",
    "image",
    "scheduler",
    "network",
    "storage",
    "teardown",
    "gateway",
)


class VmprobeError(Exception):
    """Anything that this suite raises on purpose.

    ``request`` is the manager's own id of the request, for a ticket.
    """

    cause = ""

    def __init__(self, text: str, cause: str = "", request: str = ""):
        super().__init__(text)
        self.cause = cause or type(self).cause
        self.request = request


# --- our failures: the check could not judge ----------------------------------------------------


class ClientError(VmprobeError):
    """Our own fault: the configuration, a missing library, an unusable or expired credential."""

    cause = "client"


class Interrupted(VmprobeError):
    """A signal told the run to stop."""


class DeadlinePassed(VmprobeError):
    """The whole run's time is over before the cloud could be judged."""


# --- the cloud's failures ------------------------------------------------------------------------


class CloudError(VmprobeError):
    """The cloud refused or failed."""


class AuthRejected(CloudError):
    """The session has ended, or a credential that is valid by its own dates was not accepted."""

    cause = "auth"


class NotPermitted(CloudError):
    """The credential is accepted, but the cloud's policy forbids this request."""

    cause = "auth"
    partial: Sequence[Ref] = ()  # of the answer: what the manager told in spite of it


class NotFound(CloudError):
    """The manager itself says that the resource does not exist. No answer is never this."""


class Ended(NotFound):
    """The resource has ended; the manager still shows it, so it will not appear again later."""


class NotMeasured(NotFound):
    """The manager has no reading of a running server, or none yet. The text says why."""


class QuotaExceeded(CloudError):
    """A limit of the project is reached. The cloud itself may be fine."""

    cause = "quota"


class ResourceFailed(CloudError):
    """A resource that we created is in a state that it does not leave by itself."""


class StageOverrun(CloudError):
    """A stage took longer than its budget."""


class LeftBehind(CloudError):
    """Something under the handle was not removed, or its absence could not be verified."""

    cause = "teardown"


# --- transient failures: the same request may succeed later -------------------------------------


class Transient(CloudError):
    """A failure that may pass. Reads are retried, creates are not.

    ``wait``: the seconds after which the manager wants the retry, 0 if it does not say.
    """

    cause = "gateway"

    def __init__(self, text: str, cause: str = "", request: str = "", wait: float = 0.0):
        super().__init__(text, cause, request)
        self.wait = wait


class Unreachable(Transient):
    """No complete answer came. ``sent`` is False only when the request certainly was not sent."""

    def __init__(self, text: str, cause: str = "", request: str = "", sent: bool = True):
        super().__init__(text, cause, request)
        self.sent = sent


class GatewayFailed(Transient):
    """The manager answered that it failed, or its answer cannot be parsed."""


class RateLimited(GatewayFailed):
    """Too many requests; this one was not served. Even a create is retried after ``wait`` s."""


class TooLarge(GatewayFailed):
    """The answer is larger than allowed. A smaller page of the list may fit."""


class Incomplete(GatewayFailed):
    """The manager answered with a part of a list: a cell is down, or a limit cut it off.

    ``partial`` is that part: the Resources of a driver's list. What is missing from it may exist.
    """

    def __init__(self, text: str, partial: Sequence[object] = (), request: str = ""):
        super().__init__(text, request=request)
        self.partial = tuple(partial)


class Conflict(Transient):
    """Not now: the manager does not accept this in the resource's present state."""

    cause = ""


class NotYet(Conflict, RateLimited):
    """Not now, and nothing was created: after ``wait`` seconds even a create is retried."""
