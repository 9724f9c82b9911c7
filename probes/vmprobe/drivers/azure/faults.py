"""Refusals of the Resource Manager: which of our errors each code becomes.

The codes are those of Microsoft's "Common Azure deployment errors" and of recorded answers. The
status says little: 409 is a full quota, a size that is not offered, and "not now".
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Optional, Sequence, Tuple, Type

from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    Transient,
    VmprobeError,
)
from vmprobe.core.text import cut
from vmprobe.transport.http import Reply

# (pattern of the whole code, error, cause); the first pattern that matches counts.
ERRORS: Sequence[Tuple[str, Type[CloudError], str]] = (
    (
        r"(?:Expired|Invalid)AuthenticationToken\w*|AuthenticationFailed\w*",
        AuthRejected,
        "",
    ),
    (r"(?:Linked)?(?:Authorization|Access)(?:Check)?Failed|Forbidden", NotPermitted, "auth"),
    (r"RequestDisallowedBy\w+|PolicyViolation|ScopeLocked", NotPermitted, "client"),
    (
        r"QuotaExceeded|ResourceQuotaExceeded|\w*Count\w*LimitReached|\w*LimitExceeded\w*"
        r"|\w*QuotaExceeded|SubscriptionLimitReached",
        QuotaExceeded,
        "",
    ),
    (
        r"(?:Zonal|Overconstrained\w*)?AllocationFailed|OverconstrainedZonalAllocationRequest"
        r"|OverconstrainedAllocationRequest|SkuNotAvailable|AllocationTimedOut"
        r"|SkuNotSupported\w*",
        CloudError,
        "scheduler",
    ),
    (r"(?:PlatformImage|Image|GalleryImage)NotFound|ImageVersionNotFound", NotFound, "image"),
    (r"\w*Image\w*|VMMarketplaceInvalidInput|MarketplacePurchase\w*", CloudError, "image"),
    (r"SubnetIsFull|SubnetIsDelegated|\w*Subnet\w*|PrivateIPAddress\w*", CloudError, "network"),
    (
        r"SubscriptionNotFound|InvalidSubscriptionId|DisallowedLocation|DisabledSubscription",
        CloudError,
        "client",
    ),
    (r"(?:Parent)?Resource(?:Group)?NotFound|NotFound|\w*DiskNotFound", NotFound, ""),
    (
        r"AnotherOperationInProgress|RetryableError|Conflict\w*|\w*InUse\w*|\w*BeingDeleted"
        r"|\w*BeingDetached|\w*CannotBe(?:Deleted|Modified)\w*|NicReservedForAnotherVm"
        r"|OperationPreempted|ReferencedResourceNotProvisioned|ResourceNotReady",
        Conflict,
        "",
    ),
    (r"TooManyRequests|SubscriptionRequestsThrottled|OperationThrottled\w*", RateLimited, ""),
    (r"InvalidParameter|InvalidRequest\w*|InvalidTemplate\w*|InvalidResource\w*", CloudError, ""),
    (r"\w*InternalE\w*|ServerTimeout|GatewayTimeout|ResourceReadFailed", GatewayFailed, ""),
)
_QUOTA = re.compile(r"exceeding (?:\w+ )*quota|quota limit|exceed\w* (?:the )?\w* ?limit", re.I)


class Refusal(NamedTuple):
    """The error in a body; both are '' where there is none."""

    code: str = ""
    message: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


def classify(reply: Reply) -> Optional[VmprobeError]:
    """The error for a refused request, by its code; None where the body has no code."""
    refusal = refusal_in(reply.body)
    if not refusal.code:
        return None
    kind, cause = kind_of(refusal, reply.status)
    text = f"{reply.asked}: {reply.status} {refusal}"
    if issubclass(kind, Transient):
        return kind(text, cause, reply.request_id, reply.retry_after)
    return kind(text, cause, reply.request_id)


def kind_of(refusal: Refusal, status: int = 0) -> Tuple[Type[CloudError], str]:
    """(the error, its cause) for a code."""
    if status == 429:
        return RateLimited, ""
    if refusal.code == "OperationNotAllowed":
        # The same code says that a quota is full, and that something has to be stopped before.
        return (QuotaExceeded, "") if _QUOTA.search(refusal.message) else (Conflict, "")
    if status >= 500:
        return GatewayFailed, ""
    for pattern, kind, cause in ERRORS:
        if re.fullmatch(pattern, refusal.code):
            return kind, cause
    by_status = {401: AuthRejected, 403: NotPermitted, 404: NotFound, 409: Conflict}
    return by_status.get(status, CloudError), ""


def refusal_in(body: bytes) -> Refusal:
    """The error in a body: ``error``, or the document itself, and the first of its details."""
    try:
        document = json.loads(body[: 64 * 1024])
    except (ValueError, RecursionError):
        return Refusal()
    return refusal_of(document)


def refusal_of(document: Any, depth: int = 3) -> Refusal:
    """The error in parsed JSON; a wrapper without a code of its own yields what it wraps."""
    if not isinstance(document, dict):
        return Refusal()
    inner = document.get("error")
    if isinstance(inner, dict):
        return refusal_of(inner, depth)
    code, message = document.get("code"), document.get("message")
    details = document.get("details")
    if (
        depth
        and isinstance(details, list)
        and details
        and (not code or code in ("MultipleErrorsOccurred", "DeploymentFailed"))
    ):
        found = refusal_of(details[0], depth - 1)
        if found.code:
            return found
    if not isinstance(code, str) or not code:
        return Refusal()
    text = message if isinstance(message, str) else ""
    return Refusal(cut(code, 100), cut(" ".join(text.split()), 500))
