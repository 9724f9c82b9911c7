"""Generate what the monitoring servers read. Decisions are here, ``templates/`` has only the forms.

A generated file has the path of its template. In that path, SITE stands for each site, PROBE for
each of its checks that a timer runs, ZONE and GLOBAL for Icinga's folders. Times are derived from
the sites' budgets; no number is written twice.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
import uuid
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Set,
    Tuple,
)

from vmprobe.core.errors import ClientError
from vmprobe.ctl.config import templates
from vmprobe.ctl.config.inventory import Host
from vmprobe.site.services import GATEWAY, SERVICES, run_time, service_name

if TYPE_CHECKING:
    import jinja2

NAGIOS_LIMIT = 60.0  # seconds: the default of service_check_timeout and NRPE's command_timeout
ARGO_LIMIT = 900.0  # seconds after which ARGO kills any check
STAGGER = 0.1  # of the interval: by so much intervals differ, so that sites get out of step


class Options(NamedTuple):
    """What an operator says about the monitoring server, besides the sites."""

    limit: float = NAGIOS_LIMIT  # seconds after which the scheduler kills a check
    plugins: str = ""  # the directory of the checks, as the scheduler sees it
    docs: str = ""  # the URL of the suite's docs/, with a page for each check
    installed: Sequence[str] = ()  # checks
    contact_groups: Sequence[str] = ()  # for sites that name none


class Check(NamedTuple):
    """One service of a site. Times are whole seconds."""

    name: str
    probe: str
    about: str
    command: str
    deadline: int
    limit: int  # the scheduler must allow this long
    period: int  # between two runs, as the site or the table says
    interval: int  # the same, staggered
    retry: int
    minutes: str  # the interval, as Nagios counts
    retry_minutes: str
    offset: int  # of a timer's first run after the boot, if it does not run by the calendar
    calendar: str  # when a timer runs, in systemd's syntax; '' if no hours or days fit the period
    passive: bool
    freshness: int
    after: str  # the service that must be OK or WARNING for this one to run, '' if there is none
    page: str


class Row(NamedTuple):
    """A site with its checks and groups: everything that a template needs."""

    name: str
    file: str
    address: str
    contact: str
    notes: str
    page: str
    manager: str
    site: str
    vo: str
    zone: str
    groups: Sequence[str]
    labels: Sequence[Tuple[str, str]]
    submit: Sequence[str]
    contact_groups: Sequence[str]
    checks: Sequence[Check]


def tree(
    target: str, hosts: Sequence[Host], options: Options, own_templates: str = ""
) -> Dict[str, str]:
    """The texts of all files that a target needs, by path.

    ClientError names file and key of a value that the target's format cannot carry.
    """
    forms = templates.load(target, own_templates)
    zones = sorted({host.zone for host in hosts if host.zone})
    texts: Dict[str, str] = {}
    groups: Set[str] = set()
    kinds: Dict[Tuple[Any, ...], Check] = {}  # checks of all sites, one of each kind

    def add(path: str, name: str, template: jinja2.Template, values: Mapping[str, Any]) -> None:
        text = templates.render(name, template, values)
        if text.strip():
            texts[path] = text.rstrip() + "\n"

    for site in Rows(hosts, target, options):  # one at a time: ten thousand rows take 50 MB
        groups.update(site.groups)
        for check in site.checks:
            kinds.setdefault(_kind(check), check)
        for name, template in forms:
            for path, values in _instances(name, site, bool(zones)):
                add(path, name, template, {"row": site, "plugins": options.plugins, **values})

    limit = max((check.limit for check in kinds.values() if not check.passive), default=0)
    shared = {
        "rows": Rows(hosts, target, options),
        "probes": _probes(list(kinds.values())),
        "groups": sorted(groups),
        "zones": zones,
        "options": options,
        "plugins": options.plugins,
        "limit": limit,
    }
    for name, template in forms:
        if "SITE" not in name:
            path = name.replace("GLOBAL/", "global-templates/" if zones else "")
            add(path, name, template, shared)
    return texts


class Rows:
    """The row of each host, made when it is needed."""

    def __init__(self, hosts: Sequence[Host], target: str, options: Options):
        self._hosts, self._target, self._options = hosts, target, options

    def __iter__(self) -> Iterator[Row]:
        return (row(host, self._target, self._options) for host in self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)


def _instances(name: str, site: Row, has_zones: bool) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """The paths of the files that a template makes for a site, each with its additional values.

    None for a template that all sites share.
    """
    if "SITE" not in name:
        return
    zone = f"{site.zone or 'master'}/" if has_zones else ""
    path = name.replace("ZONE/", zone).replace("SITE", site.name)
    if "PROBE" not in path:
        yield path, {}
        return
    for check in site.checks:
        if check.passive:
            yield path.replace("PROBE", check.probe), {"check": check}


# --- one site -----------------------------------------------------------------------------------


def row(host: Host, target: str, options: Options) -> Row:
    """A host with its checks for one target."""
    base, labels = os.path.basename(host.file), dict(host.labels)
    for path in (host.file, options.plugins):
        if not re.match(r"^[\w/.@+=:,-]*$", path):
            raise ClientError(
                f"{path}: some schedulers cannot run a command with this path; use only letters, "
                "digits and /.@_+=:,-"
            )
    site, vo = labels.pop("site", host.name), labels.pop("vo", "")
    groups = [f"vmprobe-site-{site}", f"vmprobe-manager-{host.manager}"]
    groups += [f"vmprobe-vo-{vo}"] if vo else []
    probes = [probe for probe in host.probes if probe in options.installed]
    checks = [_check(host, probe, GATEWAY in probes, target, options) for probe in probes]
    if target == "systemd" and not host.submit and any(check.passive for check in checks):
        raise ClientError(
            f"{base} [schedule] submit: this key is missing; the results of a timer's runs have "
            "to be submitted somewhere"
        )
    text = templates.text
    notes = text(host.notes, f"{base} [site] notes")
    page = re.match(r"^https?://\S+$", host.notes)
    return Row(
        name=host.name,
        file=host.file,
        address=text(host.address or "127.0.0.1", f"{base} [endpoint] url"),
        contact=text(host.contact, f"{base} [site] contact"),
        notes=text("") if page else notes,
        page=notes if page else text(""),
        manager=host.manager,
        site=site,
        vo=vo,
        zone=host.zone,
        groups=groups,
        labels=[
            (key, text(value, f"{base} [labels] {key}")) for key, value in sorted(labels.items())
        ],
        submit=host.submit,
        contact_groups=host.contact_groups or options.contact_groups,
        checks=checks,
    )


def _check(host: Host, probe: str, has_gateway: bool, target: str, options: Options) -> Check:
    """One check of a site; it runs after the gateway's check if the site has that."""
    service = SERVICES[probe]
    deadline = run_time(probe, host.deadline)
    limit = needed(deadline)
    source = host if service.creates else service  # of interval and retry
    chance = _chance(host.name, probe)
    period = round(source.interval)
    interval = round(source.interval * (1 + STAGGER * (chance - 0.5)))
    name, command, page = _names(probe, options.docs)
    return Check(
        name=name,
        probe=probe,
        about=service.about,
        command=command,
        deadline=math.ceil(deadline),
        limit=limit,
        period=period,
        interval=interval,
        retry=round(source.retry),
        minutes=_minutes(interval),
        retry_minutes=_minutes(source.retry),
        offset=round(interval * chance),
        calendar=_calendar(period, chance),
        passive=_is_passive(host, limit, target, options),
        freshness=2 * interval + limit,
        after=service_name(GATEWAY) if has_gateway and probe != GATEWAY else "",
        page=page,
    )


