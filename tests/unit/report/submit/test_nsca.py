"""Check results through send_nsca."""

import re
import time

import pytest

from submitting import RESULT, deliver
from waiting import soon


@pytest.fixture
def send_nsca(tmp_path, monkeypatch):
    """``send_nsca(script)``: a program of this name, and what it was asked."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def make(script):
        program = tmp_path / "bin" / "send_nsca"
        program.write_text(
            f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\ncat >>{tmp_path}/asked\n{script}\n'
        )
        program.chmod(0o755)
        return tmp_path / "asked"

    return make


@pytest.mark.parametrize(
    "where, host, port",
    [
        ("mon.example.org", "mon.example.org", "5667"),
        ("mon.example.org:5668", "mon.example.org", "5668"),
        ("192.0.2.1:5668", "192.0.2.1", "5668"),
        ("2001:db8::1", "2001:db8::1", "5667"),
        ("[2001:db8::1]", "2001:db8::1", "5667"),
        ("[2001:db8::1]:5668", "2001:db8::1", "5668"),
        ("[fe80::1%eth0]:5668", "fe80::1%eth0", "5668"),
    ],
)
def test_send_nsca_gets_host_and_port(send_nsca, where, host, port):
    asked = send_nsca("echo 1 data packet sent to host successfully.")

    assert deliver(f"nsca:{where}") == []
    assert (
        re.sub("-to [0-9]+", "-to N", asked.read_text())
        == f"-H {host} -p {port} -to N\ncesga\tvm-lifecycle\t2\t{RESULT.line}\n"
    )


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo Error: no such host; exit 3", "send_nsca: Error: no such host"),
        ("exit 2", "send_nsca: exit code 2"),
        (
            "echo 0 data packet\\(s\\) sent to host successfully.",
            "send_nsca: 0 data packet(s) sent to host successfully.",
        ),
    ],
)
def test_an_error_of_send_nsca_is_reported(send_nsca, script, said):
    send_nsca(script)

    assert deliver("nsca:mon") == [f"not submitted to nsca:mon: {said}; spooled"]


def test_a_hanging_send_nsca_and_its_children_end_at_the_deadline(send_nsca, tmp_path):
    send_nsca(f"sleep 60 & echo $! >{tmp_path}/pid; wait")
    began = time.monotonic()

    assert deliver("nsca:mon", seconds=1.5) == [
        "not submitted to nsca:mon: the deadline of 1.5 s passed; spooled"
    ]
    assert time.monotonic() - began < 10
    assert soon(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
