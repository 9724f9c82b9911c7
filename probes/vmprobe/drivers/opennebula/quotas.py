"""OpenNebula's quotas of a user and of its group, as limits (src/um/Quota*.cc).

A limit of -1 means the default of all accounts, -2 means unlimited. The users and the group
``oneadmin`` have no limits. From 7.0 on there can be more quotas for single clusters, which bind a
VM only there: they are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Tuple

from vmprobe.core.model import Limit
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

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
_SHOWN_IF_UNLIMITED = ("VMS", "CPU", "MEMORY", "IMAGES", "SIZE")  # for what is used
_ONEADMIN = "0"
_DEFAULT = -1  # this quota is the default of all accounts


class _Quota(NamedTuple):
    """One quota."""

    name: str  # of the limit
    key: str  # oned's own name
    resource: str = ""  # what it is of, like "datastore 1"


def limits(user: Element, group: Optional[Element]) -> List[Limit]:
    """The limits of a user and of its group: of each quota the one that leaves less.

    ``group`` is None where it may not be seen.
    """
    lowest = _of_account(user, "DEFAULT_USER_QUOTAS")
    if group is not None:
        for quota, limit in _of_account(group, "DEFAULT_GROUP_QUOTAS").items():
            lowest[quota] = min(lowest.get(quota, limit), limit, key=_left)
    return [
        limit
        for quota, limit in lowest.items()
        if limit.total is not None or quota.key in _SHOWN_IF_UNLIMITED
    ]


def _of_account(account: Element, defaults: str) -> Dict[_Quota, Limit]:
    """The limits of one account. ``defaults`` is the element with the defaults of all accounts."""
    is_limited = text(account, "ID", "") != _ONEADMIN
    own = _of_all_clusters(account, "VM_QUOTA/VM")
    default = _of_all_clusters(account, f"{defaults}/VM_QUOTA/VM")
    limits = {
        _Quota(name, key): _limit(_Quota(name, key), own, default, unit, is_limited)
        for name, key, unit in _OF_VMS
    }
    for kind, name, key, unit in _OF_THINGS:
        for identity, (own, default) in _of_things(account, defaults, kind).items():
            quota = _Quota(name, key, f"{kind.lower()} {identity}")
            limits[quota] = _limit(quota, own, default, unit, is_limited)
    return limits


def _limit(
    quota: _Quota,
    own: Optional[Element],
    default: Optional[Element],
    unit: int,
    is_limited: bool,
) -> Limit:
    used, total = _figure(own, f"{quota.key}_USED"), _figure(own, quota.key)
    if total is None or total == _DEFAULT:
        total = _figure(default, quota.key)
    if total is not None:
        total = total * unit if total >= 0 and is_limited else None
    return Limit(quota.name, max(0.0, used or 0.0) * unit, total, _source(quota), of=quota.resource)


def _source(quota: _Quota) -> str:
    """Like ``quota``, ``quota RUNNING_VMS``, ``quota of datastore 1``: each is told apart."""
    key = f" {quota.key}" if quota.key.startswith("RUNNING_") or quota.key == "RVMS" else ""
    return f"quota{key}" + (f" of {quota.resource}" if quota.resource else "")


def _of_things(
    account: Element, defaults: str, kind: str
) -> Dict[str, Tuple[Optional[Element], Optional[Element]]]:
    """(the account's own quota, the default) of each datastore, network or image, by its id."""
    own, default = (
        {text(quota, "ID", ""): quota for quota in account.findall(path)}
        for path in (f"{kind}_QUOTA/{kind}", f"{defaults}/{kind}_QUOTA/{kind}")
    )
    return {
        identity: (own.get(identity), default.get(identity))
        for identity in {**default, **own}
        if identity
    }


def _of_all_clusters(account: Element, path: str) -> Optional[Element]:
    quotas = account.findall(path)
    return next((quota for quota in quotas if not text(quota, "CLUSTER_IDS", "")), None)


def _figure(quota: Optional[Element], key: str) -> Optional[float]:
    digits = "" if quota is None else text(quota, key, "")
    return float(digits) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", digits) else None


def _left(limit: Limit) -> float:
    return float("inf") if limit.total is None else limit.total - limit.used
