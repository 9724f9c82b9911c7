"""What each probe is to a scheduler, in one table; what is not in it is not registered."""

from __future__ import annotations

from typing import NamedTuple, Optional

from vmprobe.core.model import Capability


class Service(NamedTuple):
    """A probe as a service of a site."""

    metric: str  # its name at ARGO, after eu.egi.cloud.
    about: str
    interval: float = 3600.0  # seconds between two runs
    retry: float = 900.0  # seconds to the next run after one that was not OK
    creates: bool = False  # starts VMs: its time and its rhythm are the site's own, and it waits for the gateway
    needs: Optional[Capability] = None  # of the site's driver


GATEWAY = "gateway"  # the probe that the others depend on

SERVICES = {
    GATEWAY: Service("API-Latency", "the VM manager answers", 300.0, 60.0),
    "lifecycle": Service("VM-Lifecycle", "a test VM lives and is gone again", creates=True),
    "leftovers": Service("VM-Orphans", "nothing is left of earlier test VMs"),
    "state": Service("VM-State", "what runs, and in which state", 600.0, 300.0),
    "activity": Service("VM-Activity", "what the VMs use", 600.0, 300.0, needs=Capability.METRICS),
    "capacity": Service("Contention", "room for more VMs", needs=Capability.CAPACITY),
    "image": Service("Image-Freshness", "the image is the endorsed one", 6 * 3600.0, 3600.0),
}


def service_name(probe: str) -> str:
    """The service's name in every scheduler, and in every result that is submitted."""
    return f"vm-{probe}"
