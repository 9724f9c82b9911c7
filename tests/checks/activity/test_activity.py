"""check_vm_activity: each verdict as the whole line over the cloud in memory, in runs that follow each other."""

import json
import re

import pytest

from running import CHECKOUT
from vmprobe.checks.activity import usage
from vmprobe.checks.rates import rates
from vmprobe.core.errors import (
    AuthRejected,
    Conflict,
    GatewayFailed,
    NotMeasured,
    NotPermitted,
    Unreachable,
)
from vmprobe.core.model import Kind, Sample
from vmprobe.site.site import load


@pytest.fixture
def busy(site):
    """A server that counts as it is told: a list of readings of (cpu s, bytes of everything else)."""
    counted = {}
    site.set("sample", readings="1")

    def make(name, cpu=0.0, traffic=0.0, **words):
        thing = site.cloud.things[site.cloud.make(Kind.SERVER, name).id]
        thing.word = words.pop("word", "RUNNING")
        counted[thing.id] = (cpu, traffic, site.clock.now())
        for key, value in words.items():
            setattr(thing, key, value)
        return thing

    def metrics(identity):
        cpu, traffic, made = counted[identity]
        age, now = site.clock.now() - made, site.clock.utc()
        return [Sample("cpu", cpu * age, now)] + [
            Sample(metric, traffic * age, now)
            for metric in ("disk_read", "disk_write", "net_in", "net_out")
        ]

    site.cloud.metrics = metrics
    make.counted = counted
    return make


def perfdata(cpu, peak, avg, top, total, interval, servers):
    pairs = [("disk_read", ""), ("disk_write", ""), ("net_in", ""), ("net_out", "")]
    words = [
        f"{name}_{what}={value};;;0"
        for name, _ in pairs
        for what, value in (("avg", avg), ("peak", top), ("total", total))
    ]
    disk, net = words[:6], words[6:]
    return " ".join(
        [
            "auth=0s;;;0",
            f"cpu_avg={cpu}% cpu_peak={peak}%",
            *disk,
            f"interval={interval}s;;;0",
            "list=0s;;;0",
            "metrics=0s;;;0",
            *net,
            f"servers={servers};;;0",
            "total=0s;;;0",
        ]
    )


def test_the_first_run_remembers_and_the_next_one_says_how_busy_it_was(site, busy):
    busy("web1", cpu=0.5, traffic=1024)
    assert site.probe("activity") == (
        0,
        (
            "VM_ACTIVITY OK - site: 1 server, whose first reading this is | auth=0s;;;0 list=0s;;;0 metrics=0s;;;0 servers=1;;;0 "
            "total=0s;;;0"
        ),
    )

    site.clock.sleep(300)
    assert site.probe("activity") == (
        0,
        (
            "VM_ACTIVITY OK - site: 1 server over 5 min: cpu 50 %, disk_read 1 KiB/s, disk_write 1 KiB/s, net_in 1 KiB/s, net_out "
            "1 KiB/s | " + perfdata(50, 50, 1024, 1024, 1024, 300, 1)
        ),
    )


def test_with_several_readings_the_first_run_has_figures_too(site, busy):
    busy("web1", cpu=0.5, traffic=1024)
    site.set("sample", readings="3", interval="2 s")

    state, line = site.probe("activity")

    assert (state, line.split(" | ")[0]) == (
        0,
        (
            "VM_ACTIVITY OK - site: 1 server over 4 s: cpu 50 %, disk_read 1 KiB/s, disk_write 1 KiB/s, net_in 1 KiB/s, net_out "
            "1 KiB/s"
        ),
    )
    assert "interval=4s;;;0" in line


def test_of_several_the_busiest_is_named_and_totals_are_of_all(site, busy):
    busy("web1", cpu=0.1, traffic=3000)
    busy("web2", cpu=0.9, traffic=1000)
    site.probe("activity")
    site.clock.sleep(60)

    assert site.probe("activity") == (
        0,
        (
            "VM_ACTIVITY OK - site: 2 servers over 60 s: cpu 50 %, disk_read 3.9 KiB/s, disk_write 3.9 KiB/s, net_in 3.9 KiB/s, "
            "net_out 3.9 KiB/s; busiest: web2 (cpu), web1 (disk_read, disk_write, net_in, net_... | "
            + perfdata(50, 90, 2000, 3000, 4000, 60, 2)
        ),
    )


def test_warning_and_critical_by_ranges(site, busy):
    busy("web1", cpu=0.95, traffic=5)
    site.probe("activity")
    site.clock.sleep(60)

    state, line = site.probe("activity", "-w", "80", "-c", "net_in_total=1")

    assert (state, line.split("; ")[:2]) == (
        2,
        [
            "VM_ACTIVITY CRITICAL - site: net_in_total 5 is outside 1 (critical)",
            "cpu_peak 95 % is outside 80 (warning)",
        ],
    )


