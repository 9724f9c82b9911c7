"""A check that creates nothing never runs longer than its scheduler allows."""

import pytest

from vmprobe.ctl.config import objects

LOOKS = ("gateway", "state", "activity", "capacity", "image", "leftovers")
NO_ANSWER = dict.fromkeys(range(1, 1000), "hang")


@pytest.mark.parametrize("check", LOOKS)
def test_a_check_that_looks_ends_at_a_site_s_deadline_of_30_s(site, clock, check):
    site.set("budget", deadline="30 s", reserve="10 s").cloud.plot.update(NO_ANSWER)

    state, output = site.probe(check)

    assert (state, "the deadline of 30 s passed" in output) == (3, True)
    assert clock.now() <= 30.1 < objects.needed(30)


@pytest.mark.parametrize("check", LOOKS)
def test_a_check_that_looks_takes_no_more_than_50_s_of_a_longer_deadline(site, clock, check):
    site.cloud.plot.update(NO_ANSWER)

    state, output = site.probe(check)

    assert (state, "the deadline of 50 s passed" in output) == (3, True)
    assert clock.now() <= 50.1 < objects.needed(50) == objects.NAGIOS_LIMIT


def test_removing_leftovers_has_the_site_s_whole_deadline(site, clock):
    site.cloud.plot.update(NO_ANSWER)

    state, output = site.probe("leftovers", "--remove")

    assert (state, "deadline" in output) == (2, False)  # it retried until it could judge the cloud
    assert 50 < clock.now() < 300


@pytest.mark.parametrize("check", LOOKS)
def test_t_is_the_whole_time_whatever_the_site_s_deadline_is(site, clock, check):
    site.set("budget", deadline="30 s", reserve="10 s").cloud.plot.update(NO_ANSWER)

    state, output = site.probe(check, "-t", "40")

    assert (state, "the deadline of 40 s passed" in output) == (3, True)
