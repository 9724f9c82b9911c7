"""ec2-api, OpenStack's own EC2 interface: Nova, Neutron and Cinder by EC2's API, keys by Keystone.

It lists no instance types: the site names the flavor, or ec2-api uses its default. It has no status
checks and no CloudWatch, and makes snapshots only of servers that boot from a volume. It does not
tell whose an image is. A volume gets its name by CreateTags, after it was made.
"""

from __future__ import annotations

from vmprobe.core.model import Capability, Kind
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.driver import Ec2, keys_without


class Ec2Api(Ec2):
    """EC2's verbs in ec2-api's dialect."""

    system = "OpenStack ec2-api"
    proved_against = "ec2-api before the OpenStack of the live tests, real, started by the tests"
    capabilities = Ec2.capabilities - {Capability.METRICS, Capability.SNAPSHOTS}
    kinds = (Kind.SERVER, Kind.VOLUME)
    metrics_offered = ()
    endpoint_keys = keys_without(
        "service quotas url", "cloudwatch url", "metrics period", "status checks"
    )
    dialect = Dialect(
        region="RegionOne",
        owner="",
        tags="after",
        types="",
        conflicts=frozenset({"UnsupportedOperation"}),
    )
