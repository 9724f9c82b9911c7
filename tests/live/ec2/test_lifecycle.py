"""check_vm_lifecycle against moto behind the gateway that verifies signatures: its verdicts, and that nothing is left."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from running import run_probe

from . import moto, places
from .gateway import ACCESS, Gateway
from .probing import line, resource_ids, start_until

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"
OK = "test VM ran and is gone in T s (active T s, network T s, storage T s)"


@pytest.fixture(scope="module")
def amazon():
    moto.reset()
    with Gateway(moto.url()) as gateway:
        yield gateway, resource_ids(gateway)


@pytest.fixture
def gateway(amazon):
    """A gateway without faults; a test that leaves something in moto fails, the next one does not."""
    made, before = amazon
    made.heal()
    yield made
    left = resource_ids(made) - before
    before |= left
    assert left == set()


@pytest.fixture
def site(gateway, tmp_path):
    """Writes the site file, with more keys of [endpoint] and [test vm]."""

    def write(endpoint=(), credentials="", budget="", **test_vm):
        more = {"budget": budget} if budget else {}
        return str(
            places.site_file(
                tmp_path,
                gateway.url,
                credentials=credentials,
                endpoint={**places.aws(gateway), **dict(endpoint)},
                **more,
                **test_vm,
            )
        )

    return write


def run(path, *options):
    code, output, errors = run_probe(LIFECYCLE, "--site", path, *options)
    assert errors == ""
    return code, output


# --- good runs ----------------------------------------------------------------------------------------------------


def test_ok_when_the_vm_ran_and_is_gone_with_its_snapshot_and_figures(site, gateway, tmp_path):
    code, output = run(site(flavor="", snapshot="yes"), "--json", str(tmp_path / "run.json"))
    document = json.loads((tmp_path / "run.json").read_text())

    assert (code, line(output)) == (0, f"VM_LIFECYCLE OK - ec2: {OK}")
    assert document["metrics"]["cpu_avg"] == 12.5
    assert document["metrics"]["disk_read_avg"] == pytest.approx(3000 / 300) and document[
        "metrics"
    ]["net_out_avg"] == pytest.approx(200)
    (run_instances,) = [form for action, form in gateway.calls if action == "RunInstances"]
    assert run_instances["InstanceType"] == "t2.nano"  # the smallest that there is
    assert (
        run_instances["ClientToken"]
        == run_instances["TagSpecification.1.Tag.1.Value"]
        == run_instances["TagSpecification.1.Tag.2.Value"]
    )


def test_a_young_instance_has_no_figures_and_that_is_said(site, gateway):
    gateway.metered = False
    code, output = run(site(volume="none"), "-v")

    assert code == 0 and "cpu_avg" not in output
    assert (
        "note: not measured, the manager does not say: cpu, disk_read, disk_write, net_in, net_out"
        in output
    )


def test_figures_that_are_forbidden_are_named_and_not_zero(site, gateway):
    gateway.faults.add("no-metrics")
    code, output = run(site(volume="none"), "-v")

    assert code == 0 and "cpu_avg" not in output
    assert re.search(
        r"^note: metrics are not measured: metrics of server i-\w+: 403 AccessDenied: User is not authorized",
        output,
        re.M,
    )


def test_a_fleet_is_one_request_and_is_polled_by_one(site, gateway):
    code, output = run(site(volume="none"), "--count", "5")
    asked = [form for action, form in gateway.calls if action == "RunInstances"]
    looks = [form for action, form in gateway.calls if action == "DescribeInstances"]

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - ec2: 5 test VMs ran without storage and are gone in T s (active T s, network T s)",
    )
    assert [(form["MinCount"], form["MaxCount"]) for form in asked] == [("5", "5")]
    assert [form for form in looks[:2] if any(key.startswith("InstanceId") for key in form)] == []


def test_a_fleet_with_storage_has_a_volume_for_each(site):
    code, output = run(site(), "--count", "5")

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - ec2: 5 test VMs ran and are gone in T s (active T s, network T s, storage T s)",
    )


def test_a_repeated_submission_is_the_same_instance(site, gateway):
    from conformance.harnesses import of_site
    from vmprobe.core import handle
    from vmprobe.core.clock import Clock
    from vmprobe.core.model import ServerSpec

    harness = of_site(site(), Clock())
    harness.driver.connect()
    name = str(handle.new("live", 600, time.time()))
    spec = ServerSpec(name, harness.driver.resolve(harness.test_vm))

    first, second = harness.driver.create(spec), harness.driver.create(spec)

    harness.driver.delete(first)
    harness.driver.close()
    assert first == second


def test_an_instance_that_is_not_known_everywhere_yet_is_not_gone(site, gateway):
    gateway.faults.add("lags")
    code, output = run(site(volume="none"))

    assert (code, line(output)) == (
        0,
        "VM_LIFECYCLE OK - ec2: test VM ran without storage and is gone in T s (active T s, network T s)",
    )


def test_subnet_and_security_group_are_found_by_their_names(site, gateway):
    version = {"Version": "2016-11-15"}
    _, _, answer = gateway.ask("ec2", {"Action": "DescribeSubnets", **version})
    subnet = re.search(rb"<subnetId>(subnet-\w+)", answer)[1].decode()
    gateway.ask(
        "ec2",
        {
            "Action": "CreateTags",
            "ResourceId.1": subnet,
            "Tag.1.Key": "Name",
            "Tag.1.Value": "probes",
            **version,
        },
    )
    code, output = run(site(network="probes", **{"security group": "default"}))
    (form,) = [form for action, form in gateway.calls if action == "RunInstances"]

    assert (code, line(output)) == (0, f"VM_LIFECYCLE OK - ec2: {OK}")
    assert form["SubnetId"] == subnet and form["SecurityGroupId.1"].startswith("sg-")


def test_status_checks_are_waited_for_where_the_site_wants_them(site, gateway):
    path = site({"status checks": "yes"}, volume="none")
    assert run(path)[0] == 0

    gateway.faults.add("impaired")
    code, output = run(path)
    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ec2: network: port i-ID of server i-ID is systemStatus ok, instanceStatus "
        "impaired (cause=network)",
    )


# --- what the cloud refuses, fails, or takes too long for ---------------------------------------------------------


@pytest.mark.parametrize(
    "test_vm, message",
    [
        (
            {"image": "no-such-image"},
            "image: no image 'no-such-image' of owner amazon (cause=image)",
        ),
        (
            {"flavor": "t9.nano"},
            "image: flavor t9.nano: 400 InvalidInstanceType: The following supplied instance types do not exist: [t9.nano] (cause=image",
        ),
        ({"network": "no-such-network"}, "image: no subnet 'no-such-network' (cause=network)"),
        ({"security group": "nobody"}, "image: no security group 'nobody' (cause=network)"),
        (
            {"availability zone": "us-east-1x", "flavor": ""},
            "image: no flavor holds the image in us-east-1x (cause=image)",
        ),
    ],
)
def test_what_is_not_there_is_named(site, test_vm, message):
    code, output = run(site(**test_vm))

    assert code == 2
    assert line(output).startswith(f"VM_LIFECYCLE CRITICAL - ec2: {message}")


@pytest.mark.parametrize(
    "fault, code, message",
    [
        (
            "quota",
            1,
            "WARNING - ec2: submit: create server: 400 InstanceLimitExceeded: You have requested more instances (1) than your",
        ),
        (
            "vcpus",
            1,
            "WARNING - ec2: submit: create server: 400 VcpuLimitExceeded: You have requested more vCPU capacity",
        ),
        (
            "volumes",
            1,
            "WARNING - ec2: submit: create volume: 400 VolumeLimitExceeded: You have exceeded your maximum gp2 storage limit",
        ),
        (
            "no-room",
            2,
            "CRITICAL - ec2: submit: create server: 500 InsufficientInstanceCapacity: We currently do not have sufficient t2.nano",
        ),
        (
            "forbidden",
            2,
            "CRITICAL - ec2: submit: create server: 403 UnauthorizedOperation: You are not authorized to perform this operation.",
        ),
        (
            "dies",
            2,
            "CRITICAL - ec2: active: server i-ID is terminated: Server.InternalError: Internal error on launch (cause=scheduler",
        ),
    ],
)
def test_the_manager_says_in_its_own_words_why_there_is_no_vm(site, gateway, fault, code, message):
    gateway.faults.add(fault)
    given, output = run(site())

    assert given == code and line(output).startswith(f"VM_LIFECYCLE {message}"), output
    cause = {"no-room": "scheduler", "forbidden": "auth", "dies": "scheduler"}.get(fault, "quota")
    assert f"(cause={cause}" in line(output)


def test_a_server_that_does_not_come_up_and_a_volume_that_is_never_attached_outrun_their_budgets(
    site, gateway
):
    gateway.faults.add("boots-slowly")
    code, output = run(
        site(budget="deadline = 240 s\nreserve = 100 s\nactive = 3 s", volume="none")
    )
    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ec2: active: server i-ID is pending; not done within T s (cause=scheduler)",
    )

    gateway.heal()
    gateway.faults.add("attaches-for-ever")
    code, output = run(site(budget="deadline = 240 s\nreserve = 100 s\nstorage = 3 s"))
    assert code == 2
    assert line(output) in [  # a slow machine reaches the attachment after its time is over
        f"VM_LIFECYCLE CRITICAL - ec2: storage: volume vol-ID is {far}; not done within T s (cause=storage)"
        for far in ("attaching", "available, not attached to server i-ID")
    ]


def test_a_removal_that_is_refused_leaves_something_behind_and_the_next_run_settles_it(
    site, gateway
):
    gateway.faults.add("kept")
    code, output = run(site(budget="deadline = 24 s\nreserve = 8 s", volume="none"))
    assert code == 1
    assert line(output).startswith(
        "VM_LIFECYCLE WARNING - ec2: gone: server i-ID: deletion not confirmed: delete server i-ID: 400 Operat"
    )

    gateway.heal()
    assert run(site(volume="none"))[0] == 0


def test_a_gateway_that_fails_is_critical(site, gateway):
    gateway.faults.add("failing")
    gateway.times["failing"] = 8  # more than are retried
    code, output = run(site(volume="none"))

    assert code == 2
    assert re.search(
        r"500 InternalError: An internal error has occurred \(cause=gateway", line(output)
    )


def test_a_wrong_key_is_critical_and_a_missing_one_is_ours(site, gateway):
    code, output = run(site(credentials=f"access_key = {ACCESS}\nsecret_key = wrong\n"))
    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ec2: auth: authentication: 401 SignatureDoesNotMatch: The request signature "
        "we calculated does not match the signature you provided. (cause=auth, 4f2c0d1e...)",
    )
    code, output = run(site(credentials=f"access_key = {ACCESS}\n"))
    assert (code, line(output)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - ec2: auth: the credentials file has access_key and no secret_key (cause=client)",
    )


def test_nobody_there_is_the_gateways_matter(tmp_path):
    path = places.site_file(tmp_path, "http://127.0.37.3:1", endpoint={"region": "us-east-1"})
    code, output, _ = run_probe(LIFECYCLE, "--site", str(path))

    assert (code, line(output)) == (
        2,
        "VM_LIFECYCLE CRITICAL - ec2: auth: authentication: 127.0.37.3 port 1: connection refused (cause=gateway)",
    )


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action", ["CreateVolume", "RunInstances", "AttachVolume", "CreateImage", "TerminateInstances"]
)
def test_sigkill_is_settled_by_the_next_run(site, gateway, action):
    path = site(snapshot="yes")
    process = start_until(path, gateway, action)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    code, output = run(path)

    assert (code, line(output)) == (0, f"VM_LIFECYCLE OK - ec2: {OK}")


def test_sigterm_removes_what_there_is(site, gateway):
    process = start_until(site(), gateway, "RunInstances")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=90)

    assert process.returncode == 3
    assert re.search(r"interrupted by SIGTERM", line(output))
