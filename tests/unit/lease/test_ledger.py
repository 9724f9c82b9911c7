"""The ledger's file: whatever happens to it, the run goes on, reports it in one line, and loses nothing."""

import errno
import functools
import json
import multiprocessing
import os
import re
import resource
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

import plugin_output
from disasters import SHM, Disaster
from running import run_probe
from vmprobe.core import handle as handles
from vmprobe.core import redact
from vmprobe.core.model import Kind, Ref
from vmprobe.lease import ledger as ledgers
from vmprobe.lease.ledger import Ledger

HANDLE = handles.Handle("mon", 1_800_000_000, 6, "abcdefgh")
SERVER, VOLUME = Ref(Kind.SERVER, "4f1c", str(HANDLE)), Ref(Kind.VOLUME, "77aa", str(HANDLE))
NOW = 1_800_000_000.0


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / "ledger")


@pytest.fixture
def killed(tmp_path):
    """A world whose last run was killed while its VM was booting: server and volume are there, and one ledger."""
    world = Disaster(tmp_path / "world", faults={8: "killed-before"})
    world.run_and_be_killed()
    assert len(world.ours()) == 2 and len(world.ledgers()) == 1
    return world


@pytest.fixture
def file(killed):
    return next(killed.state.rglob("*.ledger"))


def ended_runs(directory, now):
    """The ledgers of ended runs in a directory, each locked by this process."""
    for path in Ledger.files(directory, now):
        ledger = Ledger.of_ended_run(path)
        if ledger is not None:
            yield ledger


def owed(directory):
    """What the ledgers of a directory owe."""
    found = []
    for ledger in ended_runs(directory, NOW):
        found += [debt.ref for debt in ledger.owed()]
        ledger.close(settled=False)
    return found


# --- what it remembers --------------------------------------------------------------------------------------------


def test_what_was_asked_for_is_owed_until_it_was_refused_or_seen_gone(directory):
    ledger = Ledger.begin(directory, HANDLE)
    ledger.intent(Kind.VOLUME, [str(HANDLE)], NOW)
    ledger.created([VOLUME], NOW)
    ledger.intent(Kind.SERVER, [str(HANDLE)], NOW)
    ledger.intent(Kind.SNAPSHOT, [str(HANDLE)], NOW)
    ledger.refused(Kind.SNAPSHOT, [str(HANDLE)])
    ledger.close(settled=False)
    assert owed(directory) == [Ref(Kind.SERVER, "", str(HANDLE)), VOLUME]

    (ledger,) = ended_runs(directory, NOW)
    ledger.created([SERVER], NOW)
    ledger.gone([VOLUME])
    ledger.close(settled=False)
    assert owed(directory) == [SERVER]

    (ledger,) = ended_runs(directory, NOW)
    ledger.gone([SERVER])
    assert ledger.owed() == []
    ledger.close(settled=True)
    assert os.listdir(directory) == []


def test_a_line_with_a_time_that_is_no_number_does_not_keep_a_debt_for_ever(directory):
    ledger = Ledger.begin(directory, HANDLE)
    for at in (float("nan"), float("inf")):
        ledger.intent(Kind.SERVER, [str(HANDLE)], at)
        assert [debt.at for debt in ledger.owed()] == [0.0]
    ledger.close(settled=True)


def test_only_its_user_can_read_the_file_and_it_names_the_endpoint(directory):
    ledger = Ledger.begin(directory, HANDLE, site="cesga", endpoint="memory memory://cloud")

    assert os.stat(ledger.path).st_mode & 0o777 == 0o600
    assert os.stat(directory).st_mode & 0o777 == 0o700
    assert json.loads(Path(ledger.path).read_text()) == {
        "event": "lease",
        "handle": str(HANDLE),
        "site": "cesga",
        "endpoint": "memory memory://cloud",
        "pid": os.getpid(),
    }


