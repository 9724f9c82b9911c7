"""Sleeping: a signal ends it, and a process with thousands of open files can do it too."""

import os
import resource
import signal
import time

import pytest

from vmprobe.core.clock import Clock


@pytest.fixture
def many_files():
    """More than 1024 descriptors are open, as a scheduler may leave them to its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"this user may only open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for each in opened:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def clock():
    """A clock whose sleep ends with SIGUSR1."""
    before, handler = signal.set_wakeup_fd(-1), signal.signal(signal.SIGUSR1, lambda *words: None)
    made = Clock()
    made.wake_on_signals()
    yield made
    signal.set_wakeup_fd(before)
    signal.signal(signal.SIGUSR1, handler)
    os.close(made._wake)
    os.close(made._waker)


def test_a_signal_ends_a_sleep_beyond_the_thousandth_descriptor(many_files, clock):
    began = time.monotonic()
    os.kill(os.getpid(), signal.SIGUSR1)

    clock.sleep(60)

    assert time.monotonic() - began < 30


def test_a_sleep_lasts_as_long_as_it_should_beyond_the_thousandth_descriptor(many_files, clock):
    for duration in (-1, 0, 0.02):
        began = time.monotonic()
        clock.sleep(duration)
        assert duration <= time.monotonic() - began < 10
