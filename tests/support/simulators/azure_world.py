"""A site over the simulated Azure, and what tests do with it."""

import re

from simulators.azure_sites import site_file
from vmprobe.checks.lifecycle import command
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.report import verdict
from vmprobe.site.site import load

LIFECYCLE = "check_vm_lifecycle"
FINE = (
    "VM_LIFECYCLE OK - azure: test VM ran and is gone in T s (active T s, network T s, storage T s)"
)
_HANDLE = re.compile(r"vmprobe-mon-\d{8}t\d{6}z-\d+-[a-z0-9]{8}")


def line(output: str) -> str:
    """The first line without perfdata; durations as T, the run's handle as HANDLE."""
    first = output.splitlines()[0].split(" | ")[0]
    return _HANDLE.sub("HANDLE", re.sub(r"\d+(\.\d+)? s\b", "T s", first)).rstrip()


class World:
    """A simulated Azure and its site."""

    def __init__(self, services, url, directory):
        self.services, self.azure, self.url, self.directory = (
            services,
            services.azure,
            url,
            directory,
        )

    def site(self, **words):
        return str(site_file(self.directory, self.url, **words))

    def run(self, *options, **words):
        """(exit code, first line) of check_vm_lifecycle, run in this process."""
        words.setdefault("volume", "1 GiB")
        result = command.main(["--site", self.site(**words), *options], clock=Clock()).verdict
        return result.state, line(verdict.render("VM_LIFECYCLE", result))

    def driver(self, **words):
        """The driver alone, without a session, and its [test vm]."""
        site = load(self.site(**words))
        driver = site.driver(
            site.endpoint, site.credentials(), Deadline(60, 10, Clock()), Evidence(keep=True)
        )
        return driver, site.test_vm
