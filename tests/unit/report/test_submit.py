"""Passive results: delivered, or spooled and delivered later; the verdict is never another one."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from running import PROBES, run_probe
from virtual import VirtualClock
from vmprobe import cli
from vmprobe.checks import signals
from vmprobe.core.clock import Deadline
from vmprobe.report import verdict
from vmprobe.report.submit import delivery, receiver, spool
from vmprobe.site import targets
from waiting import soon

pytestmark = pytest.mark.filterwarnings(
    "ignore:System time is way off"
)  # urllib3's, of a wall clock that stands still

RESULT = spool.CheckResult(
    "cesga",
    "vm-lifecycle",
    2,
    "VM_LIFECYCLE CRITICAL - a\\b; c | total=1s;;;0\nmore",
    1000.25,
    1010.5,
)


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.ini"
    path.write_text(
        "[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test\n"
        "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n[budget]\ndeadline = 30 s\nreserve = 5 s\n"
    )
    return str(path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Ten seconds after the result, by the wall clock; the pauses are short."""
    monkeypatch.setattr(delivery, "_PAUSES", (0.0, 0.01))
    monkeypatch.setattr(time, "time", lambda: 1020.0)


class Monitor(receiver.Receiver):
    """A monitoring server of the tests' own, in the place of NSCA; ``before`` is called with each result it is asked to take."""

    word = "nsca:monitor"

    def send(self, result):
        type(self).asked += 1
        type(self).before(result)
        if self.is_away or result.service in self.fails_at:
            raise receiver.Undelivered("it does not answer")
        if result.host in self.knows_nothing_of:
            raise receiver.Rejected(f"it has no service {result.host}!{result.service}")
        self.got.append(result)


@pytest.fixture
def monitor(monkeypatch):
    found = type(
        "Here",
        (Monitor,),
        {
            "asked": 0,
            "got": [],
            "is_away": False,
            "fails_at": set(),
            "knows_nothing_of": set(),
            "before": staticmethod(lambda result: None),
        },
    )
    monkeypatch.setitem(delivery.RECEIVERS, "nsca", found)
    return found


def deliver(word, result=RESULT, seconds=5):
    """Hand a result over as a probe does; what is told of it."""
    return delivery.submit([targets.parse(word)], result, Deadline(seconds, 0))


def spooled(word):
    """The results that wait for a target, by the names of their files."""
    folder = delivery.spool_folder(targets.parse(word))
    return (
        sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        if os.path.isdir(folder)
        else []
    )


def plant(word, name, text):
    """A file in the spool of a target, put there by somebody else."""
    folder = delivery.spool_folder(targets.parse(word))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- the probe ----------------------------------------------------------------------------------------------------


def test_a_result_goes_to_several_targets_and_the_output_stays_as_it_is(quick, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"

    code, output, errors = run_probe(
        "check_vm_lifecycle",
        "--site",
        quick,
        "--submit",
        f"file:{first}",
        "--submit",
        f"file:{second}",
    )

    assert (code, output.count("\n"), errors) == (0, 1, "")
    assert lines(first) == lines(second)
    assert [
        (each["host"], each["service"], each["state"], each["output"]) for each in lines(first)
    ] == [("quick", "vm-lifecycle", 0, output.rstrip("\n"))]


def test_a_new_file_of_results_can_be_read_by_who_forwards_them_and_an_old_one_keeps_its_mode(
    quick, tmp_path
):
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch(0o640)

    run_probe(
        "check_vm_lifecycle",
        "--site",
        quick,
        "--submit",
        f"file:{new}",
        "--submit",
        f"file:{old}",
        umask=0o077,
    )

    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o644, 0o640]


def test_what_ends_a_run_before_it_begins_is_submitted_too(quick, tmp_path):
    file = tmp_path / "file"

    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", quick, "--submit", f"file:{file}", "-w", "nothing=1"
    )

    assert code == 3
    assert [(each["state"], each["output"]) for each in lines(file)] == [(3, output.rstrip("\n"))]


