"""The disk of the ledger is full or fails: the run goes on, reports it in its line, and leaves nothing."""

import errno
import functools
import json
import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest

import plugin_output
from disasters import Disaster
from ledger_files import HANDLE, NOW, SERVER, ended_runs, owed
from running import run_probe
from users import as_root
from vmprobe.core.model import Kind
from vmprobe.lease.ledger import Ledger


def limit_file_size(size):
    """From now on no file of this process can grow beyond this size, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def with_room_afterwards(test):
    """The limit is gone when the test is over, and not only with its fixtures: the test's result goes to a file, too."""

    @functools.wraps(test)
    def limited(*arguments, **more):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            test(*arguments, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@with_room_afterwards
def test_what_a_full_disk_refused_is_in_memory_and_written_when_there_is_room(directory):
    ledger = Ledger.begin(directory, HANDLE)
    limit_file_size(os.path.getsize(ledger.path) + 10)
    ledger.intent(Kind.SERVER, [str(HANDLE)], NOW)

    assert ledger.warning == f"the ledger cannot be written: No space left on device: {directory}"
    assert [debt.ref.kind for debt in ledger.owed()] == [Kind.SERVER]
    limit_file_size(2**20)
    ledger.created([SERVER], NOW)
    ledger.close(settled=False)
    assert [json.loads(line)["event"] for line in Path(ledger.path).read_text().splitlines()] == [
        "lease",
        "intent",
        "created",
    ]
    assert owed(directory) == [SERVER]


@pytest.mark.parametrize("size", [0, 50, 200, 300, 500, 800])
@with_room_afterwards
def test_a_run_on_a_full_disk_goes_on_says_so_and_leaves_nothing(tmp_path, size):
    world = Disaster(tmp_path / "world")
    world.site.write()
    limit_file_size(size)
    world.site.write = lambda: world.site.path

    code, output = world.run()

    assert (code, world.ours(), world.ledgers()) == (0, [], [])
    assert "; the ledger cannot be written: " in output.text


@as_root
def test_a_run_whose_state_is_on_a_disk_without_room_goes_on(tmp_path):
    state = tmp_path / "full"
    state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=8", "none", str(state)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        (state / "filler").write_bytes(bytes(4096))
        world = Disaster(tmp_path / "world")
        world.state = state
        code, output = world.run()
    finally:
        subprocess.run(["umount", str(state)], check=True)

    assert (code, world.ours()) == (0, [])
    assert "; the ledger cannot be written: " in output.text


def test_a_process_on_a_full_disk_says_one_line(quick):
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        signal.signal(
            signal.SIGXFSZ, signal.SIG_DFL
        )  # as a scheduler may hand it down; Python ignores it

    code, output, errors = run_probe(
        "check_vm_lifecycle",
        "--site",
        quick,
        preexec_fn=full,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert (code, errors) == (0, "")
    assert "; the ledger cannot be written: " in plugin_output.read(output.rstrip("\n")).text


def test_a_directory_that_cannot_be_synced_leaves_the_ledger_locked(directory, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([SERVER], NOW)

    assert ledger.warning == f"the ledger cannot be written: Input/output error: {directory}"
    assert list(ended_runs(directory, NOW)) == [], "its run lives"
    ledger.close(settled=False)
    assert owed(directory) == [SERVER]
