"""An exchange is over within its time, whatever a server, a resolver or a network does."""

import os
import resource
import socket
import time

import pytest

from asking import LATE, told
from rawserver import reply
from vmprobe.core.errors import (
    ClientError,
    DeadlinePassed,
    Unreachable,
)


def test_what_was_never_sent_is_known_as_such(http):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    refused = told(Unreachable, http(f"http://127.0.0.1:{port}/v3").post, "servers", {})
    unknown = told(Unreachable, http("http://nowhere.invalid/").post)
    no_name = told(Unreachable, http(f"http://{'a' * 70}.invalid/").post)

    assert (str(refused), refused.sent) == (
        f"POST /v3/servers: 127.0.0.1 port {port}: connection refused",
        False,
    )
    assert (str(unknown).split(": ")[:2], unknown.sent) == (["POST /", "nowhere.invalid"], False)
    assert (str(no_name), no_name.sent) == (f"POST /: {'a' * 70}.invalid: is no host name", False)


def test_a_resolver_that_hangs_is_not_waited_for(http, monkeypatch):
    really = socket.getaddrinfo

    def hang(host, port, *words):
        if host == "slow.invalid" and not words[-1]:
            time.sleep(5)
        return really(host, port, *words)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()

    error = told(Unreachable, http("http://slow.invalid/", timeout=0.2).get)

    assert (str(error), error.sent) == (
        "GET /: the address of slow.invalid could not be found within 0.2 s",
        False,
    )
    assert time.monotonic() - began < 2


def test_an_address_of_a_family_that_this_machine_does_not_have_is_passed_over(
    serve, http, monkeypatch
):
    server, really = serve(reply(200, "{}")), socket.getaddrinfo
    other = (socket.AF_APPLETALK, socket.SOCK_STREAM, 6, "", ("nowhere", 1))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: [other] + really(*words) + [other])

    assert http(server).get().status == 200
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert (
        str(told(Unreachable, http(f"http://127.0.0.1:{port}").get))
        == f"GET /: 127.0.0.1 port {port}: connection refused"
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words: [other])
    assert str(told(Unreachable, http(server).get)) == (
        f"GET /: 127.0.0.1 port {server.port}: address family not supported by protocol"
    )


def test_too_many_open_files_are_our_own_matter(serve, http):
    server, asking = serve(reply(200, "{}")), None
    http(server).get()  # what has to be loaded is loaded
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    asking, held = http(server), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with pytest.raises(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        error = told(ClientError, asking.get)
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert str(error) == "GET /: no connection can be made from here: too many open files"


def test_a_host_that_takes_no_connection_is_not_waited_for(http):
    with socket.socket() as full:  # its queue is full: further connections get no answer
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        error = told(
            Unreachable, http("http://127.0.0.1:%d" % full.getsockname()[1], timeout=0.3).get
        )
        for one in waiting:
            one.close()

    assert (str(error), error.sent) == ("GET /: no connection within 0.3 s", False)


@pytest.mark.parametrize("case", LATE)
def test_the_whole_exchange_is_bounded_not_each_step(case, serve, http):
    began = time.monotonic()

    error = told(Unreachable, http(serve(LATE[case]), timeout=0.4).get, "x")

    assert (str(error), error.sent) == ("GET /x: no whole answer within 0.4 s", True)
    assert time.monotonic() - began < 1.5


def test_a_server_that_does_not_read_is_not_waited_for(http):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        error = told(
            Unreachable,
            http("http://127.0.0.1:%d" % deaf.getsockname()[1], timeout=0.3).put,
            "x",
            body=b"x" * 2**24,
        )

    assert (str(error), error.sent) == ("PUT /x: no whole answer within 0.3 s", True)


def test_the_deadline_bounds_a_request_and_after_it_nothing_is_sent(serve, http):
    server = serve(LATE["never-answers"])
    asking = http(server, total=0.3, timeout=30)

    told(Unreachable, asking.get)
    told(DeadlinePassed, asking.get)

    assert len(server.requests) == 1


CUT = {
    "without-an-answer": (b"", "GET /x: the connection was closed without an answer"),
    "in-its-body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        "GET /x: the connection was closed before the end of the answer",
    ),
    "in-a-chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        "GET /x: the connection was closed before the end of the answer",
    ),
}


@pytest.mark.parametrize("case", CUT)
def test_an_answer_that_was_cut_is_no_answer(case, serve, http):
    server = serve(lambda request: lambda connection: connection.sendall(CUT[case][0]))

    error = told(Unreachable, http(server).get, "x")

    assert (str(error), error.sent) == (CUT[case][1], True)


def test_a_connection_that_is_reset_is_no_answer(serve, http):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        socket.socket(fileno=connection.detach()).close()

    error = told(Unreachable, http(serve(lambda request: reset)).get, "x")

    assert (str(error), error.sent) == ("GET /x: connection reset by peer", True)


def test_a_create_is_never_sent_twice(serve, http):
    server = serve(b"")

    told(Unreachable, http(server).post, "servers", {"server": {}})

    assert len(server.requests) == 1
