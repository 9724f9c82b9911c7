"""What differs among the managers that speak EC2's API."""

from __future__ import annotations

from typing import FrozenSet, NamedTuple


class Dialect(NamedTuple):
    """One manager's way of speaking EC2's API."""

    version: str = "2016-11-15"  # of the API
    signature: int = 4
    path: str = ""  # appended to a site's URL that has no path
    region: str = ""  # that signatures name, unless the site names another
    owner: str = "self"  # of the images to search, unless the site names one; '': any owner
    # When a new resource gets its tags: "at once" (in the request that creates it), "after" (by
    # CreateTags) or "never".
    tags: str = "at once"
    filters: bool = True  # whether the manager can filter a list
    # Which instance types can be listed: "offered" (by zone, with filters), "all" (no filters, no
    # offerings), or "" (none).
    types: str = "offered"
    max_instances: bool = True  # whether the account attribute of this name is a real limit
    latest: bool = False  # whether GetConsoleOutput takes Latest
    conflicts: FrozenSet[str] = frozenset()  # more error codes that mean "not in this state"
    page: int = 0  # items per page of a long list; 0: the manager does not page
