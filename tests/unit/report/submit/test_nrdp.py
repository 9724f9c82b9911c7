"""Check results over NRDP, in XML and JSON."""

import json
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from submitting import RESULT, TAKEN, deliver, spooled, word_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:System time is way off"
)  # urllib3's, of a wall clock that stands still


@pytest.fixture
def nrdp(server, tmp_path, certificate):
    """The target of an NRDP; there is no package of it to be had, and this is its interface as its README has it."""
    server.answer(TAKEN)
    return word_of("nrdp", f"{server.url}/nrdp/", tmp_path, certificate, "token = s3cr3t-token")


def states(server):
    return [
        ElementTree.fromstring(parse_qs(body)["XMLDATA"][0]).findtext("checkresult/state")
        for _, body in server.got
    ]


def test_nrdp_gets_the_result_and_its_time(nrdp, server):
    assert deliver(nrdp) == []

    form = parse_qs(server.got[0][1])
    assert (form["token"], form["cmd"]) == (["s3cr3t-token"], ["submitcheck"])
    result = ElementTree.fromstring(form["XMLDATA"][0]).find("checkresult")
    assert {field.tag: field.text for field in result} == {
        "hostname": "cesga",
        "servicename": "vm-lifecycle",
        "state": "2",
        "output": RESULT.output,
        "time": "1010",
    }


@pytest.mark.parametrize("path", ["", "/", "/nrdp", "/nrdp/", "/nrdp/?node=1", "/a//b/"])
def test_a_url_is_used_exactly_as_written(nrdp, server, path):
    assert deliver(nrdp.replace("/nrdp/", path, 1)) == []

    assert [asked for asked, _ in server.got] == [path or "/"]


def test_an_answer_of_nrdp_is_reported_without_the_token(nrdp, server):
    server.answer("<result><status>-1</status><message>BAD TOKEN</message></result>")

    said = deliver(nrdp)

    assert (
        len(said) == 1
        and said[0].endswith("it says: BAD TOKEN; spooled")
        and "s3cr3t" not in said[0]
    )


def test_a_server_with_an_untrusted_certificate_gets_no_token(nrdp, server):
    said = deliver(nrdp.rpartition(",ca=")[0])

    assert "certificate" in said[0]
    assert server.got == []


def test_a_result_that_nrdp_did_not_process_counts_as_rejected(nrdp, server):
    server.answer(TAKEN.replace("1 checks", "0 checks"))

    said = deliver(nrdp)

    assert said == [
        f"not submitted to nrdp:{server.url}/nrdp/: it says: 0 checks processed.; spooled"
    ]
    server.answer(TAKEN)
    assert deliver(nrdp, RESULT._replace(service="vm-state", state=0)) == []
    assert states(server) == ["2", "0", "2"]


@pytest.mark.parametrize(
    "before",
    ["\n", "\ufeff", "<br />\n<b>Warning</b>: date(): in <b>config.inc.php</b> on line 3<br />\n"],
)
def test_output_of_php_before_the_answer_is_ignored(nrdp, server, before):
    server.answer(f"{before}<?xml version='1.0'?>\n{TAKEN}\n\n")

    assert deliver(nrdp) == []
    assert spooled(nrdp) == []


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "OK",
        "<result><sta",
        "<result/>",
        "{}",
        '{"result": ',
        '{"result": []}',
        '{"result": {"status": null}}',
    ],
)
def test_a_reply_that_cannot_be_parsed_is_reported_and_its_result_is_not_sent_again(
    nrdp, server, answer
):
    server.answer(answer)

    (said,) = deliver(nrdp)

    assert said.startswith(
        f"submitted to nrdp:{server.url}/nrdp/, but its reply cannot be parsed: "
    )
    assert said.endswith("; not sent again")
    deliver(nrdp, RESULT._replace(state=0, ended=1011.0))
    assert states(server) == ["2", "0"]


@pytest.mark.parametrize(
    "answer, said",
    [
        ({"status": 0, "message": "OK", "meta": {"output": "1 checks processed"}}, []),
        ({"status": "0", "message": "OK"}, []),
        (
            {"status": -1, "message": "BAD JSON", "information": "Syntax error"},
            ["it says: BAD JSON; spooled"],
        ),
        ({"status": -1, "message": ["no\ntoken"], "meta": []}, ["it says: ['no token']; spooled"]),
        (
            {"status": 0, "message": "OK", "meta": {"output": "0 checks processed"}},
            ["it says: 0 checks processed; spooled"],
        ),
    ],
    ids=["taken", "taken-in-text", "refused", "refused-in-odd-types", "nothing-processed"],
)
@pytest.mark.parametrize(
    "form",
    ["{}", "\ufeff<br />\n<b>Warning</b>: date(): {{ in <b>config.inc.php</b>\n{}\n"],
    ids=["plain", "behind-php"],
)
def test_an_answer_in_json_is_parsed(nrdp, server, answer, said, form):
    server.answer(form.format(json.dumps({"result": answer}, indent=4)))

    assert deliver(nrdp) == [f"not submitted to nrdp:{server.url}/nrdp/: {each}" for each in said]
    assert len(spooled(nrdp)) == len(said)


def test_a_result_whose_reply_was_lost_is_sent_once_per_run_and_holds_back_no_other(nrdp, server):
    server.answer(None)

    (said,) = deliver(nrdp)
    assert said.endswith("; spooled") and states(server) == ["2"]
    server.answer(TAKEN)
    assert deliver(nrdp, RESULT._replace(service="vm-state", state=1)) == []

    assert states(server) == ["2", "1", "2"]


def test_a_web_page_is_not_an_answer_of_nrdp(nrdp, server):
    server.answer("<!DOCTYPE html><html><head><title>It works!</title></head></html>")

    assert deliver(nrdp) == [
        f"not submitted to nrdp:{server.url}/nrdp/: the reply is a web page, not an answer of NRDP: is the URL right?; spooled"
    ]


def test_a_missing_credentials_file_is_reported_at_once(nrdp, tmp_path):
    (tmp_path / "nrdp.ini").unlink()

    (said,) = deliver(nrdp)

    assert said.endswith(f"--submit nrdp: {tmp_path}/nrdp.ini: No such file or directory; spooled")
