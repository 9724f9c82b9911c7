"""Run vmprobectl in a test, with streams and an environment of its own."""

import os
import subprocess
import sys

from running import CHECKOUT, PROBES

GOLDEN = CHECKOUT / "tests" / "golden" / "config"


FULL = "vmprobectl: stdout: No space left on device; the command was carried out, but not all of its output was written\n"


TABLE = "name,manager,url,notes\none,memory,memory://one,Kraków Łódź\n"


SITE = "[site]\nname = {name}\nnotes = {notes}\n[endpoint]\nmanager = memory\n[test vm]\nimage = vmprobe-test\n"


def ctl(*words, streams="", env=None, **how):
    """(exit code, stdout, stderr) of vmprobectl, started by a shell that leads its streams somewhere."""
    command = [
        "sh",
        "-c",
        f'exec "$0" "$@" {streams}',
        sys.executable,
        str(PROBES / "vmprobectl"),
        *map(str, words),
    ]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, **(env or {})},
        **how,
    )
    return (
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )
