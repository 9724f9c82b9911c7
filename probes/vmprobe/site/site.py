"""A site: one endpoint as seen by one project, with its test VM, its budget and its thresholds.

A site file is INI and read strictly: an unknown key is an error, and every mistake is one line that
names file, section and key, and says what would be right.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple, Type, cast

from vmprobe import drivers
from vmprobe.core.clock import Polling
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import CAUSES, STATES, ClientError
from vmprobe.core.handle import owner_word
from vmprobe.core.ini import Sections
from vmprobe.core.model import TestVM
from vmprobe.core.text import suggest
from vmprobe.core.timeline import STAGES
from vmprobe.core.values import (
    duration,
    fraction,
    one_of,
    positive_duration,
    run_time,
    server_count,
    size_or_none,
    whole,
    word_list,
    yes_or_no,
)
from vmprobe.site import metrics, reader
from vmprobe.site.services import SERVICES
from vmprobe.site.thresholds import Thresholds, parse_range

DEPTHS = ("api", "console", "reach")


class Sampling(NamedTuple):
    """How the metrics of a running server are read ([sample])."""

    readings: int = 3  # below 2 the lifecycle has no sample stage
    interval: float = 2.0  # seconds between two readings


class Schedule(NamedTuple):
    """When and how a scheduler runs the checks of a site ([schedule]). Times are seconds."""

    interval: float = 3600.0  # between two test VMs
    retry_interval: float = 900.0
    checks: str = "auto"  # auto, active, passive
    probes: Tuple[str, ...] = tuple(SERVICES)
    parallel: Optional[int] = None  # most runs of this host at once on this endpoint
    zone: str = ""  # Icinga's, '' for the master's
    submit: Tuple[str, ...] = ()  # targets
    contact_groups: Tuple[str, ...] = ()


class Site(NamedTuple):
    """The content of a site file, parsed, with defaults filled in. Times are seconds."""

    path: str
    name: str
    driver: Type[Driver]
    endpoint: Mapping[str, Any]  # by key, the driver's own keys included
    test_vm: TestVM  # by key, the driver's own keys included
    deadline: float = 300.0
    reserve: float = 60.0
    budgets: Mapping[str, float] = {}  # by stage
    most_leftovers: int = 10  # no test VM is started while more leftovers remain
    thresholds: Thresholds = Thresholds()
    polling: Polling = Polling()
    sample: Sampling = Sampling()
    verdict: Mapping[str, str] = {}  # state by cause, where the site changes it
    schedule: Schedule = Schedule()
    labels: Mapping[str, str] = {}
    about: Mapping[str, str] = {}  # contact, notes
    owner: str = ""

    def with_options(
        self,
        *,
        depth: Optional[str] = None,
        count: Optional[int] = None,
        deadline: Optional[float] = None,
        thresholds: Optional[Thresholds] = None,
        verdict: Optional[Mapping[str, str]] = None,
        owner: Optional[str] = None,
    ) -> Site:
        """This site with the options of a command line; None leaves a value as it is."""
        test_vm = {"depth": depth, "count": count}
        return self._replace(
            test_vm=cast(
                TestVM,
                {**self.test_vm, **{k: v for k, v in test_vm.items() if v is not None}},
            ),
            deadline=self.deadline if deadline is None else deadline,
            thresholds=self.thresholds if thresholds is None else thresholds,
            verdict=self.verdict if verdict is None else verdict,
            owner=self.owner if owner is None else owner,
        )

    def credentials(self) -> Dict[str, str]:
        """The content of the credentials file, read now, {} without one; ClientError."""
        from vmprobe.site.credentials import read_credentials

        path = self.endpoint.get("credentials")
        if not path:
            return {}
        where = f"{os.path.basename(self.path)} [endpoint] credentials"
        return read_credentials(path, self.driver.credential_keys, where)


def load(path: str) -> Site:
    """The site that a file describes; ClientError says what is wrong, on one line."""
    sections = reader.read(path)
    base = os.path.basename(path)
    driver = _driver(base, sections)

    def values(section: str, keys: Mapping[str, Key]) -> Dict[str, Any]:
        return reader.values(f"{base} [{section}]", sections.get(section, {}), keys)

    about = values("site", _SITE)
    endpoint = values("endpoint", {**_ENDPOINT, **driver.endpoint_keys})
    test_vm = values("test vm", {**_TEST_VM, **driver.test_vm_keys})
    budget = values("budget", _BUDGET)
    _check_budget(base, budget)
    for key in ("credentials", "ca"):
        if endpoint[key]:
            endpoint[key] = os.path.join(
                os.path.dirname(os.path.abspath(path)), os.path.expanduser(endpoint[key])
            )
    return Site(
        path=path,
        name=about.pop("name"),
        driver=driver.of_endpoint(endpoint),
        endpoint=endpoint,
        test_vm=cast(TestVM, test_vm),
        deadline=budget.pop("deadline"),
        reserve=budget.pop("reserve"),
        most_leftovers=budget.pop("leftovers"),
        budgets={stage: limit for stage, limit in budget.items() if limit is not None},
        thresholds=_thresholds(base, sections.get("thresholds", {})),
        polling=_polling(base, values("polling", _POLLING)),
        sample=Sampling(**values("sample", _SAMPLE)),
        schedule=_schedule(values("schedule", _SCHEDULE)),
        verdict={cause: state for cause, state in values("verdict", _VERDICT).items() if state},
        labels=_labels(base, sections.get("labels", {})),
        owner=owner_word(about.pop("owner") or ""),
        about={key: text for key, text in about.items() if text},
    )


def _driver(base: str, sections: Sections) -> Type[Driver]:
    """The driver that a site file names, once its sections are known to be the right ones."""
    for section in sections:
        if section not in _SECTIONS:
            raise ClientError(f"{base} [{section}]: no such section; {suggest(section, _SECTIONS)}")
    for section in ("site", "endpoint", "test vm"):
        if section not in sections:
            raise ClientError(f"{base} [{section}]: this section is missing")
    manager = sections["endpoint"].get("manager")
    if not manager:
        raise ClientError(f"{base} [endpoint] manager: this key is missing")
    try:
        return drivers.load(manager)
    except ClientError as error:
        raise ClientError(f"{base} [endpoint] manager: {error}") from None


def _check_budget(base: str, budget: Mapping[str, Any]) -> None:
    message = too_short(budget["deadline"], budget["reserve"])
    if message:
        raise ClientError(f"{base} [budget] deadline: {message}")


def too_short(deadline: float, reserve: float) -> str:
    """Say that a run of ``deadline`` seconds has no time beside its clean-up; '' if it has."""
    if deadline > reserve:
        return ""
    return f"{deadline:g} s is not longer than the clean-up reserve of {reserve:g} s"


def _schedule(values: Mapping[str, Any]) -> Schedule:
    return Schedule(**{key.replace(" ", "_"): value for key, value in values.items()})


def _polling(base: str, polling: Mapping[str, Any]) -> Polling:
    if polling["longest"] < polling["shortest"]:
        raise ClientError(
            f"{base} [polling] longest: {polling['longest']:g} s is less than the shortest, "
            f"{polling['shortest']:g} s"
        )
    return Polling(**polling)


def _thresholds(base: str, texts: Mapping[str, str]) -> Thresholds:
    """``label = warning, critical``: Nagios ranges in the label's unit; either may be empty."""
    thresholds = Thresholds()
    for label, text in texts.items():
        where = f"{base} [thresholds] {label}"
        if label not in metrics.UNITS:
            raise ClientError(f"{where}: no such metric; {suggest(label, metrics.UNITS)}")
        ranges = [part.strip() for part in text.split(",")]
        if len(ranges) > 2 or not any(ranges):
            raise ClientError(f"{where}: '{text}' is not 'warning, critical'")
        for level, part in zip(("warning", "critical"), ranges):
            if part:
                try:
                    parse_range(part, label)
                except ValueError as error:
                    raise ClientError(f"{where}: {error}") from None
                thresholds = thresholds.with_range(level, label, part)
    return thresholds


