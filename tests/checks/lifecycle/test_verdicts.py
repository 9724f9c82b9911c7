"""The verdicts that must be right, each as the whole line and the exit code, over the cloud in memory."""

import json
import os
import re
import shutil
import signal
import socket

import pytest

from vmprobe.checks import judge
from vmprobe.checks.lifecycle import command
from vmprobe.checks.options import load_site
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    Ended,
    GatewayFailed,
    NotFound,
    ResourceFailed,
    StageOverrun,
)
from vmprobe.core.model import Kind, Sample
from vmprobe.drivers.memory.driver import Memory
from vmprobe.report import verdict

SAMPLED = (
    "cpu_avg=25% cpu_peak=25%",
    "disk_read_avg=1000;;;0 disk_read_peak=1000;;;0 disk_write_avg=2000;;;0 "
    "disk_write_peak=2000;;;0",
    "net_in_avg=300;;;0 net_in_peak=300;;;0 net_out_avg=400;;;0 net_out_peak=400;;;0",
)
GOOD = (
    f"active=10.5s;;;0 auth=0s;;;0 {SAMPLED[0]} delete=0s;;;0 detach=0s;;;0 {SAMPLED[1]} gone=1.5s;;;0 image=0s;;;0 "
    f"leftovers=0;;;0 metering=1;;;0 {SAMPLED[2]} network=10.5s;;;0 sample=4s;;;0 steal_avg=0% storage=12s;;;0 "
    "submit=0s;;;0 total=17.5s;;;0 work_cpu=0.1s;;;0 work_disk=0.02s;;;0 work_net=0.005s;;;0"
)


def test_ok_when_the_vm_ran_and_is_gone(site):
    assert site.lifecycle() == (
        0,
        (
            "VM_LIFECYCLE OK - site: test VM ran and is gone in 17.5 s (active 10.5 s, network 10.5 s, storage 12 s) | "
            + GOOD
        ),
    )
    assert site.cloud.things == {}


def test_ok_without_a_volume_says_so(site):
    site.set("test vm", volume="none").set("sample", readings="0")

    assert site.lifecycle() == (
        0,
        (
            "VM_LIFECYCLE OK - site: test VM ran without storage and is gone in 12 s (active 10.5 s, network 10.5 s) | "
            "active=10.5s;;;0 auth=0s;;;0 delete=0s;;;0 gone=1.5s;;;0 image=0s;;;0 leftovers=0;;;0 network=10.5s;;;0 "
            "submit=0s;;;0 total=12s;;;0"
        ),
    )


def test_ok_with_a_snapshot_and_three_servers(site):
    site.set("test vm", snapshot="yes").set("sample", readings="0")

    assert site.lifecycle("--count", "3") == (
        0,
        (
            "VM_LIFECYCLE OK - site: 3 test VMs ran and are gone in 13.5 s (active 10.5 s, network 10.5 s, storage 12 s) | "
            "active=10.5s;;;0 active_avg=10.5s;;;0 active_max=10.5s;;;0 active_min=10.5s;;;0 auth=0s;;;0 delete=0s;;;0 "
            "detach=0s;;;0 detach_avg=0s;;;0 detach_max=0s;;;0 detach_min=0s;;;0 gone=1.5s;;;0 image=0s;;;0 leftovers=0;;;0 "
            "network=10.5s;;;0 network_avg=10.5s;;;0 network_max=10.5s;;;0 network_min=10.5s;;;0 snapshot=0s;;;0 "
            "snapshot_avg=0s;;;0 snapshot_max=0s;;;0 snapshot_min=0s;;;0 storage=12s;;;0 storage_avg=12s;;;0 "
            "storage_max=12s;;;0 storage_min=12s;;;0 submit=0s;;;0 total=13.5s;;;0"
        ),
    )


