"""What EC2's answers mean, also odd ones."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from simulators.scripted_ec2 import HANDLE, PLAN, SERVER, instances
from vmprobe.core.errors import (
    GatewayFailed,
    NotFound,
    VmprobeError,
)
from vmprobe.core.model import Kind, Ref, ServerSpec, State, VolumeSpec


def test_members_of_a_fleet_are_told_apart_by_their_launch_index(connected):
    token = f"<clientToken>{HANDLE}/2</clientToken><amiLaunchIndex>%d</amiLaunchIndex>"
    servers = connected(
        {
            "DescribeInstances": instances(
                ("running", token % 1), ("pending", token % 0), ("terminated", token % 2)
            )
        }
    ).list(Kind.SERVER, HANDLE)

    assert [(one.ref.name, one.state) for one in servers] == [
        (f"{HANDLE}-2", State.READY),
        (f"{HANDLE}-1", State.PENDING),
    ]


def test_a_token_that_is_not_ours_is_not_the_name(connected):
    (server,) = connected(
        {
            "DescribeInstances": instances(
                (
                    "running",
                    "<clientToken>ABC</clientToken><tagSet><item><key>Name</key><value>web"
                    "</value></item></tagSet>",
                )
            )
        }
    ).list(Kind.SERVER, "")
    assert server.ref.name == "web"


def test_a_server_that_terminated_by_itself_has_failed_until_its_removal_is_asked_for(connected):
    reason = "<stateReason><code>Client.VolumeLimitExceeded</code><message>Client.VolumeLimitExceeded: Volume limit exceeded</message></stateReason>"
    ec2 = connected(
        {
            "DescribeInstances": instances(("terminated", reason)),
            "RunInstances": b"<AResponse><instancesSet><item><instanceId>i-1</instanceId>"
            b"</item></instancesSet></AResponse>",
        }
    )
    with pytest.raises(NotFound):
        ec2.show(SERVER)

    plan = type(
        "Plan",
        (),
        {
            "details": {
                "image": "ami-1",
                "flavor": "t",
                "zone": None,
                "subnet": None,
                "group": {},
                "kept": [],
            }
        },
    )
    ec2.create(ServerSpec(HANDLE, plan))
    seen = ec2.show(SERVER)
    assert (seen.state, seen.fault, seen.cause) == (
        State.FAILED,
        "Client.VolumeLimitExceeded: Volume limit exceeded",
        "quota",
    )
    ec2.delete(SERVER)
    with pytest.raises(NotFound, match="server i-1 is terminated"):
        ec2.show(SERVER)


@pytest.mark.parametrize(
    "status, attachments, state, server",
    [
        ("in-use", "attached", State.READY, "i-1"),
        ("in-use", "attaching", State.PENDING, ""),
        ("in-use", "detaching", State.PENDING, ""),
        ("in-use", "busy", State.PENDING, ""),
        ("in-use", "", State.PENDING, ""),
        ("available", "", State.READY, ""),
        ("error", "", State.FAILED, ""),
        ("creating", "", State.PENDING, ""),
        ("new-word", "", State.PENDING, ""),
    ],
)
def test_a_volume_is_attached_when_ec2_says_so_and_not_when_it_is_in_use(
    connected, status, attachments, state, server
):
    held = (
        f"<attachmentSet><item><instanceId>i-1</instanceId><status>{attachments}</status></item></attachmentSet>"
        if attachments
        else ""
    )
    body = f"<AResponse><volumeSet><item><volumeId>vol-1</volumeId><status>{status}</status><size>1</size>{held}</item></volumeSet></AResponse>".encode()
    seen = connected({"DescribeVolumes": body}).show(Ref(Kind.VOLUME, "vol-1"))

    assert (seen.state, seen.server) == (state, server)


_WORDS = [
    "instanceId",
    "instanceState",
    "name",
    "item",
    "reservationSet",
    "instancesSet",
    "tagSet",
    "key",
    "value",
    "volumeSet",
    "volumeId",
    "size",
    "attachmentSet",
    "status",
    "imagesSet",
    "imageId",
    "creationDate",
    "output",
    "nextToken",
    "member",
    "Id",
    "Timestamps",
    "Values",
    "Error",
    "Code",
    "amiLaunchIndex",
    "clientToken",
    "coreCount",
    "cpuOptions",
    "GetMetricDataResult",
    "MetricDataResults",
    "snapshotSet",
    "networkInterfaceSet",
    "networkInterfaceId",
    "attachment",
    "deviceIndex",
    "blockDeviceMapping",
    "ebs",
    "deleteOnTermination",
    "rootDeviceName",
    "deviceName",
    "ipv6AddressesSet",
    "ipv6Address",
    "reason",
    "description",
]


_documents = some.recursive(
    some.sampled_from(
        [
            "",
            "1",
            "-1",
            "x",
            "\u00e9",
            "9" * 40,
            f"{HANDLE}/5",
            "vmprobe-",
            "1e999",
            "2026-11-23T00:00:00Z",
        ]
    ),
    lambda inner: some.lists(some.tuples(some.sampled_from(_WORDS), inner), max_size=4).map(
        lambda parts: "".join(f"<{word}>{text}</{word}>" for word, text in parts)
    ),
    max_leaves=12,
)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=_documents)
def test_any_answer_is_understood_or_one_of_our_errors(connected, body):
    ec2 = connected({"": f"<AResponse>{body}</AResponse>".encode()})
    volume, image = Ref(Kind.VOLUME, "vol-1"), Ref(Kind.SNAPSHOT, "ami-1")
    acts = [lambda kind=kind: ec2.list(kind, "") for kind in ec2.kinds]
    acts += [lambda ref=ref: ec2.show(ref) for ref in (SERVER, volume, image)]
    acts += [
        lambda: ec2.ports([SERVER]),
        lambda: ec2.console(SERVER),
        lambda: ec2.metrics(SERVER),
        ec2.capacity,
        ec2.describe,
        lambda: ec2.images(""),
        lambda: ec2.snapshot(SERVER, HANDLE),
        lambda: ec2.delete(image),
        lambda: ec2.belongings(SERVER),
        lambda: ec2.show(Ref(Kind.PORT, "eni-1")),
        lambda: ec2.detach(SERVER, volume),
        lambda: ec2.create(ServerSpec(HANDLE, PLAN)),
        lambda: ec2.create(VolumeSpec(HANDLE, 2**30, PLAN)),
    ]
    for act in acts:
        try:
            act()
        except VmprobeError as understood:
            assert "\n" not in str(understood)


@pytest.mark.parametrize(
    "nic, addresses",
    [
        (
            "<ipv6AddressesSet><item><ipv6Address>2001:db8::5</ipv6Address></item></ipv6AddressesSet><privateIpAddressesSet/>",
            ("2001:db8::5",),
        ),
        ("<privateIpAddress/><ipv6Address>2001:db8::5</ipv6Address>", ("2001:db8::5",)),
        (
            "<privateIpAddress>10.0.0.5</privateIpAddress><ipv6AddressesSet><item><ipv6Address>2001:db8::5</ipv6Address></item>"
            "</ipv6AddressesSet>",
            ("10.0.0.5", "2001:db8::5"),
        ),
        ("<privateIpAddress/><ipv6AddressesSet/>", ()),
    ],
)
def test_an_interface_has_ipv4_addresses_or_ipv6_addresses_or_both(connected, nic, addresses):
    interface = f"<networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><attachment><status>attached</status></attachment>{nic}</item></networkInterfaceSet>"
    ec2 = connected({"DescribeInstances": instances(("running", interface))})

    assert [(port.ref.id, port.state, port.addresses) for port in ec2.ports([SERVER])] == [
        ("eni-1", State.READY, addresses)
    ]
    assert ec2.show(SERVER).addresses == addresses


@pytest.mark.parametrize("identity", ["x" * 256, "i-1\u2028i-2"], ids=["long", "two-lines"])
def test_an_id_that_the_ledger_could_not_hold_is_refused(connected, identity):
    ec2 = connected(
        {
            "RunInstances": f"<AResponse><instancesSet><item><instanceId>{identity}</instanceId></item></instancesSet></AResponse>".encode()
        }
    )

    with pytest.raises(
        GatewayFailed,
        match="create server: instanceId in the answer is not a short, printable text",
    ):
        ec2.create(ServerSpec(HANDLE, PLAN))


def test_the_reason_tells_since_when_a_server_is_in_its_state(connected):
    ec2 = connected(
        {
            "DescribeInstances": instances(
                (
                    "shutting-down",
                    "<launchTime>2025-01-01T00:00:00Z</launchTime>"
                    "<reason>User initiated (2026-11-28 11:00:00 GMT)</reason>",
                ),
                ("running", "<reason/>"),
            )
        }
    )

    assert [one.state_since for one in ec2.list(Kind.SERVER, "")] == [1795863600.0, None]