def _labels(base: str, labels: Dict[str, str]) -> Dict[str, str]:
    """The operator's own words. ``site`` and ``vo`` name groups, so these must be names."""
    for key, text in labels.items():
        where = f"{base} [labels] {key}"
        if key in _RESERVED_LABELS or key.startswith("vmprobe"):
            raise ClientError(f"{where}: is reserved by the suite; choose another word")
        if not re.match(r"^[a-z][a-z0-9_]{0,30}$", key):
            raise ClientError(f"{where}: is not a word of lower-case letters, digits and '_'")
        try:
            if key in ("site", "vo"):
                _name(text)
        except ValueError as error:
            raise ClientError(f"{where}: '{text}' {error}") from None
    return labels


_RESERVED_LABELS = ("contact", "contact_groups", "manager", "notes", "site_name")


# --- parsers of values that only a site file has ------------------------------------------------


def _name(text: str) -> str:
    if not re.match(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})$", text):
        raise ValueError("is not a name of up to 63 letters, digits, '.', '_' and '-'")
    return text


def _zone(text: str) -> str:
    """Icinga's zone, '' for the master's."""
    if text in ("global-templates", "director-global"):
        raise ValueError("is a global zone, in which no checks run")
    return "" if text == "master" else _name(text)


def _period(text: str) -> float:
    if duration(text) < 60:
        raise ValueError("is less than a minute")
    return duration(text)


