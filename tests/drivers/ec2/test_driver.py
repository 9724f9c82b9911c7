"""What the EC2 driver makes of what it is told: where the cloud is, what an error code means, and answers that are odd."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.checks.capacity import headroom
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Capability, Kind, Plan, Ref, Sample, ServerSpec, State, VolumeSpec
from vmprobe.drivers import load
from vmprobe.drivers.ec2.plan import security_group

KEYS = {"access_key": "AKID", "secret_key": "s"}
ZONES = b"<AResponse><availabilityZoneInfo><item><zoneName>a</zoneName><zoneState>available</zoneState></item></availabilityZoneInfo></AResponse>"
HANDLE = "vmprobe-mon-20261123t000000z-6-abcdefgh"
SERVER = Ref(Kind.SERVER, "i-1", HANDLE)


def driver(manager="ec2", clock=None, **endpoint):
    kind = load(manager)
    words = {name: key.default for name, key in kind.endpoint_keys.items()}
    return kind(
        {**words, "timeout": 5.0, "ca": None, "manager": manager, **endpoint},
        KEYS,
        Deadline(600, 60, clock or VirtualClock()),
        Evidence(),
    )


@pytest.fixture
def cloud():
    """cloud(answers, ...) is a connected driver whose manager answers each action so; '' stands for any."""
    servers = []

    def start(answers, **words):
        def answer(request):
            target = request.headers.get("x-amz-target", "").rpartition(".")[2]
            action = (
                target
                or dict(part.split("=", 1) for part in request.body.decode().split("&"))["Action"]
            )
            found = answers.get(
                action,
                ZONES
                if action == "DescribeAvailabilityZones"
                else answers.get("", b"<AResponse/>"),
            )
            if callable(found):
                found = found(request)
            return of_action(action, found if found[:4] == b"HTTP" else reply(200, found))

        servers.append(Server(answer))
        made = driver(
            words.pop("manager", "ec2"),
            url=servers[-1].url,
            **{"cloudwatch url": servers[-1].url, "service quotas url": servers[-1].url, **words},
        )
        made.connect()
        return made

    yield start
    for server in servers:
        server.__exit__()


def of_action(action, answer):
    """``AResponse`` stands for the answer to whatever was asked."""
    body = answer.partition(b"\r\n\r\n")[2]
    return (
        reply(200, body.replace(b"AResponse", action.encode() + b"Response"))
        if b"AResponse" in body
        else answer
    )


def refusal(code, status=400, words="words"):
    return reply(
        status,
        f"<Response><Errors><Error><Code>{code}</Code><Message>{words}</Message></Error></Errors>"
        f"<RequestID>r-1</RequestID></Response>",
    )


# --- where it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "manager, endpoint, urls",
    [
        (
            "ec2",
            {"region": "eu-west-1"},
            ["https://ec2.eu-west-1.amazonaws.com", "https://monitoring.eu-west-1.amazonaws.com"],
        ),
        (
            "ec2",
            {"region": "cn-north-1"},
            [
                "https://ec2.cn-north-1.amazonaws.com.cn",
                "https://monitoring.cn-north-1.amazonaws.com.cn",
            ],
        ),
        (
            "ec2",
            {"url": "https://ec2.us-gov-west-1.amazonaws.com"},
            [
                "https://ec2.us-gov-west-1.amazonaws.com",
                "https://monitoring.us-gov-west-1.amazonaws.com",
            ],
        ),
        (
            "ec2",
            {"region": "eusc-de-east-1"},
            [
                "https://ec2.eusc-de-east-1.amazonaws.eu",
                "https://monitoring.eusc-de-east-1.amazonaws.eu",
            ],
        ),
        ("ec2", {"url": "https://cloud.example.org:1"}, ["https://cloud.example.org:1"]),
        (
            "eucalyptus",
            {"url": "https://c.example.org:8773"},
            ["https://c.example.org:8773/services/compute"],
        ),
        (
            "eucalyptus",
            {
                "url": "https://c.example.org:8773/services/Eucalyptus",
                "cloudwatch url": "https://c.example.org:8773/services/CloudWatch",
            },
            [
                "https://c.example.org:8773/services/Eucalyptus",
                "https://c.example.org:8773/services/CloudWatch",
            ],
        ),
        ("ec2-api", {"url": "https://o.example.org:8788"}, ["https://o.example.org:8788"]),
    ],
)
def test_the_urls_follow_from_region_and_dialect(manager, endpoint, urls):
    made = driver(manager, **endpoint)

    assert made.endpoints() == urls
    assert (Capability.METRICS in made.capabilities) == (len(urls) > 1)


@pytest.mark.parametrize(
    "manager, endpoint, url",
    [
        ("ec2", {"region": "eu-west-1"}, "https://servicequotas.eu-west-1.amazonaws.com"),
        (
            "ec2",
            {"url": "https://ec2.cn-north-1.amazonaws.com.cn"},
            "https://servicequotas.cn-north-1.amazonaws.com.cn",
        ),
        (
            "ec2",
            {
                "url": "https://ec2.eu-west-1.amazonaws.com",
                "service quotas url": "https://vpce-1.example.org",
            },
            "https://vpce-1.example.org",
        ),
        ("ec2", {"url": "https://cloud.example.org:1"}, ""),
        ("eucalyptus", {"url": "https://c.example.org:8773"}, ""),
    ],
)
def test_service_quotas_are_where_amazons_are_or_where_the_site_says(manager, endpoint, url):
    assert driver(manager, **endpoint).session.quotas_url() == url


@pytest.mark.parametrize(
    "host, region",
    [
        ("ec2.eu-west-1.amazonaws.com", "eu-west-1"),
        ("ec2.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("ec2.ap-southeast-5.api.aws", "ap-southeast-5"),
        ("ec2-fips.us-east-2.amazonaws.com", "us-east-2"),
        ("vpce-0a1b-2c3d.ec2.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("ec2.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
    ],
)
def test_the_region_that_is_signed_is_that_of_the_url(host, region):
    assert driver(url=f"https://{host}").session.region() == region


def test_a_cloud_that_is_nowhere_is_our_own_mistake(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(
        ClientError,
        match=r"\[endpoint\] has neither url nor region: one of them is needed",
    ):
        driver().connect()


# --- what a code means --------------------------------------------------------------------------------------------


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
def test_a_code_decides_whose_matter_it_is(cloud, code, status, kind, cause):
    with pytest.raises(CloudError) as said:
        cloud({"DescribeInstances": refusal(code, status)}).list(Kind.SERVER, "")

    assert (type(said.value), said.value.cause, said.value.request or "r-1") == (kind, cause, "r-1")
    assert f"{status} {code}: words" in str(said.value)


# --- large accounts, several networks, local zones ----------------------------------------------------------------


def test_long_lists_come_by_pages_and_what_has_an_id_without(cloud):
    asked = []

    def instances(request):
        form = dict(parse_qsl(request.body.decode()))
        asked.append(
            {
                word: form[word]
                for word in ("MaxResults", "NextToken", "InstanceId.1")
                if word in form
            }
        )
        token = (
            b"" if "NextToken" in form or "InstanceId.1" in form else b"<nextToken>more</nextToken>"
        )
        number = b"2" if "NextToken" in form else b"1"
        return reply(
            200,
            b"<AResponse><reservationSet><item><instancesSet><item><instanceId>i-"
            + number
            + b"</instanceId><instanceState><name>running</name>"
            b"</instanceState></item></instancesSet></item></reservationSet>"
            + token
            + b"</AResponse>",
        )

    made = cloud({"DescribeInstances": instances})

    assert len(made.list(Kind.SERVER, "")) == 2
    made.show(SERVER)
    assert asked == [
        {"MaxResults": "200"},
        {"MaxResults": "200", "NextToken": "more"},
        {"InstanceId.1": "i-1"},
    ]


def test_a_local_zone_is_no_zone_for_a_test_vm(cloud):
    zones = "".join(
        f"<item><zoneName>{name}</zoneName><zoneState>available</zoneState><zoneType>{kind}</zoneType></item>"
        for name, kind in (
            ("us-west-2-lax-1a", "local-zone"),
            ("us-west-2a", "availability-zone"),
            ("us-west-2-wl1", "wavelength-zone"),
        )
    )

    assert cloud(
        {
            "DescribeAvailabilityZones": f"<AResponse><availabilityZoneInfo>{zones}</availabilityZoneInfo></AResponse>".encode()
        }
    ).describe()["zones"] == ["us-west-2a"]


def test_a_group_whose_name_several_vpcs_have_is_meant_in_the_default_one(cloud):
    groups = ["<item><groupId>sg-1</groupId></item>", "<item><groupId>sg-2</groupId></item>"]
    for several, wanted in (
        (groups[:1], {"SecurityGroupId": ["sg-1"]}),
        (groups, {"SecurityGroup": ["default"]}),
    ):
        made = cloud(
            {
                "DescribeSecurityGroups": f"<AResponse><securityGroupInfo>{''.join(several)}</securityGroupInfo></AResponse>".encode()
            }
        )
        assert security_group(made.session, "default", None) == wanted


def test_what_was_asked_for_just_now_and_is_not_known_is_not_gone(cloud):
    clock = VirtualClock()
    made = cloud(
        {
            "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
            "DescribeVolumes": refusal("InvalidVolume.NotFound"),
            "DeleteVolume": refusal("InvalidVolume.NotFound"),
        },
        clock=clock,
    )
    plan = type("Plan", (), {"details": {"volume zone": "a", "volume type": None}})
    volume = made.create(VolumeSpec(HANDLE, 2**30, plan))

    for verb in (made.show, made.delete):
        with pytest.raises(
            Conflict, match="volume vol-1 was asked for just now and is not shown yet"
        ):
            verb(volume)
    clock.sleep(61)
    with pytest.raises(NotFound):
        made.show(volume)
    made.delete(volume)


# --- what is said of servers --------------------------------------------------------------------------------------


def instances(*items):
    return (
        b"<AResponse><reservationSet><item><instancesSet>"
        + "".join(
            f"<item><instanceId>i-{number}</instanceId><instanceState><name>{state}</name></instanceState>{more}</item>"
            for number, (state, more) in enumerate(items, 1)
        ).encode()
        + b"</instancesSet></item></reservationSet></AResponse>"
    )


def test_members_of_a_fleet_are_told_apart_by_their_launch_index(cloud):
    token = f"<clientToken>{HANDLE}/2</clientToken><amiLaunchIndex>%d</amiLaunchIndex>"
    found = cloud(
        {
            "DescribeInstances": instances(
                ("running", token % 1), ("pending", token % 0), ("terminated", token % 2)
            )
        }
    ).list(Kind.SERVER, HANDLE)

    assert [(one.ref.name, one.state) for one in found] == [
        (f"{HANDLE}-2", State.READY),
        (f"{HANDLE}-1", State.PENDING),
    ]


def test_a_strangers_token_is_no_name(cloud):
    (found,) = cloud(
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
    assert found.ref.name == "web"


def test_one_that_ended_by_itself_has_failed_until_its_removal_was_asked_for(cloud):
    reason = "<stateReason><code>Client.VolumeLimitExceeded</code><message>Client.VolumeLimitExceeded: Volume limit exceeded</message></stateReason>"
    made = cloud(
        {
            "DescribeInstances": instances(("terminated", reason)),
            "RunInstances": b"<AResponse><instancesSet><item><instanceId>i-1</instanceId>"
            b"</item></instancesSet></AResponse>",
        }
    )
    with pytest.raises(NotFound):
        made.show(SERVER)

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
                "depth": "api",
            }
        },
    )
    made.create(ServerSpec(HANDLE, plan))
    seen = made.show(SERVER)
    assert (seen.state, seen.fault, seen.cause) == (
        State.FAILED,
        "Client.VolumeLimitExceeded: Volume limit exceeded",
        "quota",
    )
    made.delete(SERVER)
    with pytest.raises(NotFound, match="server i-1 is terminated"):
        made.show(SERVER)


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
    cloud, status, attachments, state, server
):
    held = (
        f"<attachmentSet><item><instanceId>i-1</instanceId><status>{attachments}</status></item></attachmentSet>"
        if attachments
        else ""
    )
    body = f"<AResponse><volumeSet><item><volumeId>vol-1</volumeId><status>{status}</status><size>1</size>{held}</item></volumeSet></AResponse>".encode()
    seen = cloud({"DescribeVolumes": body}).show(Ref(Kind.VOLUME, "vol-1"))

    assert (seen.state, seen.server) == (state, server)


def test_figures_are_the_newest_and_sums_become_rates(cloud):
    def result(name, *pairs):
        stamps, values = (
            "".join(f"<member>{pair[index]}</member>" for pair in pairs) for index in (0, 1)
        )
        return f"<member><Id>{name}</Id><Timestamps>{stamps}</Timestamps><Values>{values}</Values></member>"

    body = (
        "<AResponse><GetMetricDataResult><MetricDataResults>"
        + result("cpuutilization", ("2026-11-23T00:05:00Z", "1.5E1"), ("2026-11-23T00:00:00Z", "9"))
        + result("diskreadbytes", ("2026-11-23T00:05:00Z", "300"))
        + result("ebsreadbytes", ("2026-11-23T00:05:00Z", "600"))
        + result("networkin", ("soon", "1"))
        + result("networkout", ("2026-11-23T00:05:00Z", "1.2.3"))
        + result("ebswritebytes")
        + "</MetricDataResults></GetMetricDataResult></AResponse>"
    ).encode()

    assert cloud({"GetMetricData": body}).metrics(SERVER) == [
        Sample("cpu", 15.0, 1795392300.0, counter=False),
        Sample("disk_read", 3.0, 1795392300.0, counter=False),
    ]


# --- what there may be --------------------------------------------------------------------------------------------


def test_vcpus_are_those_of_running_on_demand_instances_of_the_standard_families(cloud):
    said = instances(
        *(
            (state, f"<instanceType>{kind}</instanceType>{more}")
            for state, kind, more in (
                ("running", "t3.nano", ""),
                ("running", "t3.nano", ""),
                ("pending", "m5.xlarge", ""),
                ("stopped", "m5.xlarge", ""),
                ("running", "p3.2xlarge", ""),
                ("running", "m5.xlarge", "<instanceLifecycle>spot</instanceLifecycle>"),
                ("terminated", "t3.nano", ""),
            )
        )
    )
    types = "".join(
        f"<item><instanceType>{kind}</instanceType><vCpuInfo><defaultVCpus>{cores}</defaultVCpus></vCpuInfo></item>"
        for kind, cores in (("t3.nano", 2), ("m5.xlarge", 4))
    )
    limits = cloud(
        {
            "DescribeInstances": said,
            "GetServiceQuota": b'{"Quota": {"Value": 16}}',
            "DescribeInstanceTypes": f"<AResponse><instanceTypeSet>{types}</instanceTypeSet></AResponse>".encode(),
        }
    ).capacity()

    assert {limit.name: (limit.used, limit.total) for limit in limits} == {
        "servers": (6, None),
        "vcpus": (8, 16),
        "volumes": (0, None),
        "storage": (0, 16 * 2**40),
        "addresses": (0, 16),
    }


SUBNETS = """<AResponse><subnetSet>
<item><subnetId>subnet-1</subnetId><cidrBlock>10.0.0.0/28</cidrBlock><availableIpAddressCount>2</availableIpAddressCount>
<availabilityZone>a</availabilityZone><defaultForAz>true</defaultForAz></item>
<item><subnetId>subnet-2</subnetId><cidrBlock>10.0.1.0/24</cidrBlock><availableIpAddressCount>200</availableIpAddressCount>
<availabilityZone>b</availabilityZone><defaultForAz>true</defaultForAz></item>
<item><subnetId>subnet-3</subnetId><ipv6Native>true</ipv6Native><availableIpAddressCount>0</availableIpAddressCount>
<availabilityZone>a</availabilityZone></item></subnetSet></AResponse>""".encode()
DETAILS = {
    "vcpus": 2,
    "memory": 2**29,
    "subnet": None,
    "zone": "a",
    "volume type": "gp3",
    "gp3 of image": 8 * 2**30,
}
TEST_VM = {"volume": 2**30, "depth": "api"}


@pytest.mark.parametrize(
    "subnet, zone, fits",
    [
        (None, "a", headroom.Room(2, "leases by subnet subnet-1: 2 of 11 are free")),
        ("subnet-1", "a", headroom.Room(2, "leases by subnet subnet-1: 2 of 11 are free")),
        (None, "b", headroom.Room(200, "leases by subnet subnet-2: 200 of 251 are free")),
        ("subnet-3", "a", headroom.Room(None)),
    ],
    ids=["default-of-the-zone", "named", "default-of-another-zone", "without-ipv4"],
)
def test_a_subnet_has_no_more_room_than_addresses_that_are_free(cloud, subnet, zone, fits):
    made = cloud({"DescribeSubnets": SUBNETS})
    plan = Plan("image", "p5.large", "", {**DETAILS, "subnet": subnet, "zone": zone})

    limits = [limit for limit in made.capacity() if limit.name == "leases"]
    assert headroom.room(limits, made.needs(plan, TEST_VM)) == fits


@pytest.mark.parametrize(
    "answer",
    [
        refusal("UnauthorizedOperation", 403),
        refusal("UnsupportedOperation"),
        refusal("InvalidAction"),
        reply(500, "<html>Proxy Error</html>"),
    ],
    ids=["not-allowed", "no-vpc", "unknown", "page"],
)
def test_subnets_that_cannot_be_listed_are_no_limit(cloud, answer):
    made = cloud({"DescribeSubnets": answer})

    assert [limit for limit in made.capacity() if limit.name == "leases"] == []
    assert [
        name for name, of in made.needs(Plan("image", "t3.nano", "", DETAILS), TEST_VM) if of
    ] == []


@pytest.mark.parametrize(
    "kind, image, storage", [("gp3", 8, 10), ("gp3", 0, 2), (None, 8, 8), ("gp2", 0, None)]
)
def test_gp3_volumes_are_the_images_and_the_test_vms(cloud, kind, image, storage):
    made = cloud({})
    plan = Plan(
        "image", "t3.nano", "", {**DETAILS, "volume type": kind, "gp3 of image": image * 2**30}
    )

    needs = made.needs(plan, {**TEST_VM, "volume": 1.5 * 2**30})
    assert needs.get(("storage", ""), 0) == (storage or 0) * 2**30


# --- answers that are odd -----------------------------------------------------------------------------------------

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
def test_whatever_is_answered_is_understood_or_one_of_our_errors(cloud, body):
    made = cloud({"": f"<AResponse>{body}</AResponse>".encode()})
    volume, image = Ref(Kind.VOLUME, "vol-1"), Ref(Kind.SNAPSHOT, "ami-1")
    acts = [lambda kind=kind: made.list(kind, "") for kind in made.kinds]
    acts += [lambda ref=ref: made.show(ref) for ref in (SERVER, volume, image)]
    acts += [
        lambda: made.ports([SERVER]),
        lambda: made.console(SERVER),
        lambda: made.metrics(SERVER),
        made.capacity,
        made.describe,
        lambda: made.images(""),
        lambda: made.snapshot(SERVER, HANDLE),
        lambda: made.delete(image),
        lambda: made.belongings(SERVER),
        lambda: made.show(Ref(Kind.PORT, "eni-1")),
        lambda: made.detach(SERVER, volume),
        lambda: made.create(ServerSpec(HANDLE, PLAN)),
        lambda: made.create(VolumeSpec(HANDLE, 2**30, PLAN)),
    ]
    for act in acts:
        try:
            act()
        except VmprobeError as understood:
            assert "\n" not in str(understood)


# --- lists that are not whole -------------------------------------------------------------------------------------------


def form_of(request):
    return dict(parse_qsl(request.body.decode()))


def volumes(numbers, token=""):
    items = "".join(
        f"<item><volumeId>vol-{number}</volumeId><status>available</status><size>1</size></item>"
        for number in numbers
    )
    following = f"<nextToken>{token}</nextToken>" if token else ""
    return reply(200, f"<AResponse><volumeSet>{items}</volumeSet>{following}</AResponse>".encode())


def pages(*numbers):
    """Volumes of which each page has so many; the token is the number of the page."""

    def answer(request):
        page = int(form_of(request).get("NextToken", 0))
        following = str(page + 1) if page + 1 < len(numbers) else ""
        return volumes(range(1000 * page, 1000 * page + numbers[page]), following)

    return answer


def test_a_list_of_many_pages_is_whole(cloud):
    found = cloud({"DescribeVolumes": pages(3, 0, 2)}).list(Kind.VOLUME, "")

    assert [one.ref.id for one in found] == ["vol-0", "vol-1", "vol-2", "vol-2000", "vol-2001"]


@pytest.mark.parametrize(
    "answer, words, shown",
    [
        (lambda request: volumes([1], "again"), "its pages repeat themselves", 1),
        (
            lambda request: volumes([1], form_of(request).get("NextToken", "") + "x"),
            "its pages repeat themselves",
            1,
        ),
        (
            lambda request: volumes(
                [], form_of(request).get("NextToken", "").replace("x", "") or "x"
            ),
            "its pages repeat themselves",
            0,
        ),
        (
            lambda request: volumes(range(*_next_thousand(request)), _next_thousand(request)[1]),
            "there is no end of it",
            101_000,
        ),
    ],
    ids=["same-token", "same-things", "tokens-in-turn", "no-end"],
)
def test_a_list_without_an_end_is_incomplete_and_soon(cloud, answer, words, shown):
    made = cloud({"DescribeVolumes": answer})

    with pytest.raises(Incomplete, match=f"list volumes: {words}") as cut:
        made.list(Kind.VOLUME, "")
    assert len(cut.value.partial) == shown


def _next_thousand(request):
    begin = int(form_of(request).get("NextToken", 0))
    return begin, begin + 1000


@pytest.mark.parametrize(
    "first, error",
    [([1], None), ([2], GatewayFailed), ([], Incomplete)],
    ids=["this", "another", "nothing"],
)
def test_the_answer_about_one_thing_is_one_page(cloud, first, error):
    asked = []

    def answer(request):
        asked.append(request)
        return volumes(first or [], "more")

    made = cloud({"DescribeVolumes": answer})
    if error is None:
        assert made.show(Ref(Kind.VOLUME, "vol-1")).ref.id == "vol-1"
    else:
        with pytest.raises(error):
            made.show(Ref(Kind.VOLUME, "vol-1"))
    assert len(asked) == 1


def test_a_list_whose_next_page_is_lost_is_begun_anew(cloud):
    lost = [refusal("InvalidNextToken")]

    def answer(request):
        return lost.pop() if lost and "NextToken" in form_of(request) else pages(2, 1)(request)

    assert len(cloud({"DescribeVolumes": answer}).list(Kind.VOLUME, "")) == 3


def test_a_list_whose_next_page_is_always_lost_is_incomplete(cloud):
    def answer(request):
        return (
            refusal("InvalidNextToken") if "NextToken" in form_of(request) else pages(2, 1)(request)
        )

    with pytest.raises(
        Incomplete,
        match="list volumes: its next page cannot be had: list volumes: 400 InvalidNextToken: words",
    ):
        cloud({"DescribeVolumes": answer}).list(Kind.VOLUME, "")


def test_pages_that_are_too_large_to_be_read_are_asked_for_smaller(cloud):
    asked = []

    def answer(request):
        size = int(form_of(request)["MaxResults"])
        asked.append(size)
        return (
            volumes([1, 2])
            if size <= 50
            else reply(200, b"<AResponse>" + b"<a/>" * 100_001 + b"</AResponse>")
        )

    assert len(cloud({"DescribeVolumes": answer}).list(Kind.VOLUME, "")) == 2
    assert asked == [200, 50]


def test_parts_of_one_reservation_on_two_pages_are_all_seen(cloud):
    def answer(request):
        first = "NextToken" not in form_of(request)
        ids, token = (range(1, 3), "<nextToken>2</nextToken>") if first else (range(3, 5), "")
        items = "".join(
            f"<item><instanceId>i-{one}</instanceId><instanceState><name>running</name></instanceState></item>"
            for one in ids
        )
        return reply(
            200,
            f"<AResponse><reservationSet><item><reservationId>r-1</reservationId><instancesSet>{items}</instancesSet>"
            f"</item></reservationSet>{token}</AResponse>".encode(),
        )

    assert [one.ref.id for one in cloud({"DescribeInstances": answer}).list(Kind.SERVER, "")] == [
        "i-1",
        "i-2",
        "i-3",
        "i-4",
    ]


# --- what somebody in between says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
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
def test_a_page_of_a_proxy_does_not_say_that_a_thing_is_gone(cloud, said, verb):
    made = cloud({"": said})

    with pytest.raises(GatewayFailed):
        getattr(made, verb)(*(Kind.SERVER, HANDLE) if verb == "list" else (SERVER,))


# --- who is behind -----------------------------------------------------------------------------------------------------------

RUN = (
    b"<AResponse><instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></AResponse>"
)
PLAN = type(
    "Plan",
    (),
    {
        "details": {
            "image": "ami-1",
            "flavor": "t",
            "zone": "a",
            "subnet": "",
            "group": {},
            "kept": [],
            "volume zone": "a",
            "volume type": None,
        }
    },
)
VOLUME = Ref(Kind.VOLUME, "vol-1", HANDLE)


@pytest.fixture
def young(cloud):
    """young(answers) is a driver that has just asked for a server and a volume."""

    def start(answers, clock=None):
        made = cloud(
            {
                "RunInstances": RUN,
                "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
                **answers,
            },
            clock=clock or VirtualClock(),
        )
        made.create(ServerSpec(HANDLE, PLAN))
        made.create(VolumeSpec(HANDLE, 2**30, PLAN))
        return made

    return start


@pytest.mark.parametrize(
    "verb, words",
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
def test_a_young_thing_that_is_not_known_somewhere_is_not_now(young, verb, words, code):
    with pytest.raises(Conflict):
        getattr(young({"": refusal(code)}), verb)(*words)


def test_a_snapshot_of_a_server_that_is_not_known_somewhere_may_be_asked_for_again(young):
    with pytest.raises(
        RateLimited,
        match="snapshot of server i-1: 400 InvalidInstanceID.NotFound: words; server i-1 was asked for just now and is not shown yet",
    ) as later:
        young({"CreateImage": refusal("InvalidInstanceID.NotFound")}).snapshot(SERVER, HANDLE)

    assert later.value.wait == 2.0


def test_one_answer_of_somebody_who_is_behind_does_not_end_an_old_server(young):
    clock = VirtualClock()
    said = {"known": True}
    made = young(
        {
            "DescribeInstances": lambda request: (
                reply(200, instances(("running", "")))
                if said["known"]
                else refusal("InvalidInstanceID.NotFound")
            )
        },
        clock,
    )
    clock.sleep(100)

    for _ in range(2):
        said["known"] = True
        assert made.show(SERVER).state is State.READY
        said["known"] = False
        with pytest.raises(Conflict, match="server i-1 was there, and is not shown just now"):
            made.show(SERVER)
    with pytest.raises(NotFound):
        made.show(SERVER)


def test_what_this_session_did_not_ask_for_is_gone_at_once(cloud):
    with pytest.raises(NotFound):
        cloud({"DescribeInstances": refusal("InvalidInstanceID.NotFound")}).show(SERVER)


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
def test_a_volume_is_let_go_of_when_ec2_shows_it_so_and_not_when_something_is_not_known(
    cloud, code, volume, attached
):
    made = cloud(
        {
            "DetachVolume": refusal(code),
            "DescribeVolumes": f"<AResponse><volumeSet><item><volumeId>vol-1</volumeId>{volume}</item></volumeSet></AResponse>".encode(),
        }
    )

    if attached:
        with pytest.raises(CloudError, match=code):
            made.detach(SERVER, VOLUME)
    else:
        made.detach(SERVER, VOLUME)


def test_a_volume_whose_name_was_refused_gets_it_later(cloud):
    refusals, named = [refusal("InvalidVolume.NotFound"), refusal("UnauthorizedOperation", 403)], []

    def tags(request):
        if refusals:
            return refusals.pop(0)
        named.append(form_of(request)["Tag.1.Value"])
        return reply(200, b"<AResponse/>")

    made = cloud(
        {
            "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
            "CreateTags": tags,
            "DescribeVolumes": made_since([], volumes([1])),
        },
        manager="ec2-api",
    )
    volume = made.create(VolumeSpec(HANDLE, 2**30, PLAN))
    with pytest.raises(
        Conflict,
        match="volume vol-1 has no name yet: name of volume vol-1: 403 UnauthorizedOperation: words",
    ):
        made.show(volume)
    made.show(volume)

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
def test_a_strangers_volume_in_a_reply_does_not_get_our_name(cloud, manager, before, shown):
    named = []

    def tags(request):
        named.append(form_of(request))
        return reply(200, b"<AResponse/>")

    told = reply(
        200,
        f"<AResponse><volumeSet><item><volumeId>vol-1</volumeId>{shown}</item></volumeSet></AResponse>".encode(),
    )
    made = cloud(
        {
            "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
            "CreateTags": tags,
            "DescribeVolumes": made_since(before, told),
        },
        manager=manager,
    )
    volume = made.create(VolumeSpec(HANDLE, 2**30, PLAN))

    assert made.show(volume).ref.name in ("", "theirs")
    assert named == []


# --- addresses -----------------------------------------------------------------------------------------------------------------


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
def test_an_interface_has_addresses_of_both_kinds_or_of_one(cloud, nic, addresses):
    interface = f"<networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><attachment><status>attached</status></attachment>{nic}</item></networkInterfaceSet>"
    made = cloud({"DescribeInstances": instances(("running", interface))})

    assert [(port.ref.id, port.state, port.addresses) for port in made.ports([SERVER])] == [
        ("eni-1", State.READY, addresses)
    ]
    assert made.show(SERVER).addresses == addresses


# --- what came with a server ----------------------------------------------------------------------------------------------------

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


def test_what_came_with_a_server_belongs_to_it_and_what_was_attached_later_does_not(cloud):
    made = cloud(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-1"),
            "DescribeNetworkInterfaces": INTERFACES,
        }
    )

    assert made.belongings(SERVER) == [
        Ref(Kind.VOLUME, "vol-1", "root"),
        Ref(Kind.VOLUME, "vol-2", ""),
        Ref(Kind.PORT, "eni-1", ""),
    ]


def test_what_another_server_holds_is_not_what_belongs_to_this_one(cloud):
    made = cloud(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-2"),
            "DescribeNetworkInterfaces": INTERFACES,
        }
    )

    assert made.belongings(SERVER) == [Ref(Kind.PORT, "eni-1", "")]


@pytest.mark.parametrize(
    "answer",
    [instances(("terminated", CAME)), refusal("InvalidInstanceID.NotFound")],
    ids=["terminated", "unknown"],
)
def test_a_server_that_is_gone_has_no_belongings(cloud, answer):
    with pytest.raises(NotFound):
        cloud({"DescribeInstances": answer, "DescribeVolumes": _volumes_of("i-1")}).belongings(
            SERVER
        )


def test_an_answer_about_another_server_does_not_say_that_nothing_belongs_to_this_one(cloud):
    made = cloud({"DescribeInstances": instances(("running", CAME)).replace(b"i-1", b"i-2")})

    with pytest.raises(GatewayFailed, match="belongings of server i-1: the answer is about i-2"):
        made.belongings(SERVER)


def test_an_answer_about_other_volumes_does_not_say_what_belongs_to_a_server(cloud):
    made = cloud(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-1").replace(b"vol-2", b"vol-9"),
        }
    )

    with pytest.raises(GatewayFailed, match="volumes of server i-1: the answer is about vol-9"):
        made.belongings(SERVER)


def test_where_policy_hides_interfaces_the_volumes_are_known(cloud):
    made = cloud(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": _volumes_of("i-1"),
            "DescribeNetworkInterfaces": refusal("UnauthorizedOperation", 403),
        }
    )

    with pytest.raises(
        NotPermitted, match="interfaces of server i-1: 403 UnauthorizedOperation: words"
    ) as refused:
        made.belongings(SERVER)
    assert refused.value.partial == [
        Ref(Kind.VOLUME, "vol-1", "root"),
        Ref(Kind.VOLUME, "vol-2", ""),
    ]


def test_an_interface_is_shown_and_removed_by_its_id(cloud):
    removed = []

    def delete(request):
        removed.append(form_of(request)["NetworkInterfaceId"])
        return reply(200, b"<AResponse/>")

    made, port = (
        cloud({"DescribeNetworkInterfaces": INTERFACES, "DeleteNetworkInterface": delete}),
        Ref(Kind.PORT, "eni-1", ""),
    )
    shown = made.show(port)
    made.delete(port)

    assert (shown.ref, shown.provider_state, shown.server, shown.addresses, removed) == (
        port,
        "in-use",
        "i-1",
        ("10.0.0.5",),
        ["eni-1"],
    )
    with pytest.raises(GatewayFailed, match="show port eni-2: the answer is about port eni-1"):
        made.show(Ref(Kind.PORT, "eni-2", ""))


def test_an_interface_that_is_held_is_not_now(cloud):
    made = cloud(
        {
            "DeleteNetworkInterface": refusal(
                "InvalidParameterValue", words="Network interface 'eni-1' is currently in use."
            )
        }
    )

    with pytest.raises(Conflict, match="is currently in use"):
        made.delete(Ref(Kind.PORT, "eni-1", ""))


# --- snapshots ------------------------------------------------------------------------------------------------------------------

AMI = Ref(Kind.SNAPSHOT, "ami-1", HANDLE)


def _images(identity, *parts):
    mapping = "".join(f"<item><ebs><snapshotId>{part}</snapshotId></ebs></item>" for part in parts)
    return (
        f"<AResponse><imagesSet><item><imageId>{identity}</imageId><name>{HANDLE}</name><blockDeviceMapping>{mapping}</blockDeviceMapping>"
        "</item></imagesSet></AResponse>"
    ).encode()


def _snapshot_of(request):
    identity = form_of(request)["SnapshotId.1"]
    said = {
        "snap-1": f"<tagSet><item><key>Name</key><value>{HANDLE}</value></item></tagSet>",
        "snap-2": "<description>Created by CreateImage(i-1) for ami-1</description>",
        "snap-3": "<description>golden</description>",
    }[identity]
    return reply(
        200,
        f"<AResponse><snapshotSet><item><snapshotId>{identity}</snapshotId>{said}</item></snapshotSet></AResponse>".encode(),
    )


def test_an_image_goes_with_the_snapshots_that_were_made_for_it_and_with_no_others(cloud):
    removed = []

    def delete(request):
        removed.append(form_of(request)["SnapshotId"])
        return (
            refusal("InvalidSnapshot.InUse") if len(removed) == 1 else reply(200, b"<AResponse/>")
        )

    answers = {
        "DescribeImages": _images("ami-1", "snap-1", "snap-2", "snap-3"),
        "DescribeSnapshots": _snapshot_of,
        "DeleteSnapshot": delete,
    }
    made = cloud(answers)
    with pytest.raises(Conflict):
        made.delete(AMI)
    answers["DescribeImages"] = refusal("InvalidAMIID.Unavailable")
    made.delete(AMI)

    assert removed == ["snap-1", "snap-1", "snap-2"]


def test_the_answer_about_another_image_removes_nothing(cloud):
    removed = []
    made = cloud(
        {
            "DescribeImages": _images("ami-2", "snap-1"),
            "DescribeSnapshots": _snapshot_of,
            "DeregisterImage": lambda request: removed.append("image"),
            "DeleteSnapshot": lambda request: removed.append("snapshot"),
        }
    )

    made.delete(AMI)

    assert removed == []


# --- odd answers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["x" * 256, "i-1\u2028i-2"], ids=["long", "two-lines"])
def test_an_id_that_could_not_be_written_down_is_no_answer(cloud, identity):
    made = cloud(
        {
            "RunInstances": f"<AResponse><instancesSet><item><instanceId>{identity}</instanceId></item></instancesSet></AResponse>".encode()
        }
    )

    with pytest.raises(
        GatewayFailed,
        match="create server: instanceId in the answer is not a short, printable text",
    ):
        made.create(ServerSpec(HANDLE, PLAN))


def test_a_state_has_the_age_that_its_reason_says(cloud):
    made = cloud(
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

    assert [one.state_since for one in made.list(Kind.SERVER, "")] == [1795863600.0, None]


def test_a_volume_that_is_not_known_does_not_say_that_its_server_is_gone(cloud):
    made = cloud(
        {
            "DescribeInstances": instances(("running", CAME)),
            "DescribeVolumes": refusal("InvalidVolume.NotFound"),
        }
    )

    with pytest.raises(Conflict, match="volumes of server i-1: 400 InvalidVolume.NotFound: words"):
        made.belongings(SERVER)


def test_of_a_refusal_by_policy_the_reason_is_kept_and_not_who_asks(cloud):
    words = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/probe is not authorized to perform: "
        "ec2:RunInstances on resource: arn:aws:ec2:x:1:instance/* because no identity-based policy allows the "
        "ec2:RunInstances action. Encoded authorization failure message: " + "Ab3_" * 300
    )

    with pytest.raises(NotPermitted) as refused:
        cloud({"RunInstances": refusal("UnauthorizedOperation", 403, words)}).create(
            ServerSpec(HANDLE, PLAN)
        )
    assert str(refused.value) == (
        "create server: 403 UnauthorizedOperation: not authorized to perform: ec2:RunInstances on resource: "
        "arn:aws:ec2:x:1:instance/* because no identity-based policy allows the ec2:RunInstances action."
    )


def _fleet(said, known=lambda ids: True):
    """A fleet of two: every request about it is noted in ``said``."""

    def describe(request):
        ids = [value for name, value in form_of(request).items() if name.startswith("InstanceId.")]
        said.append(ids)
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
        said.append(ids)
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


def test_what_came_with_a_fleet_is_asked_for_at_once(cloud):
    said = []
    made = cloud(_fleet(said))
    made.create(ServerSpec(HANDLE, PLAN, 2))

    found = [made.belongings(Ref(Kind.SERVER, one, HANDLE)) for one in ("i-1", "i-2")]

    assert found == [[Ref(Kind.VOLUME, "vol-i-1", "")], [Ref(Kind.VOLUME, "vol-i-2", "")]]
    assert said == [["i-1", "i-2"], ["vol-i-1", "vol-i-2"]]


def test_a_member_that_is_not_known_does_not_hide_what_came_with_the_others(cloud):
    said = []
    made = cloud(_fleet(said, lambda ids: "i-2" not in ids))
    made.create(ServerSpec(HANDLE, PLAN, 2))

    assert made.belongings(SERVER) == [Ref(Kind.VOLUME, "vol-i-1", "")]
    with pytest.raises(Conflict):
        made.belongings(Ref(Kind.SERVER, "i-2", HANDLE))
