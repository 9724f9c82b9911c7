"""What the conformance suite runs over: a table with one line for each driver and server.

A harness is a context manager that yields ``Harness``. One that cannot run here raises pytest.skip with the reason.
``VMPROBE_CONFORM=site.ini pytest tests/conformance -k site`` runs the suite over the cloud of a site file, also by a
driver that lives elsewhere.
"""

import importlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

from virtual import VirtualClock
from vmprobe.core.clock import Clock, Deadline, Polling
from vmprobe.core.driver import Driver
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Capability, TestVM
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
    "vsphere": "live.vsphere.places.harness",
    "esxi": "live.vsphere.places.harness_of_esxi",
    "hyperv": "simulators.hyperv_sites.harness",
    "azure": "simulators.azure_sites.harness",
    "azure-shared": "simulators.azure_sites.harness_of_shared",
    "command": "simulators.command_sites.harness",
    "command-virsh": "live.libvirt.by_command.harness",
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
    "vsphere",
    "esxi",
    "command-virsh",
}  # ids that start real servers
if os.environ.get("VMPROBE_CONFORM"):  # a site file, of whichever driver
    HARNESSES["site"] = "conformance.harnesses.of_environment"
if os.environ.get(
    "VMPROBE_LIVE_OPENNEBULA"
):  # a site file of an OpenNebula, which no test can start
    HARNESSES["opennebula-site"] = "live.test_opennebula.harness"
    LIVE.add("opennebula-site")


@dataclass
class Harness:
    """A driver that is not connected yet, and what the suite needs to know of its server."""

    driver: Driver
    test_vm: TestVM
    deadline: Deadline
    reports: bool = True  # whether the console of the image has the suite's facts
    secrets: Tuple[str, ...] = ()
    # Capabilities that the driver has and this server has not, and why.
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    # Keys of [test vm] with which no server can be created.
    impossible: Optional[Mapping[str, Any]] = None
    name: str = ""  # its id in HARNESSES


def make(name: str):
    """The harness of this id, as a context manager."""
    module, _, function = HARNESSES[name].rpartition(".")
    return getattr(importlib.import_module(module), function)()


def of_site(path: str, clock: Clock, **options: Any) -> Harness:
    """The harness of a site file, with 10 minutes for everything, and short intervals of polling."""
    site = load(path)
    deadline = Deadline(600, 60, clock, Polling(first=0.2, shortest=0.2, longest=1.0))
    credentials = site.credentials()
    evidence = Evidence(Redactor(secrets(credentials)), keep=True)
    driver = site.driver(site.endpoint, credentials, deadline, evidence)
    return Harness(driver, site.test_vm, deadline, secrets=tuple(secrets(credentials)), **options)


@contextmanager
def of_environment():
    """The cloud of the site file in VMPROBE_CONFORM; its console has facts where the depth is ``console``."""
    path = os.environ["VMPROBE_CONFORM"]
    yield of_site(path, Clock(), reports=load(path).test_vm["depth"] == "console")


@contextmanager
def memory():
    from running import CHECKOUT

    yield of_site(str(CHECKOUT / "etc" / "sites" / "memory.ini"), VirtualClock())
