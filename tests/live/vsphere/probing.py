"""What the live tests of vSphere share: comparable lines, and a probe in the background."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

from running import PROBES

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def line(output: str) -> str:
    """The first line without perfdata; durations as T, ids as ID, handles as HANDLE."""
    text = re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0].splitlines()[0])
    text = re.sub(rf"{UUID}|[0-9a-f]{{8}}\.\.\.", "ID", text)
    return re.sub(r"vmprobe-live-\w+-\d+-\w+|\.\.\.[a-z0-9]{8}\b", "HANDLE", text)


def start_until(path: str, proxy, method: str) -> subprocess.Popen:
    """A probe in the background, as soon as it has called this method."""
    process = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", path],
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROBES)},
    )
    end = time.monotonic() + 60
    while method not in proxy.calls:
        assert time.monotonic() < end and process.poll() is None, f"it did not call {method}"
        time.sleep(0.002)
    return process
