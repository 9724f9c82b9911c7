"""OpenNebula's quotas of a user and of its group, as limits (src/um/Quota*.cc).

A limit of -1 is the default of all accounts, -2 none at all. The users and the group ``oneadmin`` have none. From 7.0 on there
can be more for single clusters, which bind a VM only there: they are left out.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from vmprobe.core.model import Limit
from vmprobe.transport.xml import text

_MIB = 2**20
_OF_VMS = (
    ("servers", "VMS", 1),
    ("servers", "RUNNING_VMS", 1),
    ("cpus", "CPU", 1),
    ("cpus", "RUNNING_CPU", 1),
    ("memory", "MEMORY", _MIB),
    ("memory", "RUNNING_MEMORY", _MIB),
    ("disk", "SYSTEM_DISK_SIZE", _MIB),
)
_OF_THINGS = (
    ("DATASTORE", "volumes", "IMAGES", 1),
    ("DATASTORE", "storage", "SIZE", _MIB),
    ("NETWORK", "leases", "LEASES", 1),
    ("IMAGE", "servers", "RVMS", 1),
)
_ALWAYS = (
    "VMS",
    "CPU",
    "MEMORY",
    "IMAGES",
    "SIZE",
)  # are told even where they are unlimited, for what is used
_ONEADMIN = "0"


class _Quota(NamedTuple):
    """One quota: the name of its limit, oned's own word, and the id of the thing that it is of."""

    name: str
    key: str
    thing: str = ""  # like "datastore 1"


def limits(user: Any, group: Any) -> List[Limit]:
    """The limits of a user and of its group (None where it may not be seen): of each the one that leaves less."""
    found = _of_account(user, "DEFAULT_USER_QUOTAS")
    for quota, limit in (
        _of_account(group, "DEFAULT_GROUP_QUOTAS") if group is not None else {}
    ).items():
        found[quota] = min(found.get(quota, limit), limit, key=_left)
    return [
        limit for quota, limit in found.items() if limit.total is not None or quota.key in _ALWAYS
    ]


def _of_account(account: Any, defaults: str) -> Dict[_Quota, Limit]:
    bound = text(account, "ID", "") != _ONEADMIN
    own, of_all = (
        _everywhere(account, path) for path in ("VM_QUOTA/VM", f"{defaults}/VM_QUOTA/VM")
    )
    found = {
        _Quota(name, key): _limit(_Quota(name, key), own, of_all, unit, bound)
        for name, key, unit in _OF_VMS
    }
    for kind, name, key, unit in _OF_THINGS:
        for identity, (mine, of_everybody) in _things(account, defaults, kind).items():
            quota = _Quota(name, key, f"{kind.lower()} {identity}")
            found[quota] = _limit(quota, mine, of_everybody, unit, bound)
    return found


def _limit(quota: _Quota, own: Any, of_all: Any, unit: int, bound: bool) -> Limit:
    used, most = _figure(own, f"{quota.key}_USED"), _figure(own, quota.key)
    if most is None or most == -1:
        most = _figure(of_all, quota.key)
    total = None if most is None or most < 0 or not bound else most * unit
    return Limit(quota.name, max(0.0, used or 0.0) * unit, total, _source(quota), of=quota.thing)


def _source(quota: _Quota) -> str:
    """``quota``, and what else tells it from others of the same name: ``quota RUNNING_VMS``, ``quota of datastore 1``."""
    word = f" {quota.key}" if quota.key.startswith("RUNNING_") or quota.key == "RVMS" else ""
    return f"quota{word}" + (f" of {quota.thing}" if quota.thing else "")


def _things(account: Any, defaults: str, kind: str) -> Dict[str, Tuple[Any, Any]]:
    """(the account's own quota, everybody's) by the id of each datastore, network or image for which there is one."""
    own, of_all = (
        {text(one, "ID", ""): one for one in account.findall(path)}
        for path in (f"{kind}_QUOTA/{kind}", f"{defaults}/{kind}_QUOTA/{kind}")
    )
    return {
        identity: (own.get(identity), of_all.get(identity))
        for identity in {**of_all, **own}
        if identity
    }


def _everywhere(account: Any, path: str) -> Any:
    return next(
        (quota for quota in account.findall(path) if not text(quota, "CLUSTER_IDS", "")), None
    )


def _figure(quota: Any, key: str) -> Optional[float]:
    found = "" if quota is None else text(quota, key, "")
    return float(found) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", found) else None


def _left(limit: Limit) -> float:
    return float("inf") if limit.total is None else limit.total - limit.used
