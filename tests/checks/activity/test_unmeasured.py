"""Servers that cannot be measured, or not in time: the others are, and the reason is reported."""

import re

import pytest

from running import CHECKOUT
from vmprobe.core.errors import (
    AuthRejected,
    Conflict,
    GatewayFailed,
    NotMeasured,
    NotPermitted,
    Unreachable,
)
from vmprobe.site.site import load


def test_unknown_when_policy_lets_nobody_read_metrics(site, busy):
    busy("web1")
    busy("web2")
    site.set("endpoint", faults="metrics-forbidden")

    assert site.probe("activity") == (
        3,
        (
            "VM_ACTIVITY UNKNOWN - site: 2 servers, not measured (cause=auth): metrics are for administrators | auth=0s;;;0 list=0s;;;0 "
            "metrics=0s;;;0 servers=2;;;0 total=0s;;;0"
        ),
    )


def test_a_site_can_say_that_metrics_nobody_may_read_are_all_right(site, busy):
    busy("web1")
    site.set("endpoint", faults="metrics-forbidden")
    site.set("verdict", unmeasured="OK")

    state, line = site.probe("activity")

    assert (state, line.split(" | ")[0]) == (
        0,
        "VM_ACTIVITY OK - site: 1 server, not measured (cause=auth): metrics are for administrators",
    )