def test_warning_and_critical_by_ranges(site):
    state, line = site.lifecycle("-w", "active=10", "-c", "storage=11", "-w", "60")

    assert state == 2
    assert line.startswith(
        "VM_LIFECYCLE CRITICAL - site: storage 12 s is outside 11 (critical); active 10.5 s is outside 10 "
        "(warning); test VM ran and is gone in 17.5 s (active 10.5 s, network 10.5 s, storage 12 s) | "
        "active=10.5s;10;;0 "
    )
    assert "storage=12s;;11;0 submit=0s;;;0 total=17.5s;60;;0" in line


def test_a_range_that_alerts_inside_says_so(site):
    assert site.lifecycle("-w", "active=@10:11")[1].startswith(
        "VM_LIFECYCLE WARNING - site: active 10.5 s is inside 10:11 (warning); test VM ran and is gone in 17.5 s "
    )


def test_warning_by_the_sites_own_range(site):
    site.set("thresholds", cpu_avg="20, 90")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        1,
        (
            "VM_LIFECYCLE WARNING - site: cpu_avg 25 % is outside 20 (warning); test VM ran and is gone in 17.5 s "
            "(active 10.5 s, network 10.5 s, storage 12 s)"
        ),
    )


REACHED = {  # perfdata of a run that ended in a stage
    "auth": "leftovers=0;;;0 total=0s;;;0",
    "image": "auth=0s;;;0 leftovers=0;;;0 total=0s;;;0",
}

FAULTS = {  # fault: (exit code, line without perfdata)
    "auth-rejected": (2, "CRITICAL - site: auth: user probe is not accepted (cause=auth)"),
    "quota-full": (
        1,
        "WARNING - site: submit: quota exceeded for servers: 10 of 10 used (cause=quota)",
    ),
    "no-room": (
        2,
        "CRITICAL - site: active: server ser-2 is BROKEN: No valid host was found (cause=scheduler)",
    ),
    "dies-booting": (
        2,
        "CRITICAL - site: active: server ser-2 is BROKEN: the machine stopped while booting (cause=scheduler)",
    ),
    "never-active": (
        2,
        "CRITICAL - site: active: server ser-2 is BUILDING; not within its budget of 192 s (cause=scheduler)",
    ),
    "no-network": (
        2,
        "CRITICAL - site: network: server ser-2 has no address; not within its budget of 194.1 s (cause=network)",
    ),
    "no-disk": (
        2,
        "CRITICAL - site: storage: volume vol-1 is FREE, not attached to server ser-2; not within its budget of 194.1 s "
        "(cause=storage)",
    ),
    "volume-broken": (
        2,
        "CRITICAL - site: storage: volume vol-1 is BROKEN: no space left in pool (cause=storage)",
    ),
    "gone-after-boot": (2, "CRITICAL - site: active: connection refused (cause=gateway)"),
    "gone-for-good": (
        2,
        "CRITICAL - site: active: connection refused (cause=gateway); left behind: server ser-2, volume vol-1",
    ),
    "delete-breaks": (
        1,
        "WARNING - site: test VM ran and is gone in 49.4 s (active 10.5 s, network 10.5 s, storage 12 s); server ser-2 was "
        "BROKEN while it was removed (cause=teardown): its disks could not be...",
    ),
    "delete-ignored": (
        1,
        "WARNING - site: gone: server ser-2, volume vol-1: deletion not confirmed (cause=teardown)",
    ),
    "delete-refused": (
        1,
        "WARNING - site: gone: server ser-2, volume vol-1: deletion not confirmed: removal of vol-1 is not "
        "allowed (cause=teardown)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faults_verdict_is(fault, site):
    site.set("endpoint", faults=fault)

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (FAULTS[fault][0], "VM_LIFECYCLE " + FAULTS[fault][1])
    assert " total=" in line and " | " in line and line.count("|") == 1
    if "left behind" not in line and "gone:" not in line:
        assert site.cloud.things == {}


def test_critical_when_the_image_is_missing(site):
    site.set("test vm", image="vmprobe-tset")

    assert site.lifecycle() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: image: no image named 'vmprobe-tset' (cause=image) | auth=0s;;;0 leftovers=0;;;0 "
            "total=0s;;;0"
        ),
    )


