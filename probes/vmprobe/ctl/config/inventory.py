"""All sites at once, flat: what the generated configuration is made from. Decisions are in ``render``.

Ten thousand site files take seconds to read, so what was found in one is remembered with the file's own marks, and
read anew only when these, or this suite, have changed.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe import __version__
from vmprobe.core import urls
from vmprobe.core.errors import ClientError
from vmprobe.host import paths
from vmprobe.site import site as sites
from vmprobe.site.services import SERVICES

FORM = 2  # of a Host as it is remembered


class Host(NamedTuple):
    """A site as the monitoring server sees it. Durations are seconds."""

    name: str
    file: str  # the site file
    manager: str
    address: str  # of the endpoint; '' where it has none
    contact: str
    notes: str
    deadline: float
    interval: float
    retry: float
    checks: str  # auto, active, passive
    probes: Sequence[str]  # wanted by the site, and possible with its manager
    zone: str
    submit: Sequence[str]
    contact_groups: Sequence[str]
    labels: Dict[str, str]


def read(
    directories: Iterable[str], remembered: Dict[str, Any]
) -> Tuple[List[Host], Dict[str, Any]]:
    """The hosts of all site files in these directories, by name, and what to remember for the next time.

    ClientError names the first bad file; none is left out silently.
    """
    known = remembered.get("hosts") if remembered.get("suite") == _suite() else {}
    known = known if isinstance(known, dict) else {}
    found: Dict[str, Host] = {}
    kept: Dict[str, Any] = {}
    for path, marks in _files(directories):
        host = _recalled(known.get(path), marks) or _host(path)
        if host.name in found:
            raise ClientError(
                f"{path} [site] name: {host.name} is the name of {found[host.name].file}, too"
            )
        found[host.name] = host
        kept[path] = [marks, list(host)]  # as it comes back out of JSON
    return [found[name] for name in sorted(found)], {"suite": _suite(), "hosts": kept}


def _recalled(held: Any, marks: List[int]) -> Optional[Host]:
    """The host that was remembered with these marks of its file; None where there is none."""
    try:
        return Host(*held[1]) if held and held[0] == marks else None
    except (TypeError, LookupError):  # somebody else has written there
        return None


def _files(directories: Iterable[str]) -> List[Tuple[str, List[int]]]:
    """Each site file with its marks."""
    found = []
    for directory in directories:
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.endswith(".ini") and not entry.name.startswith("."):
                        state = entry.stat()
                        found.append(
                            (
                                os.path.abspath(entry.path),
                                [state.st_mtime_ns, state.st_size, state.st_ino],
                            )
                        )
        except OSError as failed:
            raise ClientError(f"{failed.filename}: {failed.strerror}") from None
    if not found:
        raise ClientError(f"no site file in {', '.join(directories)}")
    return sorted(found)


def _host(path: str) -> Host:
    site = sites.load(path)
    schedule, manager = site.schedule, site.endpoint["manager"]
    probes = [
        probe
        for probe in schedule["probes"]
        if SERVICES[probe].needs is None or SERVICES[probe].needs in site.driver.capabilities
    ]
    return Host(
        site.name,
        path,
        manager,
        urls.host(str(site.endpoint.get("url") or "")),
        site.about.get("contact", ""),
        site.about.get("notes", ""),
        site.deadline,
        schedule["interval"],
        schedule["retry interval"],
        schedule["checks"],
        probes,
        schedule["zone"],
        list(schedule["submit"]),
        list(schedule["contact groups"]),
        dict(site.labels),
    )


def _suite() -> List[Any]:
    """What the meaning of a site file depends on beside its text."""
    newest = paths.newest_module()
    return [FORM, __version__, newest, paths.in_checkout()]
