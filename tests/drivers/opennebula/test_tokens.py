"""Every way to authenticate to oned; none of them shows a secret."""

import base64
import hashlib
import subprocess
import time
from urllib.parse import quote

import pytest

from private import written
from running import run_probe
from simulators.opennebula_world import LIFECYCLE, connected
from vmprobe.core.errors import (
    ClientError,
)
from vmprobe.transport import x509

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


def test_no_secret_is_shown_and_none_that_oned_answers(world, tmp_path):
    path = world.site()
    _, output, _ = run_probe(
        LIFECYCLE, "--site", path, "-vv", "--evidence", str(tmp_path / "evidence")
    )
    _, capacity, _ = run_probe("check_vm_capacity", "--site", path, "-vv")

    written = "".join(file.read_text() for file in (tmp_path / "evidence").iterdir())
    for text in (output, capacity, written):
        assert "one.system.version" in text
        assert "a-good-password" not in text and "5f4dcc3b5aa765d61d8327deb882cf99" not in text


def test_a_login_token_and_a_file_of_oneuser_are_passwords(world, tmp_path):
    written(tmp_path / "one_auth", "probe:a-good-password\n")

    connected(world, credentials="username = probe\nlogin_token = a-good-password\n")
    connected(world, credentials=f"one_auth = {tmp_path / 'one_auth'}\n")
    written(tmp_path / "one_auth", "probe\n")
    with pytest.raises(ClientError, match="one_auth is not user:password|is not user:password"):
        connected(world, credentials=f"one_auth = {tmp_path / 'one_auth'}\n")


@pytest.mark.parametrize(
    "digest, vector",
    [("sha256", True), ("sha256", False), ("sha1", False)],
    ids=["6.x", "5.10", "5.0"],
)
def test_a_service_is_known_by_server_cipher_as_each_version_derives_its_key(world, digest, vector):
    """openssl is the other side: ``authenticate`` of server_cipher_auth.rb decrypts with the password's digest."""
    key = hashlib.new(digest, b"server-password").hexdigest()[:32].encode()

    def authenticate(session):
        server, target, token = session.split(":")
        done = subprocess.run(
            [
                "openssl",
                "enc",
                "-d",
                "-aes-256-cbc",
                "-K",
                key.hex(),
                "-iv",
                (key[:16] if vector else bytes(16)).hex(),
            ],
            input=base64.b64decode(token),
            capture_output=True,
        )
        fields = done.stdout.decode("latin-1").split(":")
        return (
            world.oned.users[target]
            if fields[:2] == [server, target] and int(fields[2]) > time.time()
            else None
        )

    world.oned.authenticate = authenticate
    connected(
        world,
        credentials="server_user = serveradmin\nserver_password = server-password\nusername = probe\n",
    )


def test_a_services_token_is_shown_nowhere_not_even_alone(world):
    sent = []
    world.oned.authenticate = lambda session: sent.append(session) or world.oned.users["probe"]

    driver = connected(
        world,
        credentials="server_user = serveradmin\nserver_password = server-password\nusername = probe\n",
    )

    token = sent[0].split(":")[2]
    assert (
        driver.evidence.redactor.redact(f"probe:{token} {token} {quote(token, safe='')}")
        == "*** *** ***"
    )


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """(certificate, key) made by openssl."""
    directory = tmp_path_factory.mktemp("pem")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(directory / "key.pem"),
            "-out",
            str(directory / "cert.pem"),
            "-days",
            "2",
            "-subj",
            "/C=DE/O=Grid/CN=probe",
        ],
        check=True,
        capture_output=True,
    )
    return directory / "cert.pem", directory / "key.pem"


def _recovered(certificate, proof):
    """Decrypt a proof with openssl, as ``public_decrypt`` does."""
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verifyrecover", "-certin", "-inkey", str(certificate)],
        input=base64.b64decode(proof),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().split(":")


def test_a_user_is_known_by_x509(world, pem):
    def authenticate(session):
        user, _, token = session.partition(":")
        proof, *chain = base64.b64decode(token).decode().split(":")
        assert chain == [pem[0].read_text()]
        text = _recovered(pem[0], proof)
        return (
            world.oned.users[user]
            if text[0] == user and time.time() < int(text[1]) <= time.time() + 3600
            else None
        )

    world.oned.authenticate = authenticate
    driver = connected(
        world, credentials=f"username = probe\ncertificate = {pem[0]}\nkey = {pem[1]}\n"
    )
    assert driver.credential_expiry(x509.expiry) > time.time() + 86400


def test_a_service_is_known_by_server_x509(world, pem):
    def authenticate(session):
        server, target, token = session.split(":")
        text = _recovered(pem[0], base64.b64decode(token))
        return (
            world.oned.users[target]
            if text[:2] == [server, target] and int(text[2]) > time.time()
            else None
        )

    world.oned.authenticate = authenticate
    connected(
        world,
        credentials=f"server_user = serveradmin\nusername = probe\ncertificate = {pem[0]}\nkey = {pem[1]}\n",
    )
