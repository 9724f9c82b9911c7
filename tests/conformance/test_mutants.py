"""That the conformance suite can fail: it catches a memory cloud that is broken in many deliberate ways."""

import pytest

from conformance.mutants import MUTANTS, SURVIVORS, Base
from running import MemorySite
from virtual import VirtualClock
from vmprobe.ctl.conform import subject
from vmprobe.ctl.conform.run import failures, try_all
from vmprobe.site.site import load

# Short waits, because some mutants never do what is waited for; and a server that cannot be.
MORE = {"patience": 30, "impossible": {"flavor": "huge"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mutants")
    credentials = directory / "credentials.ini"
    credentials.write_text("[credentials]\nusername = probe\npassword = s3cret-pass\n")
    credentials.chmod(0o600)
    return directory


def failed(place, driver=Base):
    """The ids of the requirements that a driver over a new cloud in memory fails."""
    clock = VirtualClock()
    site = MemorySite(place, clock).set("endpoint", credentials="credentials.ini")
    site.cloud.token = lambda: (
        "a-token-of-a-session"
    )  # always the same: its patterns are compiled once
    site = load(str(site.write()))
    site = site._replace(driver=driver)
    outcomes = try_all(subject.of_site(site, clock, total=3600, **MORE))
    return [outcome.requirement.id for outcome in failures(outcomes)]


def test_nothing_is_wrong_in_the_cloud_that_the_mutants_are_made_from(place):
    assert failed(place) == []


@pytest.fixture(scope="module")
def caught(place, tell):
    """For each mutant, the requirements that it fails."""
    found = {name: failed(place, mutant.driver()) for name, mutant in MUTANTS.items()}
    number = sum(1 for ids in found.values() if ids)
    tell(
        f"conformance: {number} of {len(found)} mutants of the memory cloud caught "
        f"({100 * number / len(found):.1f} %)"
    )
    return found


def test_there_are_enough_mutants():
    assert len(MUTANTS) >= 60


def test_those_that_survive_are_known_with_a_reason(caught):
    assert {name for name, ids in caught.items() if not ids} == set(SURVIVORS)


def test_95_percent_of_the_mutants_are_caught(caught):
    assert sum(1 for ids in caught.values() if ids) >= 0.95 * len(caught)
