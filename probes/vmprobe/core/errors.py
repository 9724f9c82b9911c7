"""The errors of the suite: each type decides a state, each text says what was asked, of whom, and what they answered.

A driver raises nothing else. ``cause`` is the word that line 1 shows as ``cause=``; where it is empty, the stage decides.
"""

from __future__ import annotations

from typing import Any, Sequence

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
    """Anything that this suite raises on purpose. ``request`` is the manager's own id of the request, for the ticket."""

    cause = ""

    def __init__(self, text: str, cause: str = "", request: str = ""):
        super().__init__(text)
        self.cause = cause or type(self).cause
        self.request = request


# --- ours: the probe could not judge ------------------------------------------------------------------------------


class ClientError(VmprobeError):
    """Our own fault: configuration, a missing library, a credential that is missing, unreadable or expired."""

    cause = "client"


class Interrupted(VmprobeError):
    """A signal asked us to stop."""


class DeadlinePassed(VmprobeError):
    """The whole run's time is over before the cloud could be judged."""


# --- theirs: the cloud failed its user ----------------------------------------------------------------------------


class CloudError(VmprobeError):
    """The cloud refused or failed."""


class AuthRejected(CloudError):
    """A credential that is valid and fresh by its own dates was not accepted, or the session has ended."""

    cause = "auth"


class NotPermitted(CloudError):
    """The credential is accepted, and the policy of the cloud forbids this very request."""

    cause = "auth"
    partial: Sequence[Any] = ()  # what the manager told all the same, of what was asked for


class NotFound(CloudError):
    """The thing is not there, said by the manager itself. Silence is never this."""


class Ended(NotFound):
    """The thing was there and has ended, and the manager still tells of it: it will not appear any more."""


class NotMeasured(NotFound):
    """The manager has no reading of a server that runs, or none yet; the text says why."""


class QuotaExceeded(CloudError):
    """A limit set for the project is reached; the cloud itself may be well."""

    cause = "quota"


class ResourceFailed(CloudError):
    """A thing that we asked for went into a state from which it does not come back."""


class StageOverrun(CloudError):
    """A stage took longer than the site's budget for it allows."""


class LeftBehind(CloudError):
    """Something under the handle could not be removed, or its absence could not be verified."""

    cause = "teardown"


# --- passing: the same request may succeed when it is made again --------------------------------------------------


class Transient(CloudError):
    """May pass by itself: a read is asked again, a create never. ``wait`` is what the manager asked for, in seconds."""

    cause = "gateway"

    def __init__(self, text: str, cause: str = "", request: str = "", wait: float = 0.0):
        super().__init__(text, cause, request)
        self.wait = wait


class Unreachable(Transient):
    """No whole answer came. ``sent`` is False only when the request surely never left."""

    def __init__(self, text: str, cause: str = "", request: str = "", sent: bool = True):
        super().__init__(text, cause, request)
        self.sent = sent


class GatewayFailed(Transient):
    """The manager's service answered that it failed, or answered what cannot be understood."""


class RateLimited(GatewayFailed):
    """Too many requests: this one was not served, so that it may be sent again after ``wait`` s, also if it creates."""


class TooLarge(GatewayFailed):
    """The answer is larger than an answer may be. A part of what was asked for may fit: a smaller page of a list."""


class Incomplete(GatewayFailed):
    """The manager answered with a part of a list only: a cell is down, a page was cut, a limit ended it.

    ``partial`` is that part (Resources), for views; whoever asks whether something is gone learns nothing from it.
    """

    def __init__(self, text: str, partial: Sequence[Any] = (), request: str = ""):
        super().__init__(text, request=request)
        self.partial = tuple(partial)


class Conflict(Transient):
    """Not now: the thing is in a state in which the manager does not accept this."""

    cause = ""


class NotYet(Conflict, RateLimited):
    """Not now, and nothing was made: what creates may be sent again after ``wait`` s."""