def _probes(text: str) -> Tuple[str, ...]:
    for word in word_list(text):
        if word not in SERVICES:
            raise ValueError(f"contains {word}, which is not a probe; {suggest(word, SERVICES)}")
    return word_list(text)


def contact_groups(text: str) -> Tuple[str, ...]:
    """Names of the monitoring server's contact groups, separated by commas; may contain blanks."""
    names = tuple(name.strip() for name in text.split(","))
    allowed = re.compile(r"^[^`~!$%^&*|'\"<>?()=;+\\\x00-\x1f]+$")
    if not all(allowed.match(name) and name != "null" for name in names):
        raise ValueError(
            "is not a list of contact groups, whose names have none of `~!$%^&*|'\"<>?()=;+\\"
        )
    return names


def _targets(text: str) -> Tuple[str, ...]:
    from vmprobe.site import targets  # imported here because most sites name none

    return targets.parse_all(text)


# --- the sections and their keys -----------------------------------------------------------------


_SITE = {"name": Key(_name, required=True), "owner": Key(), "contact": Key(), "notes": Key()}
_ENDPOINT = {
    "manager": Key(required=True),
    "credentials": Key(),
    "ca": Key(),
    "timeout": Key(positive_duration, 30.0),
}
_TEST_VM = {
    "image": Key(required=True),
    "flavor": Key(default=""),
    "network": Key(default=""),
    "volume": Key(size_or_none, 2**30),
    "depth": Key(one_of(*DEPTHS), "api"),
    "count": Key(server_count, 1),
    "snapshot": Key(yes_or_no, False),
    "reach port": Key(whole(1), 22),
}
_BUDGET = {
    "deadline": Key(run_time, 300.0),
    "reserve": Key(positive_duration, 60.0),
    "leftovers": Key(whole(), 10),
    **{stage: Key(positive_duration) for stage in STAGES},
}
_POLLING = {
    "first": Key(duration, 3.0),
    "fraction": Key(fraction, 0.08),
    "shortest": Key(positive_duration, 1.5),
    "longest": Key(positive_duration, 5.0),
}
_SAMPLE = {"readings": Key(whole(), 3), "interval": Key(duration, 2.0)}
_VERDICT = {word: Key(one_of(*STATES)) for word in CAUSES + ("leftovers", "timeout", "unmeasured")}
_SCHEDULE = {
    "interval": Key(_period, 3600.0),
    "retry interval": Key(_period, 900.0),
    "checks": Key(one_of("auto", "active", "passive"), "auto"),
    "probes": Key(_probes, tuple(SERVICES)),
    "parallel": Key(whole(1)),
    "zone": Key(_zone, ""),
    "submit": Key(_targets, ()),
    "contact groups": Key(contact_groups, ()),
}

_SECTIONS = (
    "site",
    "endpoint",
    "test vm",
    "budget",
    "thresholds",
    "polling",
    "sample",
    "verdict",
    "schedule",
    "labels",
)
