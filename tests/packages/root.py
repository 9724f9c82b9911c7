"""A root directory of its own: this machine's files below, and whatever a command changes kept apart above.

Each command runs in a mount namespace that ends with it, so nothing stays mounted.
"""

import os
import shlex
import subprocess
from pathlib import Path

MOUNT = """\
set -e
mount -t overlay overlay -o "lowerdir=/,upperdir=$upper,workdir=$work" "$merged"
mount --rbind /dev "$merged/dev"
mount -t proc proc "$merged/proc"
for hidden in $hide; do [ ! -d "$merged/$hidden" ] || mount -t tmpfs tmpfs "$merged/$hidden"; done
cd "$merged"
exec chroot . /bin/sh -c "$command"
"""


def missing():
    """Why there can be no such root here; '' if there can."""
    if os.geteuid():
        return "only root can make a scratch root"
    trial = (
        "mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir u w m && "
        "mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w m"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", trial], capture_output=True, text=True, check=False
    )
    return f"no overlay file system: {done.stderr.strip()}" if done.returncode else ""


class Root:
    def __init__(self, directory: Path, hide: Path):
        """``hide``: what no command in it shall see."""
        self.upper, self.work, self.merged, self.hide = (
            directory / "upper",
            directory / "work",
            directory / "merged",
            hide,
        )
        for each in (self.upper, self.work, self.merged):
            each.mkdir(parents=True)

    def run(self, command, cwd="/", timeout=300, **environment):
        """(exit code, output and errors) of a shell command inside."""
        words = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            **environment,
            "upper": str(self.upper),
            "work": str(self.work),
            "merged": str(self.merged),
            "hide": str(self.hide),
            "command": f"cd {shlex.quote(cwd)} && {command}",
        }
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", MOUNT],
            env=words,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout

    def does(self, command, **words):
        """The output of a command that has to succeed."""
        code, output = self.run(command, **words)
        assert code == 0, f"{command}: exit code {code}\n{output}"
        return output

    def changed(self):
        """Every file in it that is not this machine's, by its path."""
        return {
            "/" + str(path.relative_to(self.upper))
            for path in self.upper.rglob("*")
            if path.is_symlink() or not path.is_dir() and not path.is_char_device()
        }  # a device marks what was removed
