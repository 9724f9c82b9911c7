"""What a refusal means where its status is misleading.

A full quota is a 403, 409 or 413; a volume that is in the wrong state is a 400.
"""

from __future__ import annotations

import re
from typing import Dict, Optional, Type

from vmprobe.core import reasons
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    QuotaExceeded,
    RateLimited,
    VmprobeError,
)
from vmprobe.transport.http import Reply

_CREATES = re.compile(r"/(?:servers|volumes|floatingips|security-groups|security-group-rules)$")
_INVALID_STATE = r"invalid (?:volume|snapshot)|volume status must be|invalid status"
_PASSING_STATE = (  # words for a state that a volume leaves again by itself
    r"status|currently in|attach(?:ed|ing)|detaching|in use|snapshot|dependent|migrating|state"
)
_POLICY = r"policy|not authori[sz]ed|permission"
_ERRORS: Dict[int, Type[CloudError]] = {404: NotFound}


def classify(reply: Reply) -> Optional[VmprobeError]:
    """The error that a refusal really is; None where the status says it (see ``Http``)."""
    message = reply.message
    is_create = reply.method == "POST" and bool(_CREATES.search(reply.url))

    if reply.status in (400, 403, 409, 413) and reasons.cause(message) == "quota":
        return reply.error(QuotaExceeded)
    if reply.status == 400 and re.search(_INVALID_STATE, message, re.I):
        if re.search(_PASSING_STATE, message, re.I):
            return reply.error(Conflict)
        return reply.error(CloudError, cause="storage")
    if reply.status == 503 and "Keystone service is temporarily unavailable" in reply.text:
        # in a few words: Keystone's own message has long ids in it
        return reply.error(GatewayFailed, "Keystone is temporarily unavailable")
    if reply.status == 503 and reply.method == "POST" and reply.headers.get("Retry-After"):
        return reply.error(RateLimited)
    if reply.status in (400, 403, 404, 409) and is_create:
        return _refused_create(reply)
    return None


def _refused_create(reply: Reply) -> Optional[VmprobeError]:
    """Why a create was refused, where the message says more than the status.

    A 403 is only a matter of policy if its message says so; a 409 does not pass by waiting.
    """
    cause = "image" if "zero disk" in reply.message else reasons.cause(reply.message)
    if reply.status == 403 and (not cause or re.search(_POLICY, reply.message, re.I)):
        return None
    return reply.error(_ERRORS.get(reply.status, CloudError), cause=cause)
