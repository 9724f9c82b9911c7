"""Nothing is touched that the cloud has not shown as this run's own, and what the manager made for a run is the run's."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disasters import HOUR, Disaster
from running import MemorySite
from virtual import VirtualClock
from vmprobe.checks.lifecycle import command
from vmprobe.checks.options import load_site
from vmprobe.core import handle as handles
from vmprobe.core.errors import Conflict, GatewayFailed, NotFound, NotPermitted
from vmprobe.core.handle import owner_word
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.drivers.memory.cloud import Thing
from vmprobe.lease.gate import Gate, Owner
from vmprobe.lease.ledger import Ledger

HANDLE = handles.Handle("mon", 1_800_000_000, 6, "abcdefgh")
NAME = str(HANDLE)
SERVER = Ref(Kind.SERVER, "4f1c", NAME)
GOOD = "site: test VM ran and is gone in "


def shown(ref, name=NAME, server=""):
    return Resource(Ref(ref.kind, ref.id, name), State.READY, "ACTIVE", server=server)


def requests(world, word):
    return [request for request in world.cloud.log if request.startswith(word)]


# --- the gate -----------------------------------------------------------------------------------------------------


def test_an_id_that_was_never_shown_is_not_acted_upon():
    with pytest.raises(
        Conflict, match=f"^server 4f1c has not been shown under {NAME} yet: it is not touched$"
    ):
        Gate(HANDLE).require(SERVER)


@pytest.mark.parametrize(
    "name, owner",
    [
        (NAME, Owner.OURS),
        (NAME.upper(), Owner.OURS),
        (f"{NAME}-2", Owner.OURS),
        ("", Owner.UNKNOWN),
        ("prod-db", Owner.OTHER),
        (NAME[:-1], Owner.OTHER),
        (f"{NAME}x", Owner.OTHER),
        (NAME.replace("mon", "mon2"), Owner.OTHER),
    ],
    ids=[
        "exact",
        "in-capitals",
        "a-member",
        "no-name",
        "foreign",
        "cut",
        "longer",
        "another-owner",
    ],
)
def test_the_name_in_the_answer_decides(name, owner):
    gate = Gate(HANDLE)

    assert gate.check_shown(SERVER, shown(SERVER, name)) is owner
    assert gate.has_passed(SERVER) == (owner is Owner.OURS)


@pytest.mark.parametrize(
    "answer",
    [Ref(Kind.SERVER, "77aa"), Ref(Kind.VOLUME, "4f1c"), Ref(Kind.SERVER, "")],
    ids=["another-id", "another-kind", "no-id"],
)
def test_the_answer_to_another_question_is_no_answer(answer):
    gate = Gate(HANDLE)

    with pytest.raises(GatewayFailed, match="^asked for server 4f1c, the manager answered with "):
        gate.check_shown(SERVER, shown(answer))
    assert not gate.has_passed(SERVER)


def test_what_was_ours_and_has_another_name_now_is_not_touched_any_more():
    gate = Gate(HANDLE)
    gate.check_shown(SERVER, shown(SERVER))
    gate.check_shown(SERVER, shown(SERVER, "taken-over"))

    with pytest.raises(Conflict):
        gate.require(SERVER)


def test_what_was_ours_and_shows_no_name_for_once_stays_ours():
    gate = Gate(HANDLE)
    gate.check_shown(SERVER, shown(SERVER))

    assert gate.check_shown(SERVER, shown(SERVER, "")) is Owner.OURS


def test_of_a_list_only_what_is_of_the_kind_and_under_the_handle_passes():
    gate = Gate(HANDLE)

    assert [
        gate.check_listed(Kind.SERVER, shown(ref, name))
        for ref, name in (
            (SERVER, NAME),
            (SERVER, ""),
            (SERVER, "prod-db"),
            (SERVER._replace(id=""), NAME),
            (SERVER._replace(kind=Kind.VOLUME), NAME),
        )
    ] == [True, False, False, False, False]


PORT = Ref(Kind.PORT, "p1", "")


@pytest.mark.parametrize(
    "answer, owner",
    [
        (shown(PORT, "", "4f1c"), Owner.OURS),
        (shown(PORT, "", ""), Owner.OURS),
        (shown(PORT, "", "another-server"), Owner.OTHER),
        (shown(PORT, "my port", ""), Owner.OTHER),
    ],
    ids=["still-the-servers", "of-no-server", "of-another-server", "renamed"],
)
def test_what_the_manager_made_for_a_server_is_ours_as_long_as_nobody_else_has_taken_it(
    answer, owner
):
    gate = Gate(HANDLE)
    gate.bind("4f1c", PORT)

    assert gate.check_shown(PORT, answer) is owner


# --- wrong replies in a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["another", "nameless", "cut"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_run_in_which_one_reply_is_wrong_is_ok_and_touches_nothing_else(tmp_path, count, fault):
    undisturbed = Disaster(tmp_path / "world", count)
    assert undisturbed.run()[0] == 0
    for number in range(1, len(undisturbed.cloud.log) + 1):
        world = Disaster(tmp_path / "world", count, {number: fault})

        code, said = world.run()

        assert (code, world.ours(), world.ledgers()) == (0, [], []), (
            f"{undisturbed.cloud.log[number - 1]}: {said.text}"
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

    code, said = world.run()

    assert (code, [thing.split()[1] for thing in world.ours()], said.figures["leftovers"]) == (
        1,
        ["sna-7"],
        1,
    )


def test_a_foreign_id_in_the_reply_to_a_create_is_told_and_the_run_goes_on_with_its_own_server(
    tmp_path,
):
    world = Disaster(tmp_path / "world", faults={4: "another"})

    code, said = world.run("-v")

    assert (code, said.text[: len(GOOD)]) == (0, GOOD)
    assert (
        "note: server x-0 is called 'vmprobe-mon2-20260101t000000z-6-aaaaaaaa' and is not ours: it is not touched"
        in said.details
    )
    assert [request for request in world.cloud.log if "x-0" in request] == ["show server x-0"]


def test_the_foreign_id_of_a_thing_without_a_name_holds_up_neither_the_run_nor_its_end(tmp_path):
    world = Disaster(tmp_path / "world", faults={4: "another"})
    world.cloud.things["x-0"].name = ""

    code, said = world.run("-v")

    assert (code, said.text[: len(GOOD)]) == (0, GOOD)
    assert "note: server x-0 has no name and is not ours: it is not touched" in said.details
    assert {request for request in world.cloud.log if "x-0" in request} == {"show server x-0"}
    assert (world.ours(), world.ledgers()) == ([], [])


def test_a_snapshot_is_asked_of_no_server_but_our_own(tmp_path):
    world = Disaster(tmp_path / "world", faults={4: "another"})
    world.run()

    assert requests(world, "snapshot") == ["snapshot server ser-2"]


# --- ledgers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path):
    """A world whose last run was killed while its VM was booting: server ser-2 and volume vol-1 are there."""
    world = Disaster(tmp_path / "world", faults={8: "killed-before"})
    world.run_and_be_killed()
    world.cloud.log.clear()
    return world


def _with_line(world, **entry):
    file = next(world.state.rglob("*.ledger"))
    file.write_text(file.read_text() + json.dumps(entry) + "\n")


def test_a_ledger_that_points_at_a_thing_without_a_name_does_not_remove_it(killed):
    killed.cloud.things["disk"] = Thing(Kind.VOLUME, "disk", "", "FREE", 0.0, 2**30)
    _with_line(killed, event="created", kind="volume", id="disk", name="", at=0)

    code, said = killed.run("-v")

    assert (code, killed.ours()) == (0, ["volume disk "])
    assert "note: volume disk has no name and is not ours: it is not touched" in said.details


def test_a_thing_that_has_no_name_yet_is_waited_for_and_not_called_gone(killed):
    killed.cloud.things["young"] = Thing(Kind.VOLUME, "young", "", "FREE", 0.0, 2**30)
    _with_line(killed, event="created", kind="volume", id="young", name="", at=killed.clock.utc())

    code, said = killed.run()

    assert code == 1
    assert said.text.endswith("1 left behind by earlier runs: volume young")


def test_a_line_about_a_port_that_is_not_this_ledgers_own_is_damage_and_removes_nothing(killed):
    killed.cloud.things["port"] = Thing(Kind.PORT, "port", "", "ATTACHED", 0.0)
    _with_line(
        killed, event="belongs", kind="port", id="port", name="", server="ser-2", at=0, sum="0" * 16
    )

    code, said = killed.run()

    assert (code, killed.ours()) == (0, ["port port "])
    assert "a damaged ledger is set aside: " in said.text


def test_a_ledger_of_twenty_thousand_lines_does_not_keep_a_run_from_its_test(killed):
    file = next(killed.state.rglob("*.ledger"))
    lines = [
        json.dumps({"event": "created", "kind": "server", "id": f"i{number}", "name": "", "at": 0})
        for number in range(20000)
    ]
    file.write_text(file.read_text() + "\n".join(lines) + "\n")

    code, said = killed.run()

    assert (code, killed.ours(), killed.ledgers()) == (0, [], [])
    assert len(killed.cloud.log) < 60


def test_a_flood_of_things_under_the_handle_is_one_write_of_the_ledger(tmp_path):
    ledger = Ledger.begin(str(tmp_path), HANDLE)
    before = len(open(ledger.path, "rb").read())
    ledger.created([Ref(Kind.SERVER, f"i{number}", NAME) for number in range(10000)], 0.0)

    assert len(ledger.owed()) == 10000
    assert len(open(ledger.path, "rb").read()) > before
    ledger.created([Ref(Kind.SERVER, f"{'i' * 400}{number}", NAME) for number in range(10000)], 0.0)
    assert ledger.trouble == f"the ledger cannot be written: File too large: {tmp_path}"
    assert len(ledger.owed()) == 20000
    ledger.close(settled=True)


# --- what the manager makes by itself -----------------------------------------------------------------------------


def _number_of(tmp_path, word):
    """The number of the first request of an undisturbed run that begins so."""
    world = Disaster(tmp_path / "world")
    world.run()
    return next(
        number for number, request in enumerate(world.cloud.log, 1) if request.startswith(word)
    )


def test_a_port_that_outlives_its_server_is_removed(tmp_path):
    world = Disaster(
        tmp_path / "world", faults={_number_of(tmp_path, "delete server"): "port-left"}
    )

    assert world.run()[0] == 0
    assert (world.ours(), requests(world, "delete port")) == ([], ["delete port por-ser-2"])


def test_a_port_that_outlives_its_server_and_its_run_is_removed_by_the_next_run(tmp_path):
    removal = _number_of(tmp_path, "delete server")
    for number in range(removal + 1, removal + 8):
        world = Disaster(tmp_path / "world", faults={removal: "port-left", number: "killed-before"})
        world.run_and_be_killed()
        world.repaired()

        assert world.run()[0] == 0
        assert world.ours() == []
        world.clock.sleep(HOUR)  # a snapshot that no run was ever shown may appear until then
        assert world.run()[0] == 0
        assert world.ledgers() == []
        world.check_strangers()


def test_what_belongs_to_a_server_that_somebody_else_removes_is_removed(tmp_path):
    number = _number_of(tmp_path, "belongings")
    world = Disaster(tmp_path / "world")

    def removed_by_somebody():
        world.cloud._next = "port-left"
        world.cloud.remove("ser-2")

    world.cloud.killer = removed_by_somebody
    world.cloud.plot[number] = "killed-after"

    code, said = world.run()

    assert (code, said.text.split(":")[1]) == (2, " storage")
    assert (world.ours(), requests(world, "delete port")) == ([], ["delete port por-ser-2"])


def _in_which_no_server_tells_what_belongs_to_it(tmp_path, monkeypatch, *silent):
    """A world in which requests that begin with one of these words fail, and the port of a removed server stays."""
    world = Disaster(tmp_path / "world")
    serve, remove = world.cloud.serve, world.cloud.remove

    def leaves_its_port(identity):
        if identity == "ser-2" and identity in world.cloud.things:
            world.cloud.things["por-ser-2"] = world.cloud.port_of(world.cloud.things[identity])
        remove(identity)

    world.cloud.remove = leaves_its_port

    def fails(words, act, limit):
        if words.startswith(silent):
            world.cloud.log.append(words)
            raise GatewayFailed(f"{words}: 503 busy")
        return serve(words, act, limit)

    monkeypatch.setattr(world.cloud, "serve", fails)
    return world


def test_a_port_of_a_server_of_which_nothing_was_known_is_found_and_removed(tmp_path, monkeypatch):
    world = _in_which_no_server_tells_what_belongs_to_it(tmp_path, monkeypatch, "belongings")

    code, said = world.run("-v")

    assert (code, world.ours(), world.ledgers()) == (0, [], []), world.cloud.log
    assert (
        "note: what the manager made for server ser-2 is not known before its removal: belongings server ser-2: 503 busy"
        in said.details
    )
    assert requests(world, "delete port") == ["delete port por-ser-2"]


def test_a_server_of_which_nobody_says_what_it_left_is_not_seen_gone(tmp_path, monkeypatch):
    world = _in_which_no_server_tells_what_belongs_to_it(
        tmp_path, monkeypatch, "belongings", "left by"
    )

    code, said = world.run()

    assert (code, said.text) == (
        1,
        "site: gone: server ser-2 could not be seen gone: left by server ser-2: 503 busy (cause=teardown)",
    )
    monkeypatch.undo()
    assert (world.run()[0], world.ours()) == (0, [])


def test_a_server_that_never_ran_is_asked_for_once_more_when_it_is_gone(tmp_path):
    site = MemorySite(tmp_path, VirtualClock())
    site.cloud.faults.add("never-active")

    code, _ = site.lifecycle()

    assert code == 2
    assert [request for request in site.cloud.log if request.startswith("left by")] == [
        "left by server ser-2"
    ]


def test_a_port_that_cannot_be_removed_is_a_leftover(tmp_path, monkeypatch):
    world = Disaster(
        tmp_path / "world", faults={_number_of(tmp_path, "delete server"): "port-left"}
    )
    remove = world.cloud.remove

    def refused(identity):
        if identity.startswith("por-"):
            raise NotPermitted("ports are removed by administrators")
        remove(identity)

    monkeypatch.setattr(world.cloud, "remove", refused)

    code, said = world.run()

    assert (code, said.text) == (
        1,
        "site: gone: port por-ser-2 could not be seen gone: ports are removed by administrators "
        "(cause=teardown)",
    )
    assert said.figures["leftovers"] == 1


def test_a_port_that_somebody_else_has_taken_is_left_alone(tmp_path):
    world = Disaster(
        tmp_path / "world", faults={_number_of(tmp_path, "delete server"): "port-left"}
    )
    remove = world.cloud.remove

    def taken(identity):
        remove(identity)
        if identity == "ser-2":
            world.cloud.things["por-ser-2"].server = "x-14"

    world.cloud.remove = taken

    code, said = world.run("-v")

    assert (code, world.ours()) == (0, ["port por-ser-2 "])
    assert (
        "note: port por-ser-2 belongs to server x-14 and is not ours: it is not touched"
        in said.details
    )


# --- sweeps -------------------------------------------------------------------------------------------------------


def test_a_run_that_lives_on_this_host_is_not_swept_whatever_the_clock_says(tmp_path):
    clock = VirtualClock()
    site = MemorySite(tmp_path, clock)
    outcomes = []

    def an_hour_later():
        clock._utc += HOUR
        outcomes.append(site.leftovers("--remove"))
        clock._utc -= HOUR

    clock.at(4, an_hour_later)
    code, _ = site.lifecycle()

    assert code == 0
    ((swept, output),) = outcomes
    assert (swept, output.split(" | ")[0]) == (
        0,
        "VM_LEFTOVERS OK - site: nothing is left behind (2 things within their lease)",
    )


def test_what_a_killed_run_of_this_host_left_is_swept_and_its_ledger_with_it(killed):
    killed.outlast_the_lease()

    assert killed.leftovers("--remove")[0] == 0
    assert killed.ours() == killed.ledgers() == []


@pytest.mark.parametrize(
    "clock, swept",
    [(0, 0), (HOUR, 0), (3 * HOUR, 1), (-HOUR, 0)],
    ids=["right", "hour-ahead", "lease-is-over", "behind"],
)
def test_leases_are_judged_by_the_clouds_clock_where_this_hosts_is_ahead(tmp_path, clock, swept):
    """A run of another host with the same owner lives there, whose ledger is not to be seen here."""
    site = MemorySite(tmp_path, VirtualClock())
    handle = handles.new("mon", 300.0, site.clock.utc() - (2 * HOUR if swept else 0))
    site.cloud.things["4f1c"] = Thing(Kind.SERVER, "4f1c", str(handle), "RUNNING", 0.0)
    site.cloud.dated = site.clock.utc()
    site.clock._utc += clock

    _, output = site.leftovers("--remove", "-v")

    assert ("4f1c" not in site.cloud.things) == bool(swept)
    assert ("ahead of the cloud's, by which leases are judged" in output) == (clock > 0)


@pytest.mark.parametrize(
    "one, other",
    [
        ("mon.1", "mon-1"),
        ("mon_1", "mon-1"),
        ("mon-1.", "mon-1"),
        ("a.b-c", "a-b.c"),
        ("mon--1", "mon-1"),
    ],
)
def test_two_owners_are_two(one, other):
    assert owner_word(one) != owner_word(other)
    assert re.fullmatch("[a-z0-9][a-z0-9-]{0,17}", owner_word(one))


def test_capitals_do_not_make_another_owner():
    assert owner_word("MON1.Example.org") == owner_word("mon1.example.org")


# --- a clean-up that ends when it can ------------------------------------------------------------------------------


def test_a_cloud_that_knows_nothing_any_more_is_not_said_to_be_empty(tmp_path, monkeypatch):
    """A gateway that has lost what is behind it says 404 to everything."""
    world = Disaster(tmp_path / "world")
    serve = world.cloud.serve

    def lost(words, act, limit):
        if any(request.startswith("attach") for request in world.cloud.log):
            raise NotFound(f"{words}: 404 no route matches")
        return serve(words, act, limit)

    monkeypatch.setattr(world.cloud, "serve", lost)

    code, said = world.run("-v")

    assert (code, said.text) == (
        2,
        "site: storage: server ser-2 was RUNNING and is no longer there (cause=scheduler); "
        "whether anything is left behind is not known",
    )
    assert [line for line in said.details if "could not be seen gone: list " in line] != []
    monkeypatch.undo()
    world.clock.sleep(HOUR)
    assert (world.run()[0], world.ours(), world.ledgers()) == (0, [], [])


def test_what_was_surely_never_sent_is_not_looked_for(tmp_path):
    world = Disaster(tmp_path / "world")
    world.cloud.faults.add(
        "gone-for-good"
    )  # every connection is refused while anything runs, as it does from the start
    world.cloud.things["x-0"].word = "RUNNING"
    world.cloud.faults.clear()
    serve = world.cloud.serve

    def refused(words, act, limit):
        if words.startswith(("create", "list")):
            from vmprobe.core.errors import Unreachable

            world.cloud.log.append(words)
            raise Unreachable("connection refused", sent=False)
        return serve(words, act, limit)

    world.cloud.serve = refused

    code, said = world.run()

    assert (code, said.text) == (2, "site: submit: connection refused (cause=gateway)")
    assert requests(world, "list") == []
    assert said.figures["total"] == 0


def test_a_session_that_is_rejected_for_good_ends_the_clean_up_at_once(tmp_path):
    world = Disaster(tmp_path / "world")
    world.clock.at(
        5, lambda: (world.cloud.faults.add("auth-rejected"), world.cloud.sessions.clear())
    )
    serve = world.cloud.serve

    def rejected(words, act, limit):
        if "auth-rejected" in world.cloud.faults and words != "connect":
            from vmprobe.core.errors import AuthRejected

            raise AuthRejected("401 the project is disabled")
        return serve(words, act, limit)

    world.cloud.serve = rejected

    code, said = world.run()

    assert code == 2
    assert said.text.endswith("left behind: server ser-2, volume vol-1")
    assert said.figures["total"] < 15


def test_a_kind_that_was_not_asked_for_need_not_be_listable(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")
    world.site.set("test vm", snapshot="no")
    listed = world.cloud.listed

    def forbidden(kind, name):
        if kind is Kind.SNAPSHOT:
            raise NotPermitted("snapshots are for administrators")
        return listed(kind, name)

    monkeypatch.setattr(world.cloud, "listed", forbidden)

    assert world.run()[0] == 0
    assert requests(world, "list snapshot") == []


def test_a_kind_of_which_nothing_is_owed_holds_up_no_debt(killed, monkeypatch):
    listed = killed.cloud.listed

    def forbidden(kind, name):
        if kind is Kind.SNAPSHOT:
            raise NotPermitted("snapshots are for administrators")
        return listed(kind, name)

    monkeypatch.setattr(killed.cloud, "listed", forbidden)
    killed.site.set("test vm", snapshot="no")

    code, said = killed.run("-v")

    assert (code, killed.ours(), killed.ledgers()) == (0, [], [])
    assert (
        "note: snapshots could not be listed, and none were asked for: snapshots are for administrators"
        in said.details
    )


def test_each_fifth_request_that_fails_does_not_keep_a_clean_up_from_its_end(tmp_path):
    world = Disaster(tmp_path / "world", faults={number: "500" for number in range(25, 400, 5)})

    code, said = world.run()

    assert (world.ours(), world.ledgers()) == ([], [])
    assert said.figures["total"] < 60


def test_a_failure_of_the_drivers_own_in_the_clean_up_does_not_end_it(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")
    remove, times = world.cloud.remove, []

    def broken(identity):
        times.append(identity)
        if len(times) < 4:
            raise RuntimeError("a fault in the driver")
        remove(identity)

    monkeypatch.setattr(world.cloud, "remove", broken)

    assert world.run()[0] == 0
    assert world.ours() == world.ledgers() == []


def test_a_fleet_that_is_gone_at_the_first_look_is_looked_for_once_and_leaves_no_ledger(tmp_path):
    world = Disaster(tmp_path / "world", count=3)

    assert world.run()[0] == 0
    removal = next(
        number for number, request in enumerate(world.cloud.log) if request.startswith("delete")
    )
    assert [
        request.split()[:2] for request in world.cloud.log[removal:] if request.startswith("list")
    ] == [["list", "snapshot"], ["list", "volume"], ["list", "server"]]
    assert world.ledgers() == []


# --- no new VM while many old ones stay ---------------------------------------------------------------------------


def test_no_test_vm_is_started_while_more_is_left_behind_than_the_site_allows(killed):
    for name in ("ser-2", "vol-1"):
        killed.cloud.things[name].undying = True
    killed.site.set("budget", leftovers="1")

    code, said = killed.run()

    assert (code, said.text) == (
        1,
        "site: 2 things of earlier runs could not be removed, and [budget] leftovers is 1: no test VM was "
        "started (cause=teardown); 2 left behind by earlier runs: server ser-2",
    )
    assert requests(killed, "create") == []
    assert said.figures["leftovers"] == 2


# --- requests that were not served --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [3, 4], ids=["volume", "server"])
def test_a_create_that_met_a_rate_limit_is_sent_again_after_the_time_that_was_asked_for(
    tmp_path, number
):
    world = Disaster(tmp_path / "world", faults={number: "429"})

    code, said = world.run()

    assert (code, world.ours(), world.ledgers()) == (0, [], [])
    assert said.figures["submit"] == 3


def test_a_rate_limit_that_does_not_end_is_the_gateways_and_nothing_is_looked_for_three_times(
    tmp_path,
):
    world = Disaster(tmp_path / "world", faults={3: "429", 4: "429", 5: "429"})

    code, said = world.run()

    assert (code, said.text) == (2, "site: submit: 429 too many requests (cause=gateway)")
    assert len(requests(world, "list volume")) == 1
    assert world.ledgers() == []


# --- names ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_a_handle_covers_exactly_the_names_that_it_can_be_read_from(data):
    handle = data.draw(
        st.sampled_from(
            [HANDLE, HANDLE._replace(owner="a-20270115t080000z"), HANDLE._replace(owner="a")]
        )
    )
    text = str(handle)
    place = data.draw(st.integers(0, len(text)))
    name = (
        text[:place]
        + data.draw(st.text("-abc019zAZ_\n\u0660\u212a", max_size=3))
        + text[data.draw(st.integers(place, len(text))) :]
    )
    name += data.draw(st.sampled_from(["", "", "-1", "-snapshot", "-", "-" + text]))

    assert handle.covers(name) == (handles.parse(name) == handle)


def test_a_list_without_an_end_does_not_take_the_time_of_the_others(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")
    monkeypatch.setenv("VMPROBE_STATE", str(world.state))
    options = command.parser().parse_args(["--site", str(world.site.write())])
    run = command.Run(load_site(options), options, world.clock)
    listed = world.cloud.listed

    def endless(kind, name):
        while kind is Kind.VOLUME:  # page after page, each in time
            world.clock.sleep(1)
            run.deadline.check()
        return listed(kind, name)

    monkeypatch.setattr(world.cloud, "listed", endless)

    said = run.verdict()

    assert (said.state, world.ours()) == (1, [])
    assert len(requests(world, "list server")) == 1
    assert len(requests(world, "list volume")) > 3


def test_what_is_gone_by_the_time_that_a_look_is_cut_short_is_not_looked_for_again(
    tmp_path, monkeypatch
):
    world = Disaster(tmp_path / "world", count=3)
    find, denied = world.cloud.find, []

    def slow(identity):
        if identity.startswith("vol") and identity not in world.cloud.things:
            denied.append(identity)
            world.clock.sleep(40)
        return find(identity)

    monkeypatch.setattr(world.cloud, "find", slow)
    world.site.set("budget", deadline="100 s", reserve="60 s")
    world.run()
    first = list(denied)

    world.clock.sleep(HOUR)
    monkeypatch.setattr(world.cloud, "find", find)
    world.cloud.log.clear()
    world.run()

    assert [
        request for request in requests(world, "show volume") if request.split()[-1] in first[:-1]
    ] == []
