"""check_vm_lifecycle: the reason and the cause of a failure are taken from what a manager says."""

import json
import os
import re
import shutil

import pytest

from vmprobe.checks import judge
from vmprobe.core.errors import (
    CloudError,
    NotFound,
    ResourceFailed,
    StageOverrun,
)
from vmprobe.core.model import Kind

# --- the reason in a fault ----------------------------------------------------------------------------------------

LONG = "77dfe2d0-82b8-40d9-9b1c-3b1f5d5a1c11"
NETWORK = "1b7d7b3e-5c6b-4f0f-8f39-6c2f7a1b2c3d"


def _broken_with(site, clock, fault, kind=Kind.SERVER):
    """In the middle of the boot, break everything of this kind that is in the cloud, with this fault."""

    def act():
        for thing in site.cloud.things.values():
            if thing.kind is kind:
                thing.word, thing.fault = "BROKEN", fault

    clock.at(clock.now() + 5, act)


FAULT_TEXTS = {  # what the manager says of a server: (exit code, line 1 without perfdata)
    f"Build of instance {LONG} aborted: Failed to allocate the network(s) with error No fixed IP addresses available for network: "
    f"{NETWORK}, not rescheduling.": (
        2,
        (
            "CRITICAL - site: active: server ser-2 is BROKEN: Failed to allocate the network(s) with error No fixed IP addresses "
            "available for network: 1b7d7b3e..., not rescheduling. (cause=network)"
        ),
    ),
    f"Exceeded maximum number of retries. Exceeded max scheduling attempts 3 for instance {LONG}. Last exception: Binding failed for "
    f"port {NETWORK}, please check neutron logs for more information.": (
        2,
        (
            "CRITICAL - site: active: server ser-2 is BROKEN: Binding failed for port 1b7d7b3e-5c6b-4f0f-8f39-6c2f7a1b2c3d, "
            "please check neutron logs for more information. (cause=network)"
        ),
    ),
    f"Build of instance {LONG} aborted: VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes "
    "quota. Requested 1G, quota is 0G.": (
        1,
        (
            "WARNING - site: active: server ser-2 is BROKEN: VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds "
            "allowed gigabytes quota. Requested 1G, quota is 0G. (cause=quota)"
        ),
    ),
    f"Build of instance {LONG} aborted: Invalid input received: Size of specified image 10GB is larger than volume size 1GB.": (
        2,
        (
            "CRITICAL - site: active: server ser-2 is BROKEN: Size of specified image 10GB is larger than volume size 1GB. (cause=image)"
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULT_TEXTS, ids=["network", "retries", "quota", "image"])
def test_the_reason_in_a_fault_is_on_line_1_and_the_whole_sentence_below_it(
    site, clock, fault, tmp_path
):
    _broken_with(site, clock, fault)

    state, output = site.lifecycle("--json", str(tmp_path / "run.json"))

    line, whole = output.splitlines()[:2]
    assert (state, line.split(" | ")[0]) == (
        FAULT_TEXTS[fault][0],
        "VM_LIFECYCLE " + FAULT_TEXTS[fault][1],
    )
    cause = line.split("(cause=")[1].split(")")[0]
    assert whole == f"site: active: server ser-2 is BROKEN: {fault} (cause={cause})"
    assert fault in json.loads((tmp_path / "run.json").read_text())["text"]


def test_a_page_of_html_in_a_fault_is_its_title_and_hides_no_secret(site, clock):
    site.set("endpoint", credentials=str(site.path.parent / "secret.ini"))
    site.path.with_name("secret.ini").write_text(
        "[credentials]\nusername = probe\npassword = it's-s3cret\n"
    )
    site.path.with_name("secret.ini").chmod(0o600)
    _broken_with(
        site,
        clock,
        "<html><head><title>502 Bad Gateway</title></head><body><h1>502</h1><hr>nginx</body></html>",
    )

    state, output = site.lifecycle()

    assert (state, output.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BROKEN: 502 nginx (cause=scheduler)"
        ),
    )

    _broken_with(site, clock, "<html><h1>502 Bad Gateway: it&#39;s-s3cret</h1><hr>nginx</html>")
    assert site.lifecycle()[1].split(" | ")[0] == (
        "VM_LIFECYCLE CRITICAL - site: active: server ser-4 is BROKEN: 502 Bad Gateway: *** nginx (cause=scheduler)"
    )


def test_a_short_fault_is_not_repeated_below_the_line(site, clock):
    _broken_with(site, clock, "the disk is lost")

    assert site.lifecycle()[1] == (
        "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BROKEN: the disk is lost (cause=scheduler) | auth=0s;;;0 delete=0s;;;0 "
        "gone=1.5s;;;0 image=0s;;;0 leftovers=0;;;0 submit=0s;;;0 total=6.5s;;;0"
    )


def test_a_long_fault_leaves_room_for_what_is_left_behind(site, clock):
    site.set("endpoint", faults="delete-ignored")
    _broken_with(site, clock, "there is no room for it, " * 30)

    state, output = site.lifecycle()

    line, whole = output.splitlines()[:2]
    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BROKEN: there is no room for it, there is no room for it, there is no "
            "room for it,... (cause=scheduler); left behind: server ser-2, volume vol-1"
        ),
    )
    assert len(line.split(" | ")[0]) <= 199
    assert whole.endswith("(cause=scheduler); left behind: server ser-2, volume vol-1")


