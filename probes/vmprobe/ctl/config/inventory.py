"""All sites in one flat list, from which the configuration is generated.

Ten thousand site files take seconds to read. So the content of each is remembered together with the
file's time stamp, size and inode, and read again only when one of these, or the suite, has changed.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from vmprobe import __version__
from vmprobe.core import urls
from vmprobe.core.errors import ClientError
from vmprobe.host import paths
from vmprobe.site import site as sites
from vmprobe.site.services import SERVICES

FORM = 2  # of a remembered Host; increase it when the fields change
_Stamp = List[int]  # time of the last change in ns, size, inode


class Host(NamedTuple):
    """A site as the monitoring server sees it. Times are seconds."""

    name: str
    file: str  # path of the site file
    manager: str
    address: str  # of the endpoint, '' if it has none
    contact: str
    notes: str
    deadline: float
    interval: float
    retry: float
    checks: str  # auto, active, passive
    probes: Sequence[str]  # that the site wants and its manager can serve
    zone: str
    submit: Sequence[str]
    contact_groups: Sequence[str]
    labels: Dict[str, str]


def read(
    directories: Sequence[str], remembered: Dict[str, Any]
) -> Tuple[List[Host], Dict[str, Any]]:
    """The hosts of all site files in these directories, by name, and what to remember.

    ClientError names the first bad file; none is skipped silently.
    """
    known = remembered.get("hosts") if remembered.get("suite") == _suite() else {}
    known = known if isinstance(known, dict) else {}
    hosts: Dict[str, Host] = {}
    remember: Dict[str, Any] = {}
    for path, stamp in _files(directories):
        host = _recalled(known.get(path), stamp) or _host(path)
        if host.name in hosts:
            raise ClientError(
                f"{path} [site] name: {host.name} is also the name of {hosts[host.name].file}"
            )
        hosts[host.name] = host
        remember[path] = [stamp, list(host)]  # the types that JSON returns
    return [hosts[name] for name in sorted(hosts)], {"suite": _suite(), "hosts": remember}


def _recalled(entry: Any, stamp: _Stamp) -> Optional[Host]:
    """The host that was remembered with this stamp of its file, None if there is none."""
    try:
        return Host(*entry[1]) if entry and entry[0] == stamp else None
    except (TypeError, LookupError):  # not written by this suite
        return None


def _files(directories: Sequence[str]) -> List[Tuple[str, _Stamp]]:
    """The path and stamp of each site file."""
    site_files: List[Tuple[str, _Stamp]] = []
    for directory in directories:
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name.endswith(".ini") and not entry.name.startswith("."):
                        state = entry.stat()
                        stamp = [state.st_mtime_ns, state.st_size, state.st_ino]
                        site_files.append((os.path.abspath(entry.path), stamp))
        except OSError as error:
            raise ClientError(f"{error.filename}: {error.strerror}") from None
    if not site_files:
        raise ClientError(f"no site file in {', '.join(directories)}")
    return sorted(site_files)


def _host(path: str) -> Host:
    site = sites.load(path)
    schedule = site.schedule
    return Host(
        name=site.name,
        file=path,
        manager=site.endpoint["manager"],
        address=urls.host(str(site.endpoint.get("url") or "")),
        contact=site.about.get("contact", ""),
        notes=site.about.get("notes", ""),
        deadline=site.deadline,
        interval=schedule.interval,
        retry=schedule.retry_interval,
        checks=schedule.checks,
        probes=[
            probe
            for probe in schedule.probes
            if SERVICES[probe].needs is None or SERVICES[probe].needs in site.driver.capabilities
        ],
        zone=schedule.zone,
        submit=list(schedule.submit),
        contact_groups=list(schedule.contact_groups),
        labels=dict(site.labels),
    )


def _suite() -> List[Any]:
    """What else the meaning of a site file depends on: the suite's version and place."""
    return [FORM, __version__, paths.newest_module(), paths.in_checkout()]
