"""The verdicts that must be right, each as the whole line and the exit code, over the cloud in memory."""

import pytest

from vmprobe.core import errors
from vmprobe.core.errors import (
    GatewayFailed,
)
from vmprobe.core.model import Kind

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
        "CRITICAL - site: active: server ser-2 is BUILDING; not done within 192 s (cause=scheduler)",
    ),
    "no-network": (
        2,
        "CRITICAL - site: network: server ser-2 has no address; not done within 194.1 s (cause=network)",
    ),
    "no-disk": (
        2,
        "CRITICAL - site: storage: volume vol-1 is FREE, not attached to server ser-2; not done within 194.1 s "
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
            "active: server ser-2 is BUILDING; not done within 30 s (cause=scheduler)",
        ),
        (
            "no-network",
            "network",
            "network: server ser-2 has no address; not done within 30 s (cause=network)",
        ),
        (
            "no-disk",
            "storage",
            "storage: volume vol-1 is FREE, not attached to server ser-2; not done within 30 s "
            "(cause=storage)",
        ),
    ],
)
def test_critical_when_a_stage_outruns_its_budget(site, fault, stage, line):
    site.set("endpoint", faults=fault).set("budget", **{stage: "30 s"})

    state, output = site.lifecycle()

    assert (state, output.split(" | ")[0]) == (2, f"VM_LIFECYCLE CRITICAL - site: {line}")
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
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BUILDING; not done within 40 s (cause=scheduler)"
        ),
    )


@pytest.mark.parametrize("word", ["OK", "WARNING", "CRITICAL", "UNKNOWN"])
def test_the_state_of_a_passed_deadline_can_be_chosen(site, word):
    site.set("endpoint", faults="never-active")

    state, line = site.lifecycle("--timeout-state", word, "-t", "64")

    assert (state, line.split(" - ")[0]) == (errors.STATES.index(word), f"VM_LIFECYCLE {word}")


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
            "BUILDING, ...; not done within 30 s (cause=scheduler)"
        ),
    )


def test_a_full_quota_is_reported_also_when_our_leftovers_cannot_be_listed(site):
    site.set("endpoint", faults="quota-full")
    _, line = site.lifecycle()
    asked = site.cloud.requests
    site.cloud.plot = {
        number: "500" for number in range(2 * asked - 2, 2 * asked + 10)
    }  # the last three lists, and those that are asked again

    state, output = site.lifecycle("-v")

    assert (state, output.split(" | ")[0]) == (1, line.split(" | ")[0])
    assert (
        "note: could not find out who fills the quota: 500 internal server error"
        in output.splitlines()
    )


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


def test_everything_that_is_left_behind_is_listed_by_name(site):
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


def _vanish_at(site, verb, kind=Kind.SERVER):
    """Remove everything of this kind just before the cloud serves a request that begins with this verb."""
    real = site.cloud.serve

    def serve(request, act, limit):
        if request.startswith(verb):
            for thing in [thing for thing in site.cloud.things.values() if thing.kind is kind]:
                site.cloud.remove(thing.id)
        return real(request, act, limit)

    site.cloud.serve = serve


@pytest.mark.parametrize(
    "verb, stage", [("metrics", "sample"), ("snapshot", "snapshot"), ("attach", "storage")]
)
def test_a_server_that_vanishes_before_a_request_is_reported_as_gone(site, verb, stage):
    site.set("test vm", snapshot="yes")
    _vanish_at(site, verb)

    state, line = site.lifecycle("--depth", "api")

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            f"VM_LIFECYCLE CRITICAL - site: {stage}: server ser-2 was RUNNING and is no longer there (cause=scheduler)"
        ),
    )
    assert site.cloud.things == {}
