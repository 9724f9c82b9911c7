"""Ledgers of earlier runs are settled before anything is created; what cannot be settled is reported."""

import itertools
import re
import signal
import subprocess
import sys
import time

import pytest

from disasters import HOUR, Disaster
from running import PROBES, run_probe
from vmprobe.checks.lifecycle import command
from vmprobe.checks.options import load_site
from vmprobe.core.errors import DeadlinePassed, Interrupted, NotPermitted, Unreachable
from vmprobe.core.model import Kind
from vmprobe.drivers.memory import driver as memory


@pytest.fixture
def world(tmp_path):
    """A site whose last run was killed while its VM booted: server ser-2 and volume vol-1 are still there."""
    found = Disaster(tmp_path / "world", faults={8: "killed-before"})
    found.run_and_be_killed()
    found.cloud.plot.clear()
    found.cloud.log.clear()
    return found


def line(outcome):
    code, said = outcome
    return code, said.text


def stuck(world):
    for name in ("ser-2", "vol-1"):
        world.cloud.things[name].undying = True


GOOD = "site: test VM ran and is gone in {} s (active 10.5 s, network 10.5 s, storage 12 s)"


def test_a_debt_is_settled_before_anything_is_created(world):
    assert line(world.run()) == (0, GOOD.format("19"))
    words = [request.split()[0] for request in world.cloud.log]
    assert words[:11] == [
        "connect",
        "resolve",
        "list",
        "list",
        "list",
        "belongings",
        "delete",
        "delete",
        "list",
        "show",
        "list",
    ]
    assert words[11:15] == ["show", "left", "show", "create"]
    assert world.ours() == world.ledgers() == []


def test_a_settled_debt_is_reported_with_v(world):
    handle = next(world.state.rglob("*.ledger")).stem

    assert f"note: the debt of {handle} is paid" in world.run("-v")[1].details


def test_a_debt_that_cannot_be_settled_is_a_warning_with_its_number_and_the_run_goes_on(world):
    stuck(world)

    code, said = world.run()

    assert (code, said.text) == (
        1,
        GOOD.format(said.figures["total"]) + "; 2 left behind by earlier runs: server ser-2",
    )
    assert said.figures["leftovers"] == 2
    assert said.figures["total"] < 50, "a debt that stays costs a share of the time, not all"
    assert {key for key in world.cloud.things if key not in world.strangers} == {"ser-2", "vol-1"}


def test_a_ledger_that_was_copied_from_another_host_is_left_alone_within_its_lease(world):
    handle = next(world.state.rglob("*.ledger")).stem
    before = world.ours()
    world.site.set("site", owner="mon9")

    code, said = world.run("-v")

    assert (code, world.ours(), said.figures["leftovers"]) == (0, before, 0)
    assert (
        f"note: {handle} is not of mon9, and within its lease: its debt is left alone"
        in said.details
    )
    world.outlast_the_lease()
    assert (world.run()[0], world.ours(), world.ledgers()) == (0, [], [])


def test_a_site_maps_debts_to_another_state(world):
    stuck(world)
    world.site.set("verdict", leftovers="OK")

    assert world.run()[0] == 0


def test_a_failure_of_the_run_itself_comes_first(world):
    stuck(world)
    world.cloud.faults.add("no-room")

    code, said = world.run()

    assert (code, re.sub(r"ser-\d{3}", "ser-N", said.text)) == (
        2,
        (
            "site: active: server ser-N is BROKEN: No valid host was found (cause=scheduler); 2 left behind by earlier runs: "
            "server ser-2"
        ),
    )


def test_a_quota_that_our_own_leftovers_fill_is_reported(world):
    stuck(world)
    world.cloud.faults.add("quota-full")

    assert line(world.run()) == (
        1,
        (
            "site: submit: quota exceeded for servers: 10 of 10 used (cause=quota); 2 left behind by earlier runs fill the quota: "
            "server ser-2"
        ),
    )


def test_a_quota_that_our_own_leftovers_fill_is_reported_without_a_ledger(world):
    world.outlast_the_lease()
    world.state = world.directory / "nothing-here"
    world.cloud.faults.add("quota-full")

    assert line(world.run()) == (
        1,
        (
            "site: submit: quota exceeded for servers: 10 of 10 used (cause=quota); 2 left behind by earlier runs fill the quota: "
            "server ser-2"
        ),
    )


