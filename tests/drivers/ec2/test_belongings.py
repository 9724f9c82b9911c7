"""What EC2 makes with a server belongs to it."""

import pytest

from rawserver import reply
from simulators.scripted_ec2 import HANDLE, PLAN, RUN, SERVER, form_of, instances, refusal
from vmprobe.core.errors import (
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
)
from vmprobe.core.model import Kind, Ref, ServerSpec

CAME = """<rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping>
<item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-1</volumeId><deleteOnTermination>false</deleteOnTermination></ebs></item>
<item><deviceName>/dev/sdb</deviceName><ebs><volumeId>vol-2</volumeId><deleteOnTermination>true</deleteOnTermination></ebs></item>
<item><deviceName>/dev/sdf</deviceName><ebs><volumeId>vol-3</volumeId><deleteOnTermination>false</deleteOnTermination></ebs></item>
</blockDeviceMapping><networkInterfaceSet>
<item><networkInterfaceId>eni-1</networkInterfaceId><attachment><deviceIndex>0</deviceIndex><deleteOnTermination>false</deleteOnTermination></attachment></item>
<item><networkInterfaceId>eni-2</networkInterfaceId><attachment><deviceIndex>1</deviceIndex><deleteOnTermination>false</deleteOnTermination></attachment></item>
</networkInterfaceSet>"""


def _volumes_of(holder):
    held = f"<attachmentSet><item><instanceId>{holder}</instanceId><status>attached</status></item></attachmentSet>"
    items = "".join(
        f"<item><volumeId>vol-{number}</volumeId><status>in-use</status>{held}<tagSet>{tags}</tagSet></item>"
        for number, tags in (
            (1, "<item><key>Name</key><value>root</value></item>"),
            (2, ""),
            (9, ""),
        )
    )
    return f"<AResponse><volumeSet>{items}</volumeSet></AResponse>".encode()


INTERFACES = b"""<AResponse><networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><status>in-use</status>
<attachment><instanceId>i-1</instanceId></attachment><privateIpAddress>10.0.0.5</privateIpAddress></item></networkInterfaceSet></AResponse>"""


def test_what_ec2_made_with_a_server_belongs_to_it_and_what_was_attached_later_does_not(connected):
    ec2 = connected(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-1"),
            "DescribeNetworkInterfaces": INTERFACES,
        }
    )

    assert ec2.belongings(SERVER) == [
        Ref(Kind.VOLUME, "vol-1", "root"),
        Ref(Kind.VOLUME, "vol-2", ""),
        Ref(Kind.PORT, "eni-1", ""),
    ]


def test_a_volume_that_another_server_holds_does_not_belong_to_this_one(connected):
    ec2 = connected(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-2"),
            "DescribeNetworkInterfaces": INTERFACES,
        }
    )

    assert ec2.belongings(SERVER) == [Ref(Kind.PORT, "eni-1", "")]


@pytest.mark.parametrize(
    "answer",
    [instances(("terminated", CAME)), refusal("InvalidInstanceID.NotFound")],
    ids=["terminated", "unknown"],
)
def test_a_server_that_is_gone_has_no_belongings(connected, answer):
    with pytest.raises(NotFound):
        connected({"DescribeInstances": answer, "DescribeVolumes": _volumes_of("i-1")}).belongings(
            SERVER
        )


def test_an_answer_about_another_server_does_not_say_that_nothing_belongs_to_this_one(connected):
    ec2 = connected({"DescribeInstances": instances(("running", CAME)).replace(b"i-1", b"i-2")})

    with pytest.raises(GatewayFailed, match="belongings of server i-1: the answer is about i-2"):
        ec2.belongings(SERVER)


def test_an_answer_about_other_volumes_does_not_say_what_belongs_to_a_server(connected):
    ec2 = connected(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-1").replace(b"vol-2", b"vol-9"),
        }
    )

    with pytest.raises(GatewayFailed, match="volumes of server i-1: the answer is about vol-9"):
        ec2.belongings(SERVER)


def test_where_policy_hides_interfaces_the_volumes_are_known(connected):
    ec2 = connected(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-1"),
            "DescribeNetworkInterfaces": refusal("UnauthorizedOperation", 403),
        }
    )

    with pytest.raises(
        NotPermitted, match="interfaces of server i-1: 403 UnauthorizedOperation: words"
    ) as refused:
        ec2.belongings(SERVER)
    assert refused.value.partial == [
        Ref(Kind.VOLUME, "vol-1", "root"),
        Ref(Kind.VOLUME, "vol-2", ""),
    ]


