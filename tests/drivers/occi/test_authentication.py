"""Challenges, and where credentials and tokens may go."""

import json
import os

import pytest

from hostile import answer
from rawserver import Server
from vmprobe.core.errors import ClientError, CloudError, VmprobeError
from vmprobe.drivers.occi import authentication
from vmprobe.transport.http import Reply

from .stage import OURS, QUERY, said


@pytest.mark.parametrize(
    "challenge, words",
    [
        (
            "Keystone uri='ftp://h/v3'",
            "names a Keystone 'ftp://h/v3' that is not a URL like 'https://host:5000/v3'",
        ),
        ('Keystone uri="http://user:pass@h/v3"', "contains a user or password"),
        ("Negotiate", "the endpoint wants credentials that it was not given: Negotiate"),
        ("", "the endpoint wants credentials that it was not given: it does not say which"),
    ],
)
def test_a_challenge_that_cannot_be_answered_is_named(stage, challenge, words):
    stage.reply = lambda request: said(
        "no", 401, **({"WWW-Authenticate": challenge} if challenge else {})
    )
    with pytest.raises(VmprobeError) as wrong:
        stage.driver().connect()
    assert words in str(wrong.value)


def test_no_secret_goes_to_a_keystone_without_tls_that_an_endpoint_with_tls_names():
    with pytest.raises(
        CloudError,
        match="names the Keystone http://k:5000/v3, which is not https as the endpoint is: not used",
    ):
        authentication.named_keystone(
            Reply("query interface", "GET", "https://h:8787/occi/-/", 401, "", {}, b""),
            "https://h:8787/occi",
            "http://k:5000/v3",
        )


@pytest.fixture
def elsewhere():
    """A Keystone on another host than the endpoint's, which grants a token and whose catalog names ``catalog``."""

    def grant(request):
        services = [
            {"type": "occi", "endpoints": [{"interface": "public", "url": url}]}
            for url in made.catalog
        ]
        return answer(
            201,
            {"X-Subject-Token": "token-of-elsewhere"},
            json.dumps(
                {
                    "token": {
                        "project": {"id": "p"},
                        "expires_at": "2099-01-01T00:00:00Z",
                        "catalog": services,
                    }
                }
            ).encode(),
        )

    made = Server(grant, host="127.0.0.2")
    made.catalog = []
    yield made
    made.__exit__()


@pytest.fixture
def challenged(stage, elsewhere, monkeypatch):
    """The endpoint asks for a token of ``elsewhere``, and takes it; nothing of this machine's environment counts."""
    for name in [name for name in os.environ if name.startswith("OS_")] + ["X509_USER_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    before = len(stage.server.requests)
    stage.reply = lambda request: (
        said(QUERY)
        if request.headers.get("x-auth-token")
        else said("no", 401, **{"WWW-Authenticate": f"Keystone uri='{elsewhere.url}/v3'"})
    )
    yield lambda: [
        request.headers["x-auth-token"]
        for request in stage.server.requests[before:]
        if "x-auth-token" in request.headers
    ]


def told_at_connect(driver):
    with pytest.raises(ClientError) as wrong:
        driver.connect()
    return str(wrong.value)


def openrc(monkeypatch, **words):
    for name, value in {
        "OS_USERNAME": "me",
        "OS_PASSWORD": "of-the-environment",
        "OS_PROJECT_NAME": "mine",
        **words,
    }.items():
        monkeypatch.setenv(name, value)


def test_credentials_do_not_go_to_another_host_that_only_the_endpoint_names(
    stage, elsewhere, challenged
):
    assert told_at_connect(stage.driver()) == (
        f"the endpoint names the Keystone {elsewhere.url}/v3, on another host than its own: no credentials are sent there "
        f"unless [endpoint] has 'keystone = {elsewhere.url}/v3'"
    )
    assert (elsewhere.requests, challenged()) == ([], [])


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.2:{port}/v3",
        "HTTP://127.0.0.2:{port}",
        "//127.0.0.2:{port}/v3",
        "http:127.0.0.2:{port}",
        "http:\\\\127.0.0.2:{port}",
        "http://127.0.0.1@127.0.0.2:{port}",
        "http://127.0.0.1:80\\@127.0.0.2:{port}",
        "http://127.0.0.2:{port}\\@127.0.0.1/",
        "http://127.0.0.2:{port}#@127.0.0.1/",
        "http://127.0.0.2:{port}?http://127.0.0.1/",
        "http://0x7f000002:{port}",
        "http://[::ffff:127.0.0.2]:{port}",
    ],
)
@pytest.mark.parametrize("ours", [True, False], ids=["of-the-site", "of-the-environment"])
def test_no_way_to_write_a_challenge_takes_credentials_to_another_host(
    ours, uri, stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL="http://127.0.0.1:1/v3")
    challenge = f"Keystone uri='{uri.format(port=elsewhere.port)}'"
    stage.reply = lambda request: said("no", 401, **{"WWW-Authenticate": challenge})

    with pytest.raises(VmprobeError):
        stage.driver(OURS if ours else {}).connect()

    assert elsewhere.connections == 0


def test_credentials_go_to_the_keystone_that_the_site_names(stage, elsewhere, challenged):
    stage.driver(keystone=f"{elsewhere.url}/v3", project="ops").connect()

    assert [request.target for request in elsewhere.requests] == ["/v3/auth/tokens"]
    assert challenged() == ["token-of-elsewhere"]


def test_credentials_of_the_environment_go_to_no_keystone_that_an_endpoint_names(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL="https://keystone.example.org:5000/v3")

    assert told_at_connect(stage.driver({})) == (
        "the credentials belong to https://keystone.example.org:5000/v3, which is OS_AUTH_URL, and are not sent to "
        f"{elsewhere.url}/v3"
    )
    assert (elsewhere.requests, challenged()) == ([], [])


def test_credentials_of_the_environment_that_name_no_keystone_go_to_none_of_another_host(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch)

    assert told_at_connect(stage.driver({})).startswith(
        f"the endpoint names the Keystone {elsewhere.url}/v3, on another host"
    )
    assert (elsewhere.requests, challenged()) == ([], [])


def test_an_endpoint_that_names_the_keystone_of_another_cloud_does_not_get_that_clouds_token(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL=elsewhere.url)

    assert told_at_connect(stage.driver({})) == (
        f"the catalog of {elsewhere.url}/v3 does not name this endpoint: no token of it is sent here "
        f"unless [endpoint] has 'keystone = {elsewhere.url}/v3'"
    )
    assert challenged() == []


def test_an_endpoint_that_the_catalog_names_gets_the_token_of_the_environments_cloud(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL=elsewhere.url)
    elsewhere.catalog = ["not a url", f"{stage.server.url}/occi1.2"]

    stage.driver({}).connect()

    assert challenged() == ["token-of-elsewhere"]
