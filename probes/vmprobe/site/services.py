"""What each check is to a scheduler, in one table, and how long a run of it may take.

A check that is not in the table is not registered with any scheduler.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from vmprobe.core.model import Capability

LONGEST_READ_ONLY = 50.0  # seconds for a check that creates and removes nothing: Nagios kills at 60


class Service(NamedTuple):
    """A check as a service of a site."""

    metric: str  # its name at ARGO, after eu.egi.cloud.
    about: str
    interval: float = 3600.0  # seconds between two runs
    retry: float = 900.0  # seconds to the next run after one that was not OK
    # It starts VMs: its run time and its interval are the site's own, and it waits for the gateway.
    creates: bool = False
    needs: Optional[Capability] = None  # of the site's driver


GATEWAY = "gateway"  # the check that the others depend on

SERVICES = {
    GATEWAY: Service("API-Latency", "the VM manager answers", 300.0, 60.0),
    "lifecycle": Service("VM-Lifecycle", "a test VM lives and is gone again", creates=True),
    "leftovers": Service("VM-Orphans", "nothing is left of earlier test VMs"),
    "state": Service("VM-State", "what runs, and in which state", 600.0, 300.0),
    "activity": Service("VM-Activity", "what the VMs use", 600.0, 300.0, needs=Capability.METRICS),
    "capacity": Service("Contention", "room for more VMs", needs=Capability.CAPACITY),
    "image": Service("Image-Freshness", "the image is the endorsed one", 6 * 3600.0, 3600.0),
}


def service_name(check: str) -> str:
    """The service's name in every scheduler, and in every result that is submitted."""
    return f"vm-{check}"


def run_time(
    check: str, deadline: float, timeout: Optional[float] = None, removes: bool = False
) -> float:
    """Seconds that one run of a check may take, clean-up included, at a site with this
    ``deadline``.

    ``timeout`` is the command line's -t, if there is one. ``removes``: this run removes leftovers.

    >>> run_time("lifecycle", 300.0), run_time("state", 300.0), run_time("state", 30.0)
    (300.0, 50.0, 30.0)
    """
    if timeout:
        return timeout
    return deadline if removes or SERVICES[check].creates else min(LONGEST_READ_ONLY, deadline)
