"""moto's server: an EC2 and a CloudWatch that we did not write, in its own process on loopback."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import ending

VERSION = "5.2.5"
NEEDS = (
    f"moto[ec2]=={VERSION}",
    "flask",
    "flask-cors",
)  # the third of moto[server] that these two services need
HOST = "127.0.37.1"
_running: list[str] = []


def url() -> str:
    """The URL of the one server of this test run; skips, with the reason, where it cannot start."""
    if not _running:
        server, port = installed(), free_port()
        log = (server.parent / f"log-{os.getpid()}").open("wb")
        process = subprocess.Popen(
            [str(server), "-H", HOST, "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
                "MOTO_ENABLE_AMI_VALIDATION": "true",
            },
        )
        ending.run.callback(end, process, Path(log.name))
        _running.append(f"http://{HOST}:{port}")
        wait_until(
            lambda: answers(port), 60, f"moto does not listen at {_running[0]}, see {log.name}"
        )
    return _running[0]


def reset() -> None:
    """Make moto forget all its resources."""
    urllib.request.urlopen(
        urllib.request.Request(f"{url()}/moto-api/reset", method="POST"), timeout=60
    ).close()


def installed() -> Path:
    """The server's program, installed by pip on first use into the cache of the live tests."""
    cache = Path(os.environ.get("VMPROBE_LIVE") or "~/.cache/vmprobe/live").expanduser()
    place = cache / f"moto-{VERSION}-{sys.version_info[0]}.{sys.version_info[1]}"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "done").exists():
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(place / "venv")],
                [
                    str(place / "venv/bin/python"),
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    *NEEDS,
                ],
            ):
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                if done.returncode:
                    pytest.skip(
                        f"moto {VERSION} cannot be installed: {' '.join(done.stdout.split()[-30:])}"
                    )
            (place / "done").touch()
    return place / "venv" / "bin" / "moto_server"


def end(process: subprocess.Popen, log: Path) -> None:
    process.kill()
    process.wait()
    log.unlink(missing_ok=True)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as taken:
        return taken.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex((HOST, port)) == 0


def wait_until(condition, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
