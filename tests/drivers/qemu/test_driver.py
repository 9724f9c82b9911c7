"""The qemu driver where this host or a QEMU is not as it should be; the program in QEMU's place is the tests' own.

What QEMU itself does is tried in live/test_qemu.py.
"""

import errno
import os
import resource
import signal
import sys
import time

import pytest

from vmprobe.checks.capacity import headroom
from vmprobe.core import handle
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError, GatewayFailed, Transient, Unreachable
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Plan, Ref, ServerSpec, State, VolumeSpec
from vmprobe.drivers.qemu.driver import Qemu
from vmprobe.site.site import load
from waiting import soon

pytest.importorskip("qemu.qmp", reason="Python's qemu.qmp is not installed")

PROGRAM = r"""#!{python}
import json, os, signal, socket, sys, time

def become_another(*_):
    os.execvp("sleep", ["sleep", "60"])
signal.signal(signal.SIGUSR1, become_another)
if sys.argv[1:] == ["-help"]:
    print("QEMU emulator version 9.9"); print("x" * 100000); sys.exit()

def commands(client):
    'JSON objects, one after the other, without any line ends'
    text = ""
    while True:
        received = client.recv(65536)
        if not received:
            return
        text += received.decode()
        while text.strip():
            try:
                asked, end = json.JSONDecoder().raw_decode(text.strip())
            except ValueError:
                break
            text = text.strip()[end:]
            yield asked

monitor = socket.socket(socket.AF_UNIX); monitor.bind("monitor"); monitor.listen()
answers = {{"query-status": {{"status": "running"}}, "query-block": [], "query-named-block-nodes": [], "query-rx-filter": []}}
while True:
    client, _ = monitor.accept()
    lines, manner = client.makefile("rw"), open("{manner}").read()
    try:
        if manner == "closes": client.close(); continue
        if manner == "is silent": time.sleep(600)
        if manner == "speaks something else": client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"); time.sleep(600)
        while manner == "never ends its line": client.sendall(b"x" * 65536)
        print(json.dumps({{"QMP": {{"version": {{"qemu": {{"micro": 0, "minor": 0, "major": 9}}, "package": ""}}, "capabilities": []}}}}), file=lines, flush=True)
        for asked in commands(client):
            answer = {{}} if asked["execute"] == "qmp_capabilities" else answers.get(asked["execute"], {{}})
            if asked["execute"] != "qmp_capabilities":
                while manner == "floods": lines.write(json.dumps({{"event": "STOP", "timestamp": {{"seconds": 1, "microseconds": 1}}}}) + "\n")
                if manner == "nests": client.sendall(b'{{"return": ' + b"[" * 50000 + b"]" * 50000 + b"}}\n"); continue
                if manner == "says a number": answer = 5
                if manner == "says nothing": answer = None
                if manner == "says a list": answer = [None]
                if manner == "refuses":
                    print(json.dumps({{"error": {{"class": "GenericError", "desc": "not today"}}, "id": asked.get("id")}}), file=lines, flush=True); continue
            print(json.dumps({{"return": answer, "id": asked.get("id")}}), file=lines, flush=True)
    except OSError:
        pass
"""


