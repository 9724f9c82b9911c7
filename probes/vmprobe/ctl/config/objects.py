"""What the monitoring servers read, made from the inventory: here are the decisions, in ``templates/`` are the forms.

The tree of a target's templates is the tree of what it makes. In a template's path SITE stands for each site in turn,
PROBE for each of its probes that a timer runs, ZONE and GLOBAL for Icinga's folders. Times are derived from the
sites' budgets; no number is written twice.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import uuid
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Tuple,
)

from vmprobe.checks.session import LOOK
from vmprobe.core.errors import ClientError
from vmprobe.ctl.config.inventory import Host
from vmprobe.host import paths
from vmprobe.site.services import GATEWAY, SERVICES, service_name

NAGIOS_LIMIT = 60.0  # seconds: service_check_timeout and NRPE's command_timeout, as they come
ARGO_LIMIT = 900.0  # what ARGO gives every check
STAGGER = 0.1  # of the interval; so runs at many sites do not keep in step


class Options(NamedTuple):
    """What an operator says about the monitoring server, beside the sites."""

    limit: float = NAGIOS_LIMIT  # seconds after which the scheduler kills a check
    plugins: str = ""  # the directory of the probes, as the scheduler sees it
    docs: str = ""  # a URL at which the files of this suite's docs/ lie, a page for each probe
    installed: Sequence[str] = ()  # probes
    contact_groups: Sequence[str] = ()  # of sites that name none


class Check(NamedTuple):
    """One service of a site. Times are whole seconds."""

    name: str
    probe: str
    about: str
    command: str
    deadline: int
    limit: int  # what the scheduler has to leave it
    period: int  # between two runs, as the site or the table has it
    interval: int  # the same, staggered
    retry: int
    minutes: str  # the interval, as Nagios counts
    retry_minutes: str
    offset: int  # of a timer's first run after the boot, where it does not go by the calendar
    calendar: str  # when a timer runs it, as systemd has it; '' where the period does not fit into hours and days
    passive: bool
    freshness: int
    after: str  # the service without which it does not run; '' if there is none
    page: str


class Row(NamedTuple):
    """A site with its checks and groups, all that a template needs."""

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


class Text(str):
    """A value as a person wrote it, which knows where."""

    where = ""


def tree(
    target: str, hosts: Sequence[Host], options: Options, templates: str = ""
) -> Dict[str, str]:
    """Path to text of everything that a target needs; ClientError names the file and key of what it cannot carry."""
    forms = _templates(target, templates)
    zones = sorted({host.zone for host in hosts if host.zone})
    found: Dict[str, str] = {}
    groups, kinds = set(), {}

    def put(path: str, name: str, template: Any, words: Mapping[str, Any]) -> None:
        text = _rendered(name, template, words)
        if text.strip():
            found[path] = text.rstrip() + "\n"

    for each in Rows(
        hosts, target, options
    ):  # one after the other: ten thousand at once are fifty megabytes
        groups.update(each.groups)
        for check in each.checks:
            kinds.setdefault(
                (
                    check.probe,
                    check.deadline,
                    check.limit,
                    check.period,
                    check.retry,
                    check.passive,
                    check.after,
                ),
                check,
            )
        for name, template in forms:
            for path, words in _instances(name, each, bool(zones)):
                put(path, name, template, {"row": each, "plugins": options.plugins, **words})

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
            put(
                name.replace("GLOBAL/", "global-templates/" if zones else ""),
                name,
                template,
                shared,
            )
    return found


class Rows:
    """The row of each host, made when it is its turn."""

    def __init__(self, hosts: Sequence[Host], target: str, options: Options):
        self._hosts, self._target, self._options = hosts, target, options

    def __iter__(self) -> Iterator[Row]:
        return (row(host, self._target, self._options) for host in self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)


def _instances(name: str, each: Row, zoned: bool) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Where the results of a site's template go, each with the words that it has beside the site's; nothing for a shared one."""
    if "SITE" not in name:
        return
    path = name.replace("ZONE/", f"{each.zone or 'master'}/" if zoned else "").replace(
        "SITE", each.name
    )
    if "PROBE" not in path:
        yield path, {}
        return
    for check in each.checks:
        if check.passive:
            yield path.replace("PROBE", check.probe), {"check": check}


# --- decisions ----------------------------------------------------------------------------------------------------


