"""Whatever a server sends: a whole check_vm_lifecycle ends in one clean line, in time, and no
credential goes anywhere else. The driver speaks HTTP (``outside.webcloud``).
"""

import json
import os
import re
import shutil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import plugin_output
from hostile import (
    LEAKS,
    NASTY,
    ODD,
    RAW,
    REQUESTS,
    answers,
    closing,
    documents,
    examples,
    long,
    texts,
)
from outside.webserver import TOKEN, WebServer
from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.checks.lifecycle import command
from vmprobe.report import verdict


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
