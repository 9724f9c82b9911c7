"""Whatever a server sends: one clean line, in time, within bounded memory, and no credential goes anywhere else.

Each transport by itself, and the whole of check_vm_lifecycle through a driver that speaks HTTP (``outside.webcloud``).
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import plugin_output
from outside.webserver import PASSWORD, TOKEN, WebServer
from rawserver import Server, reply
from running import CHECKOUT
from secrets_check import ENCODERS, Secrets
from virtual import VirtualClock
from vmprobe.checks.lifecycle import command
from vmprobe.checks.rates import summarise
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import METRICS, Sample
from vmprobe.core.redact import Redactor
from vmprobe.core.timeline import Timeline
from vmprobe.report import verdict
from vmprobe.transport import error_text, xml
from vmprobe.transport import json as fields
from vmprobe.transport.http import Http, Reply
from vmprobe.transport.xmlrpc import XmlRpc

REQUESTS = 26  # of a lifecycle in which all is well, about

quick = settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
long = settings(quick, max_examples=3000)


def examples(number):
    return settings(quick, max_examples=number)


# --- what servers send --------------------------------------------------------------------------------------------

NASTY = [
    "",
    "|",
    "a | b=c;1;2",
    "a\nb\r\nc",
    "\x1b[31m\x00\x07",
    "<script>",
    "\u2028\u202e\ud800",
    "x" * 100_000,
    "%s%n{0}",
    "../..",
    "Traceback (most recent call last):",
    TOKEN,
    f"password={PASSWORD}",
    "-1",
    "NaN",
    "unforeseen",
]
ODD = [
    None,
    True,
    -1,
    -1.5,
    0,
    10**12,
    2**64,
    10**29,
    [],
    {},
    [None],
    {"": None},
    [[]],
    [{}],
    "RUNNING",
    "BROKEN",
]
RAW = [
    "NaN",
    "-Infinity",
    "1e400",
    "-1e400",
    "9" * 5000,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 3000,
    '"\\ud83d"',
    "'a'",
    "\ufeff{}",
]

LEAKS = Secrets(password=PASSWORD, token=TOKEN)
echoes = st.builds(
    lambda room, secret, encode: "." * room + encode(secret),
    st.integers(0, 600),
    st.sampled_from([PASSWORD, TOKEN]),
    st.sampled_from(list(ENCODERS.values())),
)  # cut anywhere, in any form
texts = st.text(max_size=40) | st.sampled_from(NASTY) | echoes
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(ODD)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
statuses = st.sampled_from(
    [
        200,
        200,
        201,
        202,
        204,
        206,
        300,
        304,
        400,
        401,
        403,
        404,
        409,
        410,
        413,
        429,
        500,
        503,
        599,
        999,
    ]
)
xml_names = st.sampled_from(
    [
        "methodResponse",
        "params",
        "param",
        "value",
        "array",
        "data",
        "struct",
        "member",
        "name",
        "i4",
        "int",
        "i8",
        "double",
        "boolean",
        "string",
        "base64",
        "nil",
        "fault",
        "dateTime.iso8601",
        "x",
    ]
)
elements = st.recursive(
    st.sampled_from(
        [
            "",
            "1",
            "nan",
            "-1e999",
            "9" * 5000,
            "a",
            "&amp;",
            "&z;",
            "<![CDATA[|]]>",
            "<!-- -->",
            "\u0660",
        ]
    )
    | texts,
    lambda inner: st.builds(
        lambda name, parts: f"<{name}>{''.join(parts)}</{name}>",
        xml_names,
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)
prologues = st.sampled_from(
    [
        "",
        "",
        '<?xml version="1.0"?>',
        '<?xml version="1.0" encoding="utf-16"?>',
        "<!DOCTYPE x>",
        '<!DOCTYPE x [<!ENTITY z "zz">]>',
        '<?xml version="1.0" encoding="cp037"?>',
    ]
)
fault = "<methodResponse><fault><value>%s</value></fault></methodResponse>"
result = "<methodResponse><params><param><value>%s</value></param></params></methodResponse>"
xmls = st.builds(
    lambda prologue, frame, body: (prologue + (frame % body if frame else body)).encode(
        "utf-8", "replace"
    ),
    prologues,
    st.sampled_from(["", fault, result]),
    elements,
)

headers = st.dictionaries(
    st.sampled_from(
        [
            "Retry-After",
            "Location",
            "Content-Type",
            "Content-Encoding",
            "Transfer-Encoding",
            "Set-Cookie",
            "X-Openstack-Request-Id",
            "WWW-Authenticate",
            "Connection",
            "Content-Length",
            "Link",
        ]
    ),
    st.sampled_from(
        [
            "",
            "-1",
            "1e9",
            "9" * 400,
            "chunked",
            "gzip",
            "close",
            "http://[",
            "//x",
            "\x7f",
            "a=b; expires=" + "1" * 4000,
            "text/html; charset=nope",
            "5, 6",
            "Mon, 99 Foo 0000 99:99:99 GMT",
            "|;a=b",
            TOKEN,
        ]
    )
    | st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=20),
    max_size=3,
)
heads = st.binary(max_size=60) | st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.0 -1 x",
        b"HTTP/9.9 200 OK",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 x",
        b"HTTP/1.1 1000 x",
        b"HTTP/1.1 200 " + b"|" * 70_000,
        b"ICY 200 OK",
        b"\r\n\r\n",
    ]
)


def answer(status, more, body):
    """HTTP as right as its parts are."""
    lines = [f"HTTP/1.1 {status} Words".encode()] + [
        f"{name}: {value}".encode("latin-1") for name, value in more.items()
    ]
    if "Content-Length" not in more and "Transfer-Encoding" not in more:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def closing(content):
    """Send this and close: then even an answer without an end has one."""
    return lambda connection: connection.sendall(content)


PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-gzip": lambda body: gzip.compress(body)[:-4],
    "br": bytes,
}

as_json = documents.map(lambda document: json.dumps(document).encode("utf-8", "surrogatepass"))
bodies = (
    as_json
    | xmls
    | st.binary(max_size=200)
    | st.sampled_from(RAW).map(lambda text: text.encode())
    | texts.map(lambda text: text.encode("utf-8", "replace"))
)
answers = (
    st.builds(answer, statuses, headers, bodies)
    | st.builds(answer, statuses, st.just({}), bodies)
    | st.builds(
        lambda status, body, form: answer(status, {"Content-Encoding": form}, PACK[form](body)),
        statuses,
        bodies,
        st.sampled_from(sorted(PACK)),
    )
    | st.builds(lambda head, rest: head + b"\r\n" + rest, heads, st.binary(max_size=200))
)


# --- each transport by itself -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage():
    """A server whose next answer can be set, and an Http to ask it."""

    class Stage:
        content = b""

        def __init__(self):
            self.server = Server(lambda request: closing(self.content))
            self.evidence = Evidence(Redactor([PASSWORD]), keep=True)

        def ask(self, content):
            self.content = content
            http = Http(
                self.server.url,
                Deadline(10, 0),
                self.evidence,
                timeout=3,
                classify=lambda reply: None,
            )
            http.add_secret_header("X-Auth-Token", TOKEN)
            return http

    made = Stage()
    yield made
    made.server.__exit__()


@quick
@given(content=answers)
@example(content=b"")
@example(content=answer(200, {"Transfer-Encoding": "chunked"}, b"ffffffffffffffffff\r\n{}"))
@example(content=answer(200, {"Transfer-Encoding": "chunked"}, b"-5\r\n{}\r\n0\r\n\r\n"))
@example(content=answer(302, {"Location": "http://[::1"}, b""))
@example(content=b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n")
def test_any_bytes_are_a_reply_or_an_error_of_this_suite(content, stage):
    http = stage.ask(content)
    try:
        found = http.get("x", accept=range(400, 600))
        assert (
            isinstance(found.message, str)
            and isinstance(found.request_id, str)
            and 0 <= found.retry_after <= 60
        )
        for read in (
            found.json,
            found.xml,
            lambda: found.items("items"),
            lambda: found.short_text("id"),
        ):
            try:
                read()
            except VmprobeError:
                continue
    except VmprobeError as error:
        assert re.match("GET /|'", str(error)), (
            error
        )  # another path than /x where that redirects to it
    assert (
        TOKEN not in "\n".join(stage.evidence.lines()).replace(TOKEN + "\n", "")[-5000:]
        or TOKEN.encode() in content
    )


@examples(150)
@given(
    body=bodies,
    path=st.lists(st.sampled_from(["server", "id", "", 0, 1, -1]), max_size=3),
    kind=st.sampled_from([str, int, float, bool, list, dict]),
)
def test_any_json_has_the_shape_that_is_asked_for_or_is_refused(body, path, kind):
    found = Reply("GET /x", "GET", "http://h/x", 200, "OK", {}, body)
    try:
        value = found.field(*path, kind)
    except VmprobeError as error:
        assert str(error).startswith("GET /x: ")
    else:
        assert type(value) is kind
        assert kind is not float or abs(value) < float("inf")


@examples(100)
@given(document=documents)
def test_what_json_holds_is_short_and_printable_or_refused(document):
    for read in (
        lambda: fields.short_text({"id": document}, "id"),
        lambda: fields.items({"items": document}, "items"),
        lambda: fields.short_text({"id": [document]}, "id", 0),
    ):
        try:
            value = read()
        except VmprobeError:
            continue
        assert isinstance(value, list) or 0 < len(value) <= 255 and value.isprintable()
    assert fields.parse_time(document) is None or isinstance(document, str)


@examples(120)
@given(body=xmls | st.binary(max_size=100))
def test_any_xml_is_a_tree_or_refused(body):
    try:
        assert b"<!ENTITY" not in body or xml.parse(body) is None
        xml.parse(body)
    except VmprobeError:
        return


@examples(80)
@given(body=xmls)
@example(body=(fault % "<struct></struct>").encode())
@example(body=(fault % "<array></array>").encode())
@example(body=(result % "<int></int>").encode())
@example(body=(result % ("<i8>" + "9" * 5000 + "</i8>")).encode())
@example(body=(result % "<struct><member><name>a</name></member></struct>").encode())
def test_any_xml_rpc_is_a_result_or_an_error_of_this_suite(body, stage):
    try:
        XmlRpc(stage.ask(answer(200, {}, body)), faults=lambda procedure, code, said: None).call(
            "one.vm.info", "a:b", 1
        )
    except VmprobeError as error:
        assert str(error).startswith("one.vm.info: "), error


def test_xml_rpc_marshals_and_names_its_faults(stage):
    value = "<array><data><value><boolean>1</boolean></value><value>&lt;VM/&gt;</value><value><i4>7</i4></value></data></array>"

    assert XmlRpc(stage.ask(answer(200, {}, (result % value).encode())), "RPC2").call(
        "one.vm.info", "a:b", 7
    ) == [True, "<VM/>", 7]
    sent = stage.server.requests[-1]
    assert (sent.target, sent.headers["content-type"]) == ("/RPC2", "text/xml")
    assert (
        b"<methodName>one.vm.info</methodName>" in sent.body
        and b"<value><string>a:b</string></value>" in sent.body
    )

    broken = fault % (
        "<struct><member><name>faultCode</name><value><int>-501</int></value></member><member><name>faultString"
        "</name><value>no such method</value></member></struct>"
    )
    with pytest.raises(VmprobeError, match="^one.vm.info: fault -501: no such method$"):
        XmlRpc(stage.ask(answer(200, {}, broken.encode()))).call("one.vm.info")


@examples(100)
@given(body=bodies)
def test_the_servers_words_are_short(body):
    assert len(error_text.message(body)) <= error_text.LONGEST


# --- what drivers may hand on -------------------------------------------------------------------------------------

numbers = (
    st.floats() | st.integers() | st.sampled_from([10**400, -(10**400), 1e308, -1e308, 5e-324])
)


@examples(120)
@given(
    readings=st.lists(
        st.lists(
            st.builds(Sample, st.sampled_from(METRICS), numbers, numbers, st.booleans()), max_size=6
        ),
        max_size=4,
    )
)
@example(readings=[[Sample("cpu", 0, 0)], [Sample("cpu", 1e300, 5e-324)]])
def test_any_samples_make_figures_that_perfdata_can_show(readings):
    figures, missing = summarise([readings])
    timeline = Timeline(VirtualClock())
    timeline.metrics.update(figures)

    line = verdict.render("VM_LIFECYCLE", verdict.Verdict(0, "all is well", figures))

    assert plugin_output.read(line).figures.keys() == figures.keys()
    assert all(value >= 0 for value in figures.values())
    assert {label.rsplit("_", 1)[0] for label in figures} | set(missing) == set(METRICS)
    json.dumps(timeline.document(), allow_nan=False)


@examples(100)
@given(
    values=st.dictionaries(st.sampled_from(["active", "total", "cpu_avg", "leftovers"]), numbers)
)
def test_any_figures_make_right_perfdata(values):
    plugin_output.read(verdict.render("VM_LIFECYCLE", verdict.Verdict(2, "x", values)))


@examples(100)
@given(said=texts, details=st.lists(texts, max_size=5), state=st.integers(0, 3))
def test_any_text_is_one_clean_line_with_clean_lines_below(said, details, state):
    details = [detail.replace("Traceback", "") for detail in details]
    plugin_output.read(
        verdict.render(
            "VM_LIFECYCLE",
            verdict.Verdict(
                state,
                "site: " + said.replace("Traceback", ""),
                {"total": 1.0},
                details=tuple(details),
            ),
        )
    )


# --- the whole probe ----------------------------------------------------------------------------------------------


def stranger(kind, identity, name):
    return {
        "id": identity,
        "kind": kind,
        "name": name,
        "state": "RUNNING" if kind == "servers" else "FREE",
        "nonce": "n",
        "size": 2**30,
        "server": None,
        "fault": None,
        "created": "2026-01-01T00:00:00Z",
        "launched": "2026-01-01T00:00:01Z",
        "addresses": [{"ip": "10.0.0.9"}] if kind == "servers" else [],
    }


STRANGERS = {
    thing["id"]: thing
    for thing in (  # what no run may change, whatever it is answered
        stranger("servers", "x-1", "prod-db"),
        stranger("volumes", "x-2", "prod-data"),
        stranger("servers", "x-3", ""),
        stranger("volumes", "x-4", ""),
        stranger("servers", "x-5", "vmprobe-mon2-20260101t000000z-6-aaaaaaaa"),
    )
}


class Probe:
    """A whole lifecycle, in virtual time, against a WebServer whose answers are twisted."""

    def __init__(self, directory, thief):
        self.directory, self.thief = directory, thief
        self.server = WebServer(self._twist)
        self.site = self.server.site(directory, deadline=60, reserve=20, timeout=3)
        self.hostile, self.first, self.number = None, 0, 0

    def _twist(self, number, request, status, document):
        self.number += 1
        twisting = self.hostile is not None and self.first <= self.number - 1 < self.last
        return self.hostile(status, document) if twisting else None

    def run(self, hostile, first, many, *options):
        """The output, read strictly, after all that must be true of every run was seen to be."""
        self.hostile, self.first, self.last, self.number = hostile, first, first + many, 0
        self.server.things.clear()
        self.server.things.update(json.loads(json.dumps(STRANGERS)))
        shutil.rmtree(os.environ["VMPROBE_STATE"], ignore_errors=True)
        clock = VirtualClock()
        said = command.main(["--site", str(self.site), *options], clock=clock).verdict
        output = plugin_output.read(verdict.render("VM_LIFECYCLE", said))

        assert "unforeseen: " not in output.text.replace("'unforeseen", "")
        LEAKS.check(str(output), "the output")
        assert "s3cret" not in str(output), "not even a part of one"
        assert clock.now() <= 60
        assert self.thief.connections == 0
        assert {key: self.server.things.get(key) for key in STRANGERS} == STRANGERS, (
            "what is somebody else's was touched"
        )
        return output


@pytest.fixture(scope="module")
def hostile_probe(tmp_path_factory):
    os.environ["VMPROBE_STATE"] = str(tmp_path_factory.mktemp("state"))
    with Server(lambda request: reply(200, "{}")) as thief:
        made = Probe(tmp_path_factory.mktemp("site"), thief)
        with made.server:
            yield made


def test_without_hostility_all_is_well(hostile_probe):
    output = hostile_probe.run(None, 0, 0)

    assert (output.state, hostile_probe.server.things) == (0, STRANGERS)
    assert abs(hostile_probe.number - REQUESTS) <= 3
    assert (
        output.text
        == "site: test VM ran and is gone in 10 s (active 1.5 s, network 2 s, storage 4 s)"
    )


where = dict(first=st.integers(0, REQUESTS), many=st.sampled_from([1, 1, 1, 3, 999]))


@examples(50)
@given(content=answers, **where)
def test_any_answer_in_any_place_ends_in_one_clean_line(content, first, many, hostile_probe):
    hostile_probe.run(lambda status, document: closing(content), first, many)


def places(document, at=()):
    """The paths to everything in a document."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [at] + [place for key, value in inner for place in places(value, (*at, key))]


