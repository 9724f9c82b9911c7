"""Hand over a check result in a test, and look what became of it."""

import json
import os
from http.server import BaseHTTPRequestHandler

from vmprobe.core.clock import Deadline
from vmprobe.report.submit import delivery, receiver, spool
from vmprobe.site import targets

RESULT = spool.PassiveResult(
    "cesga",
    "vm-lifecycle",
    2,
    "VM_LIFECYCLE CRITICAL - a\\b; c | total=1s;;;0\nmore",
    1000.25,
    1010.5,
)


class Monitor(receiver.Receiver):
    """A monitoring server of the tests' own, in the place of NSCA; ``before`` is called with each result it is asked to take."""

    word = "nsca:monitor"

    def send(self, result):
        type(self).asked += 1
        type(self).before(result)
        if self.is_away or result.service in self.fails_at:
            raise receiver.Undelivered("it does not answer")
        if result.host in self.knows_nothing_of:
            raise receiver.Rejected(f"it has no service {result.host}!{result.service}")
        self.got.append(result)


def deliver(word, result=RESULT, seconds=5):
    """Hand a result over as a probe does; what is told of it."""
    return delivery.submit([targets.parse(word)], result, Deadline(seconds, 0))


def spooled(word):
    """The results that wait for a target, by the names of their files."""
    folder = delivery.spool_folder(targets.parse(word))
    return (
        sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        if os.path.isdir(folder)
        else []
    )


def plant(word, name, text):
    """A file in the spool of a target, put there by somebody else."""
    folder = delivery.spool_folder(targets.parse(word))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


TAKEN = "<result><status>0</status><message>OK</message><meta><output>1 checks processed.</output></meta></result>"


class Server(BaseHTTPRequestHandler):
    """A server that has one answer for everything, and keeps what it was asked."""

    status, reply, got = 200, "", []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.got.append((self.path, body))
        if self.reply is None:  # the connection ends without an answer
            return
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.reply.encode())

    def log_message(self, *_):
        """Nothing is logged."""


def word_of(kind, url, tmp_path, certificate, secret):
    credentials = tmp_path / f"{kind}.ini"
    credentials.write_text(f"[credentials]\n{secret}\n")
    credentials.chmod(0o600)
    return f"{kind}:{url},credentials={credentials},ca={certificate[0]}"
