"""Nimbus: a part of EC2's API of 2010, at port 8444, with signature version 2.

Its keys belong to an X.509 identity. Of RunInstances it uses the image, the type, the user data
and the token. It shows the token in its lists, so the token carries the handle. It has no filters,
tags, volumes, consoles or metrics. Its launch index is always 0, so each server of a fleet is a
request of its own.
"""

from __future__ import annotations

from typing import List, Optional

from vmprobe.core.driver import Key
from vmprobe.core.model import Capability, Kind, Ref
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.driver import Ec2, keys_without


def _no_volume(text: str) -> Optional[int]:
    if text != "none":
        raise ValueError("is not 'none', and Nimbus has no volumes")
    return None


class Nimbus(Ec2):
    """EC2's verbs in Nimbus' dialect."""

    system = "Nimbus"
    proved_against = (
        "a gateway that speaks its dialect and verifies signatures, before moto's server and "
        "before ec2-api and a real OpenStack"
    )
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

    def belongings(self, server: Ref) -> List[Ref]:
        """None: Nimbus has neither volumes nor interfaces, and refuses to list them."""
        return []