def with_raw(document, at, raw):
    """The document as text, with ``raw`` in the place ``at``: also what no JSON library would write."""

    def copy(value, here):
        if here == at:
            return "\0here\0"
        if isinstance(value, dict):
            return {key: copy(inner, (*here, key)) for key, inner in value.items()}
        return (
            [copy(inner, (*here, index)) for index, inner in enumerate(value)]
            if isinstance(value, list)
            else value
        )

    return json.dumps(copy(document, ())).replace(json.dumps("\0here\0"), raw)


odd_values = st.sampled_from(RAW) | (st.sampled_from(ODD + NASTY) | documents).map(json.dumps)


@examples(70)
@given(place=st.integers(0, 20), raw=odd_values, **where)
@example(place=1, raw='"../servers"', first=2, many=1)
@example(place=7, raw='"BROKEN"', first=5, many=999)
def test_any_value_in_any_field_ends_in_one_clean_line(place, raw, first, many, hostile_probe):
    def hostile(status, document):
        found = places(document)
        return reply(
            status,
            with_raw(document, found[place % len(found)], raw).encode("utf-8", "surrogatepass"),
        )

    hostile_probe.run(hostile, first, many)


def about_another(how, other):
    """A twist: a whole reply about somebody else's thing, or one with its id, its name or no name.

    In a list an id under our own name is not changed: a manager that shows another's thing under the run's handle, asked
    for that, cannot be told from one that is right.
    """

    def hostile(status, document):
        if not isinstance(document, dict) or not document.keys() & {"item", "items"}:
            return None
        if how == "whole":
            return reply(status, json.dumps({"item": other, "items": [other]}))
        said = json.loads(json.dumps(document))
        for thing in said.get("items", []) + ([said["item"]] if "item" in said else []):
            if how == "id" and "item" in said:
                thing["id"] = other["id"]
            elif how == "name":
                thing["name"] = other["name"]
            elif how == "no name":
                thing["name"] = ""
        return reply(status, json.dumps(said))

    return hostile


