"""A scheduler with a time limit that is too short kills a check while its VM runs; the next scheduled check cleans up."""

import os
import sys
from pathlib import Path

import pytest

from running import PROBES
from waiting import soon

pytestmark = pytest.mark.live

FITS, TOO_MUCH = (
    "128 MiB",
    "4 TiB",
)  # QEMU cannot give a VM this memory, so it ends at once
LIMIT = 3  # seconds; a VM takes longer to report its network
SITE = """\
[site]\nname = demo\nowner = mon
[endpoint]\nmanager = qemu
[test vm]\nimage = vmprobe-test\nvolume = 64 MiB\ndepth = console\nflavor = {flavor}
[budget]\ndeadline = 120 s\nreserve = 30 s
[sample]\nreadings = 0
[polling]\nfirst = 0.3 s\nshortest = 0.3 s\nlongest = 1 s
"""


class Run:
    """The VMs of the checks that a daemon starts, read from the processes and files of this machine."""

    def __init__(self, directory: Path, images: Path):
        self.state, self.site = directory / "state", directory / "demo.ini"
        self.state.mkdir(parents=True)
        self.site.write_text(SITE.format(flavor=FITS))
        self.command = [
            "env",
            f"VMPROBE_STATE={self.state}",
            f"VMPROBE_IMAGES={images}",
            sys.executable,
            str(PROBES / "check_vm_lifecycle"),
            "--site",
            str(self.site),
        ]

    def vms(self):
        """By pid: the working directory of each QEMU that started below the state directory, also if it was removed."""
        vms = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                place = os.readlink(f"/proc/{entry}/cwd").removesuffix(" (deleted)")
            except OSError:
                continue
            if place.startswith(f"{self.state}/qemu/server/"):
                vms[int(entry)] = place
        return vms

    def files(self):
        return sorted(
            str(path)
            for folder in ("server", "volume")
            for path in (self.state / "qemu" / folder).glob("*")
        )

    def of(self, handle: str):
        """Directories of the VMs, servers and volumes of one run."""
        return [thing for thing in [*self.vms().values(), *self.files()] if handle in thing]

    def handles(self):
        """The ledgers of the runs that owe something, or may owe it."""
        return {path.name.split(".ledger")[0] for path in self.state.rglob("*.ledger*")}

    def nothing_is_left(self):
        """no VM and nothing of one on the disk"""
        return not self.vms() and not self.files()


NAGIOS = """\
define command {{
    command_name probe
    command_line {command}
}}
define host {{
    host_name demo
    max_check_attempts 1
}}
define service {{
    host_name demo
    service_description vm-lifecycle
    check_command probe
    max_check_attempts 1
    check_interval 7
    retry_interval 7
}}
"""


def test_a_run_that_nagios_kills_is_cleaned_up_by_the_next_one(nagios_at, images):
    nagios = nagios_at(service_check_timeout=LIMIT)
    run = Run(nagios.directory / "probe", images)
    (nagios.objects / "probe.cfg").write_text(NAGIOS.format(command=" ".join(run.command)))
    nagios.start()

    def killed():
        """Nagios killed the probe; when"""
        held = nagios.service("demo", "vm-lifecycle")
        return (
            held.get("plugin_output", "").startswith("(Service check timed out after")
            and held["last_check"]
        )

    when = soon(killed)
    first = run.handles()
    owed = [run.of(handle) for handle in first]
    assert len(first) == 1 and any(
        "/qemu/server/" in thing for thing in owed[0]
    )  # after SIGKILL its VM is still there

    def another():
        """the next scheduled run has begun its own VM"""
        return [
            handle
            for handle in run.handles() - first
            if any("/qemu/server/" in thing for thing in run.of(handle))
        ]

    soon(another)
    assert [run.of(handle) for handle in first] == [[]]

    def killed_again():
        """Nagios killed that one, too"""
        return killed() not in (False, when)

    soon(killed_again)
    nagios.stop()
    run.site.write_text(SITE.format(flavor=TOO_MUCH))
    nagios.settings["service_check_timeout"] = 60
    nagios.start()

    def ended():
        """a run came to its own end"""
        return (
            nagios.service("demo", "vm-lifecycle")
            .get("plugin_output", "")
            .startswith("VM_LIFECYCLE CRITICAL - demo: active: ")
        )

    soon(ended)
    nagios.stop()
    soon(run.nothing_is_left)


ICINGA = """\
object CheckCommand "probe" {{
  command = [ {command} ]
  timeout = {limit}
}}
object Host "demo" {{ check_command = "dummy" }}
object Service "vm-lifecycle" {{
  host_name = "demo"
  check_command = "probe"
  max_check_attempts = 1
  check_interval = 7
  retry_interval = 7
}}
"""


def test_a_run_that_icinga_kills_is_cleaned_up_by_the_next_one(icinga_at, images):
    icinga = icinga_at()
    run = Run(icinga.directory / "probe", images)
    objects, command = icinga.conf / "probe.conf", ", ".join(f'"{word}"' for word in run.command)
    objects.write_text(ICINGA.format(command=command, limit=LIMIT))
    seen = set()
    icinga.start()

    def killed():
        """Icinga killed the probe; when"""
        seen.update(run.handles())
        held = icinga.result("demo", "vm-lifecycle")
        return "<Timeout exceeded.>" in held.get("output", "") and held["execution_start"]

    when = soon(killed)
    first = set(seen)
    assert len(first) == 1

    def another():
        """the next scheduled run has begun its own VM"""
        return [
            handle
            for handle in run.handles() - first
            if any("/qemu/server/" in thing for thing in run.of(handle))
        ]

    soon(another)
    assert [run.of(handle) for handle in first] == [[]]

    def killed_again():
        """Icinga killed that one, too"""
        return killed() not in (False, when)

    soon(killed_again)
    icinga.stop()
    run.site.write_text(SITE.format(flavor=TOO_MUCH))
    objects.write_text(ICINGA.format(command=command, limit=60))
    icinga.start()

    def ended():
        """a run came to its own end"""
        return (
            icinga.result("demo", "vm-lifecycle")
            .get("output", "")
            .startswith("VM_LIFECYCLE CRITICAL - demo: active: ")
        )

    soon(ended)
    icinga.stop()
    soon(run.nothing_is_left)
