"""Checksums of blocks."""

from vmprobe.host import checksums

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"


def blocks(*contents):
    for content in contents:
        if content is None:
            raise AssertionError("read")
        yield content


def test_each_algorithm_has_its_checksum_and_an_unknown_one_has_none():
    assert checksums.of_blocks(blocks(b"a", b"bc"), ["md5", "sha1", "nonsense"]) == {
        "md5": "900150983cd24fb0d6963f7d28e17f72",
        "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    }
    assert checksums.of_blocks(blocks(), ["md5"]) == {"md5": EMPTY}


def test_nothing_is_read_without_an_algorithm():
    assert checksums.of_blocks(blocks(None), ["nonsense"]) == {}
