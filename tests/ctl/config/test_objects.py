"""Decisions about generated checks: time limits, active or passive, intervals, groups."""

import re
import shutil
import subprocess

import pytest

from configuring import INSTALLED, OPTIONS, ctl, tree, write
from running import CHECKOUT
from vmprobe.core.errors import ClientError
from vmprobe.ctl.config import inventory, objects


def host(**changed):
    return inventory.Host(
        "one",
        "/s/one.ini",
        "memory",
        "",
        "",
        "",
        300.0,
        3600.0,
        900.0,
        "auto",
        list(INSTALLED),
        "",
        [],
        [],
        {},
    )._replace(**changed)


def check(probe="lifecycle", target="nagios", options=OPTIONS, **changed):
    return next(
        found
        for found in objects.row(host(**changed), target, options).checks
        if found.probe == probe
    )


def test_the_scheduler_s_limit_is_longer_than_the_check_s_deadline():
    assert [objects.needed(deadline) for deadline in (45, 50, 300, 299.5)] == [55, 60, 335, 335]


def test_only_checks_that_nagios_would_kill_become_passive():
    assert [check(probe).passive for probe in INSTALLED] == [False, True, False, False]
    assert check(options=OPTIONS._replace(limit=335)).passive is False
    assert check(target="icinga2").passive is False
    assert check(checks="passive", target="icinga2").passive is True


def test_an_active_check_that_nagios_would_kill_is_refused():
    with pytest.raises(ClientError) as wrong:
        check(checks="active")

    assert str(wrong.value) == (
        "one.ini [schedule] checks: active needs a service_check_timeout of 335 s, but it is 60 s; raise "
        "it and pass it with --limit, or use auto, so that a timer runs the check"
    )


def test_a_deadline_longer_than_argo_s_limit_is_refused():
    with pytest.raises(
        ClientError,
        match=r"^one.ini \[budget\] deadline: the check needs a limit of 995 s, but ARGO kills checks after 900 s$",
    ):
        check(target="argo", deadline=900.0)


def test_a_timer_without_a_target_is_refused():
    with pytest.raises(
        ClientError,
        match=r"^one.ini \[schedule\] submit: this key is missing; the results of a timer's runs have",
    ):
        check(target="systemd")


def test_without_a_gateway_probe_nothing_depends_on_it():
    assert check("leftovers").after == "vm-gateway"
    assert check("gateway").after == ""
    assert (
        check("leftovers", options=OPTIONS._replace(installed=("leftovers", "lifecycle"))).after
        == ""
    )


def test_runs_are_spread_and_always_the_same():
    found = [check(name=f"site-{number}") for number in range(200)]

    assert found == [check(name=f"site-{number}") for number in range(200)]
    assert len({each.interval for each in found}) > 100
    assert all(3420 <= each.interval <= 3780 and each.offset < each.interval for each in found)
    assert {each.offset // 600 for each in found} == set(range(6)) | {6} & {
        each.offset // 600 for each in found
    }


@pytest.mark.parametrize(
    "interval, form",
    [
        (60.0, ""),
        (300.0, ""),
        (540.0, ""),
        (900.0, r"\*:(0\d|1[0-4])/15"),
        (1800.0, r"\*:[0-2]\d/30"),
        (3000.0, ""),
        (3600.0, r"\*:[0-5]\d"),
        (5400.0, ""),
        (7200.0, r"0[01]/2:[0-5]\d"),
        (5 * 3600.0, ""),
        (43200.0, r"(0\d|1[01])/12:[0-5]\d"),
        (86400.0, r"[0-2]\d:[0-5]\d"),
        (172800.0, ""),
    ],
    ids=lambda value: str(value) if isinstance(value, float) else "form",
)
def test_a_timer_runs_by_the_calendar_if_its_period_divides_an_hour_or_a_day(interval, form):
    found = [check(name=f"site-{number}", interval=interval).calendar for number in range(50)]

    assert all(
        re.fullmatch(rf"\*-\*-\* {form}:[0-5]\d UTC" if form else "", each) for each in found
    ), found
    assert len(set(found)) > 40 if form else set(found) == {""}


