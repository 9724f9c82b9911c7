"""Servers: how they are started, their ports and their consoles."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, List, Sequence, cast

from vmprobe.core.errors import CloudError
from vmprobe.core.model import Ref, Resource, ServerSpec
from vmprobe.drivers.ec2 import answers
from vmprobe.drivers.ec2.consistency import Requested
from vmprobe.drivers.ec2.names import tag_specification
from vmprobe.drivers.ec2.query import Parameters, rows
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.http import Reply
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from vmprobe.drivers.ec2.plan import Ec2Details


def create(session: Session, spec: ServerSpec, has_detailed_monitoring: bool) -> List[str]:
    """Ask for one server or a fleet, by one request; the result is their ids."""
    parameters = _run_instances(session, spec, has_detailed_monitoring)
    reply = session.call("RunInstances", parameters, asked="create server")
    ids: List[str] = reply.parse(
        lambda: [
            answers.identity(instance, "instanceId")
            for instance in rows(reply.xml(), "instancesSet")
        ]
    )
    if len(ids) < spec.servers:
        raise reply.malformed(f"{len(ids)} instances in the answer, not {spec.servers}")
    return ids


def _run_instances(session: Session, spec: ServerSpec, has_detailed_monitoring: bool) -> Parameters:
    from vmprobe.guest import user_data

    details = cast("Ec2Details", spec.plan.details)
    token = spec.name if spec.servers == 1 else f"{spec.name}/{spec.servers}"
    return {
        "ImageId": details["image"],
        "InstanceType": details["flavor"] or None,
        "ClientToken": token,
        "MinCount": spec.servers,
        "MaxCount": spec.servers,
        "UserData": user_data.for_server(spec),
        "Placement": {"AvailabilityZone": details["zone"]},
        "SubnetId": details["subnet"],
        **details["group"],
        **tag_specification(session.dialect, spec.name, "instance", token=token),
        "BlockDeviceMapping": [
            {"DeviceName": device, "Ebs": {"SnapshotId": snapshot, "DeleteOnTermination": True}}
            for device, snapshot in details["kept"]
        ],
        "Monitoring": {"Enabled": True} if has_detailed_monitoring else None,
    }


def shown(
    session: Session, requested: Requested, parameters: Parameters, asked: str
) -> List[Resource]:
    """The servers that EC2 lists for these parameters."""
    return session.instances(
        parameters, asked, lambda instance: [answers.server(instance, requested)]
    )


def ports(
    session: Session, requested: Requested, servers: Sequence[Ref], with_status_checks: bool
) -> List[Resource]:
    """The ports of all these servers; the status checks of each are one more port."""
    parameters = {"InstanceId": [server.id for server in servers]}
    found = session.instances(
        parameters, "list servers", lambda instance: answers.ports(instance, requested)
    )
    if not with_status_checks:
        return found
    reply = session.call(
        "DescribeInstanceStatus",
        {**parameters, "IncludeAllInstances": True},
        asked="status checks",
    )
    checks: List[Resource] = reply.parse(
        lambda: [
            answers.status_check(element, found)
            for element in rows(reply.xml(), "instanceStatusSet")
        ]
    )
    return [*found, *checks]


def console(session: Session, server: Ref) -> str:
    """The console as it is now; as EC2 saved it last, where the hypervisor cannot tell that."""
    is_latest = session.dialect.latest
    try:
        reply = _console(session, server, is_latest)
    except CloudError as failed:
        if not is_latest or "UnsupportedOperation" not in str(failed):
            raise
        reply = _console(session, server, False)
    output = text(reply.xml(), "output", "")
    try:
        return base64.b64decode(output).decode("utf-8", "replace")
    except ValueError:
        raise reply.malformed("the output in the answer is not base64") from None


def _console(session: Session, server: Ref, latest: bool) -> Reply:
    return session.call(
        "GetConsoleOutput",
        {"InstanceId": server.id, "Latest": latest or None},
        asked=f"console of {server}",
    )
