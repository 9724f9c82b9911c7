"""For tests of the qemu driver: a program in QEMU's place, which answers as it is told, and a driver over it."""

import os
import sys

from vmprobe.core import handle
from vmprobe.core.clock import Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Plan, ServerSpec, State
from vmprobe.drivers.qemu.driver import Qemu
from vmprobe.site.site import load
from waiting import soon

PROGRAM = r"""#!{python}
import json, os, signal, socket, sys, time

def become_another(*_):
    os.execvp("sleep", ["sleep", "60"])
signal.signal(signal.SIGUSR1, become_another)
if sys.argv[1:] == ["-help"]:
    print("QEMU emulator version 9.9"); print("x" * 100000); sys.exit()

def commands(client):
    'JSON objects, one after the other, without any line ends'
    text = ""
    while True:
        received = client.recv(65536)
        if not received:
            return
        text += received.decode()
        while text.strip():
            try:
                asked, end = json.JSONDecoder().raw_decode(text.strip())
            except ValueError:
                break
            text = text.strip()[end:]
            yield asked

monitor = socket.socket(socket.AF_UNIX); monitor.bind("monitor"); monitor.listen()
answers = {{"query-status": {{"status": "running"}}, "query-block": [], "query-named-block-nodes": [], "query-rx-filter": []}}
while True:
    client, _ = monitor.accept()
    lines, manner = client.makefile("rw"), open("{manner}").read()
    try:
        if manner == "closes": client.close(); continue
        if manner == "is silent": time.sleep(600)
        if manner == "speaks something else": client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"); time.sleep(600)
        while manner == "never ends its line": client.sendall(b"x" * 65536)
        print(json.dumps({{"QMP": {{"version": {{"qemu": {{"micro": 0, "minor": 0, "major": 9}}, "package": ""}}, "capabilities": []}}}}), file=lines, flush=True)
        for asked in commands(client):
            answer = {{}} if asked["execute"] == "qmp_capabilities" else answers.get(asked["execute"], {{}})
            if asked["execute"] != "qmp_capabilities":
                while manner == "floods": lines.write(json.dumps({{"event": "STOP", "timestamp": {{"seconds": 1, "microseconds": 1}}}}) + "\n")
                if manner == "nests": client.sendall(b'{{"return": ' + b"[" * 50000 + b"]" * 50000 + b"}}\n"); continue
                if manner == "says a number": answer = 5
                if manner == "says nothing": answer = None
                if manner == "says a list": answer = [None]
                if manner == "refuses":
                    print(json.dumps({{"error": {{"class": "GenericError", "desc": "not today"}}, "id": asked.get("id")}}), file=lines, flush=True); continue
            print(json.dumps({{"return": answer, "id": asked.get("id")}}), file=lines, flush=True)
    except OSError:
        pass
"""


class Place:
    """A directory with a driver over it, and what runs there."""

    def __init__(self, directory):
        self.directory, self.base, self.manner = directory, directory / "qemu", directory / "manner"
        self.manner.write_text("")
        self.binary = directory / "qemu-system-test"
        self.binary.write_text(PROGRAM.format(python=sys.executable, manner=self.manner))
        self.binary.chmod(0o755)
        (directory / "disk").write_bytes(b"\0" * 512)
        self.handle = str(handle.new("mon", 60, 1_800_000_000))
        self.plan = Plan(
            "disk", "32 MiB", "none", {"disk": str(directory / "disk")}, vcpus=1, memory=2**25
        )

    def driver(self, base=True, connected=True):
        path = self.directory / "site.ini"
        path.write_text(
            f"[site]\nname = here\n[endpoint]\nmanager = qemu\nbinary = {self.binary}\ntimeout = 2 s\n"
            + (f"directory = {self.base}\n" if base else "")
            + "[test vm]\nimage = disk\n"
        )
        driver = Qemu(load(str(path)).endpoint, {}, Deadline(120, 10), Evidence(keep=True))
        if connected:
            driver.connect()
        return driver

    def server(self, driver):
        """A server that runs; its monitor answers."""
        ref = driver.create(ServerSpec(self.handle, self.plan))
        soon(lambda: driver.show(ref).state is State.READY)
        return ref

    def path(self, kind="server"):
        return self.base / kind / self.handle

    def running(self):
        """Pids of what began in the directory of a server and has not ended."""
        pids = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd").startswith(str(self.base)):
                    pids.append(int(entry))
            except OSError:
                continue
        return pids