@pytest.mark.parametrize("interval", ["1 min", "10 min", "50 min", "1 h", "4 h", "1 d", "2 d"])
def test_systemd_knows_when_each_timer_is_due(tmp_path, interval):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for number in range(5):
        write(
            tmp_path / "sites",
            name=f"site-{number}",
            schedule=f"submit = file:/var/a\nchecks = passive\ninterval = {interval}",
        )
    assert ctl("systemd", tmp_path / "out", tmp_path / "sites")[0] == 0

    words = [
        line
        for path in (tmp_path / "out").glob("*.timer")
        for line in path.read_text().splitlines()
        if line.startswith("On")
    ]
    assert {word.split("=")[0] for word in words} <= {"OnCalendar", "OnBootSec", "OnUnitActiveSec"}
    due = [word.split("=", 1)[1] for word in words if word.startswith("OnCalendar")]
    done = subprocess.run(
        ["systemd-analyze", "calendar", *due], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.count("Next elapse: ")) == (0, len(due))
    spans = [word.split("=", 1)[1] for word in words if not word.startswith("OnCalendar")]
    assert (
        subprocess.run(
            ["systemd-analyze", "timespan", *spans], capture_output=True, check=False
        ).returncode
        == 0
    )


def test_no_timer_counts_from_its_own_start_which_a_daemon_reload_resets():
    units = [
        *(CHECKOUT / "rpm" / "systemd").glob("*.timer"),
        *(CHECKOUT / "templates" / "systemd").glob("*.timer"),
    ]

    assert len(units) == 3
    assert [unit.name for unit in units if re.search(r"(?m)^OnActiveSec", unit.read_text())] == []


def test_a_passive_result_is_stale_after_two_missed_runs():
    passive = check()

    assert passive.freshness == 2 * passive.interval + passive.limit


def test_contact_groups_come_from_the_site_or_else_from_the_command_line(tmp_path):
    write(tmp_path / "sites", name="own", schedule="contact groups = cloud-admins, Night shift")
    write(tmp_path / "sites", name="other")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites", "--contact-groups", "admins")[0] == 0
    found = {
        path.stem: re.findall(r"contact_groups +(.+)", path.read_text())
        for path in (tmp_path / "out" / "sites").iterdir()
    }
    assert found == {"own": ["cloud-admins,Night shift"], "other": ["admins"]}

    assert ctl("icinga2", tmp_path / "icinga", tmp_path / "sites")[0] == 0
    found = {
        path.stem: re.findall(r"contact_groups = (.+)", path.read_text())
        for path in (tmp_path / "icinga" / "sites").iterdir()
    }
    assert found == {"own": ['[ "cloud-admins", "Night shift" ]'], "other": []}


def test_an_invalid_limit_is_a_usage_error(tmp_path):
    assert ctl("nagios", tmp_path / "out", tmp_path, "--limit", "nan")[2].splitlines()[-1] == (
        "vmprobectl config: error: argument --limit: 'nan' is not a duration like '300 s', '5 min' or '1 h'"
    )


def test_invalid_contact_groups_are_a_usage_error(tmp_path):
    code, _, errors = ctl("nagios", tmp_path / "out", tmp_path, "--contact-groups", "!admins")

    assert (code, errors.splitlines()[-1][:90]) == (
        2,
        "vmprobectl config: error: argument --contact-groups: '!admins' is not a list of contact gr",
    )


def test_the_master_is_no_zone_of_its_own(tmp_path):
    write(tmp_path / "sites", name="one", schedule="zone = master")
    write(tmp_path / "sites", name="two", schedule="zone = iberia")

    found = tree("icinga2", tmp_path / "sites")

    assert sorted(found) == [
        "global-templates/vmprobe.conf",
        "iberia/sites/two.conf",
        "master/sites/one.conf",
        "zones.conf",
    ]
    assert re.findall(r'object Zone "(.*)"', found["zones.conf"]) == ["global-templates", "iberia"]
