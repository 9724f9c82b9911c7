"""Check that no secret got into an output, a file, or a process's title or arguments.

    secrets = Secrets(password="a-Secret-1")
    secrets.credentials(path)                  # writes them as a credentials file
    done = secrets.run("check_vm_lifecycle", "--site", ..., files=[tmp_path])
    secrets.check(done.stdout, "stdout")

``run`` checks stdout, stderr, everything below ``files``, and what the kernel shows of each process.
"""

import base64
import html
import html.entities
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from running import PROBES


def small_hex(text):
    return re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text)


NAMES = {
    letter: name[:-1]
    for name, letter in html.entities.html5.items()
    if name.endswith(";")
    and name[:-1]
    in ("amp lt gt quot apos sol bsol percnt plus equals semi lowbar ouml verbar").split()
}
ENCODERS = {
    "as it is": lambda text: text,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON by PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON by Java": lambda text: re.sub(
        "[<>&'=]", lambda match: f"\\u{ord(match[0]):04X}", json.dumps(text)[1:-1]
    ),
    "JSON, every letter": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "URL in small letters": lambda text: small_hex(urllib.parse.quote(text, safe="")),
    "URL, a path": urllib.parse.quote,
    "URL, a form": urllib.parse.quote_plus,
    "URL, every byte": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "XML": lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    "HTML by Python": html.escape,
    "HTML by Flask": lambda text: (
        html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&#34;")
    ),
    "HTML by names": lambda text: "".join(
        f"&{NAMES[char]};" if char in NAMES else char for char in text
    ),
    "HTML, every letter": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#X{ord(char):X};" for char in text),
    "Python": lambda text: repr(text)[1:-1],
    "shell": lambda text: re.sub(r"([^A-Za-z0-9])", r"\\\1", text),
    "shell in quotes": shlex.quote,
    "INI": lambda text: text.replace("%", "%%"),
    "SQL": lambda text: text.replace("'", "''").replace("\\", "\\\\"),
    "capital letters": lambda text: text.upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of user:password": lambda text: base64.b64encode(b"robot:" + text.encode()).decode(),
    "base64 within a longer text": lambda text: base64.urlsafe_b64encode(
        b'{"p":"' + text.encode() + b'"}'
    ).decode(),
    "base64 of Latin-1": lambda text: base64.b64encode(
        b"u:" + text.encode("latin-1", "replace")
    ).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
}


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str
    watched: int  # how often the arguments of a process were read


class Secrets:
    """Known secrets, and every form in which they may get out."""

    def __init__(self, **secrets: str):
        self.known = secrets

    def credentials(self, path: Path, **names: str) -> Path:
        """Write a credentials file with them and with ``names``, which are no secrets."""
        lines = (f"{key} = {text}\n" for key, text in {**names, **self.known}.items())
        path.write_text("[credentials]\n" + "".join(lines))
        path.chmod(0o600)
        return path

    def forms(self) -> Iterator[Tuple[str, str]]:
        """(name, text) of each secret in every form that a server may write.

        Of base64, the letters that do not depend on what stands around the secret.
        """
        for name, secret in self.known.items():
            forms = {
                encode(secret) for what, encode in ENCODERS.items() if not what.startswith("base64")
            }
            for before in range(3):
                coded = base64.b64encode(b"u" * before + secret.encode()).decode().rstrip("=")
                forms.add(coded[-(-before * 8 // 6) : (before + len(secret.encode())) * 8 // 6])
            for form in forms:
                yield name, form

    def check(self, text: str, where: str) -> None:
        """AssertionError if one of them is in ``text``; its message does not repeat the secret."""
        for name, form in self.forms():
            at = text.find(form)
            assert at < 0, f"the {name} is in {where}, after {text[max(0, at - 60) : at]!r}"

    def check_files(self, *roots: Path, but: Iterable[Path] = ()) -> int:
        """Check all files below ``roots``, and their names, but not those in ``but``. Returns how many."""
        spared, number = {path.resolve() for path in but}, 0
        for path in (
            path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))
        ):
            self.check(str(path), "a file's name")
            if path.is_file() and path.resolve() not in spared:
                self.check(path.read_bytes().decode("latin-1"), str(path))
                number += 1
        return number

    def check_process(self, pid: int) -> int:
        """Check arguments and title of a process and its children. Returns how many there were."""
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

    def run(
        self,
        probe: str,
        *options: str,
        files: Sequence[Path] = (),
        but: Sequence[Path] = (),
        env: Optional[Dict[str, str]] = None,
        timeout: float = 300,
    ) -> Done:
        """Run a check as a process, and check what can be seen of it, while it runs and afterwards."""
        process = subprocess.Popen(
            [sys.executable, str(PROBES / probe), *options],
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
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
