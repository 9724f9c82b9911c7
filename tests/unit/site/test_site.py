"""Site files: every mistake is one line that names file, section, key and what would be right."""

import os
from pathlib import Path

import pytest

from running import CHECKOUT, run_probe
from vmprobe.core.errors import ClientError
from vmprobe.host import paths
from vmprobe.site import site

BAD = sorted((CHECKOUT / "tests" / "sites" / "bad").glob("*.ini"))


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
        3,
        "VM_LIFECYCLE UNKNOWN - unknown-key.ini [test vm] flavour: no such key; did you mean flavor?\n",
        "",
    )


@pytest.mark.parametrize(
    "path", sorted((CHECKOUT / "etc" / "sites").glob("*.ini")), ids=lambda path: path.stem
)
def test_an_example_site_is_right(path):
    assert site.load(str(path)).name == path.stem


def test_a_site_is_found_by_name_and_by_host(probe):
    assert site.find("memory") == str(CHECKOUT / "etc" / "sites" / "memory.ini")
    assert site.find_by_host("memory") == site.find("memory")
    with pytest.raises(ClientError, match="no site file nowhere.ini in /etc/vmprobe/sites or "):
        site.find("nowhere")


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


@pytest.mark.parametrize("read", [site.load, lambda path: site.read_credentials(path, (), "here")])
def test_neither_a_pipe_nor_an_endless_file_is_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.ini", 0o600)
    with open(tmp_path / "large.ini", "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(2**40)

    with pytest.raises(ClientError, match="pipe.ini: is not a regular file"):
        read(str(tmp_path / "pipe.ini"))
    with pytest.raises(ClientError, match="large.ini: is larger than 1048576 bytes"):
        read(str(tmp_path / "large.ini"))


def test_what_a_windows_editor_puts_into_a_file_does_not_matter(tmp_path):
    (tmp_path / "c.ini").write_bytes(b"\xef\xbb\xbf[credentials]\r\npassword = geheim\r\n")
    (tmp_path / "c.ini").chmod(0o600)
    (tmp_path / "a.ini").write_bytes(
        b"\xef\xbb\xbf[site]\r\nname = a\r\n[endpoint]\r\nmanager = memory\r\n"
        b"credentials = c.ini\r\n[test vm]\r\nimage = b\r\n"
    )

    assert site.load(str(tmp_path / "a.ini")).credentials() == {"password": "geheim"}


def test_a_host_is_found_beside_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "site_directories", lambda: [str(tmp_path), str(tmp_path / "none")])
    (tmp_path / "a.ini").write_text("no INI file\n")
    (tmp_path / "b.ini").write_text("[endpoint]\nurl = https://[half\n")
    (tmp_path / "c.ini").write_text("[endpoint]\nurl = https://cloud.example.org:5000/\n")

    assert site.find_by_host("cloud.example.org") == str(tmp_path / "c.ini")
    with pytest.raises(
        ClientError,
        match=r"no site file has the host x \(a.ini line 1: a key before the first \[section\]\); name one",
    ):
        site.find_by_host("x")
    (tmp_path / "d.ini").write_text("[site]\nname = cloud.example.org\n")
    with pytest.raises(
        ClientError,
        match="more than one site file has the host cloud.example.org: .*/c.ini, .*/d.ini; name one",
    ):
        site.find_by_host("cloud.example.org")


@pytest.mark.parametrize("host", ["Cloud.Example.ORG", "cloud.example.org.", "ONE", "one"])
def test_a_host_or_a_name_is_found_in_whatever_letters(tmp_path, monkeypatch, host):
    monkeypatch.setattr(paths, "site_directories", lambda: [str(tmp_path)])
    (tmp_path / "a.ini").write_text(
        "[site]\nname = One\n[endpoint]\nurl = HTTPS://CLOUD.example.org:5000/\n"
    )
    (tmp_path / "b.ini").write_text(
        "[site]\nname = Two\n[endpoint]\nurl = https://[2001:DB8::1]:5000/\n"
    )
    (tmp_path / "c.ini").write_text("[site]\nname = Three\n[endpoint]\nmanager = memory\n")

    assert site.find_by_host(host) == str(tmp_path / "a.ini")
    assert (
        site.find_by_host("[2001:db8::1]")
        == site.find_by_host("2001:DB8::1")
        == str(tmp_path / "b.ini")
    )
    for nothing in ("", ".", "[]"):
        with pytest.raises(ClientError, match="no site file has the host"):
            site.find_by_host(nothing)


# --- credentials --------------------------------------------------------------------------------------------------


@pytest.fixture
def credentials(tmp_path):
    path = tmp_path / "credentials.ini"
    path.write_text("[credentials]\nusername = probe\npassword = a;b%c # d\n")
    os.chmod(path, 0o600)
    return path


def test_a_secret_is_read_to_the_letter(credentials):
    assert site.read_credentials(str(credentials), ("username", "password"), "here") == {
        "username": "probe",
        "password": "a;b%c # d",
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_credentials_that_others_can_read_are_refused(credentials, mode):
    os.chmod(credentials, mode)
    with pytest.raises(
        ClientError, match=f"has mode {mode:04o}: others than its owner have access; chmod 0600 it"
    ):
        site.read_credentials(str(credentials), ("username", "password"), "here")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_reads_the_monitoring_users_credentials_but_not_where_everybody_can_put_them(
    credentials,
):
    os.chown(credentials, 65534, 65534)

    assert (
        site.read_credentials(str(credentials), ("username", "password"), "here")["username"]
        == "probe"
    )
    credentials.parent.chmod(0o1777)
    with pytest.raises(ClientError, match=f"{credentials} belongs to another user"):
        site.read_credentials(str(credentials), ("username", "password"), "here")


@pytest.mark.parametrize(
    "text, words",
    [
        ("[credentials]\nuser = x\n", "no such key; there are username, password"),
        ("[credentials]\nusername =\n", "is empty"),
        ("[other]\nusername = x\n", "has to have one section"),
        ("username = x\n", "is not an INI file with a section"),
    ],
)
def test_wrong_credentials_are_named_without_their_values(credentials, text, words):
    credentials.write_text(text)
    with pytest.raises(ClientError, match=words):
        site.read_credentials(str(credentials), ("username", "password"), "here")
