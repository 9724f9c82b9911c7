"""Nothing is left behind: each fault at each request of a run, over the cloud in memory.

Time is virtual. SIGKILLs are real: a run that is killed is a process of its own. Two ways to clean up follow each case.
One is the next run. The other is ``check_vm_leftovers --remove`` after the lease, without a ledger and without another
run. Each of them must be enough. Three parsers read every output, and a table has every exit code.
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
]  # a port has no name: only the ledger knows whose it was
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
HARMLESS = {"lag", "delete-lost", "never-deleted"}  # except for the requests that they are made for
CODES = {  # purpose of the request: {fault: exit code}; 0 for any other fault
    "connect": {"401": 2, "403": 2},
    "resolve": {"403": 2},
    "create": {
        **dict.fromkeys(PASSING - {"429"}, 2),
        "403": 2,
        "broken": 2,
    },  # only a request that was certainly not served is sent again
    "look": {"403": 2, "broken": 2},
    "attach": {"403": 2, "broken": 2},
    "metrics": {},  # what fails there is not measured
    "belongings": {"broken": 2},  # they are listed again before the deletion
    "detach": {"403": 2},
    "delete": {"never-deleted": 1},
    "verify": {},
}


def purpose(log, number):
    """The purpose of request ``number`` (from 1) of an undisturbed run: a key of CODES."""
    word = log[number - 1].split()[0]
    if any(request.startswith("delete") for request in log[:number]):
        return "delete" if word == "delete" else "verify"
    if word == "console" and any(request.startswith("metrics") for request in log[:number]):
        return "metrics"  # the VM's own figures, beside the manager's
    return {"snapshot": "create", "show": "look", "list": "look", "console": "look"}.get(word, word)


@pytest.fixture(scope="module")
def undisturbed():
    """By number of servers: the requests of an undisturbed run."""
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
            _run_and_clean_up(world, fault, purpose(log, number))
        except AssertionError as wrong:
            raise AssertionError(
                f"{fault} at request {number}, {log[number - 1]} ({count} servers): {wrong}"
            ) from wrong
        TRIED["single faults"] += 1


def _run_and_clean_up(world, fault, what):
    """Run with the fault, then clean up in both ways."""
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
    _clean_up_both_ways(world)


def _clean_up_both_ways(world):
    """Clean up by ``check_vm_leftovers --remove`` after the lease, without a ledger; then, from the same start, by the next run."""
    left = world.ours()
    if not left and not world.ledgers():
        return  # the run itself cleaned up: another one would find the same, only what belongs to others
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
    if world.ledgers():  # a resource that was requested, never confirmed and never listed may still appear: look once more
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
)  # the system calls of the ledger


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
        _clean_up_both_ways(world)
        TRIED["kills around the ledger's writes"] += 1


def _calls(directory, count, monkeypatch):
    """The CALLS of an undisturbed run, in order."""
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
    """Replace CALLS in this process so that it is killed at the ``number``-th."""
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
        )  # half of the pairs are close to each other, the others may be in two runs
        second = first + (chance.randint(1, 4) if near else chance.randint(1, 60))
        faults = {first: chance.choice(NAMED), second: chance.choice(NAMED)}
        world = Disaster(directory, count, faults, lag)
        try:
            _run_twice_and_clean_up(world)
        except AssertionError as wrong:
            raise AssertionError(
                f"{faults}, {count} servers, lists lag by {lag}: {wrong}"
            ) from wrong
        TRIED["pairs of faults"] += 1


def _run_twice_and_clean_up(world):
    """Two runs with the faults; then, without faults, each of both ways to clean up is enough."""
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
    _clean_up_both_ways(world)


def test_the_readme_has_the_number_of_cases(tell):
    for what, number in TRIED.items():
        if number:
            tell(f"nothing is left behind: {number} {what}")
            if what != "pairs of faults":  # their number depends on the time
                assert f"{number} {what}" in README.read_text()
