"""Parsers of the values in a site file."""

import pytest

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


@pytest.mark.parametrize(
    "parse, text, value",
    [
        (values.size_or_none, "none", None),
        (values.size_or_none, "1 GiB", 2**30),
        (values.whole(1), "17", 17),
        (values.server_count, "1000", 1000),
        (values.fraction, "8 %", 0.08),
        (values.yes_or_no, "yes", True),
        (values.one_of("kvm", "qemu"), "kvm", "kvm"),
        (values.word_list, "a, b c,d", ("a", "b", "c", "d")),
        (values.http_url, "https://host:5000/v3/", "https://host:5000/v3"),
    ],
)
def test_a_value_is_parsed(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    "parse, text, message",
    [
        (values.duration, "5 minutes", "is not a duration like '300 s', '5 min' or '1 h'"),
        (values.positive_duration, "0 s", "has to be more than 0 s"),
        (values.run_time, "25 h", "is longer than a day"),
        (values.size, "1 GB/s", "is not a size like '1 GiB' or '512 MiB'"),
        (values.size_or_none, "0 GiB", "is neither a size like '1 GiB' nor 'none'"),
        (values.whole(1), "0", "is not a whole number from 1 up"),
        (values.server_count, "1001", "is more than 1000"),
        (values.fraction, "101 %", "is not a share like '8 %' or '0.08'"),
        (values.yes_or_no, "true", "is neither 'yes' nor 'no'"),
        (values.one_of("kvm", "qemu"), "xen", "is not one of kvm, qemu"),
        (values.http_url, "ftp://host", "is not a URL like 'https://host:5000/v3'"),
        (
            values.http_url,
            "https://me:secret@host",
            "contains a user or password; these belong in the credentials file",
        ),
    ],
)
def test_another_text_is_refused_with_what_would_be_right(parse, text, message):
    with pytest.raises(ValueError) as refused:
        parse(text)

    assert str(refused.value) == message
