"""One run of the command: what it is given, how long it may take, and which error its end means."""

import json
import time

import pytest

from simulators.command_sites import script, write_site
from vmprobe.core import redact
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    DeadlinePassed,
    GatewayFailed,
    Incomplete,
    NotFound,
    RateLimited,
    TooLarge,
    Unreachable,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Ref
from vmprobe.drivers.command.program import ERRORS, Program
from vmprobe.site.site import load
from waiting import soon

SERVER = Ref(Kind.SERVER, "7", "vmprobe-x")


def driver(directory, text, credentials=None, timeout="5 s", total=60.0, **endpoint):
    """A connected driver over a command of a few lines; ``connect`` itself is answered with {}."""
    command = script(directory, f"[ $1 != connect ] || {{ echo '{{}}'; exit; }}\n{text}")
    site = load(str(write_site(directory, command, endpoint={"timeout": timeout, **endpoint})))
    found = site.driver(
        site.endpoint, credentials or {}, Deadline(total, 1, Clock()), Evidence(keep=True)
    )
    found.connect()
    return found


def error(directory, text, ask=lambda found: found.show(SERVER), **words):
    """The error of a request that the command serves with these lines."""
    with pytest.raises(Exception) as failed:
        ask(driver(directory, text, **words))
    return failed.value


# --- what it is given ---------------------------------------------------------------------------------------------


def test_the_verb_is_the_only_argument_and_the_environment_is_clean(tmp_path, monkeypatch):
    monkeypatch.setenv("OS_PASSWORD", "other-secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = driver(
        tmp_path, 'env >$HOME/env; echo "$# $*" >$HOME/arguments; pwd >$HOME/pwd; echo {}'
    )
    found.console(SERVER)

    told = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name: told[name] for name in told if name not in ("PWD", "_", "SHLVL", "OLDPWD")} == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": str(tmp_path),
    }
    assert (tmp_path / "arguments").read_text() == "1 console\n"
    assert (tmp_path / "pwd").read_text() == "/\n"


