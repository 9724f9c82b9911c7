"""QEMU is ended without a pidfd, and nothing counts as gone while the process table cannot be read."""

import errno
import os
import signal

import pytest

from vmprobe.core.errors import ClientError, GatewayFailed, Transient
from vmprobe.core.model import Kind, State
from waiting import soon

pytest.importorskip("qemu.qmp", reason="Python's qemu.qmp is not installed")


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


def hidden(monkeypatch):
    """/proc is there and empty, as in a chroot or a hardened unit."""
    listdir, readlink = os.listdir, os.readlink

    def empty(path="."):
        return [] if path == "/proc" else listdir(path)

    def none(path, **options):
        if str(path).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return readlink(path, **options)

    monkeypatch.setattr(os, "listdir", empty)
    monkeypatch.setattr(os, "readlink", none)


def test_without_a_process_table_nothing_is_started(place, monkeypatch):
    hidden(monkeypatch)

    with pytest.raises(ClientError) as raised:
        place.driver()
    assert str(raised.value) == (
        "/proc cannot be read: No such file or directory; QEMU could not be found or ended, so nothing is "
        "started"
    )


def test_the_process_table_of_another_namespace_is_not_believed(place, monkeypatch):
    """Its numbers are those of other processes here."""
    readlink = os.readlink
    monkeypatch.setattr(
        os,
        "readlink",
        lambda path, **options: "1" if path == "/proc/self" else readlink(path, **options),
    )

    with pytest.raises(ClientError, match="^/proc does not show the processes of this host; "):
        place.driver()


def test_a_process_table_that_vanishes_is_never_read_as_gone(place, monkeypatch):
    driver = place.driver()
    ref = place.server(driver)
    with monkeypatch.context() as without:
        hidden(without)
        for request in (
            lambda: driver.show(ref),
            lambda: driver.list(Kind.SERVER, place.handle),
            lambda: driver.delete(ref),
        ):
            with pytest.raises(GatewayFailed):
                request()
    assert place.path().is_dir()

    driver.delete(ref)
    soon(lambda: not place.running())


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
