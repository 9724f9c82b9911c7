"""Whole runs of check_vm_lifecycle on a small EC2, in virtual time."""

import re

import pytest

from rawserver import Server, reply
from simulators.ec2 import Ec2, lagging, refusal
from vmprobe.checks.lifecycle import command
from vmprobe.checks.state import command as state
from vmprobe.report import verdict

SITE = """[site]
name = site
owner = mon
[endpoint]
manager = ec2
url = {url}
credentials = {credentials}
[test vm]
image = probe-image
{test_vm}
[budget]
deadline = 300 s
reserve = 60 s
"""


@pytest.fixture
def cloud():
    return Ec2()


@pytest.fixture
def test_vm_lines():
    """More lines of [test vm]."""
    return []


@pytest.fixture
def run(cloud, clock, tmp_path, test_vm_lines):
    """run(probe) is (exit code, first line without perfdata and durations)."""

    def once(probe=command, name="VM_LIFECYCLE"):
        credentials = tmp_path / "credentials.ini"
        credentials.write_text("[credentials]\naccess_key = AKID\nsecret_key = s3cr3tkey\n")
        credentials.chmod(0o600)
        with Server(cloud.answer) as server:
            path = tmp_path / "site.ini"
            path.write_text(
                SITE.format(
                    url=server.url, test_vm="\n".join(test_vm_lines), credentials=credentials
                )
            )
            result = probe.main(["--site", str(path)], clock=clock).verdict
        line = verdict.render(name, result).split(" | ")[0]
        return result.state, re.sub(r"\d+(\.\d+)? s\b", "T s", line)

    return once


OK = (
    0,
    "VM_LIFECYCLE OK - site: test VM ran and is gone in T s (active T s, network T s, storage T s)",
)


def test_a_good_run_leaves_nothing(run, cloud):
    assert run() == OK
    assert (
        [server["state"] for server in cloud.servers.values()],
        cloud.volumes,
        cloud.interfaces,
    ) == (["terminated"], {}, {})


@pytest.mark.parametrize(
    "survivors", [("vol",), ("eni",), ("vol", "eni")], ids=lambda survivors: "-and-".join(survivors)
)
def test_a_volume_or_interface_that_outlives_its_server_is_removed(run, cloud, survivors):
    cloud.survivors = survivors

    assert run() == OK
    assert (cloud.volumes, cloud.interfaces) == ({}, {})


def test_a_volume_that_outlives_its_server_and_cannot_be_removed_is_named(run, cloud):
    cloud.survivors = ("vol",)
    cloud.faults.append(
        lambda action, form: (
            refusal("UnauthorizedOperation", "not authorized", 403)
            if action == "DeleteVolume" and form["VolumeId"] == "vol-of-i-1"
            else None
        )
    )

    code, line = run()

    assert code == 1
    assert "volume vol-of-i-1" in line


def test_a_volume_that_somebody_attached_stays(run, cloud):
    cloud.volumes["vol-theirs"] = {"name": "", "server": "i-1"}

    assert run() == OK
    assert cloud.volumes == {"vol-theirs": {"name": "", "server": ""}}


@pytest.mark.parametrize(
    "action", ["DescribeInstances", "AttachVolume", "DetachVolume", "TerminateInstances"]
)
@pytest.mark.parametrize("which", [1, 2, 3, 4])
def test_a_run_goes_on_when_ec2_does_not_know_the_server_once(run, cloud, action, which):
    cloud.faults.append(lagging(action, which, "InvalidInstanceID"))

    assert run() == OK
    assert ([server["state"] for server in cloud.servers.values()], cloud.volumes) == (
        ["terminated"],
        {},
    )


@pytest.mark.parametrize(
    "action", ["DescribeVolumes", "AttachVolume", "DetachVolume", "DeleteVolume"]
)
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_run_goes_on_when_ec2_does_not_know_the_volume_once(run, cloud, action, which):
    cloud.faults.append(lagging(action, which, "InvalidVolume"))

    assert run() == OK
    assert cloud.volumes == {}


def test_a_server_with_ipv6_only_has_its_network(run, cloud):
    cloud.address = (
        "<ipv6AddressesSet><item><ipv6Address>2001:db8::5</ipv6Address></item></ipv6AddressesSet>"
    )

    assert run() == OK


@pytest.mark.parametrize(
    "action, answer",
    [
        (
            "RunInstances",
            b"<RunInstancesResponse><instancesSet><item><instanceId>i-theirs</instanceId></item></instancesSet></RunInstancesResponse>",
        ),
        (
            "CreateVolume",
            b"<CreateVolumeResponse><volumeId>vol-theirs</volumeId></CreateVolumeResponse>",
        ),
    ],
    ids=["server", "volume"],
)
def test_somebody_elses_id_in_a_reply_is_not_touched(run, cloud, action, answer):
    cloud.servers["i-theirs"] = {"state": "running", "name": "web", "token": ""}
    cloud.volumes["vol-theirs"] = {"name": "web", "server": ""}

    def wrong(requested, form):
        if requested != action:
            return None
        getattr(cloud, action)(form)
        return reply(200, answer)

    cloud.faults.append(wrong)
    run()

    touched = {
        value
        for action, form in cloud.requests
        if not action.startswith("Describe")
        for value in form.values()
    }
    assert touched & {"i-theirs", "vol-theirs"} == set()
    assert (cloud.servers["i-theirs"]["state"], cloud.volumes) == (
        "running",
        {"vol-theirs": {"name": "web", "server": ""}},
    )


