"""Fixtures: a site file whose runs take less than a second."""

import pytest


@pytest.fixture
def quick(tmp_path):
    """The path of a site file over a cloud in memory, where a whole run takes less than a second."""
    path = tmp_path / "quick.ini"
    path.write_text(
        "[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test\n"
        "[budget]\ndeadline = 30 s\nreserve = 10 s\n[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n"
        "[sample]\nreadings = 0\n"
    )
    return str(path)
