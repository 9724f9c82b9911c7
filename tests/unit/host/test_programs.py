"""host/programs.py: other programs end in time, whatever they write and leave running."""

import os
import shlex
import signal
import sys
import time

import pytest

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import DeadlinePassed, Interrupted
from vmprobe.host import programs
from waiting import soon


def shell(script, seconds=10.0, *words, **more):
    return programs.run(["sh", "-c", script], seconds, *words, **more)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().split()[2] != "Z"


def nobody_runs_in(group):
    """Whether all of a process group have ended; a dead process whose parent does not ask for it does not run."""
    found = [
        name for name in os.listdir("/proc") if name.isdigit() and group_of(int(name)) == group
    ]
    return not any(is_running(int(name)) for name in found)


def group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


@pytest.fixture
def started(tmp_path):
    """A file where a script writes the number of what it starts; that is ended after the test."""
    path = tmp_path / "pid"
    yield path
    if path.exists() and is_running(int(path.read_text())):
        os.kill(int(path.read_text()), signal.SIGKILL)


def test_output_and_errors_are_kept_apart():
    assert shell("cat; echo bad >&2; exit 3", stdin=b"in\n") == (3, b"in\n", b"bad\n", True)
    assert shell("echo a; echo b >&2").text == "a\nb\n"


def test_more_output_than_a_pipe_holds_is_complete_and_in_order():
    lines = b"".join(b"%d\n" % number for number in range(200000))

    done = programs.run(["seq", "0", "199999"], 30, largest=2**22)

    assert (done.output == lines, done.is_whole) == (True, True)


@pytest.mark.parametrize("where", ["", ">&2"])
def test_of_too_much_output_the_beginning_is_kept_and_that_is_noted(where):
    done = shell(f"seq 0 99999 {where}", largest=6)

    assert (done.output + done.errors, done.is_whole, done.code) == (b"0\n1\n2\n", False, 0)


@pytest.mark.parametrize("where", ["", ">/dev/null", "2>/dev/null", ">/dev/null 2>&1"])
def test_what_a_program_leaves_running_is_neither_waited_for_nor_ended(started, where):
    began = time.monotonic()

    done = shell(f"sleep 60 {where} & echo $! > {shlex.quote(str(started))}; echo done")

    assert (done, time.monotonic() - began < 5) == ((0, b"done\n", b"", True), True)
    assert is_running(int(started.read_text()))


def test_nobody_listens_to_what_is_left_running_and_writes_without_an_end(started):
    done = shell(f"yes & echo $! > {shlex.quote(str(started))}")

    assert (done.code, set(done.output) <= set(b"y\n")) == (0, True)


@pytest.mark.parametrize(
    "script",
    ["sleep 60", "sleep 60 & wait", "exec >&- 2>&-; sleep 60", "yes", "trap '' TERM; sleep 60"],
)
def test_a_program_that_does_not_end_is_killed_with_all_that_it_started(tmp_path, script):
    pid = tmp_path / "pid"

    with pytest.raises(programs.TooSlow):
        shell(f"echo $$ > {shlex.quote(str(pid))}; {script}", 0.3)

    assert soon(lambda: nobody_runs_in(int(pid.read_text())))


def test_a_deadline_and_a_signal_end_it_sooner():
    passed, interrupted = Deadline(0.2, 0), Deadline(60, 0)
    interrupted.interrupt(signal.SIGTERM)

    with pytest.raises(DeadlinePassed):
        shell("sleep 60", 60, passed)
    with pytest.raises(Interrupted, match="interrupted by SIGTERM"):
        shell("sleep 60", 60, interrupted)


def test_a_program_that_reads_nothing_of_its_input_can_still_write():
    assert shell("exec <&-; echo no", stdin=b"x" * 60000) == (0, b"no\n", b"", True)


def test_what_cannot_be_started_is_an_os_error():
    with pytest.raises(FileNotFoundError):
        programs.run(["/nowhere/program"], 1)


def test_it_works_with_more_open_files_than_select_can_count():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this process may not have 1200 files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert programs.run([sys.executable, "-c", "print('here')"], 20).output == b"here\n"
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