@pytest.mark.parametrize(
    "fault, stage, line",
    [
        (
            "never-active",
            "active",
            "active: server ser-2 is BUILDING; not within its budget of 30 s (cause=scheduler)",
        ),
        (
            "no-network",
            "network",
            "network: server ser-2 has no address; not within its budget of 30 s (cause=network)",
        ),
        (
            "no-disk",
            "storage",
            "storage: volume vol-1 is FREE, not attached to server ser-2; not within its budget of 30 s "
            "(cause=storage)",
        ),
    ],
)
def test_critical_when_a_stage_outruns_its_budget(site, fault, stage, line):
    site.set("endpoint", faults=fault).set("budget", **{stage: "30 s"})

    state, said = site.lifecycle()

    assert (state, said.split(" | ")[0]) == (2, f"VM_LIFECYCLE CRITICAL - site: {line}")
    assert site.cloud.things == {}


def test_critical_when_a_stage_that_does_not_wait_or_the_whole_run_is_over_its_budget(site):
    site.set("budget", total="15 s", sample="3 s", gone="2 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: sample 4 s is over its budget of 3 s (critical); total 17.5 s is over its budget of 15 s (critical); "
            "test VM ran and is gone in 17.5 s (active 10.5 s, network 10.5 s,..."
        ),
    )


def test_critical_when_the_deadline_passes_in_a_stage_that_is_over_its_critical_range(site):
    site.set("endpoint", faults="never-active").set("thresholds", active="2, 3")

    state, line = site.lifecycle("-t", "64")

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BUILDING; the deadline of 64 s passed (cause=scheduler)"
        ),
    )


def test_a_budget_that_the_deadline_does_not_leave_time_for_is_cut_short(site):
    site.set("endpoint", faults="never-active").set("budget", active="120 s")

    state, line = site.lifecycle("-t", "110")

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BUILDING; not within its budget of 40 s (cause=scheduler)"
        ),
    )


@pytest.mark.parametrize("word", ["OK", "WARNING", "CRITICAL", "UNKNOWN"])
def test_the_state_of_a_passed_deadline_can_be_chosen(site, word):
    site.set("endpoint", faults="never-active")

    state, line = site.lifecycle("--timeout-state", word, "-t", "64")

    assert (state, line.split(" - ")[0]) == (verdict.WORDS.index(word), f"VM_LIFECYCLE {word}")


def test_a_site_can_map_a_cause_to_another_state(site):
    site.set("endpoint", faults="quota-full").set("verdict", quota="CRITICAL")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: submit: quota exceeded for servers: 10 of 10 used (cause=quota)"
        ),
    )


def test_stragglers_of_a_fleet_are_named(site):
    site.set("endpoint", faults="never-active").set("budget", active="30 s")

    state, line = site.lifecycle("--count", "5")

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: 5 of 5: server ser-6 is BUILDING, server ser-7 is BUILDING, server ser-8 is "
            "BUILDING, ...; not within its budget of 30 s (cause=scheduler)"
        ),
    )


# --- the deadline and signals, in each stage ----------------------------------------------------------------------

STAGE_AT = {"submit": 0, "active": 5, "network": 10.6, "storage": 11, "sample": 13, "detach": 16.2}


def _run(site, *options):
    arguments = command.parser().parse_args(["--site", str(site.write()), *options])
    loaded = load_site(arguments).with_options(deadline=arguments.timeout)
    return command.Run(loaded, arguments, site.clock)


@pytest.mark.parametrize("moment, stage", [(5, "active"), (11, "storage"), (13, "sample")])
def test_a_signal_ends_the_run_in_its_stage_and_removes_everything(site, clock, moment, stage):
    run = _run(site)
    clock.at(moment, lambda: run.deadline.interrupt(signal.SIGTERM))

    said = run.verdict()

    assert (said.state, said.text) == (3, f"site: {stage}: interrupted by SIGTERM")
    assert site.cloud.things == {}


