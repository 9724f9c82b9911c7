"""Credentials files: only their owner may read them, and no message shows what is in them."""

import os

import pytest

from vmprobe.core.errors import ClientError
from vmprobe.site.credentials import read_credentials


@pytest.fixture
def credentials(tmp_path):
    path = tmp_path / "credentials.ini"
    path.write_text("[credentials]\nusername = probe\npassword = a;b%c # d\n")
    os.chmod(path, 0o600)
    return path


def test_a_secret_is_read_exactly_as_written(credentials):
    assert read_credentials(str(credentials), ("username", "password"), "here") == {
        "username": "probe",
        "password": "a;b%c # d",
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_credentials_that_others_can_read_are_refused(credentials, mode):
    os.chmod(credentials, mode)
    with pytest.raises(
        ClientError, match=f"has mode {mode:04o}: others than its owner have access; chmod 0600 it"
    ):
        read_credentials(str(credentials), ("username", "password"), "here")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_reads_the_monitoring_users_credentials_but_not_in_a_world_writable_directory(
    credentials,
):
    os.chown(credentials, 65534, 65534)

    assert (
        read_credentials(str(credentials), ("username", "password"), "here")["username"] == "probe"
    )
    credentials.parent.chmod(0o1777)
    with pytest.raises(ClientError, match=f"{credentials} belongs to another user"):
        read_credentials(str(credentials), ("username", "password"), "here")


@pytest.mark.parametrize(
    "text, words",
    [
        ("[credentials]\nuser = x\n", "no such key; there are username, password"),
        ("[credentials]\nusername =\n", "is empty"),
        ("[other]\nusername = x\n", "must have exactly one section"),
        ("username = x\n", "is not an INI file with a section"),
    ],
)
def test_wrong_credentials_are_named_without_their_values(credentials, text, words):
    credentials.write_text(text)
    with pytest.raises(ClientError, match=words):
        read_credentials(str(credentials), ("username", "password"), "here")
