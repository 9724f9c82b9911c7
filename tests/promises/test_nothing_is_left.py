"""Nothing is left behind: every request of a run x every fault, with what follows, over the cloud in memory.

Time is virtual, SIGKILLs are real: such a run is a process of its own. Each case is followed by two worlds. In one the
next run comes; in the other there is neither that nor a ledger, only ``check_vm_leftovers --remove`` after the lease.
Either has to be enough. Every output is read by three parsers, and every exit code stands in a table.
"""

import functools
import itertools
import os
import random
import shutil

import pytest

from disasters import FAULTS, HOUR, KILLS, SHM, Disaster
from readme import README

COUNTS = (1, 3)

# --- the exit codes -----------------------------------------------------------------------------------------------

NAMED = [
    fault for fault in FAULTS if fault != "port-left"
]  # a port has no name: without the ledger nobody knows whose it was
PASSING = {
    "reset",
    "reply-lost",
    "409",
    "429",
    "500",
    "503",
    "hang",
    "malformed",
}  # the same request may succeed again
HARMLESS = {"lag", "delete-lost", "never-deleted"}  # but for what they are made for
CODES = {  # what the request was for: {fault: exit code}; what is not named is 0
    "connect": {"401": 2, "403": 2},
    "resolve": {"403": 2},
    "create": {
        **dict.fromkeys(PASSING - {"429"}, 2),
        "403": 2,
        "broken": 2,
    },  # only what was surely not served is asked again
    "look": {"403": 2, "broken": 2},
    "attach": {"403": 2, "broken": 2},
    "metrics": {},  # what cannot be had there is not measured
    "belongings": {"broken": 2},  # are asked for again before the removal
    "detach": {"403": 2},
    "delete": {"never-deleted": 1},
    "verify": {},
}


def purpose(log, number):
    """What request ``number`` (from 1) of an undisturbed run is for: a key of CODES."""
    word = log[number - 1].split()[0]
    if any(request.startswith("delete") for request in log[:number]):
        return "delete" if word == "delete" else "verify"
    if word == "console" and any(request.startswith("metrics") for request in log[:number]):
        return "metrics"  # the VM's own account of what it did, beside the manager's
    return {"snapshot": "create", "show": "look", "list": "look", "console": "look"}.get(word, word)


@pytest.fixture(scope="module")
def undisturbed():
    """By number of servers: what an undisturbed run requests."""
    logs = {}
    for count in COUNTS:
        world = Disaster(SHM / f"vmprobe-{os.getpid()}", count)
        assert world.run()[0] == 0
        assert world.ours() == world.ledgers() == []
        logs[count] = list(world.cloud.log)
    return logs


@pytest.fixture
def directory():
    """A directory in memory: a thousand runs write their ledgers here."""
    path = SHM / f"vmprobe-{os.getpid()}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


TRIED = {"single faults": 0, "kills around the ledger's writes": 0, "pairs of faults": 0}


# --- one fault ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_left_whatever_goes_wrong_at_any_request(fault, count, directory, undisturbed):
    log = undisturbed[count]
    for number in range(1, len(log) + 1):
        world = Disaster(directory, count, {number: fault})
        try:
            _live_through(world, fault, purpose(log, number))
        except AssertionError as wrong:
            raise AssertionError(
                f"{fault} at request {number}, {log[number - 1]} ({count} servers): {wrong}"
            ) from wrong
        TRIED["single faults"] += 1


def _live_through(world, fault, what):
    """The run with its fault, then both worlds that may follow."""
    if fault in KILLS:
        world.run_and_be_killed()
    else:
        code, output = world.run()
        assert code == CODES[what].get(fault, 0), output
        assert output.figures["total"] >= 0
        stuck = fault == "never-deleted" and what == "delete"
        assert (world.ours() != []) == stuck, f"left: {world.ours()}"
        assert output.figures["leftovers"] == len(world.ours())
    world.check_strangers()
    _either_is_enough(world)


