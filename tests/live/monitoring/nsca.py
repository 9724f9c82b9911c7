"""The real NSCA daemon, for the tests of this folder."""

import socket
import subprocess

from waiting import soon

from .place import needed


class Nsca:
    """The real NSCA daemon on loopback, which writes to Nagios' pipe."""

    def __init__(self, nagios):
        needed("nsca", "send_nsca")
        self.directory, self.port = nagios.directory, 15667
        self.receive, self.send = self.directory / "nsca.cfg", self.directory / "send_nsca.cfg"
        self.receive.write_text(
            f"server_port={self.port}\nserver_address=127.0.0.1\ncommand_file={nagios.pipe}\nalternate_dump_file={self.directory}/dump\n"
            "aggregate_writes=0\nappend_to_file=0\nmax_packet_age=30\npassword=loopback\ndecryption_method=1\n"
            f"nsca_user=nagios\nnsca_group=nagios\npid_file={self.directory}/nsca.pid\ndebug=0\n"
        )
        self.send.write_text("password=loopback\nencryption_method=1\n")

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            ["nsca", "-f", "-c", str(self.receive)], stdin=subprocess.DEVNULL
        )

        def answers():
            """nsca answers"""
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        soon(answers)
        return f"nsca:127.0.0.1:{self.port},config={self.send}"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
