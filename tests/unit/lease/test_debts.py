"""Ledgers of earlier runs are settled before anything is created; what cannot be settled is reported."""

import re
import signal
import subprocess
import sys
import time

from disasters import Disaster, code_and_text
from running import PROBES, run_probe
from vmprobe.checks.lifecycle import command
from vmprobe.checks.options import load_site


def make_undeletable(killed):
    """No request deletes the server and the volume of the killed run."""
    for name in ("ser-2", "vol-1"):
        killed.cloud.things[name].undying = True


GOOD = "site: test VM ran and is gone in {} s (active 10.5 s, network 10.5 s, storage 12 s)"


def test_a_debt_is_settled_before_anything_is_created(killed):
    assert code_and_text(killed.run()) == (0, GOOD.format("19"))
    verbs = [request.split()[0] for request in killed.cloud.log]
    assert verbs[:11] == [
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
    assert verbs[11:15] == ["show", "left", "show", "create"]
    assert killed.ours() == killed.ledgers() == []


def test_a_settled_debt_is_reported_with_v(killed):
    handle = next(killed.state.rglob("*.ledger")).stem

    assert f"note: the debt of {handle} is paid" in killed.run("-v")[1].details


def test_a_debt_that_cannot_be_settled_is_a_warning_with_its_number_and_the_run_goes_on(killed):
    make_undeletable(killed)

    code, output = killed.run()

    assert (code, output.text) == (
        1,
        GOOD.format(output.figures["total"]) + "; 2 left behind by earlier runs: server ser-2",
    )
    assert output.figures["leftovers"] == 2
    assert output.figures["total"] < 50, "a debt that stays costs a share of the time, not all"
    assert {key for key in killed.cloud.things if key not in killed.strangers} == {"ser-2", "vol-1"}


def test_a_ledger_that_was_copied_from_another_host_is_left_alone_within_its_lease(killed):
    handle = next(killed.state.rglob("*.ledger")).stem
    before = killed.ours()
    killed.site.set("site", owner="mon9")

    code, output = killed.run("-v")

    assert (code, killed.ours(), output.figures["leftovers"]) == (0, before, 0)
    assert (
        f"note: {handle} is not of mon9, and within its lease: its debt is left alone"
        in output.details
    )
    killed.outlast_the_lease()
    assert (killed.run()[0], killed.ours(), killed.ledgers()) == (0, [], [])


def test_a_site_maps_debts_to_another_state(killed):
    make_undeletable(killed)
    killed.site.set("verdict", leftovers="OK")

    assert killed.run()[0] == 0


def test_a_failure_of_the_run_itself_comes_first(killed):
    make_undeletable(killed)
    killed.cloud.faults.add("no-room")

    code, output = killed.run()

    assert (code, re.sub(r"ser-\d{3}", "ser-N", output.text)) == (
        2,
        (
            "site: active: server ser-N is BROKEN: No valid host was found (cause=scheduler); 2 left behind by earlier runs: "
            "server ser-2"
        ),
    )


def test_a_quota_that_our_own_leftovers_fill_is_reported(killed):
    make_undeletable(killed)
    killed.cloud.faults.add("quota-full")

    assert code_and_text(killed.run()) == (
        1,
        (
            "site: submit: quota exceeded for servers: 10 of 10 used (cause=quota); 2 left behind by earlier runs fill the quota: "
            "server ser-2"
        ),
    )


def test_a_quota_that_our_own_leftovers_fill_is_reported_without_a_ledger(killed):
    killed.outlast_the_lease()
    killed.state = killed.directory / "nothing-here"
    killed.cloud.faults.add("quota-full")

    assert code_and_text(killed.run()) == (
        1,
        (
            "site: submit: quota exceeded for servers: 10 of 10 used (cause=quota); 2 left behind by earlier runs fill the quota: "
            "server ser-2"
        ),
    )


def test_a_quota_that_others_fill_is_reported_without_leftovers_of_ours(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add("quota-full")

    assert code_and_text(world.run()) == (
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
    killed, monkeypatch
):
    make_undeletable(killed)
    monkeypatch.setenv("VMPROBE_STATE", str(killed.state))
    options = command.parser().parse_args(["--site", str(killed.site.write())])
    run = command.Run(load_site(options), options, killed.clock)
    killed.clock.at(killed.clock.now() + 10, lambda: run.deadline.interrupt(signal.SIGTERM))

    outcome = run.verdict()

    assert (outcome.state, outcome.text) == (
        3,
        "site: interrupted by SIGTERM; 2 owed by earlier runs",
    )
    assert not any(request.startswith("create") for request in killed.cloud.log)
    assert len(killed.ledgers()) == 1


def test_a_plan_settles_nothing(killed):
    killed.run("--plan")

    assert len(killed.ours()) == 2


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
        "check_vm_lifecycle",
        "--site",
        str(_with_fast_boot(site)),
        env={"VMPROBE_STATE": str(state)},
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


def _with_fast_boot(site):
    site.write_text(site.read_text().replace("boot = 20 s", "boot = 0.1 s"))
    return site


def test_a_debt_that_cannot_be_settled_does_not_hold_up_the_others(tmp_path):
    world = Disaster(tmp_path / "world")
    for number in range(2):
        world.cloud.plot = {len(world.cloud.log) + 8: "killed-before"}
        world.state = world.directory / f"state-{number}"
        world.run_and_be_killed()
    world.cloud.plot = {}
    _put_ledgers_together(world)
    make_undeletable(world)

    assert code_and_text(world.run()) == (
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
    _put_ledgers_together(world)
    for key in sorted(set(world.cloud.things) - set(world.strangers))[:-2]:
        world.cloud.things[key].undying = True
    world.site.set("budget", deadline="100 s").set("polling", shortest="5 s")

    for _ in range(6):
        assert "12 resources of earlier runs could not be removed" in world.run()[1].text
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


def _put_ledgers_together(killed):
    """Runs of one host, which found each other's ledgers only now."""
    killed.state = killed.directory / "state"
    (killed.state / "ledger" / "site").mkdir(parents=True)
    for path in sorted(killed.directory.glob("state-*/ledger/site/*.ledger")):
        path.rename(killed.state / "ledger" / "site" / path.name)
