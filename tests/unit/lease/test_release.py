"""A run deletes what it created, whatever the cloud answers and whatever a driver's library raises."""

import itertools

import pytest

from disasters import HOUR, Disaster, code_and_text
from vmprobe.core.errors import DeadlinePassed, Interrupted, NotPermitted, Unreachable
from vmprobe.core.model import Kind
from vmprobe.drivers.memory import driver as memory


def test_the_clean_up_waits_as_long_as_the_cloud_asks_for(killed):
    killed.cloud.plot.update({3: "429", 6: "429"})

    code, output = killed.run()

    assert (code, killed.ours()) == (0, [])
    assert output.figures["total"] >= 19 + 6


def test_a_server_whose_reply_was_lost_is_found_by_the_same_run_though_lists_lag_by_two(tmp_path):
    world = Disaster(tmp_path / "world", faults={4: "reply-lost", 9: "lag"}, lag=2)

    assert code_and_text(world.run()) == (
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

    assert code_and_text(world.run()) == (
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
        assert code_and_text(world.run()) == (
            1,
            "site: gone: unknown whether anything is left under the handle: servers are not "
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
        lambda *arguments: silent() if world.clock.now() > end - 6 else listed(*arguments),
    )

    assert code_and_text(world.run()) == (
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

    assert code_and_text(world.run()) == (
        1,
        "site: delete: snapshot sna-3, server ser-2, volume vol-1: deletion not confirmed: "
        "delete sna-3: no whole answer within 60 s (cause=teardown)",
    )


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

    def broken(*arguments):
        if world.clock.now() > 12 and next(raises) < 4:
            raise raised("a library's own")
        return real(*arguments)

    monkeypatch.setattr(world.cloud, verb, broken)

    code, _ = world.run()

    assert code in (0, 3)
    assert world.ours() == world.ledgers() == []


def test_a_session_that_cannot_be_closed_changes_no_verdict(tmp_path, monkeypatch):
    world = Disaster(tmp_path / "world")

    def close(driver):
        raise RuntimeError("closed already")

    monkeypatch.setattr(memory.Memory, "close", close)

    code, output = world.run("-v")

    assert (code, output.text) == (
        0,
        "site: test VM ran and is gone in 17.5 s (active 10.5 s, network 10.5 s, storage 12 s)",
    )
    assert "note: the session could not be closed: RuntimeError: closed already" in output.details