def test_an_id_that_is_a_secret_is_in_memory_only_and_a_number_is_not_changed(
    directory, monkeypatch
):
    monkeypatch.setattr(redact, "_current", [redact.Redactor(["a-Secret-1", "42"])])
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([Ref(Kind.SERVER, "a-Secret-1", "x"), Ref(Kind.VOLUME, "42", "y")], NOW)
    ledger.belongs([Ref(Kind.PORT, "port-1", "of a-Secret-1")], "a-Secret-1", NOW)

    assert [debt.ref.id for debt in ledger.owed()] == ["port-1", "42", "a-Secret-1"]
    ledger.close(settled=False)
    text = Path(ledger.path).read_text()
    assert "Secret" not in text and '"id": "***"' in text and '"id": "42"' in text


def test_the_ledger_of_a_run_that_lives_is_skipped(directory):
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([SERVER], NOW)

    assert list(ended_runs(directory, NOW)) == []
    ledger.close(settled=False)
    assert owed(directory) == [SERVER]


def test_of_two_processes_one_settles_a_debt(directory):
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([SERVER], NOW)
    ledger.close(settled=False)
    with multiprocessing.get_context("fork").Pool(8) as pool:
        found = pool.map(_settles, [directory] * 200)

    assert sum(found) == 1
    assert os.listdir(directory) == []


def _settles(directory):
    number = 0
    for ledger in ended_runs(directory, NOW):
        number += 1
        ledger.close(settled=True)
    return number


def test_no_process_ever_sees_a_ledger_half_made(directory):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        troubles = pool.map(_lives, [(directory, number) for number in range(400)])

    assert [trouble for trouble in troubles if trouble] == []
    assert os.listdir(directory) == []


def _lives(words):
    directory, number = words
    ledger = Ledger.begin(directory, handles.Handle("mon", int(NOW), 6, f"{number:08d}"))
    ledger.intent(Kind.SERVER, ["x"], NOW)
    seen = [found.path + found.trouble for found in ended_runs(directory, NOW)]
    ledger.refused(Kind.SERVER, ["x"])
    ledger.close(settled=True)
    return ledger.trouble + "".join(seen)


def test_an_unfinished_ledger_of_a_killed_run_is_removed_after_its_lease(directory):
    os.makedirs(directory)
    path = os.path.join(directory, f"{HANDLE}.ledger.new")
    Path(path).touch()

    assert list(ended_runs(directory, NOW + 60)) == [] and os.path.exists(path)
    assert list(ended_runs(directory, NOW + 7 * 60)) == [] and not os.path.exists(path)


# --- damaged files ------------------------------------------------------------------------------------------------


def _bit(text, number):
    return text[:number] + bytes([text[number] ^ 0x10]) + text[number + 1 :]


