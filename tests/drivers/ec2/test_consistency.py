"""EC2 is eventually consistent: what is not found may still be there."""

import pytest

from rawserver import reply
from simulators.scripted_ec2 import HANDLE, SERVER, VOLUME, instances, refusal
from virtual import VirtualClock
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    NotFound,
    RateLimited,
)
from vmprobe.core.model import State, VolumeSpec


def test_a_new_volume_that_is_not_found_is_not_gone(connected):
    clock = VirtualClock()
    ec2 = connected(
        {
            "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
            "DescribeVolumes": refusal("InvalidVolume.NotFound"),
            "DeleteVolume": refusal("InvalidVolume.NotFound"),
        },
        clock=clock,
    )
    plan = type("Plan", (), {"details": {"volume zone": "a", "volume type": None}})
    volume = ec2.create(VolumeSpec(HANDLE, 2**30, plan))

    for verb in (ec2.show, ec2.delete):
        with pytest.raises(
            Conflict, match="volume vol-1 was asked for just now and is not shown yet"
        ):
            verb(volume)
    clock.sleep(61)
    with pytest.raises(NotFound):
        ec2.show(volume)
    ec2.delete(volume)


@pytest.mark.parametrize(
    "verb, arguments",
    [
        ("show", (SERVER,)),
        ("delete", (SERVER,)),
        ("belongings", (SERVER,)),
        ("ports", ([SERVER],)),
        ("attach", (SERVER, VOLUME)),
        ("console", (SERVER,)),
        ("show", (VOLUME,)),
        ("delete", (VOLUME,)),
        ("detach", (SERVER, VOLUME)),
    ],
)
@pytest.mark.parametrize("code", ["InvalidInstanceID.NotFound", "InvalidVolume.NotFound"])
def test_a_new_thing_that_is_not_found_is_a_conflict(after_create, verb, arguments, code):
    with pytest.raises(Conflict):
        getattr(after_create({"": refusal(code)}), verb)(*arguments)


def test_a_snapshot_of_a_new_server_that_is_not_found_may_be_asked_for_again(after_create):
    with pytest.raises(
        RateLimited,
        match="snapshot of server i-1: 400 InvalidInstanceID.NotFound: words; server i-1 was asked for just now and is not shown yet",
    ) as later:
        after_create({"CreateImage": refusal("InvalidInstanceID.NotFound")}).snapshot(
            SERVER, HANDLE
        )

    assert later.value.wait == 2.0


def test_an_older_server_is_gone_only_when_it_was_missed_twice_in_a_row(after_create):
    clock = VirtualClock()
    answer = {"known": True}
    ec2 = after_create(
        {
            "DescribeInstances": lambda request: (
                reply(200, instances(("running", "")))
                if answer["known"]
                else refusal("InvalidInstanceID.NotFound")
            )
        },
        clock,
    )
    clock.sleep(100)

    for _ in range(2):
        answer["known"] = True
        assert ec2.show(SERVER).state is State.READY
        answer["known"] = False
        with pytest.raises(Conflict, match="server i-1 was there, and is not shown just now"):
            ec2.show(SERVER)
    with pytest.raises(NotFound):
        ec2.show(SERVER)


def test_a_server_of_another_session_is_gone_at_once(connected):
    with pytest.raises(NotFound):
        connected({"DescribeInstances": refusal("InvalidInstanceID.NotFound")}).show(SERVER)


@pytest.mark.parametrize(
    "volume, attached",
    [
        (
            "<status>in-use</status><attachmentSet><item><instanceId>i-1</instanceId><status>attached</status></item></attachmentSet>",
            True,
        ),
        (
            "<status>in-use</status><attachmentSet><item><instanceId>i-1</instanceId><status>detaching</status></item></attachmentSet>",
            True,
        ),
        ("<status>available</status>", False),
    ],
)
@pytest.mark.parametrize("code", ["InvalidInstanceID.NotFound", "IncorrectState"])
def test_a_refused_detachment_succeeds_only_if_ec2_shows_the_volume_detached(
    connected, code, volume, attached
):
    ec2 = connected(
        {
            "DetachVolume": refusal(code),
            "DescribeVolumes": f"<AResponse><volumeSet><item><volumeId>vol-1</volumeId>{volume}</item></volumeSet></AResponse>".encode(),
        }
    )

    if attached:
        with pytest.raises(CloudError, match=code):
            ec2.detach(SERVER, VOLUME)
    else:
        ec2.detach(SERVER, VOLUME)
