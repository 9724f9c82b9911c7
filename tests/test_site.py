"""Site files: every mistake is one line that names file, section, key and what would be right."""

import os
from pathlib import Path

import pytest

from conftest import CHECKOUT, run_probe
from vmprobe import site
from vmprobe.errors import ClientError

BAD = sorted((Path(__file__).parent / "sites" / "bad").glob("*.ini"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_one_line_that_says_what_is_wrong(path):
    wanted = path.read_text().splitlines()[0].lstrip("; ")

    with pytest.raises(ClientError) as wrong:
        site.load(str(path)).credentials()

    assert wanted in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_bad_file_ends_a_probe_as_unknown():
    path = next(path for path in BAD if path.stem == "unknown-key")

    assert run_probe("check_vm_lifecycle", "--site", str(path)) == (
        3, "VM_LIFECYCLE UNKNOWN - unknown-key.ini [test vm] flavour: no such key; did you mean flavor?\n", "")


@pytest.mark.parametrize("path", sorted((CHECKOUT / "etc" / "sites").glob("*.ini")), ids=lambda path: path.stem)
def test_an_example_site_is_right(path):
    assert site.load(str(path)).name == path.stem


def test_a_site_is_found_by_name_and_by_host(probe):
    assert site.find("memory") == str(CHECKOUT / "etc" / "sites" / "memory.ini")
    assert site.find_by_host("memory") == site.find("memory")
    with pytest.raises(ClientError, match="no site file nowhere.ini in /etc/vmprobe/sites or "):
        site.find("nowhere")


def test_values_have_units():
    assert [site.duration(text) for text in ("300", "300 s", "5 min", "1.5 h", "2d")] == [300, 300, 300, 5400, 172800]
    assert [site.size(text) for text in ("1 GiB", "10 MB", "512MiB")] == [2 ** 30, 10 ** 7, 2 ** 29]


def test_a_number_sign_is_part_of_a_value_and_a_semicolon_begins_a_comment(tmp_path):
    path = tmp_path / "a.ini"
    path.write_text("[site]\nname = a ; the name\n[endpoint]\nmanager = memory\n[test vm]\nimage = b#1;c\n")

    assert site.load(str(path)).name == "a"
    assert site.load(str(path)).test_vm["image"] == "b#1;c"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.ini").write_bytes(b"[site]\nname = \xe9\n")
    for path, words in ((tmp_path / "none.ini", "No such file or directory"), (tmp_path / "latin.ini", "is not UTF-8 text"),
                        (tmp_path, "Is a directory")):
        with pytest.raises(ClientError, match=words):
            site.load(str(path))


# --- credentials --------------------------------------------------------------------------------------------------

@pytest.fixture
def credentials(tmp_path):
    path = tmp_path / "credentials.ini"
    path.write_text("[credentials]\nusername = probe\npassword = a;b%c # d\n")
    os.chmod(path, 0o600)
    return path


def test_a_secret_is_read_to_the_letter(credentials):
    assert site.read_credentials(str(credentials), ("username", "password"), "here") == {
        "username": "probe", "password": "a;b%c # d"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_credentials_that_others_can_read_are_refused(credentials, mode):
    os.chmod(credentials, mode)
    with pytest.raises(ClientError, match=f"has mode {mode:04o}: others than its owner have access; chmod 0600 it"):
        site.read_credentials(str(credentials), ("username", "password"), "here")


@pytest.mark.parametrize("text, words", [
    ("[credentials]\nuser = x\n", "no such key; there are username, password"),
    ("[credentials]\nusername =\n", "is empty"),
    ("[other]\nusername = x\n", "has to have one section"),
    ("username = x\n", "is not an INI file with a section"),
])
def test_wrong_credentials_are_named_without_their_values(credentials, text, words):
    credentials.write_text(text)
    with pytest.raises(ClientError, match=words):
        site.read_credentials(str(credentials), ("username", "password"), "here")
