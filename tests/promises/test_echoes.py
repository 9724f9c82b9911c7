"""Whole checks against a server that echoes secrets in every field."""

import io
import json
import shutil
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outside.webserver import PASSWORD, TOKEN, WebServer
from rawserver import reply
from searches import examples
from secrets_check import ENCODERS
from virtual import VirtualClock
from vmprobe.checks.gateway import command
from vmprobe.checks.lifecycle import command as lifecycle
from vmprobe.checks.state import command as state
from vmprobe.report import verdict


class Echo:
    """Checks in virtual time against a server that puts secrets into all its answers; collects all that they write."""

    def __init__(self, directory):
        self.directory, self.echo, self.first, self.asked = directory, None, 0, 0
        self.patient = self.signed_in = False
        self.server = WebServer(self._twist)
        self.site = self.server.site(directory, deadline=60, reserve=20, timeout=3)

    def _twist(self, number, request, status, document):
        patient, self.asked = self.patient and not self.signed_in, self.asked + 1
        self.signed_in = self.signed_in or "/sessions" in request.target and status == 201
        return self.echo(status, document) if not patient and self.asked > self.first else None

    def outputs(self, probe, monkeypatch, *options):
        """Everything that a run writes: the text, by the place that it is written to."""
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr("sys.stderr", terminal)
        self.asked, self.signed_in = 0, False
        self.server.things.clear()
        evidence, timeline = self.directory / "evidence", self.directory / "timeline.json"
        shutil.rmtree(evidence, ignore_errors=True)
        shutil.rmtree(self.directory / "state", ignore_errors=True)
        monkeypatch.setenv("VMPROBE_STATE", str(self.directory / "state"))
        files = {
            lifecycle: ["--json", str(timeline), "--evidence", str(evidence)],
            command: ["--json", str(timeline)],
        }.get(probe, [])
        result = probe.main(["--site", str(self.site), "-vv", *files], clock=VirtualClock()).verdict
        outputs = {
            "the output": verdict.render("VM_X", result),
            "the terminal": terminal.getvalue(),
        }
        outputs.update(
            {
                path.name: path.read_text()
                for path in [timeline, *evidence.glob("*")]
                if files and path.exists()
            }
        )
        return outputs


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    made = Echo(tmp_path_factory.mktemp("echo"))
    with made.server:
        yield made


def filled(document, message):
    """Replace each text of a document by ``message``, and add keys and values with it; keep the shape."""
    if isinstance(document, dict):
        return {
            **{key: filled(value, message) for key, value in document.items()},
            message: message,
            "more": {"text": message, "state": message},
        }
    if isinstance(document, list):
        return [filled(value, message) for value in document]
    return message if isinstance(document, str) else document


SHAPES = {
    "in each field": lambda status, document, said: reply(
        status, json.dumps(filled(document, said))
    ),
    "in an error": lambda status, document, said: reply(
        409, json.dumps({"error": {"message": said, "code": 409}})
    ),
    "in a page": lambda status, document, said: reply(
        502, f"<html><title>{said}</title><h1>{said}</h1>"
    ),
    "in plain text": lambda status, document, said: reply(403, said),
    "in a header": lambda status, document, said: reply(
        301, "x", Location="http://elsewhere/" + urllib.parse.quote(said, safe="%")
    ),
    "in an id of a request": lambda status, document, said: reply(
        400, "no", **{"X-Request-Id": urllib.parse.quote(said, safe="%")}
    ),
}


@examples(30)
@given(
    secret=st.sampled_from([PASSWORD, TOKEN]),
    form=st.sampled_from(sorted(ENCODERS)),
    shape=st.sampled_from(sorted(SHAPES)),
    room=st.integers(0, 130) | st.integers(470, 500),
    first=st.sampled_from([0, 1, 2, 4, 9]),
    probe=st.sampled_from([lifecycle, lifecycle, command, state]),
)
@example(secret=PASSWORD, form="as it is", shape="in an error", room=95, first=0, probe=lifecycle)
@example(secret=TOKEN, form="as it is", shape="in each field", room=240, first=1, probe=state)
def test_no_secret_leaves_by_any_field_in_any_form(
    secret, form, shape, room, first, probe, echo, monkeypatch
):
    written = ENCODERS[form](secret)
    echo.patient = secret == TOKEN  # the check does not know it before the server sends it
    echo.first, echo.echo = (
        first,
        lambda status, document: SHAPES[shape](
            status, document, f"{'.' * room} you sent {written} to me"
        ),
    )

    for where, text in echo.outputs(probe, monkeypatch).items():
        assert "unforeseen" not in text
        assert written not in text and json.dumps(written)[1:-1] not in text, where
        assert "s3cret" not in text and "cret-" not in text, where
