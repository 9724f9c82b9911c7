"""Check results over Icinga 2's REST API."""

import json
import time

import pytest

from submitting import RESULT, deliver, spooled, word_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:System time is way off"
)  # urllib3's, of a wall clock that stands still


@pytest.fixture
def icinga(server, tmp_path, certificate):
    """The target of an Icinga 2."""
    return word_of(
        "icinga2", server.url, tmp_path, certificate, "username = mon\npassword = s3cr3t-word"
    )


def icinga_says(code, status, http=None):
    return json.dumps({"results": [{"code": code, "status": status}]}), http or int(code)


def test_an_accepted_result_is_sent_once(icinga, server):
    server.answer(
        *icinga_says(200.0, "Successfully processed check result for object 'cesga!vm-lifecycle'.")
    )

    assert deliver(icinga) == []
    assert [(path, json.loads(body)["exit_status"]) for path, body in server.got] == [
        ("/v1/actions/process-check-result", 2)
    ]


def test_a_result_that_icinga_discards_is_reported_and_not_kept(icinga, server):
    server.answer(
        *icinga_says(
            409.0,
            "Newer check result already present. Check result for 'cesga!vm-lifecycle' was discarded.",
        )
    )

    assert deliver(icinga) == [
        f"not submitted to icinga2:{server.url}: it says: Newer check result already present. Check result for "
        "'cesga!vm-lifecycle' was discarded.; not sent again"
    ]
    assert (len(server.got), spooled(icinga)) == (1, [])


def test_a_discarded_old_result_of_another_run_is_not_reported(icinga, server, monkeypatch):
    server.answer("{}", 503)
    deliver(icinga)
    monkeypatch.setattr(time, "time", lambda: 1500.0)
    server.answer(*icinga_says(409.0, "Newer check result already present."))

    (said,) = deliver(icinga, RESULT._replace(service="vm-state", ended=1499.0))

    assert said.endswith("it says: Newer check result already present.; not sent again")
    assert spooled(icinga) == []


@pytest.mark.parametrize(
    "answer, said",
    [
        (
            ('{"error": 404, "status": "No objects found."}', 404),
            "it has no service cesga!vm-lifecycle; spooled",
        ),
        (('{"results": []}', 200), "it has no service cesga!vm-lifecycle; spooled"),
        (
            icinga_says(500.0, "Could not process check result: no such state"),
            "it says: Could not process check result: no such state; spooled",
        ),
        (
            ("<html><title>404</title></html>", 404),
            "the answer is no JSON: Expecting value: line 1 column 1 (char 0) (status 404); spooled",
        ),
        (
            ('{"status": "Icinga is reloading"}', 503),
            "POST /v1/actions/process-check-result: 503 Icinga is reloading; spooled",
        ),
        (("[]", 404), "(status 404); spooled"),
    ],
)
def test_an_error_of_icinga_is_reported(icinga, server, answer, said):
    server.answer(*answer)

    (told,) = deliver(icinga)

    assert told.startswith(f"not submitted to icinga2:{server.url}: ") and told.endswith(said)
    assert len(spooled(icinga)) == 1


def test_a_reply_of_icinga_that_cannot_be_parsed_is_reported_and_its_result_is_not_sent_again(
    icinga, server
):
    server.answer("[]")

    (said,) = deliver(icinga)

    assert said.startswith(f"submitted to icinga2:{server.url}, but its reply cannot be parsed: ")
    assert spooled(icinga) == []
