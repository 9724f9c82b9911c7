"""Nimbus: EC2's API of 2010 in part, at port 8444, by signature version 2 with keys that belong to an X.509 identity.

Of RunInstances it heeds image, type, user data and the token, which it repeats in its lists: that is where the handle is.
There are no filters, tags, volumes, consoles or figures, and the launch index is always 0, so that each server of a
fleet is a request of its own.
"""

from __future__ import annotations

from typing import Optional

from vmprobe.core.driver import Key
from vmprobe.core.model import Capability, Kind
from vmprobe.drivers.ec2.driver import Dialect, Ec2, keys_without


def _no_volume(text: str) -> Optional[int]:
    if text != "none":
        raise ValueError("is not 'none', and Nimbus has no volumes")
    return None


class Nimbus(Ec2):
    """EC2's verbs in Nimbus' dialect."""

    system = "Nimbus"
    proved_against = "a gateway that speaks its dialect and verifies signatures, before moto's server and before ec2-api and a real OpenStack"
    capabilities = frozenset({Capability.IMAGES})
    kinds = (Kind.SERVER,)
    metrics_offered = ()
    endpoint_keys = keys_without(
        "service quotas url",
        "cloudwatch url",
        "metrics period",
        "status checks",
        "device",
        "image owner",
    )
    test_vm_keys = {"volume": Key(_no_volume)}
    dialect = Dialect(
        version="2010-08-31", signature=2, owner="", tags="never", filters=False, types=""
    )
