"""What an error code means, and what a proxy's answer does not mean."""

import pytest

from rawserver import reply
from simulators.scripted_ec2 import HANDLE, PLAN, SERVER, refusal
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
)
from vmprobe.core.model import Kind, ServerSpec


@pytest.mark.parametrize(
    "code, status, kind, cause",
    [
        ("AuthFailure", 401, AuthRejected, "auth"),
        ("SignatureDoesNotMatch", 403, AuthRejected, "auth"),
        ("ExpiredToken", 400, AuthRejected, "auth"),
        ("UnauthorizedOperation", 403, NotPermitted, "auth"),
        ("OptInRequired", 401, NotPermitted, "auth"),
        ("InstanceLimitExceeded", 400, QuotaExceeded, "quota"),
        ("VcpuLimitExceeded", 400, QuotaExceeded, "quota"),
        ("MaxSpotInstanceCountExceeded", 400, QuotaExceeded, "quota"),
        ("TooManyInstances", 413, QuotaExceeded, "quota"),
        ("InvalidNetworkInterface.InUse", 400, Conflict, ""),
        ("InsufficientInstanceCapacity", 500, CloudError, "scheduler"),
        ("InsufficientVolumeCapacity", 500, CloudError, "storage"),
        ("InsufficientFreeAddressesInSubnet", 400, CloudError, "network"),
        ("Unsupported", 400, CloudError, "scheduler"),
        ("RequestLimitExceeded", 503, RateLimited, "gateway"),
        ("ThrottlingException", 400, RateLimited, "gateway"),
        ("InternalError", 500, GatewayFailed, "gateway"),
        ("InvalidAMIID.NotFound", 400, NotFound, "image"),
        ("InvalidSubnetID.NotFound", 400, NotFound, "network"),
        ("InvalidSnapshot.InUse", 400, Conflict, ""),
        ("IncorrectState", 400, Conflict, ""),
        ("VolumeInUse", 400, Conflict, ""),
        ("VPCIdNotSpecified", 400, CloudError, "client"),
        ("MissingInput", 400, CloudError, "client"),
        ("InvalidParameterValue", 400, CloudError, ""),
        ("SomethingNew", 400, CloudError, ""),
        ("SomethingNew", 500, GatewayFailed, "gateway"),
        ("ServerInternal", 503, GatewayFailed, "gateway"),
        ("InsufficientAddressCapacity", 500, CloudError, "network"),
        ("InvalidAMIName.Duplicate", 400, CloudError, "image"),
        ("InvalidVolume.ZoneMismatch", 400, CloudError, "storage"),
        ("SnapshotCreationPerVolumeRateExceeded", 400, RateLimited, "gateway"),
    ],
)
def test_a_code_decides_the_error_and_its_cause(connected, code, status, kind, cause):
    with pytest.raises(CloudError) as raised:
        connected({"DescribeInstances": refusal(code, status)}).list(Kind.SERVER, "")

    assert (type(raised.value), raised.value.cause, raised.value.request or "r-1") == (
        kind,
        cause,
        "r-1",
    )
    assert f"{status} {code}: words" in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"<html><body>Please sign in</body></html>"),
        reply(200, b'<?xml version="1.0"?><html xmlns="x"/>'),
        reply(200, b""),
        reply(200, b"{}"),
        reply(200, b"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>"),
        reply(
            200,
            b"<Response><Errors><Error><Code>InternalError</Code><Message>words</Message></Error></Errors></Response>",
        ),
        reply(404, b"no such page"),
        reply(404, b"<html><body>404</body></html>"),
        reply(410, b""),
        reply(409, b""),
    ],
    ids=[
        "sign-in",
        "xhtml",
        "empty",
        "json",
        "another-answer",
        "error-with-200",
        "404",
        "404-page",
        "410",
        "409",
    ],
)
@pytest.mark.parametrize("verb", ["show", "list", "delete", "belongings"])
def test_a_page_of_a_proxy_does_not_say_that_a_thing_is_gone(connected, answer, verb):
    ec2 = connected({"": answer})

    with pytest.raises(GatewayFailed):
        getattr(ec2, verb)(*(Kind.SERVER, HANDLE) if verb == "list" else (SERVER,))


def test_a_refusal_by_policy_keeps_the_reason_and_drops_the_user(connected):
    message = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/probe is not authorized to perform: "
        "ec2:RunInstances on resource: arn:aws:ec2:x:1:instance/* because no identity-based policy allows the "
        "ec2:RunInstances action. Encoded authorization failure message: " + "Ab3_" * 300
    )

    with pytest.raises(NotPermitted) as refused:
        connected({"RunInstances": refusal("UnauthorizedOperation", 403, message)}).create(
            ServerSpec(HANDLE, PLAN)
        )
    assert str(refused.value) == (
        "create server: 403 UnauthorizedOperation: not authorized to perform: ec2:RunInstances on resource: "
        "arn:aws:ec2:x:1:instance/* because no identity-based policy allows the ec2:RunInstances action."
    )
