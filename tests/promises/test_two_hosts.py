"""Several monitoring hosts, or several runs of one host, in one project: none touches what belongs to another."""

import random

import pytest

import plugin_output
from running import MemorySite
from virtual import SharedClock, VirtualClock
from vmprobe.core.model import Kind
from vmprobe.drivers.memory.cloud import Thing


def hosts(tmp_path, clock, owners):
    """One cloud, as a site for each of these owners; sites of the same owner share a directory of ledgers."""
    sites = []
    for number, owner in enumerate(owners):
        (tmp_path / f"{number}").mkdir()
        sites.append(
            MemorySite(tmp_path / f"{number}", clock).set(
                "site", owner=owner, name=f"seen-by-{owner}"
            )
        )
        sites[-1].cloud = sites[0].cloud
        sites[-1].set("endpoint", url=sites[0].url).set("test vm", snapshot="yes")
    return sites


def test_remove_of_one_host_never_touches_what_the_other_left(tmp_path):
    here, there = hosts(tmp_path, VirtualClock(), ["mon-a", "mon-b"])
    for owner in ("mon-a", "mon-b"):
        here.cloud.things[owner] = Thing(
            Kind.SERVER, owner, f"vmprobe-{owner}-20270115t040000z-48-aaaaaaaa", "RUNNING", 0.0
        )

    here.leftovers("--remove")
    assert set(here.cloud.things) == {"mon-b"}
    there.leftovers("--remove")
    assert here.cloud.things == {}


@pytest.mark.parametrize(
    "owners", [["mon-a", "mon-b"], ["mon-a", "mon-a"]], ids=["two hosts", "one host"]
)
@pytest.mark.parametrize("moment", [0, 1.5, 4, 6, 10.5, 12, 13, 14, 16, 17])
def test_a_whole_run_at_any_moment_of_another_touches_nothing_of_it(tmp_path, moment, owners):
    clock = VirtualClock()
    here, there = hosts(tmp_path, clock, owners)
    outcomes = []

    def meanwhile():
        mine = {key: thing.name for key, thing in here.cloud.things.items()}
        outcomes.append(there.lifecycle()[0])
        outcomes.append(there.leftovers("--remove")[0])
        assert {key: thing.name for key, thing in here.cloud.things.items()} == mine

    clock.at(moment, meanwhile)
    outcomes.append(here.lifecycle()[0])

    assert outcomes == [0, 0, 0]
    assert here.cloud.things == {}


@pytest.mark.parametrize("seed", range(6))
def test_concurrent_runs_and_sweeps_of_two_hosts_all_go_well(tmp_path, seed):
    """Each of two hosts has two runs and a sweep that is repeated; they take turns at each step."""
    chance, clock, outcomes = random.Random(seed), SharedClock(), []
    sites = hosts(tmp_path, clock, ["mon-a", "mon-a", "mon-b", "mon-b"])

    def lives(site, count):
        code, output = site.lifecycle("--count", str(count))
        outcomes.append((code, plugin_output.read(output).text.split(" in ")[0]))

    def sweeps(site):
        for _ in range(30):
            clock.sleep(1)
            site.leftovers("--remove")

    threads = [
        clock.thread(chance.uniform(0, 15), lives, site, count)
        for site, count in zip(sites, (1, 3, 1, 3))
    ]
    threads += [clock.thread(chance.uniform(0, 1), sweeps, site) for site in sites[::2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(outcomes) == [
        (0, "seen-by-mon-a: 3 test VMs ran and are gone"),
        (0, "seen-by-mon-a: test VM ran and is gone"),
        (0, "seen-by-mon-b: 3 test VMs ran and are gone"),
        (0, "seen-by-mon-b: test VM ran and is gone"),
    ]
    assert sites[0].cloud.things == {}
    assert [thread for thread in threads if thread.is_alive()] == []
