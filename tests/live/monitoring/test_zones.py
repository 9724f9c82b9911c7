"""Icinga distributes the checks: a zone's satellite checks the sites of that zone, also while the master is down."""

import subprocess
import time

import pytest

from waiting import soon

from .generating import generate, site
from .icinga import PASSWORD, Authority, Icinga
from .place import needed, place

pytestmark = pytest.mark.live

MASTER, SATELLITE = "10.78.0.1", "10.78.0.2"
SPACES = {"vmprobe-master": MASTER, "vmprobe-sat": SATELLITE}
OF_SATELLITE = """\
include <itl>
const NodeName = "sat1"
const ZoneName = "sat1"
object Endpoint "master1" {{ host = "{master}"; port = {port} }}
object Zone "master" {{ endpoints = [ "master1" ] }}
object CheckerComponent "checker" {{ }}
object ApiListener "api" {{ bind_host = "{address}"; bind_port = {port}; accept_config = true; accept_commands = true }}
object ApiUser "root" {{ password = "{password}"; permissions = [ "*" ] }}
include "zones.conf"
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def network():
    """Two network namespaces with a link between them."""
    needed("ip", "icinga2", "openssl", "curl")
    made = []
    try:
        for name in SPACES:
            done = subprocess.run(
                ["ip", "netns", "add", name], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        first, second = SPACES
        ip(
            "link",
            "add",
            "up0",
            "netns",
            first,
            "type",
            "veth",
            "peer",
            "name",
            "up0",
            "netns",
            second,
        )
        for name, address in SPACES.items():
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "up0")
            ip("-n", name, "link", "set", "up0", "up")
        yield
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.fixture
def pair(network):
    """(master, satellite); they are not started."""
    with place() as directory:
        authority = Authority(directory / "authority")
        master = Icinga(
            directory / "master",
            MASTER,
            namespace="vmprobe-master",
            authority=authority,
            more='include "zones.d/zones.conf"\n',
        )
        satellite = Icinga(
            directory / "satellite",
            SATELLITE,
            name="sat1",
            namespace="vmprobe-sat",
            authority=authority,
        )
        satellite.main.write_text(
            OF_SATELLITE.format(
                master=MASTER, address=SATELLITE, port=master.port, password=PASSWORD
            )
        )
        for daemon in (master, satellite):
            daemon.environment["VMPROBE_STATE"] = str(daemon.directory / "state")
        try:
            yield master, satellite
        finally:
            for daemon in (master, satellite):
                daemon.stop()


def test_a_site_in_a_zone_is_checked_by_its_satellite_and_nothing_is_lost_while_the_master_is_away(
    pair,
):
    master, satellite = pair
    sites, zones = master.directory / "sites", master.directory / "etc" / "zones.d"
    site(sites, "near")
    site(sites, "far", schedule="zone = sat1")
    generate("icinga2", zones, sites, master.directory / "plugins")
    (satellite.directory / "etc" / "zones.conf").write_bytes((zones / "zones.conf").read_bytes())
    master.start()
    satellite.start()
    soon(lambda: satellite.service("far", "vm-lifecycle"))  # the master sent its configuration

    for name in ("near", "far"):
        master.check_now(name, "vm-lifecycle")
    near = soon(lambda: master.result("near", "vm-lifecycle"))
    far = soon(lambda: master.result("far", "vm-lifecycle"))
    assert [(result["check_source"], result["state"]) for result in (near, far)] == [
        ("master1", 0),
        ("sat1", 0),
    ]
    assert far["output"].startswith("VM_LIFECYCLE OK - far: test VM ran and is gone in ")

    master.stop()
    stopped = time.time()
    satellite.check_now("far", "vm-lifecycle")
    alone = soon(
        lambda: (lambda result: result["execution_start"] > stopped and result)(
            satellite.result("far", "vm-lifecycle")
        )
    )
    master.start()
    replayed = soon(
        lambda: (lambda result: result.get("execution_end") == alone["execution_end"] and result)(
            master.result("far", "vm-lifecycle")
        ),
        60,
    )
    assert (replayed["check_source"], replayed["output"]) == ("sat1", alone["output"])
