"""What the test VM measured itself, and whether the manager's figures agree with it."""

import pytest

from vmprobe.checks.lifecycle import metering
from vmprobe.guest.console import Fact


def counters(uptime, **values):
    return Fact("counters", "", uptime, {name: str(value) for name, value in values.items()})


BOOT = Fact("boot", "", 0.5, {"cpus": "2"})


def test_contention_shows_as_steal_and_slow_work_with_ranges(site):
    site.set("endpoint", faults="contended")

    state, line = site.lifecycle("-w", "steal_avg=10", "-c", "work_disk=0.1", "-w", "work_cpu=0.5")

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            "VM_LIFECYCLE CRITICAL - site: work_disk 0.2 s is outside 0.1 (critical); work_cpu 1 s is outside 0.5 (warning); "
            "steal_avg 18 % is outside 10 (warning); test VM ran and is gone in 17.5 s (active 10..."
        ),
    )
    assert " steal_avg=18%;10 " in line and " work_net=0.05s;;;0" in line


def test_wrong_metering_is_reported_and_is_a_warning_only_with_a_range(site):
    site.set("endpoint", faults="metering-wrong")

    state, output = site.lifecycle("-v")
    assert state == 0
    assert (
        "note: metering: disk_read is 100000 B/s according to the manager and 1000 B/s according to the VM itself"
        in output.splitlines()
    )

    state, line = site.lifecycle("-w", "metering=4")
    assert (state, line.split(";")[0]) == (
        1,
        "VM_LIFECYCLE WARNING - site: metering 12.2 is outside 4 (warning)",
    )


def test_at_depth_api_nothing_is_asked_of_the_console(site):
    state, line = site.lifecycle("--depth", "api")

    assert (state, "steal_avg" in line, "metering" in line) == (0, False, False)
    assert [request for request in site.cloud.log if request.startswith("console")] == []


def test_a_console_that_does_not_answer_costs_the_figures_and_not_the_run(site, monkeypatch):
    from vmprobe.core.errors import GatewayFailed
    from vmprobe.drivers.memory.cloud import MemoryCloud

    real, looks = MemoryCloud.console, []

    def console(cloud, server):
        looks.append(server)
        if len(looks) > 2:
            raise GatewayFailed("503 service unavailable")
        return real(cloud, server)

    monkeypatch.setattr(MemoryCloud, "console", console)

    state, output = site.lifecycle("-v")

    assert (state, "cpu_avg=25%" in output, "steal_avg" in output) == (0, True, False)
    assert (
        "note: the servers' own measurements are missing: 503 service unavailable"
        in output.splitlines()
    )


def test_the_vms_own_figures_are_shown_where_policy_forbids_the_managers(site):
    site.set("endpoint", faults="metrics-forbidden")

    state, line = site.lifecycle()

    assert (state, "cpu_avg" in line, "steal_avg=0%" in line, "metering" in line) == (
        0,
        False,
        True,
        False,
    )


# --- the arithmetic -----------------------------------------------------------------------------------------------


def test_steal_is_a_share_of_all_cpus_since_the_boot():
    assert metering.felt([[BOOT, counters(50, steal=10)]]) == {"steal_avg": 10.0}


def test_the_work_of_all_servers_is_averaged_and_has_no_value_that_none_reported():
    works = [
        [Fact("work", "", 1, {"cpu": "0.1"}), Fact("work", "", 3, {"cpu": "0.3"})],
        [Fact("work", "", 2, {"cpu": "0.8"})],
    ]

    assert metering.felt(works) == {"work_cpu": pytest.approx(0.4)}


def test_a_servers_rates_are_those_of_its_last_seconds():
    reports = [
        BOOT,
        counters(2, cpu=9),
        counters(10, cpu=1, disk_read=100, net_in=7),
        counters(12),
        counters(14, cpu=5, disk_read=500, net_in=7),
    ]

    assert metering.rates(reports, 4) == {"cpu": 50.0, "disk_read": 100.0, "net_in": 0.0}
    assert metering.rates(reports[:2], 4) == metering.rates([], 4) == {}
    assert metering.rates([counters(2, cpu=1), counters(4, cpu=2)], 60) == {"cpu": 50.0}


@pytest.mark.parametrize("text", ["nan", "inf", "1e9", "-1", "", "1.2.3", "9" * 50, "\u0663"])
def test_a_hostile_guests_text_is_not_read_as_a_number(text):
    assert (
        metering.felt([[BOOT, Fact("work", "", 1, {"cpu": text}), counters(5, steal=text)]]) == {}
    )


@pytest.mark.parametrize(
    "manager, guest, factor, count",
    [
        (100000, 100000, 1.0, 0),
        (100000, 30000, 100 / 30, 0),
        (30000, 150000, 5.0, 1),
        (100000, 0, 100000 / 16384, 1),
        (9000, 0, 1.0, 0),  # both below the floor
    ],
)
def test_the_factor_between_two_figures_has_a_floor(manager, guest, factor, count):
    compared, messages = metering.compare({"net_in_avg": manager}, [{"net_in": guest}])

    assert (compared, len(messages)) == (pytest.approx(factor), count)


def test_where_there_is_nothing_to_compare_there_is_no_factor():
    assert metering.compare({"net_in_avg": 5}, [{"disk_read": 5}]) == (None, [])