def _either_is_enough(world):
    """``check_vm_leftovers --remove`` after the lease, without any ledger; or the next run, at once."""
    left = world.ours()
    if not left and not world.ledgers():
        return  # the run itself was enough: what follows would meet what the first one met, strangers and nothing else
    stuck = any(thing.undying for thing in world.cloud.things.values())
    restore = world.fork()

    if left:
        restore(elsewhere=True)
        world.outlast_the_lease()
        if stuck:
            code, output = world.leftovers("--remove")
            assert (code, output.figures["leftovers"]) == (1, len(left)), output
            world.repaired()
        code, output = world.leftovers("--remove")
        assert (code, output.figures["leftovers"]) == (0, 0), output
        assert world.ours() == []
        world.check_strangers()

    restore()
    if stuck:
        code, output = world.run()
        assert (code, output.figures["leftovers"]) == (1, len(left)), output
        assert f"{len(left)} left behind by earlier runs" in output.text
    world.repaired()
    code, output = world.run()
    assert (code, output.figures["leftovers"]) == (0, 0), output
    assert world.ours() == []
    world.check_strangers()
    if (
        world.ledgers()
    ):  # what was asked for, never answered and never shown may yet appear: one look later
        world.clock.sleep(HOUR)
        assert world.run()[0] == 0
    assert world.ledgers() == []


# --- SIGKILL between any two writes of the ledger -----------------------------------------------------------------

CALLS = (
    "mkdir",
    "open",
    "write",
    "fsync",
    "rename",
    "unlink",
    "ftruncate",
)  # what the ledger asks of the system


@pytest.mark.parametrize("how", ["before", "half", "after"])
@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_left_when_the_probe_is_killed_at_any_write_of_its_ledger(
    how, count, directory, monkeypatch
):
    calls = _calls(directory, count, monkeypatch)
    assert calls.count("write") == calls.count("fsync") - 1 >= 10
    for number, call in enumerate(calls, 1):
        if how == "half" and call != "write":
            continue
        world = Disaster(directory, count)
        world.run_and_be_killed(lambda kill, at=number: _kill_at(at, how, kill, setattr))

        world.check_strangers()
        _either_is_enough(world)
        TRIED["kills around the ledger's writes"] += 1


def _calls(directory, count, monkeypatch):
    """What an undisturbed run calls of CALLS, in order."""
    made = []
    world = Disaster(directory, count)

    def call(*arguments, name, real, **more):
        made.append(name)
        return real(*arguments, **more)

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, functools.partial(call, name=name, real=getattr(os, name)))
        world.run()
    return made


def _kill_at(number, how, kill, patch):
    """Replace CALLS of this process so that the ``number``-th is its last."""
    numbers = itertools.count(1)

    def call(*arguments, name, real, **more):
        last = next(numbers) == number
        if last and how == "half":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        elif last and how == "after":
            real(*arguments, **more)
        if last:
            kill()
        return real(*arguments, **more)

    for name in CALLS:
        patch(os, name, functools.partial(call, name=name, real=getattr(os, name)))


# --- two faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_left_after_two_faults(seed, directory):
    _search(random.Random(seed), 40, directory)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_nothing_is_left_after_two_faults_of_thousands(seed, directory):
    _search(random.Random(seed), 100, directory)


def _search(chance, tries, directory):
    for _ in range(tries):
        count, lag = chance.choice(COUNTS), chance.randint(1, 4)
        first = chance.randint(1, 40 if count == 1 else 80)
        near = (
            chance.random() < 0.5
        )  # half of the pairs are neighbours, the others may be in two runs
        second = first + (chance.randint(1, 4) if near else chance.randint(1, 60))
        faults = {first: chance.choice(NAMED), second: chance.choice(NAMED)}
        world = Disaster(directory, count, faults, lag)
        try:
            _live_through_two(world)
        except AssertionError as wrong:
            raise AssertionError(
                f"{faults}, {count} servers, lists lag by {lag}: {wrong}"
            ) from wrong
        TRIED["pairs of faults"] += 1


def _live_through_two(world):
    """Two runs, which meet the faults; when the cloud is well again, either of what may follow is enough."""
    for _ in range(2):
        before = set(world.ours())
        killing = any(
            fault in KILLS and number > len(world.cloud.log)
            for number, fault in world.cloud.plot.items()
        )
        outcome = world.run_in_a_process() if killing else world.run()
        if outcome is not None:
            code, output = outcome
            assert code != 0 or set(world.ours()) <= before, f"OK, and left: {world.ours()}"
        world.check_strangers()
    world.repaired()
    _either_is_enough(world)


def test_how_much_was_tried_is_what_the_readme_says(tell):
    for what, number in TRIED.items():
        if number:
            tell(f"nothing is left behind: {number} {what}")
            if what != "pairs of faults":  # these are as many as there is time for
                assert f"{number} {what}" in README.read_text()
