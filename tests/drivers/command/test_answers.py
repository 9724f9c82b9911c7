"""What the command's answers mean, and that a wrong one is refused by its name."""

import pytest

from vmprobe.core.errors import GatewayFailed
from vmprobe.core.model import Image, Kind, Limit, Plan, Ref, Resource, Sample, State
from vmprobe.drivers.command import answers

WHOLE = {
    "id": 7,
    "name": "web",
    "state": "failed",
    "provider_state": "BROKEN",
    "fault": "no host",
    "cause": "scheduler",
    "addresses": ["10.0.0.1", "FE80::1"],
    "server": "s-1",
    "created": 1,
    "launched": 2.5,
    "vcpus": 1,
    "memory": 2,
    "size": 3,
    "image": "img",
    "owner": "me",
    "project": "ours",
    "state_since": 4,
}


def test_a_resource_is_read_whole():
    assert answers.resource(WHOLE, Kind.SERVER) == Resource(
        Ref(Kind.SERVER, "7", "web"),
        State.FAILED,
        "BROKEN",
        "no host",
        "scheduler",
        "",
        ("10.0.0.1", "fe80::1"),
        "s-1",
        1.0,
        2.5,
        1,
        2,
        3,
        "img",
        "me",
        "ours",
        4.0,
    )


def test_what_is_null_empty_or_left_out_is_not_known():
    little = {"id": "7", "state": "pending"}
    nothing = {key: None for key in WHOLE if key not in little}
    empty = {key: "" for key in ("name", "provider_state", "fault", "cause", "server", "owner")}

    wanted = Resource(Ref(Kind.VOLUME, "7"), State.PENDING, "pending")
    assert answers.resource(little, Kind.VOLUME) == wanted
    assert answers.resource({**little, **nothing}, Kind.VOLUME) == wanted
    assert answers.resource({**little, **empty}, Kind.VOLUME) == wanted


def test_at_rest_is_remembered_also_of_a_changed_resource():
    stopped = answers.resource({"id": "7", "state": "pending", "at_rest": True}, Kind.SERVER)

    assert isinstance(stopped._replace(owner="me"), answers.AtRest)
    assert not isinstance(answers.resource(WHOLE, Kind.SERVER), answers.AtRest)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"id": None}, "the answer has no id"),
        ({"id": ""}, "id in the answer is no short, printable text"),
        ({"id": "a\nb"}, "id in the answer is no short, printable text"),
        ({"id": "x" * 256}, "id in the answer is no short, printable text"),
        ({"id": {}}, "id in the answer is an object, not text"),
        ({"state": "RUNNING"}, "state in the answer is none of pending, ready, failed"),
        ({"addresses": ["10.0.0"]}, "addresses in the answer has what is no IP address"),
        ({"addresses": [7]}, "addresses in the answer has what is no IP address"),
        ({"addresses": "10.0.0.1"}, "addresses in the answer is text, not a list"),
        ({"size": -1}, "size in the answer is negative or too large"),
        ({"size": 2**63}, "size in the answer is negative or too large"),
        ({"size": 1.5}, "size in the answer is a number, not a whole number"),
        ({"created": True}, "created in the answer is true or false, not a number"),
        ({"at_rest": "no"}, "at_rest in the answer is text, not true or false"),
    ],
)
def test_a_wrong_resource_is_refused(change, message):
    with pytest.raises(GatewayFailed) as refused:
        answers.resource({**WHOLE, **change}, Kind.SERVER)
    assert str(refused.value) == message


def test_a_cause_of_its_own_is_left_out():
    assert answers.resource({**WHOLE, "cause": "moon"}, Kind.SERVER).cause == ""


def test_a_list_has_only_what_begins_with_the_name():
    names = ("vmprobe-a", "VMPROBE-A-1", "my-vmprobe-a", "")
    listed = [{"id": str(n), "name": name, "state": "ready"} for n, name in enumerate(names)]

    found = answers.resources({"resources": listed}, Kind.SERVER, "vmprobe-a")

    assert [each.ref.name for each in found] == ["vmprobe-a", "VMPROBE-A-1"]
    assert len(answers.resources({"resources": listed}, Kind.SERVER, "")) == 4


def test_a_plan_has_its_details_and_the_images_name():
    answer = {"flavor": "tiny", "vcpus": 2, "memory": 2**27, "details": {"a": [1]}}

    assert answers.plan(answer, "img") == Plan(
        "img", "tiny", details={"a": [1]}, vcpus=2, memory=2**27
    )


def test_a_console_is_text_or_base64():
    assert answers.console({"text": "one\ntwo"}) == "one\ntwo"
    assert answers.console({"base64": "b25lCv8="}) == "one\n\ufffd"
    assert answers.console({}) == ""
    with pytest.raises(GatewayFailed):
        answers.console({"base64": "b25l="[:3]})


def test_samples_are_those_that_the_site_declares():
    told = [
        {"metric": "cpu", "value": 1.5, "at": 10},
        {"metric": "memory", "value": 2},
        {"metric": "net_in", "value": 3, "counter": False},
        {"metric": "ready", "value": 4},
    ]

    assert answers.samples({"samples": told}, 20.0, ("cpu", "memory", "net_in")) == [
        Sample("cpu", 1.5, 10.0),
        Sample("memory", 2.0, 20.0, counter=False),
        Sample("net_in", 3.0, 20.0, counter=False),
    ]


@pytest.mark.parametrize(
    "sample, message",
    [
        ({"metric": "cpu"}, "cpu in the answer has no value"),
        ({"metric": "cpu", "value": -1}, "value in the answer is negative or too large"),
        ({"metric": "temperature", "value": 1}, "metric in the answer is none of cpu, disk_read,"),
    ],
)
def test_a_wrong_sample_is_refused(sample, message):
    with pytest.raises(GatewayFailed) as refused:
        answers.samples({"samples": [sample]}, 0.0, ("cpu",))
    assert str(refused.value).startswith(message)


def test_limits_have_a_source():
    told = [{"name": "servers", "used": 1}, {"name": "storage", "used": 2, "total": 3, "of": "p"}]

    assert answers.limits({"limits": told}) == [
        Limit("servers", 1.0, None, "quota"),
        Limit("storage", 2.0, 3.0, "quota", of="p"),
    ]
    with pytest.raises(GatewayFailed):
        answers.limits({"limits": [{"name": "servers"}]})
    with pytest.raises(GatewayFailed):
        answers.limits({"limits": [{"name": "rooms", "used": 1}]})


def test_images_are_those_of_the_name_or_id():
    told = [{"id": "1", "name": "a", "state": "ready"}, {"id": "a", "name": "b", "state": "failed"}]

    assert answers.images({"images": told}, "a") == [
        Image("1", "a", State.READY, "ready"),
        Image("a", "b", State.FAILED, "failed"),
    ]
    with pytest.raises(GatewayFailed):
        answers.images({"images": [{**told[0], "checksums": {"sha512": "xyz"}}]}, "")
