"""Whether secrets got out: into an output, a file, a process's title or arguments. For every test that uses one.

    secrets = Secrets(password="a-Secret-1")
    secrets.credentials(path)                  # writes them as a credentials file
    done = secrets.run("check_vm_lifecycle", "--site", ..., files=[tmp_path])
    secrets.check(done.stdout, "stdout")

``run`` checks stdout, stderr, everything below ``files``, and what the kernel shows of each process as long as it lives.
"""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from conftest import PROBES


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str
    watched: int  # how often a process's arguments were looked at


class Secrets:
    """Known secrets, and every form in which they may leave."""

    def __init__(self, **secrets: str):
        self.known = secrets

    def credentials(self, path: Path, **names: str) -> Path:
        """A credentials file with them and with ``names``, which are no secrets; for its owner only."""
        lines = (f"{key} = {text}\n" for key, text in {**names, **self.known}.items())
        path.write_text("[credentials]\n" + "".join(lines))
        path.chmod(0o600)
        return path

    def forms(self) -> Iterator[Tuple[str, str]]:
        """(name, text) of each secret as it is, quoted for a URL or JSON, in base64 and in hexadecimal."""
        for name, secret in self.known.items():
            coded = base64.b64encode(secret.encode()).decode()
            for form in {secret, urllib.parse.quote(secret), urllib.parse.quote_plus(secret), json.dumps(secret)[1:-1],
                         coded.rstrip("="), secret.encode().hex()}:
                yield name, form

    def check(self, text: str, where: str) -> None:
        """AssertionError when one of them is in ``text``; the message does not repeat it."""
        for name, form in self.forms():
            at = text.find(form)
            assert at < 0, f"the {name} is in {where}, after {text[max(0, at - 60):at]!r}"

    def check_files(self, *roots: Path, but: Iterable[Path] = ()) -> int:
        """All files below ``roots``, their names too, but not those that hold them by right; how many there were."""
        spared, number = {path.resolve() for path in but}, 0
        for path in (path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))):
            self.check(str(path), "a file's name")
            if path.is_file() and path.resolve() not in spared:
                self.check(path.read_bytes().decode("latin-1"), str(path))
                number += 1
        return number

    def check_process(self, pid: int) -> int:
        """Arguments and title of a process and its children, as every user can see them; how many there were."""
        number = 0
        for one in [pid, *_children(pid)]:
            for what in ("cmdline", "comm"):
                try:
                    text = Path(f"/proc/{one}/{what}").read_bytes().decode("latin-1")
                except OSError:  # it has ended meanwhile
                    continue
                self.check(text.replace("\0", " "), f"the {what} of process {one}")
                number += 1
        return number

    def run(self, probe: str, *options: str, files: Sequence[Path] = (), but: Sequence[Path] = (),
            env: Dict[str, str] = {}, timeout: float = 300) -> Done:
        """Run a probe as a process, and check everything that can be seen of it, meanwhile and afterwards."""
        process = subprocess.Popen([sys.executable, str(PROBES / probe), *options], stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env})
        watched, until = 0, time.monotonic() + timeout
        while True:
            watched += self.check_process(process.pid)
            try:
                stdout, stderr = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > until:
                    process.kill()
                    raise
        self.check(stdout, "stdout")
        self.check(stderr, "stderr")
        self.check_files(*files, but=but)
        return Done(process.returncode, stdout, stderr, watched)


def _children(pid: int) -> List[int]:
    """The processes below a process, by the kernel's own list."""
    found: List[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(word) for word in path.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *_children(child)]
    return found
