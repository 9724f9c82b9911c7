"""A signal at any time ends a check with one clean line, and nothing is left owed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from running import PROBES

LIFECYCLE = str(PROBES / "check_vm_lifecycle")


@pytest.fixture
def quick(tmp_path):
    """A site over the cloud in memory whose run takes less than a second."""
    return _site(tmp_path, boot="0.1 s")


def _site(directory, boot="0.1 s", faults=""):
    path = directory / "quick.ini"
    path.write_text(
        f"[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = {boot}\n{'faults = ' + faults if faults else ''}\n"
        "[test vm]\nimage = vmprobe-test\n[budget]\ndeadline = 30 s\nreserve = 10 s\n"
        "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n"
    )
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM])
def test_a_signal_is_unknown_with_one_line_and_nothing_is_left_owed(
    tmp_path, state_directory, number
):
    process = subprocess.Popen(
        [sys.executable, LIFECYCLE, "--site", _site(tmp_path, faults="never-active")],
        stdout=subprocess.PIPE,
        text=True,
    )
    _wait_for(
        lambda: any(
            path.read_text().count('"created"') == 2
            for path in state_directory.glob("ledger/quick/*.ledger")
        )
    )
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 3
    assert output.startswith(
        f"VM_LIFECYCLE UNKNOWN - quick: active: interrupted by {number.name} | auth="
    )
    assert list(state_directory.glob("ledger/quick/*")) == []


def test_a_signal_before_anything_was_started_is_unknown(tmp_path, quick):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "nagiosplugin.py").write_text(f"open({str(fifo)!r}).read()\n")
    process = subprocess.Popen(
        [sys.executable, LIFECYCLE, "--site", quick],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with open(fifo, "w"):  # it has started, and waits for a library
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)

    assert (process.returncode, output) == (
        3,
        "VM_LIFECYCLE UNKNOWN - interrupted by SIGTERM before anything was started\n",
    )


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGHUP, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGINT, signal.SIGHUP, signal.SIGTERM),
    ],
    ids=lambda numbers: " and ".join(number.name for number in numbers),
)
def test_signals_that_come_together_before_anything_was_started_are_unknown_once(
    tmp_path, quick, numbers
):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "nagiosplugin.py").write_text(f"open({str(fifo)!r}).read()\n")
    process = subprocess.Popen(
        [sys.executable, LIFECYCLE, "--site", quick],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with open(fifo, "w"):
        process.send_signal(signal.SIGSTOP)
        for number in numbers:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        output, errors = process.communicate(timeout=60)

    assert (process.returncode, output, errors) == (
        3,
        f"VM_LIFECYCLE UNKNOWN - interrupted by {min(numbers).name} before anything was started\n",
        "",
    )


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGHUP, signal.SIGTERM), (signal.SIGALRM,)],
    ids=lambda numbers: " and ".join(number.name for number in numbers),
)
@pytest.mark.parametrize("path", sorted(PROBES.glob("check_vm_*")), ids=lambda path: path.name)
def test_signals_that_come_with_the_first_line_that_python_reads_are_unknown_once(
    tmp_path, quick, path, numbers
):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "typing.py").write_text(
        f"import sys\nopen({str(fifo)!r}).read()\nsys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['typing']\nimport typing\n"
    )
    process = subprocess.Popen(
        [sys.executable, path, "--site", quick],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with open(fifo, "w"):  # the first library that vmprobe.cli loads
        for number in numbers:
            process.send_signal(number)
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, output, errors) == (
        3,
        f"VM_{path.name[9:].upper()} UNKNOWN - interrupted by {min(numbers).name} before anything was started\n",
        "",
    )


@pytest.mark.parametrize("caller", ["ignores", "blocks"])
def test_a_caller_who_ignores_or_blocks_signals_does_not_make_a_probe_deaf(tmp_path, quick, caller):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "nagiosplugin.py").write_text(f"open({str(fifo)!r}).read()\n")

    def deaf():
        if caller == "blocks":
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))
        else:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, LIFECYCLE, "--site", quick],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=deaf,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with open(fifo, "w"):
        process.send_signal(signal.SIGHUP)
        output, _ = process.communicate(timeout=60)

    assert (process.returncode, output) == (
        3,
        "VM_LIFECYCLE UNKNOWN - interrupted by SIGHUP before anything was started\n",
    )


def test_a_signal_that_comes_where_nothing_can_be_raised_is_unknown_all_the_same(tmp_path, quick):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "nagiosplugin.py").write_text(
        f"class Ending:\n    def __del__(self):\n        open({str(fifo)!r}).read()\nEnding()\n"
    )
    process = subprocess.Popen(
        [sys.executable, LIFECYCLE, "--site", quick],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with open(fifo, "w"):
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)

    assert (process.returncode, output, errors) == (
        3,
        "VM_LIFECYCLE UNKNOWN - interrupted by SIGTERM before anything was started\n",
        "",
    )


def _wait_for(condition, limit=30.0):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        os.sched_yield()
