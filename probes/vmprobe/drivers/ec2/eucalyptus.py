"""Eucalyptus: EC2's API at its own path, signed for its own region.

A volume gets its name by CreateTags, after it was made. Instance types have Eucalyptus' own
elements. CloudWatch is used where the site names its URL.
"""

from __future__ import annotations

from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.driver import Ec2, keys_without


class Eucalyptus(Ec2):
    """EC2's verbs in Eucalyptus' dialect."""

    system = "Eucalyptus"
    proved_against = (
        "a gateway that speaks its dialect and verifies signatures, before moto's server and "
        "before ec2-api and a real OpenStack"
    )
    endpoint_keys = keys_without("service quotas url")
    dialect = Dialect(
        path="/services/compute", region="eucalyptus", owner="", tags="after", types="all"
    )
