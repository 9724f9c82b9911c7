"""How a test VM gets the nonce of its run: in user data, on the kernel's command line, by firmware.

``reporter.sh`` looks for it in all of these places, and writes it into each line on the console.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Optional, Sequence

from vmprobe.core.model import ServerSpec

_REPORTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reporter.sh")


def for_server(spec: ServerSpec) -> Optional[str]:
    """Return the user data of a server in base64; None where nobody will read its console.

    A cloud-init image runs the reporter. The suite's own image reads only the nonce from it.
    """
    if spec.depth != "console" or not spec.nonce:
        return None
    return encoded(reporter(spec.nonce))


def reporter(nonce: str, peers: Sequence[str] = (), background: bool = False) -> str:
    """Return the reporter as a shell script, with the run's nonce and the addresses of its peers.

    ``background``: for a system that waits for the end of a script before it goes on. ValueError if
    the nonce has other characters than letters, digits and ``-``, or a peer is not an address.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", nonce):
        raise ValueError(f"nonce {nonce!r}: only letters, digits and - are safe in a shell script")
    for peer in peers:
        if not re.fullmatch(r"[0-9A-Fa-f.:]+", peer):
            raise ValueError(f"peer {peer!r} is not an address")
    with open(_REPORTER, encoding="ascii") as file:
        script = file.read()
    script = re.sub(r"(?m)^VMPROBE_NONCE=.*$", f"VMPROBE_NONCE={nonce}", script)
    script = re.sub(r"(?m)^VMPROBE_PEERS=.*$", f"VMPROBE_PEERS='{' '.join(peers)}'", script)
    if background:
        script = re.sub(r"(?m)^main$", "(exec </dev/null >/dev/null 2>&1; main) &", script)
    return script


def encoded(script: str) -> str:
    """Return a script in base64, as the managers' APIs take user data."""
    return base64.b64encode(script.encode("ascii")).decode("ascii")


def kernel_command_line(nonce: str = "") -> str:
    """Return the command line of the test image's kernel.

    /dev/console is the last console that it names: the serial port, which every manager can record.
    The screen (tty0) is there for people; a VM without a screen ignores it. After a panic the VM
    restarts at once.
    """
    words = "console=tty0 console=ttyS0 quiet panic=-1"
    return f"{words} {firmware_string(nonce)}" if nonce else words


def firmware_string(nonce: str) -> str:
    """Return the nonce as an SMBIOS string; a kernel parameter has the same form."""
    return f"vmprobe.nonce={nonce}"
