"""check_vm_lifecycle: what ends a wait and what is missing then; resources that vanish; how long a stage took."""

import pytest

from vmprobe.core.errors import (
    Conflict,
    Ended,
)
from vmprobe.core.model import Kind

# --- the reason of a wait -----------------------------------------------------------------------------------------


def test_a_refusal_that_is_retried_until_the_budget_ends_is_reported_with_its_message(
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
            "VM_LIFECYCLE CRITICAL - site: storage: volume vol-1 is FREE, not attached to server ser-2: 409 Instance ser-2 is locked; not done "
            "within 30 s (cause=storage)"
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
            "VM_LIFECYCLE CRITICAL - site: detach: volume vol-1 is ATTACHED, still attached: 409 Instance ser-2 is locked; not done "
            "within 9 s (cause=storage)"
        ),
    )


def test_a_detachment_that_fails_without_a_message_has_the_cause_storage(site, monkeypatch):
    monkeypatch.setattr(site.cloud, "detach", lambda volume: None)
    site.set("sample", readings="0")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: detach: volume vol-1 is ATTACHED, still attached; not done within 182.4 s (cause=storage)"
        ),
    )


def test_a_manager_that_does_not_answer_until_the_budget_ends_is_the_gateways_failure(site):
    site.cloud.plot = {5: "hang", 6: "hang"}  # the first polls
    site.set("budget", active="60 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: active: no answer within 30 s; not done within 60 s (cause=gateway)"
        ),
    )
    assert site.cloud.things == {}


def test_one_failed_poll_at_the_end_does_not_change_the_cause_of_a_long_wait(site, clock):
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
            "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BUILDING; 500 internal server error; not done within 60 s "
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
def test_a_resource_that_vanishes_is_reported_at_once(site, clock, kind, stage, line):
    site.set("endpoint", faults="no-network" if stage == "network" else "no-disk")
    clock.at(
        20,
        lambda: [
            site.cloud.things.pop(name)
            for name, thing in list(site.cloud.things.items())
            if thing.kind is kind
        ],
    )

    state, output = site.lifecycle()

    assert (state, output.split(" | ")[0]) == (2, f"VM_LIFECYCLE CRITICAL - site: {line}")
    assert clock.now() < 30


SNAPSHOTS = {  # how a snapshot fails, when only its server shows it: the message
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


def test_a_server_that_ended_before_the_first_poll_is_reported_at_once(site, monkeypatch):
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


def test_a_slow_poll_is_part_of_the_stages_duration(site, monkeypatch, clock):
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
