"""A QEMU whose monitor does not answer as it should is listed, and can be removed in time."""

import time

import pytest

from vmprobe.core.errors import Unreachable
from vmprobe.core.model import Kind, State
from waiting import soon

pytest.importorskip("qemu.qmp", reason="Python's qemu.qmp is not installed")


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

    with pytest.raises(Exception) as raised:
        driver.show(ref)
    (listed,) = driver.list(Kind.SERVER, place.handle)
    driver.delete(ref)

    assert type(raised.value).__name__ == ("CloudError" if manner == "refuses" else "Unreachable")
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
