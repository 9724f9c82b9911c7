"""A host with a libvirt daemon, what the tests do there, and the processes of this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

from running import CHECKOUT


class Host:
    """A place with a libvirt daemon, and what can be done there."""

    def __init__(
        self,
        base: Path,
        url: str,
        before: Sequence[str],
        python: Sequence[str],
        env: Dict[str, str],
    ):
        self.base, self.url, self._before, self.interpreter = base, url, list(before), list(python)
        self._env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "VMPROBE_STATE": str(base / "state"),
            **env,
        }
        self.owner = base.name.replace(
            "_", ""
        ).lower()  # the names of nobody else's VMs begin with it

    def start(self, *command: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*self._before, *command],
            env=self._env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str) -> str:
        """Run a command that must succeed. Returns its output."""
        process = self.start(*command)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{' '.join(command)}: {output}"
        return output

    def virsh(self, *arguments: str) -> str:
        return self.run("virsh", "--quiet", "--connect", self.url, *arguments)

    def python(self, program: str, *arguments: str) -> str:
        return self.run(*self.interpreter, "-c", program, *arguments)

    # --- the probe --------------------------------------------------------------------------------------------

    def site(self, **sections: Dict[str, str]) -> Path:
        """Write a site file. In names of sections and keys, ``_`` stands for a blank."""
        content = {
            "site": {"name": "kvm", "owner": self.owner},
            "endpoint": {"manager": "libvirt", "url": self.url},
            "test vm": {"image": "vmprobe-test", "volume": "16 MiB", "depth": "console"},
            "budget": {"deadline": "300 s", "reserve": "40 s"},
            "polling": {"first": "0.3 s", "shortest": "0.3 s", "longest": "1 s"},
            "sample": {"readings": "2", "interval": "1 s"},
        }
        for section, keys in sections.items():
            named = {key.replace("_", " "): text for key, text in keys.items()}
            content.setdefault(section.replace("_", " "), {}).update(named)
        path = self.base / "site.ini"
        path.write_text(
            "".join(
                f"[{section}]\n" + "".join(f"{key} = {text}\n" for key, text in keys.items())
                for section, keys in content.items()
            )
        )
        path.chmod(0o644)
        return path

    def probe(self, *options: str, **sections: Dict[str, str]) -> subprocess.Popen:
        """Start check_vm_lifecycle; ``finish`` waits for its end."""
        site = self.site(**sections)
        return self.start(
            *self.interpreter,
            str(self.probes / "check_vm_lifecycle"),
            "--site",
            str(site),
            *options,
        )

    def finish(self, process: subprocess.Popen):
        """(exit code, output) of a probe."""
        output, _ = process.communicate(timeout=330)
        return process.returncode, output

    def lifecycle(self, *options: str, **sections: Dict[str, str]):
        return self.finish(self.probe(*options, **sections))

    def check(self, name: str, *options: str, **sections: Dict[str, str]):
        """(exit code, output) of check_vm_<name>."""
        return self.finish(
            self.start(
                *self.interpreter,
                str(self.probes / f"check_vm_{name}"),
                "--site",
                str(self.site(**sections)),
                *options,
            )
        )

    @property
    def probes(self) -> Path:
        return CHECKOUT / "probes"

    # --- what there is ----------------------------------------------------------------------------------------

    def servers(self) -> List[str]:
        return [
            name
            for name in self.virsh("list", "--all", "--name").split()
            if name.startswith(self._prefix)
        ]

    def emulators(self) -> List[int]:
        """Process ids, here, of the QEMUs of our servers."""
        return [pid for pid, command in processes() if f"guest={self._prefix}" in command]

    def volumes(self) -> List[str]:
        if "vmprobe" not in self.virsh("pool-list", "--all", "--name").split():
            return []
        return [
            line.split()[0]
            for line in self.virsh("vol-list", "vmprobe").splitlines()
            if line.strip()
        ]

    def files(self) -> List[str]:
        """Paths of volumes, and paths with one of our names, in all directories that this host may write to."""
        paths = []
        for root in self.written:
            for directory, folders, files in os.walk(root):
                paths += [
                    os.path.join(directory, name)
                    for name in folders + files
                    if name.startswith(self._prefix)
                    or os.path.basename(directory) == "vmprobe"
                    and "images" in directory
                ]
        return paths

    def remains(self) -> Dict[str, Any]:
        """Everything that a run left behind; {} if nothing."""
        remains = {
            "servers": self.servers(),
            "emulators": self.emulators(),
            "volumes": self.volumes(),
            "files": self.files(),
        }
        return {what: names for what, names in remains.items() if names}

    @property
    def written(self) -> List[str]:
        return [str(self.base)]

    @property
    def _prefix(self) -> str:
        return f"vmprobe-{self.owner}-"

    def daemon(self) -> int:
        """Process id, here, of its libvirtd."""
        raise NotImplementedError


def processes() -> Iterator[Any]:
    """(pid, command line with \\0 between its arguments) of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().decode("utf-8", "replace")