STAGE_OF_REQUEST = {
    1: "auth",
    2: "image",
    3: "submit",
}  # before the first look, each stage is one request or two


@pytest.mark.parametrize("number, stage", STAGE_OF_REQUEST.items())
def test_a_signal_while_the_manager_does_not_answer_ends_the_run_in_its_stage(
    site, clock, number, stage
):
    site.set("endpoint", faults=f"hang@{number}")
    run = _run(site)
    clock.at(5, lambda: run.deadline.interrupt(signal.SIGTERM))

    said = run.verdict()

    assert (said.state, said.text) == (
        (2, "site: submit: no answer within 30 s (cause=gateway)")
        if stage == "submit"
        # a create is never asked twice
        else (3, f"site: {stage}: interrupted by SIGTERM")
    )
    assert site.cloud.things == {}


@pytest.mark.parametrize("number, stage", STAGE_OF_REQUEST.items())
def test_the_deadline_while_the_manager_does_not_answer_ends_the_run_in_its_stage(
    site, number, stage
):
    site.set("endpoint", faults=f"hang@{number}")

    state, line = site.lifecycle("-t", "70")

    assert (state, line.split(" | ")[0]) == (
        (2, "VM_LIFECYCLE CRITICAL - site: submit: no answer within 10 s (cause=gateway)")
        if stage == "submit"
        else (
            3,
            f"VM_LIFECYCLE UNKNOWN - site: {stage}: no answer within 10 s; the deadline of 70 s passed (cause=gateway)",
        )
    )
    assert site.cloud.things == {}


def test_a_signal_during_the_clean_up_does_not_stop_it(site, clock):
    run = _run(site)
    clock.at(16.2, lambda: run.deadline.interrupt(signal.SIGHUP))

    said = run.verdict()

    assert said.state == 0
    assert site.cloud.things == {}


@pytest.mark.parametrize("timeout, stage", [(64, "active"), (71, "storage"), (73, "sample")])
def test_the_deadline_ends_the_run_in_its_stage_and_removes_everything(site, timeout, stage):
    site.set("budget", active="10.9 s")

    state, line = site.lifecycle("-t", str(timeout))

    assert state == 3
    assert line.startswith(f"VM_LIFECYCLE UNKNOWN - site: {stage}: ")
    assert f"the deadline of {timeout} s passed" in line
    assert site.cloud.things == {}


def test_a_deadline_that_does_not_hold_the_reserve_starts_nothing(site):
    assert site.lifecycle("-t", "60") == (
        3,
        "VM_LIFECYCLE UNKNOWN - site: 60 s do not hold the clean-up's reserve of 60 s; nothing was started",
    )
    assert site.cloud.requests == 0


def test_what_nobody_foresaw_is_one_clean_unknown_line_and_nothing_is_left(site, monkeypatch):
    def boom(server):
        raise ZeroDivisionError("a | b\nc")

    monkeypatch.setattr(site.cloud, "metrics", boom)

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        3,
        "VM_LIFECYCLE UNKNOWN - site: unforeseen: ZeroDivisionError: a / b c",
    )
    assert "Traceback" not in line
    assert site.cloud.things == {}
    assert "Traceback" in site.lifecycle("-vv")[1]


def test_metrics_that_policy_forbids_are_named_and_not_zero(site):
    site.set("endpoint", faults="metrics-forbidden")

    state, output = site.lifecycle("-v")

    assert state == 0
    assert "note: metrics are not measured: metrics are for administrators" in output.splitlines()
    assert "cpu_avg" not in output