class Place:
    """A directory with a driver over it, and what runs there."""

    def __init__(self, directory):
        self.directory, self.base, self.manner = directory, directory / "qemu", directory / "manner"
        self.manner.write_text("")
        self.binary = directory / "qemu-system-test"
        self.binary.write_text(PROGRAM.format(python=sys.executable, manner=self.manner))
        self.binary.chmod(0o755)
        (directory / "disk").write_bytes(b"\0" * 512)
        self.handle = str(handle.new("mon", 60, 1_800_000_000))
        self.plan = Plan(
            "disk", "32 MiB", "none", {"disk": str(directory / "disk")}, vcpus=1, memory=2**25
        )

    def driver(self, base=True, connected=True):
        path = self.directory / "site.ini"
        path.write_text(
            f"[site]\nname = here\n[endpoint]\nmanager = qemu\nbinary = {self.binary}\ntimeout = 2 s\n"
            + (f"directory = {self.base}\n" if base else "")
            + "[test vm]\nimage = disk\n"
        )
        found = Qemu(load(str(path)).endpoint, {}, Deadline(120, 10), Evidence(keep=True))
        if connected:
            found.connect()
        return found

    def server(self, driver):
        """A server that runs; its monitor answers."""
        ref = driver.create(ServerSpec(self.handle, self.plan))
        soon(lambda: driver.show(ref).state is State.READY)
        return ref

    def path(self, kind="server"):
        return self.base / kind / self.handle

    def running(self):
        """Pids of what began in the directory of a server and has not ended."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd").startswith(str(self.base)):
                    found.append(int(entry))
            except OSError:
                continue
        return found


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    for pid in found.running():
        os.kill(pid, signal.SIGKILL)


# --- a monitor that is hostile ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "manner",
    [
        "closes",
        "is silent",
        "speaks something else",
        "never ends its line",
        "floods",
        "nests",
        "says a number",
        "says nothing",
        "says a list",
        "refuses",
    ],
)
def test_a_qemu_that_does_not_answer_as_it_should_is_there_and_can_be_removed_in_time(
    place, manner, capfd
):
    driver = place.driver()
    ref = place.server(driver)
    place.manner.write_text(manner)
    began = time.monotonic()

    with pytest.raises(Exception) as said:
        driver.show(ref)
    (listed,) = driver.list(Kind.SERVER, place.handle)
    driver.delete(ref)

    assert type(said.value).__name__ == ("CloudError" if manner == "refuses" else "Unreachable")
    assert (listed.ref, listed.state, listed.provider_state) == (ref, State.PENDING, "silent")
    soon(lambda: not place.running())
    assert driver.list(Kind.SERVER, place.handle) == []
    assert time.monotonic() - began < 60
    assert capfd.readouterr().err == ""


def test_a_binary_that_hangs_with_children_is_waited_for_no_longer_than_the_limit(place):
    place.binary.write_text("#!/bin/sh\nsleep 60 &\nsleep 60\n")
    began = time.monotonic()

    with pytest.raises(Unreachable, match="-help does not answer$"):
        place.driver()
    assert time.monotonic() - began < 30


# --- an end without a pidfd ---------------------------------------------------------------------------------------


def fails(number):
    def call(*_):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    "module, call, number",
    [
        (os, "pidfd_open", errno.ENOSYS),
        (os, "pidfd_open", errno.EPERM),
        (os, "pidfd_open", errno.EMFILE),
        (signal, "pidfd_send_signal", errno.ENOSYS),
        (signal, "pidfd_send_signal", errno.EPERM),
    ],
    ids=lambda word: (
        errno.errorcode.get(word) if isinstance(word, int) else getattr(word, "__name__", word)
    ),
)
def test_a_server_is_ended_where_the_kernel_or_a_filter_knows_no_pidfd(
    place, monkeypatch, module, call, number
):
    driver = place.driver()
    ref = place.server(driver)
    monkeypatch.setattr(module, call, fails(number))

    driver.delete(ref)

    soon(lambda: not place.running())
    assert driver.list(Kind.SERVER, place.handle) == []


def test_a_server_is_ended_by_a_python_that_was_built_without_pidfd(place, monkeypatch):
    driver = place.driver()
    ref = place.server(driver)
    monkeypatch.delattr(os, "pidfd_open")

    driver.delete(ref)

    soon(lambda: not place.running())


@pytest.mark.parametrize("has_pidfd", [True, False], ids=["pidfd", "none"])
def test_a_number_that_another_program_has_by_now_is_not_ended(place, monkeypatch, has_pidfd):
    """The program turns into another one between the two looks, as if its number had been given away."""
    driver = place.driver()
    ref = place.server(driver)
    (pid,) = place.running()
    pidfd_open = os.pidfd_open

    def late(number):
        os.kill(pid, signal.SIGUSR1)
        soon(lambda: b"sleep" in open(f"/proc/{pid}/cmdline", "rb").read())
        if not has_pidfd:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return pidfd_open(number)

    monkeypatch.setattr(os, "pidfd_open", late)

    driver.delete(ref)

    assert place.running() == [pid]


# --- a process table that cannot be seen --------------------------------------------------------------------------


def hidden(monkeypatch):
    """/proc is there and empty, as in a chroot or a hardened unit."""
    listdir, readlink = os.listdir, os.readlink

    def empty(path="."):
        return [] if path == "/proc" else listdir(path)

    def none(path, **words):
        if str(path).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return readlink(path, **words)

    monkeypatch.setattr(os, "listdir", empty)
    monkeypatch.setattr(os, "readlink", none)


def test_without_a_process_table_nothing_is_started(place, monkeypatch):
    hidden(monkeypatch)

    with pytest.raises(ClientError) as said:
        place.driver()
    assert str(said.value) == (
        "/proc cannot be read: No such file or directory; QEMU could not be found or ended, so nothing is "
        "started"
    )


def test_the_process_table_of_another_namespace_is_not_believed(place, monkeypatch):
    """Its numbers are those of other processes here."""
    readlink = os.readlink
    monkeypatch.setattr(
        os,
        "readlink",
        lambda path, **words: "1" if path == "/proc/self" else readlink(path, **words),
    )

    with pytest.raises(ClientError, match="^/proc does not show the processes of this host; "):
        place.driver()


def test_a_process_table_that_vanishes_is_never_read_as_gone(place, monkeypatch):
    driver = place.driver()
    ref = place.server(driver)
    with monkeypatch.context() as without:
        hidden(without)
        for look in (
            lambda: driver.show(ref),
            lambda: driver.list(Kind.SERVER, place.handle),
            lambda: driver.delete(ref),
        ):
            with pytest.raises(GatewayFailed):
                look()
    assert place.path().is_dir()

    driver.delete(ref)
    soon(lambda: not place.running())


# --- descriptors --------------------------------------------------------------------------------------------------


@pytest.fixture
def descriptors():
    """``descriptors(n)``: so many may be open; more than a thousand are, with whatever the caller left open."""
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    yield lambda most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1])), held
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in held:
        os.close(descriptor)


def test_more_than_1023_open_descriptors_keep_no_server_from_its_life_and_end(place, descriptors):
    limit, held = descriptors
    limit(4096)
    held.extend(os.dup(0) for _ in range(1100))
    driver = place.driver()
    ref = place.server(driver)

    driver.delete(ref)

    soon(lambda: not place.running())
    assert driver.list(Kind.SERVER, place.handle) == []


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # asyncio's, of a loop that it could not make
def test_without_a_free_descriptor_nothing_is_read_as_gone(place, descriptors):
    limit, _ = descriptors
    driver = place.driver()
    ref = place.server(driver)
    free = os.dup(0)
    os.close(free)
    for more in range(4):  # each of these fails at another place
        limit(free + more)
        try:
            assert driver.show(ref).state in (State.READY, State.PENDING)
        except Transient:
            pass
        try:
            assert [thing.ref for thing in driver.list(Kind.SERVER, place.handle)] == [ref]
        except Transient:
            pass
    limit(1024)

    driver.delete(ref)
    soon(lambda: not place.running())


# --- what lies where something else was meant ---------------------------------------------------------------------

FOREIGN = {
    "a pipe": os.mkfifo,
    "a file": lambda path: path.write_text(""),
    "a link": lambda path: path.symlink_to(path.parent.parent.parent / "theirs"),
    "a dangling link": lambda path: path.symlink_to("/nowhere"),
    "a directory": os.mkdir,
}


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.VOLUME], ids=lambda kind: kind.value)
@pytest.mark.parametrize("what", FOREIGN)
def test_what_lies_in_the_place_of_a_server_or_volume_is_shown_and_removed(place, what, kind):
    (place.directory / "theirs").mkdir()
    (place.directory / "theirs" / "file").write_text("kept")
    driver = place.driver()
    place.path(kind.value).parent.mkdir(parents=True, mode=0o700)
    place.base.chmod(0o700)
    FOREIGN[what](place.path(kind.value))

    (found,) = driver.list(kind, place.handle)
    driver.delete(found.ref)

    assert driver.list(kind, place.handle) == []
    assert (place.directory / "theirs" / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["console", "stderr"])
def test_a_pipe_in_the_place_of_what_a_server_said_is_not_waited_for(place, name):
    driver = place.driver()
    place.path().mkdir(parents=True, mode=0o700)
    place.base.chmod(0o700)
    os.mkfifo(place.path() / name)

    (found,) = driver.list(Kind.SERVER, place.handle)

    assert (found.provider_state, found.fault) == ("dead", "it ended without any message")
    assert driver.console(found.ref) == ""


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.write_text(""), lambda path: path.symlink_to("/tmp")],
    ids=["pipe", "file", "link"],
)
def test_what_is_no_directory_of_servers_is_named_before_anything_is_started(place, make):
    place.base.mkdir(mode=0o700)
    make(place.base / "server")

    with pytest.raises(ClientError) as said:
        place.driver()
    assert (
        str(said.value)
        == f"{place.base}/server is not a directory; servers and volumes have to lie in {place.base}"
    )


def test_names_with_line_ends_and_names_that_lead_elsewhere_are_nobody_s(place):
    driver = place.driver()
    (place.base / "server").mkdir(parents=True, mode=0o700)
    place.base.chmod(0o700)
    (place.base / "server" / f"{place.handle}\n").mkdir()

    driver.delete(Ref(Kind.SERVER, "../../theirs", "../../theirs"))

    assert driver.list(Kind.SERVER, f"{place.handle}-") == []
    assert (place.base / "server" / f"{place.handle}\n").is_dir()


# --- what fits ----------------------------------------------------------------------------------------------------


def test_a_volume_that_is_larger_than_the_file_system_is_made_and_so_it_fits(place):
    driver = place.driver()
    (storage,) = [limit for limit in driver.capacity() if limit.name == "storage"]
    size = int(storage.total) + 2**30

    needs = driver.needs(place.plan, {"volume": size, "depth": "api"})

    assert needs == {
        ("servers", ""): 1,
        ("vcpus", ""): 1,
        ("memory", ""): 2**25,
        ("ports", ""): 1,
        ("volumes", ""): 1,
        ("storage", ""): 2**19,
    }
    assert headroom.room([storage._replace(used=0, total=2**20)], needs) == headroom.Room(
        2, "storage by host: 1 MiB of 1 MiB is free"
    )
    assert driver.show(driver.create(VolumeSpec(place.handle, size))).size == size


# --- whose directory it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, name", [(0o700, "qemu"), (0o755, "qemu"), (0o2770, f"qemu-{os.geteuid()}")]
)
def test_in_a_state_directory_that_others_share_each_user_has_a_place_of_its_own(
    place, state_directory, mode, name
):
    """A QEMU of another user can neither be seen nor ended."""
    state_directory.mkdir()
    state_directory.chmod(mode)
    driver = place.driver(base=False)

    driver.create(VolumeSpec(place.handle, 512))

    assert driver.identity == f"qemu {state_directory}/{name}"
    assert (state_directory / name / "volume" / place.handle).stat().st_size == 512


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_what_root_does_by_hand_in_another_user_s_state_directory_shuts_nobody_out(
    place, state_directory
):
    state_directory.mkdir()
    os.chown(state_directory, 65534, 65534)

    assert place.driver(base=False).identity == f"qemu {state_directory}/qemu-0"
