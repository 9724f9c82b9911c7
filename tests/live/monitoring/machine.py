"""A fresh Debian machine as a newcomer sees it: an overlay over this machine's files keeps all changes.

It has mounts, processes and a network of its own, so the usual ports are free, and it ends as a whole. A stand-in for
systemd restarts services as their units say; nothing runs there at first.
"""

import os
import shutil
import subprocess
from pathlib import Path

from running import CHECKOUT
from waiting import soon

SOURCE = "/src/vmprobe"
_INSIDE = """\
set -e
ip link set lo up
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$directory/merged"
mount --rbind /dev "$directory/merged/dev"
mount -t proc proc "$directory/merged/proc"
mount -t tmpfs tmpfs "$directory/merged/$checkout"
touch "$directory/ready"
exec sleep infinity
"""
_SYSTEMCTL = """\
#!/bin/sh
set -eu
[ "$1" = restart ]
unit=/lib/systemd/system/$2.service
get() { sed -n "s/^$1=//p" "$unit" | sed 's/[$][$]/$/g'; }
set -a
for file in $(get EnvironmentFile); do [ ! -r "$file" ] || . "$file"; done
eval "$(get Environment)"
get ExecStartPre | sh -e
setsid sh -c "exec $(get ExecStart | sed 's/[$]{[A-Z0-9_]*}/"&"/g')" </dev/null >"/var/log/$2.systemd" 2>&1 &
"""


class Machine:
    def __init__(self, directory: Path):
        """Start it, with a copy of the checkout's files in ``SOURCE``."""
        self.directory = directory
        for name in ("upper", "work", "merged"):
            (directory / name).mkdir()
        shutil.copytree(
            CHECKOUT,
            directory / "upper" / SOURCE[1:],
            ignore=shutil.ignore_patterns(
                ".git", ".venv", ".cache", "__pycache__", "build", "dist"
            ),
        )
        systemctl = directory / "upper" / "opt" / "standin" / "systemctl"
        systemctl.parent.mkdir(parents=True)
        systemctl.write_text(_SYSTEMCTL)
        systemctl.chmod(0o755)
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _INSIDE],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "directory": str(directory), "checkout": str(CHECKOUT)},
        )
        soon(lambda: (directory / "ready").exists() or self._process.poll() is not None)
        assert self._process.poll() is None

    def run(self, command: str, online: bool = False):
        """(exit code, output and errors) of a shell command run by root; ``online``: in this machine's own network."""
        environment = {
            "PATH": "/opt/standin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "LOGNAME": "root",
            "DEBIAN_FRONTEND": "noninteractive",
            **{word: text for word, text in os.environ.items() if word.startswith("PIP_")},
        }
        spaces = [
            "nsenter",
            f"--target={self._process.pid}",
            "--mount",
            f"--pid=/proc/{self._process.pid}/ns/pid_for_children",
        ]
        done = subprocess.run(
            [
                *spaces,
                *([] if online else ["--net"]),
                "chroot",
                str(self.directory / "merged"),
                "sh",
                "-c",
                f"cd {SOURCE} && {command}",
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout

    def screenshot(self, url: str, file: Path, width: int, height: int) -> None:
        """The page that a browser on it shows."""
        subprocess.run(
            [
                "nsenter",
                f"--target={self._process.pid}",
                "--net",
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                f"--user-data-dir={self.directory}/browser",
                f"--window-size={width},{height}",
                f"--screenshot={file}",
                url,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=True,
        )

    def end(self) -> None:
        """End all its processes, and remove it."""
        self._process.kill()  # this also ends the first process of the namespace, and so all others
        self._process.wait()
        soon(
            lambda: (
                not subprocess.run(
                    ["rm", "-rf", str(self.directory)], capture_output=True, check=False
                ).returncode
            )
        )