def test_figures_of_several_sources_are_labelled_and_never_mixed(site):
    moments = iter(range(1, 9))
    site.cloud.metrics = lambda server: [
        Sample("cpu", at, at, source="here" if at % 2 else "there") for at in [next(moments)]
    ]
    assert "note: not measured, the manager does not say: cpu, disk_read" in site.lifecycle("-v")[1]

    site.cloud.metrics = lambda server: [
        Sample("net_in", 100.0 * at, at, source="there") for at in (300, 600)
    ]
    output = site.lifecycle("-v")[1]
    assert "net_in_avg=100;;;0" in output
    assert "note: measured by there: net_in" in output.splitlines()


@pytest.mark.parametrize(
    "took, storage",
    [(11.0, "11 s (by the manager's own time stamps)"), (13.0, "12 s"), (None, "12 s")],
)
def test_a_stages_end_by_the_managers_own_events_is_taken_where_it_can_be_true(
    site, monkeypatch, took, storage
):
    asked = []

    def finished_at(driver, server, stage):
        asked.append(stage)
        return site.clock.utc() - 12 + took if took and stage == "storage" else None

    monkeypatch.setattr(Memory, "finished_at", finished_at)

    output = site.lifecycle("-v", "--depth", "api")[1]

    assert f"storage   {storage}" in output.splitlines()
    assert asked == ["active", "storage"]


def test_neither_a_fleet_nor_what_the_vm_itself_has_to_say_is_looked_up_in_events(
    site, monkeypatch
):
    asked = []
    monkeypatch.setattr(Memory, "finished_at", lambda driver, server, stage: asked.append(stage))
    site.set("sample", readings="0")

    site.lifecycle("--depth", "api", "--count", "2")
    assert asked == []
    site.lifecycle("--depth", "console")
    assert "storage" not in asked


def test_a_debt_that_cannot_be_paid_is_a_warning_and_the_run_goes_on(site):
    site.set("endpoint", faults="delete-ignored")
    site.lifecycle()
    site.cloud.faults.clear()
    for thing in site.cloud.things.values():
        thing.undying = True
    site.set("endpoint", faults="metrics-forbidden")

    state, line = site.lifecycle()

    assert state == 1
    assert line.startswith("VM_LIFECYCLE WARNING - site: test VM ran and is gone in ")
    assert "; 2 left behind by earlier runs: server ser-2 | " in line
    assert "leftovers=2;;;0" in line
    assert len(site.cloud.things) == 2


# --- depths -------------------------------------------------------------------------------------------------------


def test_at_depth_reach_a_connection_from_here_is_part_of_the_network(site):
    with socket.create_server(("127.1.0.2", 0)) as listening:
        site.set("test vm", depth="reach", **{"reach port": str(listening.getsockname()[1])})

        state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        0,
        (
            "VM_LIFECYCLE OK - site: test VM ran and is gone in 17.5 s (active 10.5 s, network 10.5 s, storage 12 s)"
        ),
    )


def test_critical_when_the_vm_cannot_be_reached_within_the_budget(site):
    with socket.create_server(("127.1.0.2", 0)) as closed:
        port = str(closed.getsockname()[1])
    site.set("test vm", depth="reach", **{"reach port": port}).set("budget", network="30 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            f"VM_LIFECYCLE CRITICAL - site: network: server ser-2: 127.1.0.2 port {port}: Connection refused; not within its "
            "budget of 30 s (cause=network)"
        ),
    )


def test_the_depth_of_the_command_line_comes_before_the_sites(site):
    site.cloud.console = lambda server: ""
    site.set("budget", network="30 s")

    assert site.lifecycle("--depth", "api")[0] == 0
    assert site.lifecycle()[1].split(" | ")[0] == (
        "VM_LIFECYCLE CRITICAL - site: network: server ser-4: its console says nothing yet; not within its budget of 30 s "
        "(cause=network)"
    )


def test_a_full_quota_is_told_when_who_fills_it_cannot_be_asked(site):
    site.set("endpoint", faults="quota-full")
    _, line = site.lifecycle()
    asked = site.cloud.requests
    site.cloud.plot = {
        number: "500" for number in range(2 * asked - 2, 2 * asked + 10)
    }  # the last three lists, and again

    state, output = site.lifecycle("-v")

    assert (state, output.split(" | ")[0]) == (1, line.split(" | ")[0])
    assert (
        "note: who fills the quota is not known: 500 internal server error" in output.splitlines()
    )


# --- the reason in a fault ----------------------------------------------------------------------------------------

LONG = "77dfe2d0-82b8-40d9-9b1c-3b1f5d5a1c11"
NETWORK = "1b7d7b3e-5c6b-4f0f-8f39-6c2f7a1b2c3d"


def _broken_with(site, clock, fault, kind=Kind.SERVER):
    """Whatever of this kind the cloud then holds breaks, in the middle of its boot, with these words."""

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
            "server ...RANDOM-3 is...; not within its budget of 30 s (cause=scheduler)"
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


REFUSALS = {  # what the manager refuses a request with: (exit code, cause)
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
def test_the_cause_of_a_refused_request_is_what_its_words_say_and_no_scheduler(refusal):
    assert judge.of_error(CloudError(refusal), {}, "submit") == REFUSALS[refusal]


def test_the_stages_cause_is_lent_only_where_nothing_better_is_known():
    assert judge.of_error(ResourceFailed("server 4f1c is ERROR: it broke"), {}, "active") == (
        2,
        "scheduler",
    )
    assert judge.of_error(
        ResourceFailed("server 4f1c is ERROR: no port binding"), {}, "active"
    ) == (2, "network")
    assert judge.of_error(
        ResourceFailed("server 4f1c is ERROR: no port binding", cause="image"), {}, "active"
    ) == (2, "image")
    assert judge.of_error(
        StageOverrun("server 4f1c has no volume; not within its budget of 5 s"), {}, "active"
    ) == (2, "scheduler")


def test_our_own_mistake_is_unknown_however_it_was_told_unless_the_site_says_otherwise():
    assert judge.of_error(NotFound("no such choice", cause="client"), {}, "image") == (
        3,
        "client",
    )
    assert judge.of_error(
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


# --- the reason of a wait -----------------------------------------------------------------------------------------


def test_the_words_of_a_refusal_that_is_asked_again_until_the_budget_ends_are_told(
    site, monkeypatch
):
    def locked(server, volume):
        raise Conflict(
            f"attach volume {volume} to server {server}: 409 Instance {server} is locked"
        )

    monkeypatch.setattr(site.cloud, "attach", locked)
    site.set("budget", storage="30 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: storage: volume vol-1 is FREE, not attached to server ser-2: 409 Instance ser-2 is locked; not "
            "within its budget of 30 s (cause=storage)"
        ),
    )


def test_a_detachment_that_is_refused_until_the_budget_ends_says_why(site, monkeypatch):
    def locked(volume):
        raise Conflict(f"detach volume {volume} from server ser-2: 409 Instance ser-2 is locked")

    monkeypatch.setattr(site.cloud, "detach", locked)
    site.set("sample", readings="0").set("budget", detach="9 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: detach: volume vol-1 is ATTACHED, still attached: 409 Instance ser-2 is locked; not within its "
            "budget of 9 s (cause=storage)"
        ),
    )


def test_a_detachment_that_fails_without_a_word_is_the_storages_failure(site, monkeypatch):
    monkeypatch.setattr(site.cloud, "detach", lambda volume: None)
    site.set("sample", readings="0")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: detach: volume vol-1 is ATTACHED, still attached; not within its budget of 182.4 s (cause=storage)"
        ),
    )


def test_a_manager_that_does_not_answer_until_the_budget_ends_is_the_gateways_failure(site):
    site.cloud.plot = {5: "hang", 6: "hang"}  # the first looks
    site.set("budget", active="60 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: no answer within 30 s; not within its budget of 60 s (cause=gateway)"
        ),
    )
    assert site.cloud.things == {}