@functools.lru_cache(maxsize=None)
def _names(probe: str, docs: str) -> Tuple[str, str, str]:
    """A check's service, command and page. Cached, so that ten thousand sites share the strings."""
    page = f"{docs.rstrip('/')}/check_vm_{probe}.md" if docs else ""
    return service_name(probe), f"check_vm_{probe}", page


def needed(deadline: float) -> int:
    """The time limit, in seconds, that lets a check with this deadline end by itself.

    >>> needed(50), needed(300)
    (60, 335)
    """
    return math.ceil(deadline) + math.ceil(deadline / 10) + 5


def _is_passive(host: Host, limit: int, target: str, options: Options) -> bool:
    """Whether a timer runs the check: the site says so, or Nagios' limit is too short."""
    base = os.path.basename(host.file)
    if target == "argo" and limit > ARGO_LIMIT:
        raise ClientError(
            f"{base} [budget] deadline: the check needs a limit of {limit} s, but ARGO kills "
            f"checks after {ARGO_LIMIT:g} s"
        )
    if host.checks == "passive":
        return True
    if target not in ("nagios", "systemd") or limit <= options.limit:
        return False
    if host.checks == "active":
        raise ClientError(
            f"{base} [schedule] checks: active needs a service_check_timeout of {limit} s, but it "
            f"is {options.limit:g} s; raise it and pass it with --limit, or use auto, so that a "
            "timer runs the check"
        )
    return True


