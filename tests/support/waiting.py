"""How a test waits for something that happens elsewhere: as short as can be, and long enough for a busy machine."""

import time


def soon(look, seconds: float = 240, pause: float = 0.05):
    """What ``look`` returns as soon as it is true, asked again after each pause; an AssertionError when it is not in time."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < until, f"not within {seconds:g} s: {look.__doc__ or look}"
        time.sleep(pause)