@examples(90)
@given(
    how=st.sampled_from(["whole", "id", "name", "no name"]),
    other=st.sampled_from(sorted(STRANGERS)),
    **where,
)
@example(how="id", other="x-1", first=3, many=1)
@example(how="id", other="x-2", first=2, many=1)
@example(how="id", other="x-3", first=3, many=999)
@example(how="whole", other="x-1", first=4, many=1)
def test_no_reply_about_somebody_elses_things_makes_a_run_touch_them(
    how, other, first, many, hostile_probe
):
    hostile_probe.run(about_another(how, STRANGERS[other]), first, many)


digits = (
    st.sampled_from(["\u00b2", "\u0664", "9" * 5000, "-1", "1_0", "0", "", "nan", "1e9"]) | texts
)


@examples(30)
@given(
    key=st.sampled_from(["verified", "size", "address", "answers", "device", "interface"]),
    value=digits,
    uptime=digits,
)
def test_anything_that_a_guest_writes_with_the_runs_nonce_ends_in_one_clean_line(
    key, value, uptime, hostile_probe
):
    def hostile(status, document):
        if not isinstance(document, dict) or "output" not in document:
            return None
        said = re.sub(rf"\b{key}=\S*", lambda match: f"{key}={value}", document["output"])
        nonce = document["output"].split()[1]
        return reply(
            status,
            json.dumps({"output": f"{said}vmprobe {nonce} {uptime} boot cpus={value}\n"}).encode(
                "utf-8", "surrogatepass"
            ),
        )

    hostile_probe.run(hostile, 0, 999)