DAMAGES = {
    "nothing in it": lambda text: b"",
    "no whole line": lambda text: text[:20],
    "only zeros": lambda text: bytes(len(text)),
    "zeros at its end": lambda text: text + bytes(512),
    "noise": lambda text: os.urandom(4096),
    "noise in its middle": lambda text: text[:200] + b"\x00\xff\xfe{{{\n" + text[200:],
    "its first line is gone": lambda text: text.split(b"\n", 1)[1],
    "a line of another program": lambda text: text + b"<html>\n",
    "a list of lists": lambda text: text + b"[" * 100000 + b"\n",
    "another event": lambda text: text + b'{"event": "rain", "kind": "server"}\n',
    "another kind": lambda text: text + b'{"event": "created", "kind": "zeppelin", "id": "1"}\n',
    "numbers where words stand": lambda text: text.replace(b'"created"', b"17"),
    "too large": lambda text: text + b" " * (5 * 2**20) + b"\n",
    "infinite times": lambda text: re.sub(rb'"at": [0-9.]+', b'"at": 1e999', text),
    "times of a thousand digits": lambda text: re.sub(
        rb'"at": [0-9.]+', b'"at": ' + b"9" * 1000, text
    ),
    "times that are words": lambda text: re.sub(rb'"at": [0-9.]+', b'"at": "noon"', text),
    "other ids": lambda text: text.replace(b'"ser-', b'"x-').replace(b'"vol-', b'"x-'),
    "ids that are lists": lambda text: re.sub(rb'"id": "[^"]*"', b'"id": [[]]', text),
    "without its last byte": lambda text: text[:-1],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_settled_all_the_same_and_nothing_else_is_touched(killed, file, damage):
    file.write_bytes(DAMAGES[damage](file.read_bytes()))

    code, said = killed.run()

    assert (code, killed.ours()) == (0, [])
    killed.check_strangers()
    assert [name for name in killed.ledgers() if name.endswith((".ledger", ".new"))] == []
    aside = [name for name in killed.ledgers() if name.endswith(".damaged")]
    assert len(aside) == said.text.count("a damaged ledger is set aside: ") <= 1
    assert killed.run()[1].text.count("damaged") == 0


def test_each_flipped_bit_of_a_ledger_is_survived(killed, file):
    restore, text = killed.fork(), file.read_bytes()
    for number in range(0, len(text), 7):
        restore()
        for path in killed.state.rglob("*.*"):
            path.unlink()
        file.write_bytes(_bit(text, number))

        assert killed.run()[0] == 0
        if number < text.index(b'"event"'):  # its endpoint: the debt may now seem to be elsewhere
            killed.outlast_the_lease()
            assert killed.leftovers("--remove")[0] == 0
        assert killed.ours() == [], f"byte {number} of {text!r}"
        killed.check_strangers()


def test_a_damaged_ledger_is_reported_on_line_1(killed, file):
    file.write_bytes(b"noise\n")

    text = killed.run()[1].text

    assert re.sub(r"/\S+/", "", text).startswith("site: test VM ran and is gone in ")
    assert "; a damaged ledger is set aside: /" in text


def test_a_ledger_of_another_endpoint_stays(killed, file):
    file.write_bytes(file.read_bytes().replace(b"memory://", b"memory://elsewhere-"))

    assert killed.run()[0] == 0
    assert len(killed.ours()) == 2
    assert killed.ledgers() == [file.name]


# --- files that cannot be used ------------------------------------------------------------------------------------


def plant_link(file):
    target = file.parent.parent.parent / "precious"
    target.write_text("precious")
    file.unlink()
    file.symlink_to(target)


def plant_directory(file):
    file.unlink()
    file.mkdir()


def plant_pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "plant, trouble",
    [
        (plant_link, "is a symbolic link"),
        (plant_directory, "Is a directory"),
        (plant_pipe, "is not a regular file"),
    ],
)
def test_what_is_in_the_place_of_a_ledger_is_reported_and_not_followed(
    killed, file, plant, trouble
):
    plant(file)

    code, said = killed.run()

    assert code == 0
    assert f"; a ledger cannot be read: {trouble}: /" in said.text
    (ledger,) = ended_runs(str(file.parent), NOW)
    assert ledger.trouble == f"a ledger cannot be read: {trouble}: {file}"
    assert [path.read_text() for path in killed.directory.rglob("precious")] in ([], ["precious"])
    killed.clock.sleep(3600)
    assert killed.leftovers("--remove")[0] == 0
    assert killed.ours() == []


def test_one_ledger_that_cannot_be_read_does_not_hide_the_others(killed, file):
    (file.parent / "vmprobe-mon-20200101t000000z-6-aaaaaaaa.ledger").symlink_to("/dev/null")

    assert killed.run()[0] == 0
    assert killed.ours() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/tmp"),
        lambda path: path.write_text(""),
        lambda path: (path.mkdir(), path.chmod(0o777)),
    ],
    ids=["a link", "a file", "a directory where everybody writes"],
)
def test_a_directory_that_is_not_ours_alone_is_reported_and_not_used(tmp_path, make):
    world = Disaster(tmp_path / "world")
    (world.state / "ledger").mkdir(parents=True)
    make(world.state / "ledger" / "site")

    code, said = world.run()

    assert (code, world.ours()) == (0, [])
    assert "; the ledger cannot be written: " in said.text
    assert not list(Path("/tmp").glob("vmprobe-mon-*.ledger*"))


NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@as_root
def test_a_run_by_root_leaves_nothing_that_the_scheduler_cannot_use(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    ledger = Ledger.begin(ledgers.directory(str(state), "site"), HANDLE)

    assert ledger.trouble == ""
    assert {
        os.stat(path).st_uid for path in (ledger.path, *list(Path(ledger.path).parents)[:2])
    } == {NOBODY}


@as_root
@pytest.mark.parametrize(
    "owner, mode, trouble",
    [
        (1, 0o755, "{directory} is another user's"),
        (0, 0o700, "Permission denied"),
        (NOBODY, 0o500, "Permission denied"),
    ],
)
def test_another_users_directory_is_reported_and_the_run_goes_on(owner, mode, trouble):
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        world = Disaster(Path(name) / "world")
        directory = Path(ledgers.directory(str(world.state), "site"))
        directory.mkdir(parents=True)
        for path in (directory, *list(directory.parents)[:4]):
            path.chmod(0o777)
        os.chown(directory, owner, owner)
        directory.chmod(mode)
        world.site.lifecycle(
            "--plan"
        )  # what is imported on demand may be in a place that only root can read
        world.site.write = lambda: world.site.path
        os.seteuid(NOBODY)
        try:
            code, said = world.run()
        finally:
            os.seteuid(0)

    assert (code, world.ours()) == (0, [])
    assert (
        "; the ledger cannot be written: " in said.text
    )  # whole below line 1, which has no room for two paths
    assert f"; the ledger cannot be written: {trouble.format(directory=directory)}"[
        :90
    ] in "\n".join([said.text, *said.details])


# --- a disk that is full ------------------------------------------------------------------------------------------


def room(size):
    """From now on no file of this process can become larger, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def with_room_afterwards(test):
    """The limit is gone when the test is over, and not only with its fixtures: the test's result goes to a file, too."""

    @functools.wraps(test)
    def limited(*words, **more):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            test(*words, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@with_room_afterwards
def test_what_a_full_disk_refused_is_in_memory_and_written_when_there_is_room(directory):
    ledger = Ledger.begin(directory, HANDLE)
    room(os.path.getsize(ledger.path) + 10)
    ledger.intent(Kind.SERVER, [str(HANDLE)], NOW)

    assert ledger.trouble == f"the ledger cannot be written: No space left on device: {directory}"
    assert [debt.ref.kind for debt in ledger.owed()] == [Kind.SERVER]
    room(2**20)
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
    room(size)
    world.site.write = lambda: world.site.path

    code, said = world.run()

    assert (code, world.ours(), world.ledgers()) == (0, [], [])
    assert "; the ledger cannot be written: " in said.text


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
        code, said = world.run()
    finally:
        subprocess.run(["umount", str(state)], check=True)

    assert (code, world.ours()) == (0, [])
    assert "; the ledger cannot be written: " in said.text


def _site(directory):
    path = directory / "quick.ini"
    path.write_text(
        "[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test\n"
        "[budget]\ndeadline = 30 s\nreserve = 10 s\n[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n"
    )
    return path


def test_a_process_on_a_full_disk_says_one_line(tmp_path):
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        signal.signal(
            signal.SIGXFSZ, signal.SIG_DFL
        )  # as a scheduler may hand it down; Python ignores it

    code, output, errors = run_probe(
        "check_vm_lifecycle",
        "--site",
        str(_site(tmp_path)),
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

    assert ledger.trouble == f"the ledger cannot be written: Input/output error: {directory}"
    assert list(ended_runs(directory, NOW)) == [], "its run lives"
    ledger.close(settled=False)
    assert owed(directory) == [SERVER]
