"""How what a run makes carries its handle: tags, and the filters that ask for them."""

from __future__ import annotations

import re
from typing import Dict

from vmprobe.core import handle
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.query import Value


def tag_specification(
    dialect: Dialect, name: str, *kinds: str, token: str = ""
) -> Dict[str, Value]:
    """The parameters that tag new things of these kinds, where the request that creates can.

    The second tag, ``vmprobe``, is the one that a site's tagging rules do not rewrite.
    """
    if dialect.tags != "at once":
        return {}
    tags = [{"Key": "Name", "Value": name}, {"Key": "vmprobe", "Value": token or name}]
    return {"TagSpecification": [{"ResourceType": kind, "Tag": tags} for kind in kinds]}


def name_filter(dialect: Dialect, name: str, key: str = "tag:Name") -> Dict[str, Value]:
    """The parameters that ask for what begins with ``name``; {} where the manager cannot filter.

    A member's number is left out, as the members of a fleet share one name.
    """
    is_foreign = key == "client-token" and not name.startswith(handle.PREFIX)
    if not name or not dialect.filters or is_foreign:
        return {}
    return {"Filter": [{"Name": key, "Value": [re.sub(r"-\d*$", "", name) + "*"]}]}