@examples(20)
@given(
    first=st.integers(0, REQUESTS),
    many=st.sampled_from([1, 999]),
    status=st.sampled_from([301, 302, 303, 307, 308]),
    form=st.sampled_from(
        [
            "http://{host}/",
            "//{host}/v1/servers",
            "http://probe:x@{host}/",
            "http:\\\\{host}/",
            "http://127.0.0.1:{own}@{host}/",
            "\thttp://{host}/",
            "https://{host}/",
            "HTTP://{host}",
        ]
    ),
)
def test_no_redirect_takes_a_credential_elsewhere(first, many, status, form, hostile_probe):
    location = form.format(
        host=f"127.0.0.1:{hostile_probe.thief.port}", own=hostile_probe.server.port
    )
    hostile_probe.run(lambda *words: reply(status, Location=location), first, many)


@examples(8)
@given(content=answers, raw=odd_values, first=st.integers(0, REQUESTS))
def test_files_of_a_hostile_run_are_right_and_hold_no_secret(content, raw, first, hostile_probe):
    directory = hostile_probe.directory
    for hostile in (
        lambda status, document: closing(content),
        lambda status, document: reply(
            status, f'{{"x": {raw}, "token": "{TOKEN}"}}'.encode("utf-8", "replace")
        ),
    ):
        for old in directory.glob("vmprobe-*.json"):
            old.unlink()
        output = hostile_probe.run(
            hostile,
            first,
            2,
            "-v",
            "--json",
            str(directory / "timeline.json"),
            "--evidence",
            str(directory),
        )
        written = [directory / "timeline.json", *directory.glob("vmprobe-*.json")]
        assert len(written) == 2, output
        for path in written:
            text = path.read_text()
            name = path.name
            json.loads(
                text, parse_constant=lambda word, name=name: pytest.fail(f"{word} in {name}")
            )
            LEAKS.check(text, path.name)


