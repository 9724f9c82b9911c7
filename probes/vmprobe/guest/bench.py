"""The folder in which disks are made, and the tools that are run there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import uuid

from vmprobe.core.errors import ClientError

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Bench:
    """The folder where everything is made, with what each step needs: time and identifiers."""

    def __init__(self, work: str, command_line: str, time: int):
        self.work = work
        self.command_line = command_line
        self.time = time
        self.identity = hashlib.sha256(
            self.read("kernel") + self.read("initrd") + str(time).encode()
        ).hexdigest()
        self.environment = {
            "PATH": PATH,
            "LC_ALL": "C",
            "TZ": "UTC",  # FAT has local times
            "SOURCE_DATE_EPOCH": str(time),  # mtools and mkfs.vfat obey it
            "MTOOLS_SKIP_CHECK": "1",
            "TMPDIR": work,
        }

    def uuid(self, purpose: str) -> uuid.UUID:
        """An identifier that follows from the content; another one for each purpose."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"vmprobe:{purpose}:{self.identity}")

    def path(self, name: str) -> str:
        return os.path.join(self.work, name)

    def read(self, name: str) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(content)

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a tool in the folder and return what it wrote; ClientError when it fails."""
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.environment,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode:
            raise ClientError(f"{' '.join(command)}: exit code {done.returncode}: {output}")
        return output
