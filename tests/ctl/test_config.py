"""vmprobectl config: one inventory in, what every monitoring system reads out; whole, quoted, and safe from cron."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from running import CHECKOUT, PROBES
from vmprobe.core.errors import ClientError
from vmprobe.ctl.config import inventory, objects, templates
from vmprobe.ctl.config import output as files
from vmprobe.site import services

GOLDEN = CHECKOUT / "tests" / "golden" / "config"
INSTALLED = ("gateway", "lifecycle", "leftovers", "capacity")
OPTIONS = objects.Options(
    plugins="/usr/lib/nagios/plugins", docs="https://docs.example.org/vmprobe", installed=INSTALLED
)


def ctl(target, output, sites, *options):
    """(exit code, stdout, stderr) of vmprobectl config."""
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            target,
            "--output",
            str(output),
            "--sites",
            str(sites),
            *options,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sites(tmp_path):
    """The golden sites, to be changed."""
    return Path(shutil.copytree(GOLDEN / "sites", tmp_path / "sites"))


def write(sites, name="one", **sections):
    texts = {
        "site": f"name = {name}",
        "endpoint": "manager = memory",
        "test vm": "image = vmprobe-test",
        **sections,
    }
    sites.mkdir(exist_ok=True)
    path = sites / f"{name}.ini"
    path.write_text("".join(f"[{section}]\n{text}\n" for section, text in texts.items()))
    return path


def tree(target, sites, **options):
    """What is made for a target, with the sites at the place where a monitoring host has them."""
    hosts, _ = inventory.read([str(sites)], {})
    hosts = [host._replace(file=f"/etc/vmprobe/sites/{Path(host.file).name}") for host in hosts]
    return objects.tree(target, hosts, OPTIONS._replace(**options))


# --- whole --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", templates.TARGETS)
def test_three_sites_come_out_whole(target, request):
    found, place = tree(target, GOLDEN / "sites"), GOLDEN / target
    if request.config.getoption("--regen"):
        shutil.rmtree(place, ignore_errors=True)
        for path, text in found.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)

    assert found == {
        str(path.relative_to(place)): path.read_text()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_every_probe_with_an_executable_is_a_service():
    executables = {path.name[len("check_vm_") :] for path in PROBES.glob("check_vm_*")}

    assert executables == set(services.SERVICES)


@pytest.mark.parametrize("probe", services.SERVICES)
def test_a_page_has_the_interval_that_is_generated(probe):
    number, unit = re.search(
        r"(?m)^\| interval \| (\d+) (minute|hour)s?\b",
        (CHECKOUT / "docs" / f"check_vm_{probe}.md").read_text(),
    ).groups()

    assert int(number) * {"minute": 60, "hour": 3600}[unit] == services.SERVICES[probe].interval


@pytest.mark.parametrize(
    "target", [target for target in templates.TARGETS if target != "systemd"]
)  # a unit has no such word
def test_the_page_that_a_service_names_is_there(target):
    named = {
        page
        for text in tree(target, GOLDEN / "sites").values()
        for page in re.findall(r"docs\.example\.org/vmprobe/([^\s\"]+)", text)
    }

    assert named == {f"check_vm_{probe}.md" for probe in INSTALLED}
    assert all((CHECKOUT / "docs" / page).is_file() for page in named)


@pytest.mark.parametrize("target", ["director", "argo"])
def test_what_has_to_be_json_is(target):
    for text in tree(target, GOLDEN / "sites").values():
        assert json.loads(text)


# --- decisions ----------------------------------------------------------------------------------------------------


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


def test_the_scheduler_leaves_a_probe_more_than_its_own_deadline():
    assert [objects.needed(deadline) for deadline in (45, 50, 300, 299.5)] == [55, 60, 335, 335]


def test_what_nagios_would_kill_becomes_passive_and_nothing_else():
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


def test_a_budget_that_argo_does_not_wait_for_is_refused():
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
def test_a_timer_goes_by_the_calendar_where_its_period_fits_into_it(interval, form):
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


def test_no_timer_counts_from_its_own_start_which_a_daemon_reload_sets_anew():
    units = [
        *(CHECKOUT / "rpm" / "systemd").glob("*.timer"),
        *(CHECKOUT / "templates" / "systemd").glob("*.timer"),
    ]

    assert len(units) == 3
    assert [unit.name for unit in units if re.search(r"(?m)^OnActiveSec", unit.read_text())] == []


def test_a_passive_result_is_stale_after_two_runs_and_not_before():
    passive = check()

    assert passive.freshness == 2 * passive.interval + passive.limit


def test_who_is_notified_is_the_site_s_word_and_else_the_command_line_s(tmp_path):
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


def test_a_limit_that_is_none_is_a_usage_error(tmp_path):
    assert ctl("nagios", tmp_path / "out", tmp_path, "--limit", "nan")[2].splitlines()[-1] == (
        "vmprobectl config: error: argument --limit: 'nan' is not a duration like '300 s', '5 min' or '1 h'"
    )


def test_contact_groups_that_nagios_would_read_otherwise_are_a_usage_error(tmp_path):
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


# --- quoting ------------------------------------------------------------------------------------------------------

HOSTILE = "a;b!c\"d'e\\f é <g> %h {{ i }} #j"


@pytest.mark.parametrize(
    "target, wanted",
    [
        ("nagios", "a\\;b!c\"d'e\\f é <g> %h {{ i }} #j"),
        ("icinga2", '"a;b!c\\"d\'e\\\\f é <g> %h {{ i }} #j"'),
        ("director", '"a;b!c\\"d\'e\\\\f \\u00e9 <g> %h {{ i }} #j"'),
        ("sensu", '"a;b!c\\"d\'e\\\\f \\u00e9 <g> %h {{ i }} #j"'),
    ],
)
def test_a_text_comes_through_as_it_was_written(tmp_path, target, wanted):
    write(tmp_path / "sites", site=f"name = one\ncontact = {HOSTILE}")

    assert any(f" {wanted}" in text for text in tree(target, tmp_path / "sites").values())


def test_yaml_carries_what_a_person_wrote_and_takes_no_key_for_a_word_of_its_own(tmp_path):
    yaml = pytest.importorskip("yaml")
    text = HOSTILE + " \U0001f600 \x85\u2028\ufeff"
    write(
        tmp_path / "sites", site=f"name = one\ncontact = {text}", labels=f"on = {text}\nnull = yes"
    )

    entity = next(yaml.safe_load_all(tree("sensu", tmp_path / "sites")["one.yaml"]))

    assert entity["metadata"]["annotations"]["contact"] == text
    assert {key: entity["metadata"]["labels"][key] for key in ("on", "null")} == {
        "on": text,
        "null": "yes",
    }


def test_a_unit_carries_a_target_as_it_was_written_and_systemd_has_nothing_to_say(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    write(tmp_path / "sites", schedule="submit = file:/var/a%h$HOME\"b'c\\d")

    assert ctl("systemd", tmp_path / "out", tmp_path / "sites")[::2] == (0, "")
    units = sorted((tmp_path / "out").iterdir())
    assert (
        " --submit file:/var/a%%h$$HOME\\x22b\\x27c\\\\d\n"
        in (tmp_path / "out" / "vmprobe-lifecycle-one.service").read_text()
    )
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            *(str(path) for path in units if path.suffix in (".service", ".timer")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "vmprobe" in line] == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("a\n  b", "has several lines, which a directive of Nagios cannot carry"),
        ("$USER1$", "contains '$', which begins a macro in Nagios; write it without"),
        ("a\\", "ends with '\\', which joins the next line in Nagios"),
    ],
)
def test_what_nagios_cannot_carry_is_refused_by_file_and_key(tmp_path, text, words):
    write(tmp_path / "sites", site=f"name = one\ncontact = {text}")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites") == (
        1,
        "",
        f"vmprobectl: one.ini [site] contact: {words}\n",
    )
    assert os.listdir(tmp_path / "out") == []


def test_a_label_is_refused_by_its_key(tmp_path):
    write(tmp_path / "sites", labels="country = $es")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites")[2] == (
        "vmprobectl: one.ini [labels] country: contains '$', which begins a macro in Nagios; write it without\n"
    )


def test_an_address_is_refused_by_its_key(tmp_path):
    write(tmp_path / "sites", endpoint="manager = memory\nurl = https://a$b.example.org")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites")[2] == (
        "vmprobectl: one.ini [endpoint] url: contains '$', which begins a macro in Nagios; write it without\n"
    )


def test_plug_ins_with_a_path_that_no_command_can_carry_are_refused(tmp_path):
    write(tmp_path / "sites")

    assert ctl("nagios", tmp_path / "out", tmp_path / "sites", "--plugins", "/opt/my plugins")[
        2
    ] == (
        "vmprobectl: /opt/my plugins: some schedulers cannot run a command with this path; use only letters, digits and /.@_+=:,-\n"
    )


def test_a_site_file_with_a_path_that_no_command_can_carry_is_refused(tmp_path):
    write(tmp_path / "my sites")

    assert ctl("icinga2", tmp_path / "out", tmp_path / "my sites")[2] == (
        f"vmprobectl: {tmp_path}/my sites/one.ini: some schedulers cannot run a command with this path; "
        "use only letters, digits and /.@_+=:,-\n"
    )


# --- safe from cron -----------------------------------------------------------------------------------------------


def written(output):
    return {
        str(path.relative_to(output)): path.stat().st_ino
        for path in output.rglob("*")
        if path.is_file()
    }


def test_the_second_run_writes_nothing(sites, tmp_path):
    output = tmp_path / "out"
    assert ctl("icinga2", output, sites) == (
        0,
        "3 sites, 5 files: 5 new, 0 changed, 0 removed\n",
        "",
    )
    before = written(output)

    assert ctl("icinga2", output, sites) == (
        0,
        "3 sites, 5 files: 0 new, 0 changed, 0 removed\n",
        "",
    )
    assert written(output) == before


def test_only_what_changed_is_written_and_what_is_gone_is_removed(sites, tmp_path):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    before = written(output)
    (sites / "local.ini").unlink()
    path = sites / "cesga-ops.ini"
    path.write_text(path.read_text().replace("country = es", "country = pt"))

    assert ctl("nagios", output, sites) == (
        0,
        "2 sites, 4 files: 0 new, 2 changed, 1 removed\n",
        "",
    )
    after = written(output)
    assert {name for name in before if after.get(name) != before[name]} == {
        ".vmprobe-nagios.json",
        "sites/cesga-ops.cfg",
        "sites/local.cfg",
        "vmprobe.cfg",
    }


def test_what_it_did_not_write_is_neither_removed_nor_replaced(sites, tmp_path):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    (output / "sites" / "mine.cfg").write_text("mine")
    shutil.rmtree(sites)
    write(sites, name="mine")

    assert (
        ctl("nagios", output, sites)[2]
        == f"vmprobectl: {output}/sites/mine.cfg was not written by vmprobectl; move it out of the way\n"
    )
    assert (output / "sites" / "mine.cfg").read_text() == "mine"
    assert (output / "sites" / "cesga-ops.cfg").exists()


def test_an_edited_file_is_made_right_again(sites, tmp_path):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    text = (output / "vmprobe.cfg").read_text()
    (output / "vmprobe.cfg").write_text("# mine\n")

    assert ctl("nagios", output, sites)[1] == "3 sites, 5 files: 0 new, 1 changed, 0 removed\n"
    assert (output / "vmprobe.cfg").read_text() == text


def test_check_writes_nothing_shows_the_difference_and_exits_1(sites, tmp_path):
    output = tmp_path / "out"
    assert ctl("systemd", output, sites, "--check")[0] == 1
    assert not output.exists()
    ctl("systemd", output, sites)
    path = sites / "cesga-ops.ini"
    path.write_text(path.read_text().replace("600 s", "500 s"))
    before = written(output)

    code, said, _ = ctl("systemd", output, sites, "--check")

    assert code == 1
    assert "-TimeoutStartSec=665\n+TimeoutStartSec=555\n" in said
    assert written(output) == before


def test_a_reader_who_is_gone_is_no_error(sites, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            "icinga2",
            "--output",
            str(tmp_path / "out"),
            "--sites",
            str(sites),
            "--check",
        ],
        stdout=writer,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")


def test_a_manifest_that_names_other_places_removes_nothing(sites, tmp_path):
    output, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("here")
    output.mkdir()
    (output / ".vmprobe-nagios.json").write_text(
        json.dumps({"files": {"../victim": "", str(victim): ""}, "remembered": {}})
    )

    assert ctl("nagios", output, sites)[0] == 0
    assert victim.read_text() == "here"


def test_a_damaged_manifest_is_named(sites, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / ".vmprobe-nagios.json").write_text("{")

    assert ctl("nagios", output, sites) == (
        1,
        "",
        f"vmprobectl: {output}/.vmprobe-nagios.json: is damaged; remove it together with the generated files next to it\n",
    )


@pytest.mark.parametrize(
    "hosts",
    [
        7,
        [],
        {"{path}": 7},
        {"{path}": [[], []]},
        {"{path}": ["{marks}", ["one"]]},
        {"{path}": ["{marks}", 7]},
    ],
    ids=["number", "list", "no-entry", "empty", "too-short", "no-host"],
)
def test_what_is_remembered_of_sites_is_not_believed_when_it_is_nothing_of_ours(tmp_path, hosts):
    path = write(tmp_path / "sites")
    state = path.stat()
    text = (
        json.dumps(hosts)
        .replace("{path}", str(path))
        .replace('"{marks}"', json.dumps([state.st_mtime_ns, state.st_size, state.st_ino]))
    )

    found, kept = inventory.read(
        [str(tmp_path / "sites")], {"suite": inventory._suite(), "hosts": json.loads(text)}
    )

    assert [each.name for each in found] == ["one"] and list(kept["hosts"]) == [str(path)]


def test_wherever_it_is_cut_off_the_next_run_makes_it_right(sites, tmp_path, monkeypatch):
    """By the death of a process between two of its writes: what it replaced is whole, and what it did not is found."""

    class Killed(BaseException):
        pass

    first = {f"sites/{name}.cfg": name for name in ("a", "b", "c")}
    second = {"sites/a.cfg": "a", "sites/b.cfg": "new", "d.cfg": "d"}
    real = os.replace
    for number in range(1, 9):
        output = tmp_path / f"out{number}"
        with files.open_tree(str(output), "nagios", True) as found:
            found.apply(first, found.changes(first), {})
        calls = iter(range(1, 99))

        def replace(*words):
            if next(calls) == number:
                raise Killed
            real(*words)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            with contextlib.suppress(Killed), files.open_tree(str(output), "nagios", True) as found:
                found.apply(second, found.changes(second), {"some": "thing"})

        with files.open_tree(str(output), "nagios", True) as found:
            found.apply(second, found.changes(second), {"some": "thing"})
        assert {
            str(path.relative_to(output)): path.read_text() for path in output.rglob("*.cfg")
        } == second
        with files.open_tree(str(output), "nagios", False) as found:
            assert (found.changes(second), found.remembered) == ([], {"some": "thing"})


def test_a_disk_that_is_full_in_the_middle_is_one_line_and_the_next_run_makes_it_right(
    sites, tmp_path
):
    """As far as a process can tell: no file may have more than 1024 bytes."""
    output, words = (
        tmp_path / "out",
        [
            "config",
            "--target",
            "nagios",
            "--output",
            str(tmp_path / "out"),
            "--sites",
            str(sites),
            "--reload",
            f"touch {tmp_path}/reloaded",
        ],
    )
    ctl("nagios", output, sites)
    (sites / "cesga-ops.ini").write_text(
        (sites / "cesga-ops.ini").read_text().replace("country = es", "country = pt")
    )
    done = subprocess.run(
        [
            "sh",
            "-c",
            'ulimit -f 2; exec "$0" "$@"',
            sys.executable,
            str(PROBES / "vmprobectl"),
            *words,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"vmprobectl: {output}: File too large\n",
    )
    assert (
        not [path for path in output.rglob("*") if path.name.endswith("-new")]
        and not (tmp_path / "reloaded").exists()
    )
    assert ctl("nagios", output, sites, "--reload", f"touch {tmp_path}/reloaded")[::2] == (0, "")
    assert (
        "pt" in (output / "sites" / "cesga-ops.cfg").read_text()
        and (tmp_path / "reloaded").exists()
    )


def test_a_reload_is_over_before_another_run_writes(sites, tmp_path):
    other = f"{sys.executable} {PROBES}/vmprobectl config --target nagios --sites {sites} --output {tmp_path}/out"

    code, _, errors = ctl("nagios", tmp_path / "out", sites, "--reload", other)

    assert (code, errors.splitlines()) == (
        1,
        [
            f"vmprobectl: {tmp_path}/out: another run of vmprobectl writes here",
            f"vmprobectl: --reload {other}: exit code 1; the files are written, and the next run tries to reload again",
        ],
    )


def test_an_output_that_is_a_link_is_what_it_leads_to(sites, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "real")
    assert ctl("nagios", tmp_path / "out", sites) == (
        1,
        "",
        f"vmprobectl: {tmp_path}/out: File exists\n",
    )  # it leads nowhere
    (tmp_path / "real").mkdir()

    assert ctl("nagios", tmp_path / "out", sites)[::2] == (0, "")
    assert (tmp_path / "real" / "vmprobe.cfg").exists() and (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("name", ["vmprobe.cfg", ".vmprobe-nagios.json", "vmprobe.cfg.vmprobe-new"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_lies_in_the_way_is_not_waited_for(sites, tmp_path, name, make):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    for path in (output / "vmprobe.cfg", output / name):
        path.unlink(missing_ok=True)
    make(output / name)

    code, said, errors = ctl("nagios", output, sites)
    if (
        name.endswith("-new") and make is os.mkfifo
    ):  # left by a run that was cut off, as far as anybody can tell
        assert (code, errors) == (0, "")
    else:
        assert (code, said, errors.count("\n")) == (1, "", 1) and errors.startswith(
            f"vmprobectl: {output}/{name}: "
        )


def test_two_runs_do_not_write_at_once(sites, tmp_path):
    with files.open_tree(str(tmp_path / "out"), "nagios", True):
        assert ctl("nagios", tmp_path / "out", sites) == (
            1,
            "",
            f"vmprobectl: {tmp_path}/out: another run of vmprobectl writes here\n",
        )


def test_a_link_in_the_place_of_a_file_is_not_followed(sites, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vmprobe.cfg").symlink_to(tmp_path / "victim")

    assert ctl("nagios", tmp_path / "out", sites)[0] == 0
    assert (
        not (tmp_path / "out" / "vmprobe.cfg").is_symlink() and not (tmp_path / "victim").exists()
    )


@pytest.mark.parametrize(
    "place, words",
    [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        ("/proc/nowhere", "No such file or directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(sites, tmp_path, place, words):
    (tmp_path / "file").write_text("")

    assert ctl("nagios", tmp_path / place, sites) == (
        1,
        "",
        f"vmprobectl: {tmp_path / place}: {words}\n",
    )


def test_a_bad_site_file_ends_it_before_anything_is_written(sites, tmp_path):
    write(sites, name="bad", schedule="checks = maybe")

    assert ctl("nagios", tmp_path / "out", sites) == (
        1,
        "",
        "vmprobectl: bad.ini [schedule] checks: 'maybe' is not one of auto, active, passive\n",
    )
    assert os.listdir(tmp_path / "out") == []


def test_two_sites_of_one_name_are_refused(sites, tmp_path):
    (sites / "twice.ini").write_text((sites / "local.ini").read_text())

    assert ctl("nagios", tmp_path / "out", sites)[2] == (
        f"vmprobectl: {sites}/twice.ini [site] name: local is also the name of {sites}/local.ini\n"
    )


def test_the_reload_command_runs_only_after_a_change(sites, tmp_path):
    reload = ("--reload", f"touch {tmp_path}/reloaded")
    ctl("nagios", tmp_path / "out", sites, *reload)
    assert (tmp_path / "reloaded").exists()
    (tmp_path / "reloaded").unlink()

    ctl("nagios", tmp_path / "out", sites, *reload)

    assert not (tmp_path / "reloaded").exists()


@pytest.mark.parametrize(
    "command, failure",
    [
        ("false", "exit code 1"),
        ("/nowhere/reload", "No such file or directory"),
        ("'", "No closing quotation"),
    ],
)
def test_a_reload_that_failed_is_owed_until_it_is_done(sites, tmp_path, command, failure):
    for _ in range(2):  # the second time nothing has changed
        assert ctl("nagios", tmp_path / "out", sites, "--reload", command)[::2] == (
            1,
            f"vmprobectl: --reload {command}: {failure}; the files are written, and the next run tries to reload again\n",
        )

    reload = ("--reload", f"touch {tmp_path}/reloaded")
    assert ctl("nagios", tmp_path / "out", sites, *reload)[0] == 0
    assert (tmp_path / "reloaded").exists()
    (tmp_path / "reloaded").unlink()
    ctl("nagios", tmp_path / "out", sites, *reload)
    assert not (tmp_path / "reloaded").exists()


def test_own_templates_stand_for_the_shipped_ones_of_their_path(sites, tmp_path):
    own = tmp_path / "own" / "nagios" / "sites"
    own.mkdir(parents=True)
    (own / "SITE.cfg").write_text("# {{ row.name | quote }} is ours\n")

    assert ctl("nagios", tmp_path / "out", sites, "--templates", str(tmp_path / "own"))[0] == 0
    assert (tmp_path / "out" / "sites" / "local.cfg").read_text() == "# local is ours\n"
    assert (tmp_path / "out" / "vmprobe.cfg").exists()


# --- the daemons' own word ----------------------------------------------------------------------------------------

DAEMONS = [
    pytest.param("nagios", "nagios4", id="nagios"),
    pytest.param("icinga2", "icinga2", id="icinga2"),
]


def hostile_sites(sites):
    write(
        sites,
        name="hostile",
        site=f"name = hostile\ncontact = {HOSTILE}\nnotes = {HOSTILE}",
        schedule="contact groups = admins, Zoë on call",
        labels=f"word = {HOSTILE}\nfor = words of Icinga\ntemplate = and another\ntrue = one more",
    )


@pytest.mark.parametrize("target, daemon", DAEMONS)
def test_the_daemon_accepts_what_was_made(sites, tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    hostile_sites(sites)

    assert ctl(target, tmp_path / "out", sites, "--validate")[::2] == (0, "")


def test_nagios_has_no_warning_where_somebody_is_notified(sites, tmp_path):
    from vmprobe.ctl.config import validate

    if not shutil.which("nagios4"):
        pytest.skip("nagios4 is not installed (Debian: see tests/packages.txt)")
    assert ctl("nagios", tmp_path / "out", sites, "--contact-groups", "admins")[0] == 0
    place = tmp_path / "nagios"
    place.mkdir()
    words = validate.nagios(validate.Check(str(place), str(tmp_path / "out")))

    done = subprocess.run(["nagios4", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, re.findall(r"(?m)^Warning.*|^Total.*", done.stdout)) == (
        0,
        ["Total Warnings: 0", "Total Errors:   0"],
    )


def test_nagios_looks_at_all_that_its_main_file_reads(tmp_path):
    if not shutil.which("nagios4"):
        pytest.skip("nagios4 is not installed (Debian: see tests/packages.txt)")
    from vmprobe.ctl.config import validate

    server, output = tmp_path / "nagios", tmp_path / "nagios" / "conf.d" / "vmprobe"
    (server / "conf.d").mkdir(parents=True)
    (server / "contacts.cfg").write_text(validate.CONTACT)
    (server / "resource.cfg").write_text("$USER1$=/usr/lib/nagios/plugins\n")
    (server / "nagios.cfg").write_bytes(
        b"# \xdcberwachung\ncfg_file=contacts.cfg\nresource_file=resource.cfg\n cfg_dir = conf.d\nlog_file=/nowhere/log\n"
    )
    write(tmp_path / "sites", schedule="contact groups = cloud-admins")

    def config(place, *options):
        return ctl(
            "nagios",
            place,
            tmp_path / "sites",
            "--validate",
            "--main",
            str(server / "nagios.cfg"),
            *options,
        )[::2]

    assert config(output) == (
        1,
        "vmprobectl: nagios4 rejects these files, and nothing was changed: Error: Contactgroup 'cloud-admins' is not "
        "defined anywhere / Error: Could not add contactgroup 'cloud-admins' to host (config file "
        "'sites/one.cfg', starting on line 3) / Error processing object config files!\n",
    )
    assert sorted(output.iterdir()) == []
    assert config(tmp_path / "out") == (
        1,
        f"vmprobectl: --main: {server}/nagios.cfg has no cfg_dir that contains {tmp_path}/out\n",
    )

    (server / "conf.d" / "groups.cfg").write_text(
        "define contactgroup {\n    contactgroup_name cloud-admins\n    alias all\n}\n"
    )
    assert config(output) == (0, "")
    write(tmp_path / "sites", schedule="contact groups = cloud-admins\ninterval = 2 h")
    assert config(output) == (0, "")  # beside what is there of it already


def test_a_main_file_is_nagios_s(tmp_path):
    write(tmp_path / "sites")

    assert ctl(
        "icinga2",
        tmp_path / "out",
        tmp_path / "sites",
        "--validate",
        "--main",
        "/etc/icinga2/icinga2.conf",
    )[2] == ("vmprobectl: --main: only for Nagios; Icinga checks all its files when it reloads\n")


@pytest.mark.parametrize(
    "known", [("cloud-admins", "Zoë on call"), ("cloud-admins",)], ids=["known", "unknown"]
)
def test_icinga_notifies_whom_a_site_names_by_the_rule_of_the_documentation(known):
    from vmprobe.ctl.config import validate

    if not shutil.which("icinga2"):
        pytest.skip("icinga2 is not installed (Debian: see tests/packages.txt)")
    rule = re.search(
        r"(?ms)^apply Notification.*?^}", (CHECKOUT / "docs" / "vmprobectl.md").read_text()
    )[0]
    server = (
        'object NotificationCommand "mail" { command = [ "/bin/true" ] }\n'
        'template Notification "mail-service-notification" { command = "mail" }\n'
        + "".join(f'object UserGroup "{name}" {{ }}\n' for name in known)
    )
    wanted = {**tree("icinga2", GOLDEN / "sites"), "server.conf": server + rule}

    if len(known) == 2:
        assert validate.validate("icinga2", wanted) == "icinga2"
    else:  # so the rule did apply
        with pytest.raises(ClientError, match="UserGroup"):
            validate.validate("icinga2", wanted)


def test_a_validation_leaves_what_icinga_knows_of_itself_as_it_was(sites, tmp_path):
    if not shutil.which("icinga2"):
        pytest.skip("icinga2 is not installed (Debian: see tests/packages.txt)")
    cache = Path(
        "/var/cache/icinga2"
    )  # compiled in; icinga2 api setup looks there for the name of its node

    def known():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.glob("*")}

    before = known()

    assert ctl("icinga2", tmp_path / "out", sites, "--validate")[::2] == (0, "")
    assert known() == before


@pytest.mark.parametrize("target, daemon", DAEMONS)
def test_what_the_daemon_refuses_does_not_replace_what_was_there(sites, tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    output = tmp_path / "out"
    ctl(target, output, sites)
    before = written(output)
    own = tmp_path / "own" / target
    shutil.copytree(PROBES.parent / "templates" / target, own)
    for path in own.rglob("SITE.*"):
        path.write_text(
            path.read_text()
            .replace("  address  ", "  adress  ")
            .replace("  address =", "  adress =")
        )

    code, said, errors = ctl(target, output, sites, "--validate", "--templates", str(own.parent))

    assert (code, said) == (1, "")
    assert (
        errors.startswith(f"vmprobectl: {daemon} rejects these files, and nothing was changed: ")
        and "adress" in errors
    )
    assert written(output) == before


@pytest.mark.parametrize("target, daemon", DAEMONS)
def test_the_daemon_accepts_a_thousand_sites(tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    for number in range(1000):
        write(tmp_path / "sites", name=f"site-{number:04}", labels=f"vo = vo-{number % 20}")

    assert ctl(target, tmp_path / "out", tmp_path / "sites", "--validate")[::2] == (0, "")