@pytest.mark.slow
@long
@given(content=answers, place=st.integers(0, 20), raw=odd_values, **where)
def test_much_more_of_the_same(content, place, raw, first, many, hostile_probe):
    def hostile(status, document):
        found = places(document)
        return reply(
            status,
            with_raw(document, found[place % len(found)], raw).encode("utf-8", "surrogatepass"),
        )

    hostile_probe.run(hostile, first, many)
    hostile_probe.run(lambda status, document: closing(content), first, many)


# --- time, and memory: in processes of their own -------------------------------------------------------------------


def environment(directory):
    return {
        **os.environ,
        "PYTHONPATH": f"{CHECKOUT / 'probes'}:{CHECKOUT / 'tests/support'}",
        "VMPROBE_STATE": str(directory / "state"),
    }


def drip(connection):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.3)


def from_request(first, content):
    """A twist: all answers from this one on are ``content``."""
    return lambda number, *words: content if number >= first else None


def test_a_drip_at_any_place_is_over_by_the_deadline(tmp_path):
    """0: signing in, 1: the image, 2: the volume, 4: polling, 9, 19: clean-up; all at once, because they only wait."""
    places = (0, 1, 2, 4, 9, 19)
    runs = []
    for first in places:
        server, directory = WebServer(from_request(first, drip)), tmp_path / str(first)
        directory.mkdir()
        site = server.site(directory, deadline=8, reserve=3, timeout=2, poll=0.1)
        runs.append(
            (
                server,
                subprocess.Popen(
                    [
                        sys.executable,
                        str(CHECKOUT / "probes/check_vm_lifecycle"),
                        "--site",
                        str(site),
                    ],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment(directory),
                ),
            )
        )

    for server, process in runs:
        out, err = process.communicate(timeout=100)
        output = plugin_output.read(out.rstrip("\n"))
        assert (err, process.returncode) == ("", output.state)
        assert output.state in (2, 3) and re.search(
            "no whole answer within|the deadline of 8 s passed", output.text
        ), output
        assert output.figures["total"] < 8.5, output
        server.__exit__()


