"""Files and locks that are not ours alone: nothing is waited for longer than there is time."""

import errno
import fcntl
import os
import socket

import pytest

from private import written
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import DeadlinePassed
from vmprobe.drivers.libvirt import connection
from vmprobe.host import files


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: os.mkfifo(path), "is not a regular file"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.write_bytes(b"12345"), "is larger than 4 bytes"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    ],
    ids=["pipe", "directory", "device", "large", "link-to-nothing"],
)
@pytest.mark.parametrize("read", [files.read, files.read_secret])
def test_what_is_no_file_of_the_right_size_is_not_read(make, words, read, tmp_path):
    make(tmp_path / "here")

    with pytest.raises(OSError) as wrong:
        read(str(tmp_path / "here"), 4)

    assert wrong.value.strerror == words


def test_a_file_of_the_kernels_without_a_size_is_bounded_all_the_same():
    with pytest.raises(OSError) as wrong:
        files.read("/proc/self/status", 10)

    assert wrong.value.strerror == "is larger than 10 bytes"


@pytest.mark.parametrize(
    "mode, holds_secret, words",
    [
        (0o600, True, None),
        (0o400, True, None),
        (0o644, False, None),
        (0o444, False, None),
        (0o604, True, "has mode 0604: others than its owner have access; chmod 0600 it"),
        (0o640, True, "has mode 0640: others than its owner have access; chmod 0600 it"),
        (0o601, True, "has mode 0601: others than its owner have access; chmod 0600 it"),
        (0o664, False, "has mode 0664: others than its owner can write into it; chmod go-w it"),
        (0o646, False, "has mode 0646: others than its owner can write into it; chmod go-w it"),
    ],
)
def test_a_secret_is_only_read_where_its_owner_alone_has_access(
    mode, holds_secret, words, tmp_path
):
    path = written(tmp_path / "secret", "s3cret", mode)

    if words is None:
        assert files.read_secret(str(path), 100, lambda held: holds_secret) == b"s3cret"
    else:
        with pytest.raises(files.Exposed) as wrong:
            files.read_secret(str(path), 100, lambda held: holds_secret)
        assert (wrong.value.errno, wrong.value.strerror) == (errno.EPERM, words)


def test_a_lock_that_somebody_holds_is_waited_for_until_the_deadline(tmp_path):
    path, clock = written(tmp_path / "lock", ""), VirtualClock()
    with open(path) as theirs, open(path) as ours:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        deadline = Deadline(5, 0, clock)

        with pytest.raises(DeadlinePassed):
            files.lock(ours.fileno(), deadline)
        assert 5 <= deadline.elapsed() < 5.2

        fcntl.flock(theirs, fcntl.LOCK_UN)
        files.lock(ours.fileno(), Deadline(5, 0, clock))
        with pytest.raises(BlockingIOError):
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_daemon_that_takes_no_connection_is_not_waited_for_and_counts_as_one_that_runs(tmp_path):
    path, waiting = str(tmp_path / "socket"), []
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(path)
        assert not connection._listens(path, 5.0)
        daemon.listen(0)
        for _ in range(3):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(path)

        assert connection._listens(path, 0.1)
    for each in waiting:
        each.close()