def test_one_look_that_failed_at_the_end_does_not_change_whose_matter_a_long_wait_is(site, clock):
    site.set("endpoint", faults="never-active").set("budget", active="60 s")
    clock.at(
        59,
        lambda: site.cloud.plot.update(
            {site.cloud.requests + 1: "500", site.cloud.requests + 2: "500"}
        ),
    )

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BUILDING; 500 internal server error; not within its budget of 60 s "
            "(cause=scheduler)"
        ),
    )


def test_the_deadline_says_how_the_last_request_failed(site):
    site.set("endpoint", faults="hang@1")

    assert site.lifecycle("-t", "70")[1].split(" | ")[0] == (
        "VM_LIFECYCLE UNKNOWN - site: auth: no answer within 10 s; the deadline of 70 s passed (cause=gateway)"
    )


# --- there, and gone again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, stage, line",
    [
        (
            Kind.SERVER,
            "network",
            "network: server ser-2 was RUNNING and is no longer there (cause=scheduler)",
        ),
        (
            Kind.VOLUME,
            "storage",
            "storage: volume vol-1 was FREE and is no longer there (cause=storage)",
        ),
    ],
)
def test_what_was_there_and_is_gone_again_is_told_at_once(site, clock, kind, stage, line):
    site.set("endpoint", faults="no-network" if stage == "network" else "no-disk")
    clock.at(
        20,
        lambda: [
            site.cloud.things.pop(name)
            for name, thing in list(site.cloud.things.items())
            if thing.kind is kind
        ],
    )

    state, said = site.lifecycle()

    assert (state, said.split(" | ")[0]) == (2, f"VM_LIFECYCLE CRITICAL - site: {line}")
    assert clock.now() < 30


SNAPSHOTS = {  # how a snapshot fails, told at its server alone: what is said
    "vanishes": "snapshot sna-3 was QUEUED and is no longer there: Failed to snapshot: No space left on device (cause=storage)",
    "breaks": "snapshot sna-3 is BROKEN: Failed to snapshot: No space left on device (cause=storage)",
}


@pytest.mark.parametrize("how", SNAPSHOTS)
def test_a_snapshot_that_fails_has_the_reason_of_its_servers_fault(site, clock, how):
    site.set("test vm", snapshot="yes").set("sample", readings="0")

    def fail():
        for thing in list(site.cloud.things.values()):
            if thing.kind is Kind.SERVER:
                thing.fault = "Failed to snapshot: No space left on device"
            elif thing.kind is Kind.SNAPSHOT and how == "vanishes":
                del site.cloud.things[thing.id]
            elif thing.kind is Kind.SNAPSHOT:
                thing.word = "BROKEN"

    real = site.cloud.make

    def make(kind, name, **more):
        ref = real(kind, name, **more)
        if kind is Kind.SNAPSHOT:
            site.cloud.things[ref.id].word = "QUEUED"
            clock.at(clock.now() + 2, fail)
        return ref

    site.cloud.make = make

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        f"VM_LIFECYCLE CRITICAL - site: snapshot: {SNAPSHOTS[how]}",
    )


def test_a_server_that_ended_before_the_first_look_is_told_at_once(site, monkeypatch):
    def ended(identity):
        raise Ended(f"server {identity} is DONE", cause="scheduler")

    monkeypatch.setattr(site.cloud, "find", ended)

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is DONE (cause=scheduler)",
    )


# --- durations that hold the time of the request itself -----------------------------------------------------------


def test_the_detachment_of_a_fleet_takes_as_long_for_each_as_the_requests_did(
    site, monkeypatch, clock
):
    real = site.cloud.detach

    def slow(volume):
        clock.sleep(3.5)
        real(volume)

    monkeypatch.setattr(site.cloud, "detach", slow)
    site.set("sample", readings="0")

    line = site.lifecycle("--count", "2", "--depth", "api")[1]

    assert "detach=7s;;;0 detach_avg=7s;;;0 detach_max=7s;;;0 detach_min=7s;;;0" in line


