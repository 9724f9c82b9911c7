"""Servers on loopback, and sessions to them."""

import pytest

from certificates import Authority
from rawserver import Server, reply
from vmprobe.core.clock import Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.transport.http import Http


@pytest.fixture
def serve():
    """serve(answer) is a server that answers so; see rawserver.Server."""
    servers = []

    def start(answer=None, **words):
        servers.append(Server(answer if callable(answer) else lambda request: answer, **words))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def evidence():
    return Evidence(Redactor(), keep=True)


@pytest.fixture
def http(evidence):
    """http(url, ...) is an Http with ample time."""
    made = []

    def make(url, total=60.0, **words):
        made.append(Http(getattr(url, "url", url), Deadline(total, 0), evidence, **words))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def answer(serve, http):
    """answer(body) is the Reply that has this body."""
    return lambda body: http(serve(reply(200, body))).get("x")
