"""A scratch root directory: an overlay over this machine's files, which keeps all changes apart.

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
    """Why this machine cannot make such a root; '' if it can."""
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
        """``hide``: a directory that commands in the root cannot see."""
        self.upper, self.work = directory / "upper", directory / "work"  # upper: what was changed
        self.merged, self.hide = directory / "merged", hide
        for folder in (self.upper, self.work, self.merged):
            folder.mkdir(parents=True)

    def run(self, command, cwd="/", timeout=300, **environment):
        """Run a shell command inside; returns (exit code, stdout and stderr)."""
        variables = {
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
            env=variables,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout

    def does(self, command, **options):
        """Run a command that has to succeed; returns its output. ``options``: see ``run``."""
        code, output = self.run(command, **options)
        assert code == 0, f"{command}: exit code {code}\n{output}"
        return output

    def changed(self):
        """The path of every file that was created or changed in it."""
        return {
            "/" + str(path.relative_to(self.upper))
            for path in self.upper.rglob("*")
            if path.is_symlink() or not path.is_dir() and not path.is_char_device()
        }  # in an overlay, a character device stands for a removed file
