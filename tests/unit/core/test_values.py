"""Values of a site file."""

from vmprobe.core import values


def test_values_have_units():
    assert [values.duration(text) for text in ("300", "300 s", "5 min", "1.5 h", "2d")] == [
        300,
        300,
        300,
        5400,
        172800,
    ]
    assert [values.size(text) for text in ("1 GiB", "10 MB", "512MiB")] == [2**30, 10**7, 2**29]