def row(host: Host, target: str, options: Options) -> Row:
    """A host with its checks for one target."""
    base, labels = os.path.basename(host.file), dict(host.labels)
    for path in (host.file, options.plugins):
        if not re.match(r"^[\w/.@+=:,-]*$", path):
            raise ClientError(
                f"{path}: this path cannot stand in a command of every scheduler; letters, digits and /.@_+=:,- can"
            )
    site, vo = labels.pop("site", host.name), labels.pop("vo", "")
    groups = [f"vmprobe-site-{site}", f"vmprobe-manager-{host.manager}"] + (
        [f"vmprobe-vo-{vo}"] if vo else []
    )
    probes = [probe for probe in host.probes if probe in options.installed]
    checks = [_check(host, probe, GATEWAY in probes, target, options) for probe in probes]
    if target == "systemd" and not host.submit and any(check.passive for check in checks):
        raise ClientError(
            f"{base} [schedule] submit: this key is missing; what a timer runs has to be submitted somewhere"
        )
    notes = _text(host.notes, f"{base} [site] notes")
    page = re.match(r"^https?://\S+$", host.notes)
    return Row(
        host.name,
        host.file,
        _text(host.address or "127.0.0.1", f"{base} [endpoint] url"),
        _text(host.contact, f"{base} [site] contact"),
        _text("") if page else notes,
        notes if page else _text(""),
        host.manager,
        site,
        vo,
        host.zone,
        groups,
        [(key, _text(text, f"{base} [labels] {key}")) for key, text in sorted(labels.items())],
        host.submit,
        host.contact_groups or options.contact_groups,
        checks,
    )


def _check(host: Host, probe: str, gateway: bool, target: str, options: Options) -> Check:
    service = SERVICES[probe]
    deadline = host.deadline if service.creates else min(LOOK, host.deadline)
    limit = needed(deadline)
    interval, retry = (
        (host.interval, host.retry) if service.creates else (service.interval, service.retry)
    )
    chance = _chance(host.name, probe)
    period, interval = round(interval), round(interval * (1 + STAGGER * (chance - 0.5)))
    name, command, page = _words(probe, options.docs)
    return Check(
        name,
        probe,
        service.about,
        command,
        math.ceil(deadline),
        limit,
        period,
        interval,
        round(retry),
        _minutes(interval),
        _minutes(retry),
        round(interval * chance),
        _calendar(period, chance),
        _passive(host, limit, target, options),
        2 * interval + limit,
        _words(GATEWAY, "")[0] if gateway and probe != GATEWAY else "",
        page,
    )


@functools.lru_cache(maxsize=None)
def _words(probe: str, docs: str) -> Tuple[str, str, str]:
    """A probe's service, command and page; the same strings for ten thousand sites."""
    return (
        service_name(probe),
        f"check_vm_{probe}",
        f"{docs.rstrip('/')}/check_vm_{probe}.md" if docs else "",
    )


def needed(deadline: float) -> int:
    """The time limit that a scheduler needs for a probe with this deadline: it has to end by itself first.

    >>> needed(50), needed(300)
    (60, 335)
    """
    return math.ceil(deadline) + math.ceil(deadline / 10) + 5


def _passive(host: Host, limit: int, target: str, options: Options) -> bool:
    """Whether a timer runs it: where the site says so, or where Nagios would kill it, which has one limit for all."""
    base = os.path.basename(host.file)
    if target == "argo" and limit > ARGO_LIMIT:
        raise ClientError(
            f"{base} [budget] deadline: needs {limit} s of the scheduler, and ARGO kills at {ARGO_LIMIT:g} s"
        )
    if host.checks == "passive":
        return True
    if target not in ("nagios", "systemd") or limit <= options.limit:
        return False
    if host.checks == "active":
        raise ClientError(
            f"{base} [schedule] checks: active needs a service_check_timeout of {limit} s, and it is "
            f"{options.limit:g} s; raise that and say so by --limit, or leave the checks to a timer (auto)"
        )
    return True


