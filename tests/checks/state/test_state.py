"""check_vm_state: each verdict as the whole line, over the cloud in memory."""

import pytest

from vmprobe.checks.state import servers as census
from vmprobe.core.model import Kind, Ref, Resource, State

LOOKED = (
    "auth=0s;;;0 failed={failed};0;;0 list=0s;;;0 pending={pending};;;0 running={running};;;0 servers={servers};;;0 "
    "stopped={stopped};;;0 stuck={stuck};0;;0 total=0s;;;0"
)


def perfdata(aged=0, age_max=None, **counts):
    labels = dict.fromkeys(("failed", "pending", "running", "servers", "stopped", "stuck"), 0)
    age = f"age_max={age_max}s;;;0 " if age_max is not None else ""
    return f"{age}aged={aged};0;;0 " + LOOKED.format(**{**labels, **counts})


@pytest.fixture
def server(site):
    """Make a server in the cloud."""

    def make(name, word="RUNNING", age=0, **options):
        site.cloud.boot = 10
        thing = site.cloud.things[
            site.cloud.make(Kind.SERVER, name, image=options.pop("image", "sl6")).id
        ]
        thing.word, thing.created = word, site.clock.utc() - age
        for key, value in options.items():
            setattr(thing, key, value)
        return thing

    return make


def test_ok_where_there_is_nothing(site):
    assert site.probe("state") == (0, "VM_STATE OK - site: 0 servers | " + perfdata())


def test_ok_with_what_runs_and_what_its_owner_has_stopped(site, server):
    server("web1", age=3600)
    server("web2", "STOPPED", age=7200)

    assert site.probe("state") == (
        0,
        (
            "VM_STATE OK - site: 2 servers (1 running, 1 stopped) | "
            + perfdata(age_max=7200, running=1, stopped=1, servers=2)
        ),
    )


def test_warning_when_a_server_has_failed_with_its_fault(site, server):
    server("web1")
    server("db1", "BROKEN", fault="No valid host was found", age=60)

    assert site.probe("state") == (
        1,
        (
            "VM_STATE WARNING - site: failed 1 is outside 0 (warning); 2 servers (1 running, 1 failed): server ser-2 (db1) is "
            "BROKEN: No valid host was found | "
            + perfdata(age_max=60, running=1, failed=1, servers=2)
        ),
    )


def test_line_1_has_the_innermost_reason_of_a_fault_and_the_details_have_all_of_it(site, server):
    fault = "Build of instance 4f1c aborted: Failed to allocate the network(s), not rescheduling."
    server("db1", "BROKEN", fault=fault, age=60)

    state, output = site.probe("state", "-v")

    assert (state, output.split(" | ")[0]) == (
        1,
        (
            "VM_STATE WARNING - site: failed 1 is outside 0 (warning); 1 server (1 failed): server ser-1 (db1) is BROKEN: Failed to allocate "
            "the network(s), not rescheduling."
        ),
    )
    assert f"server ser-1: {fault}" in output.splitlines()


def test_warning_when_a_server_is_stuck_and_not_before(site, server):
    server("slow", "BUILDING", age=1000)
    site.set("endpoint", faults="never-active")

    assert site.probe("state") == (
        0,
        (
            "VM_STATE OK - site: 1 server (1 pending) | "
            + perfdata(age_max=1000, pending=1, servers=1)
        ),
    )
    assert site.probe("state", "--stuck", "10 min") == (
        1,
        (
            "VM_STATE WARNING - site: stuck 1 is outside 0 (warning); 1 server (1 pending): server ser-1 (slow) is BUILDING "
            "for 17 min | " + perfdata(age_max=1000, pending=1, stuck=1, servers=1)
        ),
    )


def test_a_server_is_stuck_for_as_long_as_its_state_lasts_and_not_since_it_was_created():
    def moving(name, since):
        return Resource(
            Ref(Kind.SERVER, f"id-{name}", name),
            State.PENDING,
            "RESIZE",
            created=0.0,
            state_since=since,
        )

    servers = census.take(
        [
            moving("just-now", 9_995.0),
            moving("for-long", 6_000.0),
            moving("not-said", None),
            moving("ahead", 10_050.0),
        ],
        lambda server: False,
        now=10_000.0,
        stuck=1800.0,
    )

    assert [(row.resource.ref.name, row.problem, row.age) for row in servers] == [
        ("for-long", "stuck", 10_000.0),
        ("not-said", "stuck", 10_000.0),
        ("ahead", "", 10_000.0),
        ("just-now", "", 10_000.0),
    ]
    assert [str(row) for row in servers[:2]] == [
        "server id-for-long (for-long) is RESIZE for 67 min",
        "server id-not-said (not-said) is RESIZE for 2.8 h",
    ]


