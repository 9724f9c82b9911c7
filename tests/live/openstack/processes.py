"""The stack's processes: started by name, found again by a mark, ended by their id.

Each process has the state directory in its environment, under ``MARK``, and so has everything that it starts: workers,
privsep daemons, dnsmasq. A process is ours if and only if it has our mark, whichever run or terminal started it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterable

from .place import STANDINS, Place

PYTHON = "/usr/bin/python3"  # Debian's, which the services are packaged for; not the one that runs the tests
MARK = "VMPROBE_LIVE_OPENSTACK"


class Broken(Exception):
    """A part of the stack did not start, or ended; the text has its name and the end of its log."""


class Processes:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.children: dict[str, subprocess.Popen] = {}

    def start(
        self, name: str, command: list[str], environment: dict[str, str] | None = None, **more
    ) -> None:
        """Start ``command`` in a process group of its own, unless ``name`` runs already."""
        if self.pid(name):
            return
        with (self.place.log / f"{name}.log").open("ab") as log:
            files = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **more}
            child = subprocess.Popen(
                command,
                env=self.environment(environment),
                cwd=self.place.run,
                start_new_session=True,
                **files,
            )
        self.children[name] = child
        (self.place.run / "pid" / name).write_text(f"{child.pid}\n")

    def fork(self, name: str, program: str, *lines: list[str]) -> None:
        """Start ``program``, the "module:function" of a service, with its arguments; with those of several lines, one after another.

        It is forked from a Python that has loaded most of it already (``standins/nursery.py``).
        """
        if self.pid(name):
            return
        request = {
            "name": name,
            "program": program,
            "lines": lines,
            "log": str(self.place.log / f"{name}.log"),
            "exit": str(self.exit_status(name)),
        }
        self.exit_status(name).unlink(missing_ok=True)
        nursery = self.nursery()
        nursery.stdin.write(json.dumps(request) + "\n")
        nursery.stdin.flush()
        pid = nursery.stdout.readline()
        if not pid:
            raise Broken(f"the nursery ended: {self.last_words('nursery')}")
        (self.place.run / "pid" / name).write_text(pid)

    def nursery(self) -> subprocess.Popen:
        if "nursery" not in self.children or self.children["nursery"].poll() is not None:
            self.start(
                "nursery",
                self.enter([PYTHON, str(STANDINS / "nursery.py")]),
                {
                    "OS_KEYSTONE_CONFIG_FILES": str(self.place.etc / "keystone.conf"),
                    "OS_PLACEMENT_CONFIG_DIR": str(self.place.etc),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self.children["nursery"]

    def enter(self, command: list[str]) -> list[str]:
        """``command`` in the stack's own mount namespace, so that the mounts of the services end with them."""
        if not self.pid("namespace"):
            self.start(
                "namespace", ["unshare", "--mount", "--propagation", "private", "sleep", "infinity"]
            )
            of = f"/proc/{self.pid('namespace')}/ns/mnt"
            self.wait_until(
                lambda: os.readlink(of) != os.readlink("/proc/self/ns/mnt"),
                10,
                "no mount namespace",
            )
        return ["nsenter", "--mount", "--target", str(self.pid("namespace")), *command]

    def inside(self, command: list[str]) -> None:
        """Run ``command`` to its end in the stack's mount namespace."""
        done = subprocess.run(
            self.enter(command),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise Broken(f"{' '.join(command)}: {done.stdout.strip()}")

    def wait_success(self, name: str, seconds: float) -> None:
        """Return once the program forked as ``name`` has ended with exit code 0."""
        self.wait_until(lambda: not self.pid(name), seconds, f"{name} does not end")
        status = self.exit_status(name)
        if not status.exists() or status.read_text() != "0\n":
            raise Broken(f"{name} failed: {self.last_words(name)}")

    def exit_status(self, name: str) -> Path:
        return self.place.run / "exit" / name

    def stop(self, name: str) -> None:
        """Kill ``name`` and its workers, and wait until they are gone."""
        pid = self.pid(name)
        if pid:
            os.killpg(pid, signal.SIGKILL)
            self.wait_until(lambda: not self.alive(pid), 10, f"{name} (pid {pid}) does not end")

    def stop_all(self, others: Iterable[int] = ()) -> None:
        """Kill every process with our mark, and ``others``, and wait until they are gone."""
        seen = set(others)

        def ended() -> bool:
            seen.update(
                self.pids()
            )  # again each time: a process may have started others before it died
            left = [pid for pid in seen if self.alive(pid)]
            for pid in left:
                kill(pid)
            return not left

        self.wait_until(ended, 20, "processes that do not end")

    def alive(self, pid: int) -> bool:
        for child in self.children.values():
            child.poll()  # reap what has ended
        return alive(pid)

    def pid(self, name: str) -> int | None:
        """The id of the process that was started as ``name``; None if it is gone."""
        try:
            pid = int((self.place.run / "pid" / name).read_text())
        except (OSError, ValueError):
            return None
        return pid if self.is_ours(pid) else None

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.place.run / "pid").glob("*"))

    def pids(self) -> list[int]:
        """Every process of ours."""
        return [
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.is_ours(pid)
        ]

    def is_ours(self, pid: int) -> bool:
        for child in self.children.values():  # reap those that have ended
            if child.poll() is None and child.pid == pid:
                return True  # known before it can show its environment
        try:
            return f"{MARK}={self.place.state}".encode() in Path(
                f"/proc/{pid}/environ"
            ).read_bytes().split(b"\0")
        except OSError:
            return False

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {
            MARK: str(self.place.state),
            "PATH": f"{STANDINS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{STANDINS}:{self.place.etc}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.place.run / "home"),
            "LANG": "C.UTF-8",
            "EVENTLET_NO_GREENDNS": "yes",  # as Nova asks for
            "SPT_NOENV": "1",  # Neutron's workers change their title, over their environment if they may
            **(more or {}),
        }

    def wait_port(self, name: str, port: int, seconds: float = 120) -> None:
        """Return once ``name`` accepts connections at ``port``."""

        def answers() -> bool:
            self.check([name])
            with socket.socket() as attempt:
                return attempt.connect_ex((self.place.address, port)) == 0

        self.wait_until(answers, seconds, f"{name} does not listen at {self.place.address}:{port}")

    def check(self, names: Iterable[str]) -> None:
        """Raise ``Broken`` unless all of ``names`` run."""
        for name in names:
            if not self.pid(name):
                raise Broken(f"{name} ended: {self.last_words(name)}")

    def last_words(self, name: str) -> str:
        log = self.place.log / f"{name}.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"{' / '.join(lines[-3:])[-600:] or 'it said nothing'} (see {log})"

    @staticmethod
    def wait_until(condition, seconds: float, otherwise: str, every: float = 0.05) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Broken(f"{otherwise}, after {seconds:.0f} s")
            time.sleep(every)

    def memory(self) -> int:
        """MB in use by all of ours together, shared pages counted once."""
        kilobytes = 0
        for pid in self.pids():
            try:
                match = re.search(
                    r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M
                )
            except OSError:
                continue
            kilobytes += int(match.group(1)) if match else 0
        return kilobytes // 1024


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it was faster


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
