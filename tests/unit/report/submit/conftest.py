"""Fixtures of the tests of submission."""

import resource
import ssl
import subprocess
import threading
import time
from http.server import HTTPServer

import pytest

from submitting import Monitor, Server
from vmprobe.report.submit import delivery


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.ini"
    path.write_text(
        "[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test\n"
        "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n[budget]\ndeadline = 30 s\nreserve = 5 s\n"
    )
    return str(path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Ten seconds after the result, by the wall clock; the pauses are short."""
    monkeypatch.setattr(delivery, "_PAUSES", (0.0, 0.01))
    monkeypatch.setattr(time, "time", lambda: 1020.0)


@pytest.fixture
def monitor(monkeypatch):
    found = type(
        "Here",
        (Monitor,),
        {
            "asked": 0,
            "got": [],
            "is_away": False,
            "fails_at": set(),
            "knows_nothing_of": set(),
            "before": staticmethod(lambda result: None),
        },
    )
    monkeypatch.setitem(delivery.RECEIVERS, "nsca", found)
    return found


@pytest.fixture
def room():
    """``room(n)``: files of this process may have up to ``n`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of a server on loopback."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            directory / "key.pem",
            "-out",
            directory / "cert.pem",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture
def server(certificate):
    """A server with a good certificate: its ``answer(text, status)``, ``got``, and where it is."""
    here = type(
        "Here",
        (Server,),
        {
            "got": [],
            "answer": classmethod(
                lambda cls, text, status=200: [
                    setattr(cls, "reply", text),
                    setattr(cls, "status", status),
                ]
            ),
        },
    )
    http = HTTPServer(("127.0.0.1", 0), here)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    here.url = f"https://127.0.0.1:{http.server_port}"
    yield here
    http.shutdown()
    http.server_close()
