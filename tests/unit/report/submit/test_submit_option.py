"""--submit: what a check hands over, in which time; the verdict never changes."""

import importlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from running import PROBES, run_probe
from submitting import lines, spooled
from vmprobe import cli
from vmprobe.checks import signals
from vmprobe.checks.options import load_site
from vmprobe.checks.session import CheckResult
from vmprobe.ctl.config import objects
from vmprobe.report import verdict
from vmprobe.report.submit import delivery
from vmprobe.site import services


def test_a_result_goes_to_several_targets_and_the_output_does_not_change(quick, tmp_path):
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


def test_a_new_file_of_results_is_readable_by_all_and_an_existing_one_keeps_its_mode(
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


def test_a_usage_error_is_submitted_too(quick, tmp_path):
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


def result_of(check, site, *options):
    """What a check returns that found nothing wrong."""
    parser = importlib.import_module(f"vmprobe.checks.{check}.command").parser()
    parsed = parser.parse_args(["--site", site, "--submit", "nsca:monitor", *options])
    return CheckResult(verdict.Verdict(0, "good"), load_site(parsed), parsed)


@pytest.mark.parametrize(
    "check, options, lasted, seconds",
    [
        ("lifecycle", [], 10, 20),
        ("lifecycle", ["-t", "40"], 10, 30),
        ("lifecycle", [], 29, 5),
        ("state", [], 10, 20),
        ("state", [], 22, 8),
        ("state", [], 30, 5),
        ("state", ["-t", "100"], 80, 20),
        ("leftovers", ["--remove", "-t", "40"], 29, 11),
    ],
)
def test_a_submission_ends_before_a_scheduler_kills_the_check(
    quick, monitor, own_signals, check, options, lasted, seconds
):
    given = []
    monitor.send = lambda self, result: given.append(self.deadline.total)

    said = cli._submitted(check, result_of(check, quick, *options), 1020.0 - lasted)

    assert (said, given) == (verdict.Verdict(0, "good"), [seconds])


@pytest.mark.parametrize(
    "check, options, deadline, seconds",
    [
        ("state", [], "49 s", 5),
        ("state", [], "300 s", 5),
        ("lifecycle", [], "50 s", 5),
        ("lifecycle", [], "300 s", 30),
        ("leftovers", [], "300 s", 5),
        ("leftovers", ["--remove"], "300 s", 30),
    ],
)
def test_a_run_of_49_s_and_its_submission_end_before_a_scheduler_kills_them(
    quick, monitor, own_signals, check, options, deadline, seconds
):
    with open(quick) as file:
        text = file.read().replace("deadline = 30 s", f"deadline = {deadline}")
    with open(quick, "w") as file:
        file.write(text)
    given = []
    monitor.send = lambda self, result: given.append(self.deadline.total)
    result = result_of(check, quick, *options)

    cli._submitted(check, result, 1020.0 - 49)

    assert given == [seconds]
    time = services.run_time(check, result.site.deadline, removes="--remove" in options)
    assert 49 + seconds < objects.needed(time)


def test_a_failing_target_changes_neither_line_1_nor_the_state(quick, tmp_path):
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", quick, "--submit", "file:/nowhere/file", "-t", "20"
    )

    assert (code, errors) == (0, "")
    assert output.splitlines()[0].startswith("VM_LIFECYCLE OK - quick: test VM ran and is gone in ")
    assert output.splitlines()[1:] == [
        "not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; spooled"
    ]


def test_without_a_readable_site_nothing_is_submitted():
    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", "/nowhere.ini", "--submit", "file:/nowhere/file"
    )

    assert (code, output) == (
        3,
        "VM_LIFECYCLE UNKNOWN - /nowhere.ini: No such file or directory\n"
        "not submitted: /nowhere.ini: No such file or directory\n",
    )


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


def test_after_a_signal_a_submission_gets_the_shortest_time(quick, tmp_path):
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