def test_secrets_go_by_standard_input_and_are_not_in_the_evidence(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = driver(
        tmp_path,
        'printf %s "$request" >$HOME/request; echo {}',
        credentials={"username": "probe", "password": "s3cret-1"},
        url="farm://one",
        options="pool=fast, tier=gold",
    )
    found.console(SERVER)

    asked = json.loads((tmp_path / "request").read_text())
    assert 0 < asked.pop("timeout") <= 5
    assert asked == {
        "protocol": 1,
        "verb": "console",
        "endpoint": {
            "url": "farm://one",
            "region": "",
            "project": "",
            "ca": "",
            "options": {"pool": "fast", "tier": "gold"},
        },
        "credentials": {"username": "probe", "password": "s3cret-1"},
        "session": "",
        "kind": "server",
        "id": "7",
        "name": "vmprobe-x",
    }
    assert "s3cret-1" not in "\n".join(found.evidence.lines())


def test_a_session_is_passed_on_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = """case $1 in
connect) echo '{"session": "t0ken-of-a-session"}' ;;
*) printf %s "$request" | grep -o '"session": "[^"]*"' >>$HOME/sessions; echo '{"text": "t0ken-of-a-session"}' ;;
esac"""
    command = script(tmp_path, text)
    site = load(str(write_site(tmp_path, command)))
    found = site.driver(site.endpoint, {}, Deadline(60, 1, Clock()), Evidence(keep=True))
    found.connect()
    found.console(SERVER)
    found.close()

    assert (tmp_path / "sessions").read_text() == '"session": "t0ken-of-a-session"\n' * 2
    assert "t0ken" not in "\n".join(found.evidence.lines())
    with pytest.raises(AuthRejected):
        found.console(SERVER)


# --- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code, kind", ERRORS.items())
def test_an_exit_code_names_the_error(tmp_path, code, kind):
    failed = error(tmp_path, f"echo the reason >&2; exit {code}")

    assert type(failed) is kind
    assert str(failed) == "manager show: the reason"
    assert getattr(failed, "sent", None) == {211: False, 212: True}.get(code)


@pytest.mark.parametrize(
    "text, kind, line",
    [
        ("exit 1", GatewayFailed, "manager show: exit code 1: no reason given"),
        ("echo bad >&2; exit 4", GatewayFailed, "manager show: exit code 4: bad"),
        ("exec no-such-tool 2>/dev/null", ClientError, "manager show: no reason given"),
        ("kill -9 $$", Unreachable, "manager show: was ended by SIGKILL"),
        (
            "exit 0",
            GatewayFailed,
            "manager show: the answer is no JSON: Expecting value: line 1 column 1 (char 0)",
        ),
        (
            "echo '[]'",
            GatewayFailed,
            "manager show: content in the answer is a list, not an object",
        ),
        ("echo '{}'", GatewayFailed, "manager show: the answer has no resource"),
        (
            "echo '{} {}'",
            GatewayFailed,
            "manager show: the answer is no JSON: Extra data: line 1 column 4 (char 3)",
        ),
        (
            """echo '{"resource": {"id": "8", "state": "ready"}}'""",
            GatewayFailed,
            "manager show: the answer is about server 8, and server 7 was asked for",
        ),
    ],
    ids=[
        "any-code",
        "curl",
        "no-tool",
        "killed",
        "silent",
        "list",
        "empty",
        "two-documents",
        "of-another",
    ],
)
def test_any_other_end_never_says_that_something_is_not_there(tmp_path, text, kind, line):
    failed = error(tmp_path, text)

    assert (type(failed), str(failed)) == (kind, line)


def test_a_failure_may_say_its_cause_request_and_wait(tmp_path):
    text = """echo '{"error": "slow down", "cause": "quota", "request": "r-1", "wait": 1e9}'; exit 214"""

    failed = error(tmp_path, text)

    assert (type(failed), str(failed)) == (RateLimited, "manager show: slow down")
    assert (failed.cause, failed.request, failed.wait) == ("quota", "r-1", 60.0)


def test_what_is_malformed_in_a_failure_is_left_out(tmp_path):
    text = """echo '{"error": "no", "cause": ["x"], "request": {}, "wait": "long"}'; exit 214"""

    failed = error(tmp_path, text)

    assert (str(failed), failed.cause, failed.request, failed.wait) == (
        "manager show: no",
        "gateway",
        "",
        0.0,
    )


def test_an_incomplete_list_has_the_part_that_is_known(tmp_path):
    text = """echo '{"error": "a cell is down", "resources": [{"id": 7, "name": "a", "state": "ready"}]}'; exit 215"""

    failed = error(tmp_path, text, lambda found: found.list(Kind.SERVER, ""))

    assert (type(failed), str(failed)) == (Incomplete, "manager list: a cell is down")
    assert [each.ref for each in failed.partial] == [Ref(Kind.SERVER, "7", "a")]


def test_only_a_session_that_ended_has_to_be_renewed(tmp_path):
    found = driver(tmp_path, "exit 202")
    for _ in range(2):
        with pytest.raises(AuthRejected) as refused:
            found.show(SERVER)

    assert str(refused.value) == "no session"


def test_deleting_what_is_gone_is_success(tmp_path):
    assert driver(tmp_path, "exit 204").delete(SERVER) is None
    assert driver(tmp_path, "exit 205").delete(SERVER) is None
    assert type(error(tmp_path, "exit 204")) is NotFound


# --- limits -------------------------------------------------------------------------------------------------------


def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    began = time.monotonic()
    failed = error(tmp_path, "sleep 100 & echo $! >$HOME/pid; wait", timeout="0.3 s")

    assert (type(failed), str(failed)) == (Unreachable, "manager show: no answer within 0.3 s")
    assert time.monotonic() - began < 10
    assert soon(lambda: has_ended((tmp_path / "pid").read_text().strip()), 10)


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_no_command_is_started_after_the_deadline(tmp_path):
    found = driver(tmp_path, f"touch '{tmp_path}/started'", total=60)
    found.deadline.started -= 60

    with pytest.raises(DeadlinePassed):
        found.show(SERVER)
    assert not (tmp_path / "started").exists()


def test_an_endless_answer_is_refused(tmp_path):
    failed = error(tmp_path, "head -c 7000000 /dev/zero | tr '\\0' x")

    assert (type(failed), str(failed)) == (
        TooLarge,
        "manager show: the answer is larger than 6291456 bytes",
    )


def test_an_answer_that_is_nested_too_deep_is_refused(tmp_path):
    failed = error(tmp_path, "head -c 50000 /dev/zero | tr '\\0' '['")

    assert isinstance(failed, GatewayFailed)
    assert str(failed).startswith("manager show: the JSON of the answer is ")


def test_a_request_that_a_pipe_does_not_hold_is_our_own_fault(tmp_path):
    found = driver(tmp_path, "echo '{}'")

    with pytest.raises(ClientError) as refused:
        found.show(SERVER._replace(name="x" * 70000))
    assert "and may have 61440" in str(refused.value)


@pytest.mark.parametrize(
    "path, reason",
    [("/no/such", "No such file or directory"), ("/etc/passwd", "Permission denied")],
)
def test_a_command_that_cannot_be_run_is_our_own_fault(path, reason):
    program = Program(path, {}, {}, Deadline(60, 1, Clock()), Evidence(), 5)

    with pytest.raises(ClientError) as refused:
        program.ask("connect", {})
    assert str(refused.value) == f"[endpoint] command: {path} cannot be run: {reason}"


def test_a_secret_in_the_reason_is_redacted(tmp_path, monkeypatch):
    redact.begin(["s3cret-1"])
    failed = error(tmp_path, "echo password s3cret-1 is wrong >&2; exit 202")

    assert str(failed) == "manager show: password *** is wrong"
