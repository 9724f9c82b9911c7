"""Whatever a server sends: a run stays within its time and within bounded memory."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
import zlib

import plugin_output
from outside.webserver import WebServer
from rawserver import reply
from running import CHECKOUT


def environment(directory):
    return {
        **os.environ,
        "PYTHONPATH": f"{CHECKOUT / 'probes'}:{CHECKOUT / 'tests/support'}",
        "VMPROBE_STATE": str(directory / "state"),
    }


def drip(connection):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.3)


def from_request(first, content):
    """A twist: all answers from this one on are ``content``."""
    return lambda number, *words: content if number >= first else None


def test_a_drip_at_any_place_is_over_by_the_deadline(tmp_path):
    """0: signing in, 1: the image, 2: the volume, 4: polling, 9, 19: clean-up; all at once, because they only wait."""
    places = (0, 1, 2, 4, 9, 19)
    runs = []
    for first in places:
        server, directory = WebServer(from_request(first, drip)), tmp_path / str(first)
        directory.mkdir()
        site = server.site(directory, deadline=8, reserve=3, timeout=2, poll=0.1)
        runs.append(
            (
                server,
                subprocess.Popen(
                    [
                        sys.executable,
                        str(CHECKOUT / "probes/check_vm_lifecycle"),
                        "--site",
                        str(site),
                    ],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment(directory),
                ),
            )
        )

    for server, process in runs:
        out, err = process.communicate(timeout=100)
        output = plugin_output.read(out.rstrip("\n"))
        assert (err, process.returncode) == ("", output.state)
        assert output.state in (2, 3) and re.search(
            "no whole answer within|the deadline of 8 s passed", output.text
        ), output
        assert output.figures["total"] < 8.5, output
        server.__exit__()


def flood(head, piece, times=100, status=b"200 OK"):
    def send(connection):
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n\r\n")
        for _ in range(times):
            connection.sendall(piece)

    return send


def heavy(body, **more):
    return reply(200, body, **more)


MIB = 2**20
HEAVY = {
    "100-MB": flood(b"Content-Length: 104857600", b" " * MIB),
    "100-MB-unannounced": flood(b"Connection: close", b"[" * MIB),
    "a-chunk-size-without-end": flood(b"Transfer-Encoding: chunked", b"1" * MIB),
    "headers-without-end": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\n" + (b"X-Y: " + b"z" * 60000 + b"\r\n") * 200
    ),
    "empty-objects": heavy(b"[" + b"{}," * (MIB + MIB // 4) + b"{}]"),
    "empty-objects-just-accepted": heavy(b"[" + b"{}," * 63_000 + b"{}]"),
    "objects-of-one-just-accepted": heavy(b"[" + b'{"":0},' * 49_000 + b"{}]"),
    "one-wide-text": heavy(b'{"items": "' + b"x" * (4 * MIB - 100) + "\U0001f4a3".encode() + b'"}'),
    "one-wide-text-just-accepted": heavy(
        b'{"items": "' + b"x" * 2_300_000 + "\U0001f4a3".encode() + b'"}'
    ),
    "one-escaped-text-just-accepted": heavy(
        b'{"items": "' + b"\\u00e9" * 380_000 + b'\\ud83d\\udca3"}'
    ),
    "short-texts-just-accepted": heavy(
        b"[" + b",".join(b'"%d"' % number for number in range(190_000)) + b"]"
    ),
    "a-redirect-with-100-MB": flood(
        b"Location: /v1/x\r\nContent-Length: 104857600", b" " * MIB, status=b"302 Found"
    ),
    "a-refusal-with-100-MB": flood(
        b"Content-Length: 104857600", b'{"message": "' + b"a" * MIB, status=b"500 Words"
    ),
    "a-bomb-in-gzip": heavy(gzip.compress(b" " * 100 * MIB, 1), Content_Encoding="gzip"),
    "a-bomb-in-deflate": heavy(zlib.compress(b"[" * 100 * MIB, 1), Content_Encoding="deflate"),
    "empty-objects-just-accepted-in-gzip": heavy(
        gzip.compress(b"[" + b"{}," * 63_000 + b"{}]"), Content_Encoding="gzip"
    ),
    "no-gzip": heavy(b"\x1f\x8b\x08\x00" + b"\x00" * 100000, Content_Encoding="gzip"),
}


def test_no_answer_makes_memory_grow_by_64_mib(tmp_path, tell):
    """All of them, one after the other, in one process: from the fourth request on, on each look and in the clean-up."""
    servers, sites = [], []
    for name in ("well", *HEAVY):
        servers.append(
            WebServer(from_request(4, HEAVY[name]) if name in HEAVY else lambda *words: None)
        )
        (tmp_path / name).mkdir()
        sites.append(str(servers[-1].site(tmp_path / name, deadline=14, reserve=2)))

    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "tests/support/outside/measured.py"), *sites],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
    )
    for server in servers:
        server.__exit__()

    assert done.stderr == ""
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    outputs = [plugin_output.read(text) for _, text, _ in runs]
    assert [output.state for output in outputs] == [0] + [2] * len(HEAVY), outputs
    assert all("submit" in output.figures for output in outputs)
    grown = (runs[-1][2] - runs[0][2]) / 1024
    tell(f"hostile servers: {len(HEAVY)} heavy answers, memory grew by {grown:.0f} MiB at most")
    assert grown < 64, list(zip(HEAVY, runs[1:]))


def test_xml_of_any_weight_stays_within_64_mib(tmp_path):
    script = (
        "import sys\n"
        "from vmprobe.transport import xml\n"
        "from vmprobe.core.errors import GatewayFailed\n"
        "def peak(): return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) / 1024\n"
        "bodies = [b'<a>' + b'<b/>' * 99990 + b'</a>', b'<a>' + b'<b/>' * 1000000 + b'</a>', b'<a>' + b'x' * 4194000 + b'</a>',\n"
        "          b'<a>' + b'<b c=\"\"/>' * 49990 + b'</a>', ('<a>' + 'x' * 4190000 + '\\U0001f4a3</a>').encode(), b'<a>' * 1398101]\n"
        "xml.parse(b'<a/>'); base = peak()\n"
        "for body in bodies:\n"
        "    try: xml.parse(body)\n"
        "    except GatewayFailed: pass\n"
        "print(peak() - base)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "probes")},
    )

    assert done.stderr == ""
    assert float(done.stdout) < 64
