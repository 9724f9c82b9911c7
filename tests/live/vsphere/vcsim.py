"""govmomi's simulator of a vCenter or an ESXi host, built from the distribution's packages, in its own process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("simulator.go")
GOPATH = "/usr/share/gocode"


def program() -> Path:
    """The simulator's program, built on first use into the cache of the live tests; or a skip with the reason."""
    if not shutil.which("go") or not Path(GOPATH, "src/github.com/vmware/govmomi").exists():
        pytest.skip("the packages golang-go and golang-github-vmware-govmomi-dev are not installed")
    cache = Path(os.environ.get("VMPROBE_LIVE") or "~/.cache/vmprobe/live").expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    built = cache / f"vcsim-{digest}"
    with (cache / "vcsim.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            half = built.with_name(f"{built.name}.half")
            done = subprocess.run(
                ["go", "build", "-o", str(half), str(SOURCE)],
                env={
                    **os.environ,
                    "GO111MODULE": "off",
                    "GOPATH": GOPATH,
                    "GOFLAGS": "",
                    "GOCACHE": str(cache / "go"),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if done.returncode:
                pytest.skip(f"the simulator cannot be built: {' '.join(done.stdout.split()[-30:])}")
            half.rename(built)
    return built


@contextmanager
def running(*options: str):
    """The URL of a simulator. All its files are in a directory that goes with it."""
    built = program()
    with tempfile.TemporaryDirectory(prefix="vcsim-") as directory:
        process = subprocess.Popen(
            [str(built), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TMPDIR": directory},
        )
        try:
            url = process.stdout.readline().strip()
            assert url, "the simulator did not start"
            yield url
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