@pytest.mark.parametrize(
    "error",
    [
        Conflict(
            "409 Cannot 'get_diagnostics' instance ser-2 while it is in power state: SHUTDOWN"
        ),
        GatewayFailed("500 Unexpected API Error of ser-2"),
        NotPermitted("403 not this one"),
        Unreachable("no answer"),
        NotMeasured("not monitored yet"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_server_that_is_not_measured_keeps_none_of_the_others_from_it(site, busy, error):
    for name in ("web1", "web2", "web3"):
        busy(name, cpu=0.5, traffic=1024)
    counted = site.cloud.metrics

    def metrics(identity):
        if identity == "ser-2":
            raise error
        return counted(identity)

    site.cloud.metrics = metrics
    site.set("sample", readings="3", interval="2 s")

    state, output = site.probe("activity", "-v")

    assert state == 0
    assert re.sub(r"over \d+ s", "over N s", output).startswith(
        "VM_ACTIVITY OK - site: 3 servers (1 not measured) over N s: cpu 50 %, disk_read 2 KiB/s, disk_write 2 KiB/s, net_in 2 KiB/s, "
        "net_out 2 KiB/s; busiest: web1 (cpu, "
    )
    assert f"note: 1 of 3 not measured: {error}" in output.splitlines()


def test_reasons_that_differ_by_the_servers_id_alone_are_one_reason(site, busy):
    for name in ("web1", "web2", "web3"):
        busy(name)

    def metrics(identity):
        raise Conflict(f"{identity} is off")

    site.cloud.metrics = metrics

    state, output = site.probe("activity", "-v")

    assert (state, output.split(" | ")[0]) == (
        0,
        "VM_ACTIVITY OK - site: 3 servers (3 not measured), of which there is no reading yet",
    )
    assert [line for line in output.splitlines() if "3 of 3" in line] == [
        "note: 3 of 3 not measured: ser-1 is off"
    ]


def test_critical_when_the_manager_fails_for_every_server(site, busy):
    busy("web1")
    busy("web2")

    def metrics(identity):
        raise GatewayFailed(f"500 Unexpected API Error of {identity}")

    site.cloud.metrics = metrics

    state, line = site.probe("activity")

    assert (state, line.split(" | ")[0]) == (
        2,
        "VM_ACTIVITY CRITICAL - site: metrics: 500 Unexpected API Error of ser-1 (cause=gateway)",
    )


def test_a_session_that_is_rejected_is_no_matter_of_one_server(site, busy):
    busy("web1")

    def metrics(identity):
        raise AuthRejected("401 the account is closed")

    site.cloud.metrics = metrics

    assert site.probe("activity")[1].startswith(
        "VM_ACTIVITY CRITICAL - site: metrics: 401 the account is closed (cause=auth)"
    )


@pytest.mark.parametrize(
    "interval, options, took, note",
    [
        (
            "35 s",
            [],
            35,
            "note: 2 of 3 readings: more of them, 35 s apart, do not fit into this run's time",
        ),
        (
            "60 s",
            [],
            0,
            "note: 1 of 3 readings: more of them, 60 s apart, do not fit into this run's time",
        ),
        ("35 s", ["-t", "120"], 70, None),
    ],
)
def test_no_more_readings_are_taken_than_fit_into_the_time_of_the_run(
    site, busy, interval, options, took, note
):
    busy("web1", cpu=0.5, traffic=1024)
    site.set("sample", readings="3", interval=interval)
    site.probe("activity", *options)
    site.clock.sleep(300)

    state, output = site.probe("activity", "-v", *options)

    assert (state, f" metrics={took}s;;;0 " in output) == (0, True)
    assert "1 server over 5 min: cpu 50 %" in output or "1 server over 6" in output
    assert [line for line in output.splitlines() if "readings" in line] == ([note] if note else [])


EXAMPLES = sorted((CHECKOUT / "etc" / "sites").glob("*.ini"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_site_is_measured_within_the_time_that_nagios_gives_from_its_first_run_on(
    site, busy, example
):
    for name in ("web1", "web2", "web3"):
        busy(name, cpu=0.5, traffic=1024)
    sample = load(str(example)).sample
    site.set("sample", readings=str(sample.readings), interval=f"{sample.interval} s")
    counted = site.cloud.metrics

    def metrics(identity):
        site.clock.sleep(0.5)
        return counted(identity)

    site.cloud.metrics = metrics
    began = site.clock.now()

    state, output = site.probe("activity")

    assert (state, site.clock.now() - began < 50) == (0, True)
    assert re.match(
        r"VM_ACTIVITY OK - site: 3 servers over \d+ s: cpu 50 %, disk_read 3 KiB/s, ", output
    )


def test_what_was_measured_before_the_deadline_is_reported(site, busy):
    for name in ("web1", "web2", "web3"):
        busy(name, cpu=0.5, traffic=1024)
    site.probe("activity")
    site.clock.sleep(300)
    counted = site.cloud.metrics

    def metrics(identity):
        site.clock.sleep(20)
        return counted(identity)

    site.cloud.metrics = metrics

    state, output = site.probe("activity", "-v", "-t", "30")

    assert (state, output.split(": ")[1]) == (0, "3 servers (1 not measured) over 6 min")
    assert "note: 1 of 3 not measured: the deadline of 30 s passed" in output.splitlines()


def test_a_server_whose_figures_never_come_leaves_the_others_their_time(site, busy):
    for name in ("web1", "web2", "web3"):
        busy(name, cpu=0.5, traffic=1024)
    site.probe("activity")
    site.clock.sleep(300)
    counted = site.cloud.metrics

    def metrics(identity):
        if identity == "ser-1":
            site.clock.sleep(30)
            raise Unreachable("no answer in 30 s")
        return counted(identity)

    site.cloud.metrics = metrics

    state, output = site.probe("activity", "-v")

    assert (state, output.split(": ")[1]) == (0, "3 servers (1 not measured) over 6 min")
    assert "note: 1 of 3 not measured: no answer in 30 s" in output.splitlines()
    assert " metrics=30s;;;0 " in output


def test_a_failure_that_passes_costs_a_server_nothing(site, busy):
    busy("web1", cpu=0.5, traffic=1024)
    counted, failures = site.cloud.metrics, [GatewayFailed("503 busy")] * 2

    def metrics(identity):
        if failures:
            raise failures.pop()
        return counted(identity)

    site.cloud.metrics = metrics

    assert site.probe("activity")[1].startswith(
        "VM_ACTIVITY OK - site: 1 server, whose first reading this is | "
    )


def test_unknown_when_the_time_was_over_before_anything_was_measured(site, busy):
    busy("web1")

    def metrics(identity):
        site.clock.sleep(60)
        raise Unreachable("no answer in 30 s")

    site.cloud.metrics = metrics

    state, line = site.probe("activity")

    assert (state, line.split(" | ")[0]) == (
        3,
        "VM_ACTIVITY UNKNOWN - site: metrics: no answer in 30 s; the deadline of 50 s passed (cause=gateway)",
    )