def flood(head, piece, times=100, status=b"200 OK"):
    def send(connection):
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n\r\n")
        for _ in range(times):
            connection.sendall(piece)

    return send


def heavy(body, **more):
    return reply(200, body, **more)


MIB = 2**20
HEAVY = {
    "100-MB": flood(b"Content-Length: 104857600", b" " * MIB),
    "100-MB-unannounced": flood(b"Connection: close", b"[" * MIB),
    "a-chunk-size-without-end": flood(b"Transfer-Encoding: chunked", b"1" * MIB),
    "headers-without-end": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\n" + (b"X-Y: " + b"z" * 60000 + b"\r\n") * 200
    ),
    "empty-objects": heavy(b"[" + b"{}," * (MIB + MIB // 4) + b"{}]"),
    "empty-objects-just-accepted": heavy(b"[" + b"{}," * 63_000 + b"{}]"),
    "objects-of-one-just-accepted": heavy(b"[" + b'{"":0},' * 49_000 + b"{}]"),
    "one-wide-text": heavy(b'{"items": "' + b"x" * (4 * MIB - 100) + "\U0001f4a3".encode() + b'"}'),
    "one-wide-text-just-accepted": heavy(
        b'{"items": "' + b"x" * 2_300_000 + "\U0001f4a3".encode() + b'"}'
    ),
    "one-escaped-text-just-accepted": heavy(
        b'{"items": "' + b"\\u00e9" * 380_000 + b'\\ud83d\\udca3"}'
    ),
    "short-texts-just-accepted": heavy(
        b"[" + b",".join(b'"%d"' % number for number in range(190_000)) + b"]"
    ),
    "a-redirect-with-100-MB": flood(
        b"Location: /v1/x\r\nContent-Length: 104857600", b" " * MIB, status=b"302 Found"
    ),
    "a-refusal-with-100-MB": flood(
        b"Content-Length: 104857600", b'{"message": "' + b"a" * MIB, status=b"500 Words"
    ),
    "a-bomb-in-gzip": heavy(gzip.compress(b" " * 100 * MIB, 1), Content_Encoding="gzip"),
    "a-bomb-in-deflate": heavy(zlib.compress(b"[" * 100 * MIB, 1), Content_Encoding="deflate"),
    "empty-objects-just-accepted-in-gzip": heavy(
        gzip.compress(b"[" + b"{}," * 63_000 + b"{}]"), Content_Encoding="gzip"
    ),
    "no-gzip": heavy(b"\x1f\x8b\x08\x00" + b"\x00" * 100000, Content_Encoding="gzip"),
}


def test_no_answer_makes_memory_grow_by_64_mib(tmp_path, tell):
    """All of them, one after the other, in one process: from the fourth request on, on each look and in the clean-up."""
    servers, sites = [], []
    for name in ("well", *HEAVY):
        servers.append(
            WebServer(from_request(4, HEAVY[name]) if name in HEAVY else lambda *words: None)
        )
        (tmp_path / name).mkdir()
        sites.append(str(servers[-1].site(tmp_path / name, deadline=14, reserve=2)))

    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "tests/support/outside/measured.py"), *sites],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
    )
    for server in servers:
        server.__exit__()

    assert done.stderr == ""
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    outputs = [plugin_output.read(text) for _, text, _ in runs]
    assert [output.state for output in outputs] == [0] + [2] * len(HEAVY), outputs
    assert all("submit" in output.figures for output in outputs)
    grown = (runs[-1][2] - runs[0][2]) / 1024
    tell(f"hostile servers: {len(HEAVY)} heavy answers, memory grew by {grown:.0f} MiB at most")
    assert grown < 64, list(zip(HEAVY, runs[1:]))


def test_xml_of_any_weight_stays_within_64_mib(tmp_path):
    script = (
        "import sys\n"
        "from vmprobe.transport import xml\n"
        "from vmprobe.core.errors import GatewayFailed\n"
        "def peak(): return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) / 1024\n"
        "bodies = [b'<a>' + b'<b/>' * 99990 + b'</a>', b'<a>' + b'<b/>' * 1000000 + b'</a>', b'<a>' + b'x' * 4194000 + b'</a>',\n"
        "          b'<a>' + b'<b c=\"\"/>' * 49990 + b'</a>', ('<a>' + 'x' * 4190000 + '\\U0001f4a3</a>').encode(), b'<a>' * 1398101]\n"
        "xml.parse(b'<a/>'); base = peak()\n"
        "for body in bodies:\n"
        "    try: xml.parse(body)\n"
        "    except GatewayFailed: pass\n"
        "print(peak() - base)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "probes")},
    )

    assert done.stderr == ""
    assert float(done.stdout) < 64