def test_a_peak_between_two_readings_of_one_run_is_seen(site, busy):
    busy("web1")
    site.cloud.metrics = lambda server: [  # a tenth of its CPU for 290 s, and then all of it
        Sample(
            "cpu",
            0.1 * min(site.clock.now(), 290) + max(0, site.clock.now() - 290),
            site.clock.utc(),
        )
    ]
    site.probe("activity")
    site.set("sample", readings="2", interval="10 s")
    site.clock.sleep(290)

    assert site.probe("activity") == (
        0,
        (
            "VM_ACTIVITY OK - site: 1 server over 5 min: cpu 13 % | auth=0s;;;0 cpu_avg=13% cpu_peak=100% interval=300s;;;0 "
            "list=0s;;;0 metrics=10s;;;0 servers=1;;;0 total=10s;;;0"
        ),
    )


def test_only_servers_that_run_and_are_like_the_patterns_are_asked(site, busy):
    busy("web1", cpu=0.1)
    busy("web2", word="BROKEN")
    busy("db1")

    assert site.probe("activity", "--name", "web*")[1].endswith("servers=1;;;0 total=0s;;;0")
    assert [words for words in site.cloud.log if words.startswith("metrics")] == [
        "metrics server ser-1"
    ]


def test_ok_where_nothing_runs(site, busy):
    assert site.probe("activity") == (
        0,
        (
            "VM_ACTIVITY OK - site: no running server matches | auth=0s;;;0 list=0s;;;0 metrics=0s;;;0 servers=0;;;0 "
            "total=0s;;;0"
        ),
    )


def test_services_with_other_patterns_remember_for_themselves(site, busy):
    busy("web1", cpu=0.5)
    site.probe("activity", "--name", "web*")
    site.clock.sleep(60)

    assert "first reading" in site.probe("activity")[1]
    assert "over 60 s: cpu 50 %" in site.probe("activity", "--name", "web*")[1]


def test_a_damaged_file_is_set_aside_and_said_and_the_run_goes_on(site, busy, state_directory):
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


def test_without_a_place_to_remember_the_run_goes_on_and_says_so(site, busy, monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")
    busy("web1", cpu=0.5)

    state, line = site.probe("activity")

    assert state == 0
    assert "1 server, whose first reading this is; /dev/null/state/activity/site-" in line


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


def test_what_was_measured_before_the_time_was_over_is_told(site, busy):
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


def test_a_manager_that_has_no_reading_yet_is_told_so_each_time(site, busy):
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


def test_unknown_when_the_manager_has_no_metrics(site, monkeypatch):
    from vmprobe.drivers.memory.driver import Memory

    monkeypatch.setattr(Memory, "capabilities", frozenset())

    assert site.probe("activity") == (
        3,
        "VM_ACTIVITY UNKNOWN - site: memory has no metrics (cause=client) | total=0s;;;0",
    )


def test_the_table_has_the_busiest_first(site, busy):
    busy("web1", cpu=0.1, traffic=3000)
    busy("web2", cpu=0.9, traffic=1000)
    busy("web3")
    site.probe("activity")
    site.clock.sleep(60)

    assert site.probe("activity", "-v", "--limit", "2")[1].splitlines()[1:5] == [
        "CPU   DISK_READ  DISK_WRITE  NET_IN     NET_OUT    ID     NAME",
        "90 %  1000 B/s   1000 B/s    1000 B/s   1000 B/s   ser-2  web2",
        "10 %  2.9 KiB/s  2.9 KiB/s   2.9 KiB/s  2.9 KiB/s  ser-1  web1",
        "and 1 more",
    ]


# --- counters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before, after, rate",
    [
        (100, 400, [(3.0, 100.0)]),
        (2**32 - 100, 200, [(3.0, 100.0)]),  # over the end of 32 bits
        (2**31, 200, []),  # began anew
        (2**40, 200, []),
        (2.0**64 - 4096, 4096.0, [(81.92, 100.0)]),  # over the end of 64 bits
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


def test_memory_is_a_metric_where_a_manager_has_it():
    rows = [[Sample("memory", 100, 0, counter=False)], [Sample("memory", 200, 10, counter=False)]]

    found, missing = usage.values({"a": rows})

    assert found == {"memory_avg": 200, "memory_peak": 200, "memory_total": 200}
    assert missing == ["cpu", "disk_read", "disk_write", "net_in", "net_out"]
