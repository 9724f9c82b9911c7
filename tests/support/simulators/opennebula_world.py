"""A site over the simulated oned, and what tests do with it."""

import re

import pytest

from simulators.opennebula_sites import site_file
from vmprobe.checks.lifecycle import command
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import Conflict, NotFound
from vmprobe.core.exchanges import Evidence
from vmprobe.report import verdict
from vmprobe.site.site import load
from waiting import soon

LIFECYCLE = "check_vm_lifecycle"
FINE = "VM_LIFECYCLE OK - opennebula: test VM ran and is gone in T s (active T s, network T s, storage T s)"


def line(output: str) -> str:
    """The first line without perfdata; durations as T."""
    return re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0]).rstrip("\n")


class World:
    """A simulated oned and its site."""

    def __init__(self, oned, url, directory):
        self.oned, self.url, self.directory = oned, url, directory

    def site(self, **test_vm):
        return str(site_file(self.directory, self.url, **test_vm))

    def run(self, *options, **test_vm):
        """(exit code, first line) of check_vm_lifecycle, run in this process."""
        result = command.main(["--site", self.site(**test_vm), *options], clock=Clock()).verdict
        return result.state, line(verdict.render("VM_LIFECYCLE", result))


in_each_form = pytest.mark.parametrize(
    "world", ["5.2.1", "5.12.0", "6.10.0", "7.2.0"], indirect=True
)


def wait_gone(driver, ref):
    """Wait until the driver does not show it any more."""

    def gone():
        try:
            driver.show(ref)
        except NotFound:
            return True
        return False

    soon(gone)


def connected(world, **test_vm):
    """The driver alone, with a session."""
    driver = unconnected(world, **test_vm)
    driver.connect()
    return driver


def unconnected(world, **test_vm):
    """The driver alone, without a session."""
    site = load(world.site(**test_vm))
    return site.driver(
        site.endpoint, site.credentials(), Deadline(60, 10, Clock()), Evidence(keep=True)
    )


def removed(driver, ref):
    """Ask for its removal; whether it is gone."""
    try:
        driver.delete(ref)
        driver.show(ref)
    except NotFound:
        return True
    except Conflict:
        pass
    return False
