"""Counters: what a run remembers for the next one, and the rates that two readings give."""

import json

import pytest

from vmprobe.checks.activity import usage
from vmprobe.checks.rates import rates
from vmprobe.core.model import Sample


def test_services_with_other_patterns_remember_for_themselves(site, busy):
    busy("web1", cpu=0.5)
    site.probe("activity", "--name", "web*")
    site.clock.sleep(60)

    assert "first reading" in site.probe("activity")[1]
    assert "over 60 s: cpu 50 %" in site.probe("activity", "--name", "web*")[1]


def test_a_damaged_file_is_set_aside_and_reported_and_the_run_goes_on(site, busy, state_directory):
    busy("web1", cpu=0.5)
    site.probe("activity")
    (path,) = state_directory.glob("activity/site-*.json")
    for damage in (
        "",
        "[]",
        '{"taken": 1}',
        '{"taken": 1, "servers": {"ser-1": [["cpu", "x", 1, true]]}}',
        "[" * 100000,
    ):
        path.write_text(damage)

        state, line = site.probe("activity")

        assert state == 0
        assert line.startswith(
            f"VM_ACTIVITY OK - site: 1 server, whose first reading this is; {str(path)[:80]}"
        )
        assert path.with_name(path.name + ".damaged").read_text() == damage
        assert json.loads(path.read_text())["servers"].keys() == {"ser-1"}


def test_a_file_in_the_place_of_a_link_is_not_followed(site, busy, state_directory, tmp_path):
    busy("web1", cpu=0.5)
    site.probe("activity")
    (path,) = state_directory.glob("activity/site-*.json")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.unlink()
    path.symlink_to(victim)

    state, line = site.probe("activity")

    assert (state, victim.read_text()) == (0, "precious")
    assert "first reading this is; " in line


def test_without_a_directory_for_its_readings_the_run_goes_on_and_reports_it(
    site, busy, monkeypatch
):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")
    busy("web1", cpu=0.5)

    state, line = site.probe("activity")

    assert state == 0
    assert "1 server, whose first reading this is; /dev/null/state/activity/site-" in line


def test_a_manager_without_any_reading_yet_is_reported_in_each_run(site, busy):
    busy("web1")
    site.cloud.metrics = lambda identity: []

    for _ in range(2):
        assert (
            site.probe("activity")[1].split(" | ")[0]
            == "VM_ACTIVITY OK - site: 1 server, of which there is no reading yet"
        )


def test_a_single_reading_of_a_rate_is_over_no_time(site, busy):
    busy("web1")
    site.cloud.metrics = lambda identity: [Sample("cpu", 25.0, 1000.0, counter=False)]

    state, line = site.probe("activity")

    assert (state, line.split(" | ")[0], " interval=" in line) == (
        0,
        "VM_ACTIVITY OK - site: 1 server: cpu 25 %",
        False,
    )


@pytest.mark.parametrize(
    "before, after, rate",
    [
        (100, 400, [(3.0, 100.0)]),
        (2**32 - 100, 200, [(3.0, 100.0)]),  # a counter of 32 bits wrapped
        (2**31, 200, []),  # the counter started again
        (2**40, 200, []),
        (2.0**64 - 4096, 4096.0, [(81.92, 100.0)]),  # a counter of 64 bits wrapped
    ],
)
def test_a_counter_that_fell_went_over_its_end_or_began_anew(before, after, rate):
    assert rates("net_in", [[Sample("net_in", before, 0)], [Sample("net_in", after, 100)]]) == rate


def test_a_memory_of_another_clock_is_not_used():
    before, now = [Sample("cpu", 1.0, 5.0)], [Sample("cpu", 900.0, 90000.0)]

    assert usage.since({"a": before}, 300.0, {"a": [now]}) == {"a": [now]}
    assert usage.since({"a": before}, 89000.0, {"a": [now]}) == {"a": [before, now]}


def test_a_run_before_the_clock_was_set_back_is_not_used(site, busy):
    site.set("sample", readings="2", interval="2 s")
    busy("web1", cpu=0.5, traffic=1024)
    site.probe("activity")
    site.clock._utc -= 100

    output = site.probe("activity")[1]

    assert (
        output.startswith("VM_ACTIVITY OK - site: 1 server over 2 s: cpu 50 %, ")
        and " interval=2s;;;0 " in output
    )
