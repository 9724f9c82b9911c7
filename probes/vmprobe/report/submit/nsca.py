"""Check results for NSCA, through its own program send_nsca, which knows protocol and ciphers."""

from __future__ import annotations

import os
import re
import shutil

from vmprobe.core.text import one_line
from vmprobe.report.submit.receiver import Receiver, Rejected, Undelivered
from vmprobe.report.submit.spool import PassiveResult
from vmprobe.site.targets import host_and_port

_LONGEST = 10.0  # seconds for one run of send_nsca


class Nsca(Receiver):
    """NSCA. It takes line 1 with its perfdata, without the details."""

    def send(self, result: PassiveResult) -> None:
        from vmprobe.host import programs

        search_path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        program = shutil.which("send_nsca", path=search_path)
        if not program:
            raise Undelivered("send_nsca is not installed")
        host, port = host_and_port(self.where)
        seconds = max(1.0, min(_LONGEST, self.deadline.left()))
        command = [program, "-H", host, "-p", port, "-to", str(int(seconds))]
        config = self.target.options.get("config")
        command += ["-c", config] if config else []
        fields = (result.host, result.service, str(result.state), result.line.replace("\t", " "))
        line = ("\t".join(fields) + "\n").encode()
        try:
            done = programs.run(command, seconds, self.deadline, line)
        except programs.TooSlow:
            raise Undelivered(f"send_nsca did not finish within {seconds:.0f} s") from None
        except OSError as error:
            raise Undelivered(f"send_nsca: {error.strerror}") from None
        if done.code:
            raise Undelivered(f"send_nsca: {one_line(done.text) or f'exit code {done.code}'}")
        if re.search(r"(?m)^0 data packet", done.text):
            raise Rejected(f"send_nsca: {one_line(done.text)}")
