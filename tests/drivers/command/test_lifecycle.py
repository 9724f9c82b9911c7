"""Whole checks by the example in Python, over a server on loopback: every verdict, a fleet, and a kill at each request."""

import json
import re
import signal
import subprocess
import sys

import pytest

from outside.webserver import WebServer
from rawserver import reply
from running import PROBES, run_probe
from simulators.command_sites import (
    EXAMPLE,
    SECRETS,
    example_site,
    killing,
    kills,
    script,
    write_site,
)
from waiting import soon

LIFECYCLE = "check_vm_lifecycle"


@pytest.fixture
def server():
    with WebServer() as found:
        yield found


def first(output: str) -> str:
    """Line 1 without its perfdata, durations and handles."""
    line = output.splitlines()[0].partition(" | ")[0]
    line = re.sub(r"vmprobe-mon-[0-9a-z]+-\d+-[a-z0-9]+", "HANDLE", line)
    return re.sub(r"\b\d+(\.\d+)? s\b", "T s", line)


def run(path, *options):
    code, output, errors = run_probe(LIFECYCLE, "--site", str(path), *options)
    assert errors == ""
    assert [secret for secret in SECRETS if secret in output] == []
    return code, first(output)


GOOD = "test VM ran and is gone in T s (active T s, network T s, storage T s)"


def test_a_test_vm_lives_and_is_gone(server, tmp_path):
    path = example_site(tmp_path, server.url + "/v1", test_vm={"snapshot": "yes"})

    assert run(path, "-vv") == (0, f"VM_LIFECYCLE OK - site: {GOOD}")
    assert server.things == {}


def test_a_fleet_of_five_is_made_by_one_request(server, tmp_path):
    path = example_site(tmp_path, server.url + "/v1", test_vm={"volume": "none"})

    code, line = run(path, "--count", "5")

    assert (code, server.things) == (0, {}), line
    made = [one for one in server.requests if one.method == "POST" and "servers" in one.target]
    assert [len(json.loads(one.body)["names"]) for one in made] == [5]


def test_a_fleet_of_five_is_made_one_by_one(server, tmp_path):
    endpoint = {"offers": "volumes, console, metrics"}
    path = example_site(tmp_path, server.url + "/v1", endpoint=endpoint)

    code, line = run(path, "--count", "5")

    assert (code, server.things) == (0, {}), line
    made = [one for one in server.requests if one.method == "POST" and "servers" in one.target]
    assert [len(json.loads(one.body)["names"]) for one in made] == [1] * 5


# --- the verdicts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sections, state, line",
    [
        (
            {"test_vm": {"image": "no-such"}},
            2,
            "CRITICAL - site: image: rest resolve: no image named 'no-such' (cause=image)",
        ),
        (
            {"endpoint": {"url": "http://127.0.0.1:1/v1"}},
            2,
            "CRITICAL - site: auth: rest connect: [Errno 111] Connection refused (cause=gateway)",
        ),
        (
            {"endpoint": {"command": "/no/such/command"}},
            3,
            "UNKNOWN - site: auth: [endpoint] command: /no/such/command cannot be run: "
            "No such file or directory (cause=client)",
        ),
        (
            {"endpoint": {"offers": "console"}},
            3,
            "UNKNOWN - site: [test vm] asks for volume, which command does not offer",
        ),
    ],
    ids=["image", "refused", "no-command", "no-volumes"],
)
def test_what_is_wrong_is_told_in_one_line(server, tmp_path, sections, state, line):
    path = example_site(tmp_path, server.url + "/v1", **sections)

    assert run(path) == (state, f"VM_LIFECYCLE {line}")
    assert server.things == {}


def test_crit_when_the_credential_is_rejected(server, tmp_path):
    path = example_site(tmp_path, server.url + "/v1")
    credentials = tmp_path / "credentials.ini"
    credentials.write_text("[credentials]\nusername = probe\npassword = wrong-one\n")

    code, line = run(path)

    assert (code, line) == (
        2,
        "VM_LIFECYCLE CRITICAL - site: auth: rest connect: "
        '401 {"error": {"message": "wrong"}} (cause=auth)',
    )


@pytest.mark.parametrize(
    "status, text, state, cause",
    [
        (403, "Quota exceeded for servers", 1, "(cause=quota)"),
        (403, "not for you", 2, "(cause=auth)"),
        (503, "busy", 2, "(cause=gateway)"),
    ],
    ids=["quota", "forbidden", "busy"],
)
def test_a_server_that_is_refused_is_told_with_its_cause(tmp_path, status, text, state, cause):
    def refuse(number, request, given, document):
        if request.method == "POST" and "servers" in request.target:
            return reply(status, json.dumps({"error": text}))

    with WebServer(refuse) as server:
        code, told = run(example_site(tmp_path, server.url + "/v1"))

        assert (code, server.things) == (state, {})
    word = {1: "WARNING", 2: "CRITICAL"}[state]
    assert told.startswith(f"VM_LIFECYCLE {word} - site: submit: rest create: {status} ")
    assert text in told and cause in told


