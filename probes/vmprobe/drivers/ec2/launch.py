"""The request that starts servers: RunInstances' parameters."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Optional, cast

from vmprobe.core.model import ServerSpec
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.names import tag_specification
from vmprobe.drivers.ec2.query import Parameters

if TYPE_CHECKING:
    from vmprobe.drivers.ec2.plan import Ec2Details


def parameters(dialect: Dialect, spec: ServerSpec, has_detailed_monitoring: bool) -> Parameters:
    """What RunInstances takes for one server, or for a fleet, which shares one token."""
    details = cast("Ec2Details", spec.plan.details)
    token = spec.name if spec.count == 1 else f"{spec.name}/{spec.count}"
    return {
        "ImageId": details["image"],
        "InstanceType": details["flavor"] or None,
        "ClientToken": token,
        "MinCount": spec.count,
        "MaxCount": spec.count,
        "UserData": _user_data(spec),
        "Placement": {"AvailabilityZone": details["zone"]},
        "SubnetId": details["subnet"],
        **details["group"],
        **tag_specification(dialect, spec.name, "instance", token=token),
        "BlockDeviceMapping": [
            {"DeviceName": device, "Ebs": {"SnapshotId": snapshot, "DeleteOnTermination": True}}
            for device, snapshot in details["kept"]
        ],
        "Monitoring": {"Enabled": True} if has_detailed_monitoring else None,
    }


def _user_data(spec: ServerSpec) -> Optional[str]:
    """The site's own user data; else the reporter, where the console is to be read.

    A cloud-init image runs the reporter; the suite's own image takes only the nonce out of it.
    """
    script = spec.user_data
    if not script and spec.plan.details.get("depth") == "console" and spec.nonce:
        from vmprobe.guest.image import reporter

        script = reporter(spec.nonce)
    return base64.b64encode(script.encode("ascii")).decode("ascii") if script else None
