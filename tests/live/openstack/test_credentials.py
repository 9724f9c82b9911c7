"""Each form of credential that the real Keystone of this folder takes, from each place.

A plan authenticates and asks Nova, Neutron and Glance what a test VM would be made of: that much shows a session.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone

import pytest
import requests

from private import written
from running import run_probe

from .shared import application_credential, line, site_file

pytestmark = pytest.mark.live
PLANNED = (
    0,
    "VM_LIFECYCLE OK - openstack: would start 1 test VM (image blank, flavor nano, network private) with a volume of "
    "1 GiB; nothing was started",
    "",
)


def planned(path, **environment):
    """(exit code, line 1, errors) of a run with --plan."""
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", str(path), "--plan", env=environment
    )
    return code, line(output), errors


def token(openstack, scope=None):
    """A token of the member's, for the project probe unless ``scope`` says otherwise."""
    account = openstack.cloud().member
    answer = requests.post(
        f"{openstack.cloud().auth_url}/auth/tokens",
        json={
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {
                            "name": account.user,
                            "domain": {"name": account.domain},
                            "password": account.password,
                        }
                    },
                },
                "scope": scope
                or {"project": {"name": account.project, "domain": {"name": account.domain}}},
            }
        },
    )
    return answer.headers["X-Subject-Token"]


def test_a_password_for_the_project_by_its_id_or_for_the_only_one(openstack, tmp_path):
    project = openstack.api(openstack.cloud().member).token["project"]["id"]

    for named in (project, ""):
        assert (
            planned(site_file(tmp_path, openstack.cloud(), endpoint={"project": named})) == PLANNED
        )


def test_a_token_for_the_project_or_for_none_yet(openstack, tmp_path):
    for scope in (None, "unscoped"):
        granted = token(openstack, scope)
        assert (
            planned(site_file(tmp_path, openstack.cloud(), credentials=f"token = {granted}\n"))
            == PLANNED
        )

    written(tmp_path / "token", f"{granted}\n")
    by_file = site_file(
        tmp_path,
        openstack.cloud(),
        credentials=f"token_file = {tmp_path / 'token'}\n",
        endpoint={"project": ""},
    )
    assert planned(by_file) == PLANNED


def test_an_application_credential_by_its_id_or_its_name(openstack, tmp_path):
    with application_credential(openstack) as made:
        for who in (
            f"application_credential_id = {made['id']}\n",
            f"application_credential_name = {made['name']}\nusername = {openstack.cloud().member.user}\n",
        ):
            path = site_file(
                tmp_path,
                openstack.cloud(),
                endpoint={"project": ""},
                credentials=f"{who}application_credential_secret = {made['secret']}\n",
            )
            assert planned(path) == PLANNED


@pytest.mark.parametrize(
    "message, left",
    [
        (
            {
                "expires_at": (datetime.now(timezone.utc) + timedelta(days=20)).strftime(
                    "%Y-%m-%dT%H:%M:%S"
                )
            },
            True,
        ),
        ({}, False),
        ({"access_rules": [{"service": "compute", "method": "GET", "path": "/v2.1/**"}]}, False),
    ],
)
def test_keystone_tells_when_an_application_credential_ends(message, left, openstack, tmp_path):
    with application_credential(openstack, **message) as made:
        path = site_file(
            tmp_path,
            openstack.cloud(),
            endpoint={"project": ""},
            credentials=f"application_credential_id = {made['id']}\n"
            f"application_credential_secret = {made['secret']}\n",
        )
        _, output, errors = run_probe(
            "check_vm_gateway", "--site", str(path), "-w", "cred_expires=2592000:"
        )

    assert (
        re.search(r": cred_expires 17\d{5}(\.\d)? s is outside 2592000: \(warning\)", output)
        is not None
    ) == left, output
    assert (re.search(r" cred_expires=17\d{5}(\.\d)?s;2592000:", output) is not None) == left, (
        output
    )
    assert errors == ""


def test_an_access_token_by_way_of_keystones_federation(openstack, tmp_path):
    def by(token):
        written(tmp_path / "token", token)
        return site_file(
            tmp_path,
            openstack.cloud(),
            endpoint={"project": ""},
            credentials=f"access_token_file = {tmp_path / 'token'}\nidentity_provider = egi.eu\n",
        )

    assert planned(by("alice.bearer-of-egi")) == PLANNED
    assert planned(by("alice.bearer-of-nobody")) == (
        2,
        "VM_LIFECYCLE CRITICAL - openstack: auth: authentication by egi.eu and openid: 401 Unauthorized (cause=auth)",
        "",
    )


def test_the_environment_of_openstacks_own_client(openstack, tmp_path):
    path = site_file(
        tmp_path, openstack.cloud(), endpoint={"url": "", "project": "", "credentials": ""}
    )

    assert planned(path, **openstack.variables(openstack.cloud().member)) == PLANNED


def test_clouds_yaml_with_secure_yaml(openstack, tmp_path):
    cloud, member = openstack.cloud(), openstack.cloud().member
    files = {
        "clouds.yaml": {
            "auth": {
                "auth_url": cloud.auth_url,
                "username": member.user,
                "project_name": member.project,
                "user_domain_name": member.domain,
                "project_domain_name": member.domain,
            },
            "region_name": cloud.region,
            "interface": "public",
        },
        "secure.yaml": {"auth": {"password": member.password}},
    }
    for name, content in files.items():
        written(tmp_path / name, json.dumps({"clouds": {"live": content}}))  # JSON is YAML
    path = site_file(
        tmp_path, cloud, endpoint={"url": "", "project": "", "credentials": "", "cloud": "live"}
    )

    assert (
        planned(
            path,
            OS_CLIENT_CONFIG_FILE=str(tmp_path / "clouds.yaml"),
            OS_CLIENT_SECURE_FILE=str(tmp_path / "secure.yaml"),
        )
        == PLANNED
    )


@pytest.mark.parametrize(
    "endpoint, message",
    [
        (
            {"project": "prob"},
            "CRITICAL - openstack: auth: authentication: 401 The request you have made requires authentication. "
            "(cause=auth, REQUEST)",
        ),
        (
            {"region": "RegionTwo"},
            "UNKNOWN - openstack: image: [endpoint] region: the catalog has image in RegionOne, not in RegionTwo "
            "(cause=client)",
        ),
    ],
    ids=["a-part-of-the-projects-name", "another-region"],
)
def test_credentials_that_do_not_fit_are_a_clear_error(openstack, tmp_path, endpoint, message):
    code, text, _ = planned(site_file(tmp_path, openstack.cloud(), endpoint=endpoint))

    assert text == f"VM_LIFECYCLE {message}"
