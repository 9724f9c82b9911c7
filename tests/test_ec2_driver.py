"""What the EC2 driver makes of what it is told: where the cloud is, what an error code means, and answers that are odd."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.clock import Deadline
from vmprobe.drivers import load
from vmprobe.errors import (AuthRejected, ClientError, CloudError, Conflict, GatewayFailed, NotFound, NotPermitted,
                            QuotaExceeded,
                            VmprobeError)
from vmprobe.evidence import Evidence
from vmprobe.model import Capability, Kind, Ref, Sample, ServerSpec, State, VolumeSpec

KEYS = {"access_key": "AKID", "secret_key": "s"}
ZONES = b"<R><availabilityZoneInfo><item><zoneName>a</zoneName><zoneState>available</zoneState></item></availabilityZoneInfo></R>"
HANDLE = "vmprobe-mon-20261123t000000z-6-abcdefgh"
SERVER = Ref(Kind.SERVER, "i-1", HANDLE)


def driver(manager="ec2", clock=None, **endpoint):
    kind = load(manager)
    words = {name: key.default for name, key in kind.endpoint_keys.items()}
    return kind({**words, "timeout": 5.0, "ca": None, "manager": manager, **endpoint}, KEYS,
                Deadline(600, 60, clock or VirtualClock()), Evidence())


@pytest.fixture
def cloud():
    """cloud(answers, ...) is a connected driver whose manager answers each action so; '' stands for any."""
    servers = []

    def start(answers, **words):
        def answer(request):
            target = request.headers.get("x-amz-target", "").rpartition(".")[2]
            action = target or dict(part.split("=", 1) for part in request.body.decode().split("&"))["Action"]
            found = answers.get(action, ZONES if action == "DescribeAvailabilityZones" else answers.get("", b"<R/>"))
            if callable(found):
                return found(request)
            return found if found[:4] == b"HTTP" else reply(200, found)
        servers.append(Server(answer))
        made = driver(url=servers[-1].url, **{"cloudwatch url": servers[-1].url, "service quotas url": servers[-1].url, **words})
        made.connect()
        return made

    yield start
    for server in servers:
        server.__exit__()


def refusal(code, status=400, words="words"):
    return reply(status, f"<Response><Errors><Error><Code>{code}</Code><Message>{words}</Message></Error></Errors>"
                         f"<RequestID>r-1</RequestID></Response>")


# --- where it is --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("manager, endpoint, urls", [
    ("ec2", {"region": "eu-west-1"}, ["https://ec2.eu-west-1.amazonaws.com",
                                      "https://monitoring.eu-west-1.amazonaws.com"]),
    ("ec2", {"region": "cn-north-1"}, ["https://ec2.cn-north-1.amazonaws.com.cn",
                                       "https://monitoring.cn-north-1.amazonaws.com.cn"]),
    ("ec2", {"url": "https://ec2.us-gov-west-1.amazonaws.com"}, ["https://ec2.us-gov-west-1.amazonaws.com",
                                                                 "https://monitoring.us-gov-west-1.amazonaws.com"]),
    ("ec2", {"region": "eusc-de-east-1"}, ["https://ec2.eusc-de-east-1.amazonaws.eu", "https://monitoring.eusc-de-east-1.amazonaws.eu"]),
    ("ec2", {"url": "https://cloud.example.org:1"}, ["https://cloud.example.org:1"]),
    ("eucalyptus", {"url": "https://c.example.org:8773"}, ["https://c.example.org:8773/services/compute"]),
    ("eucalyptus", {"url": "https://c.example.org:8773/services/Eucalyptus",
                    "cloudwatch url": "https://c.example.org:8773/services/CloudWatch"},
     ["https://c.example.org:8773/services/Eucalyptus", "https://c.example.org:8773/services/CloudWatch"]),
    ("ec2-api", {"url": "https://o.example.org:8788"}, ["https://o.example.org:8788"]),
])
def test_the_urls_follow_from_region_and_dialect(manager, endpoint, urls):
    made = driver(manager, **endpoint)

    assert made.endpoints() == urls
    assert (Capability.METRICS in made.capabilities) == (len(urls) > 1)


@pytest.mark.parametrize("manager, endpoint, url", [
    ("ec2", {"region": "eu-west-1"}, "https://servicequotas.eu-west-1.amazonaws.com"),
    ("ec2", {"url": "https://ec2.cn-north-1.amazonaws.com.cn"}, "https://servicequotas.cn-north-1.amazonaws.com.cn"),
    ("ec2", {"url": "https://ec2.eu-west-1.amazonaws.com", "service quotas url": "https://vpce-1.example.org"}, "https://vpce-1.example.org"),
    ("ec2", {"url": "https://cloud.example.org:1"}, ""), ("eucalyptus", {"url": "https://c.example.org:8773"}, ""),
])
def test_service_quotas_are_where_amazons_are_or_where_the_site_says(manager, endpoint, url):
    assert driver(manager, **endpoint)._quotas_url() == url


@pytest.mark.parametrize("host, region", [
    ("ec2.eu-west-1.amazonaws.com", "eu-west-1"), ("ec2.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
    ("ec2.ap-southeast-5.api.aws", "ap-southeast-5"), ("ec2-fips.us-east-2.amazonaws.com", "us-east-2"),
    ("vpce-0a1b-2c3d.ec2.eu-central-1.vpce.amazonaws.com", "eu-central-1"), ("ec2.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1")])
def test_the_region_that_is_signed_is_that_of_the_url(host, region):
    assert driver(url=f"https://{host}")._region() == region


def test_a_cloud_that_is_nowhere_is_our_own_mistake(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ClientError, match=r"\[endpoint\] region: is missing, and there is no url: where is the cloud\?"):
        driver().connect()


# --- what a code means --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code, status, kind, cause", [
    ("AuthFailure", 401, AuthRejected, "auth"), ("SignatureDoesNotMatch", 403, AuthRejected, "auth"),
    ("ExpiredToken", 400, AuthRejected, "auth"),
    ("UnauthorizedOperation", 403, NotPermitted, "auth"), ("OptInRequired", 401, NotPermitted, "auth"),
    ("InstanceLimitExceeded", 400, QuotaExceeded, "quota"), ("VcpuLimitExceeded", 400, QuotaExceeded, "quota"),
    ("InsufficientInstanceCapacity", 500, CloudError, "scheduler"), ("InsufficientVolumeCapacity", 500, CloudError,
                                                                     "storage"),
    ("InsufficientFreeAddressesInSubnet", 400, CloudError, "network"), ("Unsupported", 400, CloudError, "scheduler"),
    ("RequestLimitExceeded", 503, GatewayFailed, "gateway"), ("InternalError", 500, GatewayFailed, "gateway"),
    ("InvalidAMIID.NotFound", 400, NotFound, "image"), ("InvalidSubnetID.NotFound", 400, NotFound, "network"),
    ("InvalidSnapshot.InUse", 400, Conflict, ""), ("IncorrectState", 400, Conflict, ""),
    ("VolumeInUse", 400, Conflict, ""),
    ("VPCIdNotSpecified", 400, CloudError, "client"), ("MissingInput", 400, CloudError, "client"),
    ("InvalidParameterValue", 400, CloudError, ""), ("SomethingNew", 400, CloudError, ""),
    ("SomethingNew", 500, GatewayFailed, "gateway"),
])
def test_a_code_decides_whose_matter_it_is(cloud, code, status, kind, cause):
    with pytest.raises(CloudError) as said:
        cloud({"DescribeInstances": refusal(code, status)}).list(Kind.SERVER, "")

    assert (type(said.value), said.value.cause, said.value.request or "r-1") == (kind, cause, "r-1")
    assert "words" in str(said.value)


# --- large accounts, several networks, local zones ----------------------------------------------------------------

def test_long_lists_come_by_pages_and_what_has_an_id_without(cloud):
    asked = []

    def instances(request):
        form = dict(parse_qsl(request.body.decode()))
        asked.append({word: form[word] for word in ("MaxResults", "NextToken", "InstanceId.1") if word in form})
        token = b"" if "NextToken" in form or "InstanceId.1" in form else b"<nextToken>more</nextToken>"
        return reply(200, b"<R><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><instanceState><name>running</name>"
                          b"</instanceState></item></instancesSet></item></reservationSet>" + token + b"</R>")
    made = cloud({"DescribeInstances": instances})

    assert len(made.list(Kind.SERVER, "")) == 2
    made.show(SERVER)
    assert asked == [{"MaxResults": "200"}, {"MaxResults": "200", "NextToken": "more"}, {"InstanceId.1": "i-1"}]


def test_a_local_zone_is_no_zone_for_a_test_vm(cloud):
    zones = "".join(f"<item><zoneName>{name}</zoneName><zoneState>available</zoneState><zoneType>{kind}</zoneType></item>" for name, kind in (
        ("us-west-2-lax-1a", "local-zone"), ("us-west-2a", "availability-zone"), ("us-west-2-wl1", "wavelength-zone")))

    assert cloud({"DescribeAvailabilityZones": f"<R><availabilityZoneInfo>{zones}</availabilityZoneInfo></R>".encode()}).describe()[
        "zones"] == ["us-west-2a"]


def test_a_group_whose_name_several_vpcs_have_is_meant_in_the_default_one(cloud):
    groups = ["<item><groupId>sg-1</groupId></item>", "<item><groupId>sg-2</groupId></item>"]
    for several, wanted in ((groups[:1], {"SecurityGroupId": ["sg-1"]}), (groups, {"SecurityGroup": ["default"]})):
        made = cloud({"DescribeSecurityGroups": f"<R><securityGroupInfo>{''.join(several)}</securityGroupInfo></R>".encode()})
        assert made._group("default", None) == wanted


def test_what_was_asked_for_just_now_and_is_not_known_is_not_gone(cloud):
    clock = VirtualClock()
    made = cloud({"CreateVolume": b"<R><volumeId>vol-1</volumeId></R>",
                  "DescribeVolumes": refusal("InvalidVolume.NotFound"),
                  "DeleteVolume": refusal("InvalidVolume.NotFound")}, clock=clock)
    plan = type("Plan", (), {"details": {"volume zone": "a", "volume type": None}})
    volume = made.create(VolumeSpec(HANDLE, 2 ** 30, plan))

    for verb in (made.show, made.delete):
        with pytest.raises(Conflict, match="volume vol-1 was asked for just now and is not shown yet"):
            verb(volume)
    clock.sleep(61)
    with pytest.raises(NotFound):
        made.show(volume)
    made.delete(volume)


# --- what is said of servers --------------------------------------------------------------------------------------

def instances(*items):
    return b"<R><reservationSet><item><instancesSet>" + "".join(
        f"<item><instanceId>i-{number}</instanceId><instanceState><name>{state}</name></instanceState>{more}</item>"
        for number, (state, more) in enumerate(items, 1)).encode() + b"</instancesSet></item></reservationSet></R>"


def test_members_of_a_fleet_are_told_apart_by_their_launch_index(cloud):
    token = f"<clientToken>{HANDLE}/2</clientToken><amiLaunchIndex>%d</amiLaunchIndex>"
    found = cloud({"DescribeInstances": instances(("running", token % 1), ("pending", token % 0),
                                                  ("terminated", token % 2))}).list(Kind.SERVER, HANDLE)

    assert [(one.ref.name, one.state) for one in found] == [(f"{HANDLE}-2", State.READY), (f"{HANDLE}-1", State.PENDING)]


def test_a_strangers_token_is_no_name(cloud):
    (found,) = cloud({"DescribeInstances": instances(("running",
                                                      "<clientToken>ABC</clientToken><tagSet><item><key>Name</key><value>web"
                                                                 "</value></item></tagSet>"))}).list(Kind.SERVER, "")
    assert found.ref.name == "web"


def test_one_that_ended_by_itself_has_failed_until_its_removal_was_asked_for(cloud):
    reason = ("<stateReason><code>Client.VolumeLimitExceeded</code><message>Client.VolumeLimitExceeded: Volume limit exceeded</message></stateReason>")
    made = cloud({"DescribeInstances": instances(("terminated", reason)),
                  "RunInstances": b"<R><instancesSet><item><instanceId>i-1</instanceId>"
                  b"</item></instancesSet></R>"})
    with pytest.raises(NotFound):
        made.show(SERVER)

    plan = type("Plan", (), {"details": {"image": "ami-1", "flavor": "t", "zone": None, "subnet": None, "group": {},
                                         "kept": [], "depth": "api"}})
    made.create(ServerSpec(HANDLE, plan))
    seen = made.show(SERVER)
    assert (seen.state, seen.fault, seen.cause) == (State.FAILED, "Client.VolumeLimitExceeded: Volume limit exceeded",
                                                    "quota")
    made.delete(SERVER)
    with pytest.raises(NotFound, match="server i-1 is terminated"):
        made.show(SERVER)


@pytest.mark.parametrize("status, attachments, state, server", [
    ("in-use", "attached", State.READY, "i-1"), ("in-use", "attaching", State.PENDING, ""),
    ("in-use", "detaching", State.PENDING, ""),
    ("in-use", "busy", State.PENDING, ""), ("in-use", "", State.PENDING, ""), ("available", "", State.READY, ""),
    ("error", "", State.FAILED, ""), ("creating", "", State.PENDING, ""), ("new-word", "", State.PENDING, ""),
])
def test_a_volume_is_attached_when_ec2_says_so_and_not_when_it_is_in_use(cloud, status, attachments, state, server):
    held = f"<attachmentSet><item><instanceId>i-1</instanceId><status>{attachments}</status></item></attachmentSet>" if attachments else ""
    body = f"<R><volumeSet><item><volumeId>vol-1</volumeId><status>{status}</status><size>1</size>{held}</item></volumeSet></R>".encode()
    seen = cloud({"DescribeVolumes": body}).show(Ref(Kind.VOLUME, "vol-1"))

    assert (seen.state, seen.server) == (state, server)


def test_figures_are_the_newest_and_sums_become_rates(cloud):
    def result(name, *pairs):
        stamps, values = ("".join(f"<member>{pair[index]}</member>" for pair in pairs) for index in (0, 1))
        return f"<member><Id>{name}</Id><Timestamps>{stamps}</Timestamps><Values>{values}</Values></member>"

    body = ("<R><GetMetricDataResult><MetricDataResults>" + result("cpuutilization", ("2026-11-23T00:05:00Z", "1.5E1"),
                                                                   ("2026-11-23T00:00:00Z", "9"))
            + result("diskreadbytes", ("2026-11-23T00:05:00Z", "300")) + result("ebsreadbytes",
                                                                                ("2026-11-23T00:05:00Z", "600"))
            + result("networkin", ("soon", "1")) + result("networkout", ("2026-11-23T00:05:00Z",
                                                                         "1.2.3")) + result("ebswritebytes")
            + "</MetricDataResults></GetMetricDataResult></R>").encode()

    assert cloud({"GetMetricData": body}).metrics(SERVER) == [
        Sample("cpu", 15.0, 1795392300.0, counter=False), Sample("disk_read", 3.0, 1795392300.0, counter=False)]


# --- what there may be --------------------------------------------------------------------------------------------

def test_vcpus_are_those_of_running_on_demand_instances_of_the_standard_families(cloud):
    said = instances(*((state, f"<instanceType>{kind}</instanceType>{more}") for state, kind, more in (
        ("running", "t3.nano", ""), ("running", "t3.nano", ""), ("pending", "m5.xlarge", ""), ("stopped", "m5.xlarge", ""),
        ("running", "p3.2xlarge", ""), ("running", "m5.xlarge", "<instanceLifecycle>spot</instanceLifecycle>"), ("terminated", "t3.nano", ""))))
    types = "".join(f"<item><instanceType>{kind}</instanceType><vCpuInfo><defaultVCpus>{cores}</defaultVCpus></vCpuInfo></item>"
                    for kind, cores in (("t3.nano", 2), ("m5.xlarge", 4)))
    limits = cloud({"DescribeInstances": said, "GetServiceQuota": b'{"Quota": {"Value": 16}}',
                    "DescribeInstanceTypes": f"<R><instanceTypeSet>{types}</instanceTypeSet></R>".encode()}).capacity()

    assert {limit.name: (limit.used, limit.total) for limit in limits} == {
        "servers": (6, None), "vcpus": (8, 16), "volumes": (0, None), "storage": (0, 16 * 2 ** 40), "addresses": (0, 16)}


# --- answers that are odd -----------------------------------------------------------------------------------------

_WORDS = ["instanceId", "instanceState", "name", "item", "reservationSet", "instancesSet", "tagSet", "key", "value",
          "volumeSet", "volumeId", "size",
          "attachmentSet", "status", "imagesSet", "imageId", "creationDate", "output", "nextToken", "member", "Id",
          "Timestamps", "Values", "Error",
          "Code", "amiLaunchIndex", "clientToken", "coreCount", "cpuOptions", "GetMetricDataResult",
          "MetricDataResults", "snapshotSet"]
_documents = some.recursive(some.sampled_from(["", "1", "-1", "x", "\u00e9", "9" * 40, f"{HANDLE}/5", "vmprobe-",
                                               "1e999", "2026-11-23T00:00:00Z"]),
                            lambda inner: some.lists(some.tuples(some.sampled_from(_WORDS), inner), max_size=4).map(
                                lambda parts: "".join(f"<{word}>{text}</{word}>" for word, text in parts)),
                                max_leaves=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture,
                                                                 HealthCheck.too_slow])
@given(body=_documents)
def test_whatever_is_answered_is_understood_or_one_of_our_errors(cloud, body):
    made = cloud({"": f"<R>{body}</R>".encode()})
    volume, image = Ref(Kind.VOLUME, "vol-1"), Ref(Kind.SNAPSHOT, "ami-1")
    acts = [lambda kind=kind: made.list(kind, "") for kind in made.kinds]
    acts += [lambda ref=ref: made.show(ref) for ref in (SERVER, volume, image)]
    acts += [lambda: made.ports([SERVER]), lambda: made.console(SERVER), lambda: made.metrics(SERVER), made.capacity,
             made.describe,
             lambda: made.images(""), lambda: made.snapshot(SERVER, HANDLE), lambda: made.delete(image)]
    for act in acts:
        try:
            act()
        except VmprobeError as understood:
            assert "\n" not in str(understood)
