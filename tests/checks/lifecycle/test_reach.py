"""Connections from here to servers: all at the same time, and never longer than the deadline. Real sockets on this host."""

import os
import signal
import socket
import time

import pytest

from vmprobe.checks.lifecycle import reach
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import DeadlinePassed, Interrupted


def deadline(seconds):
    return Deadline(seconds + 1.0, 1.0, Clock())


@pytest.fixture
def listening():
    with socket.create_server(("127.1.0.2", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent():
    """A port, at each address of this host, that neither accepts nor refuses a connection."""
    with socket.socket() as full:
        full.bind(("0.0.0.0", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):  # the queue holds one or two
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            waiting.append(connection)
        yield port
        for connection in waiting:
            connection.close()


def test_one_address_that_takes_a_connection_is_enough(listening):
    assert reach.unreached(
        {"a": ("127.1.0.9", "127.1.0.2"), "b": ("127.1.0.2",)}, listening, deadline(10)
    ) == {"a": "", "b": ""}


def test_each_server_that_is_not_reached_has_its_reason(listening):
    reasons = reach.unreached(
        {
            "a": ("127.1.0.2",),
            "b": ("127.1.0.9",),
            "c": (),
            "d": ("host.example.org",),
            "e": ("",),
            "f": ("\x00",),
        },
        listening,
        deadline(10),
    )

    assert reasons == {
        "a": "",
        "b": f"127.1.0.9 port {listening}: Connection refused",
        "c": "has no address",
        "d": "host.example.org is not an IP address",
        "e": " is not an IP address",
        "f": "\x00 is not an IP address",
    }


def test_hundreds_of_addresses_that_do_not_answer_share_one_time_and_end_with_the_deadline(silent):
    servers = {
        f"server-{number}": tuple(f"127.{number}.0.{last}" for last in range(1, 21))
        for number in range(1, 61)
    }
    began = time.monotonic()

    with pytest.raises(DeadlinePassed):
        reach.unreached(servers, silent, deadline(1.0))

    assert time.monotonic() - began < 5


def test_a_signal_ends_the_connections_that_are_tried(silent):
    limit = deadline(60)
    signal.signal(signal.SIGALRM, limit.interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    try:
        with pytest.raises(Interrupted):
            reach.unreached({"a": tuple(f"127.0.0.{last}" for last in range(1, 17))}, silent, limit)
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    assert time.monotonic() - began < 2.5


def test_no_descriptor_is_left_open(silent, listening):
    before = len(os.listdir("/proc/self/fd"))

    reach.unreached({"a": ("127.1.0.9", "::1", "127.1.0.2")}, listening, deadline(10))
    with pytest.raises(DeadlinePassed):
        reach.unreached({"a": ("127.0.0.1",)}, silent, deadline(0.3))

    assert len(os.listdir("/proc/self/fd")) == before