def test_warning_when_a_server_is_older_than_it_may_be(site, server):
    server("old", age=864000)

    assert site.probe("state", "--max-age", "7 d") == (
        1,
        (
            "VM_STATE WARNING - site: aged 1 is outside 0 (warning); 1 server (1 running): server ser-1 (old) is RUNNING for "
            "10 d | " + perfdata(aged=1, age_max=864000, running=1, servers=1)
        ),
    )


def test_critical_by_a_range_of_the_command_line(site, server):
    server("db1", "BROKEN")

    state, line = site.probe("state", "-c", "0")

    assert (state, line.split(";")[0]) == (
        2,
        "VM_STATE CRITICAL - site: failed 1 is outside 0 (critical)",
    )
    assert "failed=1;0;0;0" in line


@pytest.mark.parametrize(
    "options, names",
    [
        (["--name", "WEB*"], ["web1", "web2"]),
        (["--owner", "bob"], ["web2"]),
        (["--project", "bio*"], ["web1"]),
        (["--image", "sl?"], ["web1", "web2"]),
        (["--owner", "nobody"], []),
    ],
)
def test_only_servers_that_match_the_patterns_count(site, server, options, names):
    server("web1", project="biomed", owner="alice")
    server("web2", owner="bob")
    server("db1", owner="alice", image="fedora")

    state, output = site.probe("state", "-v", *options)

    assert (state, [line.split()[-1] for line in output.splitlines() if " ser-" in line]) == (
        0,
        names,
    )


def test_the_table_is_capped_and_the_worst_come_first(site, server):
    server("young", age=60, owner="alice")
    server("older", age=7200, owner="alice")
    server("slow", "BUILDING", age=4000, project="atlas")
    server("dead", "BROKEN", age=10, fault="it broke")
    site.set("endpoint", faults="never-active")

    assert site.probe("state", "-v", "--limit", "3")[1].splitlines()[1:] == [
        "STATE           AGE     OWNER  PROJECT  IMAGE  ID     NAME",
        "BROKEN          10 s    probe  ops      sl6    ser-4  dead",
        "BUILDING stuck  67 min  probe  atlas    sl6    ser-3  slow",
        "RUNNING         2 h     alice  ops      sl6    ser-2  older",
        "and 1 more",
        "by owner: alice 2, probe 2",
        "by project: ops 3, atlas 1",
        "by image: sl6 4",
        "auth      0 s",
        "list      0 s",
        "requests 2",
    ]


def test_the_age_of_a_test_vm_is_in_its_name_where_the_manager_does_not_say_it(site, server):
    server("vmprobe-mon-20270115t075000z-6-abcdefgh").created = None
    server("somebody").created = None

    assert site.probe("state") == (
        0,
        (
            "VM_STATE OK - site: 2 servers (2 running) | "
            + perfdata(age_max=600, running=2, servers=2)
        ),
    )


def test_critical_when_the_manager_does_not_answer_and_nothing_is_taken_for_an_empty_cloud(site):
    site.set("endpoint", faults="503@2,503@3,503@4")

    assert site.probe("state") == (
        2,
        (
            "VM_STATE CRITICAL - site: list: 503 service unavailable (cause=gateway) | auth=0s;;;0 total=3s;;;0"
        ),
    )


def test_critical_when_the_credential_is_rejected(site):
    site.set("endpoint", faults="auth-rejected")

    assert site.probe("state") == (
        2,
        ("VM_STATE CRITICAL - site: auth: user probe is not accepted (cause=auth) | total=0s;;;0"),
    )


def test_unknown_when_the_time_is_over(site):
    site.set("endpoint", faults="hang@2,hang@3")

    assert site.probe("state", "-t", "15") == (
        3,
        (
            "VM_STATE UNKNOWN - site: list: no answer within 15 s; the deadline of 15 s passed (cause=gateway) | auth=0s;;;0 total=15s;;;0"
        ),
    )


def test_the_first_line_stays_short_however_many_there_are(site, server):
    for number in range(50):
        server(
            "a-long-name-of-a-server-that-somebody-has-thought-of-" + str(number),
            "BROKEN",
            fault="x" * 500,
        )

    state, line = site.probe("state")

    assert (state, len(line.split(" | ")[0]) < 200, "servers=50;;;0" in line) == (1, True, True)


def test_a_line_end_in_a_servers_name_does_not_start_a_new_line(site, server):
    forged = "web1\nVM_STATE OK - all is well | x=1\x1b[2J\u202e"
    server(forged, "BROKEN", age=60, fault=forged, owner=forged, project=forged, image=forged)

    state, output = site.probe("state", "-v")

    shown = "web1 VM_STATE OK - all is well / x=1 [2J?"
    assert state == 1
    assert output.splitlines()[2] == f"BROKEN  60 s  {shown}  {shown}  {shown}  ser-1  {shown}"
    assert [line.split(" ")[0] for line in output.splitlines()] == [
        "VM_STATE",
        "STATE",
        "BROKEN",
        "by",
        "by",
        "by",
        "auth",
        "list",
        "requests",
    ]
