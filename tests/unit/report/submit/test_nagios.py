"""Check results through Nagios' command pipe and its check-result directory."""

import os
import re
import time

import pytest

from submitting import RESULT, deliver


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


def test_a_result_too_long_for_one_write_loses_its_details_and_keeps_its_perfdata(pipe):
    path, written = pipe

    assert deliver(f"nagios:{path}", RESULT._replace(output="one | a=1\n" + 5000 * "x")) == []
    assert written() == b"[1010] PROCESS_SERVICE_CHECK_RESULT;cesga;vm-lifecycle;2;one | a=1\n"


def test_a_full_pipe_is_reported_and_the_result_left_to_the_next_run(pipe):
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
def test_a_missing_or_wrong_pipe_is_named_and_left_alone(tmp_path, make, said):
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


def test_of_unread_results_of_a_service_only_the_newest_stays(tmp_path):
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


def test_foreign_files_in_the_check_result_directory_stay(tmp_path):
    word = f"results:{tmp_path}"
    deliver(word)
    (mine,) = [path for path in tmp_path.iterdir() if re.fullmatch("c[A-Za-z0-9]{6}", path.name)]
    theirs = mine.read_text().replace("### vmprobe", "### Passive Check Result File ###")
    mine.write_text(theirs)
    (tmp_path / f"{mine.name[:6]}Z").mkdir()

    assert deliver(word, RESULT._replace(state=0, ended=1011.0)) == []
    assert mine.read_text() == theirs
    assert unread(tmp_path) == [("cesga", "vm-lifecycle", "0"), ("cesga", "vm-lifecycle", "2")]


def test_incomplete_files_of_a_killed_run_are_removed_from_the_check_result_directory_after_an_hour(
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


def test_a_full_disk_leaves_no_check_result_file(tmp_path, room):
    (tmp_path / "there").mkdir()
    room(300)

    (told,) = deliver(f"results:{tmp_path}/there", RESULT._replace(output="x" * 60))
    room(-1)
    assert (
        told
        == f"not submitted to results:{tmp_path}/there: {tmp_path}/there: File too large; spooled"
    )
    assert list((tmp_path / "there").iterdir()) == []
