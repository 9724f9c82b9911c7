"""The stage ``sample``: measure the test VMs, through the manager and through their consoles."""

from __future__ import annotations

from typing import Dict, List, Sequence

from vmprobe.checks.lifecycle import metering
from vmprobe.checks.rates import sources, summarise
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import CloudError, NotMeasured, NotPermitted
from vmprobe.core.model import Capability, Ref, Sample
from vmprobe.core.timeline import Timeline
from vmprobe.guest import console
from vmprobe.lease.lease import Lease
from vmprobe.site.site import Site

# So many servers without a reading, and no reading of any other, mean that the manager failed.
_MOST_UNMEASURED = 3


def sample(
    site: Site, cloud: Cloud, lease: Lease, timeline: Timeline, servers: Sequence[Ref]
) -> None:
    """Measure the servers; the values go into the timeline's ``metrics``.

    These are what the manager measures, what the servers say at depth console, and the factor
    between the two.
    """
    measured = _measure(site, cloud, timeline, servers) if cloud.can(Capability.METRICS) else {}
    facts = _console_facts(site, cloud, lease, timeline, servers)

    timeline.metrics.update(measured)
    timeline.metrics.update(metering.felt(facts))
    window = (site.sample.readings - 1) * site.sample.interval
    own_rates = [metering.rates(of_server, window) for of_server in facts]
    factor, differences = metering.compare(measured, own_rates)
    if factor is not None:
        timeline.metrics["metering"] = factor
    timeline.notes += differences


def _measure(
    site: Site, cloud: Cloud, timeline: Timeline, servers: Sequence[Ref]
) -> Dict[str, float]:
    """Return averages and peaks by perfdata label. What the manager does not measure is left out
    and noted; it is never zero.
    """
    readings: Dict[str, List[List[Sample]]] = {server.id: [] for server in servers}
    # By server: one that cannot be measured does not end the run.
    failed: Dict[str, CloudError] = {}
    try:
        for number in range(site.sample.readings):
            if number:
                cloud.deadline.sleep(site.sample.interval)
            for server in servers:
                if server.id not in failed:
                    _read(cloud, server, readings[server.id], failed)
                if len(failed) > _MOST_UNMEASURED and not any(readings.values()):
                    raise failed[server.id]
        if len(failed) == len(servers):
            raise next(iter(failed.values()))
    except (NotPermitted, NotMeasured) as unmeasured:
        timeline.notes.append(f"metrics are not measured: {unmeasured}")
        return {}

    timeline.notes += [
        f"server {server} is not measured: {error}"
        for server, error in list(failed.items())[:_MOST_UNMEASURED]
    ]
    values, missing = summarise(list(readings.values()))
    timeline.notes += sources(list(readings.values()))
    if missing:
        timeline.notes.append(f"not measured, the manager does not say: {', '.join(missing)}")
    return values


def _read(
    cloud: Cloud, server: Ref, readings: List[List[Sample]], failed: Dict[str, CloudError]
) -> None:
    """Add a reading of a server, or the reason why it cannot be measured. NotPermitted is raised,
    because it applies to all servers.
    """
    try:
        readings.append(cloud.metrics(server))
    except NotPermitted:
        raise
    except CloudError as error:
        failed[server.id] = error


def _console_facts(
    site: Site, cloud: Cloud, lease: Lease, timeline: Timeline, servers: Sequence[Ref]
) -> List[List[console.Fact]]:
    """What each server's console has said so far; nothing at other depths, or where a console does
    not answer.
    """
    if site.test_vm["depth"] != "console":
        return []
    try:
        return [console.facts(cloud.console(server), lease.handle.random) for server in servers]
    except CloudError as error:
        timeline.notes.append(f"the servers' own measurements are missing: {error}")
        return []
