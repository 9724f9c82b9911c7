"""Where the conformance suite finds what it runs over: a literal table, one line for each driver and server.

A harness is a context manager that yields ``Harness``. One that cannot run here raises pytest.skip with the reason.
"""

import importlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional

from virtual import VirtualClock
from vmprobe.core.clock import Clock, Deadline, Polling
from vmprobe.core.driver import Driver
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.site.credentials import secrets
from vmprobe.site.site import load

HARNESSES = {  # id: the function that makes it
    "memory": "conformance.harnesses.memory",
    "qemu": "live.local_qemu.harness",
    "libvirt": "live.libvirt.hosts.harness",
    "openstack": "live.openstack.shared.harness",
    "ec2": "live.ec2.places.harness",
    "eucalyptus": "live.ec2.places.eucalyptus",
    "ec2-api": "live.ec2.fronted.harness",
    "nimbus": "live.ec2.places.nimbus",
    "ooi": "live.occi.shared.ooi_harness",
    "pyssf": "live.occi.shared.pyssf_harness",
    "opennebula": "simulators.opennebula_sites.harness",
    "opennebula-5": "simulators.opennebula_sites.harness_of_5",
    "stratuslab": "simulators.opennebula_sites.harness_of_stratuslab",
}
LIVE = {
    "qemu",
    "libvirt",
    "openstack",
    "ec2",
    "eucalyptus",
    "ec2-api",
    "nimbus",
    "ooi",
    "pyssf",
}  # ids that start real servers
if os.environ.get(
    "VMPROBE_LIVE_OPENNEBULA"
):  # a site file of somebody's own OpenNebula, which the tests cannot start
    HARNESSES["opennebula-site"] = "live.test_opennebula.harness"
    LIVE.add("opennebula-site")


@dataclass
class Harness:
    """A driver that is not connected yet, and what the suite needs to know of its surroundings."""

    driver: Driver
    test_vm: Mapping[str, Any]
    deadline: Deadline
    reports: bool = True  # whether the image is the suite's own, whose console speaks
    secrets: tuple = field(default_factory=tuple)
    lacks: Mapping[Any, str] = field(
        default_factory=dict
    )  # capabilities that this server has not, and why
    impossible: Optional[Mapping[str, Any]] = (
        None  # what makes a test VM that cannot be, in [test vm]'s keys
    )
    name: str = ""  # its id in HARNESSES


def make(name: str):
    """The harness of this id, as a context manager."""
    module, _, function = HARNESSES[name].rpartition(".")
    return getattr(importlib.import_module(module), function)()


def of_site(path: str, clock: Clock, **options: Any) -> Harness:
    """A harness by a site file; 10 minutes for everything, and a short poll."""
    site = load(path)
    deadline = Deadline(600, 60, clock, Polling(first=0.2, shortest=0.2, longest=1.0))
    credentials = site.credentials()
    evidence = Evidence(Redactor(secrets(credentials)), keep=True)
    driver = site.driver(site.endpoint, credentials, deadline, evidence)
    return Harness(driver, site.test_vm, deadline, secrets=tuple(secrets(credentials)), **options)


@contextmanager
def memory():
    from running import CHECKOUT

    yield of_site(str(CHECKOUT / "etc" / "sites" / "memory.ini"), VirtualClock())
