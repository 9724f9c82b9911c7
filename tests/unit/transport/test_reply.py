"""Answers in JSON and XML: read by their shape, or refused."""

import pytest

from asking import told
from vmprobe.core.errors import (
    GatewayFailed,
    TooLarge,
)
from vmprobe.transport import json


def test_json_is_read_by_its_shape(answer):
    found = answer(
        '{"server": {"id": "4f1c", "n": 3, "x": 1.5, "ok": true, "fault": null, "list": [{"a": 1}]}}'
    )

    assert found.field("server", "id", str) == "4f1c"
    assert found.field("server", "n", float) == 3.0
    assert found.field("server", "ok", bool) is True
    assert found.field("server", "fault", "message", str, default="") == ""
    assert found.field("server", "list", 0, "a", int) == 1
    assert found.items("server", "list") == [{"a": 1}]
    assert found.short_text("server", "n") == "3"


def test_an_empty_object_has_the_default():
    assert json.short_text({}, "id", default="") == ""
    assert json.short_text({"server": {}}, "server", "id", default="none") == "none"
    told(GatewayFailed, lambda: json.short_text({}, "id"))


SHAPES = {
    "missing": (("server", "name", str), "GET /x: the answer has no server.name"),
    "null": (("server", "fault", str), "GET /x: the answer has no server.fault"),
    "other-type": (
        ("server", "n", str),
        "GET /x: server.n in the answer is a whole number, not text",
    ),
    "true-is-no-number": (
        ("server", "ok", int),
        "GET /x: server.ok in the answer is true or false, not a whole number",
    ),
    "through-text": (
        ("server", "id", "x", str),
        "GET /x: server.id in the answer is text, not an object",
    ),
    "no-such-index": (("server", "list", 7, int), "GET /x: the answer has no server.list.7"),
    "list-as-object": (
        ("server", "list", "a", int),
        "GET /x: server.list in the answer is a list, not an object",
    ),
    "huge-as-float": (("server", "huge", float), "GET /x: the answer has no server.huge"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_json_of_another_shape_is_named_by_its_path(case, answer):
    found = answer(
        '{"server": {"id": "4f1c", "n": 3, "ok": true, "fault": null, "list": [1], "huge": 1e999}}'
    )
    where, said = SHAPES[case]

    assert str(told(GatewayFailed, found.field, *where)) == said


@pytest.mark.parametrize(
    "text", ['""', '"a\\nb"', '"' + "x" * 256 + '"', '"\\ud800"', "[]", "true", "1.5", "null"]
)
def test_an_id_is_a_short_printable_text(text, answer):
    told(GatewayFailed, answer('{"id": %s}' % text).short_text, "id")


@pytest.mark.parametrize(
    "body, value",
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e400", None),
        ("9" * 400, None),
        ("1" + "0" * 20, 10**20),
        ("-1.5", -1.5),
    ],
)
def test_a_number_that_is_none_is_null(body, value, answer):
    assert answer(body).json() == value


UNREADABLE = {
    "html": ("<html>", "GET /x: the answer is no JSON: Expecting value: line 1 column 1 (char 0)"),
    "empty": ("", "GET /x: the answer is no JSON: Expecting value: line 1 column 1 (char 0)"),
    "deep": ("[" * 30000, "GET /x: the JSON of the answer is nested too deep"),
    "heavy": (
        "[" + "{}," * 400000 + "{}]",
        "GET /x: the JSON of the answer, 1200004 bytes, is too much to be held",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_not_json_is_named(case, answer):
    body, said = UNREADABLE[case]

    assert str(told(TooLarge if case == "heavy" else GatewayFailed, answer(body).json)) == said


def test_a_list_of_a_thousand_servers_is_no_problem(answer):
    server = (
        '{"id": "4f1c9b9e-0000-4000-8000-000000000000", "name": "vmprobe-mon-1", "status": "ACTIVE", "addresses": '
        '{"net": [{"addr": "10.0.0.1", "version": 4, "OS-EXT-IPS:type": "fixed"}]}, "links": [{"rel": "self", "href": '
        '"https://nova.example.org/v2.1/servers/4f1c"}], "metadata": {}, "fault": null, "OS-EXT-STS:vm_state": "active"'
        + ', "filler": "%s"}'
        % ("x" * 1000)
    )

    assert len(answer('{"servers": [' + ",".join([server] * 1000) + "]}").items("servers")) == 1000


def test_xml_is_read_without_its_namespaces(answer):
    root = answer(
        '<a:R xmlns:a="urn:x" xmlns="urn:y"><item a:n="1"><id>i-1</id></item></a:R>'
    ).xml()

    assert (root.tag, root.find("item").get("n"), root.findtext("item/id")) == ("R", "1", "i-1")


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<z>&b;</z>"
)
BAD_XML = {
    "entities": (
        BOMB,
        "GET /x: the answer has a document type, which could expand entities",
    ),
    "external": (
        '<!DOCTYPE z SYSTEM "http://127.0.0.1:1/x.dtd"><z/>',
        "GET /x: the answer has a document type, which could expand entities",
    ),
    "deep": ("<a>" * 5000, "GET /x: the answer is XML nested more than 100 deep"),
    "many": (
        "<a>" + "<b/>" * 100001 + "</a>",
        "GET /x: the answer is XML of more than 100000 elements",
    ),
    "cut": ("<a><b>", "GET /x: the answer is no XML: no element found: line 1, column 6"),
    "json": (
        "{}",
        "GET /x: the answer is no XML: not well-formed (invalid token): line 1, column 0",
    ),
    "unknown-encoding": (
        '<?xml version="1.0" encoding="rot13"?><a/>',
        "GET /x: the answer is no XML: ",
    ),
}


@pytest.mark.parametrize("case", BAD_XML)
def test_xml_that_could_hurt_is_refused(case, answer):
    body, said = BAD_XML[case]

    assert str(told(TooLarge if case == "many" else GatewayFailed, answer(body).xml)).startswith(
        said
    )


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("2026-11-22T21:37:11Z", 1795383431.0),
        ("2026-11-22T21:37:11.250000", 1795383431.25),
        ("2026-11-22 22:37:11+01:00", 1795383431.0),
        ("2026-11-22T21:07:11-0030", 1795383431.0),
        ("2026-13-22T21:37:11Z", None),
        ("0000-00-00T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("yesterday", None),
        (5, None),
        ("9999-12-31T23:59:59-23:59", None),
        ("\u0662026-11-22T21:37:11Z", None),
    ],
)
def test_a_timestamp_is_seconds_since_the_epoch(text, seconds):
    assert json.parse_time(text) == seconds
