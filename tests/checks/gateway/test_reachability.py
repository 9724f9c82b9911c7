"""Steps to a gateway over real sockets: a failure is reported in the step where it happens."""

import re
import socket

import pytest

from gateways.server import serving
from gateways.wired import Wired
from vmprobe.core import errors


def test_ok_over_http_with_the_servers_clock(site):
    with serving() as url:
        assert Wired(site, url)() == (
            0,
            (
                "VM_GATEWAY OK - site: test gateway 1 answers in Ts (auth Ts, list Ts, image Ts) | auth=Ts;;;0 http=Ts;;;0 "
                "image=Ts;;;0 list=Ts;;;0 skew=Ss;60;300;0 tcp=Ts;;;0 total=Ts;;;0 version=Ts;;;0"
            ),
        )


def test_critical_when_nobody_listens_and_the_cause_is_not_authentication(site):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    assert Wired(site, url)() == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: tcp: connect: 127.0.0.1 port PORT: connection refused (cause=gateway) | total=Ts;;;0"
        ),
    )


@pytest.mark.parametrize(
    "front, auth, line",
    [
        (503, 201, "http: GET /: 503 the service is out of order (cause=gateway)"),
        (200, 503, "auth: POST /tokens: 503 the service is out of order (cause=gateway)"),
        (200, 401, "auth: POST /tokens: 401 who are you? (cause=auth)"),
        (200, 403, "auth: POST /tokens: 403 who are you? (cause=auth)"),
    ],
)
def test_reachability_the_clouds_own_failure_and_a_rejected_credential_are_told_apart(
    site, front, auth, line
):
    with serving(front=front, auth=auth) as url:
        state, output = Wired(site, url)()

    assert (state, output.split(" | ")[0]) == (2, f"VM_GATEWAY CRITICAL - site: {line}")


@pytest.mark.parametrize("front", [300, 302, 401, 404, 405])
def test_any_answer_without_a_credential_is_ok_unless_it_is_a_failure_of_the_server(site, front):
    with serving(front=front) as url:
        assert Wired(site, url)()[0] == 0


@pytest.mark.parametrize(
    "behind, state, reason", [(100, 1, "60 (warning)"), (-1000, 2, "300 (critical)")]
)
def test_a_clock_that_is_wrong_alerts(site, behind, state, reason):
    with serving(behind=behind) as url:
        code, output = Wired(site, url)()

    assert code == state
    assert re.match(
        rf"VM_GATEWAY {errors.STATES[state]} - site: skew Ts is outside {re.escape(reason)}; test gateway",
        output,
    )


def test_without_a_date_the_clock_is_unknown_and_a_note_says_so(site):
    with serving(behind=None) as url:
        state, output = Wired(site, url)("-v")

    assert (state, "skew=" in output) == (0, False)
    assert "note: the server says no date: its clock is not known" in output.splitlines()


def test_a_service_of_the_catalogue_that_nobody_serves_is_critical(site):
    with serving() as url, socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
        closed.close()
        state, output = Wired(site, url).set(
            "endpoint", services=f"{url}/v2 http://127.0.0.1:{port}/v3"
        )()

    assert (state, output.split(" | ")[0]) == (
        2,
        (
            "VM_GATEWAY CRITICAL - site: services: connect: 127.0.0.1 port PORT: connection refused (cause=gateway)"
        ),
    )
