"""A real Nagios 4 in the foreground, with everything under one directory."""

import os
import re
import subprocess
import time
from pathlib import Path

from waiting import soon

from .place import AS_USER, Daemon, own

_BLOCK = re.compile(r"^(\w+) \{\n(.*?)^\t?\}", re.S | re.M)


class Nagios(Daemon):
    """``objects`` has its configuration; the unit of time there is a second."""

    def __init__(self, directory: Path, environment=None, **settings):
        super().__init__(directory)
        self.objects, self.var = directory / "objects", directory / "var"
        self.results = self.var / "spool"
        self.environment = environment or {}
        for path in (self.objects, self.var / "archives", self.var / "rw", self.results):
            path.mkdir(parents=True, exist_ok=True)
        self.pipe = self.var / "rw" / "nagios.cmd"
        self.settings = {
            "cfg_dir": self.objects,
            "log_file": self.var / "nagios.log",
            "log_archive_path": self.var / "archives",
            "object_cache_file": self.var / "objects.cache",
            "precached_object_file": self.var / "objects.precache",
            "status_file": self.var / "status.dat",
            "temp_file": self.var / "nagios.tmp",
            "temp_path": self.var,
            "command_file": self.pipe,
            "query_socket": self.var / "rw" / "nagios.qh",
            "lock_file": self.var / "nagios.pid",
            "check_result_path": self.results,
            "state_retention_file": self.var / "retention.dat",
            "nagios_user": "nagios",
            "nagios_group": "nagios",
            "status_update_interval": 1,
            "check_external_commands": 1,
            "check_result_reaper_frequency": 1,
            "interval_length": 1,
            "enable_notifications": 0,
            "check_workers": 2,
            "retain_state_information": 0,
            "execute_service_checks": 1,
            "accept_passive_service_checks": 1,
            "check_for_updates": 0,
            "soft_state_dependencies": 1,
            "max_service_check_spread": 1,
            **settings,
        }

    def start(self) -> None:
        """Start it, and wait until its status file is there."""
        (self.objects / "contact.cfg").write_text(CONTACT)  # Nagios does not start without one
        file = self.directory / "nagios.cfg"
        file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        (self.var / "status.dat").unlink(missing_ok=True)
        own(self.directory)
        self.run(
            [*AS_USER, "nagios4", str(file)],
            env={**os.environ, **self.environment},
            cwd=self.directory,
        )
        soon(lambda: (self.var / "status.dat").exists() or not self.alive())
        assert self.alive(), self.log()[-2000:]

    def validate(self) -> str:
        """The output of ``nagios4 -v``."""
        done = subprocess.run(
            ["nagios4", "-v", str(self.directory / "nagios.cfg")],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    def services(self) -> dict:
        """By (host, service): the fields in the status file."""
        try:
            text = (self.var / "status.dat").read_text(errors="replace")
        except FileNotFoundError:  # between two
            return {}
        services = {}
        for kind, body in _BLOCK.findall(text):
            if kind == "servicestatus":
                fields = dict(line.strip().partition("=")[::2] for line in body.splitlines())
                services[fields["host_name"], fields["service_description"]] = fields
        return services

    def service(self, host: str, name: str) -> dict:
        return self.services().get((host, name), {})

    def command(self, text: str) -> None:
        """Send an external command through the pipe."""
        soon(self.pipe.exists)
        with open(self.pipe, "w", encoding="utf-8") as pipe:
            pipe.write(f"[{int(time.time())}] {text}\n")

    def check_now(self, host: str, name: str, forced: bool = True) -> None:
        """Run a check at once; dependencies count only if it is not forced."""
        word = "SCHEDULE_FORCED_SVC_CHECK" if forced else "SCHEDULE_SVC_CHECK"
        self.command(f"{word};{host};{name};{int(time.time())}")

    def history(self) -> str:
        return (self.var / "nagios.log").read_text(errors="replace")


CONTACT = """\
define command {
    command_name nobody-is-told
    command_line /bin/true
}
define timeperiod {
    timeperiod_name never
    alias never
}
define contact {
    contact_name nobody
    host_notification_period never
    service_notification_period never
    host_notification_commands nobody-is-told
    service_notification_commands nobody-is-told
}
"""
