"""How resources carry the handle of their run: tags, and filters for them."""

from __future__ import annotations

import re
from typing import Dict

from vmprobe.core import handle
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.query import Value


def tag_specification(
    dialect: Dialect, name: str, *kinds: str, token: str = ""
) -> Dict[str, Value]:
    """The parameters that tag new resources of these kinds; {} if the request cannot.

    A site's tagging rules may rewrite the tag ``Name``, but not the tag ``vmprobe``.
    """
    if dialect.tags != "at once":
        return {}
    tags = [{"Key": "Name", "Value": name}, {"Key": "vmprobe", "Value": token or name}]
    return {"TagSpecification": [{"ResourceType": kind, "Tag": tags} for kind in kinds]}


def name_filter(dialect: Dialect, name: str, key: str = "tag:Name") -> Dict[str, Value]:
    """The parameters that list only what begins with ``name``; {} if the manager cannot filter.

    The members of a fleet share one name, so the number of a member is left out.
    """
    is_foreign = key == "client-token" and not name.startswith(handle.PREFIX)
    if not name or not dialect.filters or is_foreign:
        return {}
    return {"Filter": [{"Name": key, "Value": [re.sub(r"-\d*$", "", name) + "*"]}]}