def _chance(*words: str) -> float:
    """A number from 0 to 1 that looks random, and is always the same for the same words."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:4], "big") / 2**32


def _calendar(period: int, chance: float) -> str:
    """When a timer runs, in systemd's syntax; '' if an hour or day has no whole number of periods.

    Also '' for periods below ten minutes: these need no spreading over the hour, and should not
    wait for their first run.

    >>> _calendar(1800, 0.5), _calendar(3600, 0.5)
    ('*-*-* *:15/30:00 UTC', '*-*-* *:30:00 UTC')
    >>> _calendar(4 * 3600, 0.51), _calendar(86400, 0.5)
    ('*-*-* 02/4:02:24 UTC', '*-*-* 12:00:00 UTC')
    >>> _calendar(300, 0.5), _calendar(50 * 60, 0.5)
    ('', '')
    """
    at = int(period * chance)
    hour, minute, second = at // 3600, at // 60 % 60, at % 60
    if period >= 600 and 3600 % period == 0:
        hours = "*"
        minutes = f"{minute:02}" if period == 3600 else f"{minute:02}/{period // 60}"
    elif period % 3600 == 0 and 86400 % period == 0:
        hours = f"{hour:02}" if period == 86400 else f"{hour:02}/{period // 3600}"
        minutes = f"{minute:02}"
    else:
        return ""
    return f"*-*-* {hours}:{minutes}:{second:02} UTC"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.2f}".rstrip("0").rstrip(".")


# --- what all sites share -----------------------------------------------------------------------


class Probe(NamedTuple):
    """A check that at least one site has."""

    probe: str
    name: str
    about: str
    command: str
    metric: str
    page: str
    deadline: int  # seconds; the longest of any site
    limit: int  # seconds; the longest of any site
    interval: int  # minutes; the shortest of any site
    retry: int  # minutes; the shortest of any site
    after: str
    uuid_command: str  # of the Director's objects: the same in each run
    uuid_template: str


def _kind(check: Check) -> Tuple[Any, ...]:
    """Everything in which the checks of different sites can differ here."""
    return (
        check.probe,
        check.deadline,
        check.limit,
        check.period,
        check.retry,
        check.passive,
        check.after,
    )


def _probes(kinds: Sequence[Check]) -> List[Probe]:
    """The checks of all sites, each once, by name. ``kinds``: at least one check of each kind."""
    by_probe: Dict[str, List[Check]] = {}
    for check in kinds:
        by_probe.setdefault(check.probe, []).append(check)
    return [
        Probe(
            probe=probe,
            name=checks[0].name,
            about=checks[0].about,
            command=checks[0].command,
            metric=SERVICES[probe].metric,
            page=checks[0].page,
            deadline=max(check.deadline for check in checks),
            limit=max(check.limit for check in checks),
            interval=max(1, min(check.period for check in checks) // 60),
            retry=max(1, min(check.retry for check in checks) // 60),
            after=SERVICES[GATEWAY].metric if any(check.after for check in checks) else "",
            uuid_command=_uuid("command", probe),
            uuid_template=_uuid("template", probe),
        )
        for probe, checks in sorted(by_probe.items())
    ]


def _uuid(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "vmprobe/" + "/".join(words)))
