"""Sites of the simulated Hyper-V, and its harness for the conformance suite."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

LIFECYCLE = "check_vm_lifecycle"
FINE = "VM_LIFECYCLE OK - hyperv: test VM ran and is gone in T s (active T s, network T s, storage T s)"


def line(output: str) -> str:
    """The first line without perfdata; durations as T."""
    return re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0]).rstrip("\n")


def site_file(
    directory: Path,
    url: str,
    credentials: str = "username = probe\npassword = a-good-password\n",
    endpoint: str = "authentication = basic\ntimeout = 10 s\n",
    more: str = "",
    **test_vm: str,
) -> Path:
    """A site of the simulated Hyper-V, with a short poll."""
    secret = directory / "credentials.ini"
    secret.write_text("[credentials]\n" + credentials)
    secret.chmod(0o600)
    keys = {"image": "vmprobe-test.vhdx", "volume": "1 GiB", **test_vm}
    path = directory / "hyperv.ini"
    path.write_text(
        f"[site]\nname = hyperv\nowner = mon\n[endpoint]\nmanager = hyperv\nurl = {url}\n"
        f"credentials = credentials.ini\n{endpoint}"
        "[polling]\nfirst = 0.05 s\nshortest = 0.05 s\nlongest = 0.2 s\n[sample]\nreadings = 2\ninterval = 0.1 s\n"
        f"{more}[test vm]\n"
        + "".join(f"{key.replace('_', ' ')} = {value}\n" for key, value in keys.items())
    )
    return path


def needs_libraries() -> None:
    """Skip where pypsrp or psrpcore is not installed."""
    for name in ("pypsrp", "psrpcore"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")


class World:
    """A simulated Hyper-V, its endpoint and its site."""

    def __init__(self, server: Any, url: str, directory: Path):
        self.server, self.url, self.directory = server, url, directory
        self.hyperv, self.faults = server.world, server.world.faults

    def site(self, **words: str) -> str:
        return str(site_file(self.directory, self.url, **words))

    def run(self, *options: str, **words: str) -> Any:
        """(exit code, first line) of check_vm_lifecycle, run in this process."""
        from vmprobe.checks.lifecycle import command
        from vmprobe.core.clock import Clock
        from vmprobe.report import verdict

        result = command.main(["--site", self.site(**words), *options], clock=Clock()).verdict
        return result.state, line(verdict.render("VM_LIFECYCLE", result))

    def driver(self, **words: str) -> Any:
        """(the driver alone, not connected; the site's [test vm])."""
        from vmprobe.core.clock import Clock, Deadline
        from vmprobe.core.exchanges import Evidence
        from vmprobe.site.site import load

        site = load(self.site(**words))
        deadline, evidence = Deadline(60, 10, Clock()), Evidence(keep=True)
        return site.driver(site.endpoint, site.credentials(), deadline, evidence), site.test_vm


@contextmanager
def harness():
    needs_libraries()
    from conformance.harnesses import of_site
    from simulators.hyperv_server import served
    from vmprobe.core.clock import Clock

    with served() as (server, url), TemporaryDirectory() as directory:
        yield of_site(
            str(site_file(Path(directory), url)),
            Clock(),
            reports=False,
            impossible={"flavor": 2**40},
        )
        assert (server.world.left(), server.world.wrong, server.shells) == ([], [], {})