def _chance(*words: str) -> float:
    """A number from 0 to 1 that is always the same for the same words."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:4], "big") / 2**32


def _calendar(period: int, chance: float) -> str:
    """The hours and minutes at which a timer runs, where an hour or a day has a whole number of periods; else ''.

    What runs more often than every ten minutes has '', too: it is spread soon enough, and is not to wait for its first run.

    >>> _calendar(1800, 0.5), _calendar(3600, 0.5), _calendar(4 * 3600, 0.51), _calendar(86400, 0.5)
    ('*-*-* *:15/30:00 UTC', '*-*-* *:30:00 UTC', '*-*-* 02/4:02:24 UTC', '*-*-* 12:00:00 UTC')
    >>> _calendar(300, 0.5), _calendar(50 * 60, 0.5)
    ('', '')
    """
    at = int(period * chance)
    hour, minute, second = at // 3600, at // 60 % 60, at % 60
    if period >= 600 and 3600 % period == 0:
        hours, minutes = "*", f"{minute:02}" if period == 3600 else f"{minute:02}/{period // 60}"
    elif period % 3600 == 0 and 86400 % period == 0:
        hours, minutes = (
            f"{hour:02}" if period == 86400 else f"{hour:02}/{period // 3600}",
            f"{minute:02}",
        )
    else:
        return ""
    return f"*-*-* {hours}:{minutes}:{second:02} UTC"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.2f}".rstrip("0").rstrip(".")


def _text(text: str, where: str = "") -> Text:
    found = Text(text)
    found.where = where
    return found


# --- what all sites share -----------------------------------------------------------------------------------------


class Probe(NamedTuple):
    """A probe that at least one site has."""

    probe: str
    name: str
    about: str
    command: str
    metric: str
    page: str
    deadline: int  # the longest of any site
    limit: int
    interval: int  # minutes, the shortest of any site
    retry: int
    after: str
    uuid_command: str  # of the Director's objects: the same at each run
    uuid_template: str


def _probes(kinds: Sequence[Check]) -> List[Probe]:
    """The probes of all sites, from their checks, of which those that differ in nothing that counts here are there once."""
    found: Dict[str, List[Check]] = {}
    for check in kinds:
        found.setdefault(check.probe, []).append(check)
    return [
        Probe(
            probe,
            checks[0].name,
            checks[0].about,
            checks[0].command,
            SERVICES[probe].metric,
            checks[0].page,
            max(check.deadline for check in checks),
            max(check.limit for check in checks),
            max(1, min(check.period for check in checks) // 60),
            max(1, min(check.retry for check in checks) // 60),
            SERVICES[GATEWAY].metric if any(check.after for check in checks) else "",
            _uuid("command", probe),
            _uuid("template", probe),
        )
        for probe, checks in sorted(found.items())
    ]


def _uuid(*words: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "vmprobe/" + "/".join(words)))


# --- templates ----------------------------------------------------------------------------------------------------


def _templates(target: str, own: str) -> List[Tuple[str, Any]]:
    """The target's templates by their paths, compiled; one of the operator's own stands for the shipped one."""
    try:
        import jinja2
    except ImportError:
        raise ClientError(
            "vmprobectl config needs jinja2: python3-jinja2, or pip install jinja2"
        ) from None
    folders = [os.path.join(own, target)] if own else []
    if own and not os.path.isdir(own):
        raise ClientError(f"{own}: No such directory")
    folders.append(paths.data("templates", target))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders, encoding="utf-8-sig"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters["quote"] = _quote(TARGETS[target])
    names = [
        name
        for name in environment.list_templates()
        if not name.endswith("~") and "/." not in f"/{name}"
    ]
    return [(name, _compiled(environment, name)) for name in names]


def _compiled(environment: Any, name: str) -> Any:
    import jinja2

    try:
        return environment.get_template(name)
    except jinja2.TemplateSyntaxError as wrong:
        raise ClientError(f"{wrong.filename} line {wrong.lineno}: {wrong.message}") from None
    except UnicodeDecodeError:
        raise ClientError(f"template {name}: is not UTF-8 text") from None
    except (
        OSError,
        jinja2.TemplateError,
    ) as wrong:  # the second: it cannot be found any more, or is no file
        raise ClientError(f"template {name}: {getattr(wrong, 'strerror', None) or wrong}") from None


def _rendered(name: str, template: Any, words: Mapping[str, Any]) -> str:
    try:
        return template.render(words)
    except ClientError:
        raise
    except Exception as wrong:  # a template may be the operator's own, and do anything
        raise ClientError(f"template {name}: {type(wrong).__name__}: {wrong}") from None


def _quote(form: Callable[[str], str]) -> Callable[[Any], str]:
    def quote(value: Any) -> str:
        try:
            return form(str(value))
        except ValueError as wrong:
            raise ClientError(f"{getattr(value, 'where', '') or repr(value)}: {wrong}") from None

    return quote


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _nagios(text: str) -> str:
    """A directive's value: ``;`` would begin a comment, ``$`` a macro, and a line is all there is."""
    if _CONTROL.search(text):
        raise ValueError("is more than one line, which a directive of Nagios cannot carry")
    if "$" in text:
        raise ValueError("has a '$', which begins a macro in Nagios; write it without")
    if text.endswith("\\"):
        raise ValueError("ends with a '\\', which would join the next line in Nagios")
    return text.replace(";", "\\;")


_ICINGA = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _icinga(text: str) -> str:
    """A string literal. ``$`` is a macro's mark only in commands, which carry none of these texts."""
    if _CONTROL.search(text.translate({9: "", 10: "", 13: ""})):
        raise ValueError("has a control character, which a string of Icinga cannot carry")
    return '"' + "".join(_ICINGA.get(letter, letter) for letter in text) + '"'


def _yaml(text: str) -> str:
    """A JSON string, which is one of YAML but for what is beyond 16 bits, which JSON halves."""
    return (
        '"'
        + "".join(
            json.dumps(letter)[1:-1] if letter < "\U00010000" else f"\\U{ord(letter):08x}"
            for letter in text
        )
        + '"'
    )


_SYSTEMD = {"\\": "\\\\", "%": "%%", "$": "$$", '"': "\\x22", "'": "\\x27"}


def _systemd(text: str) -> str:
    """A word of a command in a unit file; ``%`` would begin a specifier, ``$`` a variable."""
    if _CONTROL.search(text):
        raise ValueError("is more than one line, which a unit file cannot carry")
    return "".join(_SYSTEMD.get(letter, letter) for letter in text)


TARGETS: Mapping[str, Callable[[str], str]] = {
    "nagios": _nagios,
    "icinga2": _icinga,
    "director": json.dumps,
    "argo": json.dumps,
    "sensu": _yaml,
    "systemd": _systemd,
}
