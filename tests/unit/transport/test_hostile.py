"""Whatever a server sends: each transport answers or raises an error of this suite."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import plugin_output
from hostile import (
    answer,
    answers,
    bodies,
    closing,
    documents,
    examples,
    fault,
    quick,
    result,
    texts,
    xmls,
)
from outside.webserver import PASSWORD, TOKEN
from rawserver import Server
from virtual import VirtualClock
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
