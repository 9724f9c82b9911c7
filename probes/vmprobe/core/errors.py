"""The errors of the suite, and the states of a check. ``checks.judge`` derives the state from the
type and the cause of an error.

The text says what was requested, from whom, and what they answered. A driver raises only these.
``cause`` is shown on line 1 as ``cause=``. Where it is empty, ``checks.judge`` takes it from the
text, or from the stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from vmprobe.core.model import Ref

STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # by exit code
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
    """An error that this suite raises on purpose.

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
    partial: Sequence[Ref] = ()  # what the manager did answer


class NotFound(CloudError):
    """The manager itself says that the resource does not exist. Never raised for no answer."""


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