def test_of_a_long_list_of_stragglers_the_budget_stays(site):
    site.set("endpoint", faults="lag@4").set("budget", active="30 s").set("test vm", volume="none")
    site.cloud.lag = 1000

    state, output = site.lifecycle("--count", "5")

    line, whole = output.splitlines()[:2]
    [number] = set(re.findall(r"-([a-z0-9]{8})-[1-5] is", whole))
    assert (state, line.split(" | ")[0].replace(number, "RANDOM")) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: 5 of 5: server ...RANDOM-1 is not shown yet, server ...RANDOM-2 is not shown yet, "
            "server ...RANDOM-3 is not show...; not done within 30 s (cause=scheduler)"
        ),
    )
    assert len(line.split(" | ")[0]) <= 199


def test_a_quota_in_a_fault_is_searched_for_our_own_leftovers(site, clock):
    site.set("endpoint", faults="delete-ignored")
    site.lifecycle()
    for thing in site.cloud.things.values():
        thing.undying = True
    site.cloud.faults.clear()
    shutil.rmtree(os.environ["VMPROBE_STATE"])  # no ledger knows of them
    site.set("endpoint", faults="metrics-forbidden")
    clock.sleep(400)
    _broken_with(site, clock, "Build of instance 4f1c aborted: Quota exceeded for gigabytes")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        1,
        (
            "VM_LIFECYCLE WARNING - site: active: server ser-4 is BROKEN: Quota exceeded for gigabytes (cause=quota); 2 left behind by "
            "earlier runs fill the quota: server ser-2"
        ),
    )


REFUSALS = {  # error of the manager: (exit code, cause)
    "create volume: 404 Volume type with name nonesuch could not be found.": (2, "storage"),
    "create server: 400 Flavor's disk is smaller than the minimum size specified in image metadata.": (
        2,
        "image",
    ),
    "create server: 400 Network 1b7d requires a subnet in order to boot instances on.": (
        2,
        "network",
    ),
    "create server: 400 Unable to find security_group with name or id 'web'": (2, "network"),
    "create server: 400 The requested availability zone is not available": (3, "client"),
    "create server: 400 Quota exceeded for cores": (1, "quota"),
    "create server: 400 this is not to be": (2, "gateway"),
}


@pytest.mark.parametrize(
    "refusal", REFUSALS, ids=["type", "disk", "subnet", "group", "zone", "quota", "other"]
)
def test_the_cause_of_a_refused_request_is_read_from_its_message_and_is_never_the_scheduler(
    refusal,
):
    assert judge.state_of_error(CloudError(refusal), {}, "submit") == REFUSALS[refusal]


def test_the_stages_cause_is_lent_only_where_nothing_better_is_known():
    assert judge.state_of_error(ResourceFailed("server 4f1c is ERROR: it broke"), {}, "active") == (
        2,
        "scheduler",
    )
    assert judge.state_of_error(
        ResourceFailed("server 4f1c is ERROR: no port binding"), {}, "active"
    ) == (2, "network")
    assert judge.state_of_error(
        ResourceFailed("server 4f1c is ERROR: no port binding", cause="image"), {}, "active"
    ) == (2, "image")
    assert judge.state_of_error(
        StageOverrun("server 4f1c has no volume; not done within 5 s"), {}, "active"
    ) == (2, "scheduler")


def test_our_own_mistake_is_unknown_however_it_is_reported_unless_the_site_says_otherwise():
    assert judge.state_of_error(NotFound("no such choice", cause="client"), {}, "image") == (
        3,
        "client",
    )
    assert judge.state_of_error(
        NotFound("no such choice", cause="client"), {"client": "WARNING"}, "image"
    ) == (1, "client")


def test_a_wait_with_no_time_to_judge_anybody_has_no_budget_of_its_own(site):
    site.set("endpoint", faults="never-active")

    state, line = site.lifecycle("-t", "64")

    assert (state, line.split(" | ")[0]) == (
        3,
        (
            "VM_LIFECYCLE UNKNOWN - site: active: server ser-2 is BUILDING; the deadline of 64 s passed"
        ),
    )