def test_a_quota_that_others_fill_is_reported_without_leftovers_of_ours(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add("quota-full")

    assert line(world.run()) == (
        1,
        "site: submit: quota exceeded for servers: 10 of 10 used (cause=quota)",
    )


def test_the_debts_of_many_killed_runs_are_all_settled(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add("never-active")
    for number in range(5):
        world.cloud.plot[len(world.cloud.log) + 6] = (
            "killed-before"  # before anything of an earlier run is looked at
        )
        world.state = world.directory / f"state-{number}"
        world.run_and_be_killed()
    (world.directory / "state" / "ledger" / "site").mkdir(parents=True)
    for path in world.directory.glob("state-*/ledger/site/*.ledger"):
        path.rename(world.directory / "state" / "ledger" / "site" / path.name)
    world.state = world.directory / "state"
    world.cloud.faults.clear()
    assert (len(world.ours()), len(world.ledgers())) == (10, 5)

    assert world.run()[0] == 0
    assert world.ours() == world.ledgers() == []


def test_a_signal_while_a_debt_is_settled_ends_the_run_before_anything_is_created(
    world, monkeypatch
):
    stuck(world)
    monkeypatch.setenv("VMPROBE_STATE", str(world.state))
    options = command.parser().parse_args(["--site", str(world.site.write())])
    run = command.Run(load_site(options), options, world.clock)
    world.clock.at(world.clock.now() + 10, lambda: run.deadline.interrupt(signal.SIGTERM))

    said = run.verdict()

    assert (said.state, said.text) == (3, "site: interrupted by SIGTERM; 2 owed by earlier runs")
    assert not any(request.startswith("create") for request in world.cloud.log)
    assert len(world.ledgers()) == 1


def test_the_clean_up_waits_as_long_as_the_cloud_asks_for(world):
    world.cloud.plot.update({3: "429", 6: "429"})

    code, said = world.run()

    assert (code, world.ours()) == (0, [])
    assert said.figures["total"] >= 19 + 6


def test_a_plan_settles_nothing(world):
    world.run("--plan")

    assert len(world.ours()) == 2


def test_a_server_whose_reply_was_lost_is_found_by_the_same_run_though_lists_lag_by_two(tmp_path):
    world = Disaster(tmp_path / "world", faults={4: "reply-lost", 9: "lag"}, lag=2)

    assert line(world.run()) == (
        2,
        "site: submit: connection closed before the reply (cause=gateway)",
    )
    assert [world.cloud.log[number].split()[:2] for number in (3, 8)] == [
        ["create", "server"],
        ["list", "server"],
    ]
    assert world.ours() == world.ledgers() == []


@pytest.mark.parametrize("step", [3600, -3600], ids=["ahead", "back"])
def test_a_clock_that_is_set_during_a_run_does_not_shorten_its_clean_up(tmp_path, step):
    world = Disaster(tmp_path / "world", faults={4: "reply-lost", 9: "lag"}, lag=2)

    def set_clock():
        world.clock._utc += step

    world.clock.at(0.5, set_clock)

    assert line(world.run()) == (
        2,
        "site: submit: connection closed before the reply (cause=gateway)",
    )
    assert world.ours() == world.ledgers() == []


def test_what_lists_show_too_late_is_left_to_the_next_run(tmp_path):
    world = Disaster(tmp_path / "world", faults={4: "reply-lost", 9: "lag"}, lag=5)

    assert world.run()[0] == 2
    assert (len(world.ours()), len(world.ledgers())) == (1, 1)
    assert world.run()[0] == 0
    assert world.ours() == world.ledgers() == []


def test_a_refused_list_does_not_count_as_an_empty_one(tmp_path, monkeypatch):
    world = Disaster(
        tmp_path / "world", faults={4: "killed-after"}
    )  # the server is there, and its id is not known
    world.run_and_be_killed()
    world.clock.sleep(HOUR)
    listed = world.cloud.listed

    def refused(kind, name):
        if kind is Kind.SERVER:
            raise NotPermitted("servers are not listed for you")
        return listed(kind, name)

    with monkeypatch.context() as patch:
        patch.setattr(world.cloud, "listed", refused)
        assert line(world.run()) == (
            1,
            "site: gone: it is not known whether anything is left under the handle: servers are not "
            "listed for you (cause=teardown)",
        )
    assert (len(world.ours()), len(world.ledgers())) == (1, 2)

    assert world.run()[0] == 0
    assert world.ours() == world.ledgers() == []


def test_a_round_that_runs_out_of_time_keeps_the_reason_why_the_deletion_was_refused(
    tmp_path, monkeypatch
):
    world = Disaster(tmp_path / "world")
    listed, end = world.cloud.listed, 300

    def silent():
        world.clock.sleep(end - world.clock.now())
        raise Unreachable("no whole answer within 6 s")

    def refused(identity):
        if world.clock.now() > end - 6:
            silent()
        raise NotPermitted(f"the removal of {identity} is not allowed")

    monkeypatch.setattr(world.cloud, "remove", refused)
    monkeypatch.setattr(
        world.cloud,
        "listed",
        lambda *words: silent() if world.clock.now() > end - 6 else listed(*words),
    )

    assert line(world.run()) == (
        1,
        "site: gone: snapshot sna-3, server ser-2, volume vol-1: deletion not confirmed: "
        "the removal of vol-1 is not allowed (cause=teardown)",
    )


def test_a_deletion_that_is_never_answered_is_reported_as_that(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")

    def silent(identity):
        world.clock.sleep(300 - world.clock.now())
        raise Unreachable(f"delete {identity}: no whole answer within 60 s")

    monkeypatch.setattr(world.cloud, "remove", silent)

    assert line(world.run()) == (
        1,
        "site: delete: snapshot sna-3, server ser-2, volume vol-1: deletion not confirmed: "
        "delete sna-3: no whole answer within 60 s (cause=teardown)",
    )


def test_a_process_killed_by_a_scheduler_is_settled_by_the_next(tmp_path):
    """The same, with nothing virtual: two processes, SIGKILL, and a ledger that can be locked again."""
    site = tmp_path / "quick.ini"
    site.write_text(
        "[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 20 s\n[test vm]\nimage = vmprobe-test\n"
        "[budget]\ndeadline = 30 s\nreserve = 10 s\n[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n"
    )
    state = tmp_path / "state"
    run = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", str(site)],
        env={"VMPROBE_STATE": str(state)},
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not any(b'"server"' in path.read_bytes() for path in state.rglob("*.ledger")):
        assert time.monotonic() < until
        time.sleep(0.02)
    during = run_probe(
        "check_vm_lifecycle", "--site", str(_fast(site)), env={"VMPROBE_STATE": str(state)}
    )
    assert len(list(state.rglob("*.ledger"))) == 1, "the ledger of a run that lives stays"
    run.send_signal(signal.SIGKILL)
    run.wait()
    after = run_probe(
        "check_vm_lifecycle", "--site", str(site), "-v", env={"VMPROBE_STATE": str(state)}
    )

    assert (during[0], after[0]) == (0, 0)
    assert "note: the debt of " not in during[1] and "note: the debt of " in after[1]
    assert "and may yet appear" in after[1], "that cloud lived and died with its process"


def _fast(site):
    site.write_text(site.read_text().replace("boot = 20 s", "boot = 0.1 s"))
    return site


# --- many debts ---------------------------------------------------------------------------------------------------


def test_a_debt_that_cannot_be_settled_does_not_hold_up_the_others(tmp_path):
    world = Disaster(tmp_path / "world")
    for number in range(2):
        world.cloud.plot = {len(world.cloud.log) + 8: "killed-before"}
        world.state = world.directory / f"state-{number}"
        world.run_and_be_killed()
    world.cloud.plot = {}
    _into_one(world)
    stuck(world)

    assert line(world.run()) == (
        1,
        GOOD.format("29") + "; 2 left behind by earlier runs: server ser-2",
    )
    assert {key for key in world.cloud.things if key not in world.strangers} == {"ser-2", "vol-1"}
    assert len(world.ledgers()) == 1


def test_debts_for_which_there_was_no_time_come_first_in_the_next_run(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add("never-active")
    for number in range(6):
        world.cloud.plot = {len(world.cloud.log) + 8: "killed-before"}
        world.state = world.directory / f"state-{number}"
        world.run_and_be_killed()
    world.cloud.plot, world.cloud.faults = {}, set()
    _into_one(world)
    for key in sorted(set(world.cloud.things) - set(world.strangers))[:-2]:
        world.cloud.things[key].undying = True
    world.site.set("budget", deadline="100 s").set("polling", shortest="5 s")

    for _ in range(6):
        assert "12 things of earlier runs could not be removed" in world.run()[1].text
        if len(world.ours()) == 10:
            break

    assert len(world.ours()) == 10


def test_no_test_vm_is_started_while_many_runs_have_left_more_than_the_site_allows(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add("delete-ignored")

    left = []
    for _ in range(8):
        assert world.run()[0] == 1
        left.append(len(world.ours()))

    assert left == [3, 6, 9, 12, 12, 12, 12, 12], "[budget] leftovers is 10"


def _into_one(world):
    """Runs of one host, which found each other's ledgers only now."""
    world.state = world.directory / "state"
    (world.state / "ledger" / "site").mkdir(parents=True)
    for path in sorted(world.directory.glob("state-*/ledger/site/*.ledger")):
        path.rename(world.state / "ledger" / "site" / path.name)


# --- what a driver's library may raise ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raised",
    [
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        MemoryError,
        RecursionError,
        Interrupted,
        DeadlinePassed,
    ],
)
@pytest.mark.parametrize("verb", ["find", "remove", "listed"])
def test_whatever_is_raised_in_a_clean_up_its_next_round_comes(tmp_path, monkeypatch, raised, verb):
    world = Disaster(tmp_path / "world")
    real, raises = getattr(world.cloud, verb), itertools.count()

    def broken(*words):
        if world.clock.now() > 12 and next(raises) < 4:
            raise raised("a library's own")
        return real(*words)

    monkeypatch.setattr(world.cloud, verb, broken)

    code, _ = world.run()

    assert code in (0, 3)
    assert world.ours() == world.ledgers() == []


def test_a_session_that_cannot_be_closed_changes_no_verdict(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")

    def close(driver):
        raise RuntimeError("closed already")

    monkeypatch.setattr(memory.Memory, "close", close)

    code, said = world.run("-v")

    assert (code, said.text) == (0, GOOD.format("17.5"))
    assert "note: the session could not be closed: RuntimeError: closed already" in said.details
