"""What a refusal is, whatever its status."""

import pytest

from rawserver import reply
from simulators.openstack import answer
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    Transient,
)
from vmprobe.core.model import (
    Kind,
    Plan,
    Ref,
    SecurityGroupSpec,
    ServerSpec,
)

REFUSALS = {  # what a service answers to a create, and what that is
    "nova-quota": (
        403,
        {
            "forbidden": {
                "message": "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
            }
        },
        QuotaExceeded,
    ),
    "neutron-quota": (
        409,
        {
            "NeutronError": {
                "type": "OverQuota",
                "message": "Quota exceeded for resources: ['port'].",
            }
        },
        QuotaExceeded,
    ),
    "cinder-quota": (
        413,
        {
            "overLimit": {
                "message": "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed "
                "gigabytes quota."
            }
        },
        QuotaExceeded,
    ),
    "nova-port-quota": (
        403,
        {"forbidden": {"message": "Maximum number of ports exceeded"}},
        QuotaExceeded,
    ),
    "keystones-limits": (
        403,
        {
            "forbidden": {
                "message": "Project 1a2b is over a limit for [Resource servers is over limit of 1 due to "
                "current usage 1 and delta 1]"
            }
        },
        QuotaExceeded,
    ),
    "volume-in-another-state": (
        400,
        {
            "badRequest": {
                "message": "Invalid volume: Volume status must be available or error, but "
                "current status is: detaching."
            }
        },
        Conflict,
    ),
    "too-many-requests": (
        429,
        {"overLimit": {"message": "This request was rate-limited."}},
        RateLimited,
    ),
    "metadata-quota": (
        403,
        {"forbidden": {"message": "Maximum number of metadata items exceeds 0"}},
        QuotaExceeded,
    ),
    "two-groups-of-one-name": (
        409,
        {
            "conflictingRequest": {
                "message": "Multiple security_group matches found for name 'web', use an ID to be "
                "more specific."
            }
        },
        CloudError,
    ),
    "policy": (
        403,
        {
            "forbidden": {
                "message": "Policy doesn't allow os_compute_api:servers:create to be performed."
            }
        },
        NotPermitted,
    ),
    "volumes-in-another-zone": (
        400,
        {
            "badRequest": {
                "message": "Invalid volume: Instance i and volume v are not in the same availability_zone. "
                "Instance is in a. Volume is in b"
            }
        },
        CloudError,
    ),
    "not-there": (404, {"itemNotFound": {"message": "Instance could not be found."}}, NotFound),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_what_the_service_means_whatever_its_status(case, cloud, services):
    status, body, kind = REFUSALS[case]
    services.answers["POST /compute/v2.1/servers"] = answer(body, status)
    details = {
        "flavor": "f",
        "network": "n",
        "image": "i",
        "availability zone": None,
        "config drive": False,
        "security group": None,
        "boot from volume": False,
    }

    with pytest.raises(kind) as raised:
        cloud.create(ServerSpec("vmprobe-x", Plan("i", details=details)))

    assert type(raised.value) is kind
    assert next(iter(body.values()))["message"][:40] in str(raised.value)


@pytest.mark.parametrize(
    "status, message, cause",
    [
        (404, "Volume type with name nonesuch could not be found.", "storage"),
        (400, "Volume type nonesuch could not be found.", "storage"),
        (400, "Flavor's memory is too small for requested image.", "image"),
        (
            400,
            "Flavor's disk is smaller than the minimum size specified in image metadata.",
            "image",
        ),
        (400, "Network n1 requires a subnet in order to boot instances on.", "network"),
        (400, "Unable to find security_group with name or id 'nonesuch'", "network"),
        (400, "The requested availability zone is not available", "client"),
        (403, "Only volume-backed servers are allowed for flavors with zero disk.", "image"),
        (
            403,
            "Policy doesn't allow os_compute_api:servers:create:attach_volume to be performed.",
            "auth",
        ),
        (403, "You are not authorized to use this image.", "auth"),
        (403, "Forbidden", "auth"),
        (400, "It did not work.", ""),
    ],
)
def test_a_refused_create_has_the_cause_that_its_message_tells(
    status, message, cause, cloud, services
):
    services.answers["POST /compute/v2.1/servers"] = answer(
        {"badRequest": {"message": message}}, status
    )
    details = {
        "flavor": "f",
        "network": "n",
        "image": "i",
        "availability zone": None,
        "config drive": False,
        "security group": None,
        "boot from volume": False,
    }

    with pytest.raises(CloudError) as raised:
        cloud.create(ServerSpec("vmprobe-x", Plan("i", details=details)))

    assert (raised.value.cause, isinstance(raised.value, Transient)) == (cause, False)


@pytest.mark.parametrize(
    "status, headers, kind",
    [
        (429, {}, RateLimited),
        (413, {"Retry-After": "2"}, RateLimited),
        (503, {"Retry-After": "2"}, RateLimited),
        (503, {}, GatewayFailed),
        (413, {}, GatewayFailed),
    ],
    ids=["429", "413-wait", "503-wait", "503", "413"],
)
def test_a_create_that_was_put_off_says_that_nothing_was_made_and_how_long_to_wait(
    status, headers, kind, cloud, services
):
    services.answers["POST /network/v2.0/security-groups"] = reply(
        status, '{"message": "too many requests"}', **headers
    )

    with pytest.raises(kind) as raised:
        cloud.create(SecurityGroupSpec("vmprobe-x"))

    assert (type(raised.value), raised.value.wait) == (kind, 2.0 if headers else 0.0)


@pytest.mark.parametrize(
    "message, kind",
    [
        (
            "Invalid volume: volume 'v1' status must be 'available'. Currently in 'creating'",
            Conflict,
        ),
        ("Invalid volume: Volume v1 is already attached.", Conflict),
        (
            "Invalid volume: Instance s1 and volume v1 are not in the same availability_zone. Instance is in a. Volume is in b",
            CloudError,
        ),
        ("Invalid volume: read-only access is not supported", CloudError),
    ],
)
def test_an_attachment_is_retried_only_after_a_refusal_that_may_pass(
    message, kind, cloud, services
):
    services.answers["POST /compute/v2.1/servers/s1/os-volume_attachments"] = answer(
        {"badRequest": {"message": message}}, 400
    )

    with pytest.raises(kind) as raised:
        cloud.attach(Ref(Kind.SERVER, "s1"), Ref(Kind.VOLUME, "v1"))

    assert (type(raised.value), str(raised.value)) == (
        kind,
        f"attach volume v1 to server s1: 400 {message}",
    )


def test_a_service_that_cannot_reach_keystone_says_so_first(cloud, services):
    page = (
        "<html><head><title>503 Service Unavailable</title></head><body><h1>503 Service Unavailable</h1>The server is currently "
        "unavailable. Please try again at a later time.<br /><br />The Keystone service is temporarily unavailable.</body></html>"
    )
    services.answers["GET /compute/v2.1/servers/s1"] = reply(503, page, Content_Type="text/html")

    with pytest.raises(
        GatewayFailed, match="^show server s1: 503 Keystone is temporarily unavailable$"
    ):
        cloud.show(Ref(Kind.SERVER, "s1"))
