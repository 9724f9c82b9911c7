"""What the conformance suite runs over: a table with one line for each driver and server.

A harness is a context manager that yields a ``Subject``. One that cannot run here raises pytest.skip with the reason.
"""

import importlib
import os
from contextlib import contextmanager
from typing import Any

from virtual import VirtualClock
from vmprobe.core.clock import Clock
from vmprobe.ctl.conform import subject
from vmprobe.ctl.conform.subject import Subject
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
if os.environ.get(
    "VMPROBE_LIVE_OPENNEBULA"
):  # a site file of an OpenNebula, which no test can start
    HARNESSES["opennebula-site"] = "live.test_opennebula.harness"
    LIVE.add("opennebula-site")


def make(name: str):
    """The harness of this id, as a context manager."""
    module, _, function = HARNESSES[name].rpartition(".")
    return getattr(importlib.import_module(module), function)()


def of_site(path: str, clock: Clock, **options: Any) -> Subject:
    """The harness of a site file, with 10 minutes for everything; ``options``: fields of Subject."""
    return subject.of_site(load(path), clock, 600, owner="conformance", **options)


@contextmanager
def memory():
    from running import CHECKOUT

    path = CHECKOUT / "etc" / "sites" / "memory.ini"
    yield of_site(str(path), VirtualClock(), impossible={"flavor": "huge"})
