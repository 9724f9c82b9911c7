"""reporter.sh in a made-up machine, and what it writes there."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from images import GUEST, NONCE

PATIENCE = 20  # seconds
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "ash"]}
BOOT = f"{NONCE} 10.00 boot kernel=6.1.0-test memory=1048576 cpus=1"
NETWORK = f"{NONCE} 10.00 network interface=eth0 address=10.0.2.15 gateway=10.0.2.2 answers=yes"


class Machine:
    """A made-up /proc, /sys and /dev with the reporter running in it; its clock stands still until it is moved."""

    def __init__(self, root: Path, shell):
        self.root, self.shell, self.process = root, shell, None
        self.console = root / "dev" / "console"
        self.tools = root / "tools"
        self.put("dev/console", "")
        self.put("proc/uptime", "10.00 5.00\n")
        self.put("proc/cmdline", f"quiet vmprobe.nonce={NONCE}\n")
        self.put("proc/meminfo", "MemTotal:       1024 kB\n")
        self.put(
            "proc/stat", "cpu  100 1 50 900 7 2 3 4 0 0\ncpu0 100 1 50 900 7 2 3 4 0 0\nintr 1\n"
        )
        for file in ("proc/mounts", "proc/swaps", "proc/net/arp", "proc/sys/vm/drop_caches"):
            self.put(file, "")
        self.put("sys/block/vda/vda1/size", "100\n")  # the image's own disk
        self.put("sys/block/vda/size", "2048\n")
        self.put("sys/block/vda/stat", "5 0 16 0 3 0 8 0 0 0 0\n")
        self.put("dev/vda", "its own")
        self.put("sys/class/net/lo/statistics/rx_bytes", "77\n")
        self.put("sys/class/net/eth0/statistics/rx_bytes", "1000\n")
        self.put("sys/class/net/eth0/statistics/tx_bytes", "2000\n")
        self.address = "2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0\n"
        self.tool("uname", "echo 6.1.0-test")
        self.tool("dmesg", "")
        self.tool("sleep", "exec /bin/sleep 0.03")
        self.tool(
            "ip",
            f'case "$*" in *route*) echo "default via 10.0.2.2 dev eth0" ;; *) cat "{root}/addresses" ;; esac',
        )
        self.tool("ping", f'for last; do :; done; grep -q "^$last$" "{root}/answering"')
        self.tool("arping", "exit 1")
        self.tool("mount", "exit 1")
        self.tool("timeout", "exit 1")
        self.put("addresses", self.address)
        self.put("answering", "10.0.2.2\n")

    def put(self, path, content):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = (
            file.with_name(file.name + ".new")
            if file.exists() and not path.startswith("dev/")
            else file
        )
        new.write_text(content)
        if new != file:
            new.replace(file)  # whole at once, as in a real /proc

    def tool(self, name, script):
        self.put(f"tools/{name}", f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def disk(self, name, sectors=8192, content=b""):
        (self.root / "dev" / name).write_bytes(content.ljust(sectors * 512, b"\0"))
        self.put(f"sys/block/{name}/ro", "0\n")
        self.put(f"sys/block/{name}/stat", "9 0 1000 0 9 0 2000 0 0 0 0\n")
        self.put(f"sys/block/{name}/size", f"{sectors}\n")

    def start(self, script=""):
        file = self.root / "reporter"
        file.write_text(script or (GUEST / "reporter.sh").read_text())
        return self.run(*self.shell, str(file))

    def run(self, *command):
        """In the machine's folder, with what it starts in a group of their own, which ``stop`` ends."""
        self.process = subprocess.Popen(
            command,
            cwd=self.root,
            env={"PATH": f"{self.tools}:{os.environ['PATH']}", "VMPROBE_ROOT": str(self.root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def at(self, uptime):
        self.put("proc/uptime", f"{uptime:.2f} 5.00\n")

    def says(self, *lines):
        """Wait until exactly these lines were said, and none else."""
        expected = [f"vmprobe {line}" for line in lines]
        deadline = time.monotonic() + PATIENCE
        while self.said() != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.said() == expected

    def said(self):
        return self.console.read_text().splitlines()

    def stop(self):
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                stream.close()


def context(nonce):
    """The ``context.sh`` that a VM gets from OpenNebula with ``reporter = yes``, by way of its driver and its simulator."""
    from simulators.opennebula import Oned
    from simulators.opennebula_server import served
    from simulators.opennebula_sites import driver_of
    from vmprobe.core.model import ServerSpec

    with served(Oned()) as (oned, url), driver_of(url, reporter="yes") as (driver, test_vm):
        return oned.context(
            int(driver.create(ServerSpec("vmprobe-x", driver.resolve(test_vm), nonce=nonce)).id)
        )