def test_crit_when_no_host_has_room(tmp_path):
    def broken(number, request, status, document):
        if request.method == "GET" and "/servers/" in request.target and status == 200:
            if "item" in document:
                document["item"] = {
                    **document["item"],
                    "state": "BROKEN",
                    "fault": "No valid host was found",
                }
                return reply(status, json.dumps(document))

    with WebServer(broken) as server:
        code, told = run(example_site(tmp_path, server.url + "/v1"))

        assert server.things == {}
    assert (code, told) == (
        2,
        "VM_LIFECYCLE CRITICAL - site: active: server ser-2 is BROKEN: No valid host was found "
        "(cause=scheduler)",
    )


def test_a_command_that_hangs_ends_with_the_deadline(tmp_path):
    command = script(tmp_path, "exec sleep 1000")
    path = write_site(
        tmp_path,
        command,
        endpoint={"timeout": "1 s"},
        budget={"deadline": "5 s", "reserve": "2 s"},
    )

    code, line = run(path)

    assert code == 2
    assert "manager connect: no answer within T s" in line


# --- hostile answers ----------------------------------------------------------------------------------------------

HOSTILE = {
    "nothing": "",
    "no JSON": "echo '<html>|OK'",
    "a list": "echo '[]'",
    "megabytes": "head -c 9000000 /dev/zero",
    "deep": "head -c 100000 /dev/zero | tr '\\0' '['",
    "many objects": "printf '{\"a\": ['; head -c 3000000 /dev/zero | sed 's/\\x00/{},/g'; echo '{}]}'",
    "binary": "head -c 1000 /dev/urandom",
    "control characters": 'printf \'{"error": "\\\\u001b[2J a|b\\\\n<script>"}\'; exit 213',
    "perfdata": "printf 'x|a=1\\nOK - fine' >&2; exit 1",
    "wrong types": 'echo \'{"session": "x", "resources": {}, "id": [], "version": {}}\'',
}


SLOW = [
    pytest.param(verb, marks=pytest.mark.slow) for verb in ("list", "resolve", "create", "show")
]


@pytest.mark.parametrize("verb", ["connect", *SLOW])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_answer_is_refused_in_one_line(tmp_path, verb, text):
    command = script(
        tmp_path,
        f"""[ $1 != {verb} ] || {{ {text or ":"}; exit; }}
case $1 in
list) echo '{{"resources": []}}' ;;
create) echo '{{"id": "s-1"}}' ;;
show) exit 204 ;;
*) echo '{{"version": "1"}}' ;;
esac""",
    )
    path = write_site(
        tmp_path,
        command,
        endpoint={"consistency_window": "0.1 s"},
        budget={"deadline": "3 s", "reserve": "1.5 s"},
    )

    code, output, errors = run_probe(LIFECYCLE, "--site", str(path))

    line = output.splitlines()[0]
    assert (code in (2, 3), errors) == (True, "")
    assert line.startswith(("VM_LIFECYCLE CRITICAL - ", "VM_LIFECYCLE UNKNOWN - "))
    assert line.count("|") <= 1 and "\x1b" not in output and "Traceback" not in output
    assert len(line.partition(" | ")[0]) < 500


# --- kills --------------------------------------------------------------------------------------------------------


QUICK = [("create", 1, "after"), ("create", 2, "during"), ("delete", 1, "after")]


@pytest.mark.parametrize("verb, number, moment", kills(*QUICK))
def test_nothing_is_left_of_a_run_that_is_killed_once_the_next_has_ended(
    server, tmp_path, verb, number, moment
):
    command = killing(tmp_path, EXAMPLE, verb, number, moment)
    path = example_site(tmp_path, server.url + "/v1", command=command)
    assert run_probe(LIFECYCLE, "--site", str(path))[0] == -signal.SIGKILL

    code, line = run(path)  # the command kills only once

    assert (code, line) == (0, f"VM_LIFECYCLE OK - site: {GOOD}")
    assert server.things == {}


def test_a_signal_does_not_cut_a_request_in_half(server, tmp_path):
    command, started = tmp_path / "slow", tmp_path / "started"
    command.write_text(
        f"""#!/bin/sh
[ "$1" != create ] || {{ touch '{started}'; sleep 1; }}
exec '{EXAMPLE}' "$@"
"""
    )
    command.chmod(0o755)
    path = example_site(tmp_path, server.url + "/v1", command=command)
    process = subprocess.Popen(
        [sys.executable, str(PROBES / LIFECYCLE), "--site", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    soon(started.exists)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)

    assert (process.returncode, first(output)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - site: submit: interrupted by SIGTERM",
    )
    made = [one.target for one in server.requests if one.method == "POST"]
    assert (made, server.things) == (["/v1/sessions", "/v1/volumes"], {})
