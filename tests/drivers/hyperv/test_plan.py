"""What a test VM is made of, by the host's answer."""

import pytest

from vmprobe.core.errors import ClientError, GatewayFailed, NotFound
from vmprobe.core.model import Plan
from vmprobe.drivers.hyperv import plan

TEST_VM = {
    "image": "vmprobe-test.vhdx",
    "flavor": 2**29,
    "network": "",
    "vcpus": 2,
    "generation": None,
    "secure boot": "off",
}
REPLY = {
    "folder": "D:\\vmprobe",
    "folder_exists": True,
    "disk": {"path": "D:\\vmprobe\\vmprobe-test.vhdx", "format": "VHDX", "size": 2**30},
    "switches": ["External"],
}


def test_a_vhdx_is_of_generation_2_and_the_only_switch_is_taken():
    assert plan.of_reply(REPLY, TEST_VM) == Plan(
        "vmprobe-test.vhdx",
        "512 MiB",
        "External",
        {
            "image": "D:\\vmprobe\\vmprobe-test.vhdx",
            "folder": "D:\\vmprobe",
            "suffix": ".vhdx",
            "generation": 2,
            "template": "",
        },
        vcpus=2,
        memory=2**29,
    )


@pytest.mark.parametrize(
    "form, generation, made",
    [("VHD", None, (1, ".vhd")), ("VHDX", 1, (1, ".vhdx")), ("VHDX", 2, (2, ".vhdx"))],
)
def test_the_generation_and_the_kind_of_disk_follow_the_image(form, generation, made):
    reply = {**REPLY, "disk": {**REPLY["disk"], "format": form}}

    found = plan.of_reply(reply, {**TEST_VM, "generation": generation}).details

    assert (found["generation"], found["suffix"]) == made


def test_secure_boot_is_by_microsofts_templates():
    found = plan.of_reply(REPLY, {**TEST_VM, "secure boot": "linux"}).details

    assert found["template"] == "MicrosoftUEFICertificateAuthority"


def test_a_switch_is_found_in_capital_and_small_letters_and_named_as_the_host_does():
    reply = {**REPLY, "switches": ["Backup", "External"]}

    assert plan.of_reply(reply, {**TEST_VM, "network": "EXTERNAL"}).network == "External"


WRONG = {  # name: (what differs in the answer, the error, its text)
    "folder": (
        {"folder_exists": False},
        ClientError,
        "[endpoint] folder: there is no D:\\vmprobe on the host",
    ),
    "image": ({"disk": None}, NotFound, "no image named 'vmprobe-test.vhdx'"),
    "no switch": ({"switches": []}, NotFound, "the host has no virtual switch"),
    "switches that are no list": (
        {"switches": "External"},
        GatewayFailed,
        "switches is text, not a list",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_missing_is_named(name):
    changed, kind, text = WRONG[name]
    with pytest.raises(kind) as wrong:
        plan.of_reply({**REPLY, **changed}, TEST_VM)

    assert text in str(wrong.value) or kind is GatewayFailed