def test_an_interface_is_shown_and_removed_by_its_id(connected):
    removed = []

    def delete(request):
        removed.append(form_of(request)["NetworkInterfaceId"])
        return reply(200, b"<AResponse/>")

    ec2, port = (
        connected({"DescribeNetworkInterfaces": INTERFACES, "DeleteNetworkInterface": delete}),
        Ref(Kind.PORT, "eni-1", ""),
    )
    shown = ec2.show(port)
    ec2.delete(port)

    assert (shown.ref, shown.provider_state, shown.server, shown.addresses, removed) == (
        port,
        "in-use",
        "i-1",
        ("10.0.0.5",),
        ["eni-1"],
    )
    with pytest.raises(GatewayFailed, match="show port eni-2: the answer is about port eni-1"):
        ec2.show(Ref(Kind.PORT, "eni-2", ""))


def test_removing_an_interface_in_use_is_a_conflict(connected):
    ec2 = connected(
        {
            "DeleteNetworkInterface": refusal(
                "InvalidParameterValue", message="Network interface 'eni-1' is currently in use."
            )
        }
    )

    with pytest.raises(Conflict, match="is currently in use"):
        ec2.delete(Ref(Kind.PORT, "eni-1", ""))


def test_an_unknown_volume_does_not_mean_that_its_server_is_gone(connected):
    ec2 = connected(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": refusal("InvalidVolume.NotFound"),
        }
    )

    with pytest.raises(Conflict, match="volumes of server i-1: 400 InvalidVolume.NotFound: words"):
        ec2.belongings(SERVER)


def _fleet(requests, known=lambda ids: True):
    """A fleet of two: the ids of each request are appended to ``requests``."""

    def describe(request):
        ids = [value for name, value in form_of(request).items() if name.startswith("InstanceId.")]
        requests.append(ids)
        if not known(ids):
            return refusal("InvalidInstanceID.NotFound")
        items = "".join(
            f"<item><instanceId>{one}</instanceId><instanceState><name>running</name></instanceState><rootDeviceName>/dev/a"
            f"</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/a</deviceName><ebs><volumeId>vol-{one}</volumeId></ebs>"
            "</item></blockDeviceMapping></item>"
            for one in ids
        )
        return reply(
            200,
            f"<AResponse><reservationSet><item><instancesSet>{items}</instancesSet></item></reservationSet></AResponse>".encode(),
        )

    def disks(request):
        ids = [value for name, value in form_of(request).items() if name.startswith("VolumeId.")]
        requests.append(ids)
        items = "".join(
            f"<item><volumeId>{one}</volumeId><status>in-use</status><attachmentSet><item><instanceId>{one[4:]}</instanceId>"
            "<status>attached</status></item></attachmentSet></item>"
            for one in ids
        )
        return reply(200, f"<AResponse><volumeSet>{items}</volumeSet></AResponse>".encode())

    return {
        "RunInstances": RUN.replace(b"<item>", b"<item><instanceId>i-2</instanceId></item><item>"),
        "DescribeInstances": describe,
        "DescribeVolumes": disks,
    }


def test_belongings_of_a_fleet_are_asked_for_at_once(connected):
    requests = []
    ec2 = connected(_fleet(requests))
    ec2.create(ServerSpec(HANDLE, PLAN, 2))

    found = [ec2.belongings(Ref(Kind.SERVER, one, HANDLE)) for one in ("i-1", "i-2")]

    assert found == [[Ref(Kind.VOLUME, "vol-i-1", "")], [Ref(Kind.VOLUME, "vol-i-2", "")]]
    assert requests == [["i-1", "i-2"], ["vol-i-1", "vol-i-2"]]


def test_an_unknown_member_does_not_hide_the_belongings_of_the_others(connected):
    requests = []
    ec2 = connected(_fleet(requests, lambda ids: "i-2" not in ids))
    ec2.create(ServerSpec(HANDLE, PLAN, 2))

    assert ec2.belongings(SERVER) == [Ref(Kind.VOLUME, "vol-i-1", "")]
    with pytest.raises(Conflict):
        ec2.belongings(Ref(Kind.SERVER, "i-2", HANDLE))
