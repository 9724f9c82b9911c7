"""Authentication by certificate: ooi in front of a real Nova refers to a Keystone behind Apache and GridSite."""

from __future__ import annotations

import re

import pytest

from conformance.harnesses import of_site
from running import run_probe
from vmprobe.core.clock import Clock
from vmprobe.core.model import Kind

from ..openstack.federation import PERSON
from ..openstack.shared import left, line, running
from .shared import ooi_of_the_grid, ooi_site

pytestmark = pytest.mark.live
LIFECYCLE = "check_vm_lifecycle"


@pytest.fixture(scope="module")
def grid():
    return ooi_of_the_grid()[0]


@pytest.fixture(scope="module")
def person(grid):
    """A certificate that Keystone knows only by the attributes that its VO attests."""
    return grid.authority.issue(PERSON, names=())


@pytest.fixture
def by(grid, tmp_path):
    """Write the site file for this certificate. The test fails if OpenStack still has anything of it afterwards."""
    yield lambda certificate: str(
        ooi_site(
            tmp_path,
            f"ca = {grid.authority.ca}",
            f"certificate = {certificate}\nidentity_provider = {grid.provider}\n",
            url=ooi_of_the_grid()[1],
            volume="none",
        )
    )
    assert left(running()) == []


def test_a_voms_proxy_is_shown_to_the_keystone_that_ooi_names(by, grid, person):
    driver = of_site(by(grid.voms_proxy(person)), Clock()).driver

    driver.connect()

    assert driver.endpoints() == [ooi_of_the_grid()[1], grid.auth_url]
    assert driver.keystone.token["user"]["name"] == f"dn:/CN={PERSON}"
    assert driver.list(Kind.SERVER, "vmprobe-no-such") == []


@pytest.mark.slow
def test_a_voms_proxy_runs_a_test_vm(by, grid, person):
    code, output, errors = run_probe(LIFECYCLE, "--site", by(grid.voms_proxy(person)))

    assert (code, line(output), errors) == (
        0,
        "VM_LIFECYCLE OK - ooi: test VM ran without storage and is gone in T s (active T s, network T s)",
        "",
    )


def test_whom_that_keystone_does_not_know_it_refuses_in_its_own_words(by, person):
    code, output, errors = run_probe(LIFECYCLE, "--site", by(person))

    assert (code, line(output), errors) == (
        2,
        "VM_LIFECYCLE CRITICAL - ooi: auth: authentication by grid.example.org and mapped: "
        "401 The request you have made requires authentication. (cause=auth, REQUEST)",
        "",
    )


def test_a_certificate_that_has_expired_is_ours_and_shown_to_nobody(by, grid):
    code, output, errors = run_probe(
        LIFECYCLE, "--site", by(grid.authority.issue("old", days=-1, names=()))
    )

    assert (code, errors) == (3, "")
    assert re.match(
        r"VM_LIFECYCLE UNKNOWN - ooi: auth: certificate \S+/old\.pem expired on \S+ \S+ UTC "
        r"\(cause=client\)",
        output,
    )
