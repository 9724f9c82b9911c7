"""Certificates, proxies and VOMS proxies at the real Keystone, behind a real Apache with mod_ssl and GridSite."""

from __future__ import annotations

import re

import pytest

from certificates import Authority
from running import run_probe

from . import federation
from .federation import PERSON, ROBOT
from .shared import line
from .test_credentials import PLANNED, planned

pytestmark = pytest.mark.live
NOT_KNOWN = (
    "VM_LIFECYCLE CRITICAL - openstack: auth: authentication by grid.example.org and mapped: "
    "401 The request you have made requires authentication. (cause=auth, REQUEST)"
)


@pytest.fixture(scope="module")
def grid(openstack):
    return federation.running()


@pytest.fixture(scope="module")
def robot(grid):
    """A certificate that the mapping knows by its name."""
    return grid.authority.issue(ROBOT, days=20, names=())


@pytest.fixture(scope="module")
def person(grid):
    """A certificate that it does not know."""
    return grid.authority.issue(PERSON, days=20, names=())


@pytest.fixture
def by(site, grid):
    """Write the site file for a person with this certificate."""

    def written(certificate, url="", more="", **test_vm):
        return site(
            endpoint={
                "url": url or grid.auth_url,
                "interface": grid.interface,
                "ca": grid.authority.ca,
                "project": "",
            },
            credentials=f"certificate = {certificate}\nidentity_provider = {grid.provider}\n{more}",
            **test_vm,
        )

    return written


def test_a_voms_proxy_runs_a_test_vm_for_one_who_is_known_by_nothing_else(by, grid, person):
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", by(grid.voms_proxy(person), volume="none")
    )

    assert (code, line(output), errors) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran without storage and is gone in T s (active T s, network T s)",
        "",
    )


@pytest.mark.slow
def test_a_certificate_runs_a_test_vm_with_storage(by, robot):
    code, output, errors = run_probe("check_vm_lifecycle", "--site", by(robot))

    assert (code, line(output), errors) == (
        0,
        "VM_LIFECYCLE OK - openstack: test VM ran and is gone in T s (active T s, network T s, storage T s)",
        "",
    )


def test_check_vm_gateway_takes_a_proxy_and_says_when_it_ends(by, grid, robot):
    code, output, errors = run_probe(
        "check_vm_gateway", "--site", by(grid.authority.proxy(robot)), "-w", "cred_expires=259200:"
    )

    assert (code, errors) == (1, ""), output
    assert re.match(
        r"VM_GATEWAY WARNING - openstack: cred_expires 8\d{4}(\.\d)? s is outside 259200: \(warning\); OpenStack ",
        output,
    )


def test_voms_attributes_may_end_before_the_proxy(by, grid, person):
    _, output, _ = run_probe(
        "check_vm_gateway",
        "--site",
        by(grid.voms_proxy(person, hours=2)),
        "-w",
        "cred_expires=36000:",
    )
    assert re.search(r": cred_expires 7\d{3}(\.\d)? s is outside 36000: \(warning\)", output), (
        output
    )

    ended = by(grid.voms_proxy(person, hours=2, since=5))
    code, text, errors = planned(ended)
    assert (code, errors) == (3, "")
    assert re.fullmatch(
        r"VM_LIFECYCLE UNKNOWN - openstack: auth: certificate .+\.pem: its VOMS attributes expired on \S+ \S+ UTC "
        r"\(cause=client\)",
        text,
    ), text


def test_a_certificate_is_one_of_the_project(by, robot):
    assert planned(by(robot)) == PLANNED


def test_a_certificate_that_apache_asks_for_after_the_handshake(by, grid, robot):
    assert planned(by(robot, url=grid.strict_url)) == PLANNED


def test_the_grids_proxy_of_the_environment(by, site, grid, person):
    path = site(
        endpoint={
            "url": "",
            "interface": grid.interface,
            "ca": grid.authority.ca,
            "project": "",
            "credentials": "",
        }
    )

    assert (
        planned(
            path,
            X509_USER_PROXY=str(grid.voms_proxy(person)),
            OS_AUTH_URL=grid.auth_url,
            OS_IDENTITY_PROVIDER=grid.provider,
        )
        == PLANNED
    )


def test_a_person_whom_no_mapping_knows_is_refused_in_keystones_words(by, grid, person):
    for certificate in (person, grid.voms_proxy(person, "vo.other.org")):
        assert planned(by(certificate)) == (2, NOT_KNOWN, "")


def test_an_expired_certificate_is_a_client_error_and_is_sent_to_nobody(by, grid):
    old = grid.authority.issue("old", days=-1, names=())
    code, output, errors = planned(by(old))

    assert (code, errors) == (3, "")
    assert re.fullmatch(
        r"VM_LIFECYCLE UNKNOWN - openstack: auth: certificate \S+/old\.pem expired on \S+ \S+ UTC "
        r"\(cause=client\)",
        output,
    )


@pytest.mark.parametrize("later", [False, True], ids=["in-the-handshake", "after-it"])
def test_a_certificate_of_an_authority_that_apache_does_not_know(by, grid, tmp_path, later):
    stranger = Authority(tmp_path, "another authority").issue(ROBOT, names=())

    assert refused(planned(by(stranger, url=later and grid.strict_url))) == "unknown ca"


def test_an_apache_that_allows_no_proxies(by, grid, robot):
    """GridSite allows them in the handshake; after it mod_ssl is alone, and OPENSSL_ALLOW_PROXY_CERTS is none of OpenSSL 3's."""
    assert (
        refused(planned(by(grid.authority.proxy(robot), url=grid.strict_url)))
        == "certificate unknown"
    )


def refused(planned) -> str:
    """TLS's message for what Apache does not accept; each version of OpenSSL begins it differently."""
    code, output, errors = planned
    assert (code, errors) == (2, "")
    return re.fullmatch(
        r"VM_LIFECYCLE CRITICAL - openstack: auth: authentication by grid\.example\.org and mapped: "
        r"our certificate is not accepted: \S+ alert ([a-z ]+) \(cause=auth\)",
        output,
    )[1]


def test_a_protocol_that_keystone_does_not_have(by, robot):
    code, output, errors = planned(by(robot, more="protocol = x509\n"))

    assert (code, output, errors) == (
        2,
        "VM_LIFECYCLE CRITICAL - openstack: auth: authentication by grid.example.org and x509: "
        "401 Attempted to authenticate with an unsupported method. (cause=auth, REQUEST)",
        "",
    )