@pytest.mark.parametrize(
    "code, words, exit_code, cause",
    [
        ("Client.VolumeLimitExceeded", "Volume limit exceeded", 1, "quota"),
        ("Server.InsufficientInstanceCapacity", "no capacity", 2, "scheduler"),
        ("Client.InvalidSnapshot.NotFound", "the snapshot is gone", 2, "storage"),
    ],
)
def test_the_reason_of_a_terminated_server_is_shown_and_decides_the_state(
    run, cloud, code, words, exit_code, cause
):
    cloud.reason = (
        f"<stateReason><code>{code}</code><message>{code}: {words}</message></stateReason>"
    )
    cloud.faults.append(
        lambda action, form: (
            cloud.servers["i-1"].update(state="terminated")
            if action == "DescribeInstances" and cloud.servers
            else None
        )
    )

    assert run() == (
        exit_code,
        f"VM_LIFECYCLE {('', 'WARNING', 'CRITICAL')[exit_code]} - site: active: server i-1 is terminated: {code}: {words} "
        f"(cause={cause})",
    )


def test_a_throttled_request_is_sent_again(run, cloud):
    refusals = [refusal("RequestLimitExceeded", "Request limit exceeded.", 503)] * 2
    cloud.faults.append(
        lambda action, form: refusals.pop() if action == "RunInstances" and refusals else None
    )

    assert run() == OK
    assert cloud.count("RunInstances") == 3


def test_a_page_of_a_proxy_does_not_prove_that_all_is_gone(run, cloud):
    cloud.faults.append(
        lambda action, form: (
            reply(200, b"<html><body>sign in</body></html>")
            if action.startswith("Describe") and cloud.count("TerminateInstances")
            else None
        )
    )

    code, line = run()

    assert code == 1
    assert "deletion not confirmed" in line


@pytest.mark.parametrize(
    "answer",
    [
        lambda cloud, form: getattr(cloud, form["Action"])(
            {"Action": form["Action"], "InstanceId.1": "i-theirs", "VolumeId.1": "vol-theirs"}
        ),
        lambda cloud, form: reply(200, b"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>"),
        lambda cloud, form: reply(
            200, b"<Response><Errors><Error><Code>InternalError</Code></Error></Errors></Response>"
        ),
    ],
    ids=["about-another-thing", "to-another-question", "error-with-200"],
)
def test_an_answer_to_another_question_does_not_prove_that_all_is_gone(run, cloud, answer):
    cloud.servers["i-theirs"] = {"state": "running", "name": "web", "token": ""}
    cloud.volumes["vol-theirs"] = {"name": "web", "server": ""}

    def fault(action, form):
        if action in ("TerminateInstances", "DeleteVolume"):
            return reply(200, f"<{action}Response/>".encode())  # accepted, and not done
        if action in ("DescribeInstances", "DescribeVolumes") and cloud.count("TerminateInstances"):
            return answer(cloud, form)
        return None

    cloud.faults.append(fault)
    code, line = run()

    assert code == 1
    assert re.match(
        r"VM_LIFECYCLE WARNING - site: gone: (volume \S+, )*server i-2(, volume \S+)?: deletion not confirmed: ",
        line,
    )


def test_where_policy_hides_interfaces_a_volume_that_outlives_its_server_is_removed(run, cloud):
    cloud.survivors = ("vol",)
    cloud.faults.append(
        lambda action, form: (
            refusal("UnauthorizedOperation", "not authorized", 403)
            if action == "DescribeNetworkInterfaces"
            else None
        )
    )

    assert run() == OK
    assert cloud.volumes == {}


def test_a_volume_whose_tag_name_is_rewritten_is_still_ours(run, cloud):
    def rewrite(action, form):
        for volume in cloud.volumes.values():
            volume["name"] = "by-policy"

    cloud.faults.append(rewrite)

    assert run() == OK
    assert cloud.volumes == {}


def test_a_server_that_somebody_terminated_fails_the_run_at_once(run, cloud):
    cloud.reason = "<stateReason><code>Client.UserInitiatedShutdown</code><message>User initiated shutdown</message></stateReason>"
    cloud.faults.append(
        lambda action, form: (
            cloud.servers["i-1"].update(state="terminated")
            if action == "DescribeInstances" and cloud.servers
            else None
        )
    )

    assert run() == (
        2,
        "VM_LIFECYCLE CRITICAL - site: active: server i-1 is terminated: User initiated shutdown (cause=scheduler)",
    )
    assert cloud.count("DescribeInstances") < 12


def test_the_reason_of_a_server_that_ended_before_its_snapshot_is_shown(run, cloud, test_vm_lines):
    cloud.reason = "<stateReason><code>Server.InternalError</code><message>Server.InternalError: Internal error</message></stateReason>"
    cloud.faults.append(
        lambda action, form: (
            cloud.servers["i-1"].update(state="terminated") if action == "CreateImage" else None
        )
    )
    test_vm_lines.append("snapshot = yes")

    assert run() == (
        2,
        "VM_LIFECYCLE CRITICAL - site: snapshot: server i-1 is terminated: Server.InternalError: Internal error (cause=scheduler)",
    )


def test_empty_names_and_times_are_accepted(run, cloud):
    cloud.servers["i-theirs"] = {"state": "running", "name": "", "token": ""}
    cloud.address, cloud.reason = "<privateIpAddress/>", "<launchTime/><reason/>"

    assert run(state, "VM_STATE") == (0, "VM_STATE OK - site: 1 server (1 running)")