def test_a_look_that_takes_long_is_part_of_the_stages_duration(site, monkeypatch, clock):
    real = site.cloud.find

    def slow(identity):
        thing = real(identity)
        if thing.server:
            clock.sleep(12)
        return thing

    monkeypatch.setattr(site.cloud, "find", slow)
    site.set("sample", readings="0")

    assert "storage=24s;;;0" in site.lifecycle("--depth", "api")[1]


def test_each_server_of_a_fleet_has_the_time_at_which_it_was_first_seen_with_an_address(
    site, clock
):
    def hold_one_back():
        slowest = [thing for thing in site.cloud.things.values() if thing.kind is Kind.SERVER][-1]
        slowest.made += 6

    clock.at(1, hold_one_back)
    site.set("test vm", volume="none").set("sample", readings="0")

    line = site.lifecycle("--count", "2", "--depth", "api")[1]

    assert "active=16s;;;0 active_avg=13s;;;0 active_max=16s;;;0 active_min=10s;;;0" in line
    assert "network=16s;;;0 network_avg=13s;;;0 network_max=16s;;;0 network_min=10s;;;0" in line


# --- figures and leftovers ----------------------------------------------------------------------------------------


def test_one_server_that_cannot_be_measured_does_not_lose_the_others_figures(site, monkeypatch):
    real = site.cloud.metrics

    def metrics(server):
        if server == "ser-3":
            raise GatewayFailed(f"metrics of server {server}: 500 Unexpected API Error")
        return real(server)

    monkeypatch.setattr(site.cloud, "metrics", metrics)
    site.set("test vm", volume="none")

    state, output = site.lifecycle("--count", "3", "--depth", "api", "-v")

    assert state == 0
    assert "cpu_avg=25% cpu_peak=25%" in output
    assert (
        "note: server ser-3 is not measured: metrics of server ser-3: 500 Unexpected API Error"
        in output.splitlines()
    )


def test_what_earlier_runs_owe_is_counted_where_the_cloud_cannot_be_asked(site):
    site.set("endpoint", faults="delete-ignored")
    site.lifecycle()
    site.cloud.faults.clear()
    site.set("endpoint", faults="auth-rejected")

    assert site.lifecycle() == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: auth: user probe is not accepted (cause=auth); 2 owed by earlier runs | leftovers=2;;;0 total=0s;;;0"
        ),
    )


def test_all_that_is_left_behind_is_listed_with_its_name(site):
    site.set("endpoint", faults="delete-ignored").set("sample", readings="0")

    output = site.lifecycle("-v", "--count", "3")[1]

    named = [
        line.split(" (")[0] for line in output.splitlines() if line.startswith("left behind: ")
    ]
    assert named == [
        "left behind: server ser-6",
        "left behind: server ser-5",
        "left behind: server ser-4",
        "left behind: volume vol-3",
        "left behind: volume vol-2",
        "left behind: volume vol-1",
    ]


def _vanish_at(site, words, kind=Kind.SERVER):
    """Everything of this kind is gone as the cloud serves the request that begins with these words."""
    real = site.cloud.serve

    def serve(said, act, limit):
        if said.startswith(words):
            for thing in [thing for thing in site.cloud.things.values() if thing.kind is kind]:
                site.cloud.remove(thing.id)
        return real(said, act, limit)

    site.cloud.serve = serve


@pytest.mark.parametrize(
    "words, stage", [("metrics", "sample"), ("snapshot", "snapshot"), ("attach", "storage")]
)
def test_a_server_that_is_gone_when_something_is_asked_of_it_is_what_is_told(site, words, stage):
    site.set("test vm", snapshot="yes")
    _vanish_at(site, words)

    state, line = site.lifecycle("--depth", "api")

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            f"VM_LIFECYCLE CRITICAL - site: {stage}: server ser-2 was RUNNING and is no longer there (cause=scheduler)"
        ),
    )
    assert site.cloud.things == {}
