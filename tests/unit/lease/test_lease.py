"""A lease in a run: wrong replies, things without names, requests that were not served."""

import json

import pytest

from disasters import Disaster
from vmprobe.core import handle as handles
from vmprobe.core.model import Kind, Ref
from vmprobe.drivers.memory.cloud import Thing
from vmprobe.lease.ledger import Ledger

HANDLE = handles.Handle("mon", 1_800_000_000, 6, "abcdefgh")
NAME = str(HANDLE)
GOOD = "site: test VM ran and is gone in "


def requests(world, word):
    return [request for request in world.cloud.log if request.startswith(word)]


@pytest.mark.parametrize("fault", ["another", "nameless", "cut"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_run_in_which_one_reply_is_wrong_is_ok_and_touches_nothing_else(tmp_path, count, fault):
    undisturbed = Disaster(tmp_path / "world", count)
    assert undisturbed.run()[0] == 0
    for number in range(1, len(undisturbed.cloud.log) + 1):
        world = Disaster(tmp_path / "world", count, {number: fault})

        code, output = world.run()

        assert (code, world.ours(), world.ledgers()) == (0, [], []), (
            f"{undisturbed.cloud.log[number - 1]}: {output.text}"
        )
        world.check_strangers()


def test_the_last_one_of_a_fleet_is_not_gone_because_a_list_has_no_names(tmp_path):
    faults = {}
    for fault, again in (("never-deleted", 0), ("nameless", 1)):
        world = Disaster(tmp_path / "world", 3, faults)
        world.run()
        removals = [
            number
            for number, request in enumerate(world.cloud.log, 1)
            if request == "delete snapshot sna-7"
        ]
        faults[removals[again] + 2 * again] = fault
    world = Disaster(tmp_path / "world", 3, faults)

    code, output = world.run()

    assert (code, [thing.split()[1] for thing in world.ours()], output.figures["leftovers"]) == (
        1,
        ["sna-7"],
        1,
    )


def test_a_foreign_id_in_the_reply_to_a_create_is_told_and_the_run_goes_on_with_its_own_server(
    tmp_path,
):
    world = Disaster(tmp_path / "world", faults={4: "another"})

    code, output = world.run("-v")

    assert (code, output.text[: len(GOOD)]) == (0, GOOD)
    assert (
        "note: server x-0 is called 'vmprobe-mon2-20260101t000000z-6-aaaaaaaa' and is not ours: it is not touched"
        in output.details
    )
    assert [request for request in world.cloud.log if "x-0" in request] == ["show server x-0"]


def test_the_foreign_id_of_a_thing_without_a_name_holds_up_neither_the_run_nor_its_clean_up(
    tmp_path,
):
    world = Disaster(tmp_path / "world", faults={4: "another"})
    world.cloud.things["x-0"].name = ""

    code, output = world.run("-v")

    assert (code, output.text[: len(GOOD)]) == (0, GOOD)
    assert "note: server x-0 has no name and is not ours: it is not touched" in output.details
    assert {request for request in world.cloud.log if "x-0" in request} == {"show server x-0"}
    assert (world.ours(), world.ledgers()) == ([], [])


def test_a_snapshot_is_taken_only_of_our_own_server(tmp_path):
    world = Disaster(tmp_path / "world", faults={4: "another"})
    world.run()

    assert requests(world, "snapshot") == ["snapshot server ser-2"]


def _with_line(world, **entry):
    file = next(world.state.rglob("*.ledger"))
    file.write_text(file.read_text() + json.dumps(entry) + "\n")


def test_a_ledger_that_points_at_a_thing_without_a_name_does_not_remove_it(killed):
    killed.cloud.things["disk"] = Thing(Kind.VOLUME, "disk", "", "FREE", 0.0, 2**30)
    _with_line(killed, event="created", kind="volume", id="disk", name="", at=0)

    code, output = killed.run("-v")

    assert (code, killed.ours()) == (0, ["volume disk "])
    assert "note: volume disk has no name and is not ours: it is not touched" in output.details


def test_a_thing_that_has_no_name_yet_is_waited_for_and_not_called_gone(killed):
    killed.cloud.things["young"] = Thing(Kind.VOLUME, "young", "", "FREE", 0.0, 2**30)
    _with_line(killed, event="created", kind="volume", id="young", name="", at=killed.clock.utc())

    code, output = killed.run()

    assert code == 1
    assert output.text.endswith("1 left behind by earlier runs: volume young")


def test_a_line_about_a_port_that_is_not_this_ledgers_own_is_damage_and_removes_nothing(killed):
    killed.cloud.things["port"] = Thing(Kind.PORT, "port", "", "ATTACHED", 0.0)
    _with_line(
        killed, event="belongs", kind="port", id="port", name="", server="ser-2", at=0, sum="0" * 16
    )

    code, output = killed.run()

    assert (code, killed.ours()) == (0, ["port port "])
    assert "a damaged ledger is set aside: " in output.text


def test_a_ledger_of_twenty_thousand_lines_does_not_keep_a_run_from_its_test(killed):
    file = next(killed.state.rglob("*.ledger"))
    lines = [
        json.dumps({"event": "created", "kind": "server", "id": f"i{number}", "name": "", "at": 0})
        for number in range(20000)
    ]
    file.write_text(file.read_text() + "\n".join(lines) + "\n")

    code, output = killed.run()

    assert (code, killed.ours(), killed.ledgers()) == (0, [], [])
    assert len(killed.cloud.log) < 60


def test_a_flood_of_things_under_the_handle_is_one_write_of_the_ledger(tmp_path):
    ledger = Ledger.begin(str(tmp_path), HANDLE)
    before = len(open(ledger.path, "rb").read())
    ledger.created([Ref(Kind.SERVER, f"i{number}", NAME) for number in range(10000)], 0.0)

    assert len(ledger.owed()) == 10000
    assert len(open(ledger.path, "rb").read()) > before
    ledger.created([Ref(Kind.SERVER, f"{'i' * 400}{number}", NAME) for number in range(10000)], 0.0)
    assert ledger.warning == f"the ledger cannot be written: File too large: {tmp_path}"
    assert len(ledger.owed()) == 20000
    ledger.close(settled=True)


def test_no_test_vm_is_started_while_more_is_left_behind_than_the_site_allows(killed):
    for name in ("ser-2", "vol-1"):
        killed.cloud.things[name].undying = True
    killed.site.set("budget", leftovers="1")

    code, output = killed.run()

    assert (code, output.text) == (
        1,
        "site: 2 resources of earlier runs could not be removed, and [budget] leftovers is 1: no test VM was "
        "started (cause=teardown); 2 left behind by earlier runs: server ser-2",
    )
    assert requests(killed, "create") == []
    assert output.figures["leftovers"] == 2


@pytest.mark.parametrize("number", [3, 4], ids=["volume", "server"])
def test_a_create_that_met_a_rate_limit_is_sent_again_after_the_time_that_was_asked_for(
    tmp_path, number
):
    world = Disaster(tmp_path / "world", faults={number: "429"})

    code, output = world.run()

    assert (code, world.ours(), world.ledgers()) == (0, [], [])
    assert output.figures["submit"] == 3


def test_a_rate_limit_that_does_not_end_has_the_cause_gateway_and_nothing_is_looked_for_three_times(
    tmp_path,
):
    world = Disaster(tmp_path / "world", faults={3: "429", 4: "429", 5: "429"})

    code, output = world.run()

    assert (code, output.text) == (2, "site: submit: 429 too many requests (cause=gateway)")
    assert len(requests(world, "list volume")) == 1
    assert world.ledgers() == []
