"""check_vm_activity: each verdict as the whole line over the cloud in memory, in runs that follow each other."""

from vmprobe.checks.activity import usage
from vmprobe.core.model import Sample


def perfdata(cpu, peak, avg, top, total, interval, servers):
    pairs = [("disk_read", ""), ("disk_write", ""), ("net_in", ""), ("net_out", "")]
    labels = [
        f"{name}_{what}={value};;;0"
        for name, _ in pairs
        for what, value in (("avg", avg), ("peak", top), ("total", total))
    ]
    disk, net = labels[:6], labels[6:]
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


def test_only_running_servers_that_match_the_patterns_are_measured(site, busy):
    busy("web1", cpu=0.1)
    busy("web2", word="BROKEN")
    busy("db1")

    assert site.probe("activity", "--name", "web*")[1].endswith("servers=1;;;0 total=0s;;;0")
    assert [request for request in site.cloud.log if request.startswith("metrics")] == [
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


def test_memory_is_a_metric_where_a_manager_has_it():
    rows = [[Sample("memory", 100, 0, counter=False)], [Sample("memory", 200, 10, counter=False)]]

    values, missing = usage.values({"a": rows})

    assert values == {"memory_avg": 200, "memory_peak": 200, "memory_total": 200}
    assert missing == ["cpu", "disk_read", "disk_write", "net_in", "net_out"]
