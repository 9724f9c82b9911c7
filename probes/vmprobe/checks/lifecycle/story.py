"""The life of a test VM as one function, from the submission until it is verified to be gone.

Read this file first.
"""

from __future__ import annotations

from typing import Callable, List

from vmprobe.checks.lifecycle.sampling import sample
from vmprobe.checks.lifecycle.waiting import Waiter
from vmprobe.core.cloud import Cloud
from vmprobe.core.model import (
    AddressSpec,
    Capability,
    Kind,
    Ref,
    SecurityGroupSpec,
    ServerSpec,
    VolumeSpec,
    member_names,
)
from vmprobe.core.timeline import Timeline
from vmprobe.lease.lease import Lease
from vmprobe.site.site import Site


def run(
    site: Site, cloud: Cloud, lease: Lease, timeline: Timeline, settle: Callable[[], None]
) -> None:
    """Run a test VM through its life. Return when everything worked, else raise the error that
    ended it.

    ``settle`` removes what earlier runs left, before anything is created. On every exit the
    timeline has the stages that were reached, and the lease has removed what it could.
    """
    test_vm, deadline = site.test_vm, cloud.deadline
    with timeline.stage("auth"):
        cloud.connect()

    with timeline.stage("image"):
        plan = cloud.resolve(test_vm)
    settle()

    with lease:  # deletes everything created under it, on every exit
        wait = Waiter(site, cloud, lease, timeline)

        with timeline.stage("submit") as stage:
            volumes: List[Ref] = []
            if test_vm["volume"]:
                for name in member_names(str(lease.handle), test_vm["count"]):
                    volumes += lease.create(VolumeSpec(name, test_vm["volume"], plan))
            group = Ref(Kind.SECURITY_GROUP, "")
            if test_vm["depth"] == "reach" and Kind.SECURITY_GROUP in cloud.kinds:
                [group] = lease.create(SecurityGroupSpec(str(lease.handle)))
                # Only a group that the manager shows as ours is opened and used.
                wait.until_ready(stage, [group])
                group = lease.gate.require(group)
                lease.open_port(group, test_vm["reach port"])
            timeline.submitted = deadline.clock.now()
            spec = ServerSpec(
                str(lease.handle),
                plan,
                servers=test_vm["count"],
                nonce=lease.handle.random,
                security_group=group.id,
                depth=test_vm["depth"],
            )
            servers = lease.create(spec)

        with timeline.stage("active") as stage:
            servers = wait.until_active(stage, servers)

        with timeline.stage("network") as stage:
            floating: List[Ref] = []
            if test_vm["depth"] == "reach" and plan.external:
                wait.until_ports_ready(stage, servers)
                for server in servers:
                    floating += lease.create(AddressSpec(server.name, server, plan))
            wait.until_connected(stage, servers, floating)
        lease.record_belongings(servers)

        if volumes:
            with timeline.stage("storage") as stage:
                wait.until_attached(stage, servers, volumes)

        measurable = cloud.can(Capability.METRICS) or test_vm["depth"] == "console"
        if measurable and site.sample.readings > 1:
            with timeline.stage("sample"), wait.observer.blame_servers(servers):
                sample(site, cloud, lease, timeline, servers)

        if test_vm["snapshot"]:  # a site that asks for it at a manager without it is refused
            with timeline.stage("snapshot") as stage:
                with wait.observer.blame_servers(servers):
                    snapshots = [lease.snapshot(server, server.name) for server in servers]
                wait.until_ready(stage, snapshots, servers)

        if volumes:
            with timeline.stage("detach") as stage:
                wait.until_detached(stage, servers, volumes)

        # The stages ``delete`` and ``gone`` are the lease's, because they come on every exit.
