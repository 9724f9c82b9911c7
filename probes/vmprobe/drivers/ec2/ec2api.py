"""ec2-api, OpenStack's own EC2 interface: Nova, Neutron and Cinder in EC2's words, keys from Keystone.

It has no instance types of its own to list (the flavor is named, or ec2-api's default), no status checks and no
CloudWatch, and of images that are not volumes no snapshots. Whose an image is does not count. Names of volumes are given
by CreateTags, right after they are made.
"""

from __future__ import annotations

from vmprobe.core.model import Capability, Kind
from vmprobe.drivers.ec2.driver import Dialect, Ec2, keys_without


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
