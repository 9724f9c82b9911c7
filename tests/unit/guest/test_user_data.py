"""guest/user_data.py: how a test VM gets the nonce of its run."""

import base64

import pytest

from vmprobe.core.model import Plan, ServerSpec
from vmprobe.guest import user_data

NONCE = "run-7f3a"


def spec(depth, nonce=NONCE):
    return ServerSpec("vmprobe-x", Plan("image"), nonce=nonce, depth=depth)


def test_a_server_whose_console_is_read_gets_the_reporter_with_its_nonce():
    script = base64.b64decode(user_data.for_server(spec("console"))).decode()

    assert script.startswith("#!/bin/sh\n")
    assert f"\nVMPROBE_NONCE={NONCE}\nVMPROBE_PEERS=''\n" in script


@pytest.mark.parametrize("depth, nonce", [("api", NONCE), ("reach", NONCE), ("console", "")])
def test_no_other_server_gets_user_data(depth, nonce):
    assert user_data.for_server(spec(depth, nonce)) is None


def test_in_the_background_the_reporter_lets_a_start_script_end():
    script = user_data.reporter(NONCE, background=True)

    assert script.endswith("\n(exec </dev/null >/dev/null 2>&1; main) &\n")


@pytest.mark.parametrize("nonce", ["", "a b", "$(reboot)", "a;b", "a\nb"])
def test_a_nonce_that_a_shell_could_read_is_refused(nonce):
    with pytest.raises(ValueError, match="only letters, digits and - are safe in a shell script$"):
        user_data.reporter(nonce)


def test_a_peer_that_is_no_address_is_refused():
    with pytest.raises(ValueError, match="^peer '10.0.0.7; reboot' is not an address$"):
        user_data.reporter(NONCE, ["10.0.0.7; reboot"])


def test_the_kernel_s_console_is_the_serial_port():
    words = "console=tty0 console=ttyS0 quiet panic=-1"

    assert user_data.kernel_command_line() == words
    assert user_data.kernel_command_line(NONCE) == f"{words} vmprobe.nonce={NONCE}"
