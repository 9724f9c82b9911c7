"""Nothing is left behind: every request of a run x every fault, with what follows, over the cloud in memory.

Time is virtual, SIGKILLs are real: such a run is a process of its own. Each case is followed by two worlds. In one the
next run comes; in the other there is neither that nor a ledger, only ``check_vm_leftovers --remove`` after the lease.
Either has to be enough. Every output is read by three parsers, and every exit code stands in a table.
"""

import itertools
import os
import random
import shutil
from pathlib import Path

import pytest

from disasters import FAULTS, HOUR, KILLS, LEASE, Disaster

SHM = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")
COUNTS = (1, 3)

# --- the exit codes -----------------------------------------------------------------------------------------------

PASSING = {"reset", "reply-lost", "409", "429", "500", "503", "hang", "malformed"}  # the same request may succeed again
HARMLESS = {"lag", "delete-lost", "never-deleted"}  # but for what they are made for
CODES = {  # what the request was for: {fault: exit code}; what is not named is 0
    "connect": {"401": 2, "403": 2},
    "resolve": {"403": 2},
    "create": {**dict.fromkeys(PASSING, 2), "403": 2, "broken": 2},  # a create is never asked twice, but after a 401
    "look": {"403": 2, "broken": 2},
    "attach": {"403": 2, "broken": 2},
    "metrics": {},  # what is forbidden there is not measured
    "detach": {"403": 2},
    "delete": {"never-deleted": 1},
    "verify": {},
}


def purpose(log, number):
    """What request ``number`` (from 1) of an undisturbed run is for: a key of CODES."""
    word = log[number - 1].split()[0]
    if any(request.startswith("delete") for request in log[:number]):
        return "delete" if word == "delete" else "verify"
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


TRIED = {"single faults": 0, "kills between two writes of the ledger": 0, "pairs of faults": 0, "runs": 0}


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
            raise AssertionError(f"{fault} at request {number}, {log[number - 1]} ({count} servers): {wrong}") from wrong
        TRIED["single faults"] += 1


def _live_through(world, fault, what):
    """The run with its fault, then both worlds that may follow."""
    if fault in KILLS:
        world.run_and_be_killed()
    else:
        code, said = world.run()
        assert code == CODES[what].get(fault, 0), said
        assert said.figures["total"] >= 0
        stuck = fault == "never-deleted" and what == "delete"
        assert (world.ours() != []) == stuck, f"left: {world.ours()}"
        assert said.figures["leftovers"] == len(world.ours())
    world.check_strangers()
    _either_is_enough(world)


def _either_is_enough(world):
    """``check_vm_leftovers --remove`` after the lease, without any ledger; or the next run, at once."""
    left = world.ours()
    stuck = any(thing.undying for thing in world.cloud.things.values())
    restore = world.fork()

    if left:  # else the sweep meets the strangers alone, as in test_strangers_are_never_removed
        restore(elsewhere=True)
        world.clock.sleep(LEASE + 61)
        if stuck:
            code, said = world.leftovers("--remove")
            assert (code, said.figures["leftovers"]) == (1, len(left)), said
            world.repaired()
        code, said = world.leftovers("--remove")
        assert (code, said.figures["leftovers"]) == (0, 0), said
        assert world.ours() == []
        world.check_strangers()

    restore()
    if stuck:
        code, said = world.run()
        assert (code, said.figures["leftovers"]) == (1, len(left)), said
        assert f"{len(left)} left behind by earlier runs" in said.text
    world.repaired()
    code, said = world.run()
    assert (code, said.figures["leftovers"]) == (0, 0), said
    assert world.ours() == []
    world.check_strangers()
    if world.ledgers():  # what was asked for, never answered and never shown may yet appear: one look later
        world.clock.sleep(HOUR)
        assert world.run()[0] == 0
    assert world.ledgers() == []