@pytest.fixture
def own_signals():
    """What a probe does with its signals ends with the test."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "probe, options, lasted, seconds",
    [
        ("lifecycle", [], 10, 20),
        ("lifecycle", ["-t", "40"], 10, 30),
        ("lifecycle", [], 29, 5),
        ("state", [], 10, 30),
        ("state", [], 42, 8),
        ("state", [], 50, 5),
        ("state", ["-t", "100"], 80, 20),
    ],
)
def test_a_submission_ends_with_the_probe_s_own_time_that_a_scheduler_kills_at(
    quick, monitor, own_signals, probe, options, lasted, seconds
):
    given = []
    monitor.send = lambda self, result: given.append(self.deadline.total)

    said = cli._submitted(
        probe,
        ["--site", quick, "--submit", "nsca:monitor", *options],
        verdict.Verdict(0, "good"),
        1020.0 - lasted,
    )

    assert (said, given) == (verdict.Verdict(0, "good"), [seconds])


def test_a_target_that_fails_changes_neither_line_1_nor_the_state(quick, tmp_path):
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", quick, "--submit", "file:/nowhere/file", "-t", "20"
    )

    assert (code, errors) == (0, "")
    assert output.splitlines()[0].startswith("VM_LIFECYCLE OK - quick: test VM ran and is gone in ")
    assert output.splitlines()[1:] == [
        "not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; spooled"
    ]


def test_a_site_that_cannot_be_read_has_no_name_to_submit_under():
    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", "/nowhere.ini", "--submit", "file:/nowhere/file"
    )

    assert (code, output) == (
        3,
        "VM_LIFECYCLE UNKNOWN - /nowhere.ini: No such file or directory\n"
        "not submitted: /nowhere.ini: No such file or directory\n",
    )


@pytest.mark.parametrize(
    "word, wrong",
    [
        (
            "pigeon:x",
            "is not a target: unknown kind pigeon; use one of nagios, results, icinga2, nsca, nrdp, file",
        ),
        ("file:relative", "is not a target: file needs an absolute path"),
        ("nagios:/pipe,ca=x", "is not a target: nagios has no option ca; its options: none"),
        (
            "icinga2:http://mon,credentials=x",
            "is not a target: icinga2 needs a URL that begins with https://",
        ),
        ("nrdp:https://mon", "is not a target: nrdp needs credentials=FILE"),
        ("nsca:", "is not a target: nsca needs a host"),
    ],
)
def test_a_target_that_is_none_is_named(word, wrong):
    with pytest.raises(ValueError) as said:
        targets.parse(word)

    assert str(said.value) == wrong


# --- the spool ----------------------------------------------------------------------------------------------------


def test_a_file_gets_all_that_was_spooled_oldest_first_and_once(tmp_path):
    word = f"file:{tmp_path}/there/file"
    for number in (1, 2):
        assert deliver(word, RESULT._replace(state=number, ended=1000.0 + number))[0].endswith(
            "; spooled"
        )
    (tmp_path / "there").mkdir()

    assert deliver(word, RESULT._replace(state=3)) == []
    assert deliver(word, RESULT._replace(state=0, ended=1011.0)) == []

    assert [(each["state"], each["ended"]) for each in lines(tmp_path / "there" / "file")] == [
        (1, 1001.0),
        (2, 1002.0),
        (3, 1010.5),
        (0, 1011.0),
    ]
    assert spooled(word) == []


def test_a_monitoring_server_gets_the_newest_result_of_each_service_and_this_run_s_first(monitor):
    monitor.is_away = True
    for number, service in enumerate(("vm-gateway", "vm-lifecycle", "vm-state", "vm-lifecycle")):
        deliver(monitor.word, RESULT._replace(service=service, state=2, ended=1001.0 + number))
    monitor.is_away = False

    assert deliver(monitor.word, RESULT._replace(state=0)) == []

    assert [(each.service, each.state) for each in monitor.got] == [
        ("vm-lifecycle", 0),
        ("vm-state", 2),
        ("vm-gateway", 2),
    ]
    assert spooled(monitor.word) == []


def test_a_result_that_comes_late_does_not_replace_a_newer_one(monitor):
    monitor.is_away = True
    deliver(monitor.word, RESULT._replace(state=0, ended=1012.0))
    monitor.is_away = False

    assert deliver(monitor.word, RESULT._replace(state=2)) == []
    assert deliver(monitor.word, RESULT._replace(service="vm-state")) == []

    assert [(each.service, each.state) for each in monitor.got] == [
        ("vm-state", 2),
        ("vm-lifecycle", 0),
    ]


def test_a_result_that_a_target_fails_at_holds_back_no_other(monitor):
    monitor.fails_at = {"vm-gateway", "vm-state"}
    for number, service in enumerate(("vm-gateway", "vm-state", "vm-image")):
        deliver(monitor.word, RESULT._replace(service=service, ended=1001.0 + number))
    assert [each.service for each in monitor.got] == ["vm-image"]

    assert deliver(monitor.word) == []

    assert [each.service for each in monitor.got] == ["vm-image", "vm-lifecycle"]
    assert len(spooled(monitor.word)) == 2


def test_a_target_that_is_away_is_asked_twice_at_most_for_what_is_spooled(monitor):
    monitor.is_away = True
    for number in range(5):
        deliver(monitor.word, RESULT._replace(service=f"vm-{number}"))
    monitor.asked = 0

    deliver(monitor.word)

    assert monitor.asked == 2 * len(delivery._PAUSES)


def test_what_was_spooled_a_day_ago_is_forgotten(tmp_path, monkeypatch):
    word = f"file:{tmp_path}/there/file"
    deliver(word)
    (tmp_path / "there").mkdir()
    later = RESULT.ended + 86401
    monkeypatch.setattr(time, "time", lambda: later)

    assert deliver(word, RESULT._replace(state=0, ended=later - 1)) == []
    assert [each["state"] for each in lines(tmp_path / "there" / "file")] == [0]


def test_what_a_wrong_clock_dated_into_the_future_replaces_nothing(monitor):
    monitor.is_away = True
    deliver(monitor.word, RESULT._replace(state=2, ended=999999.0))
    monitor.is_away = False

    assert deliver(monitor.word, RESULT._replace(state=0)) == []
    assert [(each.state, each.ended) for each in monitor.got] == [(0, 1010.5)]
    assert spooled(monitor.word) == []


def test_the_spool_holds_the_newest_and_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MOST", 5)
    held = spool.Spool(str(tmp_path / "spool" / "one"), keeps_all=True)
    for number in range(8):
        held.put(RESULT._replace(ended=1000.0 + number))

    assert [name.partition("-")[0] for name in held.waiting("")] == [
        "1007.000000",
        "1006.000000",
        "1005.000000",
        "1004.000000",
        "1003.000000",
    ]
    assert sorted(os.listdir(held.folder)) == sorted(held.waiting(""))
    assert (
        os.stat(held.folder).st_mode & 0o077,
        os.stat(os.path.join(held.folder, held.waiting("")[0])).st_mode & 0o077,
    ) == (0, 0)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can run a probe in another user's state directory"
)
def test_what_root_spools_by_hand_is_the_monitoring_user_s(state_directory):
    os.makedirs(state_directory)
    os.chown(state_directory, 65534, 65534)

    assert deliver("file:/nowhere/file")[0].endswith("; spooled")
    assert {path.stat().st_uid for path in state_directory.rglob("*")} == {65534}
    assert len(list(state_directory.rglob("*.json"))) == 1


def test_what_a_target_knows_nothing_of_waits_and_is_said(monitor):
    monitor.knows_nothing_of = {"stranger"}

    assert deliver(monitor.word, RESULT._replace(host="stranger")) == [
        f"not submitted to {monitor.word}: it has no service stranger!vm-lifecycle; spooled"
    ]
    assert deliver(monitor.word) == []
    assert [each.host for each in monitor.got] == ["cesga"]
    assert len(spooled(monitor.word)) == 1


def test_a_result_is_spooled_before_its_target_is_asked(monitor):
    seen = []
    monitor.before = staticmethod(lambda result: seen.append(len(spooled(monitor.word))))

    assert deliver(monitor.word) == []
    assert (seen, spooled(monitor.word)) == ([1], [])


def test_one_run_at_a_time_sends_and_delivers_what_others_spooled_meanwhile(monitor):
    """While the first is sending, a second comes, may not send, and spools; then the first takes that along the next time."""
    said = []

    def second(result):
        monitor.before = staticmethod(lambda result: None)
        said.extend(deliver(monitor.word, RESULT._replace(service="vm-state"), seconds=0.2))

    monitor.before = staticmethod(second)

    assert deliver(monitor.word) == []
    assert said == [f"not submitted to {monitor.word}: another run is sending to it; spooled"]
    assert deliver(monitor.word, RESULT._replace(service="vm-image")) == []
    assert [each.service for each in monitor.got] == ["vm-lifecycle", "vm-image", "vm-state"]


def test_a_result_that_another_run_delivered_meanwhile_is_not_sent_twice(monitor):
    attempt = delivery.Delivery(targets.parse(monitor.word), RESULT)
    assert deliver(monitor.word, RESULT._replace(service="vm-state")) == []

    attempt.attempt(Deadline(5, 0))

    assert (attempt.is_finished, attempt.message()) == (True, "")
    assert [each.service for each in monitor.got] == ["vm-state", "vm-lifecycle"]


def test_a_spool_that_vanishes_meanwhile_is_no_delivery(monitor, state_directory):
    attempt = delivery.Delivery(targets.parse(monitor.word), RESULT)
    shutil.rmtree(state_directory)

    attempt.attempt(Deadline(5, 0))

    assert [each.service for each in monitor.got] == ["vm-lifecycle"]


def test_a_clock_that_is_set_right_meanwhile_loses_no_result(monitor, monkeypatch):
    attempt = delivery.Delivery(targets.parse(monitor.word), RESULT)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)

    attempt.attempt(Deadline(5, 0))

    assert [each.service for each in monitor.got] == ["vm-lifecycle"]


def test_many_probes_at_once_deliver_each_result_once(quick, tmp_path):
    """Real processes: they share one spool, one lock and one file."""
    command = [
        sys.executable,
        str(PROBES / "check_vm_gateway"),
        "--site",
        quick,
        "--submit",
        f"file:{tmp_path}/file",
    ]
    probes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    outputs = [probe.communicate(timeout=60)[0].rstrip("\n") for probe in probes]

    assert [probe.returncode for probe in probes] == [0] * 6
    assert sorted(each["output"] for each in lines(tmp_path / "file")) == sorted(outputs)


def test_after_a_signal_a_result_gets_the_least_of_time(quick, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "nagiosplugin.py").write_text(f"open({str(fifo)!r}).read()\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "send_nsca").write_text(f'#!/bin/sh\necho "$6" >{tmp_path}/seconds\nexit 1\n')
    (programs / "send_nsca").chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_state"), "--site", quick, "--submit", "nsca:mon"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"},
    )
    with open(fifo, "w"):  # a library is half loaded
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)

    assert (process.returncode, output) == (
        3,
        "VM_STATE UNKNOWN - interrupted by SIGTERM before anything was started\n"
        "not submitted to nsca:mon: send_nsca: exit code 1; spooled\n",
    )
    assert int((tmp_path / "seconds").read_text()) < delivery.LEAST


def test_sigterm_ends_a_submission_and_leaves_its_result_to_the_next_run(quick, tmp_path):
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as deaf:  # it takes connections, and never says a word
        credentials = tmp_path / "nrdp.ini"
        credentials.write_text("[credentials]\ntoken = s3cr3t-token\n")
        credentials.chmod(0o600)
        word = f"nrdp:https://127.0.0.1:{deaf.getsockname()[1]}/nrdp/,credentials={credentials}"
        probe = subprocess.Popen(
            [sys.executable, str(PROBES / "check_vm_gateway"), "--site", quick, "--submit", word],
            stdout=subprocess.PIPE,
            text=True,
        )
        deaf.settimeout(30)
        connection, _ = deaf.accept()
        with connection:
            probe.send_signal(signal.SIGTERM)
        output, _ = probe.communicate(timeout=30)

    assert (probe.returncode, len(spooled(word))) == (0, 1)
    assert output.splitlines()[1].startswith(f"not submitted to {word.partition(',')[0]}: ")
    assert output.splitlines()[1].endswith("; spooled")


NONSENSE = {
    "nothing": "",
    "a list": "[]",
    "an object": "{}",
    "a word": "x",
    "a state that is no number": '["h","s","x","o",1,2]',
    "an infinite state": '["h","s",Infinity,"o",1,2]',
    "a state beyond four": '["h","s",4,"o",1,2]',
    "a time that is none": '["h","s",0,"o",1,NaN]',
    "a time beyond all measure": '["h","s",0,"o",1,1' + "0" * 400 + "]",
    "a second command": '["h","s\\n[1] SHUTDOWN_PROGRAM",0,"o",1,2]',
    "a second field": '["h;x","s",0,"o",1,2]',
    "half a letter": '["h","s",0,"\\ud800",1,2]',
    "nested too deep": "[" * 100000,
    "a byte too many": " " * (2**20 + 1),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_in_the_spool_is_removed_and_holds_back_nothing(tmp_path, what):
    word = f"file:{tmp_path}/file"
    plant(word, "1001.000000.json", NONSENSE[what])

    assert deliver(word) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]
    assert spooled(word) == []


FOREIGN = {
    "a directory": lambda path: os.makedirs(f"{path}/x"),
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: os.symlink("/dev/zero", path),
    "a dangling link": lambda path: os.symlink("/nowhere", path),
}


@pytest.mark.parametrize("name", ["1001.000000.json", "lock", "with a\nline.json"])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_file_in_the_spool_is_passed_over(tmp_path, what, name):
    word = f"file:{tmp_path}/file"
    plant(word, "note", "somebody's")
    FOREIGN[what](os.path.join(delivery.spool_folder(targets.parse(word)), name))

    assert deliver(word) == []
    assert deliver(word, RESULT._replace(state=0, ended=1011.0)) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2, 0]


def test_what_a_kill_left_of_a_spool_file_is_removed_an_hour_later(tmp_path, monkeypatch):
    word = f"file:{tmp_path}/file"
    plant(word, ".vmprobe-abc", '["cesga", "vm-life')
    folder = delivery.spool_folder(targets.parse(word))
    os.utime(os.path.join(folder, ".vmprobe-abc"), (1000, 1000))
    assert deliver(word) == []
    assert ".vmprobe-abc" in os.listdir(folder)
    monkeypatch.setattr(time, "time", lambda: 1000.0 + 3601)

    assert deliver(word, RESULT._replace(ended=4600.0)) == []
    assert os.listdir(folder) == ["lock"]


def test_a_spool_that_everybody_can_write_to_is_neither_read_nor_written(tmp_path):
    word = f"file:{tmp_path}/file"
    plant(word, "1001.000000.json", '["cesga","vm-lifecycle",0,"planted",1.0,1001.0]')
    os.chmod(delivery.spool_folder(targets.parse(word)), 0o777)

    assert deliver(word) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]
    assert spooled(word) == ["1001.000000.json"]


def test_without_a_place_for_the_spool_results_are_delivered_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")

    assert deliver(f"file:{tmp_path}/file") == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]


def test_without_a_place_for_the_spool_it_is_said(monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")

    assert deliver("file:/nowhere/file") == [
        "not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; it cannot be spooled either: "
        "Not a directory: /dev/null/state"
    ]


def test_a_target_that_takes_all_its_time_leaves_the_others_theirs(tmp_path, monitor):
    deadline, left = Deadline(10, 0, VirtualClock()), []

    def slow(result):
        left.append(deadline.left())
        deadline.sleep(left[-1])

    monitor.before = staticmethod(slow)

    said = delivery.submit(
        [targets.parse(monitor.word), targets.parse(f"file:{tmp_path}/file")], RESULT, deadline
    )
    assert said == [f"not submitted to {monitor.word}: the deadline of 10 s passed; spooled"]
    assert left[0] == 5.0
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]


# --- a file -------------------------------------------------------------------------------------------------------


@pytest.fixture
def room():
    """``room(n)``: files of this process may have up to ``n`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_the_disk_takes_in_part_is_taken_back_and_spooled(tmp_path, room):
    path, word = tmp_path / "file", f"file:{tmp_path}/file"
    path.write_text(json.dumps({"before": "x" * 5000}) + "\n")
    before = path.read_text()
    room(len(before) + 100)

    said = deliver(word, RESULT._replace(state=1, ended=1005.0))
    assert said == [f"not submitted to {word}: {path}: only part of the line was written; spooled"]
    assert path.read_text() == before
    room(-1)

    assert deliver(word) == []
    assert [each.get("state") for each in lines(path)] == [None, 1, 2]


def test_a_line_that_somebody_left_torn_does_not_spoil_the_next_one(tmp_path):
    (tmp_path / "file").write_text('{"host": "torn')

    assert deliver(f"file:{tmp_path}/file") == []
    assert (tmp_path / "file").read_text().splitlines()[0] == '{"host": "torn'
    assert json.loads((tmp_path / "file").read_text().splitlines()[1])["state"] == 2


def test_a_file_that_is_a_pipe_without_a_reader_is_no_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert deliver(f"file:{tmp_path}/pipe") == [
        f"not submitted to file:{tmp_path}/pipe: {tmp_path}/pipe: No such device or address; spooled"
    ]


def test_a_device_that_is_full_is_said():
    assert deliver("file:/dev/full") == [
        "not submitted to file:/dev/full: /dev/full: No space left on device; spooled"
    ]


# --- Nagios -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path):
    """Nagios' command pipe, with a reader: (its path, what was written into it)."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield tmp_path / "pipe", lambda: os.read(reader, 99999)
    os.close(reader)


def test_the_pipe_gets_one_command_in_one_write(pipe):
    path, written = pipe

    assert deliver(f"nagios:{path}") == []
    assert written() == (
        b"[1010] PROCESS_SERVICE_CHECK_RESULT;cesga;vm-lifecycle;2;"
        b"VM_LIFECYCLE CRITICAL - a\\\\b; c | total=1s;;;0\\nmore\n"
    )


def test_what_is_too_long_for_one_write_loses_its_details_and_keeps_its_perfdata(pipe):
    path, written = pipe

    assert deliver(f"nagios:{path}", RESULT._replace(output="one | a=1\n" + 5000 * "x")) == []
    assert written() == b"[1010] PROCESS_SERVICE_CHECK_RESULT;cesga;vm-lifecycle;2;one | a=1\n"


def test_a_pipe_that_is_full_is_said_and_left_to_the_next_run(pipe):
    path, written = pipe
    with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0) as writer:
        while writer.write(b"x" * 4096):
            pass

    assert deliver(f"nagios:{path}") == [f"not submitted to nagios:{path}: {path} is full; spooled"]
    while written().strip(b"x"):
        pass
    assert deliver(f"nagios:{path}", RESULT._replace(service="vm-state")) == []


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_text(""), "is not a pipe: is Nagios running?"),
        (os.mkfifo, "nobody reads it: is Nagios running?"),
    ],
)
def test_a_pipe_that_is_none_or_has_no_reader_is_named_and_left_alone(tmp_path, make, said):
    path = tmp_path / "pipe"
    make(path)

    (told,) = deliver(f"nagios:{path}")
    assert told.startswith(f"not submitted to nagios:{path}: {path}") and told.endswith(
        f"{said}; spooled"
    )
    assert not path.is_file() or path.read_text() == ""


def unread(directory):
    """What Nagios would read of a check-result directory, in any order: (host, service, state)."""
    found = []
    for path in directory.iterdir():
        if re.fullmatch("c[A-Za-z0-9]{6}", path.name) and (directory / f"{path.name}.ok").exists():
            words = dict(
                line.partition("=")[::2] for line in path.read_text().splitlines() if "=" in line
            )
            found.append((words["host_name"], words["service_description"], words["return_code"]))
    return sorted(found)


def test_the_check_result_directory_gets_a_whole_file_that_nagios_may_read(tmp_path):
    assert deliver(f"results:{tmp_path}/") == []

    (path,) = [path for path in tmp_path.iterdir() if re.fullmatch("c[A-Za-z0-9]{6}", path.name)]
    assert path.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / f"{path.name}.ok").read_text() == ""
    assert path.read_text() == (
        "### vmprobe\nfile_time=1010\n\nhost_name=cesga\nservice_description=vm-lifecycle\ncheck_type=1\ncheck_options=0\n"
        "scheduled_check=0\nreschedule_check=0\nlatency=0\nstart_time=1000.250000\nfinish_time=1010.500000\nearly_timeout=0\n"
        "exited_ok=1\nreturn_code=2\noutput=VM_LIFECYCLE CRITICAL - a\\\\b; c | total=1s;;;0\\nmore\n"
    )


def test_of_what_nagios_has_not_read_yet_only_the_newest_result_of_a_service_stays(tmp_path):
    """Nagios reads the files in no order."""
    word, names = f"results:{tmp_path}", []
    for state, ended in ((2, 1001.0), (1, 1002.0), (0, 1003.0)):
        deliver(word, RESULT._replace(state=state, ended=ended))
        names += [
            path.name for path in tmp_path.iterdir() if re.fullmatch("c[A-Za-z0-9]{6}", path.name)
        ]
    deliver(word, RESULT._replace(service="vm-state", state=1))
    deliver(word, RESULT._replace(state=2, ended=1002.5))  # late

    assert unread(tmp_path) == [("cesga", "vm-lifecycle", "0"), ("cesga", "vm-state", "1")]
    assert len(list(tmp_path.glob("c*"))) == 4
    assert (
        names[0] != names[1] != names[2]
    )  # Nagios, which has read a file, removes what has its name then


def test_a_path_is_the_same_target_with_a_slash_more(tmp_path):
    word = f"file:{tmp_path}/folder/file"
    deliver(word)  # the folder is not there yet
    (tmp_path / "folder").mkdir()

    assert deliver(f"file:{tmp_path}//folder/file", RESULT._replace(state=0, ended=1011.0)) == []
    assert [each["state"] for each in lines(tmp_path / "folder" / "file")] == [2, 0]
    assert spooled(word) == []


def test_what_others_put_into_the_check_result_directory_stays(tmp_path):
    word = f"results:{tmp_path}"
    deliver(word)
    (mine,) = [path for path in tmp_path.iterdir() if re.fullmatch("c[A-Za-z0-9]{6}", path.name)]
    theirs = mine.read_text().replace("### vmprobe", "### Passive Check Result File ###")
    mine.write_text(theirs)
    (tmp_path / f"{mine.name[:6]}Z").mkdir()

    assert deliver(word, RESULT._replace(state=0, ended=1011.0)) == []
    assert mine.read_text() == theirs
    assert unread(tmp_path) == [("cesga", "vm-lifecycle", "0"), ("cesga", "vm-lifecycle", "2")]


def test_what_a_kill_left_in_the_check_result_directory_is_removed_an_hour_later(
    tmp_path, monkeypatch
):
    word = f"results:{tmp_path}"
    deliver(word)
    (whole,) = tmp_path.glob("*.ok")
    cut = [tmp_path / f"{whole.name[:6]}{letter}" for letter in "YZ"]
    for path, text in zip(cut, ("", "### vmprobe\nfile_time=10")):
        path.write_text(text)
        os.utime(path, (1000, 1000))

    deliver(word, RESULT._replace(ended=1011.0))
    assert [path.exists() for path in cut] == [True, True]
    monkeypatch.setattr(time, "time", lambda: 1000.0 + 3601)
    deliver(word, RESULT._replace(ended=4600.0))

    assert [path.exists() for path in cut] == [False, False]
    assert unread(tmp_path) == [("cesga", "vm-lifecycle", "2")]


def test_a_check_result_file_that_the_disk_does_not_take_leaves_nothing(tmp_path, room):
    (tmp_path / "there").mkdir()
    room(300)

    (told,) = deliver(f"results:{tmp_path}/there", RESULT._replace(output="x" * 60))
    room(-1)
    assert (
        told
        == f"not submitted to results:{tmp_path}/there: {tmp_path}/there: File too large; spooled"
    )
    assert list((tmp_path / "there").iterdir()) == []


# --- NSCA ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def send_nsca(tmp_path, monkeypatch):
    """``send_nsca(script)``: a program of this name, and what it was asked."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def make(script):
        program = tmp_path / "bin" / "send_nsca"
        program.write_text(
            f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\ncat >>{tmp_path}/asked\n{script}\n'
        )
        program.chmod(0o755)
        return tmp_path / "asked"

    return make


@pytest.mark.parametrize(
    "where, host, port",
    [
        ("mon.example.org", "mon.example.org", "5667"),
        ("mon.example.org:5668", "mon.example.org", "5668"),
        ("192.0.2.1:5668", "192.0.2.1", "5668"),
        ("2001:db8::1", "2001:db8::1", "5667"),
        ("[2001:db8::1]", "2001:db8::1", "5667"),
        ("[2001:db8::1]:5668", "2001:db8::1", "5668"),
        ("[fe80::1%eth0]:5668", "fe80::1%eth0", "5668"),
    ],
)
def test_nsca_is_asked_at_its_host_and_port(send_nsca, where, host, port):
    asked = send_nsca("echo 1 data packet sent to host successfully.")

    assert deliver(f"nsca:{where}") == []
    assert (
        re.sub("-to [0-9]+", "-to N", asked.read_text())
        == f"-H {host} -p {port} -to N\ncesga\tvm-lifecycle\t2\t{RESULT.line}\n"
    )


@pytest.mark.parametrize(
    "where",
    [
        "mon:",
        "mon:0",
        "mon:65536",
        "mon:http",
        "[2001:db8::1",
        "[mon]",
        "2001:db8::1:xyz",
        "-H",
        "-x:5667",
        "a b",
    ],
)
def test_a_host_that_nsca_cannot_be_asked_at_is_refused_at_once(where):
    with pytest.raises(ValueError) as said:
        targets.parse(f"nsca:{where}")

    assert str(said.value) == (
        "is not a target: nsca needs a host and a port like mon.example.org:5667, 192.0.2.1 or "
        "[2001:db8::1]:5667"
    )


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo Error: no such host; exit 3", "send_nsca: Error: no such host"),
        ("exit 2", "send_nsca: exit code 2"),
        (
            "echo 0 data packet\\(s\\) sent to host successfully.",
            "send_nsca: 0 data packet(s) sent to host successfully.",
        ),
    ],
)
def test_what_send_nsca_says_of_a_failure_is_told(send_nsca, script, said):
    send_nsca(script)

    assert deliver("nsca:mon") == [f"not submitted to nsca:mon: {said}; spooled"]


def test_a_send_nsca_that_hangs_ends_with_the_time_that_there_is_and_so_does_what_it_started(
    send_nsca, tmp_path
):
    send_nsca(f"sleep 60 & echo $! >{tmp_path}/pid; wait")
    began = time.monotonic()

    assert deliver("nsca:mon", seconds=1.5) == [
        "not submitted to nsca:mon: the deadline of 1.5 s passed; spooled"
    ]
    assert time.monotonic() - began < 10
    assert soon(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- HTTP ---------------------------------------------------------------------------------------------------------

TAKEN = "<result><status>0</status><message>OK</message><meta><output>1 checks processed.</output></meta></result>"


class Server(BaseHTTPRequestHandler):
    """A server that has one answer for everything, and keeps what it was asked."""

    status, reply, got = 200, "", []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.got.append((self.path, body))
        if self.reply is None:  # the connection ends without an answer
            return
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.reply.encode())

    def log_message(self, *_):
        """Nothing is logged."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of a server on loopback."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            directory / "key.pem",
            "-out",
            directory / "cert.pem",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture
def server(certificate):
    """A server with a good certificate: its ``answer(text, status)``, ``got``, and where it is."""
    here = type(
        "Here",
        (Server,),
        {
            "got": [],
            "answer": classmethod(
                lambda cls, text, status=200: [
                    setattr(cls, "reply", text),
                    setattr(cls, "status", status),
                ]
            ),
        },
    )
    http = HTTPServer(("127.0.0.1", 0), here)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    here.url = f"https://127.0.0.1:{http.server_port}"
    yield here
    http.shutdown()
    http.server_close()


def word_of(kind, url, tmp_path, certificate, secret):
    credentials = tmp_path / f"{kind}.ini"
    credentials.write_text(f"[credentials]\n{secret}\n")
    credentials.chmod(0o600)
    return f"{kind}:{url},credentials={credentials},ca={certificate[0]}"


@pytest.fixture
def nrdp(server, tmp_path, certificate):
    """The target of an NRDP; there is no package of it to be had, and this is its interface as its README has it."""
    server.answer(TAKEN)
    return word_of("nrdp", f"{server.url}/nrdp/", tmp_path, certificate, "token = s3cr3t-token")


@pytest.fixture
def icinga(server, tmp_path, certificate):
    """The target of an Icinga 2."""
    return word_of(
        "icinga2", server.url, tmp_path, certificate, "username = mon\npassword = s3cr3t-word"
    )


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
def test_a_url_is_asked_as_it_is_written(nrdp, server, path):
    assert deliver(nrdp.replace("/nrdp/", path, 1)) == []

    assert [asked for asked, _ in server.got] == [path or "/"]


def test_what_nrdp_answers_is_told_without_the_token(nrdp, server):
    server.answer("<result><status>-1</status><message>BAD TOKEN</message></result>")

    said = deliver(nrdp)

    assert (
        len(said) == 1
        and said[0].endswith("it says: BAD TOKEN; spooled")
        and "s3cr3t" not in said[0]
    )


def test_a_certificate_that_nobody_vouches_for_gets_no_token(nrdp, server):
    said = deliver(nrdp.rpartition(",ca=")[0])

    assert "certificate" in said[0]
    assert server.got == []


def test_nrdp_that_processed_nothing_did_not_take_the_result(nrdp, server):
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
def test_what_php_writes_before_the_answer_does_not_matter(nrdp, server, before):
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
def test_an_answer_that_cannot_be_understood_is_said_and_its_result_is_not_sent_again(
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
def test_nrdp_that_answers_in_json_is_read_to_what_it_says(nrdp, server, answer, said, form):
    server.answer(form.format(json.dumps({"result": answer}, indent=4)))

    assert deliver(nrdp) == [f"not submitted to nrdp:{server.url}/nrdp/: {each}" for each in said]
    assert len(spooled(nrdp)) == len(said)


def test_a_result_whose_answer_is_lost_is_sent_once_by_each_run_and_holds_back_nothing(
    nrdp, server
):
    server.answer(None)

    (said,) = deliver(nrdp)
    assert said.endswith("; spooled") and states(server) == ["2"]
    server.answer(TAKEN)
    assert deliver(nrdp, RESULT._replace(service="vm-state", state=1)) == []

    assert states(server) == ["2", "1", "2"]


def test_a_page_for_people_is_no_answer_of_nrdp(nrdp, server):
    server.answer("<!DOCTYPE html><html><head><title>It works!</title></head></html>")

    assert deliver(nrdp) == [
        f"not submitted to nrdp:{server.url}/nrdp/: the reply is a web page, not an answer of NRDP: is the URL right?; spooled"
    ]


def test_a_credentials_file_that_is_missing_is_not_waited_for(nrdp, tmp_path):
    (tmp_path / "nrdp.ini").unlink()

    (said,) = deliver(nrdp)

    assert said.endswith(f"--submit nrdp: {tmp_path}/nrdp.ini: No such file or directory; spooled")


def icinga_says(code, status, http=None):
    return json.dumps({"results": [{"code": code, "status": status}]}), http or int(code)


def test_icinga_that_took_a_result_is_asked_once(icinga, server):
    server.answer(
        *icinga_says(200.0, "Successfully processed check result for object 'cesga!vm-lifecycle'.")
    )

    assert deliver(icinga) == []
    assert [(path, json.loads(body)["exit_status"]) for path, body in server.got] == [
        ("/v1/actions/process-check-result", 2)
    ]


def test_what_icinga_discards_is_said_and_not_kept(icinga, server):
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


def test_an_old_result_that_icinga_discards_is_as_it_should_be(icinga, server, monkeypatch):
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
def test_what_icinga_answers_instead_is_told(icinga, server, answer, said):
    server.answer(*answer)

    (told,) = deliver(icinga)

    assert told.startswith(f"not submitted to icinga2:{server.url}: ") and told.endswith(said)
    assert len(spooled(icinga)) == 1


def test_an_answer_of_icinga_that_cannot_be_understood_is_said_and_its_result_is_not_sent_again(
    icinga, server
):
    server.answer("[]")

    (said,) = deliver(icinga)

    assert said.startswith(f"submitted to icinga2:{server.url}, but its reply cannot be parsed: ")
    assert spooled(icinga) == []
