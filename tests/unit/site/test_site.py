"""Site files: every mistake is one line that names file, section, key and what would be right."""

import os
from pathlib import Path

import pytest

from running import CHECKOUT, run_probe
from vmprobe.core.errors import ClientError
from vmprobe.site import site
from vmprobe.site.credentials import read_credentials

BAD = sorted((CHECKOUT / "tests" / "sites" / "bad").glob("*.ini"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_gives_one_line_that_says_what_is_wrong(path):
    wanted = path.read_text().splitlines()[0].lstrip("; ")

    with pytest.raises(ClientError) as wrong:
        site.load(str(path)).credentials()

    assert wanted in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_bad_file_ends_a_probe_as_unknown():
    path = next(path for path in BAD if path.stem == "unknown-key")

    assert run_probe("check_vm_lifecycle", "--site", str(path)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - unknown-key.ini [test vm] flavour: no such key; did you mean flavor?\n",
        "",
    )


@pytest.mark.parametrize(
    "path", sorted((CHECKOUT / "etc" / "sites").glob("*.ini")), ids=lambda path: path.stem
)
def test_an_example_site_is_right(path):
    assert site.load(str(path)).name == path.stem


def test_a_number_sign_is_part_of_a_value_and_a_semicolon_begins_a_comment(tmp_path):
    path = tmp_path / "a.ini"
    path.write_text(
        "[site]\nname = a ; the name\n[endpoint]\nmanager = memory\n[test vm]\nimage = b#1;c\n"
    )

    assert site.load(str(path)).name == "a"
    assert site.load(str(path)).test_vm["image"] == "b#1;c"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.ini").write_bytes(b"[site]\nname = \xe9\n")
    for path, words in (
        (tmp_path / "none.ini", "No such file or directory"),
        (tmp_path / "latin.ini", "is not UTF-8 text"),
        (tmp_path, "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
    ):
        with pytest.raises(ClientError, match=words):
            site.load(str(path))


@pytest.mark.parametrize("read", [site.load, lambda path: read_credentials(path, (), "here")])
def test_a_pipe_or_an_endless_file_does_not_block(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.ini", 0o600)
    with open(tmp_path / "large.ini", "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(2**40)

    with pytest.raises(ClientError, match="pipe.ini: is not a regular file"):
        read(str(tmp_path / "pipe.ini"))
    with pytest.raises(ClientError, match="large.ini: is larger than 1048576 bytes"):
        read(str(tmp_path / "large.ini"))


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    (tmp_path / "c.ini").write_bytes(b"\xef\xbb\xbf[credentials]\r\npassword = geheim\r\n")
    (tmp_path / "c.ini").chmod(0o600)
    (tmp_path / "a.ini").write_bytes(
        b"\xef\xbb\xbf[site]\r\nname = a\r\n[endpoint]\r\nmanager = memory\r\n"
        b"credentials = c.ini\r\n[test vm]\r\nimage = b\r\n"
    )

    assert site.load(str(tmp_path / "a.ini")).credentials() == {"password": "geheim"}
