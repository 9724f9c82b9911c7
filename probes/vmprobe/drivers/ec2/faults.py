"""Error answers of AWS services: how they are read, and which of our errors each code becomes.

Codes: Amazon EC2 API Reference, "Error codes for the Amazon EC2 API".
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple, Optional, Sequence, Tuple, Type

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
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.transport import xml
from vmprobe.transport.http import Reply

# (pattern of the whole code, error, cause); the first pattern that matches counts.
ERRORS: Sequence[Tuple[str, Type[CloudError], str]] = (
    (
        r"AuthFailure|.*SignatureDoesNotMatch|.*ClientTokenId|UnrecognizedClientException"
        r"|.*ExpiredToken(Exception)?|RequestExpired|InvalidAccessKeyId"
        r"|MissingAuthenticationToken|IncompleteSignature|InvalidSecurity",
        AuthRejected,
        "",
    ),
    (
        r"UnauthorizedOperation|AccessDenied(Exception)?|OperationNotPermitted|OptInRequired"
        r"|Blocked|PendingVerification",
        NotPermitted,
        "",
    ),
    (
        r"(RequestLimit|Throttling|SlowDown|EC2Throttled|Bandwidth).*"
        r"|.*(Throttled|TooManyRequests)(Exception)?|.*RateExceeded",
        RateLimited,
        "",
    ),
    (r"Request.*", GatewayFailed, ""),
    (
        r"Insufficient(Instance|Host|Reserved\w*)?Capacity|NotEnoughResources\w*|Unsupported",
        CloudError,
        "scheduler",
    ),
    (r"InsufficientVolumeCapacity", CloudError, "storage"),
    (r"InsufficientFreeAddressesInSubnet|InsufficientAddressCapacity", CloudError, "network"),
    (
        r".*(Limit|Quota|Count)Exceeded\w*|.*Limit|TooManyInstances|AddressLimit\w*",
        QuotaExceeded,
        "",
    ),
    (r"InvalidAMIID\..*", NotFound, "image"),
    (r"InvalidAMI.*", CloudError, "image"),
    (
        r"Invalid(Subnet|VpcID|Group|SecurityGroup)\w*\.(NotFound|Malformed|Unavailable)",
        NotFound,
        "network",
    ),
    (r"Invalid\w+\.(NotFound|Malformed|Unknown)", NotFound, ""),  # a malformed id names nothing
    (r"InvalidInstanceType", NotFound, "image"),
    # There is no default VPC or subnet, and the site names none.
    (r"VPCIdNotSpecified|MissingInput", CloudError, "client"),
    (
        r"Incorrect\w*State|InvalidState|VolumeInUse|ResourceInUse|DependencyViolation"
        r"|Invalid\w+\.InUse",
        Conflict,
        "",
    ),
    (r"InvalidVolume\.ZoneMismatch", CloudError, "storage"),
    (r"Internal(Error|Failure)|Unavailable|ServiceUnavailable", GatewayFailed, ""),
    # OpenStack's codes, which ec2-api passes on.
    (r"OverLimit", QuotaExceeded, ""),
    (r"Forbidden", NotPermitted, ""),
    (r"NotFound", NotFound, ""),
    (r"Conflict", Conflict, ""),
    # Service Quotas' code.
    (r"NoSuchResourceException", NotFound, ""),
)
_VAGUE = ("InvalidParameterValue", "InvalidRequest", "InvalidParameterCombination")
_IN_USE = re.compile(r"currently in use|is in use|not in a (?:valid|correct) state", re.I)
_OVER_QUOTA = re.compile(r"quota (?:was |is )?exceeded|exceed\w* (?:the |your )?quota", re.I)
_PREAMBLE = re.compile(
    r"^You are not authorized to perform this operation\. User: \S+ is "
    r"(?=not authorized to perform:)"
)
_ENCODED = re.compile(r" ?Encoded authorization failure message: \S+")


class Refusal(NamedTuple):
    """The content of an error document; all fields are '' where there is no such document."""

    code: str = ""
    message: str = ""
    request: str = ""  # the service's id of the request

    def __str__(self) -> str:
        has_message = self.message and self.message != self.code
        return f"{self.code}: {self.message}" if has_message else self.code


Classify = Callable[[Reply, Refusal], Optional[VmprobeError]]


def classify(dialect: Dialect, reply: Reply, refusal: Refusal) -> CloudError:
    """The error for a refusal, by its code.

    The status says little: EC2 answers 500 where it has no capacity, and 400 to nearly all else.
    """
    code, message = refusal.code, refusal.message
    if code in dialect.conflicts or code in _VAGUE and _IN_USE.search(message):
        return error(Conflict, reply, refusal)
    if code == "InvalidParameterValue" and re.search(r"Expected: [a-z]+-", message):
        return error(NotFound, reply, refusal)  # ec2-api: a malformed id names nothing

    kind, cause = next(
        ((kind, cause) for pattern, kind, cause in ERRORS if re.fullmatch(pattern, code)),
        (None, ""),
    )
    if kind in (NotPermitted, None) and _OVER_QUOTA.search(message):
        kind = QuotaExceeded
    if kind is None:
        kind = GatewayFailed if reply.status >= 500 else CloudError
        return error(kind, reply, refusal, wait=reply.retry_after)
    if kind is RateLimited or kind is GatewayFailed and reply.status != 500:
        return error(kind, reply, refusal, cause, reply.retry_after or 5.0)
    return error(kind, reply, refusal, cause)


def error(
    kind: Type[CloudError], reply: Reply, refusal: Refusal, cause: str = "", wait: float = 0.0
) -> CloudError:
    """An error of this kind: what was asked, the status, code, message and id of the request.

    ``wait``: seconds before the request may be repeated; counts for errors that are transient.
    """
    text = f"{reply.asked}: {reply.status} {refusal}"
    request = refusal.request or reply.request_id
    if issubclass(kind, Transient):
        return kind(text, cause, request, wait)
    return kind(text, cause, request)


def refusal_in(body: bytes) -> Refusal:
    """The first error of a document, whichever service wrote it.

    EC2 writes ``Response/Errors/Error``, the other services ``ErrorResponse/Error``.
    """
    if b"<" not in body[:100]:
        return Refusal()
    try:
        document = xml.parse(body)
    except VmprobeError:
        return Refusal()
    element = document if document.tag == "Error" else document.find(".//Error")
    if element is None:
        return Refusal()
    ids = [document.findtext(path) for path in (".//RequestID", ".//RequestId", ".//requestId")]
    request = next((text.strip() for text in ids if text and text.strip()), "")
    code, message = (" ".join((element.findtext(tag) or "").split()) for tag in ("Code", "Message"))
    message = _ENCODED.sub("", _PREAMBLE.sub("", message))
    return Refusal(cut(code, 100), cut(message, 500), cut(request, 100))
