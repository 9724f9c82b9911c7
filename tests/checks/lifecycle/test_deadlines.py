"""check_vm_lifecycle: the deadline or a signal ends a run in any stage; the line says so, and everything is removed."""

import signal

import pytest

from vmprobe.checks.lifecycle import command
from vmprobe.checks.options import load_site
from vmprobe.core.model import Sample
from vmprobe.drivers.memory.driver import Memory

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

    outcome = run.verdict()

    assert (outcome.state, outcome.text) == (3, f"site: {stage}: interrupted by SIGTERM")
    assert site.cloud.things == {}


STAGE_OF_REQUEST = {
    1: "auth",
    2: "image",
    3: "submit",
}  # until the first poll, each stage is one request or two


@pytest.mark.parametrize("number, stage", STAGE_OF_REQUEST.items())
def test_a_signal_while_the_manager_does_not_answer_ends_the_run_in_its_stage(
    site, clock, number, stage
):
    site.set("endpoint", faults=f"hang@{number}")
    run = _run(site)
    clock.at(5, lambda: run.deadline.interrupt(signal.SIGTERM))

    outcome = run.verdict()

    assert (outcome.state, outcome.text) == (
        (2, "site: submit: no answer within 30 s (cause=gateway)")
        if stage == "submit"
        # a request to create something is never sent twice
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

    outcome = run.verdict()

    assert outcome.state == 0
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
        "VM_LIFECYCLE UNKNOWN - site: --timeout 60 s is not longer than the clean-up reserve of 60 s; nothing was started",
    )
    assert site.cloud.requests == 0


def test_the_sites_mapping_of_client_counts_before_the_start_too(site):
    site.set("verdict", client="WARNING")

    assert site.lifecycle("-t", "60") == (
        1,
        "VM_LIFECYCLE WARNING - site: --timeout 60 s is not longer than the clean-up reserve of 60 s; nothing was started",
    )


def test_an_unforeseen_error_is_one_clean_unknown_line_and_nothing_is_left(site, monkeypatch):
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
    [(11.0, "11 s (according to the manager's own time stamps)"), (13.0, "12 s"), (None, "12 s")],
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


def test_events_are_not_read_for_a_fleet_nor_for_what_the_vm_itself_reports(site, monkeypatch):
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
