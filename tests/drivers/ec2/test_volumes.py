"""Names of volumes in dialects that give them by CreateTags."""

import pytest

from rawserver import reply
from simulators.scripted_ec2 import HANDLE, PLAN, form_of, refusal, volumes
from vmprobe.core.errors import (
    Conflict,
)
from vmprobe.core.model import VolumeSpec


def test_a_volume_whose_name_was_refused_gets_it_later(connected):
    refusals, named = [refusal("InvalidVolume.NotFound"), refusal("UnauthorizedOperation", 403)], []

    def tags(request):
        if refusals:
            return refusals.pop(0)
        named.append(form_of(request)["Tag.1.Value"])
        return reply(200, b"<AResponse/>")

    ec2 = connected(
        {
            "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
            "CreateTags": tags,
            "DescribeVolumes": made_since([], volumes([1])),
        },
        manager="ec2-api",
    )
    volume = ec2.create(VolumeSpec(HANDLE, 2**30, PLAN))
    with pytest.raises(
        Conflict,
        match="volume vol-1 has no name yet: name of volume vol-1: 403 UnauthorizedOperation: words",
    ):
        ec2.show(volume)
    ec2.show(volume)

    assert named == [HANDLE]


def made_since(before, after):
    """What DescribeVolumes says: the list before anything was asked for, and then about one volume."""
    return lambda request: after if "VolumeId.1" in form_of(request) else volumes(before)


@pytest.mark.parametrize(
    "before, shown",
    [
        ([1], "<status>available</status><size>1</size>"),
        (
            [],
            "<status>available</status><size>1</size><tagSet><item><key>Name</key><value>theirs</value></item></tagSet>",
        ),
        (
            [],
            "<status>in-use</status><size>1</size><attachmentSet><item><instanceId>i-9</instanceId><status>attached</status></item></attachmentSet>",
        ),
        ([], "<status>available</status><size>100</size>"),
    ],
    ids=["there-before", "has-a-name", "attached", "another-size"],
)
@pytest.mark.parametrize("manager", ["eucalyptus", "ec2-api"])
def test_a_volume_of_somebody_else_in_a_reply_does_not_get_our_name(
    connected, manager, before, shown
):
    named = []

    def tags(request):
        named.append(form_of(request))
        return reply(200, b"<AResponse/>")

    told = reply(
        200,
        f"<AResponse><volumeSet><item><volumeId>vol-1</volumeId>{shown}</item></volumeSet></AResponse>".encode(),
    )
    ec2 = connected(
        {
            "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
            "CreateTags": tags,
            "DescribeVolumes": made_since(before, told),
        },
        manager=manager,
    )
    volume = ec2.create(VolumeSpec(HANDLE, 2**30, PLAN))

    assert ec2.show(volume).ref.name in ("", "theirs")
    assert named == []
