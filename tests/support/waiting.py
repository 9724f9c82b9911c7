"""Wait for something outside the test: as short as possible, long enough for a busy machine."""

import time


def soon(look, seconds: float = 240, pause: float = 0.05):
    """Call ``look`` until it returns something true, and return that; AssertionError if too late."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < until, f"not within {seconds:g} s: {look.__doc__ or look}"
        time.sleep(pause)
