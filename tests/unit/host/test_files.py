"""host/files.py: what is read, what is refused, and that nothing is waited for beyond the deadline."""

import errno
import fcntl
import os

import pytest

from private import written
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import DeadlinePassed
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
def test_only_a_regular_file_of_the_right_size_is_read(make, words, read, tmp_path):
    make(tmp_path / "here")

    with pytest.raises(OSError) as wrong:
        read(str(tmp_path / "here"), 4)

    assert wrong.value.strerror == words


def test_a_file_below_proc_is_limited_though_it_has_no_size():
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
def test_a_secret_is_only_read_from_a_file_that_only_its_owner_has_access_to(
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


# --- replace ---


def test_a_file_is_replaced_as_a_whole_with_its_mode_whatever_the_umask_is(tmp_path):
    path = written(tmp_path / "file", "old", 0o600)
    before = os.umask(0o077)
    try:
        assert files.replace(str(path), "n\u00e9w", 0o644) == str(path)
    finally:
        os.umask(before)

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"n\xc3\xa9w", 0o644)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_replaced_stays_and_nothing_lies_beside_it(tmp_path):
    (tmp_path / "directory").mkdir()

    with pytest.raises(IsADirectoryError):
        files.replace(str(tmp_path / "directory"), "new")
    assert [each.name for each in tmp_path.iterdir()] == ["directory"]


def test_what_a_killed_run_left_under_a_fixed_name_is_removed(tmp_path):
    left = written(tmp_path / "file.new", "half")

    files.replace(str(tmp_path / "file"), b"whole", sync=False, temporary=str(left))

    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "whole"


def test_a_link_is_replaced_and_not_followed_unless_a_person_gave_the_path(tmp_path):
    target, link = written(tmp_path / "target", "old"), tmp_path / "link"
    link.symlink_to(target)

    with pytest.raises(OSError, match="is not a regular file"):
        files.replace_regular(str(link), "new")
    files.replace(str(link), "new")

    assert (target.read_text(), link.is_symlink(), link.read_text()) == ("old", False, "new")
