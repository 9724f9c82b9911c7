"""Eucalyptus: EC2's API at a path of its own, signed for a region of its own.

Names of volumes are given by CreateTags, right after they are made; instance types have Eucalyptus' own shape; CloudWatch
is there where the site has it and names its URL.
"""

from __future__ import annotations

from vmprobe.drivers.ec2.driver import Dialect, Ec2, keys_without


class Eucalyptus(Ec2):
    """EC2's verbs in Eucalyptus' dialect."""

    system = "Eucalyptus"
    proved_against = "a gateway that speaks its dialect and verifies signatures, before moto's server and before ec2-api and a real OpenStack"
    endpoint_keys = keys_without("service quotas url")
    dialect = Dialect(
        path="/services/compute", region="eucalyptus", owner="", tags="after", types="all"
    )
