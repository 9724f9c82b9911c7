"""check_vm_leftovers --remove: what it may remove, and whose it is."""

import re

import pytest

from disasters import HOUR
from running import MemorySite
from virtual import VirtualClock
from vmprobe.core import handle as handles
from vmprobe.core.handle import owner_word
from vmprobe.core.model import Kind
from vmprobe.drivers.memory.cloud import Thing


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
        "VM_LEFTOVERS OK - site: nothing is left behind (2 resources within their lease)",
    )


def test_what_a_killed_run_of_this_host_left_is_removed_with_its_ledger(killed):
    killed.outlast_the_lease()

    assert killed.leftovers("--remove")[0] == 0
    assert killed.ours() == killed.ledgers() == []


@pytest.mark.parametrize(
    "clock, swept",
    [(0, 0), (HOUR, 0), (3 * HOUR, 1), (-HOUR, 0)],
    ids=["right", "hour-ahead", "lease-is-over", "behind"],
)
def test_leases_end_by_the_clouds_clock_where_this_hosts_is_ahead(tmp_path, clock, swept):
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
